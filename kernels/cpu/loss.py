"""Cross-entropy and negative log-likelihood with class indices.

Targets must lie in [0, classes) or equal `ignore`; check that first with index.index_range_except. With
`weighted` = 0 the pointer `weight` is not read. For target `ignore`, loss, weight and gradient are 0.

Cross-entropy of row x with target t, class weights w and label smoothing s over C classes:

    loss = (1 - s) w[t] (L - x[t]) + s/C sum_c w[c] (L - x[c])        L = log sum exp x
"""

from ..jit import T, T_ptr, device, i64, i64_ptr, kernel, real
from ..memory import offset, split, stack
from ..scalar import log
from ..scalar_exp import exp_down
from .softmax import LANES, REASSOC, row_max

GROUP = 1024
STATS = 2 * GROUP


@device(fastmath="inherit")
def sum_exp(x, n, m):
    """Sum of exp(x - m) over n consecutive elements."""
    total = T(0)
    for i in range(n):
        total += exp_down(x[i] - m)
    return total


@device(fastmath="inherit")
def sum_of(x, n):
    total = T(0)
    for i in range(n):
        total += x[i]
    return total


@device(fastmath="inherit")
def smooth_loss(x, weight, n, m, shift, weighted):
    """Sum of w[c] (L - x[c]) over the classes, with L = m + shift."""
    total = T(0)
    if weighted != 0:
        for c in range(n):
            total += weight[c] * (shift - (x[c] - m))
    else:
        for c in range(n):
            total += shift - (x[c] - m)
    return total


@device(fastmath="inherit")
def losses_of(
    loss, row_weight, stats, acc, part, x, target, weight, lo, end, classes, ignore, smoothing, weighted
):  # fmt: skip
    """Losses, weights and stats of rows lo to end; stats, `acc` and `part` begin with row lo."""
    for r in range(lo, end):
        stats[2 * (r - lo)] = row_max(acc, offset(x, r * classes), classes)
        if classes < LANES:
            for c in range(classes):
                part[(r - lo) * classes + c] = x[r * classes + c] - stats[2 * (r - lo)]
    if classes < LANES:
        for i in range((end - lo) * classes):
            part[i] = exp_down(part[i])
    for r in range(lo, end):
        row, m, t = offset(x, r * classes), stats[2 * (r - lo)], target[r]
        if classes < LANES:
            shift = log(sum_of(offset(part, (r - lo) * classes), classes))
        else:
            shift = log(sum_exp(row, classes, m))
        stats[2 * (r - lo) + 1] = shift
        value, w = T(0), T(0)
        if t != ignore:
            w = weight[t] if weighted != 0 else T(1)
            value = w * (shift - (row[t] - m))
            if smoothing != T(0):
                rest = smooth_loss(row, weight, classes, m, shift, weighted)
                value = (T(1) - smoothing) * value + smoothing / T(classes) * rest
        loss[r], row_weight[r] = value, w


@device(fastmath="inherit")
def weight_sum(weight, classes, weighted):
    """The sum of the classes' weights."""
    wsum = T(0)
    if weighted != 0:
        for c in range(classes):
            wsum += weight[c]
    else:
        wsum = T(classes)
    return wsum


@device(fastmath="inherit")
def gradient_of(out, row, t, ignore, m, shift, scale, weight, wsum, classes, smoothing, weighted):
    """The gradient of one row's scores."""
    spread = smoothing / T(classes)
    if t == ignore:
        for c in range(classes):
            out[c] = T(0)
    else:
        w = (T(1) - smoothing) * (weight[t] if weighted != 0 else T(1))
        full = (w + spread * wsum) * scale
        for c in range(classes):
            out[c] = exp_down(row[c] - m - shift) * full
        if smoothing != T(0):
            if weighted != 0:
                for c in range(classes):
                    out[c] -= spread * scale * weight[c]
            else:
                for c in range(classes):
                    out[c] -= spread * scale
        out[t] -= w * scale


@kernel(fastmath=REASSOC)
def cross_entropy_rows(
    loss: T_ptr, row_weight: T_ptr, stats: T_ptr, x: T_ptr, target: i64_ptr, weight: T_ptr, rows: i64,
    classes: i64, ignore: i64, smoothing: real, weighted: i64, chunk: i64, nchunks: i64,
):  # fmt: skip
    """loss[rows], row_weight[rows] (w[t], for the mean), stats[rows, 2] = (max, log sum exp(x - max))."""
    acc, part = stack(LANES, T), stack(GROUP, T)
    group = GROUP // classes if 0 < classes < LANES else 1  # short rows: one flat loop of exponentials
    lo, hi = split(rows, chunk, nchunks)
    while lo < hi:
        end = lo + group if lo + group < hi else hi
        at = offset(stats, 2 * lo)
        losses_of(loss, row_weight, at, acc, part, x, target, weight, lo, end, classes, ignore, smoothing, weighted)
        lo = end


@kernel(fastmath=REASSOC)
def cross_entropy_backward_rows(
    dx: T_ptr, g: T_ptr, total: T_ptr, x: T_ptr, stats: T_ptr, target: i64_ptr, weight: T_ptr, rows: i64,
    classes: i64, ignore: i64, smoothing: real, weighted: i64, g_step: i64, mean: i64,
    chunk: i64, nchunks: i64,
):  # fmt: skip
    """dx[rows, classes]; g is per row (g_step 1) or one value (0); divided by total[0] if `mean`."""
    wsum = weight_sum(weight, classes, weighted)
    lo, hi = split(rows, chunk, nchunks)
    for r in range(lo, hi):
        scale = g[r * g_step] / total[0] if mean != 0 else g[r * g_step]
        row, out = offset(x, r * classes), offset(dx, r * classes)
        gradient_of(
            out, row, target[r], ignore, stats[2 * r], stats[2 * r + 1], scale, weight, wsum, classes, smoothing, weighted
        )  # fmt: skip


@kernel(fastmath=REASSOC)
def cross_entropy_both_rows(
    dx: T_ptr, loss: T_ptr, row_weight: T_ptr, g: T_ptr, x: T_ptr, target: i64_ptr, weight: T_ptr, rows: i64, classes: i64,
    ignore: i64, smoothing: real, weighted: i64, g_step: i64, mean: i64, chunk: i64, nchunks: i64,
):  # fmt: skip
    """cross_entropy_rows and cross_entropy_backward_rows, row by row while the scores are in cache: the same bits.

    `mean` (without weights only) divides g by the number of targets that count.
    """
    acc, part, stats = stack(LANES, T), stack(GROUP, T), stack(STATS, T)
    group = GROUP // classes if 0 < classes < LANES else 1
    wsum, count = weight_sum(weight, classes, weighted), 0
    for r in range(rows if mean != 0 else 0):
        count += 1 if target[r] != ignore else 0
    lo, hi = split(rows, chunk, nchunks)
    while lo < hi:
        end = lo + group if lo + group < hi else hi
        losses_of(loss, row_weight, stats, acc, part, x, target, weight, lo, end, classes, ignore, smoothing, weighted)
        for r in range(lo, end):
            scale = g[r * g_step] / T(count) if mean != 0 else g[r * g_step]
            row, out, m, shift = offset(x, r * classes), offset(dx, r * classes), stats[2 * (r - lo)], stats[2 * (r - lo) + 1]
            gradient_of(out, row, target[r], ignore, m, shift, scale, weight, wsum, classes, smoothing, weighted)
        lo = end


@kernel(fastmath=REASSOC)
def cross_entropy_train_rows(
    loss: T_ptr, dx: T_ptr, x: T_ptr, target: i64_ptr, rows: i64, classes: i64, ignore: i64, scale: real,
    chunk: i64, nchunks: i64,
):  # fmt: skip
    """One pass for training: loss[rows] and dx = scale * (softmax - one-hot); no weights, no smoothing."""
    acc = stack(LANES, T)
    group = GROUP // classes if 0 < classes < GROUP else 1
    lo, hi = split(rows, chunk, nchunks)
    while lo < hi:
        end = lo + group if lo + group < hi else hi
        for r in range(lo, end):
            m = row_max(acc, offset(x, r * classes), classes)
            for i in range(r * classes, r * classes + classes):
                dx[i] = x[i] - m
            t = target[r]
            loss[r] = T(0) if t == ignore else dx[r * classes + t]
        for i in range(lo * classes, end * classes):
            dx[i] = exp_down(dx[i])
        for r in range(lo, end):
            t = target[r]
            total = T(0)
            for i in range(r * classes, r * classes + classes):
                total += dx[i]
            part = scale / total
            if t == ignore:
                part = T(0)
            for i in range(r * classes, r * classes + classes):
                dx[i] *= part
            if t != ignore:
                loss[r] = log(total) - loss[r]
                dx[r * classes + t] -= scale
        lo = end


@kernel(fastmath=REASSOC)
def weighted_mean(out: T_ptr, total: T_ptr, loss: T_ptr, row_weight: T_ptr, n: i64, chunk: i64, nchunks: i64):
    """total[0] = sum of row_weight, out[0] = sum of loss / total[0]; run as one chunk."""
    s = T(0)
    w = T(0)
    for i in range(n):
        s += loss[i]
        w += row_weight[i]
    if chunk == 0:
        total[0] = w
        out[0] = s / w


@kernel
def nll_loss(
    loss: T_ptr, row_weight: T_ptr, x: T_ptr, target: i64_ptr, weight: T_ptr, outer: i64, classes: i64,
    inner: i64, ignore: i64, weighted: i64, chunk: i64, nchunks: i64,
):  # fmt: skip
    """loss[outer, inner] = -w[t] x[outer, t, inner] and row_weight = w[t] for t = target[outer, inner]."""
    lo, hi = split(outer * inner, chunk, nchunks)
    for i in range(lo, hi):
        t = target[i]
        w = T(0)
        value = T(0)
        if t != ignore:
            o = i // inner
            w = weight[t] if weighted != 0 else T(1)
            value = -w * x[(o * classes + t) * inner + i - o * inner]
        loss[i] = value
        row_weight[i] = w


@kernel
def nll_loss_backward(
    dx: T_ptr, g: T_ptr, total: T_ptr, target: i64_ptr, weight: T_ptr, outer: i64, classes: i64, inner: i64,
    ignore: i64, weighted: i64, g_step: i64, mean: i64, chunk: i64, nchunks: i64,
):  # fmt: skip
    """dx[outer, classes, inner], all of it written; g as in cross_entropy_backward_rows; units: outer."""
    lo, hi = split(outer, chunk, nchunks)
    for o in range(lo, hi):
        base = o * classes * inner
        for i in range(base, base + classes * inner):
            dx[i] = T(0)
        for i in range(o * inner, o * inner + inner):
            t = target[i]
            if t != ignore:
                scale = g[i * g_step] / total[0] if mean != 0 else g[i * g_step]
                dx[base + t * inner + i - o * inner] = -scale * (weight[t] if weighted != 0 else T(1))
