"""From a specialised kernel to object code, by numba. Imported only when something must be compiled."""

from __future__ import annotations

import importlib
import types
from typing import Any

import llvmlite.binding as llvm
import numba
from numba.core import config as numba_config
from numba.core.registry import cpu_target

from . import binding, compile_front, intrinsics_cpu
from .binding import Device, Intrinsic, Placeholder
from .cache import ObjectCode
from .elf import undefined_symbols
from .jit import CONTRACT, Kernel, Parameter
from .lean import emit, lean, texts
from .target import target

config: Any = numba_config  # its attributes are made at run time
njit: Any = numba.njit

# The error path of numba's wrapper (never taken: kernels do not raise); then what LLVM emits itself.
_WRAPPER = set(
    """numba_gil_ensure numba_gil_release PyErr_WriteUnraisable PyErr_Clear PyUnicode_FromString PyErr_Print
    Py_DecRef Py_IncRef""".split()
)
_C_LIBRARY = {"memcpy", "memmove", "memset", "fmod", "fmodf"}
_MATHEMATICS = set(
    """roundeven sqrt floor ceil trunc rint nearbyint round fma exp exp2 expm1 log log2 log10 log1p pow
    sin cos tan tanh asin acos atan atan2 sinh cosh asinh acosh atanh erf lgamma tgamma cbrt hypot
    copysign""".split()
)
_MATHEMATICS |= {"sincos"}  # what LLVM makes of sin and cos of one argument
_ALLOWED = _WRAPPER | _C_LIBRARY | _MATHEMATICS | {f"{name}f" for name in _MATHEMATICS}


def _choose_target() -> None:
    """Make numba compile for the CPU of NUMTORCH_SIMD. Raises RuntimeError if numba has begun without."""
    wanted = target()
    if wanted.forced:
        config.CPU_NAME, config.CPU_FEATURES = wanted.cpu, wanted.features
        context: Any = cpu_target.target_context
        if context.codegen().magic_tuple()[2] != wanted.features:
            raise RuntimeError(
                "NUMTORCH_SIMD is set, but numba has compiled code for the full CPU already; run a numtorch "
                "operation before other numba code, or unset NUMTORCH_SIMD."
            )


_choose_target()
_DISPATCHERS: dict[Any, Any] = {}  # device functions specialised so far, shared by all kernels


class _Specialiser:
    """Replaces placeholders by numba objects for one environment."""

    def __init__(self, env: binding.Env, fastmath: frozenset[str]):
        self.env, self.fastmath = env, fastmath

    def replace(self, value: Any) -> Any:
        return self._device(value) if isinstance(value, Device) else self.static(value)

    def static(self, value: Any) -> Any:
        """What is not compiled itself: device functions stay as they are."""
        if isinstance(value, Placeholder):
            return binding.lookup(value, self.env)
        if isinstance(value, Intrinsic):
            return resolve(value, self.env)
        if isinstance(value, Kernel):
            raise TypeError(
                f"a kernel cannot call kernel {value.name!r}; move the shared part to a @device function."
            )
        return value

    def _device(self, what: Device) -> Any:
        # The flags of the kernel count too, because a device function further down may inherit them.
        key = (what, self.fastmath, tuple(sorted(self.env.items(), key=str)))
        if key not in _DISPATCHERS:
            flags = self.fastmath if what.fastmath is None else what.fastmath
            _DISPATCHERS[key] = self.jitted(what.py, flags, what.inline)
        return _DISPATCHERS[key]

    def jitted(self, py: Any, fastmath: frozenset[str], inline: bool) -> Any:
        return _njit(binding.rebind(py, self.env, self.replace), fastmath, forceinline=inline)


def _njit(py: Any, fastmath: frozenset[str], signature: str | None = None, **options: Any) -> Any:
    where = () if signature is None else (signature,)
    common = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "fastmath": set(fastmath)}
    common["no_cfunc_wrapper"] = signature is None  # the entry is called through it, device functions are not
    disabled = config.DISABLE_JIT
    config.DISABLE_JIT = 0  # under NUMBA_DISABLE_JIT there would be no kernels at all
    try:
        with lean():
            return njit(*where, **common, **options)(py)
    finally:
        config.DISABLE_JIT = disabled


def resolve(what: Intrinsic, env: binding.Env) -> Any:
    """The numba intrinsic behind `what` for `env`."""
    found = getattr(importlib.import_module(what.module), what.name)
    return found(env) if what.per_env else found


def _reads(params: list[Parameter], scope: dict[str, Any], env: binding.Env) -> str:
    """Source of the kernel's arguments, read from the block `args`; adds the dtypes it names to `scope`."""
    forms = {"pointer": "pointer(ldi(args, {0}), dtype{0})", "int": "ldi(args, {0})",
             "real": "dtype{0}(ldf(args, {0}))", "float": "ldf(args, {0})"}  # fmt: skip
    for i, param in enumerate(params):
        if isinstance(param.dtype, str):
            scope[f"dtype{i}"] = binding.SCALARS[param.dtype]
        else:
            scope[f"dtype{i}"] = binding.lookup(param.dtype, env)
    return "".join(forms[param.kind].format(i) + ", " for i, param in enumerate(params))


def compile_kernel(what: Kernel, env: binding.Env) -> ObjectCode:
    """Compile `what` for `env` with the entry `void(int64 args, int64 chunk, int64 nchunks)`."""
    with lean():
        library = compile_front.kernel_library(what, env, _Specialiser(env, what.fastmath).static)
    if library is not None:
        return _object(library, compile_front.symbol(what.name), what.name)
    return _of_dispatcher(_by_numba(what, env), what.name)


def inspect_kernel(what: Kernel, env: binding.Env) -> tuple[str, str]:
    """The optimised LLVM and the assembly text of `what` for `env`."""
    with lean():
        library = compile_front.kernel_library(what, env, _Specialiser(env, what.fastmath).static)
    if library is None:
        dispatcher = _by_numba(what, env)
        library = dispatcher.overloads[dispatcher.signatures[0]].library
    return texts(library)


def _by_numba(what: Kernel, env: binding.Env) -> Any:
    """The long way, through numba's front end: everything that numba compiles."""
    body = _Specialiser(env, what.fastmath).jitted(what.py, what.fastmath, inline=True)
    scope: dict[str, Any] = {"body": body}
    scope.update(ldi=intrinsics_cpu.ldi, ldf=intrinsics_cpu.ldf, pointer=intrinsics_cpu.pointer)
    reads = _reads(list(what.params.values())[:-2], scope, env)
    exec(f"def entry(args, chunk, nchunks):\n    body({reads}chunk, nchunks)\n", scope)
    entry = scope["entry"]
    entry.__name__ = entry.__qualname__ = what.name
    return _njit(entry, what.fastmath, "void(int64, int64, int64)")


def compile_native(py: types.FunctionType, nargs: int) -> ObjectCode:
    """Compile a plain function of `nargs` int64 words that returns an int64."""
    specialiser = _Specialiser({}, CONTRACT)
    with lean():
        library = compile_front.native_library(py, nargs, CONTRACT, specialiser.static)
    if library is not None:
        return _object(library, compile_front.symbol(py.__name__), py.__name__)
    bound = binding.rebind(py, {}, specialiser.replace)
    return _of_dispatcher(_njit(bound, CONTRACT, f"int64({', '.join(['int64'] * nargs)})"), py.__name__)


def callback(py: Any) -> Any:
    """Numba's C function of `py(args, chunk, nchunks)`, three int64 words; its `.address` is the entry.

    Unlike a kernel it may allocate and raise: numba's run-time library is linked. It lives in this process only.
    """
    return numba.cfunc("void(int64, int64, int64)")(py)


def _of_dispatcher(dispatcher: Any, name: str) -> ObjectCode:
    compiled = dispatcher.overloads[dispatcher.signatures[0]]
    return _object(compiled.library, compiled.fndesc.llvm_cfunc_wrapper_name, name)


def _object(library: Any, symbol: str, name: str) -> ObjectCode:
    """Object code of a library with the entry `symbol`. Raises RuntimeError if it calls what a kernel may not."""
    blob = emit(library)
    needed = undefined_symbols(blob)
    if needed is None:
        declared = (f.name for f in library._final_module.functions if f.is_declaration)
        needed = {symbol for symbol in declared if not symbol.startswith("llvm.")}
    # Intel's vector mathematics (if numba found it) exists in this process only: such code is not stored.
    bad = {symbol for symbol in needed if not symbol.startswith("__svml")} - _ALLOWED
    bad |= {symbol for symbol in needed - _WRAPPER if not llvm.address_of_symbol(symbol)}
    if bad:
        raise RuntimeError(
            f"kernel {name} calls {', '.join(sorted(bad))}: kernels must not allocate, raise or use "
            f"numba's run-time library."
        )
    portable = needed <= _ALLOWED and binding.digests_hold()
    return ObjectCode(symbol, blob, portable)
