"""Attention without the matrix of weights in memory: softmax(q k' scale + mask) v, a block of queries at a time.

Forward: Dao, Fu, Ermon, Rudra and Re, "FlashAttention", 2022.

    scores  [KEYS, QUERIES]   = k [KEYS, E]  q' [E, QUERIES]      in scratch of a chunk (L2)
    out     [QUERIES, V]     += scores' v [KEYS, V]               corrected when a larger score comes with later keys

Backward: the weights are computed again from `lse`, the logarithm of their sum. A unit has some blocks of keys of one matrix
and walks over the queries; where a matrix is dealt to several units, each adds to a dq of its own, which attention_sum adds
up. With `causal` a register tile leaves out what no query in it sees. All orders of additions follow from the sizes.
"""

from __future__ import annotations

from functools import cache
from math import inf
from typing import Any

from ..jit import VL, T, T_ptr, device, i64, kernel, real, u8_ptr
from ..memory import offset, select, split, stack
from .attention_tiles import (
    QUERIES,
    VECTORS,
    columns,
    hidden,
    means,
    product,
    shares,
    soften,
    turned,
    weigh,
    zero,
)

KEYS, KEYS_BACK = 256, 128  # of a block: forward, backward


@cache
def _soft_block(rows: int) -> Any:
    """Device function: the weights of n queries from q0 on and kc keys from j0 on, panel by panel."""
    multiply = product(rows)

    @device(inline=False)
    def soft_block(
        scores, packed, keys, k_row, allowed, added, mask, m_row, m_col, q0, n, j0, kc, E, causal, flags, most, total, again, acc
    ):  # fmt: skip
        width = VECTORS * VL
        for p in range((n + width - 1) // width):
            at = p * width
            panel, seen = offset(scores, at), select(causal != 0, min(kc, q0 + at + width - j0), kc)
            b = offset(packed, at * (E + VL))
            multiply(panel, QUERIES, seen, width, keys, k_row, 1, b, width, E, 0, 0, E, 0, 0, acc)
            hidden(panel, allowed, added, mask, m_row, m_col, q0 + at, min(width, n - at), j0, seen, causal, flags)
            soften(panel, seen, offset(most, at), offset(total, at), offset(again, at))
            zero(offset(panel, seen * QUERIES), QUERIES, min(rows, kc - seen), width)  # what the next panel's tiles read

    return soft_block


@cache
def forward(rows: int) -> Any:
    """The kernel with register tiles of `rows`."""
    soft_block, add_columns, room = _soft_block(rows), columns(rows), rows * VECTORS * 16  # lanes are at most 16

    @kernel
    def attention_rows(
        out: T_ptr, lse: T_ptr, q: T_ptr, k: T_ptr, v: T_ptr, allowed: u8_ptr, added: T_ptr, scratch: T_ptr, batch: i64,
        inner: i64, L: i64, S: i64, E: i64, V: i64, o_outer: i64, o_inner: i64, o_row: i64, q_outer: i64, q_inner: i64,
        q_row: i64, k_outer: i64, k_inner: i64, k_row: i64, v_outer: i64, v_inner: i64, v_row: i64, m_outer: i64,
        m_inner: i64, m_row: i64, m_col: i64, causal: i64, flags: i64, scale: real, chunk_words: i64, chunk: i64, nchunks: i64,
    ):  # fmt: skip
        """out [batch, L, V] and lse[batch, L]. Matrix t is at (t // inner) * outer + (t % inner) * inner of each operand.

        Units: blocks of queries, those of a matrix from both ends in turns, as with `causal` the last ones see most keys.
        """
        acc, most, total, again = stack(room, T), stack(QUERIES, T), stack(QUERIES, T), stack(QUERIES, T)
        packed = offset(scratch, chunk * chunk_words)
        scores, blocks = offset(packed, QUERIES * (E + VL)), (L + QUERIES - 1) // QUERIES
        edge, slope = offset(scores, KEYS * QUERIES), select(causal != 0, 1, 0)
        lo, hi = split(batch * blocks, chunk, nchunks)
        for unit in range(lo, hi):
            t, b = unit // blocks, unit % blocks
            q0, o, i = select(b % 2 == 0, b // 2, blocks - 1 - b // 2) * QUERIES, t // inner, t % inner
            n, end = min(QUERIES, L - q0), select(causal != 0, min(S, q0 + QUERIES), S)
            keys, values = offset(k, o * k_outer + i * k_inner), offset(v, o * v_outer + i * v_inner)
            to, mask = offset(out, o * o_outer + i * o_inner + q0 * o_row), o * m_outer + i * m_inner
            turned(packed, offset(q, o * q_outer + i * q_inner + q0 * q_row), q_row, n, E, scale)
            for c in range(QUERIES):
                most[c], total[c] = T(-inf), T(0)
            zero(to, o_row, n, V)
            for j0 in range(0, end, KEYS):
                kc, line, high = min(KEYS, end - j0), offset(values, j0 * v_row), select(causal != 0, q0 + rows - j0, KEYS)
                soft_block(
                    scores, packed, offset(keys, j0 * k_row), k_row, allowed, added, mask, m_row, m_col, q0, n, j0, kc, E, causal,
                    flags, most, total, again, acc,
                )  # fmt: skip
                for r in range(n if j0 > 0 else 0):
                    for d in range(V):
                        to[r * o_row + d] *= again[r]
                add_columns(to, o_row, n, V, scores, 1, QUERIES, line, v_row, kc, 0, 0, high, slope, edge, acc)
            shares(to, o_row, n, V, offset(lse, t * L + q0), most, total, flags)

    return attention_rows


@cache
def _grad_block(rows: int) -> Any:
    """Device function: weights and gradients of scores of n queries and kc keys, and what they add to dq, dk and dv."""
    multiply, add_columns = product(rows), columns(rows)

    @device(inline=False)
    def grad_block(
        of_q, dq_row, of_k, dk_row, of_v, dv_row, g, g_row, q, q_row, keys, k_row, values, v_row, allowed, added, mask, m_row,
        m_col, scratch, q0, n, j0, kc, E, V, causal, flags, scale, base, delta, acc,
    ):  # fmt: skip
        width, packed_g = VECTORS * VL, offset(scratch, QUERIES * (E + VL))
        scores = offset(packed_g, QUERIES * (V + VL))
        grads, edge = offset(scores, KEYS_BACK * QUERIES), offset(scores, 2 * KEYS_BACK * QUERIES)
        turned(scratch, q, q_row, n, E, scale)
        turned(packed_g, g, g_row, n, V, T(1))
        for p in range((n + width - 1) // width):
            at = p * width
            panel, other, seen = offset(scores, at), offset(grads, at), select(causal != 0, min(kc, q0 + at + width - j0), kc)
            b = offset(scratch, at * (E + VL))
            multiply(panel, QUERIES, seen, width, keys, k_row, 1, b, width, E, 0, 0, E, 0, 0, acc)
            b = offset(packed_g, at * (V + VL))
            multiply(other, QUERIES, seen, width, values, v_row, 1, b, width, V, 0, 0, V, 0, 0, acc)
            hidden(panel, allowed, added, mask, m_row, m_col, q0 + at, min(width, n - at), j0, seen, causal, flags)
            weigh(panel, other, seen, offset(base, at), offset(delta, at), scale)
            more = min(rows, kc - seen)  # lines that the next panel's tiles read
            zero(offset(panel, seen * QUERIES), QUERIES, more, width)
            zero(offset(other, seen * QUERIES), QUERIES, more, width)
        slope, high = select(causal != 0, 1, 0), select(causal != 0, q0 + rows - j0, kc)
        count, low = select(causal != 0, min(kc, q0 + n - j0), kc), select(causal != 0, j0 - q0, 0)
        add_columns(of_v, dv_row, count, V, scores, QUERIES, 1, g, g_row, n, low, slope, n, 0, edge, acc)
        add_columns(of_k, dk_row, count, E, grads, QUERIES, 1, q, q_row, n, low, slope, n, 0, edge, acc)
        add_columns(of_q, dq_row, n, E, grads, 1, QUERIES, keys, k_row, kc, 0, 0, high, slope, edge, acc)

    return grad_block


@cache
def backward(rows: int) -> Any:
    """The gradients' kernel with register tiles of `rows`."""
    grad_block, room = _grad_block(rows), rows * VECTORS * 16  # lanes are at most 16

    @kernel
    def attention_backward_rows(
        dq: T_ptr, dk: T_ptr, dv: T_ptr, g: T_ptr, q: T_ptr, k: T_ptr, v: T_ptr, out: T_ptr, lse: T_ptr, allowed: u8_ptr,
        added: T_ptr, scratch: T_ptr, batch: i64, inner: i64, L: i64, S: i64, E: i64, V: i64, dq_outer: i64, dq_inner: i64,
        dq_row: i64, dk_outer: i64, dk_inner: i64, dk_row: i64, dv_outer: i64, dv_inner: i64, dv_row: i64, g_outer: i64,
        g_inner: i64, g_row: i64, q_outer: i64, q_inner: i64, q_row: i64, k_outer: i64, k_inner: i64, k_row: i64,
        v_outer: i64, v_inner: i64, v_row: i64, o_outer: i64, o_inner: i64, o_row: i64, m_outer: i64, m_inner: i64,
        m_row: i64, m_col: i64, causal: i64, flags: i64, groups: i64, dq_group: i64, scale: real, chunk_words: i64,
        chunk: i64, nchunks: i64,
    ):  # fmt: skip
        """dq [batch, L, E], dk [batch, S, E], dv [batch, S, V] from g [batch, L, V]. Units: `groups` of keys of each matrix;
        group number u has its own dq at u * dq_group.
        """
        acc, base, delta = stack(room, T), stack(QUERIES, T), stack(QUERIES, T)
        lo, hi = split(batch * groups, chunk, nchunks)
        for unit in range(lo, hi):
            t, u = unit // groups, unit % groups
            o, i = t // inner, t % inner
            queries, above = offset(q, o * q_outer + i * q_inner), offset(g, o * g_outer + i * g_inner)
            results, of_q = offset(out, o * o_outer + i * o_inner), offset(dq, u * dq_group + o * dq_outer + i * dq_inner)
            zero(of_q, dq_row, L, E)
            start, stop = split((S + KEYS_BACK - 1) // KEYS_BACK, u, groups)
            for j0 in range(start * KEYS_BACK, min(S, stop * KEYS_BACK), KEYS_BACK):
                kc = min(KEYS_BACK, S - j0)
                of_k = offset(dk, o * dk_outer + i * dk_inner + j0 * dk_row)
                of_v = offset(dv, o * dv_outer + i * dv_inner + j0 * dv_row)
                zero(of_k, dk_row, kc, E)
                zero(of_v, dv_row, kc, V)
                for q0 in range(select(causal != 0, j0, 0), L, QUERIES):
                    n, mine, higher = min(QUERIES, L - q0), offset(queries, q0 * q_row), offset(above, q0 * g_row)
                    means(base, delta, offset(lse, t * L + q0), higher, g_row, offset(results, q0 * o_row), o_row, n, V)
                    grad_block(
                        offset(of_q, q0 * dq_row), dq_row, of_k, dk_row, of_v, dv_row, higher, g_row, mine, q_row,
                        offset(k, o * k_outer + i * k_inner + j0 * k_row), k_row,
                        offset(v, o * v_outer + i * v_inner + j0 * v_row), v_row, allowed, added, o * m_outer + i * m_inner,
                        m_row, m_col, offset(scratch, chunk * chunk_words), q0, n, j0, kc, E, V, causal, flags, scale, base,
                        delta, acc,
                    )  # fmt: skip

    return attention_backward_rows


@kernel
def attention_sum(
    dq: T_ptr, parts: T_ptr, groups: i64, batch: i64, inner: i64, L: i64, E: i64, dq_outer: i64, dq_inner: i64, dq_row: i64,
    chunk: i64, nchunks: i64,
):  # fmt: skip
    """dq [batch, L, E] = the sum of parts[groups, batch, L, E] over the groups; units: rows."""
    lo, hi = split(batch * L, chunk, nchunks)
    for r in range(lo, hi):
        t = r // L
        to = offset(dq, t // inner * dq_outer + t % inner * dq_inner + (r - t * L) * dq_row)
        for j in range(E):
            to[j] = parts[r * E + j]
        for u in range(1, groups):
            part = offset(parts, (u * batch * L + r) * E)
            for j in range(E):
                to[j] += part[j]
