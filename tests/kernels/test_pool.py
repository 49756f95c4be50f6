"""Pooling kernels against direct NumPy loops in PyTorch's conventions."""

import itertools

import numpy as np
import pytest
from harness import run

from numtorch.kernels.cpu import pool as K

RNG = np.random.default_rng(3)
# input, kernel, stride, padding, dilation, ceil_mode
CASES = [
    ((9,), 3, 2, 1, 1, False),
    ((10,), 4, 3, 2, 2, True),
    ((7, 8), 2, 2, 0, 1, False),
    ((7, 8), (3, 2), (2, 1), (1, 0), (1, 2), False),
    ((9, 11), 3, 2, 1, 1, True),
    ((5, 4, 6), (2, 3, 2), 2, (1, 1, 0), 1, True),
    ((1, 1), 1, 1, 0, 1, False),
    ((6, 6), 6, 6, 0, 1, False),
    ((1200,), 3, 2, 1, 1, False),  # several pieces of columns
    ((2, 1100), (2, 601), (1, 7), (0, 300), 1, False),
    ((1500,), 5, 3, 2, 300, False),
]
PLANES = 3


def tuples(dims, *values):
    return [(v,) * dims if isinstance(v, int) else v for v in values]


def output_size(size, k, s, p, d, ceil):
    span = size + 2 * p - d * (k - 1) - 1
    out = (-(-span // s) if ceil else span // s) + 1
    return out - 1 if ceil and (out - 1) * s >= size + p else out


def case(shape, kernel, stride, padding, dilation, ceil):
    k, s, p, d = tuples(len(shape), kernel, stride, padding, dilation)
    out = tuple(output_size(*sizes, ceil) for sizes in zip(shape, k, s, p, d))
    return k, s, p, d, out


def windows(shape, k, s, p, d, out):
    """For each output position: the flat input positions of its window, and its padded length."""
    for at in itertools.product(*map(range, out)):
        axes, padded = [], []
        for o, n, kk, ss, pp, dd in zip(at, shape, k, s, p, d):
            start = o * ss - pp
            axes.append([start + i * dd for i in range(kk) if 0 <= start + i * dd < n])
            padded.append(min(start + kk, n + pp) - start)
        yield [np.ravel_multi_index(i, shape) for i in itertools.product(*axes)], int(np.prod(padded))


def chunked(kernel, outputs, *args):
    results = []
    for nchunks in (1, 2, 8):
        for out in outputs:
            out.fill(7)
        run(kernel, *outputs, *args, nchunks=nchunks)
        results.append([out.tobytes() for out in outputs])
    assert results[0] == results[1] == results[2]


def check_max(y, index, x, places):
    for plane, (o, place) in itertools.product(range(len(x)), enumerate(places)):
        best = place[0]
        for i in place:
            if x[plane, i] > x[plane, best] or np.isnan(x[plane, i]):
                best = i
        assert index[plane, o] == best
        np.testing.assert_array_equal(y[plane, o], x[plane, best])


def check_max_backward(x, index, outputs):
    g, dx = RNG.normal(size=index.shape).astype(x.dtype), np.empty_like(x)
    chunked(K.max_pool_backward, [dx], g, index, len(x), x.shape[1], outputs)
    expected = np.zeros(x.shape)
    for plane, o in np.ndindex(*index.shape):
        expected[plane, index[plane, o]] += g[plane, o]
    np.testing.assert_allclose(dx, expected, rtol=1e-5, atol=1e-6)
    back = np.empty_like(g)
    run(K.max_pool_pick, back, dx, index, len(x), x.shape[1], outputs)
    np.testing.assert_array_equal(back, np.take_along_axis(dx, index, 1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", CASES)
def test_max(sizes, dtype):
    shape = sizes[0]
    k, s, p, d, out = case(*sizes)
    outputs = int(np.prod(out))
    x = RNG.integers(-4, 5, (PLANES, int(np.prod(shape)))).astype(dtype)  # many ties
    x[1, ::7], x[2, 1:3] = np.nan, -np.inf
    y, index = np.empty((PLANES, outputs), dtype), np.empty((PLANES, outputs), np.int64)
    chunked(K.max_pool, [y, index], x, PLANES, *K.shape_words(shape, out, k, s, p, d))
    check_max(y, index, x, [place for place, _ in windows(shape, k, s, p, d, out)])
    check_max_backward(x, index, outputs)
    if len(shape) == 2 and sizes[1:] == (2, 2, 0, 1, False):
        fast, position = np.empty_like(y), np.empty_like(index)
        chunked(K.max_pool_2x2, [fast, position], x, PLANES, *shape)
        np.testing.assert_array_equal(fast, y)
        alone = np.empty_like(y)
        chunked(K.max_pool_2x2_values, [alone], x, PLANES, *shape)
        np.testing.assert_array_equal(alone, y)
        np.testing.assert_array_equal(position, index)


@pytest.mark.parametrize("height, width", [(2, 2), (4, 33), (5, 7), (28, 64), (1, 4), (4, 2600)])
def test_max_2x2(height, width):
    x = RNG.integers(-2, 3, (PLANES, height * width)).astype(np.float32)
    x[0, ::5] = np.nan
    out = (height // 2, width // 2)
    y, index = np.empty((PLANES, out[0] * out[1]), np.float32), np.empty((PLANES, out[0] * out[1]), np.int64)
    chunked(K.max_pool_2x2, [y, index], x, PLANES, height, width)
    places = windows((height, width), (2, 2), (2, 2), (0, 0), (1, 1), out)
    check_max(y, index, x, [place for place, _ in places])
    alone = np.empty_like(y)
    chunked(K.max_pool_2x2_values, [alone], x, PLANES, height, width)
    np.testing.assert_array_equal(alone, y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("include, divisor", [(1, 0), (0, 0), (0, 5)])
@pytest.mark.parametrize("sizes", [c for c in CASES if c[4] == 1])
def test_average(sizes, include, divisor, dtype):
    shape = sizes[0]
    k, s, p, d, out = case(*sizes)
    outputs = int(np.prod(out))
    x = RNG.normal(size=(PLANES, int(np.prod(shape)))).astype(dtype)
    g, dx, y = (
        RNG.normal(size=(PLANES, outputs)).astype(dtype),
        np.empty_like(x),
        np.empty((PLANES, outputs), dtype),
    )
    words = (PLANES, *K.shape_words(shape, out, k, s, p), include, divisor)
    chunked(K.avg_pool, [y], x, *words)
    chunked(K.avg_pool_backward, [dx], g, *words)
    matrix = np.zeros((outputs, x.shape[1]))
    for o, (place, padded) in enumerate(windows(shape, k, s, p, d, out)):
        matrix[o, place] = 1 / (divisor or (padded if include else len(place)))
    np.testing.assert_allclose(y, x @ matrix.T, rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(dx, g @ matrix, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "shape, out", [((7,), (3,)), ((5, 7), (5, 7)), ((6, 9), (4, 2)), ((3, 4), (5, 6)), ((4, 5, 3), (1, 1, 1))]
)
def test_adaptive(shape, out, dtype):
    x = RNG.normal(size=(PLANES, int(np.prod(shape)))).astype(dtype)
    outputs = int(np.prod(out))
    places = [
        [
            np.ravel_multi_index(i, shape)
            for i in itertools.product(
                *(range(o * n // m, -(-(o + 1) * n // m)) for o, n, m in zip(at, shape, out))
            )
        ]
        for at in itertools.product(*map(range, out))
    ]
    words = (PLANES, *K.shape_words(shape, out))
    y, index = np.empty((PLANES, outputs), dtype), np.empty((PLANES, outputs), np.int64)
    chunked(K.adaptive_max_pool, [y, index], x, *words)
    check_max(y, index, x, places)
    check_max_backward(x, index, outputs)
    matrix = np.zeros((outputs, x.shape[1]))
    for o, place in enumerate(places):
        matrix[o, place] = 1 / len(place)
    g, dx = RNG.normal(size=(PLANES, outputs)).astype(dtype), np.empty_like(x)
    chunked(K.adaptive_avg_pool, [y], x, *words)
    chunked(K.adaptive_avg_pool_backward, [dx], g, *words)
    np.testing.assert_allclose(y, x @ matrix.T, rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(dx, g @ matrix, rtol=1e-5, atol=1e-6)


def test_interpreted_and_empty():
    sizes = CASES[4]
    k, s, p, d, out = case(*sizes)
    x = RNG.normal(size=(1, 99)).astype(np.float32)
    y, index = np.empty((1, out[0] * out[1]), np.float32), np.empty((1, out[0] * out[1]), np.int64)
    run(K.max_pool, y, index, x, 1, *K.shape_words(sizes[0], out, k, s, p, d), interpreted=True)
    check_max(y, index, x, [place for place, _ in windows(sizes[0], k, s, p, d, out)])
    run(K.avg_pool, y, x, 1, *K.shape_words(sizes[0], out, k, s, p), 1, 0, interpreted=True)
    run(K.max_pool, y[:0], index[:0], x[:0], 0, *K.shape_words(sizes[0], out, k, s, p, d))
