"""Running sums, products, extremes and log-sums along the middle axis: the CUDA twin of cpu/scan.py.

    many lines    a thread a line, as on the CPU
    few lines     a block a line: 256 elements at a time, combined by doubling distances within warps, then
                  over warps, then with what came before (Hillis and Steele, 1986)

The order of combination depends on the sizes alone.
"""

from numpy import int32, int64

from ..cpu.scan import add_exp, not_above, not_below, plus, times
from ..jit import S, S_ptr, T, T_ptr, device, i64, i64_ptr
from ..loops import quotient
from ..memory import offset
from .gpu import barrier, block, shared, shuffle_up, thread
from .index import element
from .launch import bound, ceil_div, kernel
from .team import lane, warp

THREADS, WARPS = 256, 8
MANY = 4096  # lines that fill a GPU with one thread each
combine, replaces = plus, not_below  # bound for each of the kernels below


def lines_grid(outer: int, n: int, inner: int) -> int:
    """A thread or a block for each line; nothing for empty ones."""
    if n == 0:
        return 0
    return ceil_div(outer * inner, THREADS) if outer * inner >= MANY else outer * inner


@device
def line_start(line, n, inner):
    """Where a line begins."""
    o = quotient(line, inner)
    return o * n * inner + line - o * inner


@device
def scanned(v, room):
    """(v combined with those of all threads before this one, the whole block's)."""
    for k in range(5):
        other = shuffle_up(v, int32(1 << k))
        if lane() >= int32(1 << k):
            v = combine(other, v)
    barrier()
    if lane() == 31:
        room[warp()] = v
    barrier()
    total = room[0]
    for w in range(1, WARPS):
        if warp() == w:
            v = combine(total, v)
        total = combine(total, room[w])
    return v, total


def scan_kernel(y: S_ptr, x: T_ptr, outer: i64, n: i64, inner: i64, reverse: i64):
    """y[o, r, i] = combination of x[o, 0..r, i] (x[o, r.., i] if `reverse`)."""
    room = shared(WARPS, S)
    step = -inner if reverse != 0 else inner
    if outer * inner >= MANY:
        line = element()
        if line < outer * inner:
            first = line_start(line, n, inner) + ((n - 1) * inner if reverse != 0 else int64(0))
            total = S(x[first])
            y[first] = total
            for r in range(1, n):
                total = combine(total, x[first + r * step])
                y[first + r * step] = total
    else:
        first = line_start(int64(block()), n, inner) + ((n - 1) * inner if reverse != 0 else int64(0))
        base, carry = int64(0), S(0)
        while base < n:
            r = base + thread()
            v, total = scanned(S(x[first + min(r, n - 1) * step]), room)
            if base > 0:
                v, total = combine(carry, v), combine(carry, total)
            carry = total
            if r < n:
                y[first + r * step] = v
            base += THREADS


@device
def later(p, i, q, j):
    """The better of (p, i) and the later (q, j)."""
    if replaces(q, p):
        return q, j
    return p, i


@device
def scanned_best(p, i, values, places):
    """((best up to this thread, where), (best of the block, where))."""
    for k in range(5):
        q, j = shuffle_up(p, int32(1 << k)), shuffle_up(i, int32(1 << k))
        if lane() >= int32(1 << k):
            p, i = later(q, j, p, i)
    barrier()
    if lane() == 31:
        values[warp()], places[warp()] = p, i
    barrier()
    q, j = values[0], places[0]
    for w in range(1, WARPS):
        if warp() == w:
            p, i = later(q, j, p, i)
        q, j = later(q, j, values[w], places[w])
    return p, i, q, j


def extreme_kernel(y: T_ptr, index: i64_ptr, x: T_ptr, outer: i64, n: i64, inner: i64):
    """y = best of x[o, 0..r, i], index = where."""
    values, places = shared(WARPS, T), shared(WARPS, int64)
    if outer * inner >= MANY:
        line = element()
        if line < outer * inner:
            p, out, where = (
                offset(x, line_start(line, n, inner)),
                offset(y, line_start(line, n, inner)),
                int64(0),
            )
            best, seen = p[0], offset(index, line_start(line, n, inner))
            for r in range(n):
                best, where = later(best, where, p[r * inner], int64(r))
                out[r * inner] = best
                seen[r * inner] = where
    else:
        first = line_start(int64(block()), n, inner)
        base, best, where = int64(0), T(0), int64(0)
        while base < n:
            r = min(base + thread(), n - 1)
            p, i, q, j = scanned_best(x[first + r * inner], r, values, places)
            if base > 0:
                p, i = later(best, where, p, i)
                q, j = later(best, where, q, j)
            best, where = q, j
            if base + thread() < n:
                y[first + r * inner] = p
                index[first + r * inner] = i
            base += THREADS


def _scan(name, combine):
    scan = device(bound(scanned.py, f"{name}_block", combine=combine))
    plain = bound(scan_kernel, name, combine=combine, scanned=scan)
    return kernel(grid=lines_grid, threads=THREADS)(plain)


def _extreme(name, replaces):
    pick = device(bound(later.py, f"{name}_later", replaces=replaces))
    best = device(bound(scanned_best.py, f"{name}_block", later=pick))
    return kernel(grid=lines_grid, threads=THREADS)(
        bound(extreme_kernel, name, later=pick, scanned_best=best)
    )


cumsum, cumprod, logcumsumexp = _scan("cumsum", plus), _scan("cumprod", times), _scan("logcumsumexp", add_exp)
cummax, cummin = _extreme("cummax", not_below), _extreme("cummin", not_above)
