"""Index kernels against NumPy."""

import numpy as np
import pytest
from harness import run

from numtorch.kernels.cpu import index as K

RNG = np.random.default_rng(2)
SHAPES = [(1, 1, 1, 1), (3, 4, 1, 5), (2, 6, 7, 3), (1, 50, 33, 4), (4, 0, 3, 2), (0, 3, 2, 2), (2, 3, 0, 4)]
DTYPES = ["float32", "float64", "int64", "int16", "uint8"]


def data(shape, dtype):
    return (
        (RNG.normal(size=shape) * 10).astype(dtype) if dtype[0] != "u" else RNG.integers(0, 9, shape, dtype)
    )


def chunked(kernel, out, *args):
    """Run on copies of `out` with 1, 2 and 8 chunks; the bits must agree."""
    results = []
    for nchunks in (1, 2, 8):
        y = out.copy()
        run(kernel, y, *args, nchunks=nchunks)
        results.append(y)
    assert results[0].tobytes() == results[1].tobytes() == results[2].tobytes()
    return results[0]


def test_range_and_wrap():
    out = np.empty(2, np.int64)
    index = np.array([3, -4, 7, 0, -100])
    run(K.index_range, out, index, 5)
    assert out.tolist() == [-100, 7]
    run(K.index_range_except, out, index, 5, -100)
    assert out.tolist() == [-4, 7]
    run(K.index_range, out, index, 0)
    assert out.tolist() == [0, -1]
    run(K.index_range_except, out, np.full(3, -100), 3, -100)
    assert out.tolist() == [0, -1]
    np.testing.assert_array_equal(chunked(K.wrap_index, index, index, 4, 10), [3, 6, 7, 0, -100])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("outer, n, inner, size", SHAPES)
def test_gather_scatter(outer, n, inner, size, dtype):
    x, src = data((outer, size, inner), dtype), data((outer, n, inner), dtype)
    index = RNG.integers(0, size, (outer, n, inner))
    words = (outer, n, inner, size)
    y = chunked(K.gather, np.zeros_like(src), x, index, *words)
    np.testing.assert_array_equal(y, np.take_along_axis(x, index, 1))
    expected, added, filled = x.copy(), x.copy(), x.copy()
    largest, product = x.copy(), x.copy()
    for o, k, i in np.ndindex(outer, n, inner):
        to = o, index[o, k, i], i
        expected[to], filled[to] = src[o, k, i], 3
        added[to] += src[o, k, i]
        largest[to] = max(largest[to], src[o, k, i])
        with np.errstate(over="ignore"):
            product[to] *= src[o, k, i]
    np.testing.assert_array_equal(chunked(K.scatter, x, src, index, *words, 1), expected)
    np.testing.assert_array_equal(chunked(K.scatter, x, np.array([3], dtype), index, *words, 0), filled)
    np.testing.assert_array_equal(chunked(K.scatter_add, x, src, index, *words, 1), added)
    np.testing.assert_array_equal(chunked(K.scatter_reduce, x, src, index, *words, K.MAXIMUM), largest)
    np.testing.assert_array_equal(chunked(K.scatter_reduce, x, src, index, *words, K.MULTIPLY), product)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("outer, n, inner, size", SHAPES)
def test_slices(outer, n, inner, size, dtype):
    x, src = data((outer, size, inner), dtype), data((outer, n, inner), dtype)
    index = RNG.integers(0, size, n)
    words = (outer, n, inner, size)
    y = chunked(K.index_select, np.zeros_like(src), x, index, *words)
    np.testing.assert_array_equal(y, x[:, index])
    expected, added, filled = x.copy(), x.copy(), x.copy()
    for k in range(n):
        expected[:, index[k]], filled[:, index[k]] = src[:, k], 3
        added[:, index[k]] += (src[:, k] * 2).astype(dtype)
    np.testing.assert_array_equal(chunked(K.index_copy, x, src, index, *words, 1), expected)
    np.testing.assert_array_equal(chunked(K.index_copy, x, np.array([3], dtype), index, *words, 0), filled)
    np.testing.assert_allclose(chunked(K.index_add, x, src, index, *words, 2.0), added, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "n, size, inner, padding", [(20, 7, 5, -1), (20, 7, 5, 2), (0, 3, 2, -1), (4, 3, 0, 0)]
)
def test_embedding_backward(n, size, inner, padding):
    g, index = data((n, inner), "float32"), RNG.integers(0, size, n)
    expected = np.zeros((size, inner), np.float32)
    for k in range(n):
        if index[k] != padding:
            expected[index[k]] += g[k]
    dw = np.full((size, inner), 9, np.float32)
    np.testing.assert_array_equal(
        chunked(K.embedding_backward, dw, g, index, n, size, inner, padding), expected
    )


def test_scatter_reduce_nan():
    y, src = np.zeros((1, 2, 1), np.float32), np.array([1, np.nan, 5], np.float32).reshape(1, 3, 1)
    index = np.array([0, 1, 1]).reshape(1, 3, 1)
    run(K.scatter_reduce, y, src, index, 1, 3, 1, 2, K.MAXIMUM)
    assert y[0, 0, 0] == 1 and np.isnan(y[0, 1, 0])


def test_interpreted():
    x, y, index = data((2, 3, 2), "float32"), np.zeros((2, 4, 2), np.float32), np.array([2, 0, 1, 1])
    run(K.index_select, y, x, index, 2, 4, 2, 3, interpreted=True, nchunks=3)
    np.testing.assert_array_equal(y, x[:, index])
    run(K.index_add, x, y, index, 2, 4, 2, 3, 1.0, interpreted=True, nchunks=4)
