"""Names, parameters and defaults are PyTorch's."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import pytest

import numtorch

pytestmark = pytest.mark.oracle

PLACES = [
    "nn",
    "nn.functional",
    "nn.init",
    "nn.utils",
    "nn.utils.rnn",
    "nn.utils.parametrize",
    "nn.utils.parametrizations",
]
# What PyTorch has under these names for its compilers, other devices, other layouts, or by import of its own helpers.
ABSENT = {
    "nn": {"Container", "factory_kwargs"},
    "nn.functional": {
        "Callable", "DType", "Optional", "ScalingType", "SwizzleType", "Tensor", "assert_int_or_pair", "boolean_dispatch", "grouped_mm", "handle_torch_function", "has_torch_function",
        "has_torch_function_unary", "has_torch_function_variadic", "scaled_grouped_mm", "scaled_mm",
    },
    "nn.init": {"Literal", "ParamSpec", "TypeVar"},
    "nn.utils": {"convert_conv2d_weight_memory_format", "convert_conv3d_weight_memory_format", "memory_format"},
}  # fmt: skip
# PyTorch writes (*args, **kwargs) here; numtorch the parameters that these are read as.
SPELLED_OUT = {
    "RNN", "Parameter", "UninitializedParameter", "UninitializedBuffer", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "fractional_max_pool2d", "fractional_max_pool3d", "max_pool1d", "max_pool2d", "max_pool3d",
}  # fmt: skip


def public(module: Any) -> list[str]:
    """The functions and classes of a module (of ``nn.utils.*`` what it exports)."""
    names = getattr(module, "__all__", None) if ".utils." in module.__name__ else None
    names = [n for n in names or dir(module) if not n.startswith("_")]
    return [n for n in names if callable(getattr(module, n))]


def parameters(f: Any) -> list[tuple] | None:
    """(name, kind, default) of a call, or None where Python can't say."""
    try:
        signature = inspect.signature(f.__init__ if inspect.isclass(f) else f)
    except (TypeError, ValueError):
        return None
    return [(p.name, p.kind, plain(p.default)) for p in signature.parameters.values()]


def plain(default: Any) -> Any:
    if default is inspect.Parameter.empty:
        return "required"
    if callable(default):
        return default.__name__
    return list(default) if isinstance(default, tuple) else default


@pytest.mark.parametrize("place", PLACES)
def test_names_and_parameters(place: str) -> None:
    theirs, ours = (importlib.import_module(f"{package}.{place}") for package in ("torch", "numtorch"))
    absent = ABSENT.get(place, set())
    names = public(theirs)
    missing = {n for n in names if not hasattr(ours, n)}
    assert missing == absent & set(names), (
        f"missing: {sorted(missing - absent)}; present: {sorted(absent - missing)}"
    )
    wrong = []
    for name in sorted(set(names) - missing - SPELLED_OUT):
        a, b = parameters(getattr(theirs, name)), parameters(getattr(ours, name))
        if a is not None and b is not None and a != b:
            wrong.append(f"{name}\n  PyTorch:  {a}\n  numtorch: {b}")
    assert not wrong, "\n".join(wrong)


def test_methods_of_modules() -> None:
    torch = pytest.importorskip("torch")
    not_here = {"T_destination", "compile", "ipu", "mtia", "xpu"}
    wrong = []
    for name in dir(torch.nn.Module):
        if name.startswith("_") or name in not_here:
            continue
        theirs, ours = getattr(torch.nn.Module, name), getattr(numtorch.nn.Module, name, None)
        if ours is None or (
            callable(theirs) and parameters(theirs) != parameters(ours) and name != "forward"
        ):
            wrong.append(name)
    assert not wrong
