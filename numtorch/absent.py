"""What ``numtorch.x`` says where numtorch has no x: why, or the names that come nearest; and functions that are methods."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

from ._tensor import Tensor

_COMPLEX = "numtorch has no complex numbers; keep two real tensors"
_SPARSE = "numtorch has dense tensors only; use Tensor.to_dense() in PyTorch, or index_add and scatter_add on dense ones"
_QUANTIZED = "numtorch has no quantized tensors; compute in float32 and convert with round and clamp"
_SCRIPT = "numtorch has no TorchScript; numtorch.jit.trace records and replays any function, control flow included"

# Areas of PyTorch that numtorch leaves out; the sentence that a program hears that asks for one of their names.
AREAS = (
    ("complex complex32 complex64 complex128 chalf cfloat cdouble view_as_complex view_as_real polar imag eig eigvals", _COMPLEX),
    ("stft istft fft ifft fft2 ifft2 fftn ifftn rfft irfft rfft2 irfft2 rfftn irfftn hfft ihfft hfft2 ihfft2 hfftn ihfftn", _COMPLEX),
    ("sparse sparse_coo sparse_csr sparse_csc sparse_bsr sparse_bsc sparse_coo_tensor sparse_csr_tensor sparse_csc_tensor smm spmm sspaddmm", _SPARSE),
    ("quantization ao quint8 qint8 qint32 quantize_per_tensor quantize_per_channel dequantize", _QUANTIZED),
    ("export_opnames CompilationUnit", _SCRIPT),
    ("onnx", "numtorch writes no ONNX; numtorch.save(model.state_dict(), 'model.pth') writes a file that PyTorch loads and exports"),
    ("export fx", "numtorch.jit.trace records a program: its .graph shows it, its .code is Python, its .save(path) keeps it"),
    ("_dynamo _inductor compiler", "numtorch.compile and numtorch.jit.trace compile; they have no settings of their own"),
    ("DistributedOptimizer FullyShardedDataParallel fsdp rpc elastic", "numtorch computes in one process on one machine; numtorch.set_num_threads says on how many threads"),
    ("functorch functionalize", "numtorch.func has grad, vjp, jvp, jacrev, hessian, vmap and functional_call"),
    ("SparseAdam", "numtorch has dense gradients only; use Adam"),
    ("IterDataPipe MapDataPipe DFIterDataPipe DataChunk functional_datapipe datapipes", "write a Dataset or an IterableDataset"),
    ("forward_ad make_dual dual_level", "numtorch.func.jvp and autograd.functional.jvp give directional derivatives"),
    ("tensorboard SummaryWriter", "numtorch writes no event files; numtorch.utils.watch keeps statistics of a training step"),
    ("CUDAGraph make_graphed_callables graph_pool_handle", "numtorch.jit.trace replays a function as a CUDA graph"),
    ("benchmark ThroughputBenchmark bottleneck", "numtorch.profiler.profile says where time goes; timeit measures a call"),
    ("futures Future fork wait", "use concurrent.futures, or numtorch.multiprocessing"),
    ("overrides handle_torch_function has_torch_function", "numtorch asks no __torch_function__; subclass Tensor or write a library.custom_op"),
    ("nested jagged", "numtorch has no nested tensors; nn.utils.rnn.pad_sequence and pack_padded_sequence hold sequences of several lengths"),
    ("mps xpu mtia", "numtorch computes on 'cpu' and 'cuda'; numtorch.accelerator says what this machine has"),
    ("package download_url_to_file", "numtorch loads no code or weights from the network; numtorch.load reads a state_dict file of PyTorch"),
    ("uint16 uint32 uint64 float8_e4m3fn float8_e5m2", "numtorch's dtypes are bool, uint8, int8 to int64, float16, bfloat16, float32 and float64"),
)  # fmt: skip


# Where a name is looked for that a module does not have.
PLACES = """nn.functional nn linalg special optim optim.lr_scheduler utils.data autograd.functional func distributions nn.init nn.utils jit
    testing multiprocessing signal.windows cuda amp""".split()


def reason(name: str) -> str:
    """Why numtorch has nothing of that name, if that is known; else an empty text."""
    return next((why for words, why in AREAS if name in words.split()), "")


def error(module: str, name: str, names: Any) -> AttributeError:
    """The AttributeError for ``module.name``: with the reason, where it is instead, or what has nearly that name among ``names``."""
    said = f"module {module!r} has no attribute {name!r}"
    if name.startswith("__"):
        return AttributeError(said)  # Python's own questions
    why = reason(name)
    if why:
        return AttributeError(f"{said}: {why}")
    place = _place(name) if len(name) > 1 and not name.startswith("_") else ""
    if place and place.rpartition(".")[0] != module:
        return AttributeError(f"{said}; it is {place}")
    import difflib

    near = difflib.get_close_matches(name, [n for n in names if not n.startswith("_")], n=3, cutoff=0.75)
    if near:
        return AttributeError(f"{said}; it has {', '.join(near)}")
    if isinstance(getattr(Tensor, name, None), Callable):
        return AttributeError(f"{said}; it is a method: write tensor.{name}(...)")
    return AttributeError(said)


def _place(name: str) -> str:
    """The full name of what numtorch has of that name elsewhere."""
    import numtorch

    if name in vars(numtorch) or name in numtorch._LATER or name in numtorch._SUBMODULES:
        return f"numtorch.{name}"
    for place in PLACES:
        module = importlib.import_module(f"numtorch.{place}")
        own = getattr(vars(module).get(name), "__module__", None) == module.__name__
        if own or name in getattr(module, "__all__", ()):
            return f"numtorch.{place}.{name}"
    return ""


def hints(module: str) -> Callable[[str], Any]:
    """A module's ``__getattr__``: the error that helps."""

    def missing(name: str) -> Any:
        raise error(module, name, dir(sys.modules[module]))

    return missing


# The in-place methods that PyTorch has as functions, too.
IN_PLACE = frozenset("""abs_ acos_ acosh_ addmv_ arccos_ arccosh_ arcsin_ arcsinh_ arctan_ arctanh_ as_strided_ asin_ asinh_ atan_
    atanh_ ceil_ clamp_ clamp_max_ clamp_min_ clip_ conj_physical_ cos_ cosh_ deg2rad_ detach_ erf_ erfc_ exp2_ exp_ expm1_ fill_ fix_
    floor_ frac_ gcd_ i0_ index_put_ lcm_ ldexp_ log10_ log1p_ log2_ log_ logit_ nan_to_num_ neg_ negative_ rad2deg_ reciprocal_ relu_
    resize_as_ round_ rsqrt_ sigmoid_ sin_ sinc_ sinh_ sqrt_ square_ tan_ tanh_ trunc_ xlogy_ zero_""".split())


# The in-place methods that PyTorch has as functions, too.
IN_PLACE = frozenset("""abs_ acos_ acosh_ addmv_ arccos_ arccosh_ arcsin_ arcsinh_ arctan_ arctanh_ as_strided_ asin_ asinh_ atan_
    atanh_ ceil_ clamp_ clamp_max_ clamp_min_ clip_ conj_physical_ cos_ cosh_ deg2rad_ detach_ erf_ erfc_ exp2_ exp_ expm1_ fill_ fix_
    floor_ frac_ gcd_ i0_ index_put_ lcm_ ldexp_ log10_ log1p_ log2_ log_ logit_ nan_to_num_ neg_ negative_ rad2deg_ reciprocal_ relu_
    resize_as_ round_ rsqrt_ sigmoid_ sin_ sinc_ sinh_ sqrt_ square_ tan_ tanh_ trunc_ xlogy_ zero_""".split())


def in_place(name: str) -> Callable | None:
    """The function ``torch.relu_`` and its like: the method of that name, if the function ``torch.relu`` exists, too."""
    import numtorch

    method = getattr(Tensor, name, None)
    if name not in IN_PLACE or method is None or not hasattr(numtorch, name[:-1]):
        return None

    def function(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not isinstance(input, Tensor):
            raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
        return method(input, *args, **kwargs)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"``input.{name}(...)``."
    return function
