"""Softmax, log-softmax (with gradients) and logsumexp over the middle axis of contiguous (outer, n, inner).

The CUDA twin of cpu/softmax.py; who works on what is said in rows.py.
"""

from math import inf

from numpy import int32, int64

from ..cpu.softmax import finite
from ..jit import T, T_ptr, device, i64
from ..loops import quotient
from ..memory import offset, stack
from ..scalar import exp, log
from .gpu import block, shared, thread
from .index import element
from .launch import ceil_div, kernel
from .rows import (
    HELD,
    MEDIUM,
    SHORT,
    THREADS,
    column_of,
    columns_grid,
    held_max,
    held_sum,
    hold,
    place,
    row_of,
    rows_grid,
)
from .team import block_max, block_sum, column_max, column_sum, higher


# ---------------------------------------------------------------- rows
@device
def softmax_row(y, x, n, room, team, per):
    e = stack(HELD, T)
    hold(e, x, n, T(-inf), team, per)
    m = held_max(e, room, team, per)
    for k in range(per):
        e[k] = exp(e[k] - m)
    scale = T(1) / held_sum(e, room, team, per)
    for k in range(per):
        i = int32(place(team) + int32(k * team))
        if i < n:
            y[i] = e[k] * scale


@device
def log_softmax_row(y, x, n, room, team, per):
    z, e = stack(HELD, T), stack(HELD, T)
    hold(z, x, n, T(-inf), team, per)
    m = held_max(z, room, team, per)
    for k in range(per):
        e[k] = exp(z[k] - m)
    shift = log(held_sum(e, room, team, per))
    for k in range(per):
        i = int32(place(team) + int32(k * team))
        if i < n:
            y[i] = z[k] - m - shift


@device
def long_stats(x, n, room):
    """(largest, sum of exp(x - largest)) of a long row, in every thread."""
    m = T(-inf)
    i = int64(thread())
    while i < n:
        m = higher(m, x[i])
        i += THREADS
    m = block_max(m, room)
    total = T(0)
    i = int64(thread())
    while i < n:
        total += exp(x[i] - m)
        i += THREADS
    return m, block_sum(total, room)


@kernel(grid=rows_grid, threads=THREADS)
def softmax_rows(y: T_ptr, x: T_ptr, rows: i64, n: i64):
    """y[rows, n] = softmax of each row of x. y may be x."""
    room, row = shared(32, T), row_of(n)
    count, out, base = int32(n), offset(y, row * n), offset(x, row * n)
    if n <= SHORT:
        if row < rows:
            softmax_row(out, base, count, room, 32, 8)
    elif n <= MEDIUM:
        softmax_row(out, base, count, room, THREADS, 16)
    else:
        m, total = long_stats(base, n, room)
        scale, i = T(1) / total, int64(thread())
        while i < n:
            out[i] = exp(base[i] - m) * scale
            i += THREADS


@kernel(grid=rows_grid, threads=THREADS)
def log_softmax_rows(y: T_ptr, x: T_ptr, rows: i64, n: i64):
    """y[rows, n] = log-softmax of each row of x. y may be x."""
    room, row = shared(32, T), row_of(n)
    count, out, base = int32(n), offset(y, row * n), offset(x, row * n)
    if n <= SHORT:
        if row < rows:
            log_softmax_row(out, base, count, room, 32, 8)
    elif n <= MEDIUM:
        log_softmax_row(out, base, count, room, THREADS, 16)
    else:
        m, total = long_stats(base, n, room)
        shift, i = log(total), int64(thread())
        while i < n:
            out[i] = base[i] - m - shift
            i += THREADS


@device
def softmax_backward_row(dx, g, y, n, room, team, per):
    p, q, pq = stack(HELD, T), stack(HELD, T), stack(HELD, T)
    hold(p, g, n, T(0), team, per)
    hold(q, y, n, T(0), team, per)
    for k in range(per):
        pq[k] = p[k] * q[k]
    total = held_sum(pq, room, team, per)
    for k in range(per):
        i = int32(place(team) + int32(k * team))
        if i < n:
            dx[i] = q[k] * (p[k] - total)


@kernel(grid=rows_grid, threads=THREADS)
def softmax_backward_rows(dx: T_ptr, g: T_ptr, y: T_ptr, rows: i64, n: i64):
    """dx = y * (g - sum(g * y)), each row. dx may be g."""
    room, row = shared(32, T), row_of(n)
    count, out = int32(n), offset(dx, row * n)
    p, q = offset(g, row * n), offset(y, row * n)
    if n <= SHORT:
        if row < rows:
            softmax_backward_row(out, p, q, count, room, 32, 8)
    elif n <= MEDIUM:
        softmax_backward_row(out, p, q, count, room, THREADS, 16)
    else:
        total, i = T(0), int64(thread())
        while i < n:
            total += p[i] * q[i]
            i += THREADS
        total, i = block_sum(total, room), int64(thread())
        while i < n:
            out[i] = q[i] * (p[i] - total)
            i += THREADS


@device
def log_softmax_backward_row(dx, g, y, n, room, team, per):
    p, q = stack(HELD, T), stack(HELD, T)
    hold(p, g, n, T(0), team, per)
    hold(q, y, n, T(0), team, per)
    total = held_sum(p, room, team, per)
    for k in range(per):
        i = int32(place(team) + int32(k * team))
        if i < n:
            dx[i] = p[k] - exp(q[k]) * total


@kernel(grid=rows_grid, threads=THREADS)
def log_softmax_backward_rows(dx: T_ptr, g: T_ptr, y: T_ptr, rows: i64, n: i64):
    """dx = g - exp(y) * sum(g), each row. dx may be g."""
    room, row = shared(32, T), row_of(n)
    count, out = int32(n), offset(dx, row * n)
    p, q = offset(g, row * n), offset(y, row * n)
    if n <= SHORT:
        if row < rows:
            log_softmax_backward_row(out, p, q, count, room, 32, 8)
    elif n <= MEDIUM:
        log_softmax_backward_row(out, p, q, count, room, THREADS, 16)
    else:
        total, i = T(0), int64(thread())
        while i < n:
            total += p[i]
            i += THREADS
        total, i = block_sum(total, room), int64(thread())
        while i < n:
            out[i] = p[i] - exp(q[i]) * total
            i += THREADS


# ---------------------------------------------------------------- columns
@device
def column_stats(x, base, n, inner, first, step, inside, room, wide):
    """(largest, sum of exp(x - largest)) of this thread's column."""
    m = T(-inf)
    r = first
    while r < n and inside:
        m = higher(m, x[base + r * inner])
        r += step
    m = column_max(m, room, wide)
    total = T(0)
    r = first
    while r < n and inside:
        total += exp(x[base + r * inner] - m)
        r += step
    return m, column_sum(total, room, wide)


@kernel(grid=columns_grid, threads=THREADS)
def softmax_cols(y: T_ptr, x: T_ptr, outer: i64, n: i64, inner: i64):
    """y[outer, n, inner] = softmax down the middle axis. y may be x."""
    room = shared(THREADS, T)
    o, column, r, step, wide = column_of(inner)
    base = o * n * inner + column
    m, total = column_stats(x, base, n, inner, r, step, column < inner, room, wide)
    scale = T(1) / total
    while r < n and column < inner:
        y[base + r * inner] = exp(x[base + r * inner] - m) * scale
        r += step


@kernel(grid=columns_grid, threads=THREADS)
def log_softmax_cols(y: T_ptr, x: T_ptr, outer: i64, n: i64, inner: i64):
    """y[outer, n, inner] = log-softmax down the middle axis. y may be x."""
    room = shared(THREADS, T)
    o, column, r, step, wide = column_of(inner)
    base = o * n * inner + column
    m, total = column_stats(x, base, n, inner, r, step, column < inner, room, wide)
    shift = log(total)
    while r < n and column < inner:
        y[base + r * inner] = x[base + r * inner] - m - shift
        r += step


@kernel(grid=columns_grid, threads=THREADS)
def softmax_backward_cols(dx: T_ptr, g: T_ptr, y: T_ptr, outer: i64, n: i64, inner: i64):
    """dx = y * (g - sum(g * y)) down the middle axis. dx may be g."""
    room = shared(THREADS, T)
    o, column, first, step, wide = column_of(inner)
    base = o * n * inner + column
    total, r = T(0), first
    while r < n and column < inner:
        total += g[base + r * inner] * y[base + r * inner]
        r += step
    total, r = column_sum(total, room, wide), first
    while r < n and column < inner:
        i = base + r * inner
        dx[i] = y[i] * (g[i] - total)
        r += step


@kernel(grid=columns_grid, threads=THREADS)
def log_softmax_backward_cols(dx: T_ptr, g: T_ptr, y: T_ptr, outer: i64, n: i64, inner: i64):
    """dx = g - exp(y) * sum(g) down the middle axis. dx may be g."""
    room = shared(THREADS, T)
    o, column, first, step, wide = column_of(inner)
    base = o * n * inner + column
    total, r = T(0), first
    while r < n and column < inner:
        total += g[base + r * inner]
        r += step
    total, r = column_sum(total, room, wide), first
    while r < n and column < inner:
        i = base + r * inner
        dx[i] = g[i] - exp(y[i]) * total
        r += step


# ---------------------------------------------------------------- logsumexp
this_block = block  # kernels call a parameter `block` as well


@device
def write_logsum(y, at, step, m, total, final):
    """log of the sum, or the pair (largest, sum) `step` apart."""
    if final != 0:
        y[at] = m + log(total)
    else:
        y[at] = m
        y[at + step] = total


@kernel(grid=lambda outer, blocks: outer * blocks, threads=THREADS)
def logsumexp_rows(y: T_ptr, x: T_ptr, outer: i64, n: i64, block: i64, blocks: i64, final: i64):
    """y[outer] = log(sum(exp(x[outer, n]))); if not `final` pairs (max, sum) y[outer, blocks, 2]."""
    room, unit = shared(32, T), int64(this_block())
    row = quotient(unit, blocks)
    start = (unit - row * blocks) * block
    end = min(n, start + block)
    p, i, m = offset(x, row * n), start + thread(), T(-inf)
    while i < end:
        m = higher(m, p[i])
        i += THREADS
    m = block_max(m, room)
    m = finite(m) if end > start else T(-inf)
    total, i = T(0), start + thread()
    while i < end:
        total += exp(p[i] - m)
        i += THREADS
    total = block_sum(total, room)
    if thread() == 0:
        write_logsum(y, unit if final != 0 else 2 * unit, 1, m, total, final)


def blocks_grid(outer: int, inner: int, blocks: int) -> int:
    """A block for each tile of columns of each block of rows."""
    return columns_grid(outer * blocks, inner)


@kernel(grid=blocks_grid, threads=THREADS)
def logsumexp_cols(y: T_ptr, x: T_ptr, outer: i64, n: i64, inner: i64, block: i64, blocks: i64, final: i64):
    """y[outer, inner], or pairs y[outer, blocks, 2, inner]."""
    room = shared(THREADS, T)
    part, column, line, step, wide = column_of(inner)
    row, inside = quotient(part, blocks), column < inner
    start = (part - row * blocks) * block
    end = min(n, start + block)
    p, r, m = offset(x, row * n * inner + column), start + line, T(-inf)
    while r < end and inside:
        m = higher(m, p[r * inner])
        r += step
    m = column_max(m, room, wide)
    m = finite(m) if end > start else T(-inf)
    total, r = T(0), start + line
    while r < end and inside:
        total += exp(p[r * inner] - m)
        r += step
    total = column_sum(total, room, wide)
    if line == 0 and inside:
        write_logsum(y, (part if final != 0 else 2 * part) * inner + column, inner, m, total, final)


@kernel(grid=lambda outer, inner: ceil_div(outer * inner, THREADS), threads=THREADS)
def logsumexp_merge(y: T_ptr, part: T_ptr, outer: i64, blocks: i64, inner: i64):
    """y[outer, inner] from pairs part[outer, blocks, 2, inner]."""
    unit = element()
    if unit < outer * inner:
        o = quotient(unit, inner)
        p = offset(part, o * blocks * 2 * inner + unit - o * inner)
        m, total = p[0], T(0)
        for b in range(1, blocks):
            m = higher(m, p[2 * b * inner])
        for b in range(blocks):
            total += p[(2 * b + 1) * inner] * exp(p[2 * b * inner] - m)
        y[unit] = m + log(total)
