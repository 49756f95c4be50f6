"""Where the largest or smallest element of the middle axis lies: the CUDA twin of cpu/argreduce.py.

The first of equal elements counts, and the first NaN beats every number. Each thread keeps the best of its
elements and its position (-1: none yet); pairs are compared by value, then by position, so the order of the
comparisons does not matter. Rows and columns are dealt as in reduce.py.
"""

from numpy import int32, int64

from ..cpu.argreduce import above, below
from ..jit import T, T_ptr, device, i64, i64_ptr
from ..loops import quotient
from ..memory import offset
from .gpu import barrier, block, shared, shuffle_xor, thread
from .index import element
from .launch import bound, ceil_div, kernel
from .reduce import LONG, THREADS, WARPS, cols_grid, rows_grid
from .rows import column_of
from .team import lane, warp

beats = above  # bound for each of the kernels below
this_block = block  # kernels call a parameter `block` as well


@device
def better(p, i, q, j):
    """Does the element q at j replace p at i?"""
    if i < 0 or j < 0:
        return i < 0 and j >= 0
    return j < i if not beats(p, q) and not beats(q, p) else beats(q, p)


@device
def best_of_warp(p, i):
    """The best (value, position) of the warp, in every lane."""
    for k in range(5):
        mask = int32(16 >> k)
        q, j = shuffle_xor(p, mask), shuffle_xor(i, mask)
        if better(p, i, q, j):
            p, i = q, j
    return p, i


@device
def best_of_block(p, i, values, places):
    """The best (value, position) of the block, in every thread."""
    p, i = best_of_warp(p, i)
    if lane() == 0:
        values[warp()], places[warp()] = p, i
    barrier()
    i = int64(-1)
    if lane() < int32(WARPS):
        p, i = values[lane()], places[lane()]
    return best_of_warp(p, i)


@device
def best_of_mine(x, first, end, step):
    """The best (value, position) of elements first, first + step, .. below end."""
    p, i = x[0], int64(-1)
    at = first
    while at < end:
        if better(p, i, x[at], at):
            p, i = x[at], at
        at += step
    return p, i


def rows_kernel(
    values: T_ptr, index: i64_ptr, x: T_ptr, outer: i64, n: i64, block: i64, blocks: i64, keep: i64
):
    """index[outer, blocks]: position in its row of the best of each block of x[outer, n]; `keep`: values."""
    best, places = shared(WARPS, T), shared(WARPS, int64)
    unit = int64(this_block())
    if block < LONG:
        unit = unit * WARPS + int64(warp())
    row = quotient(unit, blocks)
    begin = (unit - row * blocks) * block
    end = min(n, begin + block)
    if unit < outer * blocks:
        p = offset(x, row * n)
        if block < LONG:
            value, at = best_of_mine(p, begin + lane(), end, 32)
            value, at = best_of_warp(value, at)
        else:
            value, at = best_of_mine(p, begin + thread(), end, THREADS)
            value, at = best_of_block(value, at, best, places)
        if (thread() if block >= LONG else lane()) == 0:
            index[unit] = at
            if keep != 0:
                values[unit] = value


def cols_kernel(
    values: T_ptr,
    index: i64_ptr,
    x: T_ptr,
    outer: i64,
    n: i64,
    inner: i64,
    block: i64,
    blocks: i64,
    keep: i64,
):
    """The same down the middle axis of x[outer, n, inner]."""
    best, places = shared(THREADS, T), shared(THREADS, int64)
    part, column, line, step, wide = column_of(inner)
    row = quotient(part, blocks)
    begin = (part - row * blocks) * block
    end = min(n, begin + block)
    t, inside = thread(), column < inner
    p, i = T(0), int64(-1)
    if inside:
        first = offset(x, row * n * inner + column)
        r = begin + line
        while r < end:
            if better(p, i, first[r * inner], r):
                p, i = first[r * inner], r
            r += step
    best[t], places[t] = p, i
    half = int32(THREADS // 2)
    while half >= wide:
        barrier()
        if t < half:
            q, j = best[int32(t + half)], places[int32(t + half)]
            if better(best[t], places[t], q, j):
                best[t], places[t] = q, j
        half = int32(half >> int32(1))
    if t < wide and inside:
        index[part * inner + column] = places[t]
        if keep != 0:
            values[part * inner + column] = best[t]


def merge_kernel(
    values: T_ptr,
    index: i64_ptr,
    part: i64_ptr,
    x: T_ptr,
    outer: i64,
    blocks: i64,
    n: i64,
    inner: i64,
    keep: i64,
):
    """index[outer, inner] from the positions part[outer, blocks, inner]."""
    unit = element()
    if unit < outer * inner:
        o = quotient(unit, inner)
        c = unit - o * inner
        at = part[o * blocks * inner + c]
        for b in range(1, blocks):
            r = part[(o * blocks + b) * inner + c]
            if beats(x[(o * n + r) * inner + c], x[(o * n + at) * inner + c]):
                at = r
        index[unit] = at
        if keep != 0:
            values[unit] = x[(o * n + at) * inner + c]


def _kernels(name, beats):
    names = {"beats": beats}
    names["better"] = device(bound(better.py, f"{name}_better", **names))
    names["best_of_warp"] = device(bound(best_of_warp.py, f"{name}_warp", **names))
    names["best_of_block"] = device(bound(best_of_block.py, f"{name}_block", **names))
    names["best_of_mine"] = device(bound(best_of_mine.py, f"{name}_mine", **names))
    merge_grid = lambda outer, inner: ceil_div(outer * inner, THREADS)  # noqa: E731
    return (
        kernel(grid=rows_grid, threads=THREADS)(bound(rows_kernel, f"{name}_rows", **names)),
        kernel(grid=cols_grid, threads=THREADS)(bound(cols_kernel, f"{name}_cols", **names)),
        kernel(grid=merge_grid, threads=THREADS)(bound(merge_kernel, f"{name}_merge", **names)),
    )


argmax_rows, argmax_cols, argmax_merge = ARGMAX = _kernels("argmax", above)
argmin_rows, argmin_cols, argmin_merge = ARGMIN = _kernels("argmin", below)
