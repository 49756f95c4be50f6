"""Matrix product C = alpha A B + beta C + bias, clamped below (ReLU), on strided matrices.

`matmul_plan` chooses a kernel and its words; nothing is transposed or copied as a whole. Two register tiles (tiles.py):

    outer   any strides. B is read along its rows; a panel of it that is not contiguous there, is far apart in memory or
            reaches over the edge is first packed into scratch that fits the L1 cache:

              k0..k0+KC     j..j+NR                 C block of a chunk: for each block of KC k,
            A [i, k] ->   B panel (L1)              for each block of MB rows (A block: L2),
               splat    x vectors        +=> C      for each panel of NR columns, all tiles of MR rows
    dot     A and B contiguous along k (Linear forward with few rows): vectors along k.

Every element of C is one chain of additions over k whose blocks depend on the sizes alone, and a tile never straddles two units, so
the bits of the result do not depend on the number of chunks.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

from ..jit import VL, T, T_ptr, device, i64, kernel, real
from ..memory import offset, select, split, stack
from ..simd import spread, tile_dot, tile_dotn, tile_sums, tile_zero
from ..tails import PIECE, WIDE, run_tail
from ..target import target
from . import tiles
from .plan import LOWEST, Launch, slots
from .tiles import BIAS, READ, finish, pack


@cache
def block_product(rows: int, vectors: int) -> Any:
    """Device function: the blocks `mb` to `mb + run` of rows of one C times its columns `j0` to `j1`, over all of k."""
    panel_product = tiles.panel_product(rows, vectors)

    @device
    def multiply(
        c, a, b, bias, panels, acc, M, K, ldc, ars, aks, bks, bns, brs, bcs, alpha, beta, low, flags, plain, mb, run, MB, j0, j1,
        KC, copy_a, pack_b, kept, tail, t,
    ):  # fmt: skip
        width = vectors * VL
        together = select(bns == 1, min(kept, 8), 1)  # panels packed in one pass over the rows of B
        copied = offset(panels, kept * KC * width + 16 * width)
        for step in range(max(1, (K + KC - 1) // KC)):
            k0 = step * KC
            kc, lower = min(KC, K - k0), select(k0 + KC >= K, low, T(LOWEST))
            does, factor = select(k0 == 0, flags, READ), select(k0 == 0, beta, T(1))
            for block in range(mb, mb + run):
                i0, i1 = block * MB, min(M, block * MB + MB)
                at, ar, ak = offset(a, i0 * ars + k0 * aks), ars, aks
                if copy_a != 0:
                    pack(copied, KC + 16, 0, at, ars, aks, i1 - i0, kc)
                    at, ar, ak = copied, KC + 16, 1
                ready = j0  # columns before it have had their tail
                for p in range((j1 - j0 + width - 1) // width):
                    j = j0 + p * width
                    n, panel, bk = min(width, j1 - j), offset(b, k0 * bks + j * bns), bks
                    if pack_b == 1 or (pack_b == 0 and n < width):  # 2: B consists of whole panels
                        panel, bk = offset(panels, p % kept * KC * width), width
                        if block == mb and (p % together == 0 or pack_b == 0):
                            ahead = min(j1 - j, width * together)
                            pack(panel, width, KC * width, offset(b, k0 * bks + j * bns), bks, bns, kc, ahead)
                    panel_product(
                        offset(c, i0 * ldc + j), ldc, i1 - i0, n, at, ar, ak, panel, bk, kc, offset(bias, i0 * brs + j * bcs),
                        brs, bcs, alpha, factor, lower, does, plain, select(k0 > 0, READ, plain - 1), acc,
                    )  # fmt: skip
                    done = j + n - ready
                    if tail != 0 and k0 + KC >= K and (j + n == j1 or (done >= WIDE and (i1 - i0) * done > PIECE)):
                        run_tail(tail, t, i0, i1 - i0, ready, done)
                        ready = j + n

    return multiply


@cache
def gemm(rows: int, vectors: int) -> Any:
    """The outer-form kernel with tiles of `rows` x `vectors` vectors, and half as many rows for a remainder."""
    multiply, room = block_product(rows, vectors), rows * vectors * 16  # lanes are at most 16

    @kernel
    def gemm_outer(
        c: T_ptr, a: T_ptr, b: T_ptr, bias: T_ptr, scratch: T_ptr, M: i64, N: i64, K: i64, ldc: i64,
        ars: i64, aks: i64, bks: i64, bns: i64, batch: i64, inner: i64, cbs: i64, abs0: i64, abs1: i64, bbs0: i64,
        bbs1: i64, brs: i64, bcs: i64, alpha: real, beta: real, low: real, flags: i64, plain: i64, MB: i64, NB: i64,
        KC: i64, copy_a: i64, pack_b: i64, kept: i64, most: i64, chunk_words: i64, tail: i64, chunk: i64, nchunks: i64,
    ):  # fmt: skip
        """`batch` matrices; number t takes A at (t // inner) * abs0 + (t % inner) * abs1, B alike, C at t * cbs.

        A unit is a block of MB x NB of one C; up to `most` of them side by side share the packed A. `kept` B panels stay in
        scratch for the other blocks of rows. `tail`: what is done on each piece of C when it is finished (tails.py).
        """
        acc, panels = stack(room, T), offset(scratch, chunk * chunk_words)
        mblocks, nblocks = (M + MB - 1) // MB, (N + NB - 1) // NB
        unit, end = split(batch * mblocks * nblocks, chunk, nchunks)
        while unit < end:
            mb, nb, t = unit % mblocks, unit // mblocks % nblocks, unit // mblocks // nblocks
            run, wide = min(mblocks - mb, end - unit), 1
            if run == mblocks:  # whole columns of blocks: as many at once as scratch can keep
                wide = max(1, min((end - unit) // mblocks, min(nblocks - nb, most)))
            unit += run * wide
            ap = offset(a, t // inner * abs0 + t % inner * abs1)
            bp = offset(b, t // inner * bbs0 + t % inner * bbs1)
            multiply(
                offset(c, t * cbs), ap, bp, bias, panels, acc, M, K, ldc, ars, aks, bks, bns, brs, bcs, alpha, beta, low, flags,
                plain, mb, run, MB, nb * NB, min(N, (nb + wide) * NB), KC, copy_a, pack_b, kept, tail, t,
            )  # fmt: skip

    return gemm_outer


@cache
def gemm_dot(rows: int, cols: int) -> Any:
    """The dot-form kernel with tiles of `rows` x `cols`; a unit is a tile's columns for all rows of one matrix."""
    room = rows * 16  # lanes are at most 16

    @kernel
    def gemm_by_dot(
        c: T_ptr, a: T_ptr, b: T_ptr, bias: T_ptr, M: i64, N: i64, K: i64, ldc: i64, ars: i64, bns: i64,
        batch: i64, inner: i64, cbs: i64, abs0: i64, abs1: i64, bbs0: i64, bbs1: i64, brs: i64, bcs: i64,
        alpha: real, beta: real, low: real, flags: i64, tail: i64, chunk: i64, nchunks: i64,
    ):  # fmt: skip
        """A[i, k] at i * ars + k and B[k, j] at j * bns + k."""
        acc = stack(room, T)
        blocks = (N + cols - 1) // cols
        lo, hi = split(batch * blocks, chunk, nchunks)
        ready = lo % blocks * cols
        for unit in range(lo, hi):
            t, j = unit // blocks, unit % blocks * cols
            ap = offset(a, t // inner * abs0 + t % inner * abs1)
            bp = offset(b, t // inner * bbs0 + t % inner * bbs1 + j * bns)
            cp = offset(c, t * cbs + j)
            n = min(cols, N - j)
            for q in range((M + rows - 1) // rows):
                i = q * rows
                m = min(rows, M - i)
                xs, ys = spread(offset(ap, i * ars), ars, m, rows), spread(bp, bns, n, cols)
                tile = tile_zero(T, rows, cols)
                for step in range(K // VL):
                    tile = tile_dot(tile, xs, ys, step * VL)
                if K % VL != 0:
                    tile = tile_dotn(tile, xs, ys, K // VL * VL, K % VL)
                tile_sums(acc, tile)
                bt = offset(bias, i * brs + j * bcs)
                finish(offset(cp, i * ldc), ldc, m, n, 1, acc, alpha, beta, bt, brs, bcs, low, flags)
            if tail != 0 and (unit + 1 == hi or j + n == N or M * (j + n - ready) > PIECE):
                run_tail(tail, t, 0, M, ready, j + n - ready)
                ready = select(j + n == N, 0, j + n)

    return gemm_by_dot


@kernel
def matmul_plain(
    c: T_ptr, a: T_ptr, b: T_ptr, M: i64, N: i64, K: i64, ldc: i64, ars: i64, aks: i64, bks: i64, bns: i64,
    batch: i64, inner: i64, cbs: i64, abs0: i64, abs1: i64, bbs0: i64, bbs1: i64, chunk: i64, nchunks: i64,
):  # fmt: skip
    """C = A B for integers (they wrap around) and every other dtype without vectors; a unit is a row of C."""
    lo, hi = split(batch * M, chunk, nchunks)
    for unit in range(lo, hi):
        t, i = unit // M, unit % M
        row = offset(c, t * cbs + i * ldc)
        left = offset(a, t // inner * abs0 + t % inner * abs1 + i * ars)
        right = offset(b, t // inner * bbs0 + t % inner * bbs1)
        for j in range(N):
            row[j] = T(0)
        for k in range(K):
            x = left[k * aks]
            for j in range(N):
                row[j] = T(row[j] + x * right[k * bks + j * bns])


# ---- plans -----------------------------------------------------------------------------------------------------------


UNIT = 100_000  # floating point operations of a unit at least
TAIL_BLOCK = 1 << 16  # elements of a block with a tail
KEPT = 1 << 16  # elements of B at most that are packed at once only because there are several such blocks


def _blocks(M: int, N: int, K: int, batch: int, rows: int, width: int, itemsize: int) -> tuple[int, int, int]:
    """(MB, NB, KC): a B panel of at most 32 KiB (L1), an A block of at most 192 KiB (L2), units for the threads."""
    kc_most = 32768 // (width * itemsize)
    kc = max(1, K if K <= kc_most else -(-K // -(-K // kc_most)))
    mblocks = max(1, -(-M // (196608 // (kc * itemsize))))
    if N <= width and M > rows:  # one panel: only rows can be dealt out
        mblocks = max(mblocks, min(4, M * K * N * batch // UNIT) * 2)
    mb = max(-(-M // (mblocks * rows)), 1) * rows
    wanted = max(1, min(16 // max(1, mblocks * batch), 2 * mb * N * K // UNIT), -(-N // 2048))
    panels = -(-N // width)
    most = max(1, -(-panels // wanted))
    if batch * M * N * K >= UNIT:  # at least two units
        most = min(range(most, 0, -1), key=lambda n: _larger_half(panels, n, mblocks, batch))
    return mb, most * width, kc


def tail_blocks(T: str, count: int, words: dict[str, Any]) -> tuple[dict[str, Any], int, int]:
    """The words (by name) of a `gemm_outer` launch that gets a tail, for `count` threads; its units and bytes of scratch a chunk.

    Blocks are small enough to stay in L2 until their tail is done, whole rows if threads then need not read much more of B than
    their share. The bits are the same.
    """
    M, N, MB, NB, batch, lanes = *(words[name] for name in ("M", "N", "MB", "NB", "batch")), target().lanes(T)
    rows, vectors = tiles.shape("row" if M == 1 else "outer", T)
    by_rows = count == 1 or M >= max(N, 2 * rows * count)
    NB, share = (N, N) if by_rows else (NB, max(NB, N // count))
    blocks = -(-M // MB)
    if blocks > 1 or words["pack_b"] != 1 or words["K"] * share <= KEPT:
        blocks = max(blocks, -(-M * share // TAIL_BLOCK))
        blocks += -blocks % count if by_rows else 0
    MB, kept = min(MB, -(-M // (blocks * rows)) * rows), words["kept"]
    if words["pack_b"] == 1 and blocks > 1:
        kept = -(-min(words["most"] * NB, N) // (vectors * lanes))
    size = (kept * words["KC"] + 16) * vectors * lanes + ((words["KC"] + 16) * (MB + 16) if words["copy_a"] else 0)
    size = size + -size % 16 if words["chunk_words"] else 0
    found = {**words, "MB": MB, "NB": NB, "kept": kept, "chunk_words": size}
    return found, batch * -(-M // MB) * -(-N // NB), size * (target().vector_bytes // lanes)


def _larger_half(panels: int, per: int, mblocks: int, batch: int) -> float:
    """What the first of two threads gets of the work, to one digit, for blocks of `per` panels."""
    nblocks = -(-panels // per)
    units = mblocks * nblocks * batch
    whole, rest = divmod(-(-units // 2), mblocks * nblocks)
    columns = rest // mblocks * per + rest % mblocks / mblocks * min(per, panels - rest // mblocks * per)
    return round((whole * panels + columns) / (batch * panels), 2)


@lru_cache(maxsize=4096)
def matmul_plan(
    M: int, N: int, K: int, a: tuple[int, int], b: tuple[int, int], T: str = "float32", ldc: int | None = None,
    batch: tuple[int, int] = (1, 1), a_batch: tuple[int, int] = (0, 0), b_batch: tuple[int, int] = (0, 0),
    c_batch: int | None = None, alpha: float = 1.0, beta: float = 0.0, bias: tuple[int, int] | None = None, relu: bool = False,
) -> Launch:  # fmt: skip
    """Plan C[M, N] = alpha A[M, K] B[K, N] + beta C + bias, then max(., 0) with `relu`; strides are in elements.

    `a` = (row stride, k stride), `b` = (k stride, column stride), C has row stride `ldc` (default N) and unit column stride.
    `batch` = (outer, inner) matrix counts with strides `a_batch`, `b_batch` (0 broadcasts); matrix t of C starts at
    t * c_batch (default M * ldc). `bias` = (row stride, column stride): (0, 1) is a row added to each row of C, (1, 0) one
    number per row. The launch's pointers are "c", "a", "b", "bias" (0 without) and "scratch". C is not read if beta is 0.

    Example: y = x W^T + v for x (32, 784), W (128, 784): `matmul_plan(32, 128, 784, (784, 1), (1, 784), bias=(0, 1))`
    """
    ldc = N if ldc is None else ldc
    c_batch = M * ldc if c_batch is None else c_batch
    count = batch[0] * batch[1]
    if T not in ("float32", "float64"):
        if alpha != 1 or beta != 0 or bias is not None or relu:
            raise TypeError(f"matmul: alpha, beta, bias and relu need a float dtype, got {T}.")
        words = (M, N, K, ldc, *a, *b, count, max(batch[1], 1), c_batch, *a_batch, *b_batch)
        return Launch(matmul_plain, T, ("c", "a", "b"), words, max(count * M, 1), 0, count * M * N * K)
    names = ("c", "a", "b", "bias", "scratch")
    if N == 1 and M > 1 and ldc == 1:  # a column: the same memory as the row of the transposed product
        M, N, a, b, a_batch, b_batch, ldc = 1, M, (b[1], b[0]), (a[1], a[0]), b_batch, a_batch, M
        names = ("c", "b", "a", "bias", "scratch")
        bias = bias and (bias[1], bias[0])
    flags = (READ if beta != 0 else 0) | (BIAS if bias else 0)
    brs, bcs = bias or (0, 1)
    low = 0.0 if relu else LOWEST
    matrices = (count, max(batch[1], 1), c_batch, *a_batch, *b_batch, brs, bcs)
    numbers = (float(alpha), float(beta), low, flags)
    cost = count * M * N * K
    lanes = target().lanes(T)
    few = M < (48 if K > 256 else 16)  # rows that are not worth packing B for; a short dot product is mostly its sum over lanes
    if few and a[1] == 1 and b[0] == 1 and b[1] != 1 and K >= 2 * lanes:
        rows, cols = tiles.shape("dotrow" if M == 1 else "dot", T)
        words = (M, N, K, ldc, a[0], b[1], *matrices, *numbers, 0)
        return Launch(gemm_dot(rows, cols), T, names[:4], words, max(1, count * -(-N // cols)), 0, cost)
    return _outer_plan(M, N, K, a, b, T, names, ldc, matrices, numbers, cost)


def panel_width(T: str) -> int:
    """How many columns a panel of `packed_plan` has."""
    return tiles.shape("outer", T)[1] * target().lanes(T)


@lru_cache(maxsize=1024)
def packed_plan(
    M: int, N: int, K: int, a: tuple[int, int], T: str = "float32", bias: bool = False, relu: bool = False
) -> Launch:
    """`matmul_plan` of M > 1 rows by a B that was packed before: (N / width, K, width), B[k, j] at [j // width, k, j % width].

    `width` is `panel_width(T)`, of which N is a multiple; the bias is a row.
    """
    matrices = (1, 1, M * N, 0, 0, 0, 0, 0, 1)
    numbers = (1.0, 0.0, 0.0 if relu else LOWEST, BIAS if bias else 0)
    names = ("c", "a", "b", "bias", "scratch")
    return _outer_plan(M, N, K, a, (N, 1), T, names, N, matrices, numbers, M * N * K, packed=True)


def _outer_plan(
    M: int, N: int, K: int, a: tuple[int, int], b: tuple[int, int], T: str, names: tuple[str, ...], ldc: int,
    matrices: tuple[int, ...], numbers: tuple[float, ...], cost: int, packed: bool = False,
) -> Launch:  # fmt: skip
    """The launch of gemm_outer: what is packed, and in which blocks; B may consist of panels already."""
    lanes, count, (alpha, beta, _, flags), (brs, bcs) = target().lanes(T), matrices[0], numbers, matrices[-2:]
    rows, vectors = tiles.shape("row" if M == 1 else "outer", T)
    width, itemsize = vectors * lanes, target().vector_bytes // lanes
    mb, nb, kc = _blocks(M, N, K, count, rows, width, itemsize)
    units = count * -(-M // mb) * -(-N // nb)
    near = b[1] == 1 and N % width == 0 and K * N * itemsize <= 1 << 14  # B is in L1 already
    pack_b = 2 if packed else int(b[1] != 1 or (M >= 8 * rows and not near))
    b = (width, K) if packed else b  # from one k and from one column of panels to the next
    unit_step = 1 if a[1] == 1 else 2 if a[0] == 1 else 0
    copy_a = M > rows and (N >= 64 if unit_step == 2 else unit_step == 1 and N >= 256 and M * K * itemsize >= 1 << 18)
    most = max(1, 2048 // nb)
    if M == 1 and b[1] == 1 and N * itemsize >= 8192 and K * N * itemsize >= 1 << 22:
        kc, most = min(K, 8), -(-N // nb)  # a few rows of B at a time, walked to their ends: memory is read in streams
    kept = -(-min(most * nb, N) // width) if pack_b == 1 else 1
    kept = kept if M > mb else min(kept, 8)
    chunk_words = (kept * kc + 16) * width + ((kc + 16) * (mb + 16) if copy_a else 0)
    chunk_words += -chunk_words % 16
    if pack_b != 1 and not copy_a and N % width == 0:
        chunk_words = 0
    begin = {0: 0, READ: 1, BIAS: 3 if (brs, bcs) == (1, 0) else 2}.get(flags)
    plain = 0 if alpha != 1 or begin is None or (begin == 1 and beta != 1) else begin + 1
    words = (M, N, K, ldc, *a, *b, *matrices, *numbers, plain, mb, nb, kc, int(copy_a), pack_b, kept, most, chunk_words, 0)
    return Launch(gemm(rows, vectors), T, names, words, slots(units), chunk_words * itemsize, cost)
