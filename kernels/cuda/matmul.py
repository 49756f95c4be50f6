"""Matrix product C = alpha A B + beta C + bias, clamped below (ReLU), on strided matrices.

`matmul_plan` takes what cpu/matmul.py's takes, and chooses the tile (tile.py), how the operands come, and into how
many parts the sums over k are split, so that even a small product occupies the GPU. With parts, their results go to a
buffer that `gemm_sum` adds up in order, so that a product repeats to the last bit.
"""

from __future__ import annotations

from functools import lru_cache

from numpy import int32, int64

from ..cpu.conv_plan import Plan
from ..cpu.plan import LOWEST, Launch
from ..jit import T, T_ptr, device, i64, real
from ..loops import quotient
from ..memory import offset, stack
from .gpu import is_aligned, shared, store4, take, thread
from .index import element
from .launch import CudaKernel, bound, ceil_div, kernel
from .place import plus, tile_of_block
from .tile import (
    ACROSS,
    ALONG,
    COLS,
    FLAT,
    HEIGHT,
    LARGE,
    MEDIUM,
    ROOM_A,
    ROOM_B,
    STRIDED,
    TALL,
    WIDTH,
    Loader,
    Shape,
    col_of,
    multiply,
    row_of,
    shaped,
    sides,
)

THREADS = 256  # of a block of the kernels that take an element each
READ, BIAS = 1, 2  # flags: C is read; a bias is added
BLOCKS = 132  # blocks that occupy a large GPU once
SHORT = 128  # least length of a part of the sums over k


@device
def finished(value, c, at, bias, bias_at, alpha, beta, low, flags):
    """max(alpha value + beta c[at] + bias[bias_at], low); a NaN stays."""
    v = alpha * value
    if flags & 1 != 0:
        v += beta * c[at]
    if flags & 2 != 0:
        v += bias[bias_at]
    return low if v < low else v


@device
def store(out, bias, sums, i0, j0, M, N, ldc, brs, bcs, alpha, beta, low, flags):
    """Write this thread's sums, four at once where rows are aligned and of whole fours."""
    held, wide = stack(COLS, T), N & 3 == 0 and ldc & 3 == 0 and is_aligned(out)
    for i in range(8):
        sums = take(held, sums, COLS)
        m = int64(plus(i0, row_of(i)))
        for j in range(0, COLS, 4):
            n = int64(plus(j0, col_of(j)))
            if m < M and n < N:
                at = m * ldc + n
                for e in range(4):
                    if n + e < N:
                        bias_at = m * brs + (n + e) * bcs
                        held[j + e] = finished(held[j + e], out, at + e, bias, bias_at, alpha, beta, low, flags)
                        if not wide:
                            out[at + e] = held[j + e]
                if wide:
                    store4(out, at, held[j], held[j + 1], held[j + 2], held[j + 3])


def gemm_grid(M: int, N: int, batch: int, parts: int, height: int, width: int) -> int:
    """A block for each tile of each part of each matrix."""
    return ceil_div(M, height) * ceil_div(N, width) * batch * parts


def gemm_kernel(
    c: T_ptr, a: T_ptr, b: T_ptr, bias: T_ptr, M: i64, N: i64, K: i64, ldc: i64, ars: i64, aks: i64, bks: i64,
    bns: i64, batch: i64, inner: i64, cbs: i64, abs0: i64, abs1: i64, bbs0: i64, bbs1: i64, brs: i64, bcs: i64,
    alpha: real, beta: real, low: real, flags: i64, parts: i64, span: i64, height: i64, width: i64,
):  # fmt: skip
    """Part p, k in p * span .. (p + 1) * span, of matrix number t goes to C at (p * batch + t) * cbs.

    Matrix t takes A at (t // inner) * abs0 + (t % inner) * abs1, B alike. `height`, `width`: those of the tile.
    """
    room_a, room_b, notes = shared(ROOM_A, T), shared(ROOM_B, T), shared(4, int32)
    i0, j0, matrix = tile_of_block(M, N, HEIGHT, WIDTH)
    if thread() == 0:  # noted for later: until then registers are for the sums
        notes[0], notes[1], notes[2] = i0, j0, matrix
    a_steps, b_steps = (ars, aks, abs0, abs1), (bks, bns, bbs0, bbs1)
    left, right, last = sides(a, b, i0, j0, matrix, M, N, K, a_steps, b_steps, batch, inner, span)
    sums = multiply(left, right, last, room_a, room_b)
    store(offset(c, int64(notes[2]) * cbs), bias, sums, notes[0], notes[1], M, N, ldc, brs, bcs, alpha, beta, low, flags)


@kernel(grid=lambda M, N, batch: ceil_div(M * N * batch, THREADS), threads=THREADS)
def gemm_sum(
    c: T_ptr, work: T_ptr, bias: T_ptr, M: i64, N: i64, ldc: i64, batch: i64, cbs: i64, brs: i64, bcs: i64,
    alpha: real, beta: real, low: real, flags: i64, parts: i64,
):  # fmt: skip
    """C from the sums of all parts: work[parts, batch, M, N]."""
    i = element()
    if i < M * N * batch:
        row = quotient(i, N)
        t = quotient(row, M)
        m, n = row - t * M, i - row * N
        total = T(0)
        for p in range(parts):
            total += work[p * M * N * batch + i]
        at = t * cbs + m * ldc + n
        c[at] = finished(total, c, at, bias, m * brs + n * bcs, alpha, beta, low, flags)


def _variant(shape: Shape, suffix: str = "", left: Loader = STRIDED, right: Loader = STRIDED):
    """The kernel with tiles of this shape, for operands that come so."""
    name = f"gemm_{shape.name}{suffix}"
    names = shaped(shape, name, left, right)
    names["store"] = device(bound(store.py, f"{name}_store", **names))
    blocks = 1 if shape is LARGE and left is STRIDED else shape.min_blocks  # any steps take more registers
    return kernel(grid=gemm_grid, threads=shape.threads, min_blocks=blocks)(bound(gemm_kernel, name, **names))


_KERNELS = {
    made.name: made
    for made in (
        *map(_variant, (LARGE, MEDIUM, FLAT, TALL)),
        _variant(LARGE, "_nn", ALONG, ACROSS),
        _variant(LARGE, "_nt", ALONG, ALONG),
        _variant(LARGE, "_tn", ACROSS, ACROSS),
        _variant(LARGE, "_tt", ACROSS, ALONG),
    )
}


@kernel(grid=lambda M, N, batch: ceil_div(M * N * batch, THREADS), threads=THREADS)
def matmul_plain(
    c: T_ptr, a: T_ptr, b: T_ptr, M: i64, N: i64, K: i64, ldc: i64, ars: i64, aks: i64, bks: i64, bns: i64,
    batch: i64, inner: i64, cbs: i64, abs0: i64, abs1: i64, bbs0: i64, bbs1: i64,
):  # fmt: skip
    """C = A B for integers, which wrap around."""
    i = element()
    if i < M * N * batch:
        row = quotient(i, N)
        t = quotient(row, M)
        m, n = row - t * M, i - row * N
        outside = quotient(t, inner)
        inside = t - outside * inner
        left = offset(a, outside * abs0 + inside * abs1 + m * ars)
        right = offset(b, outside * bbs0 + inside * bbs1 + n * bns)
        total = T(0)
        for k in range(K):
            total = T(total + left[k * aks] * right[k * bks])
        c[t * cbs + m * ldc + n] = total


# ---- plans


def tile_of(M: int, N: int, K: int, batch: int, T: str) -> tuple[Shape, int]:
    """(tile, parts): the largest tile that fills the GPU, with the sums over k split where the tiles are few."""
    shapes = (LARGE, MEDIUM) if T == "float32" else (MEDIUM,)
    if min(M, N) <= 32:  # an operand is read once: its bandwidth is what counts
        shapes = (FLAT,) if M <= N else (TALL,)
    shape, parts = MEDIUM, 1
    for shape in shapes:
        tiles = max(1, ceil_div(M, shape.height) * ceil_div(N, shape.width) * batch)
        parts = max(1, min(BLOCKS * 512 // shape.threads // tiles, K // SHORT, 64))  # 16 warps a multiprocessor
        if tiles * parts >= BLOCKS:
            break
    return shape, parts


def kernel_of(shape: Shape, M: int, N: int, K: int, a: tuple[int, int], b: tuple[int, int], *batches: int) -> CudaKernel:
    """The kernel with this tile; for large ones that which reads four elements at once, if steps and sizes permit."""
    whole = all(n % 4 == 0 for n in batches)
    far_a, along_a = (a[0], K) if a[1] == 1 else (a[1], M), a[1] == 1
    far_b, along_b = (b[1], K) if b[0] == 1 else (b[0], N), b[0] == 1
    near = 1 in a and 1 in b and all(n % 4 == 0 for n in (*far_a, *far_b))
    name = f"gemm_{shape.name}"
    if shape is LARGE and whole and near:
        name += f"_{'n' if along_a else 't'}{'t' if along_b else 'n'}"
    return _KERNELS[name]


@lru_cache(maxsize=4096)
def matmul_plan(
    M: int, N: int, K: int, a: tuple[int, int], b: tuple[int, int], T: str = "float32", ldc: int | None = None,
    batch: tuple[int, int] = (1, 1), a_batch: tuple[int, int] = (0, 0), b_batch: tuple[int, int] = (0, 0),
    c_batch: int | None = None, alpha: float = 1.0, beta: float = 0.0, bias: tuple[int, int] | None = None,
    relu: bool = False,
) -> Plan:  # fmt: skip
    """Plan C[M, N] = alpha A[M, K] B[K, N] + beta C + bias, then max(., 0) with `relu`: see cpu/matmul.py.

    The launches' pointers are "c", "a", "b", "bias" (0 without) and "work", a buffer they share.
    """
    ldc = N if ldc is None else ldc
    c_batch = M * ldc if c_batch is None else c_batch
    count, inner, cost = batch[0] * batch[1], max(batch[1], 1), batch[0] * batch[1] * M * N * K
    if T not in ("float32", "float64"):
        if alpha != 1 or beta != 0 or bias is not None or relu:
            raise TypeError(f"matmul: alpha, beta, bias and relu need a float dtype, got {T}.")
        words = (M, N, K, ldc, *a, *b, count, inner, c_batch, *a_batch, *b_batch)
        return Plan((Launch(matmul_plain, T, ("c", "a", "b"), words, 1, 0, cost),), 0)
    if max(M, N) >= 1 << 31:
        raise ValueError(f"matmul: matrices must have fewer than 2**31 rows and columns, got {M} x {N}; split them.")
    flags = (READ if beta != 0 else 0) | (BIAS if bias else 0)
    steps, low = bias or (0, 1), 0.0 if relu else LOWEST
    shape, parts = tile_of(M, N, K, count, T)
    span = ceil_div(max(K, 1), parts * 4) * 4
    gemm = kernel_of(shape, M, N, K, a, b, *a_batch, *b_batch)
    operands = (*a, *b, count, inner)
    sides = (*a_batch, *b_batch)
    tile = (parts, span, shape.height, shape.width)
    finish = (float(alpha), float(beta), low, flags)
    if parts == 1:
        words = (M, N, K, ldc, *operands, c_batch, *sides, *steps, *finish, *tile)
        return Plan((Launch(gemm, T, ("c", "a", "b", "bias"), words, 1, 0, cost),), 0)
    words = (M, N, K, N, *operands, M * N, *sides, 0, 0, 1.0, 0.0, LOWEST, 0, *tile)
    first = Launch(gemm, T, ("work", "a", "b", "bias"), words, 1, 0, cost)
    words = (M, N, ldc, count, c_batch, *steps, *finish, parts)
    second = Launch(gemm_sum, T, ("c", "work", "bias"), words, 1, 0, parts * count * M * N)
    return Plan((first, second), parts * count * M * N * (8 if T == "float64" else 4))
