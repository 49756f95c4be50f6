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
from ..memory import offset, select, split, stack
from ..simd import (
    shifted,
    spread,
    spread_at,
    tile_dot,
    tile_dotn,
    tile_fma,
    tile_load,
    tile_store,
    tile_sums,
    tile_turned,
    tile_zero,
    vadd,
    vload,
    vloadn,
    vstore,
    vstoren,
    vsum,
    vzero,
)  # fmt: skip
from .conv import copy_planes
from .tiles import pack


@cache
def multiply_pixels(rows: int, vectors: int) -> Any:
    """Device function: add planes x turned dy over `count` pixels to the partial result (or start it, if `first`)."""

    @device
    def multiply(result, block_rows, block_cols, planes, table, places, turned, panel, panels, count, first):
        for t in range(panels * (block_rows // rows)):
            p, q = t // (block_rows // rows), t % (block_rows // rows)
            vs = spread(offset(turned, p * panel), VL, vectors, vectors)
            os = spread(offset(result, q * rows * block_cols + p * vectors * VL), VL, vectors, vectors)
            ws, tile = spread_at(planes, table, q * rows, rows), tile_zero(T, rows, vectors)
            if not first:
                tile = tile_load(os, block_cols, rows)
            for k in range(count):
                tile = tile_fma(tile, ws, places[k], vs, k * vectors * VL)
            tile_store(os, block_cols, tile)

    return multiply


@device
def turn_pixels(turned, panel, width, dy, area, line, M, ny, nx, one):
    """Panels of pixels x output channels from dy[m, y, x]; rows of pixels that follow each other are one."""
    lines, length = select(nx == line, one, ny), select(nx == line, ny * nx, nx)
    for t in range((M + width - 1) // width * lines):
        p, y = t // lines, t % lines
        source = offset(dy, p * width * area + y * line)
        pack(offset(turned, p * panel + y * nx * width), width, area, source, one, area, length, min(width, M - p * width))


@cache
def partials_kernel(rows: int, vectors: int) -> Any:
    """The kernel of the partial weight gradients with tiles of `rows` x `vectors` vectors."""
    multiply = multiply_pixels(rows, vectors)

    @kernel
    def weight_partials(
        partial: T_ptr, x: T_ptr, dy: T_ptr, table: i64_ptr, scratch: T_ptr,
        N: i64, G: i64, M: i64, Q: i64, ID: i64, IH: i64, IW: i64, OD: i64, OH: i64, OW: i64, KD: i64, SD: i64, SH: i64,
        SW: i64, LD: i64, PD: i64, PH: i64, PW: i64, blocks: i64, steps: i64, IB: i64, YB: i64, ybands: i64, XB: i64,
        xblocks: i64, CB: i64, cblocks: i64, height: i64, pitch: i64, block_rows: i64, block_cols: i64, one: i64,
        chunk_words: i64, chunk: i64, nchunks: i64,
    ):  # fmt: skip
        """x (N, G Q, ID, IH, IW), dy (N, G M, OD, OH, OW); IB images x YB rows x XB columns of pixels are a step.

        partial: (blocks, G, channel blocks, block_rows, block_cols). The table is made by conv_tables.weight_table;
        `one` is 1, at run time so that copy_planes is not compiled once more for a constant.
        """
        width, area = vectors * VL, OD * OH * OW
        panel = (IB * YB * XB + VL) * width  # pack spoils up to VL - 1 lines behind the pixels
        planes = offset(scratch, chunk * chunk_words)
        turned = offset(planes, IB * CB * KD * height * pitch + VL)
        lo, hi = split(blocks * G * cblocks, chunk, nchunks)
        for unit in range(lo, hi):
            c0, g = unit % cblocks * CB, unit // cblocks % G
            begin, end = split(steps, unit // (cblocks * G), blocks)
            for step in range(begin, end):
                x0, y0 = step % xblocks * XB, step // xblocks % ybands * YB
                oz, n0 = step // (xblocks * ybands) % OD, step // (xblocks * ybands * OD) * IB
                nx, ny, ni = min(XB, OW - x0), min(YB, OH - y0), min(IB, N - n0)
                for i in range(ni):
                    ng = (n0 + i) * G + g
                    copy_planes(
                        offset(planes, i * CB * KD * height * pitch), offset(x, (ng * Q + c0) * ID * IH * IW), min(CB, Q - c0),
                        KD, oz * SD - PD, LD, ID, IH, IW, one, one, height, one, y0 * SH - PH, pitch, one, x0 * SW - PW,
                    )  # fmt: skip
                    source = offset(dy, ng * M * area + (oz * OH + y0) * OW + x0)
                    turn_pixels(offset(turned, i * ny * nx * width), panel, width, source, area, OW, M, ny, nx, one)
                places = offset(table, block_rows + x0 // max(OW - XB, 1) * IB * YB * XB)
                multiply(
                    offset(partial, unit * block_rows * block_cols), block_rows, block_cols, planes, table, places, turned, panel,
                    (M + width - 1) // width, ni * ny * nx, step == begin,
                )  # fmt: skip

    return weight_partials


@kernel
def weight_sum(
    dw: T_ptr, partial: T_ptr, G: i64, M: i64, Q: i64, taps: i64, blocks: i64, CB: i64, block_rows: i64, block_cols: i64,
    accumulate: i64, chunk: i64, nchunks: i64,
):  # fmt: skip
    """dw (G M, Q, taps) = sum over blocks of partial (+ dw with `accumulate`); a unit is VL output channels.

    A square of VL taps x VL channels is summed, turned, and written row by row.
    """
    square, turned = stack(256, T), stack(256, T)  # lanes are at most 16
    cblocks, mblocks = (Q + CB - 1) // CB, (M + VL - 1) // VL
    size = block_rows * block_cols
    lo, hi = split(G * mblocks, chunk, nchunks)
    for unit in range(lo, hi):
        g, m0 = unit // mblocks, unit % mblocks * VL
        for cb in range(cblocks):
            source = offset(partial, (g * cblocks + cb) * size + m0)
            to = offset(dw, ((g * M + m0) * Q + cb * CB) * taps)
            length = min(CB, Q - cb * CB) * taps
            for p in range((length + VL - 1) // VL):
                n, lines = min(VL, length - p * VL), offset(source, p * VL * block_cols)
                for r in range(select(blocks == 1, 0, n)):
                    total = vzero(T)
                    for b in range(blocks):
                        total = vadd(total, vloadn(lines, b * G * cblocks * size + r * block_cols, block_cols - m0))
                    vstore(square, r * VL, total)
                if blocks != 1:
                    tile_store(spread(turned, 0, 1, 1), VL, tile_turned(spread(square, VL, n, VL), 0, VL))
                else:
                    tile_store(spread(turned, 0, 1, 1), VL, tile_turned(spread(lines, block_cols, n, VL), 0, block_cols - m0))
                for m in range(min(VL, M - m0)):
                    values, at = vload(turned, m * VL), m * Q * taps + p * VL
                    if accumulate != 0:
                        values = vadd(values, vloadn(to, at, n))
                    if n == VL:
                        vstore(to, at, values)
                    else:
                        vstoren(to, at, values, n)


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


@cache
def dots_kernel(rows: int) -> Any:
    """The kernel of the partial weight gradients for few output channels a group, such as depthwise; `rows` taps a tile."""
    room = rows * 16  # lanes are at most 16

    @kernel
    def weight_dots(
        partial: T_ptr, x: T_ptr, dy: T_ptr, table: i64_ptr, scratch: T_ptr,
        N: i64, G: i64, M: i64, Q: i64, ID: i64, IH: i64, IW: i64, OD: i64, OH: i64, OW: i64, KD: i64, SD: i64, SH: i64,
        SW: i64, LD: i64, PD: i64, PH: i64, PW: i64, blocks: i64, fy: i64, fx: i64, YB: i64, ybands: i64, height: i64,
        pitch: i64, taps: i64, chunk_words: i64, chunk: i64, nchunks: i64,
    ):  # fmt: skip
        """partial[b, g, tap, m] = sum over block b of x at the tap * dy[m], vectors running along the rows of dy.

        A step is a band of YB rows of one image; the planes are those of the forward pass (conv.copy_planes), `table` says
        where each of the `taps` (channel, tap) pairs starts in them, the last repeated up to whole tiles.
        """
        acc = stack(room, T)
        planes = offset(scratch, chunk * chunk_words)
        area, steps = OD * OH * OW, N * OD * ybands
        lo, hi = split(blocks * G, chunk, nchunks)
        for unit in range(lo, hi):
            g, result = unit % G, offset(partial, unit * taps * M)
            for i in range(taps * M):
                result[i] = T(0)
            begin, end = split(steps, unit // G, blocks)
            for step in range(begin, end):
                yb, oz, ng = step % ybands, step // ybands % OD, step // (ybands * OD) * G + g
                copy_planes(
                    planes, offset(x, ng * Q * ID * IH * IW), Q, KD, oz * SD - PD, LD, ID, IH, IW, fy, fx, height, SH,
                    yb * YB * SH - PH, pitch, SW, -PW,
                )  # fmt: skip
                for t in range((taps + rows - 1) // rows * M):
                    q, m = t // M, t % M
                    source = offset(dy, ng * M * area + m * area + (oz * OH + yb * YB) * OW)
                    xs, ys = spread_at(planes, table, q * rows, rows), spread(source, 0, 1, 1)
                    tile = tile_zero(T, rows, 1)
                    for y in range(min(YB, OH - yb * YB)):
                        left, right = shifted(xs, y * pitch), shifted(ys, y * OW)
                        for v in range(OW // VL):
                            tile = tile_dot(tile, left, right, v * VL)
                        if OW % VL != 0:
                            tile = tile_dotn(tile, left, right, OW // VL * VL, OW % VL)
                    tile_sums(acc, tile)
                    for i in range(min(rows, taps - q * rows)):
                        result[(q * rows + i) * M + m] += acc[i * VL]

    return weight_dots
