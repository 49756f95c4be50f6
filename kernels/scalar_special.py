"""Trigonometric functions, the error function and its relatives, and other special functions."""

from __future__ import annotations

import math
from math import cos as _cos
from math import inf, nan
from math import lgamma as _lgamma
from math import sin as _sin
from math import tan as _tan

import numpy as np

from .jit import T
from .memory import fma, roundeven, select
from .scalar_base import (
    below_product,
    copysign,
    fabs,
    function,
    nearest_int,
    pick,
    polynomial,
    power_of_two,
    root,
)
from .scalar_exp import exp, log

erf_poly = polynomial("erf_poly")
erf_tail = polynomial("erf_tail")
erfc_poly = polynomial("erfc_poly")
asin_poly = polynomial("asin_poly")
atan_poly = polynomial("atan_poly")
exp2_poly = polynomial("exp2_poly")
exp2_short = polynomial("exp2_short")
normal_tail = polynomial("normal_tail")
erfinv_center = polynomial("erfinv_center")
erfinv_tail = polynomial("erfinv_tail")
i0_near = polynomial("i0_near")
i0_far = polynomial("i0_far")

# ---- the C library's, one element at a time ----------------------------------------------------------------


@function(np.sin)
def sin(x):
    """The sine, by the C library."""
    return _sin(x)


@function(np.cos)
def cos(x):
    """The cosine, by the C library."""
    return _cos(x)


@function(np.tan)
def tan(x):
    """The tangent, by the C library."""
    return _tan(x)


@function(math.lgamma)
def lgamma(x):
    """log(|gamma(x)|), by the C library."""
    return _lgamma(x)


# ---- inverse trigonometric functions -----------------------------------------------------------------------


@function(np.arctan)
def atan(x):
    """The arc tangent, within 2 ulp: of 1 / |x| where |x| > 1."""
    a = fabs(x)
    far = a > T(1.0)
    t = select(far, T(1.0), a) / select(far, a, T(1.0))
    p = fma(t * t * t, atan_poly(t * t), t)
    y = select(far, T(1.5707963267948966) - (p - pick(x, -4.371139e-08, 6.123233995736766e-17)), p)
    return copysign(y, x)


@function(np.arctan2)
def atan2(y, x):
    """The angle of the point (x, y), within 3 ulp; zeros and infinities as in C."""
    a, b = fabs(y), fabs(x)
    steep = a > b
    low, high = select(steep, b, a), select(steep, a, b)
    same = (low == high) & (high > T(0.0))
    t = select(same, T(1.0), low / select(high == T(0.0), T(1.0), high))
    p = fma(t * t * t, atan_poly(t * t), t)
    p = select(steep, T(1.5707963267948966) - (p - pick(x, -4.371139e-08, 6.123233995736766e-17)), p)
    back = copysign(T(1.0), x) < T(0.0)
    p = select(back, T(3.141592653589793) - (p - pick(x, -8.742278e-08, 1.2246467991473532e-16)), p)
    return select((x == x) & (y == y), copysign(p, y), T(nan))


@function(np.arcsin)
def asin(x):
    """The arc sine, within 2 ulp; NaN outside of [-1, 1]."""
    a = fabs(x)
    near = a < T(0.5)
    z = select(near, a * a, (T(1.0) - a) * T(0.5))
    s = select(near, a, root(z))
    p = fma(s * z, asin_poly(z), s)
    far = T(1.5707963267948966) - (p + p - pick(x, -4.371139e-08, 6.123233995736766e-17))
    return copysign(select(near, p, far), x)


@function(np.arccos)
def acos(x):
    """The arc cosine, within 2 ulp; NaN outside of [-1, 1]."""
    a = fabs(x)
    near = a < T(0.5)
    z = select(near, a * a, (T(1.0) - a) * T(0.5))
    s = select(near, x, root(z))
    p = fma(s * z, asin_poly(z), s)
    middle = T(1.5707963267948966) - (p - pick(x, -4.371139e-08, 6.123233995736766e-17))
    left = T(3.141592653589793) - (p + p - pick(x, -8.742278e-08, 1.2246467991473532e-16))
    return select(near, middle, select(x < T(0.0), left, p + p))


# ---- the error function ------------------------------------------------------------------------------------


@function(math.erf)
def erf(x):
    """The error function, within 2 ulp: x + x P(x**2) for small |x|, else 1 - 2**-Q(|x|)."""
    a = fabs(x)
    a = select(a > pick(x, 4.0, 6.0), pick(x, 4.0, 6.0), a)
    near = a < pick(x, 0.921875, 0.96875)
    z = select(near, a * a, T(0.0))
    q = erf_tail(select(near, T(1.0), a))  # 2**-q = erfc(a), never so small that exp2's care were needed
    t = pick(x, 12582912.0, 6755399441055744.0) - q
    r = (pick(x, 12582912.0, 6755399441055744.0) - t) - q
    tail = fma(-fma(r, exp2_poly(r), T(1.0)), power_of_two(x, nearest_int(t)), T(1.0))
    return select(x == x, copysign(select(near, fma(a, erf_poly(z), a), tail), x), x)


@function(math.erfc)
def erfc(x):
    """1 - erf(x), within 4 ulp also where it is tiny.

    (1 + 2 x) exp(x**2) erfc(x) is a polynomial in (x - k) / (x + k) (M. Shepherd and J. Laframboise,
    Mathematics of Computation 36, 1981).
    """
    a = fabs(x)
    near = a < T(0.5)
    v = select(a > pick(x, 11.0, 28.0), pick(x, 11.0, 28.0), a)
    t = (v - pick(x, 2.0, 4.0)) / (v + pick(x, 2.0, 4.0))
    square = v * v
    e = exp(-square)
    e = fma(-e, below_product(v, v, square), e)
    far = e * (erfc_poly(t) / fma(T(2.0), v, T(1.0)))
    far = select(x < T(0.0), T(2.0) - far, far)
    inner = select(near, x, T(0.0))
    return select(x == x, select(near, T(1.0) - fma(inner, erf_poly(inner * inner), inner), far), x)


@function(lambda x: 0.5 * math.erfc(-x * math.sqrt(0.5)))
def normal_cdf(x):
    """The area under the standard normal curve up to x, within 1.1 ulp of 1 and no better where it is tiny: 1 - 2**-Q(|x|)
    or 2**-Q(|x|), 0 below -8 (float64: -9)."""
    a = fabs(x)
    limit = pick(x, 8.0, 9.0)
    q = normal_tail(select(a > limit, limit, a))
    t = pick(x, 12582912.0, 6755399441055744.0) - q
    r = (pick(x, 12582912.0, 6755399441055744.0) - t) - q
    tail = fma(r, exp2_short(r), T(1.0)) * power_of_two(x, nearest_int(t))
    tail = select(a > limit, T(0.0), tail)
    return select(x < T(0.0), tail, T(1.0) - tail)


def _erfinv(x: float) -> float:
    from statistics import NormalDist

    if not -1.0 < x < 1.0:
        return math.copysign(math.inf, x) if abs(x) == 1.0 else math.nan
    return NormalDist().inv_cdf((x + 1.0) / 2.0) / math.sqrt(2.0)


@function(_erfinv)
def erfinv(x):
    """The inverse of erf, within 4 ulp; infinite at -1 and 1, NaN outside.

    A first guess in w = -log(1 - x**2) (the variable is M. Giles's, Approximating the erfinv function, 2010),
    then one step of Halley's method on erf or, in the tails, on erfc.
    """
    a = fabs(x)
    v = select(a < T(1.0), a, T(0.5))
    w = -log((T(1.0) - v) * (T(1.0) + v))
    near = w < T(5.0)
    guess = v * select(near, erfinv_center(w - T(2.5)), erfinv_tail(root(select(near, T(9.0), w)) - T(3.0)))
    error = select(v < T(0.5), erf(guess) - v, (T(1.0) - v) - erfc(guess))
    step = error / (T(1.1283791670955126) * exp(-guess * guess))
    y = guess - step / fma(guess, step, T(1.0))
    y = select(a == T(1.0), T(inf), select(a < T(1.0), y, T(nan)))
    return select(x == T(0.0), x, copysign(y, x))


# ---- gamma and Bessel functions ----------------------------------------------------------------------------


def _digamma(x: float) -> float:
    if x <= 0.0 and x == math.floor(x):
        return math.copysign(math.inf, -x) if x == 0.0 else math.nan
    if x < 0.5:
        return _digamma(1.0 - x) - math.pi / math.tan(math.pi * (x - round(x)))
    total = 0.0
    while x < 12.0:
        total, x = total - 1.0 / x, x + 1.0
    z = 1.0 / (x * x)
    series = z * (1 / 12 - z * (1 / 120 - z * (1 / 252 - z * (1 / 240 - z * (1 / 132)))))
    return total + math.log(x) - 0.5 / x - series


@function(_digamma)
def digamma(x):
    """The derivative of lgamma, within a few ulp of max(1, |result|): recurrence, then the asymptotic
    series."""
    left = x < T(0.5)
    v = select(left, T(1.0) - x, x)
    total = T(0.0)
    for _ in range(10):
        low = v < T(10.0)
        total = total - select(low, T(1.0) / v, T(0.0))
        v = select(low, v + T(1.0), v)
    z = T(1.0) / (v * v)
    series = T(1.0 / 132.0) - z * (T(691.0 / 32760.0) - z * T(1.0 / 12.0))
    series = T(1.0 / 12.0) - z * (T(1.0 / 120.0) - z * (T(1.0 / 252.0) - z * (T(1.0 / 240.0) - z * series)))
    y = total + (log(v) - T(0.5) / v - z * series)
    turn = x - roundeven(x)
    y = select(left, y - T(3.141592653589793) / tan(T(3.141592653589793) * select(left, turn, T(0.25))), y)
    pole = select(x == T(0.0), copysign(T(inf), -x), T(nan))
    return select((x <= T(0.0)) & (turn == T(0.0)), pole, y)


@function(np.i0)
def i0(x):
    """The modified Bessel function of order 0, within 4 ulp."""
    a = fabs(x)
    near = a < T(8.0)
    v = select(near, T(8.0), a)
    w = select(near, a, T(0.0))
    e = exp(T(0.5) * v)  # in two factors, because exp(x) would overflow too early
    far = e * (i0_far(T(16.0) / v - T(1.0)) / root(v)) * e
    return select(near, i0_near(w * w), select(a < T(inf), far, a))
