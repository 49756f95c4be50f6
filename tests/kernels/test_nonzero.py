"""Places of nonzero elements against NumPy."""

import numpy as np
import pytest
from harness import run

from numtorch.kernels.cpu import nonzero as K

RNG = np.random.default_rng(11)
SHAPES = [(0,), (1,), (7,), (K.BLOCK - 1,), (K.BLOCK,), (K.BLOCK + 1,), (3, 0, 2), (5, 4), (3, 5, 7), (3, 41, 101), (2, 1, 3, 2, 2)]


def places(x, nchunks, interpreted=False):
    blocks = K.blocks(x.size)
    starts = np.full(blocks + 1, -7, np.int64)
    run(K.count_blocks, starts, x, x.size, nchunks=nchunks, interpreted=interpreted)
    run(K.add_up, starts, blocks, nchunks=nchunks, interpreted=interpreted)
    out = np.full((starts[-1], x.ndim), -7, np.int64)
    run(K.write_places, out, x, starts, np.array(x.shape, np.int64), x.size, x.ndim, nchunks=nchunks, interpreted=interpreted)
    return out


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
@pytest.mark.parametrize("shape", SHAPES)
def test_places(shape, dtype):
    for share in (0.0, 0.3, 1.0):
        x = (RNG.random(shape) < share).astype(dtype)
        expected = np.argwhere(x)
        for nchunks in (1, 2, 8):
            np.testing.assert_array_equal(places(x, nchunks), expected)


def test_special_values():
    x = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45], np.float32)
    assert places(x, 1)[:, 0].tolist() == [2, 3, 4, 5]


def test_in_bounds():
    x = (RNG.random((3, 41, 40)) < 0.2).astype(np.uint8)
    np.testing.assert_array_equal(places(x, 3, interpreted=True), np.argwhere(x))
