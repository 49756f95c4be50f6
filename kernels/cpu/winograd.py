"""3x3 convolution of stride 1 in 16 instead of 36 multiplications for 2x2 outputs (S. Winograd; A. Lavin and S. Gray, 2015).

    y = A^T [(G g G^T) * (B^T d B)] A      d: 4x4 inputs, g: 3x3 weights, y: 2x2 outputs, * element by element

    u [M / ROWS, 16, Q, ROWS]  transformed weights, once a call, or once for all calls of a frozen network
    v [16, Q, columns]         transformed inputs of a unit
    u[:, k] v[k]               16 small matrix products, for OB output channels at a time; then back to pixels

A column is a 2x2 tile; lanes are neighbouring tiles of a row. Unlike direct sums, inf comes out as NaN.
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
    vfirsts,
    vload,
    vloadn,
    vmaxn,
    vpairs,
    vpairs_high,
    vseconds,
    vsplat,
    vstore,
    vstoren,
    vsub,
)  # fmt: skip
from ..tails import tail_of_band
from ..target import target
from .conv_tables import Conv
from .plan import LOWEST, Launch, slots

ROWS, OB = 4, 16  # rows of a register tile; output channels that are worked on together
BIAS = 2
LEAST_TILES = 512  # below, the transformations take what the products save; so with few channels
LEAST_CHANNELS, LEAST_CHANNELS_NARROW = 16, 40  # of images of at least 16 columns, and of narrower ones
MOST_CHANNELS = 160  # beyond, the transformed weights come from L3 again and again: slower than direct sums
LEAST_TILES_PACKED = 16  # the same for weights that are transformed once
MOST = 64 << 10  # bytes of transformed inputs of a unit
FEW = 4  # units that a convolution of few images is split into


@device
def quad(a, b, c):
    """G times a column of three weights."""
    half, sum_of = T(0.5) * b, T(0.5) * (a + c)
    return a, sum_of + half, sum_of - half, c


@kernel
def winograd_weight(u: T_ptr, w: T_ptr, M: i64, Q: i64, wm: i64, wq: i64, flipped: i64, chunk: i64, nchunks: i64):
    """u[m / ROWS, 16, Q, m % ROWS] of w[m * wm + q * wq + tap], zeros behind the last m; units: ROWS of m."""
    lo, hi = split((M + ROWS - 1) // ROWS, chunk, nchunks)
    s = -1 if flipped != 0 else 1
    for unit in range(lo, hi):
        for q in range(Q):
            for i in range(ROWS):
                m, to, pitch = unit * ROWS + i, offset(u, (unit * 16 * Q + q) * ROWS + i), Q * ROWS
                if m < M:
                    g = offset(w, m * wm + q * wq + (8 if flipped != 0 else 0))
                    a0, a1, a2, a3 = quad(g[0], g[3 * s], g[6 * s])
                    b0, b1, b2, b3 = quad(g[s], g[4 * s], g[7 * s])
                    c0, c1, c2, c3 = quad(g[2 * s], g[5 * s], g[8 * s])
                    to[0], to[pitch], to[2 * pitch], to[3 * pitch] = quad(a0, b0, c0)
                    to[4 * pitch], to[5 * pitch], to[6 * pitch], to[7 * pitch] = quad(a1, b1, c1)
                    to[8 * pitch], to[9 * pitch], to[10 * pitch], to[11 * pitch] = quad(a2, b2, c2)
                    to[12 * pitch], to[13 * pitch], to[14 * pitch], to[15 * pitch] = quad(a3, b3, c3)
                else:
                    for k in range(16):
                        to[k * pitch] = T(0)


@device
def input_column(v, pitch, r0, r1, r2, r3):
    """Four elements of B^T (d B): every fourth row of v."""
    vstore(v, 0, vsub(r0, r2))
    vstore(v, 4 * pitch, vadd(r1, r2))
    vstore(v, 8 * pitch, vsub(r2, r1))
    vstore(v, 12 * pitch, vsub(r1, r3))


@device
def columns_of(p, half):
    """Elements 0, 2, ..., then 1, 3, ..., 2, 4, ... and 3, 5, ... of a row of `split_rows`: the columns of VL tiles."""
    odds = offset(p, half)
    return vload(p, 0), vload(odds, 0), vload(p, 1), vload(odds, 1)


@device
def transform_input(v, pitch, p, half):
    """B^T d B of VL tiles to v[k * pitch]: d are four rows of `split_rows` from `p` on."""
    a0, b0, c0, d0 = columns_of(p, half)
    a1, b1, c1, d1 = columns_of(offset(p, 2 * half), half)
    a2, b2, c2, d2 = columns_of(offset(p, 4 * half), half)
    a3, b3, c3, d3 = columns_of(offset(p, 6 * half), half)
    input_column(v, pitch, vsub(a0, c0), vsub(a1, c1), vsub(a2, c2), vsub(a3, c3))
    input_column(offset(v, pitch), pitch, vadd(b0, c0), vadd(b1, c1), vadd(b2, c2), vadd(b3, c3))
    input_column(offset(v, 2 * pitch), pitch, vsub(c0, b0), vsub(c1, b1), vsub(c2, b2), vsub(c3, b3))
    input_column(offset(v, 3 * pitch), pitch, vsub(b0, d0), vsub(b1, d1), vsub(b2, d2), vsub(b3, d3))


@device
def split_pair(evens, odds, a, b):
    vstore(evens, 0, vfirsts(a, b))
    vstore(odds, 0, vseconds(a, b))


@device
def split_rows(to, half, x, rows, IW, left):
    """Row r from to[2 * half * r] on: elements 0, 2, ... of `left` zeros and then x[r * IW] .., and `half` behind them 1, 3, ...

    The zeros on the left are there already; up to VL zeros are written behind the row.
    """
    swap, whole = left & 1, IW // (2 * VL)
    for r in range(rows):
        source, line = offset(x, r * IW), offset(to, 2 * half * r + left // 2)
        first, second = offset(line, swap * half), offset(line, (1 - swap) * half + swap)
        for p in range(whole):
            split_pair(
                offset(first, p * VL), offset(second, p * VL), vload(source, 2 * p * VL), vload(source, (2 * p + 1) * VL)
            )
        if IW % (2 * VL) != 0:
            at = 2 * whole * VL
            a, b = vloadn(source, at, IW - at), vloadn(source, at + VL, IW - at - VL)
            split_pair(offset(first, whole * VL), offset(second, whole * VL), a, b)


@device
def output_row(p, pitch):
    """Both elements of a row of (m A): m0 + m1 + m2 and m1 - m2 - m3."""
    m1, m2 = vload(p, pitch), vload(p, 2 * pitch)
    return vadd(vload(p, 0), vadd(m1, m2)), vsub(vsub(m1, m2), vload(p, 3 * pitch))


@device
def store_pairs(out, a, b, bias, low, n, room):
    """The first `n` of a[0], b[0], a[1], ... as max(x + bias, low); up to `room` >= n elements may be spoilt."""
    first, second = vmaxn(vadd(vpairs(a, b), bias), low), vmaxn(vadd(vpairs_high(a, b), bias), low)
    if room >= VL:
        vstore(out, 0, first)
    else:
        vstoren(out, 0, first, n)
    if n > VL:
        if room >= 2 * VL:
            vstore(out, VL, second)
        else:
            vstoren(out, VL, second, n - VL)


@device
def transform_output(out, OW, lines, n, room, p, pitch, bias, low):
    """A^T m A of VL tiles from p[k * pitch] to `n` columns of one or two `lines` of out, `OW` elements apart."""
    s0, t0 = output_row(p, pitch)
    s1, t1 = output_row(offset(p, 4 * pitch), pitch)
    s2, t2 = output_row(offset(p, 8 * pitch), pitch)
    s3, t3 = output_row(offset(p, 12 * pitch), pitch)
    store_pairs(out, vadd(s0, vadd(s1, s2)), vadd(t0, vadd(t1, t2)), bias, low, n, room)
    if lines > 1:
        store_pairs(offset(out, OW), vsub(vsub(s1, s2), s3), vsub(vsub(t1, t2), t3), bias, low, n, room)


@device
def unit_input(v, x, planes, images, height, Q, IH, IW, top, left, tx, half, pitch):
    """B^T d B of `height` rows of tiles of every channel of some images.

    The padded rows go through two `planes` by turns: a channel is read when the next one is being written.
    """
    first, last, size = max(top, 0), min(top + 2 * height + 2, IH), (2 * height + 2) * 2 * half
    for i in range(2 * size + 2 * VL):
        planes[i] = T(0)  # the zeros around the image stay
    inside = offset(planes, (first - top) * 2 * half)
    split_rows(inside, half, offset(x, first * IW), last - first, IW, left)
    for iq in range(images * Q):
        i, q, now = iq // Q, iq % Q, iq % 2
        if iq + 1 < images * Q:
            split_rows(offset(inside, (1 - now) * size), half, offset(x, ((iq + 1) * IH + first) * IW), last - first, IW, left)
        for y in range(height):
            to, rows = offset(v, q * pitch + (i * height + y) * tx), offset(planes, now * size + 4 * y * half)
            for t in range((tx + VL - 1) // VL):
                transform_input(offset(to, t * VL), Q * pitch, offset(rows, t * VL), half)


@device
def unit_output(out, image, images, height, rows, OW, tx, products, pitch, bias, low):
    """A^T m A of one channel of the unit, to `rows` rows at most of planes that are `image` elements apart."""
    add, least = vsplat(bias), vsplat(low)
    for i in range(images):
        for y in range(height):
            to, lines = offset(out, i * image + 2 * y * OW), min(2, rows - 2 * y)
            behind = (min(2 * height, rows) - 2 * y - 2) * OW  # written by the next rows
            for t in range((tx + VL - 1) // VL):
                at, n = offset(products, (i * height + y) * tx + t * VL), OW - 2 * VL * t
                room = 2 * VL if tx <= VL and behind >= 2 * VL else n
                transform_output(offset(to, 2 * VL * t), OW, lines, n, room, at, pitch, add, least)


@cache
def winograd_kernel(vectors: int) -> Any:
    """The kernel with register tiles of ROWS x `vectors` vectors."""

    @kernel
    def winograd_conv(
        out: T_ptr, u: T_ptr, x: T_ptr, bias: T_ptr, scratch: T_ptr, N: i64, M: i64, Q: i64, IH: i64, IW: i64, OH: i64,
        OW: i64, above: i64, left: i64, tx: i64, ty: i64, YB: i64, bands: i64, IB: i64, MB: i64, mblocks: i64, pitch: i64,
        half: i64, flags: i64, low: real, chunk_words: i64, tail: i64, chunk: i64, nchunks: i64,
    ):  # fmt: skip
        """out (N, M, OH, OW), x (N, Q, IH, IW); units: MB output channels of YB of the `ty` rows of tiles of IB images;
        `pitch` of a row of v, `half` of a row of padded input; `tail`: see tails.py."""
        width, v = vectors * VL, offset(scratch, chunk * chunk_words)
        products = offset(v, 16 * Q * pitch)
        planes = offset(products, 16 * OB * pitch)
        lo, hi = split((N + IB - 1) // IB * bands * mblocks, chunk, nchunks)
        for unit in range(lo, hi):
            band, first = unit // mblocks, unit % mblocks * MB
            n0, y0 = band // bands * IB, band % bands * YB
            images, height = min(IB, N - n0), min(YB, ty - y0)
            if first == 0 or unit == lo:  # the blocks of channels of a band share its inputs
                top = 2 * y0 - above
                unit_input(v, offset(x, n0 * Q * IH * IW), planes, images, height, Q, IH, IW, top, left, tx, half, pitch)
            panels = (images * height * tx + width - 1) // width
            for m0 in range(first, min(first + MB, M), OB):
                count = min(OB, min(first + MB, M) - m0)
                for k in range(16):
                    for p in range(panels):
                        vs = spread(offset(v, k * Q * pitch + p * width), VL, vectors, vectors)
                        for b in range((count + ROWS - 1) // ROWS):
                            xs = spread(offset(u, ((m0 // ROWS + b) * 16 + k) * Q * ROWS), 1, ROWS, ROWS)
                            tile, at = tile_zero(T, ROWS, vectors), 0
                            for q in range(Q):
                                tile = tile_fma(tile, xs, q * ROWS, vs, at)
                                at += pitch
                            to = offset(products, (k * OB + b * ROWS) * pitch + p * width)
                            tile_store(spread(to, VL, vectors, vectors), pitch, tile)
                for m in range(count):
                    unit_output(
                        offset(out, ((n0 * M + m0 + m) * OH + 2 * y0) * OW), M * OH * OW, images, height, OH - 2 * y0, OW, tx,
                        offset(products, m * pitch), OB * pitch, bias[m0 + m] if flags != 0 else T(0), low,
                    )  # fmt: skip
                tail_of_band(tail, n0, images, m0, count, OW, 0, 2 * y0, min(2 * height, OH - 2 * y0), 0, OW)

    return winograd_conv


def suits(conv: Conv, flags: int, packed: bool = False) -> bool:
    """Whether a convolution, or its input gradient, goes this way; `packed`: its weights are transformed once for all calls."""
    tiles = conv.N * -(-conv.output[1] // 2) * -(-conv.output[2] // 2)
    least = LEAST_CHANNELS if conv.output[2] >= 16 else LEAST_CHANNELS_NARROW
    return (
        conv.kernel == (1, 3, 3) and conv.input[0] == 1 and conv.padding[0] == 0 and max(conv.padding) <= 2
        and max(conv.stride) == max(conv.dilation) == conv.groups == 1 and flags & ~BIAS == 0
        and min(conv.C, conv.OC) >= least and max(conv.C, conv.OC) <= MOST_CHANNELS
        and tiles >= (LEAST_TILES_PACKED if packed else LEAST_TILES)
    )  # fmt: skip


def _columns(tx: int, ty: int, N: int, Q: int, lanes: int, itemsize: int) -> tuple[int, int, int, int]:
    """(rows of tiles, images) of a unit, the vectors of a register tile and the pitch of v: least empty columns."""
    most = MOST // (16 * Q * itemsize)
    found = []
    for vectors, speed in ((3, 1.0), (2, 0.93)):
        width = vectors * lanes
        for images in range(1, max(1, min(N // 8, most // (tx * ty))) + 1):
            band = ty if images > 1 else max(1, min(ty, most // tx))
            band = -(-ty // -(-ty // band))
            while N * -(-ty // band) < FEW and band * tx >= 4 * lanes and band > 1:
                band = -(-band // 2)
            columns = images * band * tx
            padded = -(-columns // width) * width
            found.append((columns / padded * speed, -images, band, images, vectors, padded + lanes))
    return max(found)[2:]


def winograd_launches(conv: Conv, T: str, grad: bool, flags: int, relu: bool) -> tuple[tuple[Launch, ...], int]:
    """The launches of the forward pass or the input gradient (pointers out, weight, x, bias), and the bytes of "work"."""
    lanes = target().lanes(T)
    itemsize = target().vector_bytes // lanes
    N, C, OC, size, _, _, P, _, _ = conv
    M, Q, strides = (C, OC, (9, 9 * C)) if grad else (OC, C, (9 * C, 9))
    source, result = (conv.output, size) if grad else (size, conv.output)
    above, left = (2 - P[1], 2 - P[2]) if grad else P[1:]
    tx, ty = -(-result[2] // 2), -(-result[1] // 2)
    band, images, vectors, pitch = _columns(tx, ty, N, Q, lanes, itemsize)
    bands, rows = -(-ty // band), -(-M // ROWS)
    units = -(-N // images) * bands
    mblocks = max(1, min(-(-FEW // max(1, units)), M // OB)) if units < FEW else 1
    MB = -(-M // (mblocks * OB)) * OB
    mblocks = -(-M // MB)
    half = -(-max(tx + 2, (left + source[2]) // 2 + 1) // lanes) * lanes + lanes
    words = 16 * (Q + OB) * pitch + 2 * (2 * band + 2) * 2 * half + 2 * lanes
    words += -words % 16
    first = Launch(winograd_weight, T, ("work", "weight"), (M, Q, *strides, int(grad)), rows, 0, 16 * ROWS * rows * Q)
    numbers = (
        N, M, Q, *source[1:], *result[1:], above, left, tx, ty, band, bands, images, MB, mblocks, pitch, half, flags,
        0.0 if relu else LOWEST, words, 0,
    )  # fmt: skip
    second = Launch(
        winograd_kernel(vectors), T, ("out", "work", "x", "bias", "scratch"), numbers, slots(units * mblocks),
        itemsize * words, conv.multiply_adds // 2,
    )  # fmt: skip
    return (first, second), 16 * ROWS * rows * Q * itemsize
