"""Softmax and log-softmax over the middle axis of a contiguous (outer, n, inner) array, and their gradients.

The CUDA twin of cpu/softmax.py; who works on what is said in rows.py.
"""

from math import inf

from numpy import int32

from ..jit import T, T_ptr, device, i64
from ..memory import offset, stack
from ..scalar import exp, log
from .gpu import shared, thread
from .launch import kernel
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
    i = thread()
    while i < n:
        m = higher(m, x[i])
        i = int32(i + int32(THREADS))
    m = block_max(m, room)
    total = T(0)
    i = thread()
    while i < n:
        total += exp(x[i] - m)
        i = int32(i + int32(THREADS))
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
        m, total = long_stats(base, count, room)
        scale, i = T(1) / total, thread()
        while i < count:
            out[i] = exp(base[i] - m) * scale
            i = int32(i + int32(THREADS))


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
        m, total = long_stats(base, count, room)
        shift, i = log(total), thread()
        while i < count:
            out[i] = base[i] - m - shift
            i = int32(i + int32(THREADS))


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
        total, i = T(0), thread()
        while i < count:
            total += p[i] * q[i]
            i = int32(i + int32(THREADS))
        total, i = block_sum(total, room), thread()
        while i < count:
            out[i] = q[i] * (p[i] - total)
            i = int32(i + int32(THREADS))


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
        total, i = T(0), thread()
        while i < count:
            total += p[i]
            i = int32(i + int32(THREADS))
        total, i = block_sum(total, room), thread()
        while i < count:
            out[i] = p[i] - exp(q[i]) * total
            i = int32(i + int32(THREADS))


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
