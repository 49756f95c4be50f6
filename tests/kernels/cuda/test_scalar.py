"""The float32 functions written for CUDA against NumPy in float64 (lgamma: math's), as the simulator runs them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from simulator import run

from numtorch.kernels import scalar
from numtorch.kernels.cuda.launch import bound, ceil_div, kernel
from numtorch.kernels.jit import T_ptr, i64

pytestmark = pytest.mark.simulator
RNG = np.random.default_rng(0)
THREADS = 32


def apply(name: str, x: np.ndarray) -> np.ndarray:
    """The function over an array, by a kernel in the simulator."""
    plain = bound(over, f"over_{name}", function=scalar.FUNCTIONS[name])
    plain.__annotations__ = {"y": T_ptr, "x": T_ptr, "n": i64}
    y = np.full_like(x, 77)
    run(kernel(grid=lambda n: ceil_div(n, THREADS), threads=THREADS)(plain), y, x, x.size)
    return y


def over(y, x, n):
    i = block() * threads() + thread()  # noqa: F821 - bound by the test
    if i < n:
        y[i] = function(x[i])  # noqa: F821


over.__globals__.update(
    {n: getattr(__import__("numtorch.kernels.cuda.gpu", fromlist=[n]), n) for n in ("block", "threads", "thread")}
)


def ulps(y: np.ndarray, expected: np.ndarray) -> float:
    """The largest error in units in the last place of float32."""
    unit = np.spacing(np.abs(expected.astype(np.float32)))
    return float(np.max(np.abs(y.astype(np.float64) - expected) / unit))


def angles() -> np.ndarray:
    """Small, moderate and huge arguments, some next to multiples of pi/2, on both sides of the change of method."""
    spread = np.exp(RNG.uniform(np.log(1e-6), np.log(3.4e38), 700)) * RNG.choice([-1, 1], 700)
    near = np.round(RNG.uniform(1, 65000, 200)) * (np.pi / 2)
    return np.concatenate([RNG.uniform(-9, 9, 300), spread, near, RNG.uniform(9.9e4, 1.01e5, 60)]).astype("f4")


@pytest.mark.parametrize("name, limit", [("sin", 1.1), ("cos", 1.1), ("tan", 1.6)])
def test_trigonometry(name: str, limit: float) -> None:
    x = angles()
    assert ulps(apply(name, x), getattr(np, name)(x.astype(np.float64))) <= limit


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_trigonometry_of_special_numbers(name: str) -> None:
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, np.finfo("f4").max, np.float32(1e-45)], "f4")
    with np.errstate(invalid="ignore"):
        expected = getattr(np, name)(x.astype(np.float64)).astype("f4")
    found = apply(name, x)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found[:2]), np.signbit(expected[:2]))


def test_lgamma() -> None:
    x = np.concatenate([RNG.uniform(-0.25, 9, 400), np.exp(RNG.uniform(-60, 80, 200)), [1, 2, 3, 8, 0.75, 1e-45]])
    x = x[x != 0].astype("f4")
    expected = np.array([math.lgamma(v) for v in x.astype(np.float64)])
    zero = expected == 0
    found = apply("lgamma", x)
    assert not found[zero].any() and ulps(found[~zero], expected[~zero]) <= 3.0
    left = RNG.uniform(-40, -0.25, 300).astype("f4")  # beside its zeros only the absolute error can be small
    expected = np.array([math.lgamma(v) for v in left.astype(np.float64)])
    assert np.max(np.abs(apply("lgamma", left) - expected) / np.maximum(1, np.abs(expected))) <= 6e-7
    special = np.array([0.0, -0.0, -1.0, -7.0, np.inf, -np.inf, np.nan, -1e9], "f4")
    np.testing.assert_array_equal(apply("lgamma", special), [np.inf] * 6 + [np.nan, np.inf])


def test_digamma_and_float64() -> None:
    x = np.array([0.5, 1.0, 2.5, -0.3, -7.6, 30.0], "f4")
    expected = np.array([scalar.FUNCTIONS["digamma"].twin(v) for v in x.astype(np.float64)])
    assert np.max(np.abs(apply("digamma", x) - expected) / np.maximum(1, np.abs(expected))) <= 1e-6
    wide = x.astype(np.float64)
    np.testing.assert_allclose(apply("sin", wide), np.sin(wide), rtol=1e-15)
    np.testing.assert_allclose(apply("lgamma", wide), [math.lgamma(v) for v in wide], rtol=1e-13)
