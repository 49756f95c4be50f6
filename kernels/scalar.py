"""Scalar mathematics for kernels."""

from __future__ import annotations

from math import (
    cos as _cos,
)
from math import (
    erf as _erf,
)
from math import (
    exp as _exp,
)
from math import (
    expm1 as _expm1,
)
from math import (
    floor as _floor,
)
from math import (
    log as _log,
)
from math import (
    log1p as _log1p,
)
from math import (
    pow as _pow,
)
from math import (
    sin as _sin,
)
from math import (
    sqrt as _sqrt,
)
from math import (
    tanh as _tanh,
)

from .binding import Device
from .jit import T, device
from .memory import roundeven, select

FUNCTIONS: dict[str, Device] = {}
PREDICATES = {"isnan", "isinf", "isfinite", "signbit"}


def _function(py):
    made = FUNCTIONS[py.__name__] = device(py)
    return made


@_function
def exp(x):
    return _exp(x)


@_function
def log(x):
    return _log(x)


@_function
def tanh(x):
    return _tanh(x)


@_function
def sqrt(x):
    return _sqrt(x)


@_function
def sin(x):
    return _sin(x)


@_function
def cos(x):
    return _cos(x)


@_function
def erf(x):
    return _erf(x)


@_function
def expm1(x):
    return _expm1(x)


@_function
def log1p(x):
    return _log1p(x)


@_function
def power(x, y):
    return _pow(x, y)


@_function
def sigmoid(x):
    return T(1.0) / (T(1.0) + _exp(-x))


@_function
def maximum(a, b):
    """The larger one; NaN if either is."""
    return select((a > b) | (a != a), a, b)


@_function
def minimum(a, b):
    """The smaller one; NaN if either is."""
    return select((a < b) | (a != a), a, b)


@_function
def isnan(x):
    return x != x


@_function
def round_even(x):
    return roundeven(x)


@_function
def floor_divide(a, b):
    return T(_floor(a / b))


@_function
def remainder(a, b):
    return a % b


MATH = {name: name for name in FUNCTIONS} | {"pow": "power", "maximum": "maximum", "minimum": "minimum"}


@_function
def power_int(a, b):
    """a ** b of integers by squaring; negative exponents give 0 (1 for 1, +-1 for -1)."""
    result = T(1)
    base, left = a, b
    while left > 0:
        if left & 1:
            result = T(result * base)
        base = T(base * base)
        left = T(left >> 1)
    if b < 0:
        odd = (b & 1) == 1
        return T(1) if a == 1 else (T(-1) if odd else T(1)) if a == -1 else T(0)
    return result


ARGUMENTS: dict[str, tuple[str, ...]] = {}
INTEGER = {"abs", "minimum", "maximum", "floor_divide_int", "remainder_int", "power_int"}
MATH = {name: name for name in FUNCTIONS} | {"pow": "power", "maximum": "maximum", "minimum": "minimum"}
