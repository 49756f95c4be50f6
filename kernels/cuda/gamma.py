"""lgamma of float32 in float32 only (libdevice's takes a float64 sine); float64 is libdevice's.

Between 0.75 and 3 it is (x - 1) (x - 2) Q(x - 2), which keeps its zeros exact; below, lgamma(1 + x) - log(x);
up to 8 the argument is brought into [2, 3) by recurrence; beyond, Stirling's series; negative numbers by
reflection. Q was fitted by the Remez exchange (2^-28).
"""

from __future__ import annotations

from math import inf

from numpy import float32

from ..jit import device
from ..memory import fma, roundeven, select
from ..scalar_base import fabs, pick
from ..scalar_exp import log
from ..scalar_special import lgamma as _lgamma
from .trigonometry import cosine, is_narrow, libdevice, sine

wide_lgamma = libdevice(_lgamma, "lgamma")


@device
def _q(w):
    """lgamma(2 + w) / ((1 + w) w) for -1.25 <= w <= 1."""
    p = fma(w, float32(-1.13533397e-05), float32(-1.00331408e-06))
    p = fma(w, fma(w, p, float32(3.42925123e-05)), float32(2.30828046e-05))
    p = fma(w, fma(w, p, float32(-7.60418916e-05)), float32(1.48266653e-05))
    p = fma(w, fma(w, p, float32(-3.63585314e-05)), float32(1.99516289e-04))
    p = fma(w, fma(w, p, float32(-4.26174869e-04)), float32(9.09272465e-04))
    p = fma(w, fma(w, p, float32(-2.10343977e-03)), float32(4.99965716e-03))
    p = fma(w, fma(w, p, float32(-1.23846745e-02)), float32(3.29649374e-02))
    return fma(w, fma(w, p, float32(-0.100317284)), float32(0.422784328))


@device
def _positive(a):
    """lgamma of a > -0.25, not 0."""
    low, high = a < float32(0.75), a >= float32(8.0)
    t, product = a, float32(1.0)
    for _ in range(5):
        more = (t >= float32(3.0)) & (a < float32(8.0))
        t = select(more, t - float32(1.0), t)
        product = select(more, product * t, product)
    part = log(select(high, a, select(low, fabs(a), product)))
    first = select(low, a, t - float32(1.0))
    second = select(low, a - float32(1.0), t - float32(2.0))
    near = fma(first * second, _q(second), select(low, -part, part))
    z = float32(1.0) / select(high, a, float32(8.0))
    series = fma(z * z, fma(z * z, float32(0.000780058326), float32(-0.00277769892)), float32(0.0833333358))
    far = fma(a - float32(0.5), part - float32(1.0), fma(z, series, float32(0.41893853)))
    return select(high, far, near)


@device
def narrow_lgamma(x):
    """lgamma of a float32."""
    a = fabs(x)
    left = x < float32(-0.25)
    y = _positive(select(left, a, x))
    turn = fabs(a - roundeven(a))  # of half a circle
    part = select(turn > float32(0.25), float32(0.5) - turn, turn)
    r, tail = part * float32(3.1415927), part * float32(-8.742278e-08)
    s = select(turn > float32(0.25), cosine(r, tail), sine(r, tail))
    reflected = log(float32(3.1415927) / (a * select(s == float32(0.0), float32(1.0), s))) - y
    y = select(left, select(turn == float32(0.0), float32(inf), reflected), y)
    return select((x == float32(0.0)) | (a == float32(inf)), float32(inf), y)


@device
def lgamma(x):
    """log(|gamma(x)|) of a float."""
    if is_narrow(x):
        return pick(x, 1.0, 1.0) * narrow_lgamma(float32(x))
    return wide_lgamma(x)
