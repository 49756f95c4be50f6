"""Raw memory, stack buffers, scalar bit tricks and atomics for kernels.

Each function here is a stand-in: inside a compiled kernel it is the numba intrinsic of the same name
(intrinsics_cpu.py); called from plain Python it runs the body below, on `interpret.Pointer` objects, so that
a kernel can be stepped through.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np

from .binding import intrinsic
from .interpret import Pointer
from .jit import device

_numba = intrinsic(f"{__package__}.intrinsics_cpu")


@device
def split(units, chunk, nchunks):
    """`(lo, hi)`: the share of `chunk` when `units` are dealt to `nchunks` in contiguous, balanced pieces."""
    each = units // nchunks
    extra = units - each * nchunks
    lo = chunk * each + min(chunk, extra)
    hi = lo + each
    if chunk < extra:
        hi += 1
    return lo, hi


# ---- words of argument blocks ------------------------------------------------------------------------------


@_numba
def ldi(address: int, index: int) -> int:
    """The int64 word number `index` at `address`."""
    return ctypes.c_int64.from_address(int(address) + 8 * int(index)).value


@_numba
def sti(address: int, index: int, value: int) -> None:
    """Store `value` as the int64 word number `index` at `address`."""
    ctypes.c_int64.from_address(int(address) + 8 * int(index)).value = int(value)


@_numba
def ldf(address: int, index: int) -> float:
    """The float64 whose bits are word number `index` at `address`."""
    return ctypes.c_double.from_address(int(address) + 8 * int(index)).value


# ---- pointers ----------------------------------------------------------------------------------------------


@_numba
def pointer(address: int, dtype: Any) -> Any:
    """Pointer to `dtype` (such as T) from an address held in an integer."""
    raise TypeError(
        f"plain Python cannot check a pointer made from the number {address}; pass an interpret.Pointer."
    )


@_numba
def address_of(p: Any) -> int:
    """The address in the pointer `p`."""
    return p.address()


@_numba
def offset(p: Any, k: int) -> Any:
    """The pointer `k` elements after `p`."""
    return p.offset(k)


@_numba
def stack(count: int, dtype: Any) -> Any:
    """Pointer to an uninitialised, 64-byte aligned stack buffer; `count` is a compile-time constant."""
    return Pointer.poisoned(count, dtype)


@_numba
def copy(dst: Any, src: Any, count: int) -> None:
    """Copy `count` elements between two pointers of one type; they may overlap."""
    values = [src[i] for i in range(count)]
    for i, value in enumerate(values):
        dst[i] = value


@_numba
def prefetch(p: Any) -> None:
    """Ask for the cache line at `p`; never faults."""


# ---- scalars -----------------------------------------------------------------------------------------------


@_numba
def fma(a: Any, b: Any, c: Any) -> Any:
    """a * b + c, fused where the CPU can; three floats of one type."""
    return type(a)(a * b + c)


@_numba
def roundeven(x: Any) -> Any:
    """Nearest integer as a float, ties to even."""
    return type(x)(np.rint(x))


@_numba
def bitcast(x: Any, dtype: Any) -> Any:
    """The bits of `x` read as `dtype` of the same size, e.g. `bitcast(v, np.int32)`."""
    return np.array(x).view(dtype)[()]


@_numba
def select(condition: Any, a: Any, b: Any) -> Any:
    """`a` if `condition` else `b`, without a branch; both of one type."""
    return a if condition else b


# ---- atomics on int64 words (address is an integer), all sequentially consistent ---------------------------


@_numba
def atomic_load(address: int) -> int:
    """The word at `address`."""
    return ldi.py(address, 0)


@_numba
def atomic_store(address: int, value: int) -> None:
    """Store `value` at `address`."""
    sti.py(address, 0, value)


@_numba
def atomic_add(address: int, value: int) -> int:
    """Add `value` to the word at `address`; returns the old word."""
    old = ldi.py(address, 0)
    sti.py(address, 0, old + value)
    return old


@_numba
def atomic_or(address: int, value: int) -> int:
    """Or `value` into the word at `address`; returns the old word."""
    old = ldi.py(address, 0)
    sti.py(address, 0, old | value)
    return old


@_numba
def atomic_exchange(address: int, value: int) -> int:
    """Replace the word at `address` by `value`; returns the old word."""
    old = ldi.py(address, 0)
    sti.py(address, 0, value)
    return old


@_numba
def atomic_swap_if(address: int, expected: int, value: int) -> int:
    """If the word at `address` is `expected`, replace it by `value` and return 1; else return 0."""
    if ldi.py(address, 0) != expected:
        return 0
    sti.py(address, 0, value)
    return 1


@_numba
def pause() -> None:
    """Tell the CPU that this is a waiting loop."""


# ---- calls by address (driver and pool only) ---------------------------------------------------------------


@_numba
def call_kernel(fn: int, block: int, chunk: int, nchunks: int) -> None:
    """Call the compiled kernel at address `fn`."""
    ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 3)(fn)(block, chunk, nchunks)


@_numba
def call(fn: int, *words: int) -> int:
    """Call `int64 f(int64...)` at address `fn`."""
    return ctypes.PYFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * len(words))(fn)(*words)


@_numba
def call_variadic(fn: int, first: int, *words: int) -> int:
    """Call `int64 f(int64, ...)`, a C function with variable arguments, at address `fn`."""
    return ctypes.PYFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * (1 + len(words)))(fn)(first, *words)


@_numba
def call_float(fn: int, word: int) -> int:
    """The bits of the double that `f(int64)` at address `fn` returns."""
    value = ctypes.PYFUNCTYPE(ctypes.c_double, ctypes.c_int64)(fn)(word)
    return int(np.float64(value).view(np.int64)) if not math.isnan(value) else 0x7FF8000000000000
