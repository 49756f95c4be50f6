"""Special functions from their integrals, sums and polynomials in NumPy: references that share no formula with the ops."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev, hermite, hermite_e, laguerre, legendre

NODES, WEIGHTS = np.polynomial.legendre.leggauss(400)
CUBIC = (0.0, 0.0, 0.0, 1.0)


def integral(function: Callable, low: Any, high: Any) -> Any:
    """Gauss and Legendre's quadrature of ``function(t)`` over [low, high], which broadcast."""
    low, high = np.asarray(low)[..., None], np.asarray(high)[..., None]
    half = 0.5 * (high - low)
    return (function(low + half * (NODES + 1.0)) * half * WEIGHTS).sum(-1)


def bessel_j(order: int) -> Callable:
    return lambda x: integral(lambda t: np.cos(order * t - x[..., None] * np.sin(t)), 0.0, math.pi) / math.pi


def bessel_y(order: int) -> Callable:
    def y(x: Any) -> Any:
        z = x[..., None]
        near = integral(lambda t: np.sin(z * np.sin(t) - order * t), 0.0, math.pi)
        turn = (-1.0) ** order
        far = integral(lambda t: (np.exp(order * t) + turn * np.exp(-order * t)) * np.exp(-z * np.sinh(t)), 0.0, np.arcsinh(45.0 / x))
        return (near - far) / math.pi

    return y


def bessel_k(order: int, scaled: bool) -> Callable:
    def k(x: Any) -> Any:
        z = x[..., None]
        values = integral(lambda t: np.exp(-z * (np.cosh(t) - 1.0)) * np.cosh(order * t), 0.0, np.arccosh(1.0 + 45.0 / x))
        return values if scaled else values * np.exp(-x)

    return k


def bessel_i(order: int, scaled: bool) -> Callable:
    def i(x: Any) -> Any:
        values = integral(lambda t: np.exp(x[..., None] * (np.cos(t) - 1.0)) * np.cos(order * t), 0.0, math.pi) / math.pi
        return values if scaled else values * np.exp(x)

    return i


def airy(x: Any) -> Any:
    """Over the ray on which the integrand falls as exp(-s**3 / 3)."""
    ray = complex(math.cos(math.pi / 6), math.sin(math.pi / 6))
    return integral(lambda s: (ray * np.exp(-(s**3) / 3.0 + 1j * x[..., None] * s * ray)).real, 0.0, 9.0) / math.pi


def incomplete_gamma(a: Any, x: Any) -> Any:
    """exp(-x) x**a / gamma(a) times the sum of x**k / (a (a + 1) ... (a + k))."""
    total, term = np.zeros_like(x), 1.0 / a
    for k in range(1, 200):
        total, term = total + term, term * x / (a + k)
    return total * np.exp(-x) * x**a / np.vectorize(math.gamma)(a)


def polynomial(*coefficients: float) -> Callable:
    """Of degree 3, lowest coefficient first; the degree is given with each point."""
    return lambda x, n: np.polynomial.polynomial.polyval(x, coefficients)


def shifted(function: Callable) -> Callable:
    return lambda x, n: function(2.0 * x - 1.0, n)


KINDS = {"t": (0.0, -3.0, 0.0, 4.0), "u": (0.0, -4.0, 0.0, 8.0), "v": (1.0, -4.0, -4.0, 8.0), "w": (-1.0, -4.0, 4.0, 8.0)}
REFERENCES: dict[str, Callable] = {
    "bessel_j0": bessel_j(0), "bessel_j1": bessel_j(1), "bessel_y0": bessel_y(0), "bessel_y1": bessel_y(1),
    "modified_bessel_k0": bessel_k(0, False), "modified_bessel_k1": bessel_k(1, False),
    "scaled_modified_bessel_k0": bessel_k(0, True), "scaled_modified_bessel_k1": bessel_k(1, True),
    "i0": bessel_i(0, False), "i1": bessel_i(1, False), "i0e": bessel_i(0, True), "i1e": bessel_i(1, True),
    "spherical_bessel_j0": lambda x: np.sinc(x / math.pi), "airy_ai": airy,
    "hermite_polynomial_h": lambda x, n: hermite.hermval(x, CUBIC), "hermite_polynomial_he": lambda x, n: hermite_e.hermeval(x, CUBIC),
    "laguerre_polynomial_l": lambda x, n: laguerre.lagval(x, CUBIC), "legendre_polynomial_p": lambda x, n: legendre.legval(x, CUBIC),
    "igamma": incomplete_gamma, "igammac": lambda a, x: 1.0 - incomplete_gamma(a, x),
    "ndtri": np.vectorize(NormalDist().inv_cdf), "ndtr": np.vectorize(NormalDist().cdf), "angle": np.angle,
    "lgamma": np.vectorize(math.lgamma), "xlogy": lambda x, y: x * np.log(y), "xlog1py": lambda x, y: x * np.log1p(y),
    "entr": lambda x: -x * np.log(x), "erfcx": lambda x: np.exp(x * x) * np.vectorize(math.erfc)(x),
    "log_ndtr": lambda x: np.log(np.vectorize(NormalDist().cdf)(x)),
}  # fmt: skip
for _kind, _coefficients in KINDS.items():
    REFERENCES[f"chebyshev_polynomial_{_kind}"] = polynomial(*_coefficients)
    REFERENCES[f"shifted_chebyshev_polynomial_{_kind}"] = shifted(polynomial(*_coefficients))
assert np.allclose(REFERENCES["chebyshev_polynomial_t"](0.3, 3), chebyshev.chebval(0.3, CUBIC))
