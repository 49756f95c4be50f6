"""The kernels of both devices are twins: same file, same name, same arguments. What has no twin is listed with its reason."""

from __future__ import annotations

import importlib
import pathlib

import pytest

from numtorch.kernels.cuda.launch import CudaKernel, kernels
from numtorch.kernels.jit import Kernel

FOLDER = pathlib.Path(importlib.import_module("numtorch.kernels").__file__).parent

TILED = "register tiles are dealt to a GPU in another way: the twins are the planners, which take the same questions"

# CPU modules and kernels without a CUDA kernel of their name.
ONLY_CPU: dict[str, str] = {
    "attention.attention_sum": "a block of a GPU has some keys of one matrix and walks over all queries",
    "loss.cross_entropy_both_rows": "the pass that asks for it rewrites programs of the CPU",
    "random.dropout_mask": "the pass that asks for it rewrites programs of the CPU",
    "pool.max_pool_2x2_values": "the pass that asks for it rewrites programs of the CPU",
    "conv.conv_taps": TILED,
    "conv.pack_weight": TILED,
    "conv_rows": TILED,
    "conv_weight.weight_partials": TILED,
    "conv_weight.weight_sum": TILED,
    "matmul.gemm_outer": TILED,
    "matmul.gemm_by_dot": TILED,
    "norm.layer_norm_gradients": "one pass serves caches; a GPU's threads take rows for one, columns for the other",
    "recurrent": TILED,
    "winograd": TILED,
}
# CUDA kernels of another name: the tiles behind the planners.
ONLY_CUDA: dict[str, str] = {
    "conv": TILED,
    **{f"matmul.gemm_{tile}": TILED for tile in ("large", "medium", "flat", "tall")},
    **{f"matmul.gemm_large_{layout}": TILED for layout in ("nn", "nt", "tn", "tt")},
    "matmul.gemm_sum": TILED,
    "tensor": "tensor cores, which a CPU has not",
    "conv_tensor": "tensor cores, which a CPU has not",
    "attention": "a variant for each size on a GPU, one kernel for all sizes on a CPU",
}
PLANNERS = {
    "matmul": ("matmul_plan",),
    "conv_plan": ("forward_plan", "input_grad_plan", "weight_grad_plan", "bias_grad_plan"),
}


def listed(table: dict[str, str], module: str, name: str) -> bool:
    """Whether a kernel, or its whole module, is in a list of exceptions."""
    return module in table or f"{module}.{name}" in table


def cpu_kernels() -> dict[tuple[str, str], Kernel]:
    """All CPU kernels that exist when their modules are imported, by module and name."""
    found = {}
    for path in sorted((FOLDER / "cpu").glob("*.py")):
        if path.stem != "__init__":
            module = importlib.import_module(f"numtorch.kernels.cpu.{path.stem}")
            for value in vars(module).values():
                for one in value if isinstance(value, tuple) else (value,):
                    if isinstance(one, Kernel) and one.py.__module__ == module.__name__:
                        found[path.stem, one.name] = one
    return found


def cuda_kernels() -> dict[tuple[str, str], CudaKernel]:
    """All CUDA kernels, by module and name."""
    for path in sorted((FOLDER / "cuda").glob("*.py")):
        if not path.stem.startswith(("__init__", "compile", "intrinsics")):
            importlib.import_module(f"numtorch.kernels.cuda.{path.stem}")
    return kernels()


def test_every_cpu_kernel_has_a_twin_or_a_reason() -> None:
    twins = cuda_kernels()
    missing = [f"{m}.{n}" for m, n in cpu_kernels() if (m, n) not in twins and not listed(ONLY_CPU, m, n)]
    assert not missing, f"write the twin in kernels/cuda, or say here why there is none: {missing}"


def test_no_cuda_kernel_stands_alone() -> None:
    twins = cpu_kernels()
    alone = [f"{m}.{n}" for m, n in cuda_kernels() if (m, n) not in twins and not listed(ONLY_CUDA, m, n)]
    assert not alone, f"the CPU has no such kernel: {alone}"


def test_twins_take_the_same_arguments() -> None:
    twins, wrong = cuda_kernels(), []
    for (module, name), kernel in cpu_kernels().items():
        twin = twins.get((module, name))
        if twin is not None:
            wanted = [(n, repr(p)) for n, p in kernel.params.items() if n not in ("chunk", "nchunks")]
            found = [(n, repr(p)) for n, p in twin.params.items()]
            if wanted != found and not listed(ONLY_CUDA, module, name):
                wrong.append(f"{module}.{name}: CPU {wanted}, CUDA {found}")
    assert not wrong, "\n".join(wrong)


def test_the_exceptions_are_still_needed() -> None:
    cpu, cuda = cpu_kernels(), cuda_kernels()
    stale = [key for key in ONLY_CPU if "." in key and tuple(key.split(".")) in cuda]
    stale += [key for key in ONLY_CUDA if "." in key and tuple(key.split(".")) in cpu]
    assert not stale, f"these have a twin now: {stale}"


@pytest.mark.parametrize("module", PLANNERS)
def test_planners_take_the_same_questions(module: str) -> None:
    import inspect

    ours, theirs = (importlib.import_module(f"numtorch.kernels.{d}.{module}") for d in ("cuda", "cpu"))
    for name in PLANNERS[module]:
        found, wanted = (inspect.signature(getattr(m, name)) for m in (ours, theirs))
        assert list(found.parameters.values()) == list(wanted.parameters.values()), name
