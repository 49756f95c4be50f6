"""Matrix products on tensor cores: float32 rounded to tf32 where that is permitted, and float16; sums are float32.

An operand is seen as lines (rows of A, columns of B) of words along k: one tf32 number, or two float16. A block makes
128 x 128 sums, a warp 64 x 32 of them; pieces of 16 words pass through shared memory in two buffers, as in tile.py:

    along    the operand is contiguous along k    kept as [line][word], lines 20 words apart
    across   it is contiguous along the lines     kept as [word][line], words 136 lines apart

With these gaps the 32 lanes that read a fragment (lane // 4: line, lane % 4: word) meet 32 banks. A product whose
operands are contiguous in neither way is read element by element, and so are edges and unaligned matrices.
"""

from __future__ import annotations

from functools import lru_cache

from numpy import float32, int32, int64, uint32

from ..cpu.conv_plan import Plan
from ..cpu.plan import Launch
from ..jit import T, T_ptr, device, f32_ptr, i64
from ..loops import quotient
from ..memory import offset, stack
from .gpu import (
    as_float,
    as_stored,
    barrier,
    block,
    is_aligned,
    mma,
    per_word,
    shared,
    store4,
    take,
    thread,
    word,
    words_across,
    words_along,
    zeros,
)
from .index import element
from .launch import bound, ceil_div, kernel
from .team import lane, warp

THREADS, SIDE, WORDS = 256, 128, 16  # threads of a block, lines of its tile, words of a piece
ALONG, ACROSS = 20, 136  # words from a line to the next, from a word to the next
ROOM = 2 * SIDE * ALONG  # two buffers of either kind
BIAS, RELU = 1, 2  # flags
BLOCKS, SHORT = 132, 128  # blocks that occupy a large GPU once; least length of a part of the sums over k


@device
def value(p, line, k, lines, last, line_step, k_step):
    """One element of an operand, 0 outside. Sizes and steps are int32, places int64."""
    if line < lines and k < last:
        return p[int64(line) * int64(line_step) + int64(k) * int64(k_step)]
    return T(0)


@device
def one_word(p, line, k, lines, last, line_step, k_step):
    after = value(p, line, int32(k + int32(1)), lines, last, line_step, k_step)
    return word(value(p, line, k, lines, last, line_step, k_step), after)


@device
def words_of(p, line, k, lines, last, line_step, k_step, aside, ahead):
    """Four words, element by element, each `aside` lines and `ahead` k from the one before."""
    one = one_word(p, line, k, lines, last, line_step, k_step)
    line, k = int32(line + aside), int32(k + ahead)
    two = one_word(p, line, k, lines, last, line_step, k_step)
    line, k = int32(line + aside), int32(k + ahead)
    three = one_word(p, line, k, lines, last, line_step, k_step)
    line, k = int32(line + aside), int32(k + ahead)
    return one, two, three, one_word(p, line, k, lines, last, line_step, k_step)


# ---- operands that are contiguous along k: this thread's (line, word) of a half piece, fetched, kept, read


@device
def spot_along(half):
    t = uint32(thread())
    return int32(t >> uint32(2)) + int32(half * 64), int32(t & uint32(3)) * int32(4)


@device
def fetch_along(operand, half, k, last):
    p, first, lines, line_step, k_step, quick = operand
    line, w = spot_along(half)
    line, k = int32(line + first), int32(k + int32(w * per_word(T)))
    if quick != 0 and line < lines and int32(k + int32(4 * per_word(T))) <= last:
        return words_along(p, int64(line) * int64(line_step) + int64(k))
    return words_of(p, line, k, lines, last, line_step, k_step, int32(0), per_word(T))


@device
def keep_along(room, words, half, buffer):
    line, w = spot_along(half)
    at = int32(int32(buffer * int32(SIDE * ALONG)) + int32(line * int32(ALONG)) + w)
    store4(room, at, words[0], words[1], words[2], words[3])


@device
def place_along(line, w, buffer):
    return int32(int32(buffer * int32(SIDE * ALONG)) + int32(line * int32(ALONG)) + w)


@device
def left_along(room, at):
    """The four words of a fragment of A, from its first line and word on."""
    return room[at], room[int32(at + int32(8 * ALONG))], room[int32(at + int32(4))], room[int32(at + int32(8 * ALONG + 4))]


@device
def right_along(room, at):
    """The two words of a fragment of B."""
    return room[at], room[int32(at + int32(4))]


# ---- operands that are contiguous along the lines


@device
def spot_across(half):
    t = uint32(thread())
    return int32(t & uint32(31)) * int32(4), int32(t >> uint32(5)) + int32(half * 8)


@device
def fetch_across(operand, half, k, last):
    p, first, lines, line_step, k_step, quick = operand
    line, w = spot_across(half)
    line, k = int32(line + first), int32(k + int32(w * per_word(T)))
    if quick != 0 and int32(line + int32(4)) <= lines and int32(k + per_word(T)) <= last:
        return words_across(p, int64(k) * int64(k_step) + int64(line), int64(k_step))
    return words_of(p, line, k, lines, last, line_step, k_step, int32(1), int32(0))


@device
def keep_across(room, words, half, buffer):
    line, w = spot_across(half)
    at = int32(int32(buffer * int32(WORDS * ACROSS)) + int32(w * int32(ACROSS)) + line)
    store4(room, at, words[0], words[1], words[2], words[3])


@device
def place_across(line, w, buffer):
    return int32(int32(buffer * int32(WORDS * ACROSS)) + int32(w * int32(ACROSS)) + line)


@device
def left_across(room, at):
    return room[at], room[int32(at + int32(8))], room[int32(at + int32(4 * ACROSS))], room[int32(at + int32(4 * ACROSS + 8))]


@device
def right_across(room, at):
    return room[at], room[int32(at + int32(4 * ACROSS))]


# ---- the product: a variant binds these names for A and for B


@device
def first_of(one, other):
    return one


@device
def second_of(one, other):
    return other


near_a, near_b, far_a, far_b = second_of, second_of, first_of, first_of
fetch_a, fetch_b, keep_a, keep_b, place_a, place_b = fetch_along, fetch_along, keep_along, keep_along, place_along, place_along
left, right, LINE_A, LINE_B = left_along, right_along, ALONG, ALONG


@device
def products(sums, room_a, room_b, buffer, row, col, half):
    """`sums` with the products of half a piece, 8 words deep, added."""
    line, w = int32(lane() >> int32(2)), int32(int32(lane() & int32(3)) + int32(8 * half))
    at, to = place_a(int32(row + line), w, buffer), place_b(int32(col + line), w, buffer)
    a = (
        left(room_a, at)
        + left(room_a, int32(at + int32(16 * LINE_A)))
        + left(room_a, int32(at + int32(32 * LINE_A)))
        + left(room_a, int32(at + int32(48 * LINE_A)))
    )
    b = (
        right(room_b, to)
        + right(room_b, int32(to + int32(8 * LINE_B)))
        + right(room_b, int32(to + int32(16 * LINE_B)))
        + right(room_b, int32(to + int32(24 * LINE_B)))
    )
    return mma(sums, a, b, T)


@device
def finished(total, bias, at, flags):
    """The sum with the bias, clamped below by 0 (ReLU; a NaN stays), as it is stored."""
    if flags & 1 != 0:
        total = float32(total + as_float(bias[at]))
    if flags & 2 != 0 and total < float32(0):
        total = float32(0)
    return as_stored(total, T)


@device
def store(c, work, bias, sums, m0, n0, M, N, place, flags, parts):
    """Write this thread's sums: pairs of columns, eight rows and columns apart."""
    held = stack(16, float32)
    for i in range(4):
        sums = take(held, sums, 16)
        for j in range(4):
            for e in range(4):
                m, n = m0 + 16 * i + 8 * (e >> 1), n0 + 8 * j + (e & 1)
                if m < M and n < N:
                    if parts == 1:
                        c[place + m * N + n] = finished(held[4 * j + e], bias, n, flags)
                    else:
                        work[place + m * N + n] = held[4 * j + e]


def tensor_kernel(
    c: T_ptr, work: f32_ptr, a: T_ptr, b: T_ptr, bias: T_ptr, M: i64, N: i64, K: i64, ars: i64, aks: i64, bks: i64,
    bns: i64, batch: i64, inner: i64, abs0: i64, abs1: i64, bbs0: i64, bbs1: i64, flags: i64, parts: i64, span: i64,
):  # fmt: skip
    """C[batch, M, N] = A B + bias: part p takes k in p * span .. (p + 1) * span; more than one part writes to `work`.

    Matrix t takes A at (t // inner) * abs0 + (t % inner) * abs1, B alike.
    """
    room_a, room_b = shared(ROOM, uint32), shared(ROOM, uint32)
    across, down = quotient(N + SIDE - 1, int64(SIDE)), quotient(M + SIDE - 1, int64(SIDE))
    tiles = quotient(int64(block()), across)
    j0 = (int64(block()) - tiles * across) * SIDE
    matrix = quotient(tiles, down)
    i0 = (tiles - matrix * down) * SIDE
    part = quotient(matrix, batch)
    t = matrix - part * batch
    outside = quotient(t, inner)
    inside = t - outside * inner
    pa, pb = offset(a, outside * abs0 + inside * abs1), offset(b, outside * bbs0 + inside * bbs1)
    # Whole fetches are aligned where the matrix is and its far step is a multiple of four words.
    each = int64(per_word(T))
    quick_a = near_a(ars, aks) == 1 and far_a(ars, aks) & (4 * each - 1) == 0 and is_aligned(pa)
    quick_b = near_b(bns, bks) == 1 and far_b(bns, bks) & (4 * each - 1) == 0 and is_aligned(pb)
    left_operand = (pa, int32(i0), int32(M), int32(ars), int32(aks), int32(quick_a))
    right_operand = (pb, int32(j0), int32(N), int32(bns), int32(bks), int32(quick_b))
    k, last = int32(part * span), int32(min(K, (part + 1) * span))
    row, col = int32(int32(warp() & int32(1)) * int32(64)), int32(int32(warp() >> int32(1)) * int32(32))
    sums, buffer = zeros(64, float32), int32(0)
    for half in range(2):
        keep_a(room_a, fetch_a(left_operand, half, k, last), half, buffer)
        keep_b(room_b, fetch_b(right_operand, half, k, last), half, buffer)
    barrier()
    k = int32(k + int32(WORDS * per_word(T)))
    while k < last:
        a0, a1 = fetch_a(left_operand, 0, k, last), fetch_a(left_operand, 1, k, last)
        b0, b1 = fetch_b(right_operand, 0, k, last), fetch_b(right_operand, 1, k, last)
        for half in range(2):
            sums = products(sums, room_a, room_b, buffer, row, col, half)
        buffer = int32(buffer ^ int32(1))
        keep_a(room_a, a0, 0, buffer)
        keep_a(room_a, a1, 1, buffer)
        keep_b(room_b, b0, 0, buffer)
        keep_b(room_b, b1, 1, buffer)
        barrier()
        k = int32(k + int32(WORDS * per_word(T)))
    for half in range(2):
        sums = products(sums, room_a, room_b, buffer, row, col, half)
    m0, n0 = i0 + row + int32(lane() >> int32(2)), j0 + col + int32(int32(lane() & int32(3)) * int32(2))
    store(c, work, bias, sums, m0, n0, M, N, matrix * M * N, flags, parts)


_KIND = {
    "along": {"fetch": fetch_along, "keep": keep_along, "place": place_along, "near": second_of, "far": first_of},
    "across": {"fetch": fetch_across, "keep": keep_across, "place": place_across, "near": first_of, "far": second_of},
}


def _variant(name: str, a: str, b: str):
    """The kernel for operands of these kinds."""
    names = {f"{k}_a": v for k, v in _KIND[a].items()} | {f"{k}_b": v for k, v in _KIND[b].items()}
    sides = {"left": left_along if a == "along" else left_across, "right": right_along if b == "along" else right_across}
    lines = {"LINE_A": ALONG if a == "along" else 1, "LINE_B": ALONG if b == "along" else 1}
    names["products"] = device(bound(products.py, f"{name}_products", **names, **sides, **lines))
    plain = bound(tensor_kernel, name, **names)
    return kernel(grid=tensor_grid, threads=THREADS, min_blocks=1)(plain)


def tensor_grid(M: int, N: int, batch: int, parts: int) -> int:
    """A block for each tile of each part of each matrix."""
    return ceil_div(M, SIDE) * ceil_div(N, SIDE) * batch * parts


tensor_nn = _variant("tensor_nn", "along", "across")
tensor_nt = _variant("tensor_nt", "along", "along")
tensor_tn = _variant("tensor_tn", "across", "across")
tensor_tt = _variant("tensor_tt", "across", "along")


@kernel(grid=lambda M, N, batch: ceil_div(M * N * batch, THREADS), threads=THREADS)
def tensor_sum(
    c: T_ptr, work: f32_ptr, bias: T_ptr, M: i64, N: i64, batch: i64, flags: i64, parts: i64,
):  # fmt: skip
    """C from the sums of all parts, added in order: work[parts, batch, M, N]."""
    i = element()
    if i < M * N * batch:
        total = float32(0)
        for p in range(parts):
            total = float32(total + work[p * M * N * batch + i])
        c[i] = finished(total, bias, i - quotient(i, N) * N, flags)


@lru_cache(maxsize=4096)
def tensor_plan(
    M: int, N: int, K: int, a: tuple[int, int], b: tuple[int, int], T: str = "float32",
    batch: tuple[int, int] = (1, 1), a_batch: tuple[int, int] = (0, 0), b_batch: tuple[int, int] = (0, 0),
    bias: bool = False, relu: bool = False,
) -> Plan:  # fmt: skip
    """Plan contiguous C[batch, M, N] = A[M, K] B[K, N] + bias[N], then max(., 0) with `relu`; steps as for matmul_plan.

    T: float32, whose factors are rounded to tf32, or float16. The launches' pointers are "c", "work", "a", "b", "bias".
    """
    if max(M, N, K, *a, *b) >= 1 << 31:
        raise ValueError(f"matmul: sizes and steps must be below 2**31, got {(M, N, K)} and {(*a, *b)}; split the matrices.")
    count, inner, each = batch[0] * batch[1], max(batch[1], 1), 2 if T == "float16" else 1
    tiles = max(1, ceil_div(M, SIDE) * ceil_div(N, SIDE) * count)
    parts = max(1, min(BLOCKS // tiles, K // SHORT, 64))
    span = ceil_div(ceil_div(max(K, 1), parts), WORDS * each) * WORDS * each
    parts = max(1, ceil_div(K, span))
    which = {(False, False): tensor_nn, (False, True): tensor_nt, (True, False): tensor_tn, (True, True): tensor_tt}
    found = which[a[0] == 1 and a[1] != 1, b[0] == 1]
    flags = (BIAS if bias else 0) | (RELU if relu else 0)
    words = (M, N, K, *a, *b, count, inner, *a_batch, *b_batch, flags, parts, span)
    first = Launch(found, T, ("c", "work", "a", "b", "bias"), words, 1, 0, count * M * N * K)
    if parts == 1:
        return Plan((first,), 0)
    words = (M, N, count, flags, parts)
    second = Launch(tensor_sum, T, ("c", "work", "bias"), words, 1, 0, parts * count * M * N)
    return Plan((first, second), parts * count * M * N * 4)
