"""The incomplete gamma functions, the quantile of the normal distribution, and angles: scalar bodies."""

# The bodies name ops of these files, which are objects with a call of their own.
from __future__ import annotations

import math

from .elementwise import abs, erfc, exp, log, log1p, sqrt, where
from .elementwise_more import lgamma
from .pointwise import elementwise

INF = math.inf
NAN = math.nan
PI = math.pi
SQRT_HALF = math.sqrt(0.5)
SQRT_2PI = math.sqrt(2.0 * math.pi)


def _power_over_gamma(a, x):
    """``x**a * exp(-x) / gamma(a + 1)``, for large ``a`` by Stirling's series around x = a."""
    if a < 10.0:
        return exp(a * log(x) - x - lgamma(a + 1.0))
    d = (x - a) / a
    gap = d - log1p(d)
    if abs(d) < 0.1:  # the difference as a series
        term = d * d
        gap = 0.0 * d
        for k in range(2, 20):
            gap = gap + term / k
            term = -term * d
    z = 1.0 / (a * a)
    stirling = (1.0 / 12.0 - z * (1.0 / 360.0 - z * (1.0 / 1260.0 - z / 1680.0))) / a
    return exp(-a * gap - stirling) / (SQRT_2PI * sqrt(a))


def _lower(a, x):
    """P(a, x) by its power series, for x below about a + 1."""
    term = 0.0 * x + 1.0
    total = term
    n = a
    before = 0.0 * x
    while total != before:
        n = n + 1.0
        term = term * x / n
        before = total
        total = total + term
    return total * _power_over_gamma(a, x)


def _upper(a, x):
    """Q(a, x) by its continued fraction (Lentz's method), for x above a + 1."""
    b = x + 1.0 - a
    d = 1.0 / b
    c = 0.0 * x + 1e30
    h = d
    step = 0.0 * x
    k = 0.0 * x
    tiny = 1e-30
    while (abs(step - 1.0) > 1e-16) & (k < 2000.0):
        k = k + 1.0
        b = b + 2.0
        numerator = k * (a - k)
        d = numerator * d + b
        if abs(d) < tiny:
            d = tiny + 0.0 * d
        c = b + numerator / c
        if abs(c) < tiny:
            c = tiny + 0.0 * c
        d = 1.0 / d
        step = c * d
        h = h * step
    return h * a * _power_over_gamma(a, x)


def _fraction(a, x, upper):
    """P(a, x), or Q(a, x) = 1 - P(a, x) if ``upper`` is 1."""
    if (a < 0.0) | (x < 0.0) | (a != a) | (x != x):
        return NAN + a
    if (a == INF) & (x == INF) | (a == 0.0) & (x == 0.0):
        return NAN + x
    if (a == INF) | (x == 0.0):
        return upper
    if (x == INF) | (a == 0.0):
        return 1.0 - upper
    if x > a + 1.0:
        if upper > 0.5:
            return _upper(a, x)
        return 1.0 - _upper(a, x)
    if upper > 0.5:
        return 1.0 - _lower(a, x)
    return _lower(a, x)


@elementwise(int_ok=False, tensors=2)
def igamma(input, other):
    """The regularised lower incomplete gamma function P(input, other)."""
    return _fraction(input, other, 0.0)


@igamma.grad
def igamma_grad(g, input, other):
    return NAN, g * exp((input - 1.0) * log(other) - other - lgamma(input))


@elementwise(int_ok=False, tensors=2)
def igammac(input, other):
    """The regularised upper incomplete gamma function Q(input, other) = 1 - P(input, other)."""
    return _fraction(input, other, 1.0)


@igammac.grad
def igammac_grad(g, input, other):
    return NAN, -g * exp((input - 1.0) * log(other) - other - lgamma(input))


@elementwise("float", domain=(0.05, 0.95), half_ok=False)
def ndtri(input):
    """The quantile of the standard normal distribution: the inverse of ``ndtr``.

    A first guess (26.2.23 in Abramowitz and Stegun) for the smaller tail, then Halley's method on its area.
    """
    if input == 0.0:
        return -INF + input
    if input == 1.0:
        return INF + input
    if (input < 0.0) | (input > 1.0) | (input != input):
        return NAN + input
    p = input
    if input > 0.5:
        p = 1.0 - input
    t = sqrt(-2.0 * log(p))
    above = 2.515517 + t * (0.802853 + t * 0.010328)
    x = t - above / (1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308)))
    for _ in range(2):
        error = (0.5 * erfc(x * SQRT_HALF) - p) * exp(0.5 * x * x) * SQRT_2PI
        x = x + error / (1.0 + 0.5 * x * error)
    if input > 0.5:
        return x
    return -x


@ndtri.grad
def ndtri_grad(g, y):
    return g * (SQRT_2PI * exp(0.5 * y * y))


@elementwise("float")
def angle(input):
    """The angle of a real number: 0, pi below 0."""
    return where(input != input, input, where(input < 0.0, PI, 0.0))


@angle.grad
def angle_grad(g):
    return 0.0
