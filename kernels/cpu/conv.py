"""Convolution in one, two and three dimensions: forward and input gradient, without im2col.

Both are correlations of padded planes with a list of taps. A unit of work is a band of output rows of one image and group:

    input planes -> scratch (L2): padded, one plane per residue of a stride, so that every load below is contiguous
    k runs over (channel, tap): A[m, k] = weight of output row m, element `taps[2k]` behind the row's start
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
from ..memory import offset, split, stack
from ..simd import (
    shifted, spread, spread_at, tile_fma, tile_load, tile_max, tile_splat, tile_store, tile_zero, vadd, vload, vloadn, vmaxn, vsplat,
    vstore, vstoren, vzero,
)  # fmt: skip

READ, BIAS = 1, 2  # flags: the output is added to; a number per output channel is added


@device
def tap(grad, k, dilation, stride, phase, pad, before):
    """(plane, shift) of kernel position `k`: which residue plane it reads and how many positions on; plane -1: none."""
    plane, shift = k * dilation % stride, k * dilation // stride
    if grad != 0:
        distance = phase + pad - k * dilation
        plane, shift = 0, distance // stride + before
        if distance % stride != 0:
            plane = -1
    return plane, shift


@device
def copy_line(to, length, source, inside, stride, first, width):
    """to[q] = source[stride * q + first] where that is inside of `width`, else 0; up to VL - 1 elements more are spoilt."""
    lo = (stride - 1 - first) // stride
    hi = (width - first + stride - 1) // stride
    if lo < 0:
        lo = 0
    if hi > length:
        hi = length
    if inside == 0 or hi <= lo:
        lo, hi = 0, 0
    if lo > 0:
        vstore(to, 0, vzero(T))
        for p in range((lo - 1) // VL):
            vstore(to, (p + 1) * VL, vzero(T))
    done = hi
    if stride == 1:
        for p in range((hi - lo) // VL):
            vstore(to, lo + p * VL, vload(source, first + lo + p * VL))
        rest = (hi - lo) % VL
        if rest > 0:
            vstore(to, hi - rest, vloadn(source, first + hi - rest, rest))
            done = hi - rest + VL
    else:
        for q in range(lo, hi):
            to[q] = source[stride * q + first]
    for p in range((length - done + VL - 1) // VL):
        vstore(to, done + p * VL, vzero(T))


@device
def finish_pixels(out, ldc, m, vectors, acc, places, first, room, step, bias, low, flags):
    """out = max(acc + out + bias, low) for a tile that is not whole, reaches over a row's end or is written with a stride."""
    lo = vsplat(low)
    for i in range(m):
        for j in range(vectors):
            n = places[2 * room + first + j]
            at = i * ldc + places[room + first + j]
            v = vload(acc, (i * vectors + j) * VL)
            if flags & 2 != 0:
                v = vadd(v, vsplat(bias[i]))
            if step == 1:
                if flags & 1 != 0:
                    v = vadd(v, vloadn(out, at, n))
                vstoren(out, at, vmaxn(v, lo), n)
            else:
                vstore(acc, (i * vectors + j) * VL, v)
                for lane in range(n):
                    x = acc[(i * vectors + j) * VL + lane]
                    if flags & 1 != 0:
                        x += out[at + lane * step]
                    if x < low:
                        x = low
                    out[at + lane * step] = x


@cache
def taps_kernel(rows: int, vectors: int) -> Any:
    """The kernel of forward and input gradient with tiles of `rows` x `vectors` vectors."""
    acc_room = rows * vectors * 16  # lanes are at most 16

    @kernel
    def conv_taps(
        out: T_ptr, weight: T_ptr, x: T_ptr, bias: T_ptr, table: i64_ptr, scratch: T_ptr,
        N: i64, G: i64, M: i64, Q: i64, wm: i64, wq: i64, wg: i64, ID: i64, IH: i64, IW: i64, OD: i64, OH: i64, OW: i64,
        KD: i64, KH: i64, KW: i64, SD: i64, SH: i64, SW: i64, LD: i64, LH: i64, LW: i64, PD: i64, PH: i64, PW: i64,
        BD: i64, BH: i64, BW: i64, XH: i64, XW: i64, grad: i64, flags: i64, low: real, lowest: real,
        YB: i64, XB: i64, CB: i64, table_step: i64, table_room: i64, chunk_words: i64, chunk: i64, nchunks: i64,
    ):  # fmt: skip
        """Output (N, G M, OD, OH, OW), input (N, G Q, ID, IH, IW), kernel K, stride S, dilation L, padding P; B: elements
        before position 0 in scratch, X: largest shift; YB x XB positions and CB channels at a time. `table` and `scratch`
        are one buffer of `table_step` int64 or `chunk_words` T for each chunk; its first `table_room` T are the table's.
        """
        acc = stack(acc_room, T)
        sums = spread(acc, VL, vectors, vectors)
        taps = offset(table, chunk * table_step)
        planes = offset(scratch, chunk * chunk_words + table_room)
        # Per dimension: step of the input positions, step of the output positions, planes, positions.
        cz, cy, cx, sy, sx = SD, SH, SW, 1, 1
        fy, fx = min(SH, (KH - 1) * LH + 1), min(SW, (KW - 1) * LW + 1)
        if grad != 0:
            cz, cy, cx, sy, sx, fy, fx = 1, 1, 1, SH, SW, 1, 1
        npy, npx = (OH + sy - 1) // sy, (OW + sx - 1) // sx
        ybands, xblocks = (npy + YB - 1) // YB, (npx + XB - 1) // XB
        height, pitch = YB + XH, XB + XW
        room = YB * ((XB + VL - 1) // VL) + vectors
        places = offset(taps, 2 * CB * KD * KH * KW)
        ldc = OD * OH * OW
        known, per_channel, count = -1, 0, 0
        lo, hi = split(N * G * OD * ybands * xblocks, chunk, nchunks)
        for unit in range(lo, hi):
            x0 = unit % xblocks * XB
            y0 = unit // xblocks % ybands * YB
            oz = unit // xblocks // ybands % OD
            ng = unit // xblocks // ybands // OD
            wp, bp = offset(weight, ng % G * wg), offset(bias, ng % G * M)
            rz, pz = 0, oz
            if grad != 0:
                rz, pz = oz % SD, oz // SD
            for block in range((Q + CB - 1) // CB):
                c0 = block * CB
                channels = min(CB, Q - c0)
                # -- the padded planes
                at = 0
                for c in range(channels):
                    for kz in range(KD):
                        plane, shift = tap(grad, kz, LD, SD, rz, PD, BD)
                        if plane >= 0:
                            iz = cz * (pz + shift) + plane - BD
                            for f in range(fy * fx):
                                ex = f % fx - BW + cx * x0
                                for r in range(height):
                                    iy = cy * (y0 + r) + f // fx - BH
                                    line = (((ng * Q + c0 + c) * ID + iz) * IH + iy) * IW
                                    inside = 1 if 0 <= iz < ID and 0 <= iy < IH else 0
                                    copy_line(offset(planes, at), pitch, offset(x, line), inside, cx, ex, IW)
                                    at += pitch
                # -- the correlations, one for each phase of the output
                for phase in range(sy * sx):
                    ry, rx = phase // sx, phase % sx
                    ny, nx = min(y0 + YB, (OH - ry + sy - 1) // sy) - y0, min(x0 + XB, (OW - rx + sx - 1) // sx) - x0
                    per_row = (nx + VL - 1) // VL
                    key = ((phase * SD + rz) * (YB + 1) + max(ny, 0)) * (XB + 1) + max(nx, 0)
                    if key != known:
                        known = key
                        per_channel, at, depth = 0, 0, 0
                        for c in range(CB):
                            for kz in range(KD):
                                plane, _ = tap(grad, kz, LD, SD, rz, PD, BD)
                                if plane >= 0:
                                    for k in range(KH * KW):
                                        py, hy = tap(grad, k // KW, LH, SH, ry, PH, BH)
                                        px, hx = tap(grad, k % KW, LW, SW, rx, PW, BW)
                                        if py >= 0 and px >= 0:
                                            taps[at] = c * wq + kz * KH * KW + k
                                            taps[at + 1] = (((depth * fy + py) * fx + px) * height + hy) * pitch + hx
                                            at += 2
                                    depth += 1
                            if c == 0:
                                per_channel = at // 2
                        count = max(ny, 0) * max(per_row, 0)
                        for v in range(count + vectors):
                            w = min(v, count - 1)
                            py, px = w // per_row, w % per_row * VL
                            places[v] = py * pitch + px
                            places[room + v] = py * sy * OW + px * sx
                            places[2 * room + v] = min(VL, nx - px) if v < count else 0
                    op = offset(out, (ng * M * OD + oz) * OH * OW + (y0 * sy + ry) * OW + x0 * sx + rx)
                    kc = channels * per_channel
                    lower = low if c0 + channels >= Q else lowest
                    does = flags if c0 == 0 else READ
                    for group in range((count + vectors - 1) // vectors):
                        first = group * vectors
                        vs = spread_at(planes, places, first, vectors)
                        os = spread_at(op, offset(places, room), first, vectors)
                        whole = 1 if sx == 1 and does != 3 else 0
                        for j in range(vectors):
                            if places[2 * room + first + j] < VL:
                                whole = 0
                        for q in range((M + rows - 1) // rows):
                            i = q * rows
                            m = min(rows, M - i)
                            fast = whole != 0 and m == rows
                            ws = spread(offset(wp, i * wm + c0 * wq), wm, m, rows)
                            tile = tile_zero(T, rows, vectors)
                            if fast and does == READ:
                                tile = tile_load(shifted(os, i * ldc), ldc, rows)
                            elif fast and does == BIAS:
                                tile = tile_splat(offset(bp, i), 1, m, rows, vectors)
                            for k in range(kc):
                                tile = tile_fma(tile, ws, taps[2 * k], vs, taps[2 * k + 1])
                            if fast:
                                tile_store(shifted(os, i * ldc), ldc, tile_max(tile, lower))
                            else:
                                tile_store(sums, vectors * VL, tile)
                                ot = offset(op, i * ldc)
                                finish_pixels(
                                    ot, ldc, m, vectors, acc, places, first, room, sx, offset(bp, i), lower, does
                                )

    return conv_taps
