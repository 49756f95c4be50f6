"""Register tiles of matrix product and convolution: their shapes by target, packing, one panel's tiles, epilogue."""

from __future__ import annotations

from functools import cache
from typing import Any

from ..jit import VL, T, device
from ..memory import offset, select
from ..simd import (
    spread,
    tile_fma,
    tile_load,
    tile_max,
    tile_splat,
    tile_store,
    tile_turned,
    tile_zero,
    vadd,
    vfma,
    vload,
    vloadn,
    vmaxn,
    vmul,
    vsplat,
    vstore,
    vstoren,
    vzero,
)  # fmt: skip
from ..target import target

READ, BIAS = 1, 2  # flags of finish()


@cache
def shape(use: str, dtype: str) -> tuple[int, int]:
    """(rows, vectors) of an "outer" or "row" tile, (rows, columns) of a "dot" or "dotrow" tile.

    Measured on AVX2 (16 vector registers): 6x2 reaches 98 % of the peak; with every register taken (3x4) LLVM spills: 45 %.
    """
    wide, lanes = target().vector_bytes == 64, target().lanes(dtype)
    if use == "outer":
        return (8, 2) if wide else (6, 2)
    if use == "row":
        return (1, 8)
    if use == "dot":
        return (2, 8) if wide else (2, min(4, lanes))
    return (1, min(8, lanes))


@device
def finish(c, ldc, m, n, vectors, acc, alpha, beta, bias, brs, bcs, low, flags):
    """C[:m, :n] = max(alpha acc + beta C + bias, low) for a tile whose sums are in `acc`, `vectors` vectors a row.

    `flags & READ`: C is read; `flags & BIAS`: bias[i * brs + j * bcs] is added, bcs is 0 or 1.
    """
    al, be, lo = vsplat(alpha), vsplat(beta), vsplat(low)
    for i in range(m):
        for j in range(vectors):
            left = n - j * VL
            if left > 0:
                at = i * ldc + j * VL
                v = vmul(vload(acc, (i * vectors + j) * VL), al)
                if flags & 1 != 0:
                    v = vfma(vloadn(c, at, left), be, v)
                if flags & 2 != 0:
                    if bcs == 0:
                        v = vadd(v, vsplat(bias[i * brs]))
                    else:
                        v = vadd(v, vloadn(bias, i * brs + j * VL, left))
                v = vmaxn(v, lo)
                if left >= VL:
                    vstore(c, at, v)
                else:
                    vstoren(c, at, v, left)


@device
def begin_tile(acc, rows, vectors, m, n, c, ldc, bias, brs, begin):
    """The values that a tile of m rows and n columns starts at, in `acc`: zero, C, a row or a column of the bias."""
    for i in range(rows):
        for j in range(vectors):
            left, at = n - j * VL, (i * vectors + j) * VL
            if begin == 0 or i >= m or left <= 0:
                vstore(acc, at, vzero(T))
            elif begin == 1:
                vstore(acc, at, vloadn(c, i * ldc + j * VL, left))
            elif begin == 2:
                vstore(acc, at, vloadn(bias, j * VL, left))
            else:
                vstore(acc, at, vsplat(bias[i * brs]))


@device
def pack(to, pitch, panel, source, row_step, col_step, rows, cols):
    """to[i * pitch + j] = source[i * row_step + j * col_step] for a rows x cols matrix, fast where one step is 1.

    With col_step 1 more than `pitch` columns go to panels of `pitch` columns, `panel` elements apart. Spoils the rest of
    the lines up to `pitch`, and up to VL - 1 lines behind the last.
    """
    if col_step == 1:
        for i in range(rows):
            for q in range((cols + pitch - 1) // pitch):
                line, left = offset(to, q * panel + i * pitch), cols - q * pitch
                first = i * row_step + q * pitch
                for p in range((min(left, pitch) + VL - 1) // VL):
                    if p * VL + VL <= left:
                        vstore(line, p * VL, vload(source, first + p * VL))
                    else:
                        vstore(line, p * VL, vloadn(source, first + p * VL, left - p * VL))
    elif row_step == 1:
        for p in range((cols + VL - 1) // VL):
            lines = spread(offset(source, p * VL * col_step), col_step, cols - p * VL, VL)
            for q in range((rows + VL - 1) // VL):
                square = spread(offset(to, q * VL * pitch + p * VL), 0, 1, 1)
                tile_store(square, pitch, tile_turned(lines, q * VL, rows - q * VL))
    else:
        for i in range(rows):
            for j in range(cols):
                to[i * pitch + j] = source[i * row_step + j * col_step]


@cache
def panel_product(rows: int, vectors: int) -> Any:
    """Device function: up to `count` rows of A times one panel of B (`vectors` vectors wide), in tiles.

    A tile starts at zero (`begin` 0), C (1), a row (2) or a column (3) of the bias, and ends as max(acc, low); a whole one
    stays in registers, others begin and end in `acc`, so that the bits of a row do not depend on how many rows there are.
    Where that is not `plain` (alpha, beta), every tile goes from zero through `acc` and `finish`.
    """
    half = (rows + 1) // 2

    @device
    def product(
        c, ldc, count, n, a, ars, aks, panel, bks, kc, bias, brs, bcs, alpha, beta, low, flags, plain, begin, acc
    ):  # fmt: skip
        vs, sums = spread(panel, VL, vectors, vectors), spread(acc, VL, vectors, vectors)
        for q in range((count + rows - 1) // rows):
            i = q * rows
            m, ct, bt = min(rows, count - i), offset(c, i * ldc), offset(bias, i * brs)
            fast = plain != 0 and m == rows and n == vectors * VL
            ka, kb = 0, 0
            if not fast:
                begin_tile(acc, rows, vectors, m, n, ct, ldc, bt, brs, select(plain != 0, begin, 0))
            if m > half or half == rows:
                xs, tile = spread(offset(a, i * ars), ars, m, rows), tile_zero(T, rows, vectors)
                if not fast:
                    tile = tile_load(sums, vectors * VL, rows)
                elif begin == 1:
                    tile = tile_load(spread(ct, VL, vectors, vectors), ldc, rows)
                elif begin == 2:
                    tile = tile_load(spread(bt, VL, vectors, vectors), 0, rows)
                elif begin == 3:
                    tile = tile_splat(bt, 1, m, rows, vectors)
                for _ in range(kc):
                    tile = tile_fma(tile, xs, ka, vs, kb)
                    ka += aks
                    kb += bks
                if fast:
                    tile_store(spread(ct, VL, vectors, vectors), ldc, tile_max(tile, low))
                else:
                    tile_store(sums, vectors * VL, tile)
            else:
                ys, small = spread(offset(a, i * ars), ars, m, half), tile_load(sums, vectors * VL, half)
                for _ in range(kc):
                    small = tile_fma(small, ys, ka, vs, kb)
                    ka += aks
                    kb += bks
                tile_store(sums, vectors * VL, small)
            if not fast:
                factor, rest = select(plain != 0, T(1), alpha), select(plain != 0, 0, flags)
                finish(ct, ldc, m, n, vectors, acc, factor, beta, bt, brs, bcs, low, rest)

    return product
