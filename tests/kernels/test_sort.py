"""Sorting and searching against NumPy."""

import numpy as np
import pytest
from harness import run

from numtorch.kernels.cpu import sort as K

RNG = np.random.default_rng(7)
SHAPES = [(1, 1), (3, 5), (2, 16), (4, 17), (2, 100), (1, 1000), (0, 4), (3, 0)]
DTYPES = ["float32", "float64", "int64", "uint8"]


def data(shape, dtype):
    x = RNG.integers(0, 40, shape).astype(dtype)
    if dtype[0] == "f" and x.size > 20:
        x[:, ::7], x[0, 2] = np.nan, -np.inf
    return x


def chunked(kernel, outputs, *args):
    results = []
    for nchunks in (1, 2, 8):
        run(kernel, *outputs, *args, nchunks=nchunks)
        results.append([out.tobytes() for out in outputs])
    assert results[0] == results[1] == results[2]


def ordered(x, descending):
    """Stable order of each row; NaN is the largest."""
    if not descending:
        return np.argsort(x, 1, kind="stable")
    n = x.shape[1]
    return (n - 1 - np.argsort(x[:, ::-1], 1, kind="stable"))[:, ::-1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_sort_topk_kth(shape, dtype):
    x = data(shape, dtype)
    rows, n = shape
    for descending in (0, 1):
        values, index = np.empty_like(x), np.empty(shape, np.int64)
        chunked(K.sort, [values, index], np.empty_like(x), np.empty(shape, np.int64), x, *shape, descending)
        expected = ordered(x, descending)
        np.testing.assert_array_equal(index, expected)
        np.testing.assert_array_equal(values, np.take_along_axis(x, expected, 1))
        for k in {0, min(1, n), n // 3, n}:
            values, index = np.empty((rows, k), dtype), np.empty((rows, k), np.int64)
            chunked(K.topk, [values, index], x, *shape, k, descending)
            np.testing.assert_array_equal(index, expected[:, :k])
            np.testing.assert_array_equal(values, np.take_along_axis(x, expected[:, :k], 1))
    for k in {1, (n + 1) // 2, n} if n else ():
        values, index = np.empty(rows, dtype), np.empty(rows, np.int64)
        chunked(K.kth, [values, index], np.empty(shape, np.int64), x, *shape, k, 0)
        np.testing.assert_array_equal(index, ordered(x, 0)[:, k - 1])
        chunked(K.kth, [values, index], np.empty(shape, np.int64), x, *shape, k, 1)
        nan = np.isnan(x)
        expected = np.where(nan.any(1), nan.argmax(1), ordered(x, 0)[:, k - 1])
        np.testing.assert_array_equal(index, expected)
        np.testing.assert_array_equal(values, np.take_along_axis(x, expected[:, None], 1)[:, 0])


@pytest.mark.parametrize("dtype", ["float32", "int64"])
@pytest.mark.parametrize("right", [0, 1])
def test_searchsorted(right, dtype):
    edges, x = (
        np.sort(RNG.integers(0, 20, (3, 9)), 1).astype(dtype),
        RNG.integers(-2, 23, (3, 50)).astype(dtype),
    )
    out = np.empty((3, 50), np.int64)
    side = "right" if right else "left"
    chunked(K.searchsorted, [out], edges, x, 3, 9, 50, 1, right)
    np.testing.assert_array_equal(out, [np.searchsorted(e, v, side) for e, v in zip(edges, x)])
    chunked(K.searchsorted, [out], edges, x, 3, 9, 50, 0, right)
    np.testing.assert_array_equal(out, np.searchsorted(edges[0], x, side))
    run(K.searchsorted, out, edges, x, 3, 0, 50, 0, right)
    assert (out == 0).all()


def test_unique_runs():
    x = np.array([1, 1, 2, 2, 2, 5, np.nan, np.nan])
    values, group, counts, total = (
        np.empty(8),
        np.empty(8, np.int64),
        np.empty(8, np.int64),
        np.empty(1, np.int64),
    )
    run(K.unique_runs, values, group, counts, total, x, 8)
    assert (
        total[0] == 5
        and group.tolist() == [0, 0, 1, 1, 1, 2, 3, 4]
        and counts[:5].tolist() == [2, 3, 1, 1, 1]
    )
    np.testing.assert_array_equal(values[:5], [1, 2, 5, np.nan, np.nan])
    run(K.unique_runs, values, group, counts, total, x, 0)
    assert total[0] == 0


def test_kth_of_sorted_and_equal_rows_is_fast():
    for x in (np.arange(20000.0), np.zeros(20000), np.arange(20000.0)[::-1].copy()):
        values, index = np.empty(1), np.empty(1, np.int64)
        run(K.kth, values, index, np.empty(20000, np.int64), x, 1, 20000, 10000, 1)
        assert values[0] == np.sort(x)[9999]


def test_interpreted():
    x = data((2, 20), "float32")
    values, index = np.empty_like(x), np.empty(x.shape, np.int64)
    run(K.sort, values, index, np.empty_like(x), np.empty(x.shape, np.int64), x, 2, 20, 1, interpreted=True)
    np.testing.assert_array_equal(index, ordered(x, 1))
    run(K.topk, values[:, :4].copy(), index[:, :4].copy(), x, 2, 20, 4, 1, interpreted=True)
