"""The one door to the compiler.

How to write and run a kernel:

    import numpy as np
    from numtorch.kernels.jit import T, T_ptr, device, i64, kernel, real
    from numtorch.kernels.memory import split
    from numtorch.kernels.driver import launch

    @device                                    # a helper; compiled for the same T as the kernel that calls it
    def scaled(v, alpha):
        return v * alpha + T(0.5)              # T(...): a bare 0.5 would be a float64

    @kernel                                    # outputs, inputs, sizes and scalars, then chunk, nchunks
    def scale_rows(y: T_ptr, x: T_ptr, rows: i64, cols: i64, alpha: real, chunk: i64, nchunks: i64):
        lo, hi = split(rows, chunk, nchunks)
        for i in range(lo * cols, hi * cols):
            y[i] = scaled(x[i], alpha)

    x = np.ones((3, 4), np.float32)
    y = np.empty_like(x)
    launch(scale_rows.address(T="float32"), 1, y.ctypes.data, x.ctypes.data, 3, 4, 2.0)
    assert (y == 2.5).all()

Rules. Pointers index like arrays without any check. Never allocate, never raise. `T`, `S`, `VL` and further
names given to `address(name=...)` are replaced per specialisation; other globals must be numbers, `@device`
functions or functions of memory.py and simd.py, imported by name (`from ..memory import split`, not
`memory.split`).

Compiled ABI: `void k(int64 args, int64 chunk, int64 nchunks)`; `args` is the address of a block of int64
words, one per parameter: pointers and i64 as they are, `real` and `f64` as the bits of a float64.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from . import binding, cache
from .binding import SCALARS, Device, Placeholder

T: Any = Placeholder("T")
S: Any = Placeholder("S")
VL: Any = Placeholder("VL")

CONTRACT = frozenset({"contract"})
_FASTMATH_ALLOWED = {"contract", "reassoc", "nsz", "arcp", "afn"}


@dataclass(frozen=True)
class Parameter:
    """Annotation of a kernel parameter: how its word of the argument block is read."""

    name: str
    dtype: str | Placeholder  # a name from binding.SCALARS, or T, S, ...
    kind: str  # "pointer", "int", "real" (a float64's bits converted to T) or "float" (a float64's bits)

    def __repr__(self) -> str:
        return self.name


def pointer(dtype: str | Placeholder) -> Parameter:
    """Annotation for a pointer to `dtype`: a dtype name, or a placeholder such as `Placeholder("U")`."""
    return Parameter(f"{dtype}_ptr", dtype, "pointer")


T_ptr = pointer(T)
S_ptr = pointer(S)
f32_ptr = pointer("float32")
f64_ptr = pointer("float64")
i64_ptr = pointer("int64")
i32_ptr = pointer("int32")
u8_ptr = pointer("uint8")
i64 = Parameter("i64", "int64", "int")
real = Parameter("real", T, "real")
f64 = Parameter("f64", "float64", "float")


def _fastmath(flags: Iterable[str]) -> frozenset[str]:
    chosen = frozenset(flags)
    if chosen - _FASTMATH_ALLOWED:
        bad = ", ".join(sorted(chosen - _FASTMATH_ALLOWED))
        raise ValueError(
            f"fastmath flag {bad} would break NaN or inf; allowed are {sorted(_FASTMATH_ALLOWED)}."
        )
    return chosen


class Kernel:
    """A kernel before specialisation: `.py` (the plain function), `.name`, `.params` (annotations), `.grid`.

    `address()` yields the address of the compiled code.
    """

    def __init__(self, py: Any, fastmath: Iterable[str] = CONTRACT, grid: Callable[..., Any] | None = None):
        self.py, self.name, self.fastmath, self.grid = py, py.__name__, _fastmath(fastmath), grid
        self.__doc__, self.__name__, self.__wrapped__ = py.__doc__, py.__name__, py
        self.params = _parameters(py)
        self._addresses: dict[Any, int] = {}

    def __repr__(self) -> str:
        return f"<kernel {self.name}({', '.join(f'{n}: {p!r}' for n, p in self.params.items())})>"

    def address(self, T: str = "float32", S: str | None = None, **more: Any) -> int:
        """Address of the code for main dtype `T`, second dtype `S`, and further names (dtypes or numbers).

        Compiled at the first use on this machine, loaded from disk in later processes, a dict lookup after
        that.
        """
        key = (T, S, *sorted(more.items())) if more else (T, S)
        found = self._addresses.get(key)
        return self._load(key, {"T": T, "S": S, **more}) if found is None else found

    def _load(self, key: Any, env: binding.Env) -> int:
        with _LOCK:
            if key not in self._addresses:
                self._addresses[key] = load(self, complete(env))
            return self._addresses[key]


def _parameters(py: Any) -> dict[str, Parameter]:
    """The annotations of a kernel in order. Raises TypeError where one is missing or of another kind."""
    found: dict[str, Parameter] = {}
    for name in inspect.signature(py).parameters:
        note = py.__annotations__.get(name)
        if isinstance(note, str):
            note = py.__globals__.get(note)
        if not isinstance(note, Parameter):
            raise TypeError(
                f"kernel {py.__name__}: parameter {name!r} needs an annotation such as T_ptr, i64 or real."
            )
        found[name] = note
    return found


def kernel(
    py: Any = None, *, fastmath: Iterable[str] = CONTRACT, grid: Callable[..., Any] | None = None
) -> Any:
    """Decorator for a kernel (see the module's docstring). Wraps only; compiles nothing.

    `fastmath={"contract", "reassoc"}` lets a sum loop vectorise; flags that break NaN or inf raise
    ValueError. `grid` is the launch rule of a CUDA kernel and is only kept.
    """
    if py is None:
        return lambda fn: Kernel(fn, fastmath, grid)
    return Kernel(py, fastmath, grid)


def device(py: Any = None, *, fastmath: Iterable[str] | str = CONTRACT, inline: bool = True) -> Any:
    """Decorator for a helper of kernels, compiled for the caller's dtypes; callable as plain Python.

    `fastmath="inherit"` takes the calling kernel's flags (a combine step of a reduction wants that; exp does
    not). `inline=False` keeps a big helper out of line.
    """
    flags = None if fastmath == "inherit" else _fastmath(fastmath)
    if py is None:
        return lambda fn: Device(fn, flags, inline)
    return Device(py, flags, inline)


def from_source(text: str, name: str, **options: Any) -> Kernel:
    """The kernel `name` defined by generated source `text`, a whole module with its own imports.

    The text is written to a file named by its hash in the cache directory and run from there, so that
    tracebacks and pdb show it. Equal text gives the same Kernel object. If `text` does not decorate the
    function, `kernel(**options)` does.

    Example: `from_source("from numtorch.kernels.jit import i64, kernel\\n@kernel\\ndef nop(chunk: i64,
    nchunks: i64):\\n" "    return\\n", "nop").address()`
    """
    key = (hashlib.sha256(text.encode()).hexdigest(), name)
    with _LOCK:
        if key not in _GENERATED:
            path = cache.source_file(text, name)
            scope: dict[str, Any] = {"__name__": f"numtorch.kernels.generated.{name}", "__file__": path}
            exec(compile(text, path, "exec", dont_inherit=True), scope)
            made = scope[name]
            _GENERATED[key] = made if isinstance(made, Kernel) else kernel(made, **options)
        return _GENERATED[key]


# ---- from a kernel to an address ---------------------------------------------------------------------------

_LOCK = threading.RLock()  # held while a kernel is loaded or compiled
_GENERATED: dict[tuple[str, str], Kernel] = {}


def complete(env: binding.Env) -> binding.Env:
    """`env` with VL, the SIMD lanes of T, added. Raises TypeError for an unknown dtype name or no T."""
    from .target import target

    for name, value in env.items():
        if isinstance(value, str) and value not in SCALARS:
            raise TypeError(f"unknown dtype {value!r} for {name}; kernels know {', '.join(SCALARS)}.")
    if env.get("T") is None:
        raise TypeError("address() needs T, the main dtype, e.g. T='float32'.")
    return {"VL": target().lanes(env["T"]), **env}


def load(what: Kernel, env: binding.Env) -> int:
    """Address of `what` specialised by the complete `env`: from the object cache, else compiled now."""
    from . import engine

    names = list(what.params)
    if names[-2:] != ["chunk", "nchunks"]:
        raise TypeError(
            f"kernel {what.name}: the last two parameters must be chunk and nchunks, found {names}."
        )
    options = repr((what.name, sorted(env.items()), sorted(what.fastmath), list(what.params.values())))
    key = cache.key(options.encode(), binding.fingerprint(what.py, env))
    stored = cache.read(key)
    if stored is None:
        from . import compile_cpu

        stored = compile_cpu.compile_kernel(what, env)
        if stored.portable:
            cache.write(key, stored)
    return engine.load(stored)


@functools.cache
def load_native(py: Any) -> int:
    """Address of a plain function of int64 words that returns an int64, for the driver and the pool."""
    from . import engine

    names = list(inspect.signature(py).parameters)
    key = cache.key(repr(("native", py.__name__, names)).encode(), binding.fingerprint(py, {}))
    stored = cache.read(key)
    if stored is None:
        from . import compile_cpu

        stored = compile_cpu.compile_native(py, len(names))
        if stored.portable:
            cache.write(key, stored)
    return engine.load(stored)


def _in_forked_child() -> None:
    """A lock that another thread held at the fork would never be released in the child."""
    global _LOCK
    _LOCK = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)
