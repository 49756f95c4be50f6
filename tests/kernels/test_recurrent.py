"""Recurrent layers as one kernel: against the formulas in float64, any number of chunks, in bounds."""

import numpy as np
import pytest
from harness import run

from numtorch.kernels.cpu import recurrent as K

RNG = np.random.default_rng(17)
SHAPES = [(3, 1, 2, 3), (4, 5, 7, 1), (2, 17, 9, 12), (3, 3, 45, 10), (2, 9, 26, 0)]  # steps, rows, size, inputs


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def formulas(kind, x, w, b, w_in, b_in, h, c, reverse):
    """All states, cells and what is kept, in the order of the steps."""
    x = x @ w_in.T + b_in if w_in.size else x
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


def data(kind, steps, n, size, inputs, dtype):
    """x, own weight, own bias, input weight, input bias, h0, c0; with `inputs` 0 the gates of the input."""
    cols = K.GATES[kind] * size
    shapes = (steps, n, inputs or cols), (cols, size), (cols,), (cols, inputs), (cols,), (n, size), (n, size)
    values = [RNG.standard_normal(s).astype(dtype) for s in shapes]
    return [v / np.sqrt(v.shape[1], dtype=dtype) if i in (1, 3) and v.size else v for i, v in enumerate(values)]


def layer(kind, values, reverse=0, keeps=1, nchunks=1, interpreted=False, together=8):
    """The kernels on buffers that are filled with NaN."""
    x, w, b, w_in, b_in, h, c = values
    (steps, n, _), size, dtype, inputs = x.shape, w.shape[1], x.dtype.name, w_in.shape[1]
    panels, count = K.geometry(kind, size, inputs, dtype)
    cells = (steps + 1, n, size) if keeps else (n, size)
    empty = [np.full(s, np.nan, dtype) for s in ((steps + 1, n, size), cells, (steps, n, 4 * size), count)]
    states, cells, kept, packed = empty
    words = (size, inputs, K.GATES[kind], K.OWN_BIAS | (K.BIAS if inputs else 0), panels)
    run(K.pack_recurrent, packed, w, w_in, b, b_in, *words, nchunks=nchunks, interpreted=interpreted)
    row, step = (s // x.itemsize for s in (x.strides[1], x.strides[0]))
    own = K.state_words(size, dtype)
    words = (steps, n, size, inputs, step, row, reverse, keeps, int(kind == "LSTM"), together, own)
    base = x if x.flags.c_contiguous else x.base
    scratch = np.full(nchunks * own, np.nan, dtype)
    run(K.scan(kind, dtype), states, cells, kept, base, packed, h, c, scratch, *words, nchunks=nchunks, interpreted=interpreted)
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
                    np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-13 if dtype == "float64" else 3e-6)
            assert all(np.array_equal(a, b, equal_nan=True) for one in found[1:] for a, b in zip(found[0], one))


def test_a_row_has_the_same_bits_in_any_company():
    values = data("LSTM", 3, 11, 40, 6, "float32")
    whole, _, _ = layer("LSTM", values, together=8)
    assert np.array_equal(layer("LSTM", values, together=4)[0], whole)
    x, w, b, w_in, b_in, h, c = values
    for r in (0, 5, 10):
        one = [np.ascontiguousarray(v) for v in (x[:, r : r + 1], w, b, w_in, b_in, h[r : r + 1], c[r : r + 1])]
        assert np.array_equal(layer("LSTM", one, together=4)[0], whole[:, r : r + 1])


def test_steps_of_an_input_that_lie_apart():
    x, *rest = data("GRU", 4, 5, 9, 3, "float32")
    batch_first = np.ascontiguousarray(x.swapaxes(0, 1))
    assert np.array_equal(layer("GRU", [batch_first.swapaxes(0, 1), *rest])[0], layer("GRU", [x, *rest])[0])


def test_without_what_a_backward_needs():
    values = data("LSTM", 4, 9, 5, 3, "float32")
    states, cells, _ = layer("LSTM", values)
    again, last, kept = layer("LSTM", values, keeps=0)
    assert np.array_equal(states, again) and np.array_equal(last, cells[-1]) and np.isnan(kept).all()


def without_weights(kind, x):
    """The layer where all gates of its 8 units are the values x [rows, 8]."""
    gates, n = K.GATES[kind], len(x)
    shapes = (gates * 8, 8), gates * 8, (gates * 8, 0), gates * 8, (n, 8), (n, 8)
    return layer(kind, [np.tile(x, gates)[None], *[np.zeros(s, np.float32) for s in shapes]])


def test_extreme_gates_and_nan():
    x = np.array([[0, 1e4, -1e4, np.inf, -np.inf, np.nan, 1e-30, 88]], np.float32)
    np.testing.assert_array_equal(without_weights("RNN_TANH", x)[0][1], np.tanh(x))
    with np.errstate(over="ignore"):
        found = without_weights("LSTM", x)[2][0, :, :8]
        np.testing.assert_allclose(found, sigmoid(x.astype(np.float64)), rtol=3e-7, atol=1e-37)


@pytest.mark.parametrize("kind, limit, most", [("LSTM", 16, 5), ("LSTM", 87, 21), ("RNN_TANH", 12, 5)])
def test_activations_are_as_exact_as_they_say(kind, limit, most):
    x = np.linspace(-limit, limit, 20_000).astype(np.float32).reshape(-1, 8)
    states, _, kept = without_weights(kind, x)
    found, exact = (kept[0, :, :8], sigmoid) if kind == "LSTM" else (states[1], np.tanh)
    wanted = exact(x.astype(np.float64))
    assert np.max(np.abs(found - wanted) / np.spacing(wanted.astype(np.float32))) < most


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_in_bounds(kind):
    for inputs in (4, 0):
        values = data(kind, 2, 5, 3, inputs, "float32")
        found = layer(kind, values, 1, nchunks=2, interpreted=True)
        np.testing.assert_allclose(found[0], layer(kind, values, 1)[0], rtol=1e-6, atol=1e-6)
