"""Convolution in one, two and three dimensions by implicit matrix products: forward and both gradients.

    forward        y[m, pixel]     = sum over (c, tap)   w[m, (c, tap)]   x[c, pixel moved by the tap]
    input grad     dx[c, pixel]    = sum over (m, tap)   w[(m, tap), c]   dy[m, pixel moved back onto its grid]
    weight grad    dw[m, (c, tap)] = sum over pixels     dy[m, pixel]     x[c, pixel moved by the tap]

The operands of a tile (tile.py) are gathered from the tensors as they lie; nothing is unfolded in memory. Columns
of the first two are the pixels of all images. What a (channel, tap) means comes from a table, conv_plan.py's: how far its
element is from that of channel 0 and the first tap, and how far it moves along d, h and w; so a gathered element costs
a read of the table, three comparisons and its own read. Shapes: x (N, G Q, I..), w (G M, Q, K..), y (N, G M, O..).
"""

from __future__ import annotations

from typing import Any

from numpy import int32, int64, uint32

from ..jit import T, T_ptr, device, i32_ptr, i64, real
from ..memory import offset, stack
from .gpu import load4, shared, take, thread
from .index import element
from .launch import bound, ceil_div, kernel
from .matmul import finished
from .place import divide, minus, over, plus, tile_of_block, times, within
from .tile import (
    COLS,
    EACH,
    EXTENT,
    FLAT,
    HEIGHT,
    PITCH,
    ROOM_A,
    ROOM_B,
    STRIDED,
    THREADS,
    WIDE,
    WIDTH,
    Loader,
    col_of,
    lanes_along,
    multiply,
    put_strided,
    row_of,
    shaped,
    start_a,
    start_b,
)

FAR = -(1 << 30)  # a place that no image has
SINGLE = 256  # threads of a block of `weight_sum`


@device
def pixel_of(column, columns, depth, height, width):
    """(image, d, h, w) of a column; the last one's where there are no more columns."""
    at = int32(min(int32(column), minus(columns, 1)))
    line = over(at, width)
    level = over(line, height)
    image = over(level, depth)
    return image, minus(level, times(image, depth)), minus(line, times(level, height)), minus(at, times(line, width))


@device
def store_pixels(out, bias, sums, i0, j0, rows, columns, pixels, group, groups, beta, low, flags):
    """out[image, group, row, pixel] = max(sum + beta * out + bias[group, row], low)."""
    held, places = stack(COLS, T), stack(COLS, int64)
    for j in range(COLS):
        column = plus(j0, col_of(j))
        image = int64(over(column, pixels))
        places[j] = (image * groups + group) * rows * pixels + int64(column) - image * pixels
    for i in range(8):
        sums = take(held, sums, COLS)
        m = int64(plus(i0, row_of(i)))
        for j in range(COLS):
            if m < rows and plus(j0, col_of(j)) < columns:
                at = places[j] + m * pixels
                out[at] = finished(held[j], out, at, bias, group * rows + m, T(1), beta, low, flags)


# ---- loaders; see tile.py


@device
def start_moved(p, table, kind, z0, y0, x0, depth, height, width):
    """A column is this thread's pixel, whose first tap is at (z0, y0, x0) of the image `p`; lanes run along the pixels."""
    line, deep = int32(uint32(thread()) % uint32(EXTENT)), int32(uint32(thread()) // uint32(EXTENT))
    q = offset(p, (int64(z0) * height + int64(y0)) * width + int64(x0))
    where = (z0, y0, x0, int32(depth), int32(height), int32(width), kind)
    return q, int64(0), table, where, deep, 0, 0, plus(times(deep, PITCH), line), int32(THREADS // EXTENT * PITCH)


@device
def gather_moved(values, piece, operand, k, last):
    """x at this thread's pixel moved by the taps of EACH k, 0 outside of the image."""
    _, _, table, where, deep, _, _, _, _ = operand
    for j in range(EACH):
        ahead, dz, dy, dx = load4(table, times(plus(plus(k, deep), j * (THREADS // EXTENT)), 4))
        z, y, x = plus(where[0], dz), plus(where[1], dy), plus(where[2], dx)
        values[j] = T(0)
        if within(z, where[3]) and within(y, where[4]) and within(x, where[5]):
            values[j] = piece[ahead]


@device
def gather_back(values, piece, operand, k, last):
    """dy at the outputs that this thread's pixel went to by the taps of EACH k, if they are of its kind (see conv_plan.py)."""
    _, _, table, where, deep, _, _, _, _ = operand
    for j in range(EACH):
        row = times(plus(plus(k, deep), j * (THREADS // EXTENT)), 8)
        ahead, dz, dy, dx = load4(table, row)
        z, y, x, kind = plus(where[0], dz), plus(where[1], dy), plus(where[2], dx), table[plus(row, 4)]
        values[j] = T(0)
        if kind == where[6] and within(z, where[3]) and within(y, where[4]) and within(x, where[5]):
            values[j] = piece[ahead]


@device
def start_periodic(p, first, lines, line_step, k0, period, by, shift, jump):
    """Lines `line_step` apart; element k0 + k of one lies at k0 + k, plus `jump` for each whole `period` in it."""
    line, deep, place, aside = lanes_along()
    q = offset(p, int64(plus(first, line)) * line_step)
    return q, int64(0), minus(minus(lines, first), line), plus(k0, deep), int64(aside) * line_step, (uint32(by), int32(shift), jump), k0, place, aside


@device
def gather_periodic(values, piece, operand, k, last):
    _, _, room, deep, step, (by, shift, jump), k0, _, _ = operand
    at = plus(k, deep)
    p, on = offset(piece, int64(at) + int64(divide(at, by, shift)) * jump), minus(at, k0) < last
    for j in range(EACH):
        values[j] = T(0)
        if on and j * (THREADS // 8) < room:
            values[j] = p[j * step]


@device
def place_of_pixel(at, move, out):
    """(image, d, h, w): where the first tap of number `at` among the output pixels of all images is."""
    sd, sh, sw, pd, ph, pw = move
    pixels, by_pixels, pixels_shift, area, by_area, area_shift, row, by_row, row_shift = out
    n = divide(at, by_pixels, pixels_shift)
    pixel = minus(at, times(n, pixels))
    oz = divide(pixel, by_area, area_shift)
    pixel = minus(pixel, times(oz, area))
    oy = divide(pixel, by_row, row_shift)
    x = minus(times(minus(pixel, times(oy, row)), sw), pw)
    return n, minus(times(oz, sd), pd), minus(times(oy, sh), ph), x


@device
def start_patches(p, table, first, k0, image_step, size, move, out):
    """A line is a (channel, tap), which `table` explains; k is a pixel of all images, lanes run along it."""
    line, deep, place, aside = lanes_along()
    return p, int64(0), offset(table, 4 * int64(plus(first, line))), (image_step, *size), plus(k0, deep), (move, out), k0, place, aside


@device
def gather_patches(values, piece, operand, k, last):
    """x[c, pixel moved by the tap] for EACH (c, tap) and this thread's k."""
    _, _, table, (image_step, depth, height, width), deep, (move, out), k0, _, _ = operand
    at = plus(k, deep)
    n, z0, y0, x0 = place_of_pixel(at, move, out)
    z0 = z0 if minus(at, k0) < last else int32(FAR)
    p = offset(piece, int64(n) * image_step + (int64(z0) * height + int64(y0)) * width + int64(x0))
    for j in range(EACH):
        ahead, dz, dy, dx = load4(table, 4 * j * (THREADS // 8))
        values[j] = T(0)
        if within(plus(z0, dz), depth) and within(plus(y0, dy), height) and within(plus(x0, dx), width):
            values[j] = p[ahead]


MOVED = Loader(start_moved, gather_moved, put_strided)
BACK = Loader(start_moved, gather_back, put_strided)
PERIODIC = Loader(start_periodic, gather_periodic, put_strided)
PATCHES = Loader(start_patches, gather_patches, put_strided)


# ---- the kernels


@device
def weight_sides(x, dy, table, i0, j0, matrix, N, G, M, Q, pixels, inputs, span, size, move, out):
    """(rows of dy, patches of x, how many pixels) of a tile of the weight's gradient: part `matrix` // G, a group each."""
    part = over(matrix, G)
    g, first = minus(matrix, times(part, G)), times(part, span)
    left = start_a(offset(dy, g * M * pixels), i0, M, pixels, first, pixels, out[1], out[2], (G * M - 1) * pixels)
    right = start_b(offset(x, g * Q * inputs), table, j0, first, G * Q * inputs, size, move, out)
    return left, right, int32(min(N * pixels - first, span))


@device
def note(notes, i0, j0, matrix):
    """Keep the block's place in shared memory until the sums are there: registers are for them."""
    if thread() == 0:
        notes[0], notes[1], notes[2] = i0, j0, matrix


def forward_kernel(
    out: T_ptr, weight: T_ptr, x: T_ptr, bias: T_ptr, table: i32_ptr, N: i64, G: i64, M: i64, Q: i64, ID: i64, IH: i64,
    IW: i64, OD: i64, OH: i64, OW: i64, SD: i64, SH: i64, SW: i64, PD: i64, PH: i64, PW: i64, taps: i64, beta: real,
    low: real, flags: i64, height: i64, width: i64,
):  # fmt: skip
    """out = conv(x, weight) + beta * out + bias, clamped below; a row of `table` is (elements, d, h, w) that a tap moves."""
    room_a, room_b, notes = shared(ROOM_A, T), shared(ROOM_B, T), shared(4, int32)
    pixels, K = OD * OH * OW, Q * taps
    i0, j0, g = tile_of_block(M, N * pixels, HEIGHT, WIDTH)
    note(notes, i0, j0, g)
    column = plus(j0, uint32(thread()) % uint32(WIDTH))
    n, z, y, u = pixel_of(column, N * pixels, OD, OH, OW)
    z0 = minus(times(z, SD), PD) if column < N * pixels else int32(FAR)
    left = start_a(offset(weight, g * M * K), i0, M, K, int64(1))
    image = offset(x, (int64(n) * G + g) * Q * ID * IH * IW)
    right = start_b(image, table, 0, z0, minus(times(y, SH), PH), minus(times(u, SW), PW), ID, IH, IW)
    sums = multiply(left, right, int32(K), room_a, room_b)
    store_pixels(out, bias, sums, notes[0], notes[1], M, N * pixels, pixels, int64(notes[2]), G, beta, low, flags)


def input_grad_kernel(
    out: T_ptr, weight: T_ptr, x: T_ptr, bias: T_ptr, table: i32_ptr, N: i64, G: i64, M: i64, Q: i64, ID: i64, IH: i64,
    IW: i64, OD: i64, OH: i64, OW: i64, SD: i64, SH: i64, SW: i64, PD: i64, PH: i64, PW: i64, taps: i64, by_taps: i64,
    taps_shift: i64, beta: real, low: real, flags: i64, height: i64, width: i64,
):  # fmt: skip
    """out = gradient of the input (N, G Q, I..) for the output gradient x (N, G M, O..) (+ beta * out + bias).

    A row of `table` is (elements, d, h, w, kind, ..): a tap counts for pixels of its kind, which is their place in a stride.
    """
    room_a, room_b, notes = shared(ROOM_A, T), shared(ROOM_B, T), shared(4, int32)
    pixels, K = ID * IH * IW, M * taps
    i0, j0, g = tile_of_block(Q, N * pixels, HEIGHT, WIDTH)
    note(notes, i0, j0, g)
    column = plus(j0, uint32(thread()) % uint32(WIDTH))
    n, z, y, u = pixel_of(column, N * pixels, ID, IH, IW)
    z, y, u = plus(z, PD), plus(y, PH), plus(u, PW)
    z0, y0, x0 = over(z, SD), over(y, SH), over(u, SW)
    kind = plus(times(plus(times(minus(z, times(z0, SD)), SH), minus(y, times(y0, SH))), SW), minus(u, times(x0, SW)))
    z0 = z0 if column < N * pixels else int32(FAR)
    left = start_a(offset(weight, g * K * Q), i0, Q, taps, int32(0), taps, by_taps, taps_shift, (Q - 1) * taps)
    image = offset(x, (int64(n) * G + g) * M * OD * OH * OW)
    right = start_b(image, table, kind, z0, y0, x0, OD, OH, OW)
    sums = multiply(left, right, int32(K), room_a, room_b)
    store_pixels(out, bias, sums, notes[0], notes[1], Q, N * pixels, pixels, int64(notes[2]), G, beta, low, flags)


def weight_grad_kernel(
    work: T_ptr, x: T_ptr, dy: T_ptr, table: i32_ptr, N: i64, G: i64, M: i64, Q: i64, ID: i64, IH: i64, IW: i64, SD: i64,
    SH: i64, SW: i64, PD: i64, PH: i64, PW: i64, taps: i64, pixels: i64, by_pixels: i64, pixels_shift: i64, area: i64,
    by_area: i64, area_shift: i64, line: i64, by_line: i64, line_shift: i64, parts: i64, span: i64, height: i64, width: i64,
):  # fmt: skip
    """work[parts, G M, Q, taps]: the sums over the pixels p * span .. (p + 1) * span of all images, for each part p."""
    room_a, room_b, notes = shared(ROOM_A, T), shared(ROOM_B, T), shared(4, int32)
    columns = Q * taps
    i0, j0, matrix = tile_of_block(M, columns, HEIGHT, WIDTH)
    note(notes, i0, j0, matrix)
    move = (int32(SD), int32(SH), int32(SW), int32(PD), int32(PH), int32(PW))
    out = (
        int32(pixels), uint32(by_pixels), int32(pixels_shift), int32(area), uint32(by_area), int32(area_shift), int32(line),
        uint32(by_line), int32(line_shift),
    )  # fmt: skip
    size = (int32(ID), int32(IH), int32(IW))
    left, right, last = weight_sides(x, dy, table, i0, j0, matrix, N, G, M, Q, pixels, ID * IH * IW, span, size, move, out)
    sums = multiply(left, right, last, room_a, room_b)
    held, made = stack(COLS, T), offset(work, int64(notes[2]) * M * columns)
    for i in range(8):
        sums = take(held, sums, COLS)
        m = int64(plus(notes[0], row_of(i)))
        for j in range(COLS):
            r = int64(plus(notes[1], col_of(j)))
            if m < M and r < columns:
                made[m * columns + r] = held[j]


@kernel(grid=lambda count: ceil_div(count, SINGLE), threads=SINGLE)
def weight_sum(dw: T_ptr, work: T_ptr, count: i64, parts: i64, accumulate: i64):
    """dw[count] = sum of work[parts, count] in order (+ dw with `accumulate`)."""
    i = element()
    if i < count:
        total = T(0)
        for p in range(parts):
            total += work[p * count + i]
        dw[i] = total + dw[i] if accumulate != 0 else total


# ---- each formula with two tiles


def forward_grid(N: int, G: int, M: int, OD: int, OH: int, OW: int, height: int, width: int) -> int:
    """A block for each tile of output channels and pixels, of each group."""
    return ceil_div(M, height) * ceil_div(N * OD * OH * OW, width) * G


def input_grid(N: int, G: int, Q: int, ID: int, IH: int, IW: int, height: int, width: int) -> int:
    """A block for each tile of input channels and pixels, of each group."""
    return ceil_div(Q, height) * ceil_div(N * ID * IH * IW, width) * G


def weight_grid(G: int, M: int, Q: int, taps: int, parts: int, height: int, width: int) -> int:
    """A block for each tile of each part of each group."""
    return ceil_div(M, height) * ceil_div(Q * taps, width) * G * parts


def _both(function: Any, name: str, grid: Any, left: Loader, right: Loader, blocks: int, helper: Any = store_pixels) -> list[Any]:
    """`blocks` of a multiprocessor: as many as the registers for the gathers leave; `helper` is made for these tiles, too."""
    made = []
    for shape in (WIDE, FLAT):
        names = shaped(shape, f"{name}_{shape.name}", left, right)
        names[helper.name] = device(bound(helper.py, f"{name}_{shape.name}_{helper.name}", **names))
        decorate = kernel(grid=grid, threads=shape.threads, min_blocks=blocks)
        made.append(decorate(bound(function, f"{name}_{shape.name}", **names)))
    return made


forward_wide, forward_flat = _both(forward_kernel, "forward", forward_grid, STRIDED, MOVED, 3)
input_grad_wide, input_grad_flat = _both(input_grad_kernel, "input_grad", input_grid, PERIODIC, BACK, 3)
weight_grad_wide, weight_grad_flat = _both(weight_grad_kernel, "weight_grad", weight_grid, PERIODIC, PATCHES, 2, weight_sides)
