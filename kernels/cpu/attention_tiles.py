"""What the attention kernels do to a block of queries: products on triangles, packing, masks, exponentials.

Scores are kept turned, a line of QUERIES for each key and a column for each query: then the largest score and the sum of
exponentials of a query need no sums over the lanes of a vector, and queries are the only operand that has to be packed. They
are worked on in panels of VECTORS vectors of queries.
"""

from __future__ import annotations

from functools import cache
from math import inf
from typing import Any

from ..jit import VL, T, device
from ..memory import offset, select, stack
from ..scalar import log
from ..scalar_exp import exp_down
from ..simd import spread, tile_fma, tile_load, tile_store, tile_zero, vadd, vload, vmaxn, vstore, vzero
from .plan import LOWEST
from .tiles import begin_tile, finish, pack

QUERIES, VECTORS = 64, 2  # of a block, of a panel; VECTORS as of all "outer" register tiles


@cache
def product(rows: int) -> Any:
    """Device function: C[:count, :n] = A B, or C + A B with `add`, for the n columns of a panel.

    Row i takes k from low + low_step * i to high + high_step * i, within [0, kc); the range of a tile is its first row's.
    """

    @device(inline=False)
    def multiply(c, ldc, count, n, a, ars, aks, b, bks, kc, low, low_step, high, high_step, add, acc):
        vs, sums = spread(b, VL, VECTORS, VECTORS), spread(acc, VL, VECTORS, VECTORS)
        for q in range((count + rows - 1) // rows):
            i = q * rows
            m, ct = min(rows, count - i), offset(c, i * ldc)
            first, end = max(0, low + low_step * i), min(kc, high + high_step * i)
            whole = m == rows and n == VECTORS * VL
            xs, tile = spread(offset(a, i * ars), ars, m, rows), tile_zero(T, rows, VECTORS)
            if not whole:
                begin_tile(acc, rows, VECTORS, m, n, ct, ldc, ct, 0, add)
                tile = tile_load(sums, VECTORS * VL, rows)
            elif add != 0:
                tile = tile_load(spread(ct, VL, VECTORS, VECTORS), ldc, rows)
            ka, kb = first * aks, first * bks
            for _ in range(first, end):
                tile = tile_fma(tile, xs, ka, vs, kb)
                ka += aks
                kb += bks
            if whole:
                tile_store(spread(ct, VL, VECTORS, VECTORS), ldc, tile)
            else:
                tile_store(sums, VECTORS * VL, tile)
                finish(ct, ldc, m, n, VECTORS, acc, T(1), T(0), ct, 0, 0, T(LOWEST), 0)

    return multiply


@cache
def columns(rows: int) -> Any:
    """Device function: C[:count, :n] += A B for any n, with rows of B of unit stride; `room` is for its last columns."""
    multiply = product(rows)

    @device(inline=False)
    def add_columns(c, ldc, count, n, a, ars, aks, b, bks, kc, low, low_step, high, high_step, room, acc):
        width = VECTORS * VL
        for p in range((n + width - 1) // width):
            used, panel, step = min(width, n - p * width), offset(b, p * width), bks
            if used < width:
                pack(room, width, 0, panel, bks, 1, kc, used)
                panel, step = room, width
            to = offset(c, p * width)
            multiply(to, ldc, count, used, a, ars, aks, panel, step, kc, low, low_step, high, high_step, 1, acc)

    return add_columns


@device(inline=False)
def turned(to, x, row, count, size, factor):
    """Panels [size][width] of x[count, size] turned, times `factor`, size + VL lines apart; zeros behind the last row."""
    width = VECTORS * VL
    for p in range((count + width - 1) // width):
        panel, used = offset(to, p * (size + VL) * width), min(width, count - p * width)
        pack(panel, width, 0, offset(x, p * width * row), 1, row, size, used)
        if used < width:
            for e in range(size):
                for j in range(used, width):
                    panel[e * width + j] = T(0)
        for i in range(size * width):
            panel[i] *= factor


@device(inline=False)
def hidden(scores, allowed, added, at, m_row, m_col, first, used, j0, seen, causal, flags):
    """Masks a panel of scores: `used` queries from `first` on by `seen` keys from `j0` on; flags: 1 `allowed`, 2 `added`."""
    if flags != 0:
        for j in range(seen):
            for c in range(used):
                where, value = at + (first + c) * m_row + (j0 + j) * m_col, scores[j * QUERIES + c]
                if flags & 2 != 0:
                    value += added[where]
                if flags & 1 != 0 and allowed[where] == 0:
                    value = T(-inf)
                scores[j * QUERIES + c] = value
    if causal != 0:
        for j in range(max(0, first + 1 - j0), seen):
            for c in range(min(VECTORS * VL, j0 + j - first)):
                scores[j * QUERIES + c] = T(-inf)


@device
def zero(to, row, count, size):
    """Zeros in to[count, size]."""
    for i in range(count):
        for j in range(size):
            to[i * row + j] = T(0)


@device
def largest(to, scores, n):
    """to[c] = the largest of to[c] and of n lines of column c (a NaN is left to the exponentials)."""
    for v in range(VECTORS):
        most = vload(to, v * VL)
        for j in range(n):
            most = vmaxn(vload(scores, j * QUERIES + v * VL), most)
        vstore(to, v * VL, most)


@device
def sums_of(to, scores, n):
    """to[c] = the sum of n lines of column c."""
    for v in range(VECTORS):
        total = vzero(T)
        for j in range(n):
            total = vadd(total, vload(scores, j * QUERIES + v * VL))
        vstore(to, v * VL, total)


@device(inline=False)
def soften(scores, seen, most, total, again):
    """A panel's exponentials, with the largest scores and the sums brought up to date; `again` scales what was before."""
    width, part = VECTORS * VL, stack(QUERIES, T)
    for c in range(width):
        again[c] = most[c]
    largest(most, scores, seen)
    for c in range(width):
        part[c] = select(most[c] == T(-inf), T(0), most[c])  # no key so far: all weights are 0
        again[c] = exp_down(again[c] - part[c])
    for j in range(seen):
        for c in range(width):
            scores[j * QUERIES + c] = exp_down(scores[j * QUERIES + c] - part[c])
    sums_of(part, scores, seen)
    for c in range(width):
        total[c] = total[c] * again[c] + part[c]


@device(inline=False)
def weigh(scores, grads, seen, base, delta, scale):
    """A panel's weights again, and the gradients of its scaled scores from those of its weights."""
    for j in range(seen):
        for c in range(VECTORS * VL):
            w = exp_down(scores[j * QUERIES + c] - base[c])
            scores[j * QUERIES + c] = w
            grads[j * QUERIES + c] = w * (grads[j * QUERIES + c] - delta[c]) * scale


@device(inline=False)
def shares(out, row, n, V, lse, most, total, flags):
    """Divides n queries' sums by the sums of their weights, whose logarithms it writes.

    A query without keys gives 0, unless it was numbers (`flags` 2) that left it none: then NaN, as of a softmax.
    """
    for r in range(n):
        sums, share = total[r], T(0)
        if sums > T(0) or sums != sums or flags & 2 != 0:
            share = T(1) / sums
        for d in range(V):
            out[r * row + d] *= share
        lse[r] = most[r] + log(sums)


@device(inline=False)
def means(base, delta, lse, g, g_row, out, o_row, n, V):
    """Of n queries: what to subtract from scores, and sum(g * out); zeros behind."""
    for c in range(QUERIES):
        base[c], delta[c] = T(0), T(0)
    for c in range(n):
        total = T(0)
        for d in range(V):
            total += g[c * g_row + d] * out[c * o_row + d]
        base[c], delta[c] = select(lse[c] == T(-inf), T(0), lse[c]), total
