"""Convolutions of float32 on tensor cores, where rounding the factors to tf32 is permitted: the formulas of conv.py.

The output and the gradient of the input are one kernel: both are the sums of weights times elements of an image, which are
gathered at places that a tap moves. Along one axis tap i of the pixel at p sees (p * scale + shift + i * move) / stride:

    forward      scale = stride, shift = -padding, move =  dilation, stride = 1
    input grad   scale = 1,      shift =  padding, move = -dilation, stride = stride; what is not whole counts as outside

Which taps of its pixel are inside of the image a thread notes once, in a mask with a bit for each place of the kernel
along each axis; the table says for each (channel, tap) how far its element is and which three bits it needs.
"""

from __future__ import annotations

from typing import Any

from numpy import float32, int32, int64, uint32

from ..jit import T, T_ptr, device, i32_ptr, i64, real
from ..memory import offset, stack
from .conv import FAR, forward_grid, pixel_of, place_of_pixel, weight_grid, weight_sides
from .gpu import copy16, copy_word, is_aligned, load4, shared, take, thread
from .launch import bound, kernel
from .matmul import finished
from .place import divide, minus, over, plus, tile_of_block, times, within
from .team import lane
from .tensor_tile import (
    EXTENT,
    HEIGHT,
    ROOM_A,
    ROOM_B,
    SUMS,
    THREADS,
    WORDS,
    Loader,
    accumulate,
    bytes_of,
    shaped,
    start_a,
    start_b,
    warp_col,
    warp_row,
)

WIDTH = 128


# ---- loaders; see tensor_tile.py


@device
def start_periodic(p, first, lines, line_step, k0, period, by, shift, jump):
    """Lines `line_step` apart; element k0 + k of one lies at k0 + k, plus `jump` for each whole `period` in it."""
    line, group = int32(thread() >> int32(2)), int32(thread() & int32(3))
    q = offset(p, int64(plus(first, line)) * line_step)
    place = plus(times(line, WORDS), times(group ^ int32(int32(line >> int32(1)) & int32(3)), 4))
    quick = (period | line_step | jump | int64(k0)) & 3 == 0 and is_aligned(p)
    return q, minus(minus(lines, first), line), plus(k0, times(group, 4)), k0, line_step * 32, place, quick, (uint32(by), int32(shift), jump)


@device
def fetch_periodic(room, operand, stage, k, last):
    q, lines, ahead, k0, step, place, quick, (by, shift, jump) = operand
    at, first = plus(times(stage, EXTENT * WORDS), place), plus(k, ahead)
    left = minus(last, minus(first, k0))
    if quick:
        piece = offset(q, int64(first) + int64(divide(first, by, shift)) * jump)
        for i in range(EXTENT // 32):
            count = left if int32(32 * i) < lines else int32(0)
            copy16(room, plus(at, 32 * WORDS * i), piece, i * step, bytes_of(count))
        return
    for e in range(4):
        where = plus(first, e)
        piece = offset(q, int64(where) + int64(divide(where, by, shift)) * jump)
        for i in range(EXTENT // 32):
            count = minus(left, e) if int32(32 * i) < lines else int32(0)
            copy_word(room, plus(at, 32 * WORDS * i + e), piece, i * step, 0, count)


@device
def start_moved(p, table, mask):
    """A line is this thread's pixel; `p`: where a tap that moves nothing finds it."""
    return p, table, mask


@device
def fetch_moved(room, operand, stage, k, last):
    p, table, mask = operand
    at = times(stage, EXTENT * WORDS)
    for pair in range(WORDS // 2):
        ahead, need, next_ahead, next_need = load4(table, plus(times(k, 2), 4 * pair))
        one, other = times(2 * pair, EXTENT), times(2 * pair + 1, EXTENT)
        one, other = plus(one, thread() ^ int32(16 * (pair & 1))), plus(other, thread() ^ int32(16 * (pair & 1) + 8))
        copy_word(room, plus(at, one), p, ahead, 0, int32(need & mask == need))
        copy_word(room, plus(at, other), p, next_ahead, 0, int32(next_need & mask == next_need))


@device
def start_patches(p, table, first, k0, image_step, size, move, out):
    """A line is a (channel, tap), which `table` explains; k is a pixel of all images."""
    line, word = int32(thread() >> int32(4)), int32(thread() & int32(15))
    group = int32(int32(word >> int32(2)) ^ int32(int32(line >> int32(1)) & int32(3)))
    place = plus(plus(times(line, WORDS), times(group, 4)), word & int32(3))
    return p, offset(table, 4 * int64(plus(first, line))), plus(k0, word), k0, (image_step, *size), (move, out), place


@device
def fetch_patches(room, operand, stage, k, last):
    p, table, ahead, k0, (image_step, depth, height, width), (move, out), place = operand
    at, pixel = plus(times(stage, EXTENT * WORDS), place), plus(k, ahead)
    n, z0, y0, x0 = place_of_pixel(pixel, move, out)
    z0 = z0 if minus(pixel, k0) < last else int32(FAR)
    piece = offset(p, int64(n) * image_step + (int64(z0) * height + int64(y0)) * width + int64(x0))
    for i in range(EXTENT // 8):
        far, dz, dy, dx = load4(table, 32 * i)
        inside = within(plus(z0, dz), depth) and within(plus(y0, dy), height) and within(plus(x0, dx), width)
        copy_word(room, plus(at, 8 * WORDS * i), piece, far, 0, int32(inside))


PERIODIC = Loader(start_periodic, fetch_periodic, False)
MOVED = Loader(start_moved, fetch_moved, True)
PATCHES = Loader(start_patches, fetch_patches, False)


# ---- the kernels


@device
def seen(mask, bit, count, start, move, stride, size):
    """`mask` with a bit, from `bit` on, for each place of a kernel along an axis that is inside of an image."""
    for i in range(count):
        v = plus(start, times(i, move))
        o = over(max(v, int32(0)), stride)
        if v >= 0 and times(o, stride) == v and o < size:
            mask = int32(mask | int32(int32(1) << plus(bit, i)))
    return mask


@device
def origin(start, stride):
    """Where a tap that moves nothing is: start / stride, rounded down; only a stride of 1 has negative ones."""
    return start if stride == 1 else over(start, stride)


@device
def store_pixels(out, bias, sums, m0, c0, rows, columns, pixels, group, groups, beta, low, flags):
    """out[image, group, row, pixel] = max(sum + beta * out + bias[group, row], low), for the sums of `accumulate`."""
    held = stack(16, float32)
    for part in range(SUMS // 16):
        sums = take(held, sums, 16)
        for j in range(8):
            column = plus(c0, 32 * (part & 1) + 8 * (j >> 1) + (j & 1))
            image = int64(over(min(column, minus(columns, 1)), pixels))
            place = (image * groups + group) * rows * pixels + int64(column) - image * pixels
            for e in range(2):
                m = int64(plus(m0, 16 * (part >> 1) + 8 * e))
                if m < rows and column < columns:
                    at, total = place + m * pixels, held[4 * (j >> 1) + 2 * e + (j & 1)]
                    out[at] = finished(total, out, at, bias, group * rows + m, T(1), beta, low, flags)


def conv_kernel(
    out: T_ptr, weight: T_ptr, x: T_ptr, bias: T_ptr, table: i32_ptr, N: i64, G: i64, M: i64, Q: i64, OD: i64, OH: i64,
    OW: i64, ID: i64, IH: i64, IW: i64, KD: i64, KH: i64, KW: i64, scale_d: i64, scale_h: i64, scale_w: i64, shift_d: i64,
    shift_h: i64, shift_w: i64, move_d: i64, move_h: i64, move_w: i64, stride_d: i64, stride_h: i64, stride_w: i64,
    line_step: i64, period: i64, by_period: i64, period_shift: i64, jump: i64, beta: real, low: real, flags: i64,
    height: i64, width: i64,
):  # fmt: skip
    """out (N, G M, O..) = sums of weights and of x (N, G Q, I..) (+ beta * out + bias), clamped below.

    A row of `table` is (elements, bits): how far a tap moves, which bits of a pixel's mask it needs.
    """
    room_a, room_b = shared(ROOM_A, uint32), shared(ROOM_B, uint32)
    pixels, K, size = OD * OH * OW, Q * KD * KH * KW, ID * IH * IW
    i0, j0, g = tile_of_block(M, N * pixels, HEIGHT, WIDTH)
    column = plus(j0, thread())
    n, z, y, u = pixel_of(column, N * pixels, OD, OH, OW)
    z, y, u = plus(times(z, scale_d), shift_d), plus(times(y, scale_h), shift_h), plus(times(u, scale_w), shift_w)
    mask = int32(0)
    if column < N * pixels:
        mask = seen(mask, 0, KD, z, move_d, stride_d, ID)
        mask = seen(mask, KD, KH, y, move_h, stride_h, IH)
        mask = seen(mask, KD + KH, KW, u, move_w, stride_w, IW)
    z, y, u = origin(z, stride_d), origin(y, stride_h), origin(u, stride_w)
    image = offset(x, (int64(n) * G + g) * Q * size + (int64(z) * IH + int64(y)) * IW + int64(u))
    left = start_a(offset(weight, g * M * K), i0, M, line_step, int32(0), period, by_period, period_shift, jump)
    sums = accumulate(left, start_b(image, table, mask), int32(K), room_a, room_b)
    m0, c0 = plus(plus(i0, warp_row()), lane() >> int32(2)), plus(plus(j0, warp_col()), times(lane() & int32(3), 2))
    store_pixels(out, bias, sums, m0, c0, M, N * pixels, pixels, int64(g), G, beta, low, flags)


def weight_kernel(
    work: T_ptr, x: T_ptr, dy: T_ptr, table: i32_ptr, N: i64, G: i64, M: i64, Q: i64, ID: i64, IH: i64, IW: i64, SD: i64,
    SH: i64, SW: i64, PD: i64, PH: i64, PW: i64, taps: i64, pixels: i64, by_pixels: i64, pixels_shift: i64, area: i64,
    by_area: i64, area_shift: i64, line: i64, by_line: i64, line_shift: i64, parts: i64, span: i64, height: i64, width: i64,
):  # fmt: skip
    """work[parts, G M, Q, taps]: the sums over the pixels p * span .. (p + 1) * span of all images, for each part p."""
    room_a, room_b = shared(ROOM_A, uint32), shared(ROOM_B, uint32)
    columns = Q * taps
    i0, j0, matrix = tile_of_block(M, columns, HEIGHT, WIDTH)
    move = (int32(SD), int32(SH), int32(SW), int32(PD), int32(PH), int32(PW))
    out = (
        int32(pixels), uint32(by_pixels), int32(pixels_shift), int32(area), uint32(by_area), int32(area_shift), int32(line),
        uint32(by_line), int32(line_shift),
    )  # fmt: skip
    size = (int32(ID), int32(IH), int32(IW))
    left, right, last = weight_sides(x, dy, table, i0, j0, matrix, N, G, M, Q, pixels, ID * IH * IW, span, size, move, out)
    sums = accumulate(left, right, last, room_a, room_b)
    held, made = stack(16, float32), offset(work, int64(matrix) * M * columns)
    m0, c0 = plus(plus(i0, warp_row()), lane() >> int32(2)), plus(plus(j0, warp_col()), times(lane() & int32(3), 2))
    for piece in range(SUMS // 16):
        sums = take(held, sums, 16)
        for e in range(16):
            m = int64(plus(m0, 16 * (piece >> 1) + 8 * ((e >> 1) & 1)))
            r = int64(plus(c0, 32 * (piece & 1) + 8 * (e >> 2) + (e & 1)))
            if m < M and r < columns:
                made[m * columns + r] = held[e]


HEIGHTS = {64: "half", 128: "whole"}  # rows of a tile, and what its kernels are called


def _variants(
    function: Any, name: str, grid: Any, left: Loader, right: Loader, blocks: int, helpers: tuple[Any, ...] = ()
) -> dict[int, Any]:  # fmt: skip
    """A kernel for each height of tiles; a multiprocessor holds `blocks` of the lower ones."""
    made = {}
    for height, size in HEIGHTS.items():
        names = shaped(height, f"{name}_{size}", left, right)
        for helper in helpers:
            names[helper.name] = device(bound(helper.py, f"{name}_{size}_{helper.name}", **names))
        decorate = kernel(grid=grid, threads=THREADS, min_blocks=blocks if height == 64 else 2)
        made[height] = decorate(bound(function, f"{name}_{size}", **names))
    return made


conv_of = _variants(conv_kernel, "conv_tensor", forward_grid, PERIODIC, MOVED, 3, (store_pixels,))
weight_of = _variants(weight_kernel, "weight_tensor", weight_grid, PERIODIC, PATCHES, 2, (weight_sides,))
