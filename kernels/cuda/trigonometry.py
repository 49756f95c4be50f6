"""float32 sine, cosine and tangent of any argument, in float32 and integers only; float64 is libdevice's.

libdevice's float32 functions multiply once in float64 and keep the digits of 2/pi in local memory, which a
GPU pays for in every kernel that mentions them, even where all arguments are small.

The argument loses a multiple of pi/2 in three parts (W. Cody and W. Waite, Software Manual for the Elementary
Functions, 1980) or, beyond FAR, by integer multiplication with those digits of 2/pi that count (M. Payne and
R. Hanek, Radian reduction for trigonometric functions, 1983). The polynomials were fitted by the Remez
exchange on |r| <= pi/4; the results are within 1 ulp (tan: 1.5 ulp).
"""

from __future__ import annotations

from math import nan

from numpy import float32, int32, int64, uint32, uint64

from ..binding import Intrinsic
from ..jit import device
from ..memory import bitcast, fma, select
from ..scalar_base import fabs, pick
from ..scalar_special import cos as _cos
from ..scalar_special import sin as _sin
from ..scalar_special import tan as _tan

FAR = 100000.0  # beyond it n = x / (pi/2) has so many digits that three parts are too few
LARGEST = 3.4028234663852886e38  # float32
# 2/pi = 0.TWO_OVER_PI..., 32 bits a word: enough for the largest float32 and 64 bits of the result.
_P0, _P1, _P2, _P3, _P4, _P5 = 0xA2F9836E, 0x4E441529, 0xFC2757D1, 0xF534DDC0, 0xDB629599, 0x3C439041
_P6 = 0xFE5163AB


def libdevice(value: object, name: str) -> Intrinsic:
    """libdevice's function; interpreted, the plain twin of the CPU's."""
    plain = value.twin  # type: ignore[attr-defined]

    def twin(x: object) -> object:
        return plain(x)

    twin.__name__ = name
    return Intrinsic(twin, f"{__package__}.intrinsics")


wide_sin, wide_cos, wide_tan = libdevice(_sin, "sin"), libdevice(_cos, "cos"), libdevice(_tan, "tan")


@device
def is_narrow(x):
    """Whether x is float32; known when the kernel is compiled."""
    return pick(x, 1.0, 0.0) == pick(x, 1.0, 1.0)


@device
def _digits(q, a, b, c, d):
    """Word number q of a, b, c, d."""
    low, high = select(q == int32(0), a, b), select(q == int32(2), c, d)
    return uint32(select(q < int32(2), low, high))


@device
def _far(x):
    """(r, tail, n) as `_reduced` gives for a finite |x| > FAR."""
    bits = bitcast(x, uint32)
    mantissa = uint32(uint32(bits << uint32(8)) | uint32(0x80000000))
    place = int32(int32((bits >> uint32(23)) & uint32(255)) - int32(128))  # |x| = 0.mantissa * 2**(place + 2)
    q, shift = int32(place >> int32(5)), uint64(place & int32(31))
    # Four words of digits, from the first that can change the quarter; place is 15 to 126, so q is 0 to 3.
    a = _digits(q, uint32(0), uint32(_P0), uint32(_P1), uint32(_P2))
    b = _digits(q, uint32(_P0), uint32(_P1), uint32(_P2), uint32(_P3))
    c = _digits(q, uint32(_P1), uint32(_P2), uint32(_P3), uint32(_P4))
    d = _digits(q, uint32(_P2), uint32(_P3), uint32(_P4), uint32(_P5))
    half, low = uint64(32), uint64(0xFFFFFFFF)
    high = (((uint64(a) << half) | uint64(b)) << shift) >> half
    middle = ((((uint64(b) << half) | uint64(c)) << shift) >> half) & low
    last = ((((uint64(c) << half) | uint64(d)) << shift) >> half) & low
    m = uint64(mantissa)
    product = m * middle + ((m * last) >> half)
    product = product + (((m * (high & low)) & low) << half)  # of x * 2/pi: 2 bits of quarters, 62 below
    n = int32(product >> uint64(62))
    rest = int64(product << uint64(2))  # the fraction of a quarter, signed: above 1/2 it counts from the next
    n = int32(n + select(rest < int64(0), int32(1), int32(0)))
    first = float32(rest >> int64(40)) * float32(2.0**40)
    left = float32(rest & int64(0xFFFFFFFFFF))
    unit = float32(8.515304e-20)  # pi/2 * 2**-64, with what it lacks
    r = first * unit
    tail = fma(first, unit, -r) + fma(first, float32(-2.3695991e-27), left * unit)
    minus = x < float32(0.0)
    return select(minus, -r, r), select(minus, -tail, tail), int32(select(minus, int32(-n), n))


@device
def _reduced(x):
    """(r, tail, n): x = n pi/2 + r + tail modulo 2 pi, |r| <= pi/4, tail below its last digit; NaN for no number."""
    t = fma(x, float32(0.63661975), float32(12582912.0))  # adding 1.5 * 2**23 rounds to an integer
    f = t - float32(12582912.0)
    first = fma(f, float32(-1.5707964), x)  # exact
    second = f * float32(4.371139e-08)
    r = first + second
    taken = r - first
    tail = ((first - (r - taken)) + (second - taken)) + fma(f, float32(4.371139e-08), -second)  # what r lacks
    tail = fma(f, float32(1.7151245e-15), tail)
    whole = r + tail
    r, tail = whole, (r - whole) + tail
    n = bitcast(t, int32)
    if fabs(x) > float32(FAR):
        r, tail, n = _far(x)
        r = select(fabs(x) <= float32(LARGEST), r, float32(nan))
    return r, tail, n


@device
def sine(r, tail):
    """The sine of r + tail, |r| <= pi/4."""
    z = r * r
    p = fma(z, float32(2.7179401e-06), float32(-0.00019839297))
    p = fma(z, fma(z, p, float32(0.008333329)), float32(-0.16666667))
    return r + fma(r * z, p, tail)


@device
def cosine(r, tail):
    """The cosine of r + tail, |r| <= pi/4."""
    z = r * r
    p = fma(z, fma(z, float32(-2.7206792e-07), float32(2.479948e-05)), float32(-0.0013888883))
    p = fma(z, fma(z, p, float32(0.041666668)), float32(-0.5))
    return float32(1.0) + fma(z, p, -(r * tail))


@device
def narrow_sin(x):
    """The sine of a float32."""
    r, tail, n = _reduced(x)
    y = select((n & int32(1)) != int32(0), cosine(r, tail), sine(r, tail))
    y = select((n & int32(2)) != int32(0), -y, y)
    return select(x == float32(0.0), x, y)


@device
def narrow_cos(x):
    """The cosine of a float32."""
    r, tail, n = _reduced(x)
    y = select((n & int32(1)) != int32(0), sine(r, tail), cosine(r, tail))
    return select(((n + int32(1)) & int32(2)) != int32(0), -y, y)


@device
def narrow_tan(x):
    """The tangent of a float32."""
    r, tail, n = _reduced(x)
    z = r * r
    p = fma(z, fma(z, float32(0.0044685141), float32(-9.949454e-05)), float32(0.010986957))
    p = fma(z, fma(z, fma(z, p, float32(0.021222878)), float32(0.054071654)), float32(0.13332556))
    y = r + fma(r * z, fma(z, p, float32(0.33333352)), fma(tail, z, tail))
    odd = (n & int32(1)) != int32(0)
    y = select(odd, float32(-1.0), y) / select(odd, y, float32(1.0))
    return select(x == float32(0.0), x, y)


@device
def sin(x):
    """The sine of a float."""
    if is_narrow(x):
        return pick(x, 1.0, 1.0) * narrow_sin(float32(x))
    return wide_sin(x)


@device
def cos(x):
    """The cosine of a float."""
    if is_narrow(x):
        return pick(x, 1.0, 1.0) * narrow_cos(float32(x))
    return wide_cos(x)


@device
def tan(x):
    """The tangent of a float."""
    if is_narrow(x):
        return pick(x, 1.0, 1.0) * narrow_tan(float32(x))
    return wide_tan(x)
