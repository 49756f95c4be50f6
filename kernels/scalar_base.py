"""What the functions of scalar.py are made of: their table, and the bit tricks that they share.

Each function is written once, in plain Python, for float32 and float64: `T(...)` marks literals, `pick(x, a,
b)` chooses a constant by the dtype of x. None of them branches, so that LLVM vectorises the loop around a
call. Every function has a twin in plain Python (NumPy's or math's function) for interpreted kernels. On CUDA,
those that are made of bit tricks are replaced by libdevice's (cuda/scalar.py); the others are made of such
functions, T, select and arithmetic only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import float32, int16, int32

from .binding import Device, intrinsic
from .jit import device
from .memory import bitcast, select

FUNCTIONS: dict[str, Device] = {}
_numba = intrinsic(f"{__package__}.intrinsics_scalar")

LOG2_E = 1.4426950408889634  # log2(e)
LN_2 = 0.6931471805599453


def exact(py: Callable[..., Any]) -> Device:
    """Decorator: a device function in which nothing is fused or reordered unless it says so (`fma`)."""
    return device(py, fastmath=())


def function(twin: Callable[..., Any]) -> Callable[[Callable[..., Any]], Device]:
    """Decorator: enter a device function into the table; `twin` computes the same with Python floats."""

    def enter(py: Callable[..., Any]) -> Device:
        made = FUNCTIONS[py.__name__] = exact(py)
        made.twin = _typed(twin)  # type: ignore[attr-defined]
        return made

    return enter


def _typed(twin: Callable[..., Any]) -> Callable[..., Any]:
    """`twin` on NumPy scalars, with the first argument's type as result; domain errors give NaN, overflow
    inf."""

    def plain(*args: Any) -> Any:
        kind = type(args[0])
        with np.errstate(all="ignore"):
            try:
                value = twin(*(float(a) for a in args))
            except OverflowError:
                value = math.inf
            except ValueError:
                value = math.nan
            return value if isinstance(value, (bool, np.bool_)) else kind(value)

    return plain


# ---- bit tricks --------------------------------------------------------------------------------------------


@_numba
def pick(x: Any, narrow: float, wide: float) -> Any:
    """`narrow` if x is float32, `wide` if it is float64, as a number of that type."""
    return type(x)(narrow if isinstance(x, np.float32) else wide)


@_numba
def nearest_int(t: Any) -> Any:
    """The integer n (int32 or int64) of t = v + m, where v is any number, n the nearest integer, m = 1.5 *
    2**(digits)."""
    kind, magic = (np.int32, 0x4B400000) if isinstance(t, np.float32) else (np.int64, 0x4338000000000000)
    return kind(int(t.view(kind)) - magic)


@_numba
def scale(y: Any, k: Any) -> Any:
    """y * 2**k rounded once, also where that is denormal; |k| below twice the largest exponent."""
    return type(y)(math.ldexp(float(y), int(k)))


@_numba
def power_of_two(x: Any, k: Any) -> Any:
    """2**k in the type of x; k within the exponents of normal numbers."""
    with np.errstate(over="ignore"):  # for a NaN, k is no exponent, and the result does not matter
        return np.ldexp(type(x)(1), int(k))


@_numba
def exponent(x: Any) -> Any:
    """The integer k with sqrt(1/2) <= x / 2**k < sqrt(2), for a positive normal x."""
    k = math.frexp(float(x))[1]
    return k - 1 if math.ldexp(float(x), -k) < float(type(x)(math.sqrt(0.5))) else k


@_numba
def without_exponent(x: Any, k: Any) -> Any:
    """x / 2**k, exact, where x and the result are normal."""
    return type(x)(math.ldexp(float(x), -int(k)))


@_numba
def number(x: Any, k: Any) -> Any:
    """The integer k as a number of the type of x."""
    return type(x)(k)


@_numba
def below_product(a: Any, b: Any, p: Any) -> Any:
    """a * b - p without rounding, where p is the rounded product."""
    from fractions import Fraction

    return type(a)(float(Fraction(float(a)) * Fraction(float(b)) - Fraction(float(p))))


@_numba
def float_remainder(a: Any, b: Any) -> Any:
    """C's fmod."""
    with np.errstate(all="ignore"):
        return np.fmod(a, b)


@_numba
def top_digits(x: Any) -> Any:
    """x without the lower half of its digits."""
    bits = x.view(np.uint32 if isinstance(x, np.float32) else np.uint64)
    return type(bits)(int(bits) & (0xFFFFF000 if isinstance(x, np.float32) else 0xFFFFFFFFF8000000)).view(
        type(x)
    )


@_numba
def fabs(x: Any) -> Any:
    """The absolute value of a float."""
    return type(x)(abs(x))


@_numba
def root(x: Any) -> Any:
    """The correctly rounded square root."""
    return type(x)(math.sqrt(x)) if x >= 0 else type(x)(math.nan)


@_numba
def round_down(x: Any) -> Any:
    """The integer at or below x, as a float."""
    return np.floor(x)


@_numba
def round_up(x: Any) -> Any:
    """The integer at or above x, as a float."""
    return np.ceil(x)


@_numba
def cut(x: Any) -> Any:
    """The integer towards zero, as a float."""
    return np.trunc(x)


@_numba
def copysign(x: Any, y: Any) -> Any:
    """|x| with the sign of y."""
    return type(x)(math.copysign(x, y))


@_numba
def from_half(bits: Any) -> Any:
    """The float32 of a float16 that is given by its bits, a uint16."""
    return np.float32(np.uint16(bits).view(np.float16))


@_numba
def to_half(x: Any) -> Any:
    """The bits, a uint16, of the float16 nearest to a float32, ties to even."""
    with np.errstate(over="ignore"):
        return np.float16(np.float32(x)).view(np.uint16)


@exact
def from_bfloat(bits):
    """The float32 of a bfloat16 that is given by its bits, an int16: they are its upper half."""
    return bitcast(int32(int32(bits) << int32(16)), float32)


@exact
def to_bfloat(x):
    """The bits, an int16, of the bfloat16 nearest to a float32, ties to even."""
    bits = bitcast(x, int32)
    odd = int32(int32(bits >> int32(16)) & int32(1))
    rounded = int32(int32(int32(bits + int32(0x7FFF)) + odd) >> int32(16))
    return int16(select(x == x, rounded, int32(0x7FC0)))


def polynomial(name: str) -> Any:
    """The polynomial `name` of intrinsics_polynomials.py, callable in kernels."""
    from .binding import Intrinsic
    from .intrinsics_polynomials import horner

    def plain(x: Any) -> Any:
        return horner(name, x)

    plain.__name__ = plain.__qualname__ = name
    return Intrinsic(plain, f"{__package__}.intrinsics_polynomials")
