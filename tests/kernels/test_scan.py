"""Running sums and extremes against NumPy."""

import numpy as np
import pytest
from harness import run

from numtorch.kernels.cpu import scan as K

RNG = np.random.default_rng(6)
SHAPES = [(1, 1, 1), (3, 50, 1), (2, 5, 7), (1, 300, 3), (2, 0, 3), (0, 2, 2), (2, 3, 0)]


def chunked(kernel, outputs, *args):
    results = []
    for nchunks in (1, 2, 8):
        for out in outputs:
            out.fill(7)
        run(kernel, *outputs, *args, nchunks=nchunks)
        results.append([out.tobytes() for out in outputs])
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize(
    "dtype, total", [("float32",) * 2, ("float64",) * 2, ("int64",) * 2, ("uint8", "int64")]
)
@pytest.mark.parametrize("shape", SHAPES)
def test_sum_and_prod(shape, dtype, total):
    x = RNG.integers(1, 4, shape).astype(dtype)
    y = np.empty(shape, total)
    chunked(K.cumsum, [y], x, *shape, 0)
    np.testing.assert_array_equal(y, x.cumsum(1, dtype=total))
    chunked(K.cumsum, [y], x, *shape, 1)
    np.testing.assert_array_equal(y, x[:, ::-1].cumsum(1, dtype=total)[:, ::-1])
    x = np.minimum(x, 2) if shape[1] < 100 else x * 0 + 1
    chunked(K.cumprod, [y], x.astype(dtype), *shape, 0)
    np.testing.assert_array_equal(y, x.cumprod(1, dtype=total))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_extremes(shape, dtype):
    x = RNG.integers(-5, 6, shape).astype(dtype)
    if dtype != "int64" and x.size > 30:
        x[0, 3:6:2] = np.nan
    y, index = np.empty(shape, dtype), np.empty(shape, np.int64)
    for kernel, wins in ((K.cummax, np.greater_equal), (K.cummin, np.less_equal)):
        chunked(kernel, [y, index], x, *shape)
        for o, i in np.ndindex(shape[0], shape[2]):
            at = 0
            for r in range(shape[1]):
                if wins(x[o, r, i], x[o, at, i]) or np.isnan(x[o, r, i]):
                    at = r
                assert index[o, r, i] == at
                np.testing.assert_array_equal(y[o, r, i], x[o, at, i])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logcumsumexp(dtype):
    x = (RNG.normal(size=(2, 40, 3)) * 50).astype(dtype)
    x[0, :3], x[1, 5] = -np.inf, np.inf
    y = np.empty_like(x)
    chunked(K.logcumsumexp, [y], x, 2, 40, 3, 0)
    expected = np.logaddexp.accumulate(x.astype(np.float64), 1)
    np.testing.assert_allclose(y, expected, rtol=1e-5 if dtype == "float32" else 1e-12)
    x[0, 7] = np.nan
    run(K.logcumsumexp, y, x, 2, 40, 3, 0)
    assert np.isnan(y[0, 7:]).all() and not np.isnan(y[0, :7]).any()


def test_interpreted():
    x, y = RNG.normal(size=(2, 4, 3)), np.empty((2, 4, 3))
    run(K.cumsum, y, x, 2, 4, 3, 0, interpreted=True, nchunks=3)
    np.testing.assert_allclose(y, x.cumsum(1))
