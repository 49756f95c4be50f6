"""Batch normalisation of contiguous x[batch, channels, inner]: the CUDA twin of cpu/batch_norm.py.

statistics and sums    a block a channel; for inner = 1, a tile of columns a block (rows.py)
the rest               a thread an element
"""

from numpy import int64

from ..jit import T, T_ptr, device, i64, real
from ..loops import quotient
from ..scalar import sqrt
from .gpu import block, shared, thread
from .index import element
from .launch import ceil_div, kernel
from .rows import THREADS, column_of, columns_grid
from .team import block_sum, column_sum


@device
def channel_place(i, c, channels, inner):
    """Where element i of channel c lies; i counts over batch and inner."""
    b = quotient(i, inner)
    return (b * channels + c) * inner + i - b * inner


@kernel(grid=lambda channels: channels, threads=THREADS)
def batch_norm_stats(mean: T_ptr, var: T_ptr, x: T_ptr, batch: i64, channels: i64, inner: i64):
    """mean[channels], var[channels] (divided by the count); the mean first, then the squares around it."""
    room, c, n = shared(32, T), int64(block()), batch * inner
    total, i = T(0), int64(thread())
    while i < n:
        total += x[channel_place(i, c, channels, inner)]
        i += THREADS
    m = block_sum(total, room) / T(n)
    total, i = T(0), int64(thread())
    while i < n:
        d = x[channel_place(i, c, channels, inner)] - m
        total += d * d
        i += THREADS
    total = block_sum(total, room)
    if thread() == 0:
        mean[c], var[c] = m, total / T(n)


def channels_grid(channels: int) -> int:
    """A thread for each channel."""
    return ceil_div(channels, THREADS)


@kernel(grid=channels_grid, threads=THREADS)
def batch_norm_update(
    rstd: T_ptr, running_mean: T_ptr, running_var: T_ptr, mean: T_ptr, var: T_ptr, channels: i64, eps: real,
    momentum: real, unbias: real, track: i64,
):  # fmt: skip
    """rstd = 1 / sqrt(var + eps); if `track`, running values move by `momentum` to mean, var * unbias."""
    c = element()
    if c < channels:
        rstd[c] = T(1) / sqrt(var[c] + eps)
        if track != 0:
            running_mean[c] = (T(1) - momentum) * running_mean[c] + momentum * mean[c]
            running_var[c] = (T(1) - momentum) * running_var[c] + momentum * (var[c] * unbias)


@kernel(grid=channels_grid, threads=THREADS)
def batch_norm_rstd(rstd: T_ptr, var: T_ptr, channels: i64, eps: real):
    """rstd = 1 / sqrt(var + eps)."""
    c = element()
    if c < channels:
        rstd[c] = T(1) / sqrt(var[c] + eps)


@device
def apply(y, x, mean, rstd, weight, bias, i, c, scaled, shifted):
    scale = rstd[c] * weight[c] if scaled != 0 else rstd[c]
    y[i] = (x[i] - mean[c]) * scale + (bias[c] if shifted != 0 else T(0))


def elements_grid(batch: int, channels: int, inner: int) -> int:
    """A thread for each element."""
    return ceil_div(batch * channels * inner, THREADS)


@kernel(grid=elements_grid, threads=THREADS)
def batch_norm_apply(
    y: T_ptr, x: T_ptr, mean: T_ptr, rstd: T_ptr, weight: T_ptr, bias: T_ptr, batch: i64, channels: i64,
    inner: i64, scaled: i64, shifted: i64,
):  # fmt: skip
    """y = (x - mean) rstd w + b."""
    i = element()
    if i < batch * channels * inner:
        row = quotient(i, inner)
        apply(y, x, mean, rstd, weight, bias, i, row - quotient(row, channels) * channels, scaled, shifted)


def flat_grid(batch: int, channels: int) -> int:
    """A thread for each element, for inner = 1."""
    return ceil_div(batch * channels, THREADS)


@kernel(grid=flat_grid, threads=THREADS)
def batch_norm_apply_cols(
    y: T_ptr, x: T_ptr, mean: T_ptr, rstd: T_ptr, weight: T_ptr, bias: T_ptr, batch: i64, channels: i64,
    scaled: i64, shifted: i64,
):  # fmt: skip
    """batch_norm_apply for inner = 1."""
    i = element()
    if i < batch * channels:
        apply(y, x, mean, rstd, weight, bias, i, i - quotient(i, channels) * channels, scaled, shifted)


@kernel(grid=lambda channels: channels, threads=THREADS)
def batch_norm_backward_sums(
    dw: T_ptr, db: T_ptr, g: T_ptr, x: T_ptr, mean: T_ptr, rstd: T_ptr, batch: i64, channels: i64, inner: i64
):
    """dw, db [channels] = sums of g x^ and of g."""
    room, c, n = shared(32, T), int64(block()), batch * inner
    p, q, i = T(0), T(0), int64(thread())
    while i < n:
        at = channel_place(i, c, channels, inner)
        p += g[at]
        q += g[at] * (x[at] - mean[c])
        i += THREADS
    p, q = block_sum(p, room), block_sum(q, room)
    if thread() == 0:
        dw[c], db[c] = q * rstd[c], p


@kernel(grid=lambda channels: columns_grid(1, channels), threads=THREADS)
def batch_norm_backward_sums_cols(
    dw: T_ptr, db: T_ptr, g: T_ptr, x: T_ptr, mean: T_ptr, rstd: T_ptr, batch: i64, channels: i64
):
    """batch_norm_backward_sums for inner = 1."""
    room = shared(THREADS, T)
    _, c, line, step, wide = column_of(channels)
    p, q, b = T(0), T(0), line
    while b < batch and c < channels:
        p += g[b * channels + c]
        q += g[b * channels + c] * (x[b * channels + c] - mean[c])
        b += step
    p, q = column_sum(p, room, wide), column_sum(q, room, wide)
    if line == 0 and c < channels:
        dw[c], db[c] = q * rstd[c], p


@device
def backward(dx, g, x, mean, rstd, weight, dw, db, i, c, count, scaled, training):
    scale = rstd[c] * weight[c] if scaled != 0 else rstd[c]
    a, b = T(0), T(0)
    if training != 0:
        a, b = db[c] / T(count), dw[c] * rstd[c] / T(count)
    dx[i] = (g[i] - a - (x[i] - mean[c]) * b) * scale


@kernel(grid=elements_grid, threads=THREADS)
def batch_norm_backward(
    dx: T_ptr, g: T_ptr, x: T_ptr, mean: T_ptr, rstd: T_ptr, weight: T_ptr, dw: T_ptr, db: T_ptr, batch: i64,
    channels: i64, inner: i64, scaled: i64, training: i64,
):  # fmt: skip
    """dx = rstd w (g - db / count - x^ dw / count) in training, else rstd w g."""
    i = element()
    if i < batch * channels * inner:
        row = quotient(i, inner)
        c = row - quotient(row, channels) * channels
        backward(dx, g, x, mean, rstd, weight, dw, db, i, c, batch * inner, scaled, training)


@kernel(grid=flat_grid, threads=THREADS)
def batch_norm_backward_cols(
    dx: T_ptr, g: T_ptr, x: T_ptr, mean: T_ptr, rstd: T_ptr, weight: T_ptr, dw: T_ptr, db: T_ptr, batch: i64,
    channels: i64, scaled: i64, training: i64,
):  # fmt: skip
    """batch_norm_backward for inner = 1."""
    i = element()
    if i < batch * channels:
        c = i - quotient(i, channels) * channels
        backward(dx, g, x, mean, rstd, weight, dw, db, i, c, batch, scaled, training)
