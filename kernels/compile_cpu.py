"""From a specialised kernel to object code, by numba. Imported only when something must be compiled."""

from __future__ import annotations

import os
import sys
import types
from typing import Any

from . import binding
from .binding import Device, Intrinsic, Placeholder
from .cache import ObjectCode
from .jit import CONTRACT, Kernel, Parameter
from .target import target

if target().forced and "numba" not in sys.modules:
    os.environ["NUMBA_CPU_NAME"], os.environ["NUMBA_CPU_FEATURES"] = target().cpu, target().features
os.environ.setdefault(
    "NUMBA_DISABLE_INTEL_SVML", "1"
)  # else the code would need a library that may be absent later

import numba
from numba.core import config
from numba.core.registry import cpu_target

from . import intrinsics_cpu

# C functions that object code may call: LLVM itself emits them for copies, fills and rounding.
_ALLOWED = {
    "memcpy", "memmove", "memset", "numba_gil_ensure", "numba_gil_release", "PyErr_WriteUnraisable", "PyErr_Clear",
    "PyUnicode_FromString", "PyErr_Print", "Py_DecRef", "Py_IncRef", "roundeven", "roundevenf", "sqrt", "sqrtf",
    "floor", "floorf", "ceil", "ceilf", "trunc", "truncf", "rint", "rintf", "nearbyint", "nearbyintf", "fma", "fmaf",
    "exp", "expf", "log", "logf", "pow", "powf", "sin", "sinf", "cos", "cosf", "tan", "tanf", "tanh", "tanhf", "fmod",
    "fmodf", "atan2", "atan2f", "expm1", "expm1f", "log1p", "log1pf", "erf", "erff", "exp2", "exp2f", "log2", "log2f",
}  # fmt: skip


def _check_target() -> None:
    """Raise RuntimeError if numba compiles for another CPU than NUMTORCH_SIMD asks for (it was set up before us)."""
    wanted = target()
    if wanted.forced:
        config.CPU_NAME, config.CPU_FEATURES = wanted.cpu, wanted.features
        found = cpu_target.target_context.codegen().magic_tuple()[1:]
        if found != (wanted.cpu, wanted.features):
            raise RuntimeError(
                "NUMTORCH_SIMD is set, but numba has already compiled code for the full CPU; import numtorch first."
            )


class _Specialiser:
    """Replaces placeholders by numba objects for one environment, and compiles device functions on the way."""

    def __init__(self, env: binding.Env, fastmath: frozenset[str]):
        self.env, self.fastmath = env, fastmath
        self.devices: dict[Device, Any] = {}

    def replace(self, value: Any) -> Any:
        if isinstance(value, Placeholder):
            return binding.lookup(value, self.env)
        if isinstance(value, Intrinsic):
            return resolve(value, self.env)
        if isinstance(value, Device):
            if value not in self.devices:
                flags = self.fastmath if value.fastmath is None else value.fastmath
                self.devices[value] = self.jitted(value.py, flags, value.inline)
            return self.devices[value]
        if isinstance(value, Kernel):
            raise TypeError(
                f"a kernel cannot call the kernel {value.name!r}; move the shared part to a @device function."
            )
        return value

    def jitted(self, py: Any, fastmath: frozenset[str], inline: bool, signature: str | None = None) -> Any:
        bound = binding.rebind(py, self.env, self.replace)
        return _njit(bound, fastmath, signature, forceinline=inline)


def _njit(py: Any, fastmath: frozenset[str], signature: str | None = None, **options: Any) -> Any:
    args = () if signature is None else (signature,)
    return numba.njit(
        *args, nogil=True, error_model="numpy", no_cpython_wrapper=True, fastmath=set(fastmath), **options
    )(py)


def resolve(what: Intrinsic, env: binding.Env) -> Any:
    """The numba intrinsic behind `what` for `env`."""
    module = (
        intrinsics_cpu if what.module == intrinsics_cpu.__name__ else __import__(what.module, fromlist=["_"])
    )
    found = getattr(module, what.name)
    return found(env) if what.per_env else found


def _unpacking(params: list[Parameter], scope: dict[str, Any], env: binding.Env) -> str:
    """Source of the call's arguments, read from the block `args`; adds the dtypes it names to `scope`."""
    reads = []
    for i, param in enumerate(params):
        dtype = binding.SCALARS[env_dtype(param, env)]
        scope[f"dtype{i}"] = dtype
        reads.append({
            "pointer": f"pointer(ldi(args, {i}), dtype{i})", "int": f"ldi(args, {i})",
            "real": f"dtype{i}(ldf(args, {i}))", "float": f"ldf(args, {i})",
        }[param.kind])  # fmt: skip
    return "".join(f"{read}, " for read in reads)


def env_dtype(param: Parameter, env: binding.Env) -> str:
    """Name of the dtype of `param` in `env`. Raises TypeError when the specialisation does not say."""
    if isinstance(param.dtype, str):
        return param.dtype
    found = env.get(param.dtype.name)
    if found is None:
        raise TypeError(
            f"a parameter is {param.name}, but address() was called without {param.dtype.name}=..."
        )
    return found


def compile_kernel(what: Kernel, env: binding.Env) -> ObjectCode:
    """Compile `what` for `env` with the entry `void(int64 args, int64 chunk, int64 nchunks)`."""
    _check_target()
    body = _Specialiser(env, what.fastmath).jitted(what.py, what.fastmath, inline=True)
    scope: dict[str, Any] = {
        "body": body,
        "ldi": intrinsics_cpu.ldi,
        "ldf": intrinsics_cpu.ldf,
        "pointer": intrinsics_cpu.pointer,
    }
    reads = _unpacking(list(what.params.values())[:-2], scope, env)
    exec(f"def {what.name}(args, chunk, nchunks):\n    body({reads}chunk, nchunks)\n", scope)
    return _object(_compiled(scope[what.name], what.fastmath, "void(int64, int64, int64)"), what.name)


def compile_native(py: types.FunctionType, nargs: int) -> ObjectCode:
    """Compile a plain function of `nargs` int64 words that returns an int64."""
    _check_target()
    bound = binding.rebind(py, {}, _Specialiser({}, CONTRACT).replace)
    return _object(_compiled(bound, CONTRACT, f"int64({', '.join(['int64'] * nargs)})"), py.__name__)


def _compiled(py: Any, fastmath: frozenset[str], signature: str) -> Any:
    disabled, config.DISABLE_JIT = (
        config.DISABLE_JIT,
        0,
    )  # with NUMBA_DISABLE_JIT kernels would not exist at all
    try:
        dispatcher = _njit(py, fastmath, signature)
    finally:
        config.DISABLE_JIT = disabled
    return dispatcher.overloads[dispatcher.signatures[0]]


def _object(compiled: Any, name: str) -> ObjectCode:
    """Object code of a compile result. Raises RuntimeError if it needs numba's run time (allocation, exceptions...)."""
    library = compiled.library
    module = library._final_module
    needed = {f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")}
    foreign = {f for f in needed - _ALLOWED if not f.startswith("__svml")}
    if foreign:
        raise RuntimeError(
            f"kernel {name} calls {', '.join(sorted(foreign))}: kernels must not allocate, raise or use numba's run-time library."
        )
    return ObjectCode(
        compiled.fndesc.llvm_cfunc_wrapper_name, library._get_compiled_object(), portable=needed <= _ALLOWED
    )
