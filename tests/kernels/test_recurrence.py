"""The linear recurrence against a loop, and its two directions against each other."""

import numpy as np
import pytest
from harness import run

from numtorch.kernels.cpu import recurrence as K

RNG = np.random.default_rng(13)
SHAPES = [(1, 1, 1), (2, 3, 4), (1, 50, 7), (6, 9, 1), (1, 1, 5), (0, 3, 2), (2, 0, 3)]


def scan(x, a, reverse, nchunks=1, interpreted=False):
    y = np.full_like(x, 7)
    run(K.linear_scan, y, x, a, *x.shape, reverse, nchunks=nchunks, interpreted=interpreted)
    return y


def loop(x, a, reverse):
    y, n = x.astype(np.float64), x.shape[1]
    for k in range(1, n):
        if reverse:
            y[:, n - 1 - k] += a[:, n - k] * y[:, n - k]
        else:
            y[:, k] += a[:, k] * y[:, k - 1]
    return y


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_recurrence(shape, reverse, dtype):
    x, a = RNG.standard_normal(shape).astype(dtype), RNG.uniform(-1, 1, shape).astype(dtype)
    found = [scan(x, a, reverse, nchunks) for nchunks in (1, 2, 8)]
    np.testing.assert_allclose(found[0], loop(x, a, reverse), rtol=1e-5 if dtype == "float32" else 1e-12, atol=1e-6)
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()


def test_the_first_coefficient_is_not_read():
    x, a = np.ones((2, 4, 3)), np.full((2, 4, 3), 0.5)
    a[:, 0] = np.nan
    assert np.isfinite(scan(x, a, 0)).all() and np.isfinite(scan(x, a, 1)).all()


def test_the_directions_are_transposes():
    a = RNG.uniform(-1, 1, (1, 6, 1))
    forward = np.stack([scan(e.reshape(1, 6, 1), a, 0).ravel() for e in np.eye(6)])
    back = np.stack([scan(e.reshape(1, 6, 1), a, 1).ravel() for e in np.eye(6)])
    np.testing.assert_allclose(forward, back.T, rtol=1e-14)


def test_in_bounds():
    x, a = RNG.standard_normal((2, 5, 3)), RNG.standard_normal((2, 5, 3))
    np.testing.assert_allclose(scan(x, a, 1, 2, interpreted=True), loop(x, a, 1), rtol=1e-12)
