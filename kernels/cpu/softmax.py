"""Softmax, log-softmax (with gradients) and logsumexp over the middle axis of contiguous (outer, n, inner).

rows  inner == 1: x[rows, n]
cols  inner > 1:  x[outer, n, inner], worked on in tiles of TILE columns
"""

from math import inf

from ..jit import T, T_ptr, device, i64, kernel
from ..loops import independent
from ..memory import offset, select, split, stack
from ..scalar import exp, log
from ..scalar_exp import exp_down

REASSOC = frozenset({"contract", "reassoc"})
LANES = 64
GROUP = 1024  # elements of a group of short rows
TILE = 64


@device
def larger(p, q):
    """The larger of p and q; NaN wins. Why q + q: see reduce.larger."""
    return select(q != q, q + q, select(q > p, q, p))


@device
def row_max(acc, x, n):
    """Largest of n >= 1 consecutive elements (NaN wins); `acc` is a stack buffer of LANES elements."""
    m = x[0]
    begin = 1
    if n >= LANES:
        for lane in range(LANES):
            acc[lane] = x[lane]
        begin = LANES
        while begin + LANES <= n:
            for lane in range(LANES):
                acc[lane] = larger(acc[lane], x[begin + lane])
            begin += LANES
        independent()
        width = LANES // 2
        while width > 0:
            for lane in range(width):
                acc[lane] = larger(acc[lane], acc[lane + width])
            width = width // 2
        m = acc[0]
    while begin < n:
        m = larger(m, x[begin])
        begin += 1
    return m


@device(fastmath=())
def below(x, m, shift):
    """x - m - shift, in this order: m may be much larger than the result."""
    return (x - m) - shift


# Of short rows a group is worked on at a time: max and difference row by row, then one flat loop of exponentials over the
# group, which fills the vectors, then again row by row.
@kernel(fastmath=REASSOC)
def softmax_rows(y: T_ptr, x: T_ptr, rows: i64, n: i64, chunk: i64, nchunks: i64):
    """y[rows, n] = softmax of each row of x. y may be x."""
    acc = stack(LANES, T)
    group = GROUP // n if 0 < n < LANES else 1
    lo, hi = split(rows if n > 0 else 0, chunk, nchunks)
    while lo < hi:
        end = lo + group if lo + group < hi else hi
        total = T(0)
        for r in range(lo, end):
            p, q = offset(x, r * n), offset(y, r * n)
            m = row_max(acc, p, n)
            if n < LANES:
                for i in range(n):
                    q[i] = p[i] - m
            else:
                for i in range(n):
                    e = exp_down(p[i] - m)
                    q[i] = e
                    total += e
        if n < LANES:
            for i in range(lo * n, end * n):
                y[i] = exp_down(y[i])
        for r in range(lo, end):
            q = offset(y, r * n)
            if n < LANES:
                total = T(0)
                for i in range(n):
                    total += q[i]
            scale = select(total > T(0), T(1) / total, total)  # select: else LLVM divides each element
            for i in range(n):
                q[i] *= scale
        lo = end
    independent()


@kernel(fastmath=REASSOC)
def log_softmax_rows(y: T_ptr, x: T_ptr, rows: i64, n: i64, chunk: i64, nchunks: i64):
    """y[rows, n] = log-softmax of each row of x. y may be x."""
    acc, part, most = stack(LANES, T), stack(GROUP, T), stack(GROUP, T)
    group = GROUP // n if 0 < n < LANES else 1
    lo, hi = split(rows if n > 0 else 0, chunk, nchunks)
    while lo < hi:
        end = lo + group if lo + group < hi else hi
        total = T(0)
        for r in range(lo, end):
            p = offset(x, r * n)
            m = row_max(acc, p, n)
            most[r - lo] = m
            if n < LANES:
                for i in range(n):
                    part[(r - lo) * n + i] = p[i] - m
            else:
                for i in range(n):
                    total += exp_down(p[i] - m)
        if n < LANES:
            for i in range((end - lo) * n):
                part[i] = exp_down(part[i])
        for r in range(lo, end):
            if n < LANES:
                total = T(0)
                for i in range((r - lo) * n, (r - lo) * n + n):
                    total += part[i]
            m, shift = most[r - lo], log(total)
            for i in range(r * n, r * n + n):
                y[i] = below(x[i], m, shift)
        lo = end
    independent()


@kernel(fastmath=REASSOC)
def softmax_backward_rows(dx: T_ptr, g: T_ptr, y: T_ptr, rows: i64, n: i64, chunk: i64, nchunks: i64):
    """dx = y * (g - sum(g * y)), each row. dx may be g."""
    lo, hi = split(rows, chunk, nchunks)
    for r in range(lo, hi):
        total = T(0)
        for i in range(r * n, r * n + n):
            total += g[i] * y[i]
        for i in range(r * n, r * n + n):
            dx[i] = y[i] * (g[i] - total)


@kernel(fastmath=REASSOC)
def log_softmax_backward_rows(dx: T_ptr, g: T_ptr, y: T_ptr, rows: i64, n: i64, chunk: i64, nchunks: i64):
    """dx = g - exp(y) * sum(g), each row. dx may be g."""
    group = GROUP // n if 0 < n < GROUP else 1
    sums = stack(GROUP, T)
    lo, hi = split(rows if n > 0 else 0, chunk, nchunks)
    while lo < hi:
        end = lo + group if lo + group < hi else hi
        for r in range(lo, end):
            total = T(0)
            for i in range(r * n, r * n + n):
                total += g[i]
            sums[r - lo] = total
        if n >= GROUP:
            total = sums[0]
            for i in range(lo * n, end * n):
                dx[i] = g[i] - exp(y[i]) * total
        else:
            spread = stack(GROUP, T)
            for i in range((end - lo) * n):
                spread[i] = exp(y[lo * n + i])
            for r in range(lo, end):
                total = sums[r - lo]
                for i in range(n):
                    dx[r * n + i] = g[r * n + i] - spread[(r - lo) * n + i] * total
        lo = end


@kernel
def softmax_cols(y: T_ptr, x: T_ptr, outer: i64, n: i64, inner: i64, chunk: i64, nchunks: i64):
    """y[outer, n, inner] = softmax down the middle axis; units: outer * tiles of TILE columns. y may be x."""
    m, total = stack(TILE, T), stack(TILE, T)
    tiles = (inner + TILE - 1) // TILE
    lo, hi = split(outer * tiles if n > 0 else 0, chunk, nchunks)
    for unit in range(lo, hi):
        c0 = (unit - unit // tiles * tiles) * TILE
        width = inner - c0 if inner - c0 < TILE else TILE
        base = unit // tiles * n * inner + c0
        for c in range(width):
            m[c], total[c] = x[base + c], T(0)
        for r in range(1, n):
            for c in range(width):
                m[c] = larger(m[c], x[base + r * inner + c])
        for r in range(n):
            for c in range(width):
                e = exp_down(x[base + r * inner + c] - m[c])
                y[base + r * inner + c] = e
                total[c] += e
        for c in range(width):
            total[c] = T(1) / total[c]
        for r in range(n):
            for c in range(width):
                y[base + r * inner + c] *= total[c]


@kernel
def log_softmax_cols(y: T_ptr, x: T_ptr, outer: i64, n: i64, inner: i64, chunk: i64, nchunks: i64):
    """y[outer, n, inner] = log-softmax down the middle axis; units: outer * tiles. y may be x."""
    m, total = stack(TILE, T), stack(TILE, T)
    tiles = (inner + TILE - 1) // TILE
    lo, hi = split(outer * tiles if n > 0 else 0, chunk, nchunks)
    for unit in range(lo, hi):
        c0 = (unit - unit // tiles * tiles) * TILE
        width = inner - c0 if inner - c0 < TILE else TILE
        base = unit // tiles * n * inner + c0
        for c in range(width):
            m[c], total[c] = x[base + c], T(0)
        for r in range(1, n):
            for c in range(width):
                m[c] = larger(m[c], x[base + r * inner + c])
        for r in range(n):
            for c in range(width):
                total[c] += exp_down(x[base + r * inner + c] - m[c])
        for c in range(width):
            total[c] = log(total[c])
        for r in range(n):
            for c in range(width):
                y[base + r * inner + c] = x[base + r * inner + c] - m[c] - total[c]


@kernel
def softmax_backward_cols(
    dx: T_ptr, g: T_ptr, y: T_ptr, outer: i64, n: i64, inner: i64, chunk: i64, nchunks: i64
):
    """dx = y * (g - sum(g * y)) down the middle axis; units: outer * tiles. dx may be g."""
    total = stack(TILE, T)
    tiles = (inner + TILE - 1) // TILE
    lo, hi = split(outer * tiles, chunk, nchunks)
    for unit in range(lo, hi):
        c0 = (unit - unit // tiles * tiles) * TILE
        width = inner - c0 if inner - c0 < TILE else TILE
        base = unit // tiles * n * inner + c0
        for c in range(width):
            total[c] = T(0)
        for r in range(n):
            for c in range(width):
                total[c] += g[base + r * inner + c] * y[base + r * inner + c]
        for r in range(n):
            for c in range(width):
                i = base + r * inner + c
                dx[i] = y[i] * (g[i] - total[c])


@kernel
def log_softmax_backward_cols(
    dx: T_ptr, g: T_ptr, y: T_ptr, outer: i64, n: i64, inner: i64, chunk: i64, nchunks: i64
):
    """dx = g - exp(y) * sum(g) down the middle axis; units: outer * tiles. dx may be g."""
    total = stack(TILE, T)
    tiles = (inner + TILE - 1) // TILE
    lo, hi = split(outer * tiles, chunk, nchunks)
    for unit in range(lo, hi):
        c0 = (unit - unit // tiles * tiles) * TILE
        width = inner - c0 if inner - c0 < TILE else TILE
        base = unit // tiles * n * inner + c0
        for c in range(width):
            total[c] = T(0)
        for r in range(n):
            for c in range(width):
                total[c] += g[base + r * inner + c]
        for r in range(n):
            for c in range(width):
                i = base + r * inner + c
                dx[i] = g[i] - exp(y[i]) * total[c]


# ------------------------------------------------------------ logsumexp
@device
def finite(m):
    """m, or 0 for an infinity, so that inf - inf does not arise."""
    return m if abs(m) < T(inf) else T(0)


@kernel(fastmath=REASSOC)
def logsumexp_rows(
    y: T_ptr, x: T_ptr, outer: i64, n: i64, block: i64, blocks: i64, final: i64, chunk: i64, nchunks: i64
):
    """y[outer] = log(sum(exp(x[outer, n]))); if not `final` pairs (max, sum) y[outer, blocks, 2]."""
    acc = stack(LANES, T)
    lo, hi = split(outer * blocks, chunk, nchunks)
    for unit in range(lo, hi):
        row = unit // blocks
        start = (unit - row * blocks) * block
        count = n - start if n - start < block else block
        p = offset(x, row * n + start)
        m = finite(row_max(acc, p, count)) if count > 0 else T(-inf)
        total = T(0)
        for i in range(count):
            total += exp(p[i] - m)
        if final != 0:
            y[unit] = m + log(total)
        else:
            y[2 * unit] = m
            y[2 * unit + 1] = total


@kernel
def logsumexp_cols(
    y: T_ptr, x: T_ptr, outer: i64, n: i64, inner: i64, block: i64, blocks: i64, final: i64,
    chunk: i64, nchunks: i64,
):  # fmt: skip
    """y[outer, inner], or pairs y[outer, blocks, 2, inner]; units: outer * blocks * tiles of TILE columns."""
    m, total = stack(TILE, T), stack(TILE, T)
    tiles = (inner + TILE - 1) // TILE
    lo, hi = split(outer * blocks * tiles, chunk, nchunks)
    for unit in range(lo, hi):
        part = unit // tiles
        c0 = (unit - part * tiles) * TILE
        width = inner - c0 if inner - c0 < TILE else TILE
        row = part // blocks
        start = (part - row * blocks) * block
        count = n - start if n - start < block else block
        p = offset(x, (row * n + start) * inner + c0)
        for c in range(width):
            m[c], total[c] = T(-inf), T(0)
        for r in range(count):
            for c in range(width):
                m[c] = larger(m[c], p[r * inner + c])
        for c in range(width):
            m[c] = finite(m[c]) if count > 0 else T(-inf)
        for r in range(count):
            for c in range(width):
                total[c] += exp(p[r * inner + c] - m[c])
        out = part * inner + c0 if final != 0 else 2 * part * inner + c0
        for c in range(width):
            y[out + c] = m[c] + log(total[c]) if final != 0 else m[c]
            if final == 0:
                y[out + inner + c] = total[c]


@kernel
def logsumexp_merge(y: T_ptr, part: T_ptr, outer: i64, blocks: i64, inner: i64, chunk: i64, nchunks: i64):
    """y[outer, inner] from pairs part[outer, blocks, 2, inner]; units: outer * inner."""
    lo, hi = split(outer * inner, chunk, nchunks)
    for unit in range(lo, hi):
        o = unit // inner
        p = offset(part, o * blocks * 2 * inner + unit - o * inner)
        m = p[0]
        for b in range(1, blocks):
            m = larger(m, p[2 * b * inner])
        total = T(0)
        for b in range(blocks):
            total += p[(2 * b + 1) * inner] * exp(p[2 * b * inner] - m)
        y[unit] = m + log(total)
