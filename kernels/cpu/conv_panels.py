"""Forward and input gradient of a two-dimensional convolution as a matrix product whose right side is packed in blocks.

    out[m, p] = sum over k of weight[m, k] * patch[k, p]       k = (channel, tap), p = output pixels of bands or whole images

For a block of channels at a time (its taps x pixels and its weights fit the L2 cache, one panel of them the L1 cache):

    input -> planes (conv.copy_planes) -> panels [pixels / width][taps][width] -> register tiles x all rows of weights -> sums

Panels join pixels across rows and images, so that no lane is empty where rows are no multiple of a vector; strides and
dilations cost nothing in the product. The sums of a unit stay in scratch until its last block, then go to the output.

The order of additions into an output element depends on the shapes alone, never on the number of chunks.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ..jit import VL, T, T_ptr, device, i64, i64_ptr, kernel, real
from ..memory import offset, select, split
from ..simd import (
    spread,
    tile_fma,
    tile_load,
    tile_store,
    tile_zero,
    vadd,
    vload,
    vloadn,
    vmaxn,
    vsplat,
    vstore,
    vstoren,
)  # fmt: skip
from ..tails import tail_of_band
from .conv import copy_planes


@device
def pack_panels(panels, size, width, planes, plane, channels, shifts, taps, copies, count):
    """panels[p, c * taps + t, :] = `width` pixels of plane c at shift t, for `count` panels that are `size` elements apart.

    A copy is a vector that starts at a pixel; what it spoils behind its row is written again by the next, in the same line or
    the line after.
    """
    pairs = offset(copies, copies[0])
    for p in range(count):
        line, first, last = offset(panels, p * size), copies[p + 1], copies[p + 2]
        if last - first == 4:  # the usual number stays in registers
            some = offset(pairs, 2 * first)
            d0, s0, d1, s1, d2, s2, d3, s3 = some[0], some[1], some[2], some[3], some[4], some[5], some[6], some[7]
            for c in range(channels):
                source = offset(planes, c * plane)
                for t in range(taps):
                    row = offset(source, shifts[t])
                    vstore(line, d0, vload(row, s0))
                    vstore(line, d1, vload(row, s1))
                    vstore(line, d2, vload(row, s2))
                    vstore(line, d3, vload(row, s3))
                    line = offset(line, width)
        else:
            for c in range(channels):
                source = offset(planes, c * plane)
                for t in range(taps):
                    row = offset(source, shifts[t])
                    for i in range(first, last):
                        vstore(line, pairs[2 * i], vload(row, pairs[2 * i + 1]))
                    line = offset(line, width)


@device
def write_rows(out, area, sums, pitch, count, bias, low, flags, runs, number, step):
    """out[m, ...] = max(sums[m, ...] + bias[m], low) for `count` rows; runs: (elements in sums, in out, how many) each."""
    least = vsplat(low)
    for m in range(count):
        add = vsplat(bias[m] if flags != 0 else T(0))
        for r in range(number):
            n = runs[3 * r + 2]
            row, to = offset(sums, m * pitch + runs[3 * r]), offset(out, m * area + runs[3 * r + 1])
            if step == 1:
                for v in range(n // VL):
                    vstore(to, v * VL, vmaxn(vadd(vload(row, v * VL), add), least))
                if n % VL != 0:
                    if n >= VL:
                        vstore(to, n - VL, vmaxn(vadd(vload(row, n - VL), add), least))
                    else:
                        vstoren(to, 0, vmaxn(vadd(vloadn(row, 0, n), add), least), n)
            else:
                value = bias[m] if flags != 0 else T(0)
                for i in range(n):
                    x = row[i] + value
                    to[i * step] = select(x < low, low, x)


@cache
def panels_product(rows: int, vectors: int) -> Any:
    """Device function: rows of weights times panels, begun at zero or at the sums so far."""

    @device
    def product(sums, pitch, M, weight, wm, wt, wk, panels, size, count, depth, block, first):
        width = vectors * VL
        tiles = (M + rows - 1) // rows
        for q0 in range(0, tiles, block):
            for p in range(count):
                vs = spread(offset(panels, p * size), VL, vectors, vectors)
                for q in range(q0, min(tiles, q0 + block)):
                    ws = spread(offset(weight, q * wt), wm, min(rows, M - q * rows), rows)
                    to = spread(offset(sums, q * rows * pitch + p * width), VL, vectors, vectors)
                    tile, kw, kp = tile_zero(T, rows, vectors), 0, 0
                    if first == 0:
                        tile = tile_load(to, pitch, rows)
                    for _ in range(depth):
                        tile = tile_fma(tile, ws, kw, vs, kp)
                        kw += wk
                        kp += width
                    tile_store(to, pitch, tile)

    return product


@cache
def panels_kernel(rows: int, vectors: int) -> Any:
    """The kernel with tiles of `rows` x `vectors` vectors."""
    multiply = panels_product(rows, vectors)

    @kernel
    def conv_panels(
        out: T_ptr, weight: T_ptr, x: T_ptr, bias: T_ptr, table: i64_ptr, scratch: T_ptr,
        N: i64, IB: i64, M: i64, MB: i64, mblocks: i64, Q: i64, CB: i64, wm: i64, wt: i64, wk: i64, IH: i64, IW: i64,
        OH: i64, OW: i64, ystep: i64, yshift: i64, xstep: i64, xshift: i64, fy: i64, fx: i64, sy: i64, sx: i64, YB: i64,
        ybands: i64, height: i64, pitch: i64, room: i64, sums_pitch: i64, block: i64, flags: i64, low: real, chunk_words: i64,
        tail: i64, chunk: i64, nchunks: i64,
    ):  # fmt: skip
        """Output (N, M, OH, OW), input (N, Q, IH, IW); a unit is YB rows (of each of sy x sx phases) of IB images, MB output
        channels, CB channels are a block, for `table` see conv_panels_plan.panels_table. The weight has strides wm between
        rows, wt between tiles of rows, wk between taps; `block` tiles of it stay in L2. `tail`: see tails.py.
        """
        sums = offset(scratch, chunk * chunk_words)
        panels = offset(sums, MB * sums_pitch)
        planes = offset(panels, room)
        width, plane = vectors * VL, fy * fx * height * pitch
        lo, hi = split((N + IB - 1) // IB * ybands * mblocks, chunk, nchunks)
        for unit in range(lo, hi):
            yb, n, m0 = unit // mblocks % ybands, unit // (mblocks * ybands) * IB, unit % mblocks * MB
            images, count = min(IB, N - n), min(MB, M - m0)
            last = select(yb == ybands - 1, sy * sx * 8, 0)
            for c0 in range(0, Q, CB):
                channels = min(CB, Q - c0)
                for i in range(images):
                    copy_planes(
                        offset(planes, i * CB * plane), offset(x, ((n + i) * Q + c0) * IH * IW), channels, 1, 0, 1, 1, IH, IW,
                        fy, fx, height, ystep, ystep * yb * YB - yshift, pitch, xstep, -xshift,
                    )  # fmt: skip
                for phase in range(sy * sx):
                    head = offset(table, last + phase * 8)
                    taps, number = head[0], (images * head[6] + width - 1) // width
                    size = channels * taps * width
                    shifts, copies = offset(table, head[1]), offset(table, head[3])
                    pack_panels(panels, size, width, planes, plane, channels, shifts, taps, copies, number)
                    multiply(
                        offset(sums, head[7]), sums_pitch, count, offset(weight, m0 // rows * wt + (head[2] + c0 * taps) * wk),
                        wm, wt, wk, panels, size, number, channels * taps, block, int(c0 == 0),
                    )  # fmt: skip
            for phase in range(sy * sx):
                head = offset(table, last + phase * 8)
                write_rows(
                    offset(out, ((n * M + m0) * OH + yb * YB * sy + phase // sx) * OW + phase % sx), OH * OW, sums, sums_pitch, count,
                    offset(bias, m0), low, flags, offset(table, head[4]), images * head[5], sx,
                )  # fmt: skip
            tail_of_band(tail, n, images, m0, count, OW, 0, yb * YB * sy, min(YB * sy, OH - yb * YB * sy), 0, OW)

    return conv_panels
