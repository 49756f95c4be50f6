"""A linear recurrence along the middle axis of (outer, n, inner) arrays: the CUDA twin of cpu/recurrence.py.

Dealt like running sums (scan.py). What is scanned are the maps y -> x + a y, whose composition is again one:
first (a, x), then (b, z) is (a b, z + b x).
"""

from numpy import int32, int64

from ..jit import T, T_ptr, device, i64
from .gpu import barrier, block, shared, shuffle_up, thread
from .index import element
from .launch import kernel
from .scan import MANY, THREADS, WARPS, line_start, lines_grid
from .team import lane, warp


@device
def composed(a, x, room_a, room_x):
    """((a, x) composed with those of all threads before this one, the whole block's)."""
    for k in range(5):
        b, z = shuffle_up(a, int32(1 << k)), shuffle_up(x, int32(1 << k))
        if lane() >= int32(1 << k):
            a, x = b * a, x + a * z
    barrier()
    if lane() == 31:
        room_a[warp()], room_x[warp()] = a, x
    barrier()
    b, z = room_a[0], room_x[0]
    for w in range(1, WARPS):
        if warp() == w:
            a, x = b * a, x + a * z
        b, z = b * room_a[w], room_x[w] + room_a[w] * z
    return a, x, b, z


@kernel(grid=lines_grid, threads=THREADS)
def linear_scan(y: T_ptr, x: T_ptr, a: T_ptr, outer: i64, n: i64, inner: i64, reverse: i64):
    """y[k] = x[k] + a[k] y[k - 1], or x[k] + a[k + 1] y[k + 1] if `reverse`."""
    room_a, room_x = shared(WARPS, T), shared(WARPS, T)
    step = -inner if reverse != 0 else inner
    factor = inner if reverse != 0 else int64(0)  # from an element to its coefficient
    if outer * inner >= MANY:
        line = element()
        if line < outer * inner:
            at = line_start(line, n, inner) + ((n - 1) * inner if reverse != 0 else int64(0))
            total = x[at]
            y[at] = total
            for _ in range(1, n):
                at += step
                total = x[at] + a[at + factor] * total
                y[at] = total
    else:
        first = line_start(int64(block()), n, inner) + ((n - 1) * inner if reverse != 0 else int64(0))
        base, carry = int64(0), T(0)
        while base < n:
            r = min(base + thread(), n - 1)
            at = first + r * step
            mine = T(0)
            if r > 0:
                mine = a[at + factor]
            p, q, all_a, all_x = composed(mine, x[at], room_a, room_x)
            if base + thread() < n:
                y[at] = q + p * carry if base > 0 else q
            carry = all_x + all_a * carry if base > 0 else all_x
            base += THREADS
