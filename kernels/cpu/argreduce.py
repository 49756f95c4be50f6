"""Where the largest or smallest element of the middle axis of a contiguous (outer, n, inner) array lies.

As in PyTorch the first of equal elements counts, and the first NaN beats every number. Each piece of the axis
is first reduced to its best value by a vectorised pass; only the best piece is searched for the position.
"""

from numpy import int32

from ..jit import T, T_ptr, device, i64, i64_ptr, kernel
from ..memory import offset, select, split, stack
from .reduce import bind

LANES = 64
PIECE = 256  # elements of a row
TILE = 128  # columns of a tile
HALVES = 2 * TILE


@device
def larger(p, q):
    """NaN wins. Why q + q: see reduce.larger."""
    return select(q != q, T(q + q), select(q > p, q, p))


@device
def smaller(p, q):
    return select(q != q, T(q + q), select(q < p, q, p))


@device
def above(value, best):
    """Does a later `value` replace `best`?"""
    return (value > best) | ((value != value) & (best == best))


@device
def below(value, best):
    return (value < best) | ((value != value) & (best == best))


@device
def same(value, best):
    return (value == best) | (value != value)  # only reached with a NaN `value` if best is NaN


take, beats = larger, above  # bound for each of the kernels below


@device
def row_best(acc, x, n):
    """Best value of n >= 1 consecutive elements."""
    best = x[0]
    begin = 1
    if n >= LANES:
        for lane in range(LANES):
            acc[lane] = x[lane]
        begin = LANES
        while begin + LANES <= n:
            for lane in range(LANES):
                acc[lane] = take(acc[lane], x[begin + lane])
            begin += LANES
        width = LANES // 2
        while width > 0:
            for lane in range(width):
                acc[lane] = take(acc[lane], acc[lane + width])
            width = width // 2
        best = acc[0]
    while begin < n:
        best = take(best, x[begin])
        begin += 1
    return best


def rows_loop(
    values: T_ptr, index: i64_ptr, x: T_ptr, outer: i64, n: i64, block: i64, blocks: i64, keep: i64,
    chunk: i64, nchunks: i64,
):  # fmt: skip
    """index[outer, blocks]: position in its row of the best of each block of x[outer, n]; `keep`: values."""
    acc = stack(LANES, T)
    lo, hi = split(outer * blocks, chunk, nchunks)
    for unit in range(lo, hi):
        row = unit // blocks
        begin = (unit - row * blocks) * block
        end = n if n - begin < block else begin + block
        p = offset(x, row * n)
        at, best = begin, p[begin]
        if end - begin < LANES:
            for i in range(begin + 1, end):
                best = take(best, p[i])
            for i in range(end - begin):  # from the back, without a branch
                at = select(same(p[end - 1 - i], best), end - 1 - i, at)
            begin = end
        else:
            best = row_best(acc, offset(p, begin), end - begin if end - begin < PIECE else PIECE)
            begin += PIECE
        while begin < end:
            value = row_best(acc, offset(p, begin), end - begin if end - begin < PIECE else PIECE)
            if beats(value, best):
                best = value
                at = begin
            begin += PIECE
        while not same(p[at], best):
            at += 1
        index[unit] = at
        if keep != 0:
            values[unit] = p[at]


def cols_loop(
    values: T_ptr, index: i64_ptr, x: T_ptr, outer: i64, n: i64, inner: i64, block: i64, blocks: i64,
    keep: i64, chunk: i64, nchunks: i64,
):  # fmt: skip
    """The same down the middle axis of x[outer, n, inner]; units: outer * blocks * tiles of TILE columns.

    Best values and places alternate between the halves of their buffers: a choice between a new value and one
    loaded from the place it goes to would become a masked store, which is slow on AMD.
    """
    best, at = stack(HALVES, T), stack(HALVES, int32)
    tiles = (inner + TILE - 1) // TILE
    lo, hi = split(outer * blocks * tiles, chunk, nchunks)
    for unit in range(lo, hi):
        part = unit // tiles
        c0 = (unit - part * tiles) * TILE
        width = inner - c0 if inner - c0 < TILE else TILE
        row = part // blocks
        begin = (part - row * blocks) * block
        count = n - begin if n - begin < block else block
        p = offset(x, (row * n + begin) * inner + c0)
        for c in range(width):
            best[c], at[c] = p[c], int32(0)
        half = 0
        for r in range(1, count):
            for c in range(width):
                value, old = p[r * inner + c], best[half + c]
                better = beats(value, old)
                best[TILE - half + c] = select(better, value, old)
                at[TILE - half + c] = select(better, int32(r), at[half + c])
            half = TILE - half
        out = part * inner + c0
        for c in range(width):
            index[out + c] = begin + at[half + c]
        if keep != 0:
            for c in range(width):
                values[out + c] = best[half + c]


def merge_loop(
    values: T_ptr, index: i64_ptr, part: i64_ptr, x: T_ptr, outer: i64, blocks: i64, n: i64, inner: i64,
    keep: i64, chunk: i64, nchunks: i64,
):  # fmt: skip
    """index[outer, inner] from the positions part[outer, blocks, inner]; units: outer * inner."""
    lo, hi = split(outer * inner, chunk, nchunks)
    for unit in range(lo, hi):
        o = unit // inner
        c = unit - o * inner
        at = part[o * blocks * inner + c]
        for b in range(1, blocks):
            r = part[(o * blocks + b) * inner + c]
            if beats(x[(o * n + r) * inner + c], x[(o * n + at) * inner + c]):
                at = r
        index[unit] = at
        if keep != 0:
            values[unit] = x[(o * n + at) * inner + c]


def _kernels(name, take, beats):
    best = device(bind(row_best.py, f"{name}_best", take=take))
    rows = kernel(bind(rows_loop, f"{name}_rows", row_best=best, take=take, beats=beats))
    cols = kernel(bind(cols_loop, f"{name}_cols", take=take, beats=beats))
    return rows, cols, kernel(bind(merge_loop, f"{name}_merge", beats=beats))


argmax_rows, argmax_cols, argmax_merge = ARGMAX = _kernels("argmax", larger, above)
argmin_rows, argmin_cols, argmin_merge = ARGMIN = _kernels("argmin", smaller, below)
