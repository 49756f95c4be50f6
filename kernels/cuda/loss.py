"""Cross-entropy and negative log-likelihood with class indices: the CUDA twin of cpu/loss.py (formulas
there).

Targets must lie in [0, classes) or equal `ignore`. Who works on what is said in rows.py.
"""

from math import inf

from numpy import int32, int64

from ..jit import T, T_ptr, device, i64, i64_ptr, real
from ..loops import quotient
from ..memory import offset, stack
from ..scalar import exp, log
from .gpu import block, shared, thread
from .launch import ceil_div, kernel
from .rows import (
    HELD,
    MEDIUM,
    SHORT,
    THREADS,
    held_max,
    held_sum,
    hold,
    place,
    row_of,
    team_sum,
)
from .softmax import long_stats
from .team import block_sum


def class_grid(rows: int, classes: int) -> int:
    """rows_grid, by this file's names."""
    return 0 if classes == 0 else ceil_div(rows, 8) if classes <= SHORT else rows


@device
def row_stats(x, n, room, team, per):
    """(largest, sum of exp(x - largest)) of a row that is held."""
    e = stack(HELD, T)
    hold(e, x, n, T(-inf), team, per)
    m = held_max(e, room, team, per)
    for k in range(per):
        e[k] = exp(e[k] - m)
    return m, held_sum(e, room, team, per)


@device
def smooth_sum(x, weight, n, m, shift, weighted, team):
    """This thread's part of the sum of w[c] (L - x[c]) with L = m + shift."""
    total = T(0)
    c = place(team)
    while c < n:
        w = weight[c] if weighted != 0 else T(1)
        total += w * (shift - (x[c] - m))
        c = int32(c + int32(team))
    return total


@device
def row_loss(x, t, weight, n, m, shift, ignore, smoothing, weighted, room, team):
    """(loss, w[t]) of a row, in every thread of its team."""
    w, value = T(0), T(0)
    rest = T(0)
    if smoothing != T(0):
        rest = team_sum(smooth_sum(x, weight, n, m, shift, weighted, team), room, team)
    if t != ignore:
        w = weight[t] if weighted != 0 else T(1)
        value = w * (shift - (x[t] - m))
        if smoothing != T(0):
            value = (T(1) - smoothing) * value + smoothing / T(n) * rest
    return value, w


@device
def write_loss(loss, row_weight, stats, row, value, w, m, shift, team):
    if place(team) == 0:
        loss[row] = value
        row_weight[row] = w
        stats[2 * row] = m
        stats[2 * row + 1] = shift


@kernel(grid=class_grid, threads=THREADS)
def cross_entropy_rows(
    loss: T_ptr, row_weight: T_ptr, stats: T_ptr, x: T_ptr, target: i64_ptr, weight: T_ptr, rows: i64,
    classes: i64, ignore: i64, smoothing: real, weighted: i64,
):  # fmt: skip
    """loss[rows], row_weight[rows] (w[t], for the mean), stats[rows, 2] = (max, log sum exp(x - max))."""
    room, row, n = shared(32, T), row_of(classes), int32(classes)
    base = offset(x, row * classes)
    if classes <= SHORT:
        if row < rows:
            m, total = row_stats(base, n, room, 32, 8)
            shift = log(total)
            value, w = row_loss(base, target[row], weight, n, m, shift, ignore, smoothing, weighted, room, 32)
            write_loss(loss, row_weight, stats, row, value, w, m, shift, 32)
    else:
        if classes <= MEDIUM:
            m, total = row_stats(base, n, room, THREADS, 16)
        else:
            m, total = long_stats(base, n, room)
        shift = log(total)
        value, w = row_loss(
            base, target[row], weight, n, m, shift, ignore, smoothing, weighted, room, THREADS
        )
        write_loss(loss, row_weight, stats, row, value, w, m, shift, THREADS)


@device
def weight_sum(weight, n, weighted, room):
    """The sum of the class weights, in every thread of the block."""
    if weighted == 0:
        return T(n)
    total, c = T(0), thread()
    while c < n:
        total += weight[c]
        c = int32(c + int32(THREADS))
    return block_sum(total, room)


@kernel(grid=class_grid, threads=THREADS)
def cross_entropy_backward_rows(
    dx: T_ptr, g: T_ptr, total: T_ptr, x: T_ptr, stats: T_ptr, target: i64_ptr, weight: T_ptr, rows: i64,
    classes: i64, ignore: i64, smoothing: real, weighted: i64, g_step: i64, mean: i64,
):  # fmt: skip
    """dx[rows, classes]; g is per row (g_step 1) or one value (0); divided by total[0] if `mean`."""
    room, row, n = shared(32, T), row_of(classes), int32(classes)
    spread = smoothing / T(n)
    wsum = weight_sum(weight, n, weighted, room) if smoothing != T(0) else T(0)
    if row < rows:
        team = int32(32) if classes <= SHORT else int32(THREADS)
        t, base, out = target[row], offset(x, row * classes), offset(dx, row * classes)
        scale, w, full, m, shift = T(0), T(0), T(0), T(0), T(0)
        if t != ignore:
            scale = g[row * g_step] / total[0] if mean != 0 else g[row * g_step]
            w = (T(1) - smoothing) * (weight[t] if weighted != 0 else T(1))
            m, shift = stats[2 * row], stats[2 * row + 1]
            full = (w + spread * wsum) * scale
        c = place(team)
        while c < n:
            value = T(0)
            if t != ignore:
                value = exp(base[c] - m - shift) * full
                if smoothing != T(0):
                    value -= spread * scale * (weight[c] if weighted != 0 else T(1))
                if c == t:
                    value -= w * scale
            out[c] = value
            c = int32(c + team)


@device
def train_row(loss, dx, x, t, row, n, ignore, scale, room, team, per):
    e = stack(HELD, T)
    hold(e, x, n, T(-inf), team, per)
    m = held_max(e, room, team, per)
    for k in range(per):
        e[k] = exp(e[k] - m)
    total = held_sum(e, room, team, per)
    part = scale / total if t != ignore else T(0)
    value = log(total) - (x[t] - m) if t != ignore else T(0)
    for k in range(per):
        c = int32(place(team) + int32(k * team))
        if c < n:
            dx[c] = e[k] * part - scale if c == t and t != ignore else e[k] * part
    if place(team) == 0:
        loss[row] = value


@kernel(grid=class_grid, threads=THREADS)
def cross_entropy_train_rows(
    loss: T_ptr, dx: T_ptr, x: T_ptr, target: i64_ptr, rows: i64, classes: i64, ignore: i64, scale: real
):
    """One pass for training: loss[rows] and dx = scale * (softmax - one-hot); no weights, no smoothing."""
    room, row, n = shared(32, T), row_of(classes), int32(classes)
    base, out = offset(x, row * classes), offset(dx, row * classes)
    if classes <= SHORT:
        if row < rows:
            train_row(loss, out, base, target[row], row, n, ignore, scale, room, 32, 8)
    elif classes <= MEDIUM:
        train_row(loss, out, base, target[row], row, n, ignore, scale, room, THREADS, 16)
    else:
        t = target[row]
        m, total = long_stats(base, n, room)
        part = scale / total if t != ignore else T(0)
        c = thread()
        while c < n:
            e = exp(base[c] - m) * part
            out[c] = e - scale if c == t and t != ignore else e
            c = int32(c + int32(THREADS))
        if thread() == 0:
            loss[row] = log(total) - (base[t] - m) if t != ignore else T(0)


@kernel(grid=lambda: 1, threads=THREADS)
def weighted_mean(out: T_ptr, total: T_ptr, loss: T_ptr, row_weight: T_ptr, n: i64):
    """total[0] = sum of row_weight, out[0] = sum of loss / total[0]."""
    room = shared(32, T)
    s, w, i = T(0), T(0), int64(thread())
    while i < n:
        s += loss[i]
        w += row_weight[i]
        i += int64(THREADS)
    s, w = block_sum(s, room), block_sum(w, room)
    if thread() == 0:
        total[0] = w
        out[0] = s / w


@kernel(grid=lambda outer, inner: ceil_div(outer * inner, THREADS), threads=THREADS)
def nll_loss(
    loss: T_ptr, row_weight: T_ptr, x: T_ptr, target: i64_ptr, weight: T_ptr, outer: i64, classes: i64,
    inner: i64, ignore: i64, weighted: i64,
):  # fmt: skip
    """loss[outer, inner] = -w[t] x[outer, t, inner] and row_weight = w[t] for t = target[outer, inner]."""
    i = int64(block()) * int64(THREADS) + int64(thread())
    if i < outer * inner:
        t, w, value = target[i], T(0), T(0)
        if t != ignore:
            o = quotient(i, inner)
            w = weight[t] if weighted != 0 else T(1)
            value = -w * x[(o * classes + t) * inner + i - o * inner]
        loss[i] = value
        row_weight[i] = w


@kernel(grid=lambda outer, classes, inner: ceil_div(outer * classes * inner, THREADS), threads=THREADS)
def nll_loss_backward(
    dx: T_ptr, g: T_ptr, total: T_ptr, target: i64_ptr, weight: T_ptr, outer: i64, classes: i64, inner: i64,
    ignore: i64, weighted: i64, g_step: i64, mean: i64,
):  # fmt: skip
    """dx[outer, classes, inner], all of it written; g as in cross_entropy_backward_rows."""
    at = int64(block()) * int64(THREADS) + int64(thread())
    if at < outer * classes * inner:
        row = quotient(at, inner)
        o = quotient(row, classes)
        i = o * inner + at - row * inner
        t, value = target[i], T(0)
        if t != ignore and t == row - o * classes:
            scale = g[i * g_step] / total[0] if mean != 0 else g[i * g_step]
            value = -scale * (weight[t] if weighted != 0 else T(1))
        dx[at] = value
