"""Input gradient of a convolution of small images with stride 1, without padding to multiply.

Rows of dy, not rows of dx, fill the vectors: 8 of 8 lanes for an 8x8 output, where dx (12x12, kernel 5) would take 12 of 16
and meet padding in a third of its products.

    sums[kx, pixel of dy] = sum over ky, output channels of W[:, c, ky, kx] dy[row - ky]     a tile: kernel columns x rows
    dx[c, row, x]         = sum over kx of sums[kx, x - kx]                                   loads from lines with margins
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ..jit import VL, T, T_ptr, device, i64, kernel, real
from ..memory import offset, split
from ..simd import (
    spread,
    tile_fma,
    tile_store,
    tile_zero,
    vadd,
    vload,
    vloadn,
    vmaxn,
    vsplat,
    vstore,
    vstoren,
    vzero,
)
from ..target import target
from .conv import copy_planes
from .conv_tables import Conv
from .plan import LOWEST, Launch, slots


@device
def add_lines(out, width, lines, kernel, pitch, bias, low, flags):
    """One row of dx from its `kernel` lines of sums; line number k is read k elements further left."""
    for p in range((width + VL - 1) // VL):
        total, at, left = vzero(T), p * VL, width - p * VL
        for k in range(kernel):
            total = vadd(total, vload(lines, k * (pitch - 1) + at))
        if flags & 2 != 0:
            total = vadd(total, vsplat(bias[0]))
        if flags & 1 != 0:
            total = vadd(total, vloadn(out, at, left))
        if left >= VL:
            vstore(out, at, vmaxn(total, vsplat(low)))
        else:
            vstoren(out, at, vmaxn(total, vsplat(low)), left)


@cache
def rows_kernel(columns: int, rows: int) -> Any:
    """The kernel for `columns` kernel columns; a tile holds the sums of `rows` rows of dx."""

    @kernel
    def input_rows(
        out: T_ptr, weight: T_ptr, x: T_ptr, bias: T_ptr, scratch: T_ptr, N: i64, G: i64, M: i64, MB: i64, mblocks: i64,
        Q: i64, K: i64, DH: i64, DW: i64, OH: i64, OW: i64, PH: i64, PW: i64, height: i64, pitch: i64, flags: i64, low: real,
        chunk_words: i64, chunk: i64, nchunks: i64,
    ):  # fmt: skip
        """out = dx (N, G M, DH, DW), x = dy (N, G Q, OH, OW), weight (G Q, M, K, columns); a unit is MB channels of an image.

        `height`: rows of a plane of dy in scratch, of VL columns each; `pitch`: elements of a line of sums.
        """
        planes, one = offset(scratch, chunk * chunk_words), min(N, 1)  # at run time: copy_planes has no version for it
        lines = offset(planes, Q * height * VL + VL)
        for i in range(rows * columns * pitch):
            lines[i] = T(0)
        lo, hi = split(N * G * mblocks, chunk, nchunks)
        for unit in range(lo, hi):
            ng, c = unit // mblocks, unit % mblocks * MB
            if c == 0 or unit == lo:
                copy_planes(
                    planes, offset(x, ng * Q * OH * OW), Q, one, one - 1, one, one, OH, OW, one, one, height, one,
                    PH - K + 1, VL * one, one, one - 1,
                )  # fmt: skip
            for t in range((min(M, c + MB) - c) * ((DH + rows - 1) // rows)):
                y, m = t % ((DH + rows - 1) // rows) * rows, c + t // ((DH + rows - 1) // rows)
                ws = spread(offset(weight, (ng % G * Q * M + m) * K * columns), 1, columns, columns)
                vs, tile = spread(offset(planes, y * VL), VL, rows, rows), tile_zero(T, columns, rows)
                for ky in range(max(0, y + PH - OH + 1), min(K, min(DH, y + rows) + PH)):  # rows of dy that are inside
                    ka, kb = ky * columns, (K - 1 - ky) * VL
                    for _ in range(Q):
                        tile = tile_fma(tile, ws, ka, vs, kb)
                        ka += M * K * columns
                        kb += height * VL
                tile_store(spread(offset(lines, columns - 1), columns * pitch, rows, rows), pitch, tile)
                for r in range(min(rows, DH - y)):
                    to = offset(out, ((ng * M + m) * DH + y + r) * DW)
                    source = offset(lines, r * columns * pitch + columns - 1 + PW)
                    add_lines(to, DW, source, columns, pitch, offset(bias, ng % G * M + m), low, flags)

    return input_rows


ROWS = {3: 4, 4: 3, 5: 2, 6: 2}  # of a tile, by kernel columns: with one more than 12 vectors of sums are too many for AVX2


def suits(conv: Conv, T: str) -> bool:
    """Whether rows of dy fill vectors so much better than rows of dx that this kernel is the quicker one."""
    lanes, (_, K, columns), (_, OH, OW), (_, DH, DW) = target().lanes(T), conv.kernel, conv.output, conv.input
    plain = conv.kernel[0] == conv.input[0] == 1 and max(*conv.stride, *conv.dilation) == 1 and conv.padding[0] == 0
    if not plain or columns not in ROWS or OW > lanes or conv.padding[2] >= columns:
        return False
    rows, shift = ROWS[columns], conv.padding[1]
    others = sum(min(K, y + shift + 1) - max(0, y + shift - OH + 1) for y in range(DH))
    own = sum(min(K, min(DH, y + rows) + shift) - max(0, y + shift - OH + 1) for y in range(0, DH, rows))
    return 4 * others * -(-DW // lanes) >= 5 * own * rows


def rows_launch(conv: Conv, T: str, flags: int, relu: bool, mblocks: int) -> Launch:
    """The launch (pointers out, weight, x, bias, scratch), with the channels of an image in `mblocks` blocks."""
    lanes, (_, K, columns), (_, DH, DW), G = target().lanes(T), conv.kernel, conv.input, conv.groups
    rows, M, Q = ROWS[columns], conv.C // G, conv.OC // G
    mb = -(-M // mblocks)
    height = -(-DH // rows) * rows + K - 1
    pitch = columns - 1 + max(lanes, conv.padding[2] + -(-DW // lanes) * lanes)
    chunk_words = -(-(Q * height * lanes + lanes + rows * columns * pitch) // 16) * 16
    words = (
        conv.N, G, M, mb, -(-M // mb), Q, K, DH, DW, *conv.output[1:], *conv.padding[1:], height, pitch, flags,
        0.0 if relu else LOWEST, chunk_words,
    )  # fmt: skip
    names, units = ("out", "weight", "x", "bias", "scratch"), conv.N * G * -(-M // mb)
    itemsize = target().vector_bytes // lanes
    return Launch(rows_kernel(columns, rows), T, names, words, slots(units), itemsize * chunk_words, conv.multiply_adds)
