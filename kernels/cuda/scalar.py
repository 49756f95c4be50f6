"""Scalar mathematics on CUDA: libdevice's functions in place of those of scalar.py that are made of bit
tricks.

libdevice's are within 1 or 2 ulp in float32 and float64 and know the GPU's approximations; those that would
bring float64 or local memory into float32 kernels are written here (trigonometry.py, gamma.py). The other
functions of scalar.py are made of these, `T`, `select` and arithmetic, and serve both devices as they are.
"""

from __future__ import annotations

from functools import cache

from .. import scalar
from ..binding import Device, Intrinsic
from . import gamma, trigonometry

LIBDEVICE = frozenset({
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "ceil", "copysign", "cosh", "erf",
    "erfc", "erfinv", "exp", "exp2", "expm1", "floor", "fmod", "hypot", "i0", "log",
    "log10", "log1p", "log2", "normal_cdf", "power", "rsqrt", "sinh", "sqrt", "tanh", "trunc",
})  # fmt: skip


OWN = {"sin": trigonometry.sin, "cos": trigonometry.cos, "tan": trigonometry.tan, "lgamma": gamma.lgamma}


@cache
def twin(value: Device) -> Device | Intrinsic:
    """The CUDA version of a device function: its own or libdevice's of that name where there is one, else itself.

    Interpreted and simulated, the intrinsic is the function's twin in plain Python.
    """
    if scalar.FUNCTIONS.get(value.name) is not value or value.name not in LIBDEVICE | OWN.keys():
        return value
    if value.name in OWN:
        return OWN[value.name]
    plain = value.twin  # type: ignore[attr-defined]
    plain.__name__ = value.name
    return Intrinsic(plain, f"{__package__}.intrinsics")
