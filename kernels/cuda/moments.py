"""Mean and variance of the middle axis of an (outer, n, inner) array: the CUDA twin of cpu/moments.py.

A thread keeps (count, mean, sum of squares of the differences) of its elements by Welford's update (1962);
threads and blocks are joined by the rule of Chan, Golub and LeVeque (1979). Rows and columns are dealt as in
reduce.py; where a result goes is said in cpu/moments.py.
"""

from numpy import int32, int64

from ..cpu.moments import spread
from ..jit import T, T_ptr, device, f64, i64
from ..loops import quotient
from ..memory import offset
from .gpu import barrier, block, shared, shuffle_xor, thread
from .index import element
from .launch import ceil_div, kernel
from .reduce import LONG, THREADS, WARPS, cols_grid, rows_grid
from .rows import column_of
from .team import lane, warp

ROOM = 3 * WARPS
this_block = block  # kernels call a parameter `block` as well


@device
def joined(count, m, q, other_count, other_m, other_q):
    """(count, mean, sum of squares) of two sets of elements."""
    total = count + other_count
    if other_count == T(0):
        return count, m, q
    if count == T(0):
        return other_count, other_m, other_q
    d = other_m - m
    share = other_count / total
    return total, m + d * share, q + other_q + d * d * count * share


@device
def moments_of_warp(count, m, q):
    """The moments of the warp, in every lane."""
    for k in range(5):
        mask = int32(16 >> k)
        other = shuffle_xor(count, mask), shuffle_xor(m, mask), shuffle_xor(q, mask)
        if (lane() & mask) == 0:
            count, m, q = joined(count, m, q, other[0], other[1], other[2])
        else:  # both lanes join in the same order
            count, m, q = joined(other[0], other[1], other[2], count, m, q)
    return count, m, q


@device
def moments_of_block(count, m, q, room):
    """The moments of the block, in every thread. `room` holds three elements a warp."""
    count, m, q = moments_of_warp(count, m, q)
    if lane() == 0:
        at = int32(warp() * int32(3))
        room[at], room[int32(at + int32(1))], room[int32(at + int32(2))] = count, m, q
    barrier()
    count, m, q = T(0), T(0), T(0)
    if lane() < int32(WARPS):
        at = int32(lane() * int32(3))
        count, m, q = room[at], room[int32(at + int32(1))], room[int32(at + int32(2))]
    return moments_of_warp(count, m, q)


@device
def moments_of_mine(x, first, end, step, stride):
    """The moments of x[i * stride] for i = first, first + step, .. below end."""
    count, m, q = T(0), T(0), T(0)
    i = first
    while i < end:
        v = x[i * stride]
        count += T(1)
        d = v - m
        m += d / count
        q += d * (v - m)
        i += step
    return count, m, q


@device
def write_moments(mean, var, at, shift, count, m, q, divisor, root):
    """The result; NaN for no elements."""
    mean[at] = m if count > T(0) else T(0) / count
    var[at + shift] = spread(q, divisor, root) if count > T(0) else T(0) / count


@kernel(grid=rows_grid, threads=THREADS)
def var_rows(
    mean: T_ptr, var: T_ptr, x: T_ptr, outer: i64, n: i64, block: i64, blocks: i64, divisor: f64, root: i64,
    stride: i64, shift: i64,
):  # fmt: skip
    """Mean and sum of squares / divisor of each block of each row of x[outer, n]."""
    room = shared(ROOM, T)
    unit = int64(this_block())
    if block < LONG:
        unit = unit * WARPS + int64(warp())
    row = quotient(unit, blocks)
    begin = (unit - row * blocks) * block
    end = min(n, begin + block)
    if unit < outer * blocks:
        p = offset(x, row * n)
        if block < LONG:
            count, m, q = moments_of_mine(p, begin + lane(), end, 32, 1)
            count, m, q = moments_of_warp(count, m, q)
        else:
            count, m, q = moments_of_mine(p, begin + thread(), end, THREADS, 1)
            count, m, q = moments_of_block(count, m, q, room)
        if (thread() if block >= LONG else lane()) == 0:
            write_moments(mean, var, unit * stride, shift, count, m, q, divisor, root)


@kernel(grid=cols_grid, threads=THREADS)
def var_cols(
    mean: T_ptr, var: T_ptr, x: T_ptr, outer: i64, n: i64, inner: i64, block: i64, blocks: i64, divisor: f64,
    root: i64, stride: i64, shift: i64,
):  # fmt: skip
    """The same down the middle axis of x[outer, n, inner]."""
    counts, means, squares = shared(THREADS, T), shared(THREADS, T), shared(THREADS, T)
    part, column, line, step, wide = column_of(inner)
    row = quotient(part, blocks)
    begin = (part - row * blocks) * block
    end = min(n, begin + block) if column < inner else int64(0)
    t = thread()
    count, m, q = moments_of_mine(offset(x, row * n * inner + column), begin + line, end, step, inner)
    counts[t], means[t], squares[t] = count, m, q
    half = int32(THREADS // 2)
    while half >= wide:
        barrier()
        if t < half:
            other = int32(t + half)
            count, m, q = joined(count, m, q, counts[other], means[other], squares[other])
            counts[t], means[t], squares[t] = count, m, q
        half = int32(half >> int32(1))
    if t < wide and column < inner:
        at = part * stride * inner + column
        write_moments(mean, var, at, shift * inner, count, m, q, divisor, root)


@kernel(grid=lambda outer, inner: ceil_div(outer * inner, THREADS), threads=THREADS)
def var_merge(
    mean: T_ptr, var: T_ptr, part: T_ptr, outer: i64, blocks: i64, inner: i64, n: i64, block: i64,
    divisor: f64, root: i64,
):  # fmt: skip
    """mean, var [outer, inner] from pairs part[outer, blocks, 2, inner]."""
    unit = element()
    if unit < outer * inner:
        o = quotient(unit, inner)
        p = offset(part, o * blocks * 2 * inner + unit - o * inner)
        m, q, done = p[0], p[inner], min(n, block)
        for b in range(1, blocks):
            size = min(block, n - b * block)
            _, m, q = joined(T(done), m, q, T(size), p[2 * b * inner], p[(2 * b + 1) * inner])
            done += size
        mean[unit] = m
        var[unit] = spread(q, divisor, root)
