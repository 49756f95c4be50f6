"""Random kernels: the published Philox vectors, independence of chunks, and the distributions' moments."""

import numpy as np
import pytest
from harness import run

from numtorch.kernels.cpu import random as K

STATE = np.array([0x1234_5678_9ABC_DEF0, 77], np.int64)


def philox(counter, key):
    """Philox4x32-10 as in the paper, on Python integers."""
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        low = 0xFFFFFFFF
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & low, (p0 >> 32) ^ c[3] ^ k[1], p0 & low]
        k = [(k[0] + 0x9E3779B9) & low, (k[1] + 0xBB67AE85) & low]
    return c


def words(n, relative=0):
    seed, offset = int(STATE[0]), int(STATE[1])
    key = seed & 0xFFFFFFFF, seed >> 32
    blocks = [
        philox((at & 0xFFFFFFFF, at >> 32, 0, 0), key)
        for at in range(offset + relative, offset + relative + n)
    ]
    return np.array(blocks, np.uint64).ravel()


def test_reference_vectors():
    """From the authors' Random123 distribution, kat_vectors."""
    assert philox([0] * 4, [0] * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert philox([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]


def chunked(kernel, outputs, *args):
    results = []
    for nchunks in (1, 2, 8):
        run(kernel, *outputs, *args, nchunks=nchunks)
        results.append([out.tobytes() for out in outputs])
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("n", [0, 1, 5, 1024, 5000])
def test_uniform_uses_the_words_in_order(n):
    y, z = np.empty(n, np.float32), np.empty(n, np.float64)
    chunked(K.uniform, [y], STATE, 3, n, 0.0, 1.0)
    w = words(K.counters(n, "float32"), 3)[:n]
    np.testing.assert_array_equal(y, (w >> np.uint64(8)).astype(np.float32) * np.float32(2**-24))
    chunked(K.uniform, [z], STATE, 3, n, 0.0, 1.0)
    w = words(K.counters(n, "float64"), 3)
    bits = ((w[::2] >> np.uint64(5)) << np.uint64(26)) + (w[1::2] >> np.uint64(6))
    np.testing.assert_array_equal(z, (bits.astype(np.float64) * 2.0**-53)[:n])


def test_relative_continues_the_stream():
    whole, tail = np.empty(4096, np.float32), np.empty(2048, np.float32)
    run(K.uniform, whole, STATE, 0, 4096, -1.0, 1.0)
    run(K.uniform, tail, STATE, 512, 2048, -1.0, 1.0)
    np.testing.assert_array_equal(whole[2048:], tail)
    state = STATE.copy()
    run(K.advance, state, 512)
    run(K.uniform, tail, state, 0, 2048, -1.0, 1.0)
    np.testing.assert_array_equal(whole[2048:], tail)
    assert whole.min() < -0.99 and whole.max() > 0.99 and (abs(whole) <= 1).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normal_and_exponential(dtype):
    y = np.empty(200_001, dtype)
    chunked(K.normal, [y], STATE, 0, y.size, 2.0, 3.0)
    z = (y.astype(np.float64) - 2) / 3
    assert (
        abs(z.mean()) < 0.01
        and abs(z.std() - 1) < 0.01
        and abs((z**3).mean()) < 0.03
        and abs((z**4).mean() - 3) < 0.1
    )
    assert np.isfinite(y).all() and abs(np.corrcoef(z[:-1:2], z[1::2])[0, 1]) < 0.01
    chunked(K.exponential, [y], STATE, 0, y.size, 0.5)
    assert y.min() >= 0 and abs(y.mean() - 2) < 0.03 and abs(y.std() - 2) < 0.05


@pytest.mark.parametrize("low, high", [(0, 10), (-5, -4), (-(2**62), 2**62), (0, 2**32), (3, 3 + 2**31)])
def test_randint(low, high):
    y = np.empty(20_000, np.int64)
    chunked(K.randint, [y], STATE, 0, y.size, low, high)
    assert y.min() >= low and y.max() < high
    assert abs((y.astype(np.float64) - low).mean() / (high - low) - (0.45 if high - low == 10 else 0.5)) < (
        0.02 if high - low > 1 else 1
    )


def test_bernoulli_and_dropout():
    n = 50_001
    for dtype in ("float32", "uint8", "int64"):
        y = np.empty(n, dtype)
        chunked(K.bernoulli, [y], STATE, 0, n, 0.3)
        assert set(np.unique(y)) == {0, 1} and abs(y.mean() - 0.3) < 0.01
        for p in (0.0, 1.0):
            run(K.bernoulli, y, STATE, 0, n, p)
            assert (y == p).all()
    y, p = np.empty(n, np.float32), np.linspace(0, 1, n).astype(np.float32)
    chunked(K.bernoulli_tensor, [y], p, STATE, 0, n)
    assert abs(y[: n // 2].mean() - 0.25) < 0.01 and abs(y[n // 2 :].mean() - 0.75) < 0.01
    x, mask = np.random.default_rng(0).normal(size=n).astype(np.float32), np.empty(n, np.uint8)
    chunked(K.dropout, [y, mask], x, STATE, 0, n, 0.25, 4 / 3)
    assert abs(mask.mean() - 0.75) < 0.01
    np.testing.assert_allclose(y, x * mask * np.float32(4 / 3), rtol=1e-6)


@pytest.mark.parametrize("n", [0, 1, 2, 7, 513, 5000])
def test_randperm(n):
    y = np.empty(n, np.int64)
    run(K.randperm, y, STATE, 0, n)
    np.testing.assert_array_equal(np.sort(y), np.arange(n))
    if n > 500:
        assert (y != np.arange(n)).mean() > 0.95


def test_multinomial():
    weights = np.array([[0, 1, 0, 3, 0], [5, 0, 0, 0, 5]], np.float32)
    y, total = np.empty((2, 20_000), np.int64), np.cumsum(weights, 1)
    chunked(K.multinomial, [y], total, STATE, 0, 2, 5, 20_000)
    counts = np.array([np.bincount(row, minlength=5) for row in y]) / 20_000
    np.testing.assert_allclose(counts, weights / weights.sum(1, keepdims=True), atol=0.02)
    assert (counts[weights == 0] == 0).all()


def test_interpreted_equals_compiled():
    a, b = np.empty(9, np.float32), np.empty(9, np.float32)
    run(K.uniform, a, STATE, 0, 9, 0.0, 1.0)
    run(K.uniform, b, STATE, 0, 9, 0.0, 1.0, interpreted=True)
    np.testing.assert_array_equal(a, b)
