"""Matrix products on tensor cores: float32 rounded to tf32 where that is permitted, float16 and bfloat16; sums are float32.

A block makes 128 x 128 sums (tensor_tile.py); a kernel for each way in which the operands lie in memory. Where the tiles are
few, the sums over k are split into parts, which `tensor_sum` adds up in order.
"""

from __future__ import annotations

from functools import lru_cache

from numpy import float32, int32, int64, uint32

from ..cpu.conv_plan import Plan
from ..cpu.plan import Launch
from ..jit import T, T_ptr, device, f32_ptr, i64
from ..loops import quotient
from ..memory import stack
from .gpu import as_float, as_stored, shared, take
from .index import element
from .launch import bound, ceil_div, kernel
from .place import plus, tile_of_block, times
from .team import lane
from .tensor_tile import (
    ACROSS,
    ALONG,
    ROOM_A,
    ROOM_B,
    THREADS,
    WORDS,
    Loader,
    accumulate,
    shaped,
    warp_col,
    warp_row,
)
from .tile import sides

SIDE, SINGLE = 128, 256  # lines of a tile; threads of a block of `tensor_sum`
BIAS, RELU = 1, 2  # flags
BLOCKS, SHORT = 264, 128  # blocks that occupy a large GPU once; least length of a part of the sums over k


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
    for half in range(8):
        sums = take(held, sums, 16)
        for j in range(4):
            for e in range(4):
                m = int64(plus(m0, 16 * (half >> 1) + 8 * (e >> 1)))
                n = int64(plus(n0, 32 * (half & 1) + 8 * j + (e & 1)))
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
    room_a, room_b = shared(ROOM_A, uint32), shared(ROOM_B, uint32)
    i0, j0, matrix = tile_of_block(M, N, SIDE, SIDE)
    a_steps, b_steps = (ars, aks, abs0, abs1), (bks, bns, bbs0, bbs1)
    left, right, last = sides(a, b, i0, j0, matrix, M, N, K, a_steps, b_steps, batch, inner, span)
    sums = accumulate(left, right, last, room_a, room_b)
    m0, n0 = plus(plus(i0, warp_row()), lane() >> int32(2)), plus(plus(j0, warp_col()), times(lane() & int32(3), 2))
    store(c, work, bias, sums, m0, n0, M, N, int64(matrix) * M * N, flags, parts)


def tensor_grid(M: int, N: int, batch: int, parts: int) -> int:
    """A block for each tile of each part of each matrix."""
    return ceil_div(M, SIDE) * ceil_div(N, SIDE) * batch * parts


def _variant(name: str, left: Loader, right: Loader):
    """The kernel for operands that lie so."""
    return kernel(grid=tensor_grid, threads=THREADS, min_blocks=2)(bound(tensor_kernel, name, **shaped(SIDE, name, left, right)))


tensor_nn = _variant("tensor_nn", ALONG, ACROSS)
tensor_nt = _variant("tensor_nt", ALONG, ALONG)
tensor_tn = _variant("tensor_tn", ACROSS, ACROSS)
tensor_tt = _variant("tensor_tt", ACROSS, ALONG)


@kernel(grid=lambda M, N, batch: ceil_div(M * N * batch, SINGLE), threads=SINGLE)
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

    T: float32, whose factors are rounded to tf32, float16 or bfloat16. The launches' pointers are "c", "work", "a", "b", "bias".
    """
    if max(M, N, K, *a, *b) >= 1 << 31:
        raise ValueError(f"matmul: sizes and steps must be below 2**31, got {(M, N, K)} and {(*a, *b)}; split the matrices.")
    count, inner, each = batch[0] * batch[1], max(batch[1], 1), 1 if T == "float32" else 2
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
