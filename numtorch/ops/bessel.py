"""Bessel and Airy functions: scalar bodies that hold for any precision, with their derivatives."""

# The bodies name ops of these files, which are objects with a call of their own.
from __future__ import annotations

import math

from .elementwise import abs, atan, cos, exp, floor, log, log1p, sign, sin, sinh, sqrt, where
from .elementwise_more import i0, i1
from .pointwise import elementwise

INF = math.inf
NAN = math.nan
PI = math.pi
EULER = 0.5772156649015329
TWO_OVER_PI = 2.0 / math.pi
SQRT_HALF = math.sqrt(0.5)
AIRY_SCALE = 0.1 * math.sqrt(0.5) * math.sqrt(1.0 / math.pi) / math.gamma(5.0 / 6.0)


def _recurred(x):
    """J0, J1, Y0, Y1 for 0 < x <= 25, by Miller's backward recurrence and Neumann's series.

    With the ratios J[n] / J[n-1] a series c[0] J[0] + c[1] J[1] + ... is J[0] times a nested sum; the first one,
    1 = J[0] + 2 J[2] + 2 J[4] + ..., gives J[0] itself.
    """
    k = floor(12.0 + 0.75 * x)
    turn = 1.0 - 2.0 * (k - 2.0 * floor(0.5 * k))
    ratio = 0.0 * x
    one = ratio
    even = ratio
    odd = ratio
    while k > 0.0:
        below = 4.0 * k - x * ratio
        if below == 0.0:
            below = 1e-20 + ratio * 0.0
        ratio = x / below
        one = ratio * (one + 2.0)
        even = ratio * (even + turn / k)
        odd = ratio * odd
        if k > 1.0:
            odd = odd + turn * (1.0 / k + 1.0 / (k - 1.0))
        else:
            odd = odd - 1.0
        below = 4.0 * k - 2.0 - x * ratio
        if below == 0.0:
            below = 1e-20 + ratio * 0.0
        ratio = x / below
        one = ratio * one
        even = ratio * even
        odd = ratio * odd
        turn = -turn
        k = k - 1.0
    j0 = 1.0 / (1.0 + one)
    j1 = ratio * j0
    logarithm = log(0.5 * x) + EULER
    y0 = TWO_OVER_PI * (logarithm * j0 - 2.0 * even * j0)
    y1 = TWO_OVER_PI * (logarithm * j1 + (odd - 1.0 / x) * j0)
    return j0, j1, y0, y1


def _hankel(x, order):
    """J and Y of order 0 or 1 for x > 25, by Hankel's asymptotic series."""
    term = 0.0 * x + 1.0
    p = 0.0 * x
    q = 0.0 * x
    square = 4.0 * order * order
    for k in range(0, 20, 4):
        p = p + term
        term = term * (square - (2.0 * k + 1.0) * (2.0 * k + 1.0)) / (8.0 * (k + 1.0) * x)
        q = q + term
        term = term * (square - (2.0 * k + 3.0) * (2.0 * k + 3.0)) / (8.0 * (k + 2.0) * x)
        p = p - term
        term = term * (square - (2.0 * k + 5.0) * (2.0 * k + 5.0)) / (8.0 * (k + 3.0) * x)
        q = q - term
        term = term * (square - (2.0 * k + 7.0) * (2.0 * k + 7.0)) / (8.0 * (k + 4.0) * x)
    # cos and sin of x - (order / 2 + 1 / 4) pi, without rounding that difference
    c = SQRT_HALF * (cos(x) + sin(x))
    s = SQRT_HALF * (sin(x) - cos(x))
    if order > 0.5:
        turned = s
        s = -c
        c = turned
    scale = sqrt(TWO_OVER_PI / x)
    return scale * (p * c - q * s), scale * (p * s + q * c)


@elementwise("float", domain=(0.3, 40.0), half_ok=False)
def bessel_j0(input):
    """The Bessel function of the first kind of order 0."""
    x = abs(input)
    if x <= 25.0:
        j0, _j1, _y0, _y1 = _recurred(x)
        return j0
    j, _y = _hankel(x, 0.0)
    return j


@bessel_j0.grad
def bessel_j0_grad(g, input):
    return -g * bessel_j1(input)


@elementwise("float", domain=(0.3, 40.0), half_ok=False)
def bessel_j1(input):
    """The Bessel function of the first kind of order 1."""
    x = abs(input)
    if x <= 25.0:
        _j0, j1, _y0, _y1 = _recurred(x)
        return sign(input) * j1
    j, _y = _hankel(x, 1.0)
    return sign(input) * j


@bessel_j1.grad
def bessel_j1_grad(g, input, y):
    return g * where(input == 0.0, 0.5, bessel_j0(input) - y / input)


@elementwise("float", domain=(0.3, 40.0), half_ok=False)
def bessel_y0(input):
    """The Bessel function of the second kind of order 0: -inf at 0, NaN below."""
    if input == 0.0:
        return -INF + input
    if input < 0.0:
        return NAN + input
    if input <= 25.0:
        _j0, _j1, y0, _y1 = _recurred(input)
        return y0
    _j, y = _hankel(input, 0.0)
    return y


@bessel_y0.grad
def bessel_y0_grad(g, input):
    return -g * bessel_y1(input)


@elementwise("float", domain=(0.3, 40.0), half_ok=False)
def bessel_y1(input):
    """The Bessel function of the second kind of order 1: -inf at 0, NaN below."""
    if input == 0.0:
        return -INF + input
    if input < 0.0:
        return NAN + input
    if input <= 25.0:
        _j0, _j1, _y0, y1 = _recurred(input)
        return y1
    _j, y = _hankel(input, 1.0)
    return y


@bessel_y1.grad
def bessel_y1_grad(g, input, y):
    return g * (bessel_y0(input) - y / input)


# -- modified


@elementwise("float", half_ok=False)
def modified_bessel_i0(input):
    """The modified Bessel function of the first kind of order 0."""
    return i0(input)


@modified_bessel_i0.grad
def modified_bessel_i0_grad(g, input):
    return g * modified_bessel_i1(input)


@elementwise("float", half_ok=False)
def modified_bessel_i1(input):
    """The modified Bessel function of the first kind of order 1."""
    return i1(input)


@modified_bessel_i1.grad
def modified_bessel_i1_grad(g, input, y):
    x = where(input == 0.0, 1.0, input)
    return g * where(input == 0.0, 0.5, modified_bessel_i0(input) - y / x)


def _small_k(x):
    """K0 and K1 for 0 < x < 1, by their power series."""
    z = 0.25 * x * x
    logarithm = log(0.5 * x) + EULER
    term = 0.0 * x + 1.0
    harmonic = 0.0 * x
    k0 = 0.0 * x
    k1 = 0.0 * x
    for k in range(1, 12):
        k0 = k0 + term * (harmonic - logarithm)
        k1 = k1 + term / k * (logarithm - harmonic - 0.5 / k)
        term = term * z / (1.0 * k * k)
        harmonic = harmonic + 1.0 / k
    return k0, 1.0 / x + 0.5 * x * k1


def _scaled_k(x, order):
    """exp(x) K[order](x): the integral of exp(-x (cosh(t) - 1)) cosh(order t) over t > 0 by the trapezoidal rule.

    The integrand falls doubly exponentially, so that 24 equal steps give double precision from x = 0.5 on.
    """
    w = 40.0 / x
    step = log1p(w + sqrt(w * (w + 2.0))) / 24.0
    total = 0.0 * x + 0.5
    for k in range(1, 25):
        s = sinh(0.5 * step * k)
        turn = exp(order * step * k)
        total = total + exp(-2.0 * x * s * s) * 0.5 * (turn + 1.0 / turn)
    return step * total


def _k(x, order, scaled):
    if x == 0.0:
        return INF + x
    if x < 0.0:
        return NAN + x
    if x == INF:
        return 0.0 * order
    if x < 1.0:
        k0, k1 = _small_k(x)
        if order > 0.5:
            k0 = k1
        if scaled > 0.5:
            k0 = k0 * exp(x)
        return k0
    if scaled > 0.5:
        return _scaled_k(x, order)
    return _scaled_k(x, order) * exp(-x)


@elementwise("float", half_ok=False)
def modified_bessel_k0(input):
    """The modified Bessel function of the second kind of order 0: inf at 0, NaN below."""
    return _k(input, 0.0, 0.0)


@modified_bessel_k0.grad
def modified_bessel_k0_grad(g, input):
    return -g * modified_bessel_k1(input)


@elementwise("float", half_ok=False)
def modified_bessel_k1(input):
    """The modified Bessel function of the second kind of order 1: inf at 0, NaN below."""
    return _k(input, 1.0, 0.0)


@modified_bessel_k1.grad
def modified_bessel_k1_grad(g, input, y):
    return -g * (modified_bessel_k0(input) + y / input)


@elementwise("float", half_ok=False)
def scaled_modified_bessel_k0(input):
    """``exp(x) * modified_bessel_k0(x)``."""
    return _k(input, 0.0, 1.0)


@scaled_modified_bessel_k0.grad
def scaled_modified_bessel_k0_grad(g, input, y):
    return g * (y - scaled_modified_bessel_k1(input))


@elementwise("float", half_ok=False)
def scaled_modified_bessel_k1(input):
    """``exp(x) * modified_bessel_k1(x)``."""
    return _k(input, 1.0, 1.0)


@scaled_modified_bessel_k1.grad
def scaled_modified_bessel_k1_grad(g, input, y):
    return g * (y - scaled_modified_bessel_k0(input) - y / input)


# -- spherical, Airy


@elementwise("float", half_ok=False)
def spherical_bessel_j0(input):
    """The spherical Bessel function of order 0: sin(x) / x."""
    return where(input == 0.0, 1.0, where(abs(input) == INF, 0.0, sin(input) / input))


@spherical_bessel_j0.grad
def spherical_bessel_j0_grad(g, input, y):
    return g * where(input == 0.0, 0.0, (cos(input) - y) / input)


def _small_airy(x):
    """Ai near 0 by its power series: c1 f(x) - c2 g(x)."""
    cube = x * x * x
    f = 0.0 * x + 0.35502805388781724
    g = 0.25881940379280680 * x
    total = f - g
    for k in range(11):
        f = f * cube / ((3.0 * k + 2.0) * (3.0 * k + 3.0))
        g = g * cube / ((3.0 * k + 3.0) * (3.0 * k + 4.0))
        total = total + (f - g)
    return total


def _waving_airy(x):
    """Ai(-x) for x > 1.5: Ai is K[1/3] on the imaginary axis, whose integral has the weight exp(-u) u**(-1/6).

    With u = exp(t - exp(-t)) the integrand falls doubly exponentially on both sides: equal steps in t.
    """
    zeta = x * sqrt(x) / 1.5
    cosine = 0.0 * x
    sine = 0.0 * x
    for k in range(-38, 39):
        t = 0.1 * k
        e = exp(-t)
        u = exp(t - e)
        far = 0.5 * u / zeta
        weight = exp(-u) * pow(u, 0.8333333333333334) * (1.0 + e) * pow(1.0 + far * far, -0.08333333333333333)
        angle = atan(far) / 6.0
        cosine = cosine + weight * cos(angle)
        sine = sine + weight * sin(angle)
    wave = sin(zeta) + cos(zeta)
    other = sin(zeta) - cos(zeta)
    # 2 / pi sqrt(x / 3) sqrt(pi / (2 zeta)) / Gamma(5 / 6), times the step 0.1 and sin(pi / 4)
    return AIRY_SCALE * (wave * cosine + other * sine) / sqrt(sqrt(x))


@elementwise("float", domain=(-4.0, 6.0), half_ok=False)
def airy_ai(input):
    """The Airy function Ai."""
    if input > 1.0:
        zeta = input * sqrt(input) / 1.5
        return exp(-zeta) * sqrt(input / 3.0) * _scaled_k(zeta, 0.3333333333333333) / PI
    if input >= -1.5:
        return _small_airy(input)
    return _waving_airy(-input)
