"""Cross-entropy and NLL kernels against NumPy in float64."""

import numpy as np
import pytest
from harness import run

from numtorch.kernels.cpu import loss as K

RNG = np.random.default_rng(1)


def reference(x, target, weight, ignore, smoothing):
    """Losses, weights and the gradient of the losses' sum, per row."""
    x, weight = x.astype(np.float64), weight.astype(np.float64)
    classes = x.shape[1]
    logp = x - x.max(1, keepdims=True)
    logp = logp - np.log(np.exp(logp).sum(1, keepdims=True))
    keep = target != ignore
    t = np.where(keep, target, 0)
    share = (1 - smoothing) * np.eye(classes)[t] * weight[t][:, None] + smoothing / classes * weight
    share = share * keep[:, None]
    return -(share * logp).sum(1), weight[t] * keep, np.exp(logp) * share.sum(1, keepdims=True) - share


def chunked(kernel, outputs, *args):
    results = []
    for nchunks in (1, 2, 8):
        for out in outputs:
            out.fill(7)
        run(kernel, *outputs, *args, nchunks=nchunks)
        results.append([out.tobytes() for out in outputs])
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows, classes", [(1, 1), (37, 10), (5, 100), (3, 1500), (0, 4)])
@pytest.mark.parametrize("smoothing, weighted", [(0.0, 0), (0.1, 0), (0.25, 1), (0.0, 1)])
def test_cross_entropy(rows, classes, smoothing, weighted, dtype):
    x = (RNG.normal(size=(rows, classes)) * 3).astype(dtype)
    target = RNG.integers(0, classes, rows)
    target[1::5] = -100
    weight = (RNG.random(classes) + 0.5).astype(dtype) if weighted else np.ones(classes, dtype)
    expected, weights, gradient = reference(x, target, weight, -100, smoothing)
    loss, row_weight, stats = np.empty(rows, dtype), np.empty(rows, dtype), np.empty((rows, 2), dtype)
    pointer = weight if weighted else 0
    words = (rows, classes, -100, smoothing, weighted)
    chunked(K.cross_entropy_rows, [loss, row_weight, stats], x, target, pointer, *words)
    tol = 3e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(loss, expected, rtol=tol, atol=tol)
    np.testing.assert_allclose(row_weight, weights, rtol=tol)
    out, total = np.empty(1, dtype), np.empty(1, dtype)
    run(K.weighted_mean, out, total, loss, row_weight, rows)
    if weights.sum():
        np.testing.assert_allclose(out[0], expected.sum() / weights.sum(), rtol=tol * 10, atol=tol)
    else:
        assert np.isnan(out[0])
    g, dx = RNG.normal(size=rows).astype(dtype), np.empty_like(x)
    chunked(K.cross_entropy_backward_rows, [dx], g, total, x, stats, target, pointer, *words, 1, 0)
    np.testing.assert_allclose(dx, gradient * g[:, None], rtol=tol * 10, atol=tol)
    one = np.array([2.5], dtype)
    if weights.sum():
        chunked(K.cross_entropy_backward_rows, [dx], one, total, x, stats, target, pointer, *words, 0, 1)
        np.testing.assert_allclose(dx, gradient * 2.5 / weights.sum(), rtol=tol * 10, atol=tol)
    both = [np.empty_like(a) for a in (dx, loss, row_weight)]
    chunked(K.cross_entropy_both_rows, both, g, x, target, pointer, *words, 1, 0)
    chunked(K.cross_entropy_backward_rows, [dx], g, total, x, stats, target, pointer, *words, 1, 0)
    assert [a.tobytes() for a in both] == [a.tobytes() for a in (dx, loss, row_weight)]
    if not weighted and weights.sum():
        chunked(K.cross_entropy_both_rows, both, one, x, target, pointer, *words, 0, 1)
        chunked(K.cross_entropy_backward_rows, [dx], one, total, x, stats, target, pointer, *words, 0, 1)
        assert both[0].tobytes() == dx.tobytes()
    if not weighted and not smoothing:
        chunked(K.cross_entropy_train_rows, [loss, dx], x, target, rows, classes, -100, 0.125)
        np.testing.assert_allclose(loss, expected, rtol=tol, atol=tol)
        np.testing.assert_allclose(dx, gradient * 0.125, rtol=tol * 10, atol=tol)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("outer, classes, inner", [(6, 4, 1), (2, 3, 35), (1, 1, 1), (0, 3, 4), (2, 3, 0)])
@pytest.mark.parametrize("weighted", [0, 1])
def test_nll(outer, classes, inner, weighted, dtype):
    x = RNG.normal(size=(outer, classes, inner)).astype(dtype)
    target = RNG.integers(0, classes, (outer, inner))
    target[:, 1::4] = 2**40
    weight = RNG.random(classes).astype(dtype)
    keep = target != 2**40
    t = np.where(keep, target, 0)
    w = keep * (weight[t] if weighted else 1)
    loss, row_weight = np.empty((outer, inner), dtype), np.empty((outer, inner), dtype)
    words = (outer, classes, inner, 2**40, weighted)
    chunked(K.nll_loss, [loss, row_weight], x, target, weight, *words)
    np.testing.assert_array_equal(row_weight, w.astype(dtype))
    expected = -w * np.take_along_axis(x, t[:, None], 1)[:, 0]
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    g, dx, total = RNG.normal(size=(outer, inner)).astype(dtype), np.empty_like(x), np.array([4], dtype)
    chunked(K.nll_loss_backward, [dx], g, total, target, weight, *words, 1, 1)
    expected = np.zeros(x.shape)
    np.put_along_axis(expected, t[:, None], (-w * g / 4)[:, None], 1)
    np.testing.assert_allclose(dx, expected, rtol=1e-6)


def test_extreme_logits_match_the_definition():
    x = np.array([[1e4, -1e4, 0.0], [np.nan, 0, 0], [-np.inf, 0, 0]], np.float32)
    loss, weights, stats = np.empty(3, np.float32), np.empty(3, np.float32), np.empty((3, 2), np.float32)
    run(K.cross_entropy_rows, loss, weights, stats, x, np.array([1, 1, 0]), 0, 3, 3, -100, 0.0, 0)
    assert loss[0] == 2e4 and np.isnan(loss[1]) and loss[2] == np.inf


def test_interpreted():
    x, dx = RNG.normal(size=(3, 4)).astype(np.float32), np.empty((3, 4), np.float32)
    target, loss = np.array([0, -100, 3]), np.empty(3, np.float32)
    run(K.cross_entropy_train_rows, loss, dx, x, target, 3, 4, -100, 1.0, interpreted=True)
    np.testing.assert_allclose(dx, reference(x, target, np.ones(4), -100, 0.0)[2], rtol=1e-5, atol=1e-6)
