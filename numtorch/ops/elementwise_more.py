"""More elementwise mathematics, in the style of elementwise.py: scalar bodies with their derivatives."""

# The bodies name ops of these files, which are objects with a call of their own.
from __future__ import annotations

import math

import numpy as np

from .elementwise import (
    abs,
    cos,
    erfc,
    exp,
    exp2,
    floor,
    isinf,
    isnan,
    log,
    log1p,
    maximum,
    sign,
    sin,
    sqrt,
    where,
)
from .pointwise import elementwise

INF = math.inf
NAN = math.nan
PI = math.pi
DEGREE = math.pi / 180.0
LN2 = math.log(2.0)
SQRT_HALF = math.sqrt(0.5)
INVERSE_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)


@elementwise(ref=np.fmax, tensors=2)
def fmax(input, other):
    """The larger of the two; the other one if one is NaN."""
    return input if (input >= other) | (other != other) else other


@fmax.grad
def fmax_grad(g, input, other):
    return where((input >= other) | isnan(other), g, 0.0), where((input >= other) | isnan(other), 0.0, g)


@elementwise(ref=np.fmin, tensors=2)
def fmin(input, other):
    """The smaller of the two; the other one if one is NaN."""
    return input if (input <= other) | (other != other) else other


@fmin.grad
def fmin_grad(g, input, other):
    return where((input <= other) | isnan(other), g, 0.0), where((input <= other) | isnan(other), 0.0, g)


@elementwise("float", ref=np.copysign, tensors=1)
def copysign(input, other):
    """The magnitude of ``input`` with the sign of ``other``."""
    return copysign(input, other)


@copysign.grad
def copysign_grad(g, input, y):
    return where(input == 0.0, 0.0, g * (y / input)), 0.0


@elementwise("bool")
def sign_bit(input):
    """Whether the sign of a floating number is set."""
    return copysign(1.0, input) < 0.0


@elementwise("float")
def xlogy(input, other):
    """``input * log(other)``, 0 where ``input`` is 0 and ``other`` is not NaN."""
    return where((input == 0.0) & (other == other), 0.0, input * log(other))


@xlogy.grad
def xlogy_grad(g, input, other):
    return where((input == 0.0) & (other <= 0.0), 0.0, g * log(other)), g * (input / other)


@elementwise("float")
def xlog1py(input, other):
    """``input * log1p(other)``, 0 where ``input`` is 0 and ``other`` is not NaN."""
    return where((input == 0.0) & (other == other), 0.0, input * log1p(other))


@xlog1py.grad
def xlog1py_grad(g, input, other):
    return where((input == 0.0) & (other <= -1.0), 0.0, g * log1p(other)), g * (input / (other + 1.0))


@elementwise(ref=np.logaddexp, int_ok=False, tensors=2)
def logaddexp(input, other):
    """``log(exp(input) + exp(other))`` without overflow."""
    return where(
        input == other, input + 0.6931471805599453, maximum(input, other) + log1p(exp(-abs(input - other)))
    )


@logaddexp.grad
def logaddexp_grad(g, input, other):
    return g / (1.0 + exp(other - input)), g / (1.0 + exp(input - other))


@elementwise(ref=np.logaddexp2, int_ok=False, tensors=2)
def logaddexp2(input, other):
    """``log2(2**input + 2**other)`` without overflow."""
    return where(input == other, input + 1.0, maximum(input, other) + log1p(exp2(-abs(input - other))) / LN2)


@logaddexp2.grad
def logaddexp2_grad(g, input, other):
    return g / (1.0 + exp2(other - input)), g / (1.0 + exp2(input - other))


@elementwise()
def nan_to_num_values(input, nan, posinf, neginf):
    """NaN and the infinities replaced by numbers."""
    return where(input != input, nan, where(input == INF, posinf, where(input == -INF, neginf, input)))


@nan_to_num_values.grad
def nan_to_num_values_grad(g, input):
    return where(isnan(input) | isinf(input), 0.0, g), 0.0, 0.0, 0.0


@elementwise("float", ref=np.sinc)
def sinc(input):
    """``sin(pi * input) / (pi * input)``, 1 at 0."""
    return where(input == 0.0, 1.0, sin(PI * input) / (PI * input))


@sinc.grad
def sinc_grad(g, input, y):
    return where(input == 0.0, 0.0, g * ((cos(PI * input) - y) / input))


@elementwise(ref=np.heaviside, tensors=2)
def heaviside(input, values):
    """0 below 0, 1 above it, and ``values`` at it."""
    return where(input == 0, values, where(input > 0, 1, 0))


@elementwise("float", ref=np.deg2rad)
def deg2rad(input):
    """Degrees as radians."""
    return input * DEGREE


@deg2rad.grad
def deg2rad_grad(g):
    return g * DEGREE


@elementwise("float", ref=np.rad2deg)
def rad2deg(input):
    """Radians as degrees."""
    return input / DEGREE


@rad2deg.grad
def rad2deg_grad(g):
    return g / DEGREE


@elementwise(tensors=2, bool_ok=False, float_ok=False)
def gcd(input, other):
    """The greatest common divisor of integers."""
    a = abs(input)
    b = abs(other)
    while b != 0:
        rest = a % b
        a = b
        b = rest
    return a


@elementwise("float", domain=(0.1, 5.0))
def zeta(input, other):
    """The Hurwitz zeta function, by Euler and Maclaurin's sum with 12 direct terms."""
    s = input
    q = other
    if s == 1.0:
        return INF
    if s < 1.0:
        return NAN
    if q <= 0.0:
        if q == floor(q):
            return INF
        if s != floor(s):
            return NAN
    total = pow(q, -s)
    for _ in range(12):
        q = q + 1.0
        total = total + pow(q, -s)
    while q < 9.0:
        q = q + 1.0
        total = total + pow(q, -s)
    last = pow(q, -s)
    total = total + last * q / (s - 1.0) - 0.5 * last
    factor = s * last / q
    total = total + factor / 12.0
    factor = factor * (s + 1.0) * (s + 2.0) / (q * q)
    total = total - factor / 720.0
    factor = factor * (s + 3.0) * (s + 4.0) / (q * q)
    total = total + factor / 30240.0
    factor = factor * (s + 5.0) * (s + 6.0) / (q * q)
    total = total - factor / 1209600.0
    factor = factor * (s + 7.0) * (s + 8.0) / (q * q)
    return total + factor / 47900160.0


@zeta.grad
def zeta_grad(g, input, other):
    return NAN, g * (-input * zeta(input + 1.0, other))


@elementwise("float")
def lgamma(input):
    """The logarithm of the absolute value of the gamma function."""
    return lgamma(input)


@lgamma.grad
def lgamma_grad(g, input):
    return g * digamma(input)


@elementwise("float", domain=(0.1, 5.0))
def digamma(input):
    """The derivative of ``lgamma``."""
    return digamma(input)


@digamma.grad
def digamma_grad(g, input):
    return g * trigamma(input)


@elementwise("float", domain=(0.1, 5.0))
def trigamma(input):
    """The derivative of ``digamma``: by reflection below 0.5, then recurrence and the asymptotic series."""
    x = input
    sign_of = 1.0
    total = 0.0 * x
    if x < 0.5:
        sign_of = -1.0
        total = -PI * PI / (sin(PI * x) * sin(PI * x))
        x = 1.0 - x
    for _ in range(10):
        total = total + 1.0 / (x * x)
        x = x + 1.0
    z = 1.0 / (x * x)
    tail = z * (1.0 / 6.0 - z * (1.0 / 30.0 - z * (1.0 / 42.0 - z * (1.0 / 30.0 - z * (5.0 / 66.0)))))
    return sign_of * (total + (1.0 + 0.5 / x + tail) / x)


@trigamma.grad
def trigamma_grad(g, input):
    return g * (-2.0 * zeta(3.0, input))


@elementwise("float")
def i0e(input):
    """The scaled modified Bessel function of order 0: by its power series, from 30 on by Hankel's asymptotic one."""
    x = abs(input)
    term = 0.0 * x + 1.0
    total = term
    if x <= 30.0:
        for k in range(1, 70):
            term = term * (0.5 * x / k) * (0.5 * x / k)
            total = total + term
        return total * exp(-x)
    for k in range(1, 16):
        term = term * ((2.0 * k - 1.0) * (2.0 * k - 1.0)) / (8.0 * k * x)
        total = total + term
    return total / sqrt(2.0 * PI * x)


@i0e.grad
def i0e_grad(g, input, y):
    return g * (i1e(input) - sign(input) * y)


@elementwise("float")
def i1e(input):
    """The scaled modified Bessel function of order 1, as ``i0e``."""
    x = abs(input)
    term = 0.0 * x + 1.0
    total = term
    side = -1.0 if input < 0.0 else 1.0
    if x <= 30.0:
        for k in range(1, 70):
            term = term * (0.5 * x / k) * (0.5 * x / (k + 1.0))
            total = total + term
        return side * total * (0.5 * x) * exp(-x)
    for k in range(1, 16):
        term = term * ((2.0 * k - 1.0) * (2.0 * k - 1.0) - 4.0) / (8.0 * k * x)
        total = total + term
    return side * total / sqrt(2.0 * PI * x)


@i1e.grad
def i1e_grad(g, input, y):
    x = where(input == 0.0, 1.0, input)  # no infinity comes of it, whose derivative were NaN
    return g * where(input == 0.0, 0.5, i0e(input) - y * (sign(input) + 1.0 / x))


@elementwise("float")
def i0(input):
    """The modified Bessel function of the first kind of order 0."""
    return i0(input)


@i0.grad
def i0_grad(g, input):
    return g * (i1e(input) * exp(abs(input)))


@elementwise("float")
def i1(input):
    """The modified Bessel function of the first kind of order 1."""
    return i1e(input) * exp(abs(input))


@i1.grad
def i1_grad(g, input, y):
    x = where(input == 0.0, 1.0, input)
    return g * where(input == 0.0, 0.5, i0(input) - y / x)


@elementwise("float")
def entr(input):
    """``-input * log(input)``: 0 at 0, -inf below."""
    return where(input > 0.0, -input * log(input), where(input == 0.0, 0.0, where(input < 0.0, -INF, input)))


@entr.grad
def entr_grad(g, input):
    return g * (-log(input) - 1.0)


@elementwise("float")
def ndtr(input):
    """The area under the standard normal curve up to ``input``."""
    return 0.5 * erfc(-input * SQRT_HALF)


@ndtr.grad
def ndtr_grad(g, input):
    return g * (INVERSE_SQRT_2PI * exp(-0.5 * input * input))


@elementwise("float", half_ok=False)
def erfcx(input):
    """``exp(input**2) * erfc(input)``; from 2 on by Laplace's continued fraction."""
    if input < 2.0:
        return exp(input * input) * erfc(input)
    fraction = 0.0 * input
    for k in range(80, 0, -1):
        fraction = 0.5 * k / (input + fraction)
    return 0.5641895835477563 / (input + fraction)


@erfcx.grad
def erfcx_grad(g, input, y):
    return g * (2.0 * input * y - 1.1283791670955126)


@elementwise("float", half_ok=False)
def log_ndtr(input):
    """The logarithm of ``ndtr``, accurate far below 0."""
    return where(
        input < -1.0,
        log(0.5 * erfcx(-input * SQRT_HALF)) - 0.5 * input * input,
        log1p(-0.5 * erfc(input * SQRT_HALF)),
    )


@log_ndtr.grad
def log_ndtr_grad(g, input):
    return g * (2.0 * INVERSE_SQRT_2PI / erfcx(-input * SQRT_HALF))
