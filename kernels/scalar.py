"""Scalar mathematics for kernels: one text for float32 and float64, without branches, so that loops
vectorise.

    from numtorch.kernels.scalar import exp, tanh       # in a kernel: y[i] = tanh(x[i])

The parts: scalar_base.py (the table, bit tricks), scalar_exp.py (exponentials, logarithms, powers, hyperbolic
functions), scalar_special.py (trigonometry, error functions, gamma functions), and here rounding, signs,
remainders and comparisons. `MATH` says which function a body means by math.exp or numpy.exp.
"""

from __future__ import annotations

import math
from math import inf

import numpy as np

from .jit import T
from .memory import roundeven, select
from .scalar_base import (
    FUNCTIONS,
    cut,
    float_remainder,
    from_bfloat,
    from_half,
    function,
    root,
    round_down,
    round_up,
    to_bfloat,
    to_half,
)
from .scalar_base import copysign as with_sign
from .scalar_exp import (
    acosh,
    asinh,
    atanh,
    cosh,
    exp,
    exp2,
    expm1,
    log,
    log1p,
    log2,
    log10,
    power,
    sigmoid,
    sinh,
    tanh,
)
from .scalar_special import (
    acos,
    asin,
    atan,
    atan2,
    cos,
    digamma,
    erf,
    erfc,
    erfinv,
    i0,
    lgamma,
    normal_cdf,
    sin,
    tan,
)

# fmt: off
__all__ = [
    "ARGUMENTS",
    "FUNCTIONS",
    "INTEGER",
    "MATH",
    "PREDICATES",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "ceil",
    "copysign",
    "cos",
    "cosh",
    "digamma",
    "erf",
    "erfc",
    "erfinv",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "floor_divide",
    "floor_divide_int",
    "fmod",
    "fmod_int",
    "from_bfloat",
    "from_half",
    "hypot",
    "i0",
    "isfinite",
    "isinf",
    "isnan",
    "lgamma",
    "log",
    "log1p",
    "log2",
    "log10",
    "maximum",
    "minimum",
    "normal_cdf",
    "power",
    "power_int",
    "remainder",
    "remainder_int",
    "round_even",
    "rsqrt",
    "sigmoid",
    "sign",
    "signbit",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
    "to_bfloat",
    "to_half",
    "trunc",
]
# fmt: on


@function(lambda x: math.sqrt(x) if x >= 0 else math.nan)
def sqrt(x):
    """The correctly rounded square root; NaN below 0."""
    return root(x)


@function(lambda x: 1.0 / math.sqrt(x) if x > 0 else math.inf if x == 0 else math.nan)
def rsqrt(x):
    """1 / sqrt(x)."""
    return T(1.0) / sqrt(x)


@function(np.floor)
def floor(x):
    """The integer at or below x."""
    return round_down(x)


@function(np.ceil)
def ceil(x):
    """The integer at or above x."""
    return round_up(x)


@function(np.trunc)
def trunc(x):
    """The integer towards zero."""
    return cut(x)


@function(np.rint)
def round_even(x):
    """The nearest integer, ties to even."""
    return roundeven(x)


@function(np.sign)
def sign(x):
    """-1, 0 or 1; NaN of NaN."""
    one = select(x < T(0), T(-1), T(0))
    return select(x > T(0), T(1), select(x != x, x, one))


@function(np.maximum)
def maximum(a, b):
    """The larger one; NaN if either is."""
    return select((a > b) | (a != a), a, b)


@function(np.minimum)
def minimum(a, b):
    """The smaller one; NaN if either is."""
    return select((a < b) | (a != a), a, b)


@function(np.isnan)
def isnan(x):
    """Whether x is NaN."""
    return x != x


@function(np.isinf)
def isinf(x):
    """Whether x is infinite."""
    return abs(x) == T(inf)


@function(np.isfinite)
def isfinite(x):
    """Whether x is neither infinite nor NaN."""
    return abs(x) < T(inf)


@function(np.signbit)
def signbit(x):
    """Whether x has a minus sign, also -0 and -NaN."""
    return with_sign(T(1.0), x) < T(0.0)


@function(np.copysign)
def copysign(x, y):
    """|x| with the sign of y."""
    return with_sign(x, y)


@function(np.hypot)
def hypot(x, y):
    """sqrt(x**2 + y**2) without overflow, within 2 ulp."""
    a, b = abs(x), abs(y)
    high, low = select(a > b, a, b), select(a > b, b, a)
    ratio = low / select(high == T(0.0), T(1.0), high)
    far = (high == T(inf)) | (low == T(inf))
    return select(far, T(inf), high * sqrt(T(1.0) + ratio * ratio))


# ---- remainders --------------------------------------------------------------------------------------------


@function(np.fmod)
def fmod(a, b):
    """The remainder with the sign of a, exact; NaN for b = 0. Calls the C library."""
    return float_remainder(a, b)


@function(np.remainder)
def remainder(a, b):
    """The remainder with the sign of b, as Python's %; NaN for b = 0."""
    r = fmod(a, b)
    return select((r != T(0.0)) & ((b < T(0.0)) != (r < T(0.0))), r + b, r)


@function(np.floor_divide)
def floor_divide(a, b):
    """The integer at or below a / b as Python's //; a / b for b = 0."""
    r = fmod(a, b)
    q = (a - r) / b
    q = select((r != T(0.0)) & ((b < T(0.0)) != (r < T(0.0))), q - T(1.0), q)
    whole = floor(q)
    whole = select(q - whole > T(0.5), whole + T(1.0), whole)
    return select(b == T(0.0), a / b, select(q == T(0.0), a / b * T(0.0), whole))


@function(np.floor_divide)
def floor_divide_int(a, b):
    """a // b of integers; 0 for b = 0, and no trap where the result wraps around."""
    minus = (b == T(-1)) & (T(-1) < T(0))  # not 255 of uint8
    q = T(a // select((b == T(0)) | minus, T(1), b))
    return select(b == T(0), T(0), select(minus, T(-a), q))


@function(np.remainder)
def remainder_int(a, b):
    """a % b of integers with the sign of b; 0 for b = 0."""
    special = (b == T(0)) | ((b == T(-1)) & (T(-1) < T(0)))
    return select(special, T(0), T(a % select(special, T(1), b)))


@function(np.fmod)
def fmod_int(a, b):
    """The remainder of integers with the sign of a; 0 for b = 0."""
    r = remainder_int(a, b)
    return select((r != T(0)) & ((a < T(0)) != (b < T(0))), T(r - b), r)


@function(np.power)
def power_int(a, b):
    """a**b of integers by squaring, wrapping around; negative exponents give 0 (1 for 1, 1 or -1 for -1)."""
    result, base, left = T(1), a, b
    while left > T(0):
        if left & T(1):
            result = T(result * base)
        base = T(base * base)
        left = T(left >> T(1))
    if b < T(0):
        if a == T(1):
            return T(1)
        if a == T(-1):
            return T(1) if (b & T(1)) == T(0) else T(-1)
        return T(0)
    return result


PREDICATES = frozenset({"isnan", "isinf", "isfinite", "signbit"})
INTEGER = frozenset({
    "abs", "minimum", "maximum", "sign", "floor_divide_int", "remainder_int", "fmod", "fmod_int", "power_int",
})  # fmt: skip
ARGUMENTS: dict[str, tuple[str, ...]] = {}  # dtypes of arguments that are not those of the step

MATH = {name: name for name in FUNCTIONS if not name.endswith("_int")} | {
    "pow": "power", "fabs": "abs", "absolute": "abs", "rint": "round_even", "arcsin": "asin", "arccos": "acos",
    "arctan": "atan", "arctan2": "atan2", "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh",
}  # fmt: skip
