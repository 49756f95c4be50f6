"""Scalar mathematics on CUDA: libdevice's functions in place of those of scalar.py that are made of bit
tricks.

libdevice's are within 1 or 2 ulp in float32 and float64 and know the GPU's approximations. The other
functions of scalar.py are made of these, `T`, `select` and arithmetic, and serve both devices as they are.
"""

from __future__ import annotations

from functools import cache

from .. import scalar
from ..binding import Device, Intrinsic

LIBDEVICE = frozenset({
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "ceil", "copysign", "cos", "cosh", "erf",
    "erfc", "erfinv", "exp", "exp2", "expm1", "floor", "fmod", "hypot", "i0", "lgamma", "log",
    "log10", "log1p", "log2", "power", "rsqrt", "sin", "sinh", "sqrt", "tan", "tanh", "trunc",
})  # fmt: skip


@cache
def twin(value: Device) -> Device | Intrinsic:
    """The CUDA version of a device function: the intrinsic of its name where it is libdevice's, else itself.

    Interpreted and simulated, the intrinsic is the function's twin in plain Python.
    """
    if value.name not in LIBDEVICE or scalar.FUNCTIONS.get(value.name) is not value:
        return value
    plain = value.twin  # type: ignore[attr-defined]
    plain.__name__ = value.name
    return Intrinsic(plain, f"{__package__}.intrinsics")
