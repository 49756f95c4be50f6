"""Layer, RMS and group normalisation, forward and backward: the CUDA twin of cpu/norm.py (formulas there).

Rows are dealt as in rows.py: a warp for a short row, a block for a longer one. A row is read once per pass; the
second pass finds it in the cache. Sums over rows for dw and db are made by blocks of BLOCK rows, as on the CPU.
"""

from numpy import int32, int64

from ..cpu.norm import BLOCK
from ..jit import T, T_ptr, device, i64, real
from ..loops import quotient
from ..memory import offset
from ..scalar import sqrt
from .gpu import block, shared, thread
from .launch import ceil_div, kernel
from .rows import SHORT, THREADS, place, row_of, rows_grid, team_sum


@device
def team_of(n):
    """Threads that work on a row of n."""
    return int32(32) if n <= SHORT else int32(THREADS)


@device
def row_mean(x, n, team, room):
    total, i = T(0), int64(place(team))
    while i < n:
        total += x[i]
        i += team
    return team_sum(total, room, team) / T(n)


@device
def row_variance(x, n, mean, team, room):
    total, i = T(0), int64(place(team))
    while i < n:
        total += (x[i] - mean) * (x[i] - mean)
        i += team
    return team_sum(total, room, team) / T(n)


@kernel(grid=rows_grid, threads=THREADS)
def layer_norm(
    y: T_ptr, mean: T_ptr, rstd: T_ptr, x: T_ptr, weight: T_ptr, bias: T_ptr, rows: i64, n: i64, eps: real,
    scaled: i64, shifted: i64,
):  # fmt: skip
    """y[rows, n], mean[rows], rstd[rows] of x; weight and bias are [n]."""
    room, r, team = shared(32, T), row_of(n), team_of(n)
    if r < rows:
        row, out = offset(x, r * n), offset(y, r * n)
        m = row_mean(row, n, team, room)
        s = T(1) / sqrt(row_variance(row, n, m, team, room) + eps)
        i = int64(place(team))
        if i == 0:
            mean[r], rstd[r] = m, s
        while i < n:
            v = (row[i] - m) * s
            if scaled != 0:
                v = v * weight[i]
            out[i] = v + bias[i] if shifted != 0 else v
            i += team


@kernel(grid=rows_grid, threads=THREADS)
def layer_norm_backward(
    dx: T_ptr, g: T_ptr, x: T_ptr, mean: T_ptr, rstd: T_ptr, weight: T_ptr, rows: i64, n: i64, scaled: i64
):
    """dx[rows, n]."""
    room, r, team = shared(32, T), row_of(n), team_of(n)
    if r < rows:
        row, grad, out = offset(x, r * n), offset(g, r * n), offset(dx, r * n)
        m, s, a, b = mean[r], rstd[r], T(0), T(0)
        i = int64(place(team))
        while i < n:
            gw = grad[i] * weight[i] if scaled != 0 else grad[i]
            a += gw
            b += gw * (row[i] - m)
            i += team
        a = team_sum(a, room, team) / T(n)
        b = team_sum(b, room, team) * s * s / T(n)
        i = int64(place(team))
        while i < n:
            gw = grad[i] * weight[i] if scaled != 0 else grad[i]
            out[i] = s * (gw - a - (row[i] - m) * b)
            i += team


def sums_grid(rows: int, n: int) -> int:
    """A thread for each column of each block of rows."""
    return ceil_div(max(1, ceil_div(rows, BLOCK)) * n, THREADS)


@kernel(grid=sums_grid, threads=THREADS)
def layer_norm_backward_sums(part: T_ptr, g: T_ptr, x: T_ptr, mean: T_ptr, rstd: T_ptr, rows: i64, n: i64):
    """part[blocks, 2, n] = sums of g x^ and of g over blocks of BLOCK rows (at least one block)."""
    at = int64(block()) * THREADS + thread()
    blocks = max((rows + BLOCK - 1) // BLOCK, 1)
    if at < blocks * n:
        b = quotient(at, n)
        i, r, end = at - b * n, b * BLOCK, min(rows, (b + 1) * BLOCK)
        dw, db = T(0), T(0)
        while r < end:
            grad = g[r * n + i]
            dw += grad * ((x[r * n + i] - mean[r]) * rstd[r])
            db += grad
            r += 1
        part[2 * b * n + i] = dw
        part[(2 * b + 1) * n + i] = db


@kernel(grid=rows_grid, threads=THREADS)
def rms_norm(y: T_ptr, rstd: T_ptr, x: T_ptr, weight: T_ptr, rows: i64, n: i64, eps: real, scaled: i64):
    """y[rows, n] = x rstd w with rstd[rows] = 1 / sqrt(mean(x^2) + eps)."""
    room, r, team = shared(32, T), row_of(n), team_of(n)
    if r < rows:
        row, out = offset(x, r * n), offset(y, r * n)
        s = T(1) / sqrt(row_variance(row, n, T(0), team, room) + eps)
        i = int64(place(team))
        if i == 0:
            rstd[r] = s
        while i < n:
            v = row[i] * s
            out[i] = v * weight[i] if scaled != 0 else v
            i += team


@kernel(grid=rows_grid, threads=THREADS)
def rms_norm_backward(
    dx: T_ptr, g: T_ptr, x: T_ptr, rstd: T_ptr, weight: T_ptr, rows: i64, n: i64, scaled: i64
):
    """dx = rstd (g w - x^ mean(g w x^))."""
    room, r, team = shared(32, T), row_of(n), team_of(n)
    if r < rows:
        row, grad, out = offset(x, r * n), offset(g, r * n), offset(dx, r * n)
        s, b, i = rstd[r], T(0), int64(place(team))
        while i < n:
            b += (grad[i] * weight[i] if scaled != 0 else grad[i]) * row[i]
            i += team
        b = team_sum(b, room, team) * s * s / T(n)
        i = int64(place(team))
        while i < n:
            gw = grad[i] * weight[i] if scaled != 0 else grad[i]
            out[i] = s * (gw - row[i] * b)
            i += team


# ---------------------------------------------------------------- groups of channels
def group_grid(batch: int, groups: int, channels: int, inner: int) -> int:
    """rows_grid, with a group as a row."""
    return rows_grid(batch * groups, channels * inner)


@kernel(grid=group_grid, threads=THREADS)
def group_norm(
    y: T_ptr, mean: T_ptr, rstd: T_ptr, x: T_ptr, weight: T_ptr, bias: T_ptr, batch: i64, groups: i64,
    channels: i64, inner: i64, eps: real, scaled: i64, shifted: i64,
):  # fmt: skip
    """y of x[batch, groups, channels of a group, inner]; mean, rstd [batch, groups]."""
    n = channels * inner
    room, r, team = shared(32, T), row_of(n), team_of(n)
    if r < batch * groups:
        row, out = offset(x, r * n), offset(y, r * n)
        m = row_mean(row, n, team, room)
        s = T(1) / sqrt(row_variance(row, n, m, team, room) + eps)
        first, i = (r - quotient(r, groups) * groups) * channels, int64(place(team))
        if i == 0:
            mean[r], rstd[r] = m, s
        while i < n:
            c = first + quotient(i, inner)
            scale = s * weight[c] if scaled != 0 else s
            out[i] = (row[i] - m) * scale + (bias[c] if shifted != 0 else T(0))
            i += team


@kernel(grid=lambda batch, groups, channels: batch * groups * channels, threads=THREADS)
def group_norm_backward_sums(
    part: T_ptr, g: T_ptr, x: T_ptr, mean: T_ptr, rstd: T_ptr, batch: i64, groups: i64, channels: i64,
    inner: i64,
):  # fmt: skip
    """part[batch, 2, groups * channels] = sums of g x^ and of g over `inner`; a block each."""
    room, unit, every = shared(32, T), int64(block()), groups * channels
    b, r = quotient(unit, every), quotient(unit, channels)
    m, s, dw, db = mean[r], rstd[r], T(0), T(0)
    row, grad, i = offset(x, unit * inner), offset(g, unit * inner), int64(thread())
    while i < inner:
        dw += grad[i] * (row[i] - m)
        db += grad[i]
        i += THREADS
    dw, db = team_sum(dw, room, THREADS), team_sum(db, room, THREADS)
    if thread() == 0:
        part[2 * b * every + unit - b * every] = dw * s
        part[(2 * b + 1) * every + unit - b * every] = db


@kernel(grid=group_grid, threads=THREADS)
def group_norm_backward(
    dx: T_ptr, g: T_ptr, x: T_ptr, mean: T_ptr, rstd: T_ptr, part: T_ptr, weight: T_ptr, batch: i64,
    groups: i64, channels: i64, inner: i64, scaled: i64,
):  # fmt: skip
    """dx from the sums of group_norm_backward_sums."""
    n, every = channels * inner, groups * channels
    room, r, team = shared(32, T), row_of(n), team_of(n)
    if r < batch * groups:
        b = quotient(r, groups)
        first, p, q = (r - b * groups) * channels, T(0), T(0)
        c = int64(place(team))
        while c < channels:
            w = weight[first + c] if scaled != 0 else T(1)
            q += w * part[2 * b * every + first + c]
            p += w * part[(2 * b + 1) * every + first + c]
            c += team
        m, s = mean[r], rstd[r]
        p = team_sum(p, room, team) / T(n)
        q = team_sum(q, room, team) * s / T(n)
        i = int64(place(team))
        while i < n:
            w = weight[first + quotient(i, inner)] if scaled != 0 else T(1)
            dx[r * n + i] = s * (g[r * n + i] * w - p - (x[r * n + i] - m) * q)
            i += team
