"""Normalisation kernels against NumPy in float64."""

import numpy as np
import pytest
from harness import run

from numtorch.kernels.cpu import batch_norm as B
from numtorch.kernels.cpu import norm as K

RNG = np.random.default_rng(5)
DTYPES = ["float32", "float64"]
EPS = 1e-5


def chunked(kernel, outputs, *args):
    results = []
    kept = [out.copy() for out in outputs]
    for nchunks in (1, 2, 8):
        for out, start in zip(outputs, kept):
            out[...] = start
        run(kernel, *outputs, *args, nchunks=nchunks)
        results.append([out.tobytes() for out in outputs])
    assert results[0] == results[1] == results[2]


def check_close(actual, expected, dtype):
    tol = 2e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(actual, expected, rtol=tol, atol=tol)


def data(*shape, dtype):
    return RNG.normal(size=shape).astype(dtype)


def reference(x, g, w, axes):
    """x^, its gradient for upstream g with weight w, and 1 / std; all in float64."""
    x, gw = x.astype(np.float64), g * w.astype(np.float64)
    mean, rstd = x.mean(axes, keepdims=True), 1 / np.sqrt(x.var(axes, keepdims=True) + EPS)
    h = (x - mean) * rstd
    return h, rstd * (gw - gw.mean(axes, keepdims=True) - h * (gw * h).mean(axes, keepdims=True)), rstd


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows, n", [(1, 1), (5, 17), (200, 64), (2, 3000), (0, 4)])
@pytest.mark.parametrize("scaled, shifted", [(1, 1), (1, 0), (0, 1), (0, 0)])
def test_layer_norm(rows, n, scaled, shifted, dtype):
    x, g = data(rows, n, dtype=dtype) + 3, data(rows, n, dtype=dtype)
    w, b = (data(n, dtype=dtype) if scaled else np.ones(n, dtype)), data(n, dtype=dtype) * shifted
    y, mean, rstd = np.zeros_like(x), np.zeros(rows, dtype), np.zeros(rows, dtype)
    chunked(K.layer_norm, [y, mean, rstd], x, w, b, rows, n, EPS, scaled, shifted)
    h, dx, scale = reference(x, g, w, 1)  # rounding is as large as 1 / std: 316 for one element
    check_close(y, h * w + b, dtype)
    out, part = np.zeros_like(x), np.zeros((K.row_blocks(rows), 2, n), dtype)
    chunked(K.layer_norm_backward, [out], g, x, mean, rstd, w, rows, n, scaled)
    check_close(out / scale, dx / scale, dtype)
    chunked(K.layer_norm_backward_sums, [part], g, x, mean, rstd, rows, n)
    sums = np.stack([(g * h).sum(0), g.sum(0, dtype=np.float64)]) / 10
    check_close(part.sum(0) / 10, sums, dtype)
    chunked(K.layer_norm_gradients, [out, part], g, x, mean, rstd, w, rows, n)
    check_close(out / scale, dx / scale, dtype)
    check_close(part.sum(0) / 10, sums, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scaled", [0, 1])
def test_rms_norm(scaled, dtype):
    rows, n = 7, 33
    x, g = data(rows, n, dtype=dtype), data(rows, n, dtype=dtype)
    w = data(n, dtype=dtype) if scaled else np.ones(n, dtype)
    y, rstd, out = np.zeros_like(x), np.zeros(rows, dtype), np.zeros_like(x)
    chunked(K.rms_norm, [y, rstd], x, w, rows, n, EPS, scaled)
    s = 1 / np.sqrt((x.astype(np.float64) ** 2).mean(1, keepdims=True) + EPS)
    check_close(y, x * s * w, dtype)
    chunked(K.rms_norm_backward, [out], g, x, rstd, w, rows, n, scaled)
    check_close(out, s * (g * w - x * s * (g * w * x * s).mean(1, keepdims=True)), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "batch, groups, channels, inner", [(3, 2, 3, 5), (2, 4, 1, 64), (1, 1, 1, 1), (0, 2, 2, 2)]
)
@pytest.mark.parametrize("scaled", [0, 1])
def test_group_norm(batch, groups, channels, inner, scaled, dtype):
    shape = batch, groups, channels, inner
    x, g = data(*shape, dtype=dtype) - 2, data(*shape, dtype=dtype)
    w = data(groups, channels, 1, dtype=dtype) if scaled else np.ones((groups, channels, 1), dtype)
    b = data(groups, channels, 1, dtype=dtype) * scaled
    y, mean, rstd = np.zeros_like(x), np.zeros((batch, groups), dtype), np.zeros((batch, groups), dtype)
    chunked(K.group_norm, [y, mean, rstd], x, w, b, *shape, EPS, scaled, scaled)
    h, dx, _ = reference(x, g, w, (2, 3))
    check_close(y, h * w + b, dtype)
    part, out = np.zeros((batch, 2, groups, channels), dtype), np.zeros_like(x)
    chunked(K.group_norm_backward_sums, [part], g, x, mean, rstd, *shape)
    check_close(part[:, 0], (g * h).sum(3), dtype)
    check_close(part[:, 1], g.sum(3, dtype=np.float64), dtype)
    chunked(K.group_norm_backward, [out], g, x, mean, rstd, part, w, *shape, scaled)
    check_close(out, dx, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "batch, channels, inner", [(4, 3, 25), (70, 5, 49), (2, 2, 5000), (9, 200, 1), (1, 1, 1)]
)
@pytest.mark.parametrize("scaled", [0, 1])
def test_batch_norm(batch, channels, inner, scaled, dtype):
    shape = batch, channels, inner
    x, g = data(*shape, dtype=dtype) + 5, data(*shape, dtype=dtype)
    w = data(channels, dtype=dtype) if scaled else np.ones(channels, dtype)
    b = data(channels, dtype=dtype) * scaled
    mean, var, rstd, dw, db = (np.zeros(channels, dtype) for _ in range(5))
    chunked(B.batch_norm_stats, [mean, var], x, *shape)
    check_close(mean, x.mean((0, 2), dtype=np.float64), dtype)
    check_close(var, x.var((0, 2), dtype=np.float64), dtype)
    running, spread = np.zeros(channels, dtype), np.ones(channels, dtype)
    chunked(B.batch_norm_update, [rstd, running, spread], mean, var, channels, EPS, 0.1, 1.5, 1)
    check_close(running, 0.1 * mean, dtype)
    check_close(spread, 0.9 + 0.15 * var, dtype)
    chunked(B.batch_norm_rstd, [dw], var, channels, EPS)
    np.testing.assert_array_equal(dw, rstd)
    y, dx = np.zeros_like(x), np.zeros_like(x)
    h, expected, s = reference(x, g, w[:, None], (0, 2))
    sizes, cols = (shape, "") if inner > 1 else (shape[:2], "_cols")
    chunked(getattr(B, "batch_norm_apply" + cols), [y], x, mean, rstd, w, b, *sizes, scaled, scaled)
    check_close(y, h * w[:, None] + b[:, None], dtype)
    chunked(getattr(B, "batch_norm_backward_sums" + cols), [dw, db], g, x, mean, rstd, *sizes)
    check_close(dw / 10, (g * h).sum((0, 2)) / 10, dtype)
    check_close(db / 10, g.sum((0, 2), dtype=np.float64) / 10, dtype)
    backward = getattr(B, "batch_norm_backward" + cols)
    chunked(backward, [dx], g, x, mean, rstd, w, dw, db, *sizes, scaled, 1)
    if batch * inner > 1:
        check_close(dx, expected, dtype)
    chunked(backward, [dx], g, x, mean, rstd, w, dw, db, *sizes, scaled, 0)
    np.testing.assert_allclose(dx, g * s * w[:, None], rtol=1e-3 if dtype == "float32" else 1e-12)


def test_interpreted():
    x = data(3, 4, dtype="float32")
    y, mean, rstd = np.zeros_like(x), np.zeros(3, np.float32), np.zeros(3, np.float32)
    run(K.layer_norm, y, mean, rstd, x, 0, 0, 3, 4, EPS, 0, 0, interpreted=True)
    check_close(y, reference(x, x, np.ones(4), 1)[0], "float32")
