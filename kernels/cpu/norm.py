"""Layer, RMS and group normalisation, forward and backward (batch normalisation: batch_norm.py).

    x^ = (x - mean) rstd         rstd = 1 / sqrt(variance + eps)        y = x^ w + b
    dx = rstd (g w - mean(g w) - x^ mean(g w x^))        dw = sum(g x^)        db = sum(g)

Pointers `weight` and `bias` are not read if `scaled` or `shifted` is 0. Sums over rows for dw and db are made
by fixed blocks of rows into pairs [blocks, 2, n], which sum_plan(1, blocks, 2 * n, T) then adds up to [2, n].
"""

from ..jit import T, T_ptr, device, i64, kernel, real
from ..loops import independent
from ..memory import offset, split
from ..scalar import sqrt

REASSOC = frozenset({"contract", "reassoc"})
BLOCK = 64  # rows that are added into one pair of partial sums


def row_blocks(rows: int) -> int:
    """How many pairs of partial sums the gradients of weight and bias need."""
    return max(1, -(-rows // BLOCK))


@device(fastmath="inherit")
def mean_of(x, n):
    total = T(0)
    for i in range(n):
        total += x[i]
    return total / T(n)


@device(fastmath="inherit")
def variance_of(x, n, mean):
    total = T(0)
    for i in range(n):
        total += (x[i] - mean) * (x[i] - mean)
    return total / T(n)


@kernel(fastmath=REASSOC)
def layer_norm(
    y: T_ptr, mean: T_ptr, rstd: T_ptr, x: T_ptr, weight: T_ptr, bias: T_ptr, rows: i64, n: i64, eps: real,
    scaled: i64, shifted: i64, chunk: i64, nchunks: i64,
):  # fmt: skip
    """y[rows, n], mean[rows], rstd[rows] of x; weight and bias are [n]; units: rows."""
    lo, hi = split(rows, chunk, nchunks)
    for r in range(lo, hi):
        row, out = offset(x, r * n), offset(y, r * n)
        m = mean_of(row, n)
        s = T(1) / sqrt(variance_of(row, n, m) + eps)
        mean[r], rstd[r] = m, s
        if scaled != 0 and shifted != 0:
            for i in range(n):
                out[i] = (row[i] - m) * s * weight[i] + bias[i]
        elif scaled != 0:
            for i in range(n):
                out[i] = (row[i] - m) * s * weight[i]
        else:
            for i in range(n):
                out[i] = (row[i] - m) * s
            if shifted != 0:
                for i in range(n):
                    out[i] += bias[i]


@kernel(fastmath=REASSOC)
def layer_norm_backward(
    dx: T_ptr, g: T_ptr, x: T_ptr, mean: T_ptr, rstd: T_ptr, weight: T_ptr, rows: i64, n: i64, scaled: i64,
    chunk: i64, nchunks: i64,
):  # fmt: skip
    """dx[rows, n]; units: rows."""
    lo, hi = split(rows, chunk, nchunks)
    for r in range(lo, hi):
        row, grad, out = offset(x, r * n), offset(g, r * n), offset(dx, r * n)
        m, s = mean[r], rstd[r]
        a, b = T(0), T(0)
        if scaled != 0:
            for i in range(n):
                a += grad[i] * weight[i]
                b += grad[i] * weight[i] * (row[i] - m)
        else:
            for i in range(n):
                a += grad[i]
                b += grad[i] * (row[i] - m)
        a = a / T(n)
        b = b * s * s / T(n)
        if scaled != 0:
            for i in range(n):
                out[i] = s * (grad[i] * weight[i] - a - (row[i] - m) * b)
        else:
            for i in range(n):
                out[i] = s * (grad[i] - a - (row[i] - m) * b)


@kernel
def layer_norm_backward_sums(
    part: T_ptr, g: T_ptr, x: T_ptr, mean: T_ptr, rstd: T_ptr, rows: i64, n: i64, chunk: i64, nchunks: i64
):
    """part[blocks, 2, n] = sums of g x^ and of g over blocks of BLOCK rows; units: blocks (at least 1)."""
    blocks = (rows + BLOCK - 1) // BLOCK if rows > 0 else 1
    lo, hi = split(blocks, chunk, nchunks)
    for b in range(lo, hi):
        dw, db = offset(part, 2 * b * n), offset(part, (2 * b + 1) * n)
        for i in range(n):
            dw[i], db[i] = T(0), T(0)
        for r in range(b * BLOCK, rows if rows < (b + 1) * BLOCK else (b + 1) * BLOCK):
            row, grad = offset(x, r * n), offset(g, r * n)
            m, s = mean[r], rstd[r]
            for i in range(n):
                dw[i] += grad[i] * ((row[i] - m) * s)
                db[i] += grad[i]


@kernel(fastmath=REASSOC)
def layer_norm_gradients(
    dx: T_ptr, part: T_ptr, g: T_ptr, x: T_ptr, mean: T_ptr, rstd: T_ptr, weight: T_ptr, rows: i64, n: i64,
    chunk: i64, nchunks: i64,
):  # fmt: skip
    """layer_norm_backward and layer_norm_backward_sums while a row is in the cache; units: blocks (at least 1)."""
    blocks = (rows + BLOCK - 1) // BLOCK if rows > 0 else 1
    lo, hi = split(blocks, chunk, nchunks)
    for block in range(lo, hi):
        dw, db = offset(part, 2 * block * n), offset(part, (2 * block + 1) * n)
        for i in range(n):
            dw[i], db[i] = T(0), T(0)
        for r in range(block * BLOCK, rows if rows < (block + 1) * BLOCK else (block + 1) * BLOCK):
            row, grad, out = offset(x, r * n), offset(g, r * n), offset(dx, r * n)
            m, s = mean[r], rstd[r]
            a, b = T(0), T(0)
            for i in range(n):
                a += grad[i] * weight[i]
                b += grad[i] * weight[i] * (row[i] - m)
            a = a / T(n)
            b = b * s * s / T(n)
            for i in range(n):
                out[i] = s * (grad[i] * weight[i] - a - (row[i] - m) * b)
                dw[i] += grad[i] * ((row[i] - m) * s)
                db[i] += grad[i]
    independent()


@kernel(fastmath=REASSOC)
def rms_norm(
    y: T_ptr, rstd: T_ptr, x: T_ptr, weight: T_ptr, rows: i64, n: i64, eps: real, scaled: i64,
    chunk: i64, nchunks: i64,
):  # fmt: skip
    """y[rows, n] = x rstd w with rstd[rows] = 1 / sqrt(mean(x^2) + eps); units: rows."""
    lo, hi = split(rows, chunk, nchunks)
    for r in range(lo, hi):
        row, out = offset(x, r * n), offset(y, r * n)
        s = T(1) / sqrt(variance_of(row, n, T(0)) + eps)
        rstd[r] = s
        if scaled != 0:
            for i in range(n):
                out[i] = row[i] * s * weight[i]
        else:
            for i in range(n):
                out[i] = row[i] * s


@kernel(fastmath=REASSOC)
def rms_norm_backward(
    dx: T_ptr, g: T_ptr, x: T_ptr, rstd: T_ptr, weight: T_ptr, rows: i64, n: i64, scaled: i64,
    chunk: i64, nchunks: i64,
):  # fmt: skip
    """dx = rstd (g w - x^ mean(g w x^)); units: rows. (dw: layer_norm_backward_sums with means of 0.)"""
    lo, hi = split(rows, chunk, nchunks)
    for r in range(lo, hi):
        row, grad, out = offset(x, r * n), offset(g, r * n), offset(dx, r * n)
        s = rstd[r]
        b = T(0)
        if scaled != 0:
            for i in range(n):
                b += grad[i] * weight[i] * row[i]
        else:
            for i in range(n):
                b += grad[i] * row[i]
        b = b * s * s / T(n)
        if scaled != 0:
            for i in range(n):
                out[i] = s * (grad[i] * weight[i] - row[i] * b)
        else:
            for i in range(n):
                out[i] = s * (grad[i] - row[i] * b)


@kernel(fastmath=REASSOC)
def group_norm(
    y: T_ptr, mean: T_ptr, rstd: T_ptr, x: T_ptr, weight: T_ptr, bias: T_ptr, batch: i64, groups: i64,
    channels: i64, inner: i64, eps: real, scaled: i64, shifted: i64, chunk: i64, nchunks: i64,
):  # fmt: skip
    """y of x[batch, groups, channels of a group, inner]; mean, rstd [batch, groups]; units: batch * groups.

    Instance normalisation has one channel in each group.
    """
    n = channels * inner
    lo, hi = split(batch * groups, chunk, nchunks)
    for r in range(lo, hi):
        row, out = offset(x, r * n), offset(y, r * n)
        m = mean_of(row, n)
        s = T(1) / sqrt(variance_of(row, n, m) + eps)
        mean[r], rstd[r] = m, s
        for c in range(channels):
            at = (r - r // groups * groups) * channels + c
            scale = s * weight[at] if scaled != 0 else s
            shift = bias[at] if shifted != 0 else T(0)
            for i in range(c * inner, c * inner + inner):
                out[i] = (row[i] - m) * scale + shift


@kernel(fastmath=REASSOC)
def group_norm_backward_sums(
    part: T_ptr, g: T_ptr, x: T_ptr, mean: T_ptr, rstd: T_ptr, batch: i64, groups: i64, channels: i64,
    inner: i64, chunk: i64, nchunks: i64,
):  # fmt: skip
    """part[batch, 2, groups * channels] = sums of g x^ and of g over `inner`; units: all rows."""
    every = groups * channels
    lo, hi = split(batch * every, chunk, nchunks)
    for unit in range(lo, hi):
        b = unit // every
        m, s = mean[unit // channels], rstd[unit // channels]
        row, grad = offset(x, unit * inner), offset(g, unit * inner)
        dw, db = T(0), T(0)
        for i in range(inner):
            dw += grad[i] * (row[i] - m)
            db += grad[i]
        part[(2 * b) * every + unit - b * every] = dw * s
        part[(2 * b + 1) * every + unit - b * every] = db


@kernel
def group_norm_backward(
    dx: T_ptr, g: T_ptr, x: T_ptr, mean: T_ptr, rstd: T_ptr, part: T_ptr, weight: T_ptr, batch: i64,
    groups: i64, channels: i64, inner: i64, scaled: i64, chunk: i64, nchunks: i64,
):  # fmt: skip
    """dx from the sums of group_norm_backward_sums; units: batch * groups."""
    every = groups * channels
    lo, hi = split(batch * groups, chunk, nchunks)
    for r in range(lo, hi):
        b = r // groups
        first = (r - b * groups) * channels
        sum_gx, sum_g = T(0), T(0)
        for c in range(first, first + channels):
            w = weight[c] if scaled != 0 else T(1)
            sum_gx += w * part[2 * b * every + c]
            sum_g += w * part[(2 * b + 1) * every + c]
        m, s = mean[r], rstd[r]
        p = sum_g / T(channels * inner)
        q = sum_gx * s / T(channels * inner)
        for c in range(channels):
            w = weight[first + c] if scaled != 0 else T(1)
            for i in range((r * channels + c) * inner, (r * channels + c + 1) * inner):
                dx[i] = s * (g[i] * w - p - (x[i] - m) * q)
