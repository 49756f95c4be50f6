"""Moving kernels against NumPy."""

import numpy as np
import pytest
from harness import run

from numtorch.kernels.cpu import nonzero as N
from numtorch.kernels.cpu import rearrange as K

RNG = np.random.default_rng(8)
DTYPES = ["float32", "float64", "int64", "uint8"]


def data(shape, dtype):
    return RNG.integers(0, 100, shape).astype(dtype)


def chunked(kernel, outputs, *args):
    results = []
    kept = [out.copy() for out in outputs]
    for nchunks in (1, 2, 8):
        for out, start in zip(outputs, kept):
            out[...] = start
        run(kernel, *outputs, *args, nchunks=nchunks)
        results.append([out.tobytes() for out in outputs])
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [0, 1, 50, 4096, 10_000])
def test_masks(n, dtype):
    x, mask, src = data(n, dtype), (RNG.random(n) < 0.3).astype(np.uint8), data(n, dtype)
    starts = np.zeros(N.blocks(n) + 1, np.int64)
    run(N.count_blocks, starts, mask, n)
    run(N.add_up, starts, N.blocks(n))
    count = int(starts[-1])
    assert count == mask.sum()
    y = np.zeros(count, dtype)
    chunked(K.masked_select, [y], x, mask, starts, n)
    np.testing.assert_array_equal(y, x[mask == 1])
    expected, z = x.copy(), x.copy()
    expected[mask == 1] = src[:count]
    chunked(K.masked_scatter, [z], src, mask, starts, n)
    np.testing.assert_array_equal(z, expected)
    chunked(K.masked_fill, [z], x, mask, 3.0, n)
    np.testing.assert_array_equal(z, np.where(mask, 3, x))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 1), (2, 5, 7), (0, 2, 2), (2, 0, 3)])
def test_flip_and_roll(shape, dtype):
    x, y = data(shape, dtype), np.zeros(shape, dtype)
    chunked(K.flip, [y], x, *shape)
    np.testing.assert_array_equal(y, x[:, ::-1])
    for shift in {0, shape[1] // 2, max(shape[1] - 1, 0)}:
        chunked(K.roll, [y], x, *shape, shift)
        np.testing.assert_array_equal(y, np.roll(x, shift, 1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 4, 4), (3, 3, 6), (1, 6, 3), (0, 2, 2), (2, 0, 3)])
def test_triangle(shape, dtype):
    x, y = data(shape, dtype), np.zeros(shape, dtype)
    for diagonal in (-9, -2, -1, 0, 1, 3, 9):
        chunked(K.triangle, [y], x, *shape, diagonal, 0)
        np.testing.assert_array_equal(y, np.tril(x, diagonal))
        chunked(K.triangle, [y], x, *shape, diagonal, 1)
        np.testing.assert_array_equal(y, np.triu(x, diagonal))


def test_one_hot_bincount_repeat():
    index = RNG.integers(0, 6, 40)
    y = np.zeros((40, 6), np.int64)
    chunked(K.one_hot, [y], index, 40, 6)
    np.testing.assert_array_equal(y, np.eye(6)[index])
    counts, weight = np.zeros(9, np.int64), RNG.random(40)
    chunked(K.bincount, [counts], index, 0, 40, 9, 0)
    np.testing.assert_array_equal(counts, np.bincount(index, minlength=9))
    sums = np.zeros(9)
    chunked(K.bincount, [sums], index, weight, 40, 9, 1)
    np.testing.assert_array_equal(sums, np.bincount(index, weight, 9))
    repeats = np.array([2, 0, 3, 1])
    places = np.zeros(6, np.int64)
    chunked(K.repeat_index, [places], repeats.cumsum(), 4)
    np.testing.assert_array_equal(places, np.repeat(np.arange(4), repeats))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "image, kernel, stride, padding, dilation",
    [
        ((5, 6), (3, 2), (1, 1), (0, 0), (1, 1)),
        ((7, 7), (3, 3), (2, 2), (1, 1), (1, 1)),
        ((6, 9), (2, 3), (3, 1), (2, 1), (2, 2)),
    ],
)
def test_windows(image, kernel, stride, padding, dilation, dtype):
    planes = 4
    out = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(image, kernel, stride, padding, dilation)
    )
    x = RNG.normal(size=(planes, *image)).astype(dtype)
    padded = np.pad(x, ((0, 0), (padding[0],) * 2, (padding[1],) * 2))
    rows = dilation[0] * np.arange(kernel[0])[:, None] + stride[0] * np.arange(out[0])
    cols = dilation[1] * np.arange(kernel[1])[:, None] + stride[1] * np.arange(out[1])
    expected = padded[:, rows[:, None, :, None], cols[None, :, None, :]]
    words = (planes, *image, *out, *kernel, *stride, *padding, *dilation)
    y = np.zeros((planes, *kernel, *out), dtype)
    chunked(K.unfold_windows, [y], x, *words)
    np.testing.assert_array_equal(y, expected)
    g, back = RNG.normal(size=y.shape).astype(dtype), np.zeros_like(x)
    chunked(K.fold_windows, [back], g, *words)
    # the transpose of unfold: <unfold(x), g> = <x, fold(g)>
    total = np.zeros_like(padded, np.float64)
    np.add.at(total, (slice(None), rows[:, None, :, None], cols[None, :, None, :]), g)
    inside = total[:, padding[0] : padding[0] + image[0], padding[1] : padding[1] + image[1]]
    np.testing.assert_allclose(back, inside, rtol=1e-5, atol=1e-5)


def test_interpreted():
    x, y = data((2, 3, 4), "float32"), np.zeros((2, 3, 4), np.float32)
    run(K.triangle, y, x, 2, 3, 4, 0, 1, interpreted=True, nchunks=4)
    np.testing.assert_array_equal(y, np.triu(x))
    run(K.roll, y, x, 2, 3, 4, 2, interpreted=True)
    np.testing.assert_array_equal(y, np.roll(x, 2, 1))
