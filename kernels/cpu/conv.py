"""Convolution in one, two and three dimensions: forward and input gradient, without im2col.

Both are correlations of padded planes with a list of taps. A unit of work is a band of output rows of one image and group:

    input planes -> scratch (L2): padded, one plane per residue of a stride, so that every load below is contiguous
    k runs over (tap, channel): A[m, k] = weight of output row m, element `taps[2k]` behind the row's start
                                B[k, :] = VL neighbouring pixels, element `taps[2k + 1]` behind the pixel's start
    tiles of `rows` output channels x `vectors` vectors of pixels stay in registers over k (simd.tile_fma)

The input gradient of a convolution with stride s is s x s such correlations, one for each residue of the position (phase),
each with its own taps and the output written with stride s. With stride 1 it is the forward kernel over other strides.

The order of additions into an output element depends on the shapes alone, never on the number of chunks.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ..jit import VL, T, T_ptr, device, i64, i64_ptr, kernel, real
from ..memory import offset, prefetch, select, split, stack
from ..simd import (
    spread,
    spread_at,
    tile_fma,
    tile_max,
    tile_splat,
    tile_store,
    tile_zero,
    vadd,
    vevens,
    vload,
    vloadn,
    vmaxn,
    vsplat,
    vstore,
    vstoren,
    vzero,
)  # fmt: skip
from ..tails import tail_of_band

READ, BIAS = 1, 2  # flags: the output is added to; a number per output channel is added


@device
def write_zeros(to, count):
    """Zeros to[:count], count > 0, in whole vectors; the first outside of the loop, which becomes a call to memset."""
    vstore(to, 0, vzero(T))
    if count > VL:
        for p in range(1, (count + VL - 1) // VL):
            vstore(to, p * VL, vzero(T))


@device
def copy_evens(to, row, lo, hi, more):
    """to[q] = row[2 q] for lo <= q < hi; whether there is `more` behind the row that may be read."""
    end = lo
    for _ in range((hi - lo - 1) // VL):  # the element behind a whole vector exists: no masks
        vstore(to, end, vevens(row, 2 * end, VL + 1))
        end += VL
    if more and hi - lo >= VL:
        vstore(to, hi - VL, vevens(row, 2 * (hi - VL), VL + 1))
    else:
        vstore(to, end, vevens(row, 2 * end, hi - end))


@device
def copy_planes(to, x, channels, depth, zfirst, zstep, ID, IH, IW, fy, fx, height, ystep, yfirst, pitch, xstep, xfirst):
    """Lay out padded planes: to[c, j, f, e, r, q] = x[c, zfirst + j zstep, yfirst + f + r ystep, xfirst + e + q xstep].

    Sizes (channels, depth, fy, fx, height, pitch); zero outside of x (channels, ID, IH, IW). Up to VL - 1 elements behind
    `to` are spoilt.
    """
    at = 0
    for plane in range(channels * depth):
        iz = zfirst + plane % depth * zstep
        top = (plane // depth * ID + iz) * IH
        for f in range(fy * fx):
            first, above = xfirst + f % fx, yfirst + f // fx  # no division in the loop over rows
            # x[lo:hi] of the lines are inside; whole vectors are written from left to right, so that spoilt ones are
            # overwritten
            lo = max(0, (xstep - 1 - first) // xstep)
            hi = min(pitch, (IW - first + xstep - 1) // xstep)
            if iz < 0 or iz >= ID:
                hi = 0
            for r in range(height):
                iy = above + r * ystep
                row = offset(x, (top + iy) * IW + first)
                line = offset(to, at)
                at += pitch
                end = 0
                if f == 0:  # the next plane comes from beyond L2
                    for b in range((IW + 15) // 16):
                        prefetch(offset(row, IH * IW + 16 * b))
                if iy >= 0 and iy < IH and lo < hi:
                    if lo > 0:
                        write_zeros(line, lo)
                    end = lo
                    if xstep == 1:
                        for p in range((hi - lo) // VL):
                            vstore(line, lo + p * VL, vload(row, lo + p * VL))
                        if hi - lo < VL:
                            vstore(line, lo, vloadn(row, lo, hi - lo))
                        else:
                            vstore(line, hi - VL, vload(row, hi - VL))
                        end = hi
                    elif xstep == 2:
                        copy_evens(line, row, lo, hi, iy + 1 < IH)
                        end = hi
                    else:
                        for q in range(lo, hi):
                            line[q] = row[xstep * q]
                        end = hi
                if end < pitch:
                    write_zeros(offset(line, end), pitch - end)


@device
def finish_pixels(out, ldc, m, vectors, acc, places, room, step, bias, low, flags):
    """out = max(acc + out + bias, low) for a tile that is not whole, ends within a vector or is written with a stride."""
    lo = vsplat(low)
    for t in range(m * vectors):
        i, j = t // vectors, t % vectors
        n = places[2 * room + j]
        at = i * ldc + places[room + j]
        v = vload(acc, t * VL)
        if flags == 3:  # else the tile has started with the bias
            v = vadd(v, vsplat(bias[i]))
        if step == 1:
            if flags & 1 != 0:
                v = vadd(v, vloadn(out, at, n))
            vstoren(out, at, vmaxn(v, lo), n)
        else:
            vstore(acc, t * VL, v)
            for lane in range(n):
                x = acc[t * VL + lane]
                if flags & 1 != 0:
                    x += out[at + lane * step]
                out[at + lane * step] = select(x < low, low, x)


@kernel
def pack_weight(
    packed: T_ptr, weight: T_ptr, table: i64_ptr, G: i64, M: i64, K: i64, rows: i64, wm: i64, wg: i64, chunk: i64,
    nchunks: i64,
):  # fmt: skip
    """packed[g, q, k, i] = weight of row q * rows + i and tap k (table[k]) of group g; a unit is a tile of rows.

    So a tile reads its weight as one stream; rows behind the last repeat it.
    """
    tiles = (M + rows - 1) // rows
    lo, hi = split(G * tiles, chunk, nchunks)
    for unit in range(lo, hi):
        to = offset(packed, unit * K * rows)
        for i in range(rows):
            row = offset(weight, unit // tiles * wg + min(unit % tiles * rows + i, M - 1) * wm)
            for k in range(K):
                to[k * rows + i] = row[table[k]]


@cache
def correlate_groups(rows: int, vectors: int) -> Any:
    """Device function: the correlation of the planes in scratch with the taps, for all groups of pixels and rows of weights."""

    @device
    def correlate(out, ldc, M, step, weight, wm, wt, bias, planes, table, head, inner, flags, low, acc):
        taps, ranges, places = offset(table, head[0]), offset(table, head[1]), offset(table, head[2])
        groups, room, tiles = head[3], head[4], (M + rows - 1) // rows
        for t in range(groups * tiles):
            g, q = t // tiles, t % tiles
            if inner == 0:
                g, q = t % groups, t // groups
            m, ot, bt = min(rows, M - q * rows), offset(out, q * rows * ldc), offset(bias, q * rows)
            vs = spread_at(planes, places, g * vectors, vectors)
            ws = spread(offset(weight, q * wt), wm, m, rows)
            tile = tile_zero(T, rows, vectors)
            if flags == 2:
                tile = tile_splat(bt, 1, m, rows, vectors)
            k = 2 * ranges[3 * g]
            for _ in range(ranges[3 * g + 1] - ranges[3 * g]):
                tile = tile_fma(tile, ws, taps[k], vs, taps[k + 1])
                k += 2
            if ranges[3 * g + 2] != 0 and m == rows:
                tile_store(spread_at(ot, places, room + g * vectors, vectors), ldc, tile_max(tile, low))
            else:
                tile_store(spread(acc, VL, vectors, vectors), vectors * VL, tile)
                finish_pixels(ot, ldc, m, vectors, acc, offset(places, g * vectors), room, step, bt, low, flags)

    return correlate


@cache
def taps_kernel(rows: int, vectors: int) -> Any:
    """The kernel of forward and input gradient with tiles of `rows` x `vectors` vectors."""
    correlate, acc_room = correlate_groups(rows, vectors), rows * vectors * 16  # lanes are at most 16

    @kernel
    def conv_taps(
        out: T_ptr, weight: T_ptr, x: T_ptr, bias: T_ptr, table: i64_ptr, scratch: T_ptr,
        units: i64, IB: i64, G: i64, M: i64, MB: i64, mblocks: i64, Q: i64, wm: i64, wt: i64, wg: i64, ID: i64,
        IH: i64, IW: i64, OD: i64, OH: i64, OW: i64, zphases: i64, zscale: i64, zstep: i64, ystep: i64, yshift: i64,
        xstep: i64, xshift: i64, fy: i64, fx: i64, sy: i64, sx: i64, YB: i64, ybands: i64, XB: i64, xblocks: i64,
        height: i64, pitch: i64, inner: i64,
        flags: i64, low: real, chunk_words: i64, tail: i64, chunk: i64, nchunks: i64,
    ):  # fmt: skip
        """Output (N, G M, OD, OH, OW), input (N, G Q, ID, IH, IW); a unit is a band of one depth of IB images,
        and MB of the output channels.

        `table` is described at conv_tables.correlation_table. The weight has strides wm between rows, wt between tiles of
        rows and wg between groups. `inner`: the rows of tiles (1) or the groups of pixels (0) run in the inner loop, over a
        smaller or larger weight. `tail`: what is done with the output of a unit (tails.py).
        """
        acc, planes = stack(acc_room, T), offset(scratch, chunk * chunk_words)
        lo, hi = split(units, chunk, nchunks)
        for unit in range(lo, hi):
            band, q = unit // mblocks, unit % mblocks * MB
            xb, yb = band % xblocks, band // xblocks % ybands
            oz, ng = band // (xblocks * ybands) % OD, band // (xblocks * ybands * OD)
            g, n, head = ng % G, ng // G * IB, offset(table, oz % zphases * 2)
            for i in range(IB if q == 0 or unit == lo else 0):  # the blocks of channels of a band share its planes
                copy_planes(
                    offset(planes, i * Q * head[1] * fy * fx * height * pitch), offset(x, ((n + i) * G + g) * Q * ID * IH * IW),
                    Q, head[1], oz // zphases * zscale + head[0], zstep, ID, IH, IW, fy, fx, height, ystep,
                    ystep * yb * YB - yshift, pitch, xstep, xstep * xb * XB - xshift,
                )  # fmt: skip
            first = (((n * G + g) * M + q) * OD + oz) * OH * OW + yb * YB * sy * OW + xb * XB * sx
            for phase in range(sy * sx):
                case = ((oz % zphases * sy * sx + phase) * ybands + yb) * xblocks + xb
                correlate(
                    offset(out, first + phase // sx * OW + phase % sx), OD * OH * OW, min(MB, M - q), sx,
                    offset(weight, g * wg + q // rows * wt), wm, wt, offset(bias, g * M + q), planes, table,
                    offset(table, zphases * 2 + case * 5), inner, flags, low, acc,
                )  # fmt: skip
            y, x0 = yb * YB * sy, xb * XB * sx
            high, wide = min(YB * sy, OH - y), min(XB * sx, OW - x0)
            tail_of_band(tail, n, IB, g * M + q, min(MB, M - q), OW, oz * OH * OW, y, high, x0, wide)

    return conv_taps
