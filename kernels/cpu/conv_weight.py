"""Weight and bias gradient of a convolution in one, two or three dimensions.

    partial[(c, tap), oc] = sum over pixels p of x[c, p moved by the tap] * dy[oc, p]

A unit of work is a block of input channels for one block of steps; a step is a band of output pixels of some images, whose
padded x planes and transposed dy (pixels x output channels, a panel of vectors) are laid out in scratch (L2):

    tiles of `rows` (channel, tap) pairs x `vectors` vectors of output channels stay in registers over the pixels

The blocks of steps depend on the shapes alone; `weight_sum` adds their partial results in order, so that the bits do not
depend on the number of chunks.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ..jit import VL, T, T_ptr, device, i64, i64_ptr, kernel
from ..memory import offset, split
from ..simd import spread, spread_at, tile_fma, tile_load, tile_store, tile_zero, vadd, vload, vloadn, vsum, vzero
from .conv import copy_line


@device
def transpose_pixels(to, width, dy, channel_stride, row_stride, channels, rows, cols):
    """to[(y * cols + x) * width + j] = dy[j, y, x] for j < channels, 0 for the other columns of the panel."""
    for j in range(width):
        if j < channels:
            for y in range(rows):
                for x in range(cols):
                    to[(y * cols + x) * width + j] = dy[j * channel_stride + y * row_stride + x]
        else:
            for p in range(rows * cols):
                to[p * width + j] = T(0)


@cache
def partials_kernel(rows: int, vectors: int) -> Any:
    """The kernel of the partial weight gradients with tiles of `rows` x `vectors` vectors."""

    @kernel
    def weight_partials(
        partial: T_ptr, x: T_ptr, dy: T_ptr, table: i64_ptr, scratch: T_ptr,
        N: i64, G: i64, M: i64, Q: i64, ID: i64, IH: i64, IW: i64, OD: i64, OH: i64, OW: i64,
        KD: i64, KH: i64, KW: i64, SD: i64, SH: i64, SW: i64, LD: i64, LH: i64, LW: i64, PD: i64, PH: i64, PW: i64,
        blocks: i64, IB: i64, YB: i64, XB: i64, CB: i64, block_rows: i64, block_cols: i64,
        table_step: i64, table_room: i64, chunk_words: i64, chunk: i64, nchunks: i64,
    ):  # fmt: skip
        """x (N, G Q, ID, IH, IW), dy (N, G M, OD, OH, OW); IB images x YB rows x XB columns of pixels are a step.

        partial: (blocks, G, channel blocks, block_rows, block_cols). Scratch as in conv_taps.
        """
        width = vectors * VL
        panels = (M + width - 1) // width
        taps = KD * KH * KW
        height, pitch = (YB - 1) * SH + (KH - 1) * LH + 1, (XB - 1) * SW + (KW - 1) * LW + 1
        image = CB * KD * height * pitch
        pixels = offset(table, chunk * table_step)
        places = offset(pixels, IB * YB * XB)
        turned = offset(scratch, chunk * chunk_words + table_room)
        planes = offset(turned, panels * width * IB * YB * XB)
        for r in range(block_rows):
            w = min(r, CB * taps - 1)
            c, kz, ky, kx = w // taps, w // (KH * KW) % KD, w // KW % KH, w % KW
            places[r] = ((c * KD + kz) * height + ky * LH) * pitch + kx * LW
        cblocks, igroups, ybands, xblocks = (Q + CB - 1) // CB, (N + IB - 1) // IB, (OH + YB - 1) // YB, (OW + XB - 1) // XB
        known = -1
        lo, hi = split(blocks * G * cblocks, chunk, nchunks)
        for unit in range(lo, hi):
            c0, g, b = unit % cblocks * CB, unit // cblocks % G, unit // cblocks // G
            channels = min(CB, Q - c0)
            result = offset(partial, unit * block_rows * block_cols)
            begin, end = split(igroups * OD * ybands * xblocks, b, blocks)
            for step in range(begin, end):
                x0, y0 = step % xblocks * XB, step // xblocks % ybands * YB
                oz, n0 = step // xblocks // ybands % OD, step // xblocks // ybands // OD * IB
                nx, ny, ni = min(XB, OW - x0), min(YB, OH - y0), min(IB, N - n0)
                at = 0
                for line in range(ni * CB * KD * height):
                    r, kz, c, i = line % height, line // height % KD, line // height // KD % CB, line // height // KD // CB
                    iz, iy = oz * SD + kz * LD - PD, y0 * SH + r - PH
                    source = ((((n0 + i) * G + g) * Q + c0 + c) * ID + iz) * IH + iy
                    inside = 1 if c < channels and 0 <= iz < ID and 0 <= iy < IH else 0
                    copy_line(offset(planes, at), pitch, offset(x, source * IW), inside, 1, x0 * SW - PW, IW)
                    at += pitch
                for i in range(ni):
                    source = offset(dy, ((((n0 + i) * G + g) * M * OD + oz) * OH + y0) * OW + x0)
                    for p in range(panels):
                        to = offset(turned, (p * IB * YB * XB + i * ny * nx) * width)
                        j = p * width
                        transpose_pixels(
                            to, width, offset(source, j * OD * OH * OW), OD * OH * OW, OW, min(width, M - j), ny, nx
                        )
                key = (ni * (YB + 1) + ny) * (XB + 1) + nx
                if key != known:
                    known = key
                    for p in range(ni * ny * nx):
                        pixels[p] = p // (ny * nx) * image + p // nx % ny * SH * pitch + p % nx * SW
                for p in range(panels):
                    vs = spread(offset(turned, p * IB * YB * XB * width), VL, vectors, vectors)
                    for q in range(block_rows // rows):
                        os = spread(offset(result, q * rows * block_cols + p * width), VL, vectors, vectors)
                        ws = spread_at(planes, places, q * rows, rows)
                        tile = tile_zero(T, rows, vectors)
                        if step > begin:
                            tile = tile_load(os, block_cols, rows)
                        for k in range(ni * ny * nx):
                            tile = tile_fma(tile, ws, pixels[k], vs, k * width)
                        tile_store(os, block_cols, tile)
            if begin == end:
                for i in range(block_rows * block_cols):
                    result[i] = T(0)

    return weight_partials


@kernel
def weight_sum(
    dw: T_ptr, partial: T_ptr, G: i64, M: i64, Q: i64, taps: i64, blocks: i64, CB: i64, block_rows: i64, block_cols: i64,
    accumulate: i64, chunk: i64, nchunks: i64,
):  # fmt: skip
    """dw (G M, Q, taps) = sum over blocks of partial (+ dw with `accumulate`); a unit is eight output channels."""
    cblocks, eights = (Q + CB - 1) // CB, (M + 7) // 8
    size = block_rows * block_cols
    lo, hi = split(G * eights, chunk, nchunks)
    for unit in range(lo, hi):
        g, m0 = unit // eights, unit % eights * 8
        for r in range(Q * taps):
            c = r // taps
            source = (g * cblocks + c // CB) * size + (c % CB * taps + r % taps) * block_cols
            for m in range(m0, min(M, m0 + 8)):
                total = partial[source + m]
                for b in range(1, blocks):
                    total += partial[b * G * cblocks * size + source + m]
                at = (g * M + m) * Q * taps + r
                if accumulate != 0:
                    total += dw[at]
                dw[at] = total


@kernel
def bias_grad(db: T_ptr, dy: T_ptr, N: i64, M: i64, P: i64, accumulate: i64, chunk: i64, nchunks: i64):
    """db[m] = sum of dy (N, M, P) over images and pixels (+ db with `accumulate`); a unit is a channel."""
    lo, hi = split(M, chunk, nchunks)
    for m in range(lo, hi):
        total = vzero(T)
        for n in range(N):
            row = offset(dy, (n * M + m) * P)
            for p in range(P // VL):
                total = vadd(total, vload(row, p * VL))
            if P % VL != 0:
                total = vadd(total, vloadn(row, P // VL * VL, P % VL))
        value = vsum(total)
        if accumulate != 0:
            value += db[m]
        db[m] = value
