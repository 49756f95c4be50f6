"""CUDA random numbers are the CPU's: equal words, equal uniforms, equal integers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from twins import check_twins, empty, randoms

pytestmark = pytest.mark.simulator


def state(offset: int = 5) -> np.ndarray:
    return np.array([0x123456789ABCDEF, offset], np.int64)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 6, 1027])
def test_floats(dtype: str, n: int) -> None:
    y = empty(n, dtype=dtype)
    check_twins("random", "uniform", y, state(), 3, n, 0.0, 1.0, tolerance=1e-30)
    check_twins("random", "uniform", y, state(2**32 - 2), 0, n, -2.0, 5.0)
    check_twins("random", "normal", y, state(), 3, n, 0.5, 2.0)
    check_twins("random", "exponential", y, state(), 3, n, 1.5)


@pytest.mark.parametrize("n", [1, 517])
def test_integers(n: int) -> None:
    y = empty(n, dtype="int64")
    for low, high in ((0, 10), (-5, 2**40), (-(2**62), 2**62)):
        check_twins("random", "randint", y, state(), 0, n, low, high)
    check_twins("random", "randperm", y, state(), 7, n)


@pytest.mark.parametrize("p", [0.0, 1e-300, 2.0**-33, 2.0**-32, 0.1, 0.5, 1 - 2.0**-33, 1.0])
def test_thresholds(p: float) -> None:
    from fractions import Fraction

    from numtorch.kernels.cuda.random import threshold

    assert int(threshold(np.float64(p))) == math.ceil(Fraction(p) * 2**32)


def test_products_of_integers() -> None:
    from fractions import Fraction

    from numtorch.kernels.cuda.random import fixed, product_below

    rng = np.random.default_rng(0)
    for last, x in rng.random((50, 2), np.float32).tolist():
        last, x = np.float32(last), np.float32(min(x, last))
        high, low = (int(rng.integers(0, 1 << k)) for k in (27, 26))
        unit = Fraction(2) ** (math.frexp(last)[1] - 63)
        assert int(fixed(x, last)) == math.floor(Fraction(float(x)) / unit)
        u = Fraction((high << 26) + low, 1 << 53)
        a = fixed(last, last)
        assert int(product_below(a, high, low)) == math.floor(int(a) * u)


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_coins(p: float) -> None:
    for dtype in ("float32", "uint8"):
        check_twins("random", "bernoulli", empty(1030, dtype=dtype), state(), 2, 1030, p)
    x, mask = randoms(0, 1030), empty(1030, dtype="uint8")
    check_twins("random", "dropout", empty(1030), mask, x, state(), 2, 1030, p, 1.25)
    check_twins("random", "dropout", x, mask, x, state(), 2, 1030, p, 1.25)
    chances = np.random.default_rng(0).random(1030)
    for dtype in ("float32", "float64"):
        c = np.where(chances > 0.5, p, chances).astype(dtype)
        check_twins("random", "bernoulli_tensor", empty(1030, dtype=dtype), c, state(), 2, 1030)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_multinomial_and_advance(dtype: str) -> None:
    total = np.random.default_rng(1).random((3, 40)).cumsum(1).astype(dtype)
    check_twins("random", "multinomial", empty(3, 50, dtype="int64"), total, state(), 4, 3, 40, 50)
    check_twins("random", "advance", state(), 12)
