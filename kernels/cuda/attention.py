"""Attention without the matrix of weights in memory: softmax(q k' scale + mask) v, tile by tile, and its gradients.

Forward: Dao, Fu, Ermon, Rudra and Re, "FlashAttention", 2022. A block of 16 x 16 threads takes SIDE queries and walks over
the keys, SIDE at a time; the largest score so far and the sum of the exponentials are corrected when a larger one comes.

    q   [SIDE, DIM]  stays in shared memory            thread (y, x) has queries y * R + a and keys x + 16 b of a tile,
    k v [SIDE, DIM]  one after the other in one room   R = SIDE / 16 of each, and dimensions x + 16 j of the result

Backward: the weights are computed again from `lse`, the logarithm of their sum; one kernel for q, where a block walks over
the keys, one for k and v, where it walks over the queries: nothing is added by several blocks, so a run repeats.
"""

from __future__ import annotations

from math import inf
from typing import Any

from numpy import int32, int64

from ..jit import T, T_ptr, device, i64, real, u8_ptr
from ..loops import quotient
from ..memory import offset, stack
from ..scalar import exp, log
from .gpu import barrier, block, load4, shared, shuffle_xor, thread
from .launch import bound, ceil_div, kernel
from .team import higher

THREADS, ROOMS = 256, 128  # threads of a block; the largest DIM
ALLOWED, ADDED = 1, 2  # flags: a mask of bytes says which keys take part; a mask is added to the scores
DIM, SIDE, R, WIDE, LINE, PLACE, ROOM, SQUARE = 64, 32, 2, 4, 68, 36, 32 * 68, 32 * 36  # a variant binds these
PAIRS, OWN, SHIFT = 4, 8, 6  # and these: R * R, R * WIDE, and DIM is 1 << SHIFT


@device
def spot_y():
    return int32(thread() >> int32(4))


@device
def spot_x():
    return int32(thread() & int32(15))


@device
def tile_of(count, inner):
    """(matrix, first of its rows, outer number, inner number) of this block's tile; a matrix has `count` rows."""
    tiles = quotient(count + SIDE - 1, int64(SIDE))
    n = quotient(int64(block()), tiles)
    o = quotient(n, inner)
    return n, (int64(block()) - n * tiles) * SIDE, o, n - o * inner


@device
def fetch(room, x, first, rows, row_step, size):
    """room[SIDE, DIM] = rows `first`.. of the matrix x[rows, size]; 0 outside."""
    i = thread()
    while i < int32(SIDE * DIM):
        line, d = int32(i >> int32(SHIFT)), int32(i & int32(DIM - 1))
        inside = first + line < rows and d < size
        room[int32(int32(line * int32(LINE)) + d)] = x[(first + line) * row_step + d] if inside else T(0)
        i = int32(i + int32(THREADS))


@device
def dots(sums, left, right):
    """sums[a * R + b] = row y * R + a of `left` times row x + 16 b of `right`."""
    for k in range(R * R):
        sums[k] = T(0)
    y, x = spot_y(), spot_x()
    for d in range(DIM // 4):
        for a in range(R):
            p = load4(left, int32(int32(int32(y * int32(R)) + int32(a)) * int32(LINE) + int32(4 * d)))
            for b in range(R):
                q = load4(right, int32(int32(x + int32(16 * b)) * int32(LINE) + int32(4 * d)))
                sums[a * R + b] += p[0] * q[0] + p[1] * q[1] + p[2] * q[2] + p[3] * q[3]


@device
def masked(score, allowed, added, at, row, col, L, S, causal, flags):
    """The score of a query and a key; -inf where the key takes no part."""
    if row >= L or col >= S or (causal != 0 and col > row):
        return T(-inf)
    if flags & 1 != 0 and allowed[at] == 0:
        return T(-inf)
    return score + added[at] if flags & 2 != 0 else score


@device
def gather(sums, squares, rows):
    """sums[a * WIDE + j] += over the tile: squares[y * R + a, c] * rows[c, x + 16 j]."""
    y, x = spot_y(), spot_x()
    for c in range(SIDE // 4):
        for a in range(R):
            p = load4(squares, int32(int32(int32(y * int32(R)) + int32(a)) * int32(PLACE) + int32(4 * c)))
            for j in range(WIDE):
                at = int32(int32(x + int32(16 * j)) + int32(4 * c * LINE))
                sums[a * WIDE + j] += (
                    p[0] * rows[at]
                    + p[1] * rows[int32(at + int32(LINE))]
                    + p[2] * rows[int32(at + int32(2 * LINE))]
                    + p[3] * rows[int32(at + int32(3 * LINE))]
                )


@device
def across_max(v):
    """The largest value of the 16 threads that share a query."""
    v = higher(v, shuffle_xor(v, 8))
    v = higher(v, shuffle_xor(v, 4))
    v = higher(v, shuffle_xor(v, 2))
    return higher(v, shuffle_xor(v, 1))


@device
def across_sum(v):
    v = v + shuffle_xor(v, 8)
    v = v + shuffle_xor(v, 4)
    v = v + shuffle_xor(v, 2)
    return v + shuffle_xor(v, 1)


@device
def softened(scores, squares, most, total, sums):
    """The tile's exponentials in `squares`, with `most`, `total` and `sums` (of R queries) corrected."""
    y, x = spot_y(), spot_x()
    for a in range(R):
        top = most[a]
        for b in range(R):
            top = higher(top, scores[a * R + b])
        top = across_max(top)
        base = T(0) if top == T(-inf) else top  # no key so far: all weights are 0
        again, part = exp(most[a] - base), T(0)
        for b in range(R):
            w = exp(scores[a * R + b] - base)
            part += w
            squares[int32(int32(int32(y * int32(R)) + int32(a)) * int32(PLACE) + int32(x + int32(16 * b)))] = w
        total[a] = total[a] * again + across_sum(part)
        most[a] = top
        for j in range(WIDE):
            sums[a * WIDE + j] *= again


def forward_kernel(
    out: T_ptr, lse: T_ptr, q: T_ptr, k: T_ptr, v: T_ptr, allowed: u8_ptr, added: T_ptr, batch: i64, inner: i64, L: i64, S: i64,
    E: i64, V: i64, q_outer: i64, q_inner: i64, q_row: i64, k_outer: i64, k_inner: i64, k_row: i64, v_outer: i64, v_inner: i64,
    v_row: i64, m_outer: i64, m_inner: i64, m_row: i64, m_col: i64, causal: i64, flags: i64, scale: real, side: i64,
):  # fmt: skip
    """out[batch, L, V] and lse[batch, L]. Matrix n is at (n // inner) * outer + (n % inner) * inner of each operand."""
    room_q, room_k, squares = shared(ROOM, T), shared(ROOM, T), shared(SQUARE, T)
    n, first, o, i = tile_of(L, inner)
    keys, values = offset(k, o * k_outer + i * k_inner), offset(v, o * v_outer + i * v_inner)
    mask, y, x = o * m_outer + i * m_inner, spot_y(), spot_x()
    scores, sums, most, total = stack(PAIRS, T), stack(OWN, T), stack(R, T), stack(R, T)
    for a in range(R):
        most[a], total[a] = T(-inf), T(0)
        for j in range(WIDE):
            sums[a * WIDE + j] = T(0)
    fetch(room_q, offset(q, o * q_outer + i * q_inner), first, L, q_row, E)
    c, end = int64(0), min(S, first + SIDE) if causal != 0 else S
    while c < end:
        barrier()
        fetch(room_k, keys, c, S, k_row, E)
        barrier()
        dots(scores, room_q, room_k)
        for a in range(R):
            for b in range(R):
                row, col = first + y * R + a, c + x + 16 * b
                at = mask + row * m_row + col * m_col
                scores[a * R + b] = masked(scores[a * R + b] * scale, allowed, added, at, row, col, L, S, causal, flags)
        softened(scores, squares, most, total, sums)
        barrier()
        fetch(room_k, values, c, S, v_row, V)
        barrier()
        gather(sums, squares, room_k)
        c += SIDE
    for a in range(R):
        row = first + y * R + a
        if row < L:
            # A query without keys gives 0, unless it was numbers that left it none: then NaN, as of a softmax.
            share = T(1) / total[a] if total[a] > T(0) or total[a] != total[a] or flags & 2 != 0 else T(0)
            for j in range(WIDE):
                if x + 16 * j < V:
                    out[(n * L + row) * V + x + 16 * j] = sums[a * WIDE + j] * share
            if x == 0:
                lse[n * L + row] = most[a] + log(total[a])


@device
def weights(scores, grads, allowed, added, mask, m_row, m_col, first, c, L, S, causal, flags, scale, lse, delta, n):
    """scores = the weights again, grads = the gradients of the scaled scores, from dots of the tile."""
    y, x = spot_y(), spot_x()
    for a in range(R):
        row = first + y * R + a
        shift, mean = T(0), T(0)
        if row < L:
            shift, mean = lse[n * L + row], delta[n * L + row]
        shift = T(0) if shift == T(-inf) else shift
        for b in range(R):
            col = c + x + 16 * b
            at = mask + row * m_row + col * m_col
            s = masked(scores[a * R + b] * scale, allowed, added, at, row, col, L, S, causal, flags)
            w = exp(s - shift)
            scores[a * R + b] = w
            grads[a * R + b] = w * (grads[a * R + b] - mean) * scale


@device
def keep_turned(squares, values):
    """The tile's values with a line for each key, so that `gather` adds over the queries."""
    y, x = spot_y(), spot_x()
    for a in range(R):
        for b in range(R):
            line = int32(int32(x + int32(16 * b)) * int32(PLACE))
            squares[int32(line + int32(int32(y * int32(R)) + int32(a)))] = values[a * R + b]


def backward_q_kernel(
    dq: T_ptr, g: T_ptr, q: T_ptr, k: T_ptr, v: T_ptr, lse: T_ptr, delta: T_ptr, allowed: u8_ptr, added: T_ptr, batch: i64,
    inner: i64, L: i64, S: i64, E: i64, V: i64, q_outer: i64, q_inner: i64, q_row: i64, k_outer: i64, k_inner: i64, k_row: i64,
    v_outer: i64, v_inner: i64, v_row: i64, m_outer: i64, m_inner: i64, m_row: i64, m_col: i64, causal: i64, flags: i64,
    scale: real, side: i64,
):  # fmt: skip
    """dq[batch, L, E] from g[batch, L, V], lse and delta[batch, L] = sum(g * out)."""
    room_q, room_g, room_k, room_v = shared(ROOM, T), shared(ROOM, T), shared(ROOM, T), shared(ROOM, T)
    squares = shared(SQUARE, T)
    n, first, o, i = tile_of(L, inner)
    keys, values = offset(k, o * k_outer + i * k_inner), offset(v, o * v_outer + i * v_inner)
    mask, y, x = o * m_outer + i * m_inner, spot_y(), spot_x()
    scores, grads, sums = stack(PAIRS, T), stack(PAIRS, T), stack(OWN, T)
    for j in range(R * WIDE):
        sums[j] = T(0)
    fetch(room_q, offset(q, o * q_outer + i * q_inner), first, L, q_row, E)
    fetch(room_g, offset(g, n * L * V), first, L, V, V)
    c, end = int64(0), min(S, first + SIDE) if causal != 0 else S
    while c < end:
        barrier()
        fetch(room_k, keys, c, S, k_row, E)
        fetch(room_v, values, c, S, v_row, V)
        barrier()
        dots(scores, room_q, room_k)
        dots(grads, room_g, room_v)
        weights(scores, grads, allowed, added, mask, m_row, m_col, first, c, L, S, causal, flags, scale, lse, delta, n)
        for a in range(R):
            for b in range(R):
                line = int32(int32(y * int32(R)) + int32(a))
                squares[int32(int32(line * int32(PLACE)) + int32(x + int32(16 * b)))] = grads[a * R + b]
        barrier()
        gather(sums, squares, room_k)
        c += SIDE
    for a in range(R):
        row = first + y * R + a
        for j in range(WIDE):
            if row < L and x + 16 * j < E:
                dq[(n * L + row) * E + x + 16 * j] = sums[a * WIDE + j]


def backward_kv_kernel(
    dk: T_ptr, dv: T_ptr, g: T_ptr, q: T_ptr, k: T_ptr, v: T_ptr, lse: T_ptr, delta: T_ptr, allowed: u8_ptr, added: T_ptr,
    batch: i64, inner: i64, L: i64, S: i64, E: i64, V: i64, q_outer: i64, q_inner: i64, q_row: i64, k_outer: i64, k_inner: i64,
    k_row: i64, v_outer: i64, v_inner: i64, v_row: i64, m_outer: i64, m_inner: i64, m_row: i64, m_col: i64, causal: i64,
    flags: i64, scale: real, side: i64,
):  # fmt: skip
    """dk[batch, S, E] and dv[batch, S, V]: a block takes SIDE keys and walks over the queries."""
    room_q, room_g, room_k, room_v = shared(ROOM, T), shared(ROOM, T), shared(ROOM, T), shared(ROOM, T)
    squares = shared(SQUARE, T)
    n, c, o, i = tile_of(S, inner)
    queries, above = offset(q, o * q_outer + i * q_inner), offset(g, n * L * V)
    mask, y, x = o * m_outer + i * m_inner, spot_y(), spot_x()
    scores, grads, of_k, of_v = stack(PAIRS, T), stack(PAIRS, T), stack(OWN, T), stack(OWN, T)
    for j in range(R * WIDE):
        of_k[j], of_v[j] = T(0), T(0)
    fetch(room_k, offset(k, o * k_outer + i * k_inner), c, S, k_row, E)
    fetch(room_v, offset(v, o * v_outer + i * v_inner), c, S, v_row, V)
    first = c if causal != 0 else int64(0)
    while first < L:
        barrier()
        fetch(room_q, queries, first, L, q_row, E)
        fetch(room_g, above, first, L, V, V)
        barrier()
        dots(scores, room_q, room_k)
        dots(grads, room_g, room_v)
        weights(scores, grads, allowed, added, mask, m_row, m_col, first, c, L, S, causal, flags, scale, lse, delta, n)
        keep_turned(squares, scores)
        barrier()
        gather(of_v, squares, room_g)
        barrier()
        keep_turned(squares, grads)
        barrier()
        gather(of_k, squares, room_q)
        first += SIDE
    for a in range(R):
        row = c + y * R + a
        for j in range(WIDE):
            d = x + 16 * j
            if row < S and d < E:
                dk[(n * S + row) * E + d] = of_k[a * WIDE + j]
            if row < S and d < V:
                dv[(n * S + row) * V + d] = of_v[a * WIDE + j]


def of_queries(L: int, batch: int, side: int) -> int:
    """A block for each tile of queries."""
    return ceil_div(L, side) * batch


def of_keys(S: int, batch: int, side: int) -> int:
    """A block for each tile of keys."""
    return ceil_div(S, side) * batch


def _variant(function: Any, name: str, dim: int, side: int, grid: Any) -> Any:
    """The kernel for sizes up to `dim`, by tiles of `side`."""
    # Lines are four apart from a multiple of 32 banks, so that eight lanes read 16 bytes each from all banks at once.
    line, place = dim + 4, side + 4
    names: dict[str, Any] = {
        "DIM": dim, "SIDE": side, "R": side // 16, "WIDE": dim // 16, "LINE": line, "PLACE": place, "ROOM": side * line,
        "SQUARE": side * place, "PAIRS": (side // 16) ** 2, "OWN": side // 16 * (dim // 16), "SHIFT": dim.bit_length() - 1,
    }  # fmt: skip
    for helper in (tile_of, fetch, dots, gather, softened, weights, keep_turned):
        names[helper.name] = device(bound(helper.py, f"{helper.name}_{dim}_{side}", **names))
    return kernel(grid=grid, threads=THREADS)(bound(function, f"{name}_{dim}", **names))


attention_32 = _variant(forward_kernel, "attention", 32, 32, of_queries)
attention_64 = _variant(forward_kernel, "attention", 64, 32, of_queries)
attention_128 = _variant(forward_kernel, "attention", 128, 32, of_queries)
attention_backward_q_32 = _variant(backward_q_kernel, "attention_backward_q", 32, 32, of_queries)
attention_backward_q_64 = _variant(backward_q_kernel, "attention_backward_q", 64, 32, of_queries)
attention_backward_q_128 = _variant(backward_q_kernel, "attention_backward_q", 128, 16, of_queries)
attention_backward_kv_32 = _variant(backward_kv_kernel, "attention_backward_kv", 32, 32, of_keys)
attention_backward_kv_64 = _variant(backward_kv_kernel, "attention_backward_kv", 64, 32, of_keys)
attention_backward_kv_128 = _variant(backward_kv_kernel, "attention_backward_kv", 128, 16, of_keys)


def size_of(dims: int) -> int:
    """The variant for operands of so many dimensions."""
    return next(d for d in (32, 64, 128) if dims <= d)


def side_of(name: str, size: int) -> int:
    """The tile's side of a kernel, which its launch is told."""
    return 16 if size == 128 and name != "attention" else 32
