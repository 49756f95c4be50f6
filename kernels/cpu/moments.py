"""Mean and variance of the middle axis of a contiguous (outer, n, inner) array, in one pass over memory.

Pieces that fit the L1 cache are read twice (mean, then squares of the differences) and joined by the rule of
Chan, Golub and LeVeque (Updating Formulae and a Pairwise Algorithm for Computing Sample Variances, 1979): a
large mean costs no digits. Partial results are pairs (mean, sum of squares) [outer, blocks, 2, inner].
Where a result goes: mean[i * stride], variance[i * stride + shift] (1, 0: two arrays; 2, 1: pairs in one).
"""

from ..jit import T, T_ptr, device, f64, i64, kernel
from ..memory import offset, split, stack
from ..scalar import sqrt

REASSOC = frozenset({"contract", "reassoc"})
PIECE = 4096  # elements of a row
TILE = 128  # columns of a tile
ROWS = 32  # rows of a tile that are read twice


@device
def spread(m2, divisor, root):
    """Variance (or its root) from the sum of squares; NaN if nothing is left to divide by."""
    variance = m2 / T(divisor)
    return sqrt(variance) if root != 0 else variance


@kernel(fastmath=REASSOC)
def var_rows(
    mean: T_ptr, var: T_ptr, x: T_ptr, outer: i64, n: i64, block: i64, blocks: i64, divisor: f64, root: i64,
    stride: i64, shift: i64, chunk: i64, nchunks: i64,
):  # fmt: skip
    """Mean and sum of squares / divisor of each block of each row of x[outer, n]; units: outer * blocks."""
    lo, hi = split(outer * blocks, chunk, nchunks)
    for unit in range(lo, hi):
        row = unit // blocks
        start = (unit - row * blocks) * block
        p = offset(x, row * n + start)
        total = n - start if n - start < block else block
        m, q = T(0) / T(total), T(0)
        done = 0
        while done < total:
            count = total - done if total - done < PIECE else PIECE
            s = T(0)
            for i in range(count):
                s += p[done + i]
            s /= T(count)
            v = T(0)
            for i in range(count):
                d = p[done + i] - s
                v += d * d
            if done == 0:
                m, q = s, v
            else:
                d = s - m
                share = T(count) / T(done + count)
                m += d * share
                q += v + d * d * T(done) * share
            done += count
        mean[unit * stride] = m
        var[unit * stride + shift] = spread(q, divisor, root)


@kernel
def var_cols(
    mean: T_ptr, var: T_ptr, x: T_ptr, outer: i64, n: i64, inner: i64, block: i64, blocks: i64, divisor: f64,
    root: i64, stride: i64, shift: i64, chunk: i64, nchunks: i64,
):  # fmt: skip
    """The same down the middle axis of x[outer, n, inner]; units: outer * blocks * tiles of TILE columns."""
    m, q, s, v = stack(TILE, T), stack(TILE, T), stack(TILE, T), stack(TILE, T)
    tiles = (inner + TILE - 1) // TILE
    lo, hi = split(outer * blocks * tiles, chunk, nchunks)
    for unit in range(lo, hi):
        part = unit // tiles
        c0 = (unit - part * tiles) * TILE
        width = inner - c0 if inner - c0 < TILE else TILE
        row = part // blocks
        start = (part - row * blocks) * block
        total = n - start if n - start < block else block
        p = offset(x, (row * n + start) * inner + c0)
        for c in range(width):
            m[c], q[c] = T(0) / T(total), T(0)
        done = 0
        while done < total:
            count = total - done if total - done < ROWS else ROWS
            for c in range(width):
                s[c], v[c] = T(0), T(0)
            for r in range(done, done + count):
                for c in range(width):
                    s[c] += p[r * inner + c]
            for c in range(width):
                s[c] /= T(count)
            for r in range(done, done + count):
                for c in range(width):
                    d = p[r * inner + c] - s[c]
                    v[c] += d * d
            share = T(count) / T(done + count)
            for c in range(width):
                d = s[c] - m[c] if done > 0 else T(0)
                m[c] = m[c] + d * share if done > 0 else s[c]
                q[c] += v[c] + d * d * T(done) * share
            done += count
        out = (part * stride) * inner + c0
        for c in range(width):
            mean[out + c] = m[c]
            var[out + shift * inner + c] = spread(q[c], divisor, root)


@kernel
def var_merge(
    mean: T_ptr, var: T_ptr, part: T_ptr, outer: i64, blocks: i64, inner: i64, n: i64, block: i64,
    divisor: f64, root: i64, chunk: i64, nchunks: i64,
):  # fmt: skip
    """mean, var [outer, inner] from pairs part[outer, blocks, 2, inner]; units: outer * inner."""
    lo, hi = split(outer * inner, chunk, nchunks)
    for unit in range(lo, hi):
        o = unit // inner
        p = offset(part, o * blocks * 2 * inner + unit - o * inner)
        m, q, done = p[0], p[inner], (n if n < block else block)
        for b in range(1, blocks):
            count = n - b * block if n - b * block < block else block
            d = p[2 * b * inner] - m
            share = T(count) / T(done + count)
            m += d * share
            q += p[(2 * b + 1) * inner] + d * d * T(done) * share
            done += count
        mean[unit] = m
        var[unit] = spread(q, divisor, root)
