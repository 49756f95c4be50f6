"""Softmax kernels against NumPy in float64, and the same bits for any number of chunks."""

import numpy as np
import pytest
from harness import run

from numtorch.kernels.cpu import softmax as K

RNG = np.random.default_rng(0)
ROWS = [(1, 1), (3, 10), (257, 10), (5, 63), (7, 64), (4, 200), (3, 1024), (2, 3000), (5, 1), (0, 4), (4, 0)]
COLS = [(1, 1, 3), (2, 5, 7), (3, 10, 64), (1, 4, 200), (2, 0, 3), (0, 3, 2)]
DTYPES = ["float32", "float64"]


def softmax(x, axis):
    x = x.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        e = np.exp(x - x.max(axis, keepdims=True, initial=-np.inf))
        return e / e.sum(axis, keepdims=True)


def chunked(kernel, outputs, *args):
    """Run with 1, 2 and 8 chunks; the bits must agree."""
    results = []
    for nchunks in (1, 2, 8):
        for out in outputs:
            out.fill(7)
        run(kernel, *outputs, *args, nchunks=nchunks)
        results.append([out.tobytes() for out in outputs])
    assert results[0] == results[1] == results[2]


def check_close(actual, expected, factor=8.0):
    eps = np.finfo(actual.dtype).eps
    np.testing.assert_allclose(actual, expected, rtol=factor * eps, atol=factor * eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows, n", ROWS)
def test_rows(rows, n, dtype):
    x, g = ((RNG.normal(size=(rows, n)) * 4).astype(dtype) for _ in range(2))
    p, y = softmax(x, 1), np.empty_like(x)
    chunked(K.softmax_rows, [y], x, rows, n)
    check_close(y, p)
    chunked(K.softmax_backward_rows, [out := np.empty_like(x)], g, y, rows, n)
    check_close(out, p * (g - (g * p).sum(1, keepdims=True)), 60)
    chunked(K.log_softmax_rows, [y], x, rows, n)
    check_close(y, np.log(p), 30)
    chunked(K.log_softmax_backward_rows, [out], g, y, rows, n)
    check_close(out, g - p * g.astype(np.float64).sum(1, keepdims=True), 300)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("outer, n, inner", COLS)
def test_cols(outer, n, inner, dtype):
    x, g = ((RNG.normal(size=(outer, n, inner)) * 4).astype(dtype) for _ in range(2))
    p, y = softmax(x, 1), np.empty_like(x)
    chunked(K.softmax_cols, [y], x, outer, n, inner)
    check_close(y, p)
    chunked(K.softmax_backward_cols, [out := np.empty_like(x)], g, y, outer, n, inner)
    check_close(out, p * (g - (g * p).sum(1, keepdims=True)), 60)
    chunked(K.log_softmax_cols, [y], x, outer, n, inner)
    check_close(y, np.log(p), 30)
    chunked(K.log_softmax_backward_cols, [out], g, y, outer, n, inner)
    check_close(out, g - p * g.astype(np.float64).sum(1, keepdims=True), 300)


@pytest.mark.parametrize("n", [5, 70])
def test_not_finite(n):
    x = np.zeros((5, n), np.float32)
    x[0, 1], x[1, 2], x[2, 3], x[3] = np.nan, np.inf, -np.inf, -np.inf
    y = np.empty_like(x)
    run(K.softmax_rows, y, x, 5, n)
    np.testing.assert_array_equal(np.isnan(y).all(1), [True, True, False, True, False])
    assert y[2, 3] == 0 and y[2, 0] == np.float32(1 / (n - 1))
    run(K.log_softmax_rows, y, x, 5, n)
    np.testing.assert_array_equal(np.isnan(y).any(1), [True, True, False, True, False])
    assert y[2, 3] == -np.inf
    for inner in (1, 3):
        z = np.repeat(x[:, :, None], inner, 2).copy()
        run(K.softmax_cols, out := np.empty_like(z), z, 5, n, inner)
        np.testing.assert_array_equal(np.isnan(out).any((1, 2)), [True, True, False, True, False])


def test_in_place_and_large_logits():
    x = np.array([[1e6, 1e6 - 1, -1e6]], np.float32)
    expected = softmax(x, 1)
    run(K.softmax_rows, x, x, 1, 3)
    check_close(x, expected)


def test_interpreted():
    x, y = RNG.normal(size=(3, 5)).astype(np.float32), np.zeros((3, 5), np.float32)
    run(K.softmax_rows, y, x, 3, 5, interpreted=True)
    check_close(y, softmax(x, 1))
    z, w = x.reshape(3, 5, 1).copy(), np.zeros((3, 5, 1), np.float32)
    run(K.log_softmax_cols, w, z, 3, 5, 1, interpreted=True)
    check_close(w, np.log(softmax(z, 1)))
