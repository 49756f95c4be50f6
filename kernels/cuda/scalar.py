"""Scalar mathematics on CUDA: the functions of kernels/scalar.py whose CPU text is made for vector units.

Here they are libdevice's (1-2 ulp in float32 and float64). `twin` exchanges a device function of
kernels/scalar.py for the one of the same name, so that a scalar body reads the same on both devices. The
bodies below are what a simulated kernel runs; a compiled one gets the intrinsic of the same name in
intrinsics.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np

from .. import scalar
from ..binding import Device, Intrinsic

FUNCTIONS: dict[str, Intrinsic] = {}


def _libdevice(name: str, python: Callable[..., Any]) -> Intrinsic:
    """The function `name` of libdevice; `python` computes the same of NumPy scalars."""

    def body(*args: Any) -> Any:
        return type(args[0])(python(*args))

    body.__name__, body.__doc__ = name, f"{name} by libdevice, in the dtype of its arguments."
    FUNCTIONS[name] = Intrinsic(body, f"{__package__}.intrinsics")
    return FUNCTIONS[name]


def _gamma(x: Any) -> float:
    try:
        return math.gamma(x)
    except (OverflowError, ValueError):
        return math.inf if x > 0 else math.nan


def _lgamma(x: Any) -> float:
    try:
        return math.lgamma(x)
    except (OverflowError, ValueError):
        return math.inf


def _erfinv(x: Any) -> float:
    if not -1.0 < x < 1.0:
        return math.copysign(math.inf, x) if abs(x) == 1.0 else math.nan
    return NormalDist().inv_cdf((float(x) + 1.0) / 2.0) / math.sqrt(2.0)


exp, exp2, expm1 = _libdevice("exp", np.exp), _libdevice("exp2", np.exp2), _libdevice("expm1", np.expm1)
log, log2, log10 = _libdevice("log", np.log), _libdevice("log2", np.log2), _libdevice("log10", np.log10)
log1p, sqrt = _libdevice("log1p", np.log1p), _libdevice("sqrt", np.sqrt)
sin, cos, tan = _libdevice("sin", np.sin), _libdevice("cos", np.cos), _libdevice("tan", np.tan)
asin, acos, atan = _libdevice("asin", np.arcsin), _libdevice("acos", np.arccos), _libdevice("atan", np.arctan)
sinh, cosh, tanh = _libdevice("sinh", np.sinh), _libdevice("cosh", np.cosh), _libdevice("tanh", np.tanh)
asinh, acosh = _libdevice("asinh", np.arcsinh), _libdevice("acosh", np.arccosh)
atanh, atan2 = _libdevice("atanh", np.arctanh), _libdevice("atan2", np.arctan2)
erf, erfc, erfinv = _libdevice("erf", math.erf), _libdevice("erfc", math.erfc), _libdevice("erfinv", _erfinv)
gamma, lgamma = _libdevice("gamma", _gamma), _libdevice("lgamma", _lgamma)
floor, ceil = _libdevice("floor", np.floor), _libdevice("ceil", np.ceil)
trunc, power = _libdevice("trunc", np.trunc), _libdevice("power", np.power)
fmod, hypot = _libdevice("fmod", np.fmod), _libdevice("hypot", np.hypot)
rsqrt = _libdevice("rsqrt", lambda x: 1.0 / np.sqrt(x))


def twin(value: Device) -> Device | Intrinsic:
    """The CUDA version of a device function of kernels/scalar.py; any other device function as it is."""
    if scalar.FUNCTIONS.get(value.name) is value:
        return FUNCTIONS.get(value.name, value)
    return value
