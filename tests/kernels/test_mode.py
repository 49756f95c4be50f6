"""The most frequent value of rows against a count."""

import numpy as np
import pytest
from harness import run

from numtorch.kernels.cpu import mode as K

RNG = np.random.default_rng(12)


def mode(x, nchunks, interpreted=False):
    order = np.argsort(x, 1, kind="stable")
    values, index = np.empty(len(x), x.dtype), np.empty(len(x), np.int64)
    given = np.ascontiguousarray(np.take_along_axis(x, order, 1)), np.ascontiguousarray(order.astype(np.int64))
    run(K.mode, values, index, *given, *x.shape, nchunks=nchunks, interpreted=interpreted)
    return values, index


def counted(row):
    """The smallest of the most frequent values, and its last place."""
    found, counts = np.unique(row, return_counts=True)
    value = found[counts == counts.max()].min()
    return value, np.flatnonzero(row == value)[-1]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (3, 5), (4, 17), (9, 100), (0, 3)])
def test_mode(shape, dtype):
    for most in (1, 3, 50):
        x = RNG.integers(0, most, shape).astype(dtype)
        expected = [counted(row) for row in x]
        for nchunks in (1, 2, 8):
            values, index = mode(x, nchunks)
            assert values.tolist() == [v for v, _ in expected] and index.tolist() == [i for _, i in expected]


def test_every_nan_is_a_value_of_its_own():
    x = np.array([[np.nan, 1, np.nan, 1], [np.nan, np.nan, np.nan, 2]], np.float32)
    values, index = mode(x, 1)
    assert values.tolist() == [1, 2] and index.tolist() == [3, 3]


def test_in_bounds():
    x = RNG.integers(0, 3, (5, 9)).astype(np.int64)
    values, _ = mode(x, 2, interpreted=True)
    assert values.tolist() == [counted(row)[0] for row in x]
