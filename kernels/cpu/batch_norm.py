"""Batch normalisation of contiguous x[batch, channels, inner]: statistics over batch and inner, by channel.

Training: batch_norm_stats (or reduce_plan.var_plan(1, batch, channels, T, 0) for inner 1), batch_norm_update,
then batch_norm_apply. Evaluation: batch_norm_rstd of the running variance, then batch_norm_apply. Backward:
the sums dw = sum(g x^), db = sum(g), then batch_norm_backward. Kernels named _cols are for inner = 1.
Pointers `weight` and `bias` are not read if `scaled` or `shifted` is 0.
"""

from ..jit import T, T_ptr, i64, kernel, real
from ..memory import offset, split, stack
from ..scalar import sqrt

REASSOC = frozenset({"contract", "reassoc"})
PIECE = 2048  # elements over which a mean is taken before the squares: they stay in L1
TILE = 128


@kernel(fastmath=REASSOC)
def batch_norm_stats(
    mean: T_ptr, var: T_ptr, x: T_ptr, batch: i64, channels: i64, inner: i64, chunk: i64, nchunks: i64
):
    """mean[channels], var[channels] (divided by the count); units: channels. Method: see moments.py."""
    images = PIECE // inner if 0 < inner < PIECE else 1
    lo, hi = split(channels, chunk, nchunks)
    for c in range(lo, hi):
        m, q = T(0), T(0)
        done = 0
        while done < batch:
            count = batch - done if batch - done < images else images
            s = T(0)
            for b in range(done, done + count):
                row = offset(x, (b * channels + c) * inner)
                for i in range(inner):
                    s += row[i]
            s /= T(count * inner)
            v = T(0)
            for b in range(done, done + count):
                row = offset(x, (b * channels + c) * inner)
                for i in range(inner):
                    v += (row[i] - s) * (row[i] - s)
            d = s - m
            share = T(count) / T(done + count)
            m = m + d * share if done > 0 else s
            q += v + (d * d * T(done * inner) * share if done > 0 else T(0))
            done += count
        mean[c] = m
        var[c] = q / T(batch * inner)


@kernel
def batch_norm_update(
    rstd: T_ptr, running_mean: T_ptr, running_var: T_ptr, mean: T_ptr, var: T_ptr, channels: i64, eps: real,
    momentum: real, unbias: real, track: i64, chunk: i64, nchunks: i64,
):  # fmt: skip
    """rstd = 1 / sqrt(var + eps); if `track`, running values move by `momentum` to mean, var * unbias."""
    lo, hi = split(channels, chunk, nchunks)
    for c in range(lo, hi):
        rstd[c] = T(1) / sqrt(var[c] + eps)
        if track != 0:
            running_mean[c] = (T(1) - momentum) * running_mean[c] + momentum * mean[c]
            running_var[c] = (T(1) - momentum) * running_var[c] + momentum * (var[c] * unbias)


@kernel
def batch_norm_rstd(rstd: T_ptr, var: T_ptr, channels: i64, eps: real, chunk: i64, nchunks: i64):
    """rstd = 1 / sqrt(var + eps)."""
    lo, hi = split(channels, chunk, nchunks)
    for c in range(lo, hi):
        rstd[c] = T(1) / sqrt(var[c] + eps)


@kernel
def batch_norm_apply(
    y: T_ptr, x: T_ptr, mean: T_ptr, rstd: T_ptr, weight: T_ptr, bias: T_ptr, batch: i64, channels: i64,
    inner: i64, scaled: i64, shifted: i64, chunk: i64, nchunks: i64,
):  # fmt: skip
    """y = (x - mean) rstd w + b; units: batch * channels."""
    lo, hi = split(batch * channels, chunk, nchunks)
    for unit in range(lo, hi):
        c = unit - unit // channels * channels
        m = mean[c]
        scale = rstd[c] * weight[c] if scaled != 0 else rstd[c]
        shift = bias[c] if shifted != 0 else T(0)
        for i in range(unit * inner, unit * inner + inner):
            y[i] = (x[i] - m) * scale + shift


@kernel
def batch_norm_apply_cols(
    y: T_ptr, x: T_ptr, mean: T_ptr, rstd: T_ptr, weight: T_ptr, bias: T_ptr, batch: i64, channels: i64,
    scaled: i64, shifted: i64, chunk: i64, nchunks: i64,
):  # fmt: skip
    """batch_norm_apply for inner = 1; units: batch."""
    scale, shift = stack(TILE, T), stack(TILE, T)
    lo, hi = split(batch, chunk, nchunks)
    for c0 in range(0, channels, TILE):
        width = channels - c0 if channels - c0 < TILE else TILE
        for c in range(width):
            scale[c] = rstd[c0 + c] * weight[c0 + c] if scaled != 0 else rstd[c0 + c]
            shift[c] = bias[c0 + c] if shifted != 0 else T(0)
        m = offset(mean, c0)
        for b in range(lo, hi):
            row, out = offset(x, b * channels + c0), offset(y, b * channels + c0)
            for c in range(width):
                out[c] = (row[c] - m[c]) * scale[c] + shift[c]


@kernel(fastmath=REASSOC)
def batch_norm_backward_sums(
    dw: T_ptr, db: T_ptr, g: T_ptr, x: T_ptr, mean: T_ptr, rstd: T_ptr, batch: i64, channels: i64, inner: i64,
    chunk: i64, nchunks: i64,
):  # fmt: skip
    """dw, db [channels] = sums of g x^ and of g; units: channels."""
    lo, hi = split(channels, chunk, nchunks)
    for c in range(lo, hi):
        m = mean[c]
        total, total_x = T(0), T(0)
        for b in range(batch):
            row, grad = offset(x, (b * channels + c) * inner), offset(g, (b * channels + c) * inner)
            p, q = T(0), T(0)
            for i in range(inner):
                p += grad[i]
                q += grad[i] * (row[i] - m)
            total += p
            total_x += q
        dw[c] = total_x * rstd[c]
        db[c] = total


@kernel
def batch_norm_backward_sums_cols(
    dw: T_ptr, db: T_ptr, g: T_ptr, x: T_ptr, mean: T_ptr, rstd: T_ptr, batch: i64, channels: i64,
    chunk: i64, nchunks: i64,
):  # fmt: skip
    """batch_norm_backward_sums for inner = 1; units: tiles of TILE channels."""
    p, q = stack(TILE, T), stack(TILE, T)
    lo, hi = split((channels + TILE - 1) // TILE, chunk, nchunks)
    for unit in range(lo, hi):
        c0 = unit * TILE
        width = channels - c0 if channels - c0 < TILE else TILE
        for c in range(width):
            p[c], q[c] = T(0), T(0)
        m = offset(mean, c0)
        for b in range(batch):
            row, grad = offset(x, b * channels + c0), offset(g, b * channels + c0)
            for c in range(width):
                p[c] += grad[c]
                q[c] += grad[c] * (row[c] - m[c])
        for c in range(width):
            dw[c0 + c] = q[c] * rstd[c0 + c]
            db[c0 + c] = p[c]


@kernel
def batch_norm_backward(
    dx: T_ptr, g: T_ptr, x: T_ptr, mean: T_ptr, rstd: T_ptr, weight: T_ptr, dw: T_ptr, db: T_ptr, batch: i64,
    channels: i64, inner: i64, scaled: i64, training: i64, chunk: i64, nchunks: i64,
):  # fmt: skip
    """dx = rstd w (g - db / count - x^ dw / count) in training, else rstd w g; units: batch * channels."""
    lo, hi = split(batch * channels, chunk, nchunks)
    for unit in range(lo, hi):
        c = unit - unit // channels * channels
        m = mean[c]
        scale = rstd[c] * weight[c] if scaled != 0 else rstd[c]
        a, b = T(0), T(0)
        if training != 0:
            a = db[c] / T(batch * inner)
            b = dw[c] * rstd[c] / T(batch * inner)
        for i in range(unit * inner, unit * inner + inner):
            dx[i] = (g[i] - a - (x[i] - m) * b) * scale


@kernel
def batch_norm_backward_cols(
    dx: T_ptr, g: T_ptr, x: T_ptr, mean: T_ptr, rstd: T_ptr, weight: T_ptr, dw: T_ptr, db: T_ptr, batch: i64,
    channels: i64, scaled: i64, training: i64, chunk: i64, nchunks: i64,
):  # fmt: skip
    """batch_norm_backward for inner = 1; units: batch."""
    a, s, scale = stack(TILE, T), stack(TILE, T), stack(TILE, T)
    lo, hi = split(batch, chunk, nchunks)
    for c0 in range(0, channels, TILE):
        width = channels - c0 if channels - c0 < TILE else TILE
        for c in range(width):
            scale[c] = rstd[c0 + c] * weight[c0 + c] if scaled != 0 else rstd[c0 + c]
            a[c] = db[c0 + c] / T(batch) if training != 0 else T(0)
            s[c] = dw[c0 + c] * rstd[c0 + c] / T(batch) if training != 0 else T(0)
        m = offset(mean, c0)
        for b in range(lo, hi):
            row, grad, out = (
                offset(x, b * channels + c0),
                offset(g, b * channels + c0),
                offset(dx, b * channels + c0),
            )
            for c in range(width):
                out[c] = (grad[c] - a[c] - (row[c] - m[c]) * s[c]) * scale[c]
