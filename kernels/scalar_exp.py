"""Exponentials, logarithms, powers and the hyperbolic functions.

Error bounds are the largest that the tests allow, in units in the last place (ulp), over each function's
whole range; on CPUs without fused multiply-add they are up to half as large again.
"""

from __future__ import annotations

import math
from math import inf, nan

import numpy as np

from .jit import T
from .memory import fma, select
from .scalar_base import (
    LN_2,
    LOG2_E,
    below_product,
    copysign,
    cut,
    exact,
    exponent,
    fabs,
    function,
    nearest_int,
    number,
    pick,
    polynomial,
    power_of_two,
    root,
    scale,
    top_digits,
    without_exponent,
)

exp_poly = polynomial("exp_poly")
expm1_poly = polynomial("expm1_poly")
exp2_poly = polynomial("exp2_poly")
log_poly = polynomial("log_poly")
log2_tail = polynomial("log2_tail")


# ---- exponentials: x = n * ln(2) + r with |r| <= ln(2) / 2; adding 1.5 * 2**digits rounds to the integer n -
# ln(2) is subtracted in two parts, the first with so few digits that n times it is exact (W. Cody and W.
# Waite, Software Manual for the Elementary Functions, 1980).


@function(np.exp)
def exp(x):
    """e**x, within 1 ulp; denormal results are rounded once."""
    v = select(x > pick(x, 89.0, 710.0), pick(x, 89.0, 710.0), x)
    v = select(v < pick(x, -105.0, -746.0), pick(x, -105.0, -746.0), v)
    magic = pick(x, 12582912.0, 6755399441055744.0)
    t = fma(v, T(LOG2_E), magic)
    n = t - magic
    r = fma(n, pick(x, -0.693359375, -0.6931471803691238), v)
    r = fma(n, pick(x, 0.00021219444, -1.9082149292705877e-10), r)
    y = fma(r * r, exp_poly(r), r) + T(1.0)
    return scale(y, nearest_int(t))


@exact
def exp_down(x):
    """e**x for x <= 0, within 1 ulp; 0 where it would be denormal. It takes two thirds of the time of exp."""
    least = pick(x, -87.0, -708.0)
    v = select(x < least, least, x)
    magic = pick(x, 12582912.0, 6755399441055744.0)
    t = fma(v, T(LOG2_E), magic)
    n = t - magic
    r = fma(n, pick(x, -0.693359375, -0.6931471803691238), v)
    r = fma(n, pick(x, 0.00021219444, -1.9082149292705877e-10), r)
    one = power_of_two(x, nearest_int(t))
    y = fma(one, fma(r * r, exp_poly(r), r), one)
    return select(x < least, T(0.0), y)


@function(np.exp2)
def exp2(x):
    """2**x, within 1 ulp."""
    v = select(x > pick(x, 129.0, 1025.0), pick(x, 129.0, 1025.0), x)
    v = select(v < pick(x, -151.0, -1076.0), pick(x, -151.0, -1076.0), v)
    magic = pick(x, 12582912.0, 6755399441055744.0)
    t = v + magic
    r = v - (t - magic)
    return scale(fma(r, exp2_poly(r), T(1.0)), nearest_int(t))


@function(np.expm1)
def expm1(x):
    """e**x - 1, within 2 ulp, also near 0."""
    v = select(x > pick(x, 89.0, 710.0), pick(x, 89.0, 710.0), x)
    v = select(v < pick(x, -18.0, -38.0), pick(x, -18.0, -38.0), v)
    magic = pick(x, 12582912.0, 6755399441055744.0)
    t = fma(v, T(LOG2_E), magic)
    n = t - magic
    high = fma(n, pick(x, -0.693359375, -0.6931471803691238), v)
    low = n * pick(x, 0.00021219444, -1.9082149292705877e-10)
    r = high + low
    p = r + fma(r * r, expm1_poly(r), (high - r) + low)  # e**r - 1
    far = n > T(64.0)  # there 2**-n no longer counts
    one = power_of_two(x, nearest_int(select(far, magic, magic - n)))
    y = scale(p + (T(1.0) - select(far, T(0.0), one)), nearest_int(t))
    return select(x == T(0.0), x, y)


# ---- logarithms: x = 2**k * m with sqrt(1/2) <= m < sqrt(2); with f = m - 1 and s = f / (2 + f)
# log(m) = 2 s + s**3 P(s**2), arranged as f - (f**2 / 2 - s (f**2 / 2 + s**2 P)) so that f counts exactly
# (K.-C. Ng and P. Tang in fdlibm, Sun Microsystems 1993)


@exact
def _decompose(x):
    """(f, n): x = 2**n * (1 + f) for a positive x; n as a float."""
    tiny = x < pick(x, 1.1754943508222875e-38, 2.2250738585072014e-308)
    v = select(tiny, x * pick(x, 33554432.0, 18014398509481984.0), x)
    k = exponent(v)
    n = number(x, k) - select(tiny, pick(x, 25.0, 54.0), T(0.0))
    return without_exponent(v, k) - T(1.0), n


@exact
def _log_or_special(x, y):
    """y, the logarithm of x, where x is positive and finite; what belongs there elsewhere."""
    special = select(x == T(0.0), T(-inf), select(x > T(0.0), x, T(nan)))
    return select((x > T(0.0)) & (x < T(inf)), y, special)


@exact
def _log_of(f, n, c):
    """n * log(2) + log(1 + f) + c for a tiny c."""
    s = f / (f + T(2.0))
    z = s * s
    half = T(0.5) * f * f
    low = fma(n, pick(f, -0.00021219444, 1.9082149292705877e-10), fma(s, fma(z, log_poly(z), half), c))
    return fma(n, pick(f, 0.693359375, 0.6931471803691238), f - (half - low))


@function(np.log)
def log(x):
    """The natural logarithm, within 1 ulp; NaN below 0."""
    f, n = _decompose(x)
    return _log_or_special(x, _log_of(f, n, T(0.0)))


@function(np.log1p)
def log1p(x):
    """log(1 + x), within 1 ulp, also near 0; NaN below -1."""
    u = x + T(1.0)
    f, n = _decompose(u)
    near = n == T(0.0)
    lost = select(x > T(1.0), T(1.0) - (u - x), x - (u - T(1.0)))  # what 1 + x lost by rounding
    y = _log_of(select(near, x, f), n, select(near, T(0.0), lost / u))
    return select(x == T(0.0), x, _log_or_special(u, y))


@exact
def _log_parts(x):
    """(high, low, n): log(m) as an unevaluated sum, high with few digits, and n."""
    f, n = _decompose(x)
    s = f / (f + T(2.0))
    z = s * s
    half = T(0.5) * f * f
    high = top_digits(f - half)
    return high, fma(s, fma(z, log_poly(z), half), (f - high) - half), n


@function(np.log2)
def log2(x):
    """The logarithm to base 2, within 1 ulp; exact for powers of 2."""
    high, low, n = _log_parts(x)
    c, d = (
        pick(x, 1.4428710938, 1.44269504072144627571),
        pick(x, -1.7605285393e-4, 1.67517131648865118353e-10),
    )
    first = high * c
    rest = fma(low + high, d, low * c)
    y = n + first
    return _log_or_special(x, y + (((n - y) + first) + rest))


@function(np.log10)
def log10(x):
    """The logarithm to base 10, within 2 ulp."""
    high, low, n = _log_parts(x)
    c, d = (
        pick(x, 4.3432617188e-01, 4.34294481878168880939e-01),
        pick(x, -3.1689971365e-05, 2.50829467116452752298e-11),
    )
    n_high = n * pick(x, 3.0102920532e-01, 3.01029995663611771306e-01)
    n_low = n * pick(x, 7.9034151668e-07, 3.69423907715893078616e-13)
    first = high * c
    y = n_high + first
    rest = ((n_high - y) + first) + fma(low + high, d, fma(low, c, n_low))
    return _log_or_special(x, y + rest)


# ---- powers: 2**(y * log2(x)) with log2(x) and the product in twice the digits -----------------------------


@exact
def _log2_twice(x):
    """log2 of a positive x as a sum (high, low) with about 1.4 times the digits."""
    f, n = _decompose(x)
    t = f + T(2.0)
    t_low = f - (t - T(2.0))
    s = f / t
    s_low = (-below_product(s, t, s * t) - s * t_low + (f - s * t)) / t
    z = s * s
    # log2(1 + f) = 2 s log2(e) + s**3 (c1 + z * tail): both products and c1 in two parts
    head, head_low = pick(x, 2.88539, 2.8853900817779268), pick(x, 3.851926e-08, 4.0710547481862066e-17)
    c1, c1_low = pick(x, 0.9617967, 0.9617966939259756), pick(x, -7.028462e-09, 5.0577616648125907e-17)
    z_low = below_product(s, s, z) + T(2.0) * s * s_low
    cube = s * z
    cube_low = below_product(s, z, cube) + fma(s, z_low, s_low * z)
    tail = z * log2_tail(z)
    c = c1 + tail
    c_low = ((c1 - c) + tail) + c1_low
    second = cube * c
    second_low = below_product(cube, c, second) + fma(cube, c_low, cube_low * c)
    first = s * head
    first_low = below_product(s, head, first) + fma(s, head_low, s_low * head)
    a = n + first
    a_low = (n - a) + first
    b = a + second
    return b, ((a - b) + second) + (a_low + (first_low + second_low))


@function(np.power)
def power(x, y):
    """x**y as C's pow, within 2 ulp: NaN for negative x unless y is an integer; 1 for y = 0 or x = 1."""
    size = fabs(x)
    high, low = _log2_twice(size)
    first = y * high
    e = first + (below_product(y, high, first) + y * low)
    e_low = (first - e) + (below_product(y, high, first) + y * low)
    limit = pick(x, 160.0, 1100.0)
    inside = fabs(first) < limit
    v = select(inside, e, copysign(limit, first))
    magic = pick(x, 12582912.0, 6755399441055744.0)
    t = v + magic
    r = (v - (t - magic)) + select(inside, e_low, T(0.0))
    result = scale(fma(r, exp2_poly(r), T(1.0)), nearest_int(t))
    return _power_special(x, y, size, result)


@exact
def _power_special(x, y, size, result):
    """x**y from |x|**y: signs, zeros, infinities and NaN."""
    grows = (size > T(1.0)) == (y > T(0.0))
    extreme = select(grows, T(inf), T(0.0))
    at_end = (size == T(0.0)) | (size == T(inf)) | ((fabs(y) == T(inf)) & (size != T(1.0)))
    result = select(at_end, extreme, result)
    half = y * T(0.5)
    whole, odd = cut(y) == y, (cut(half) != half) & (cut(y) == y) & (fabs(y) < T(inf))
    negative = copysign(T(1.0), x) < T(0.0)
    result = select(negative & odd, -result, result)
    result = select((x < T(0.0)) & (x > T(-inf)) & (not whole), T(nan), result)
    result = select((x != x) | (y != y), T(nan), result)
    return select((y == T(0.0)) | (x == T(1.0)) | ((x == T(-1.0)) & (fabs(y) == T(inf))), T(1.0), result)


# ---- hyperbolic functions ----------------------------------------------------------------------------------


@exact
def _half_exp(x):
    """e**x / 2 for x >= 0, without overflow where the half is finite."""
    v = select(x > pick(x, 90.0, 711.0), pick(x, 90.0, 711.0), x)
    magic = pick(x, 12582912.0, 6755399441055744.0)
    t = fma(v, T(LOG2_E), magic)
    n = t - magic
    r = fma(n, pick(x, -0.693359375, -0.6931471803691238), v)
    r = fma(n, pick(x, 0.00021219444, -1.9082149292705877e-10), r)
    return scale(fma(r * r, exp_poly(r), r) + T(1.0), nearest_int(t - T(1.0)))


@function(np.sinh)
def sinh(x):
    """The hyperbolic sine, within 2 ulp."""
    a = fabs(x)
    e = expm1(select(a < T(1.0), a, T(1.0)))
    near = T(0.5) * (e + e / (e + T(1.0)))
    half = _half_exp(a)
    return copysign(select(a < T(1.0), near, half - T(0.25) / half), x)


@function(np.cosh)
def cosh(x):
    """The hyperbolic cosine, within 2 ulp."""
    half = _half_exp(fabs(x))
    return half + T(0.25) / half


@exact
def _over(a, b, c):
    """a / (b + c) as if b + c were not rounded; |b| <= |c|."""
    d = b + c
    lost = b - (d - c)
    inverse = T(1.0) / d
    q = a * inverse
    return fma(fma(-q, lost, fma(-q, d, a)), inverse, q)


@function(np.tanh)
def tanh(x):
    """The hyperbolic tangent, within 2 ulp: expm1(2|x|) / (expm1(2|x|) + 2), for larger x as 1 - 2 /
    (...)."""
    a = fabs(x)
    a = select(a > pick(x, 10.0, 20.0), pick(x, 10.0, 20.0), a)
    e = expm1(a + a)
    far = a > T(0.549)  # there expm1(2|x|) = 2
    q = _over(select(far, T(2.0), e), select(far, T(2.0), e), select(far, e, T(2.0)))
    return select(x == x, copysign(select(far, T(1.0) - q, q), x), x)


@function(lambda x: 1.0 / (1.0 + math.exp(-x)) if x > 0 else math.exp(x) / (1.0 + math.exp(x)))
def sigmoid(x):
    """1 / (1 + e**-x), within 2 ulp, also where it is tiny."""
    e = exp(-abs(x))
    return _over(select(x < T(0.0), e, T(1.0)), e, T(1.0))


@function(np.arcsinh)
def asinh(x):
    """The inverse hyperbolic sine, within 3 ulp."""
    a = fabs(x)
    big = a > pick(x, 1.0e4, 1.0e8)
    v = select(big, T(1.0), a)
    near = log1p(v + v * v / (T(1.0) + root(fma(v, v, T(1.0)))))
    return copysign(select(big, log(a) + T(LN_2), near), x)


@function(np.arccosh)
def acosh(x):
    """The inverse hyperbolic cosine, within 3 ulp; NaN below 1."""
    big = x > pick(x, 1.0e4, 1.0e8)
    t = select(big, T(1.0), x - T(1.0))
    near = log1p(t + root(t * (t + T(2.0))))
    return select(x < T(1.0), T(nan), select(big, log(x) + T(LN_2), near))


@function(np.arctanh)
def atanh(x):
    """The inverse hyperbolic tangent, within 3 ulp; infinite at -1 and 1, NaN outside."""
    a = fabs(x)
    y = T(0.5) * log1p((a + a) / (T(1.0) - a))
    return copysign(select(a <= T(1.0), y, T(nan)), x)
