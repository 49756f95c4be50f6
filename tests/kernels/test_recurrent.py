"""Recurrent layers as one kernel: against the formulas in float64, any number of chunks, in bounds."""

import numpy as np
import pytest
from harness import run

from numtorch.kernels.cpu import recurrent as K

RNG = np.random.default_rng(17)
SHAPES = [(3, 1, 2), (4, 5, 7), (2, 17, 9)]  # steps, rows, size


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def formulas(kind, x, w, b, h, c, reverse):
    """All states, cells and what is kept, in the order of the steps."""
    states, cells, kept = [h], [c], []
    for t in reversed(range(len(x))) if reverse else range(len(x)):
        own = h @ w.T + b
        parts, mine = np.split(x[t], K.GATES[kind], 1), np.split(own, K.GATES[kind], 1)
        if kind == "LSTM":
            i, f, u, o = (g(p + q) for g, p, q in zip((sigmoid, sigmoid, np.tanh, sigmoid), parts, mine))
            c = f * c + i * u
            h = o * np.tanh(c)
            kept.append(np.concatenate([i, f, u, o], 1))
        elif kind == "GRU":
            r, z = sigmoid(parts[0] + mine[0]), sigmoid(parts[1] + mine[1])
            n = np.tanh(parts[2] + r * mine[2])
            h = n + z * (h - n)
            kept.append(np.concatenate([r, z, n, mine[2]], 1))
        else:
            h = np.tanh(x[t] + own) if kind == "RNN_TANH" else np.maximum(x[t] + own, 0)
        states.append(h)
        cells.append(c)
    order = slice(None, None, -1) if reverse else slice(None)
    return [np.array(v)[order] for v in (states, cells, kept)]


def data(kind, steps, n, size, dtype):
    cols = K.GATES[kind] * size
    shapes = (steps, n, cols), (cols, size), (cols,), (n, size), (n, size)
    return [RNG.standard_normal(s).astype(dtype) for s in shapes]


def layer(kind, values, reverse=0, keeps=1, nchunks=1, interpreted=False):
    """The kernels on buffers that are filled with NaN."""
    x, w, b, h, c = values
    (steps, n, cols), size, dtype = x.shape, w.shape[1], x.dtype.name
    _, pitch, count = K.geometry(size, cols // size, dtype)
    empty = [np.full(s, np.nan, dtype) for s in ((steps + 1, n, size), (steps + 1, n, size), (steps, n, 4 * size), count)]
    states, cells, kept, packed = empty
    run(K.pack_recurrent, packed, w, b, size, cols, 1, nchunks=nchunks, interpreted=interpreted)
    scratch = np.full(nchunks * 8 * pitch, np.nan, dtype)
    words = (steps, n, size, reverse, keeps, int(kind == "LSTM"), 8, 8 * pitch)
    pointers = (states, cells, kept, x, packed, h, c, scratch)
    run(K.scan(kind, dtype), *pointers, *words, nchunks=nchunks, interpreted=interpreted)
    return states, cells, kept


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", list(K.GATES))
def test_layer(kind, dtype):
    for shape in SHAPES:
        for reverse in (0, 1):
            values = data(kind, *shape, dtype)
            found = [layer(kind, values, reverse, nchunks=k) for k in (1, 2, 8)]
            wanted = formulas(kind, *[v.astype(np.float64) for v in values], reverse)
            for a, b in zip(found[0], wanted):
                if b.size and not (b is wanted[1] and kind != "LSTM"):
                    np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-13 if dtype == "float64" else 2e-6)
            assert all(np.array_equal(a, b, equal_nan=True) for one in found[1:] for a, b in zip(found[0], one))


def test_what_is_kept_of_the_last_step_only():
    values = data("LSTM", 4, 9, 5, "float32")
    states, _, kept = layer("LSTM", values)
    again, _, last = layer("LSTM", values, keeps=0)
    assert np.array_equal(states, again) and np.array_equal(last[0], kept[3]) and np.isnan(last[1:]).all()


def test_extreme_gates_and_nan():
    x = np.array([0, 1e4, -1e4, np.inf, -np.inf, np.nan, 1e-30, 88], np.float32).reshape(1, 1, 8)
    zeros = [np.zeros(s, np.float32) for s in ((8, 8), 8, (1, 8), (1, 8))]
    states, _, _ = layer("RNN_TANH", [x, *zeros])
    np.testing.assert_array_equal(states[1, 0], np.tanh(x[0, 0]))
    _, _, kept = layer("LSTM", [np.tile(x, 4), np.zeros((32, 8), np.float32), np.zeros(32, np.float32), *zeros[2:]])
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(kept[0, 0, :8], sigmoid(x[0, 0].astype(np.float64)), rtol=3e-7, atol=1e-37)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_in_bounds(kind):
    values = data(kind, 2, 5, 3, "float32")
    found = layer(kind, values, 1, nchunks=2, interpreted=True)
    np.testing.assert_allclose(found[0], layer(kind, values, 1)[0], rtol=1e-6, atol=1e-6)
