"""Orthogonal polynomials of degree ``n`` by their recurrences, without derivatives, as in PyTorch.

``n`` is a number (cut to an integer) or a tensor; a polynomial of negative degree is 0. Chebyshev's of a high degree are
evaluated through ``acos`` inside [-1, 1], where they are cosines.
"""

# The bodies name ops of these files, which are objects with a call of their own.
from __future__ import annotations

from .elementwise import abs, acos, cos, sin, trunc
from .pointwise import elementwise

DEGREES = ((-2.0, 2.0), (3.0, 3.0))


def _degrees(first, degree, x):
    """P[degree] of Chebyshev's recurrence P[k+1] = 2 x P[k] - P[k-1], from P[0] = 1 and P[1] = ``first``."""
    n = trunc(degree)
    before = 0.0 * x + 1.0
    now = first
    if n < 0.0:
        return 0.0 * x
    if n == 0.0:
        return before
    while n > 1.0:
        after = 2.0 * x * now - before
        before = now
        now = after
        n = n - 1.0
    return now


def _chebyshev_t(x, n):
    if (trunc(n) > 6.0) & (abs(x) < 1.0):
        return cos(trunc(n) * acos(x))
    return _degrees(x, n, x)


def _chebyshev_u(x, n):
    if (trunc(n) > 8.0) & (abs(x) < 1.0):
        return sin((trunc(n) + 1.0) * acos(x)) / sin(acos(x))
    return _degrees(2.0 * x, n, x)


def _chebyshev_v(x, n):
    if (trunc(n) > 8.0) & (abs(x) < 1.0):
        return cos((trunc(n) + 0.5) * acos(x)) / cos(0.5 * acos(x))
    return _degrees(2.0 * x - 1.0, n, x)


def _chebyshev_w(x, n):
    if (trunc(n) > 8.0) & (abs(x) < 1.0):
        return sin((trunc(n) + 0.5) * acos(x)) / sin(0.5 * acos(x))
    return _degrees(2.0 * x + 1.0, n, x)


@elementwise("float", domain=DEGREES, half_ok=False)
def chebyshev_polynomial_t(input, n):
    """Chebyshev's polynomial of the first kind: cos(n t) of x = cos(t)."""
    return _chebyshev_t(input, n)


@elementwise("float", domain=DEGREES, half_ok=False)
def chebyshev_polynomial_u(input, n):
    """Chebyshev's polynomial of the second kind: sin((n + 1) t) / sin(t) of x = cos(t)."""
    return _chebyshev_u(input, n)


@elementwise("float", domain=DEGREES, half_ok=False)
def chebyshev_polynomial_v(input, n):
    """Chebyshev's polynomial of the third kind: cos((n + 1/2) t) / cos(t / 2) of x = cos(t)."""
    return _chebyshev_v(input, n)


@elementwise("float", domain=DEGREES, half_ok=False)
def chebyshev_polynomial_w(input, n):
    """Chebyshev's polynomial of the fourth kind: sin((n + 1/2) t) / sin(t / 2) of x = cos(t)."""
    return _chebyshev_w(input, n)


@elementwise("float", domain=DEGREES, half_ok=False)
def shifted_chebyshev_polynomial_t(input, n):
    """Chebyshev's polynomial of the first kind at ``2 input - 1``."""
    return _chebyshev_t(2.0 * input - 1.0, n)


@elementwise("float", domain=DEGREES, half_ok=False)
def shifted_chebyshev_polynomial_u(input, n):
    """Chebyshev's polynomial of the second kind at ``2 input - 1``."""
    return _chebyshev_u(2.0 * input - 1.0, n)


@elementwise("float", domain=DEGREES, half_ok=False)
def shifted_chebyshev_polynomial_v(input, n):
    """Chebyshev's polynomial of the third kind at ``2 input - 1``."""
    return _chebyshev_v(2.0 * input - 1.0, n)


@elementwise("float", domain=DEGREES, half_ok=False)
def shifted_chebyshev_polynomial_w(input, n):
    """Chebyshev's polynomial of the fourth kind at ``2 input - 1``."""
    return _chebyshev_w(2.0 * input - 1.0, n)


@elementwise("float", domain=DEGREES, half_ok=False)
def hermite_polynomial_h(input, n):
    """The physicists' Hermite polynomial: P[k+1] = 2 x P[k] - 2 k P[k-1]."""
    degree = trunc(n)
    before = 0.0 * input
    now = before + 1.0
    if degree < 0.0:
        return before
    k = 0.0 * degree
    while k < degree:
        after = 2.0 * (input * now - k * before)
        before = now
        now = after
        k = k + 1.0
        if now != now:
            k = degree
    return now


@elementwise("float", domain=DEGREES, half_ok=False)
def hermite_polynomial_he(input, n):
    """The probabilists' Hermite polynomial: P[k+1] = x P[k] - k P[k-1]."""
    degree = trunc(n)
    before = 0.0 * input
    now = before + 1.0
    if degree < 0.0:
        return before
    k = 0.0 * degree
    while k < degree:
        after = input * now - k * before
        before = now
        now = after
        k = k + 1.0
        if now != now:
            k = degree
    return now


@elementwise("float", domain=DEGREES, half_ok=False)
def laguerre_polynomial_l(input, n):
    """Laguerre's polynomial: (k + 1) P[k+1] = (2 k + 1 - x) P[k] - k P[k-1]."""
    degree = trunc(n)
    before = 0.0 * input
    now = before + 1.0
    if degree < 0.0:
        return before
    k = 0.0 * degree
    while k < degree:
        after = ((2.0 * k + 1.0 - input) * now - k * before) / (k + 1.0)
        before = now
        now = after
        k = k + 1.0
        if now != now:
            k = degree
    return now


@elementwise("float", domain=DEGREES, half_ok=False)
def legendre_polynomial_p(input, n):
    """Legendre's polynomial: (k + 1) P[k+1] = (2 k + 1) x P[k] - k P[k-1]."""
    degree = trunc(n)
    before = 0.0 * input
    now = before + 1.0
    if degree < 0.0:
        return before
    k = 0.0 * degree
    while k < degree:
        after = ((2.0 * k + 1.0) * input * now - k * before) / (k + 1.0)
        before = now
        now = after
        k = k + 1.0
        if now != now:
            k = degree
    return now
