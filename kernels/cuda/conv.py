"""Convolution in one, two and three dimensions by implicit matrix products: forward and both gradients.

    forward        y[m, pixel]     = sum over (c, tap)   w[m, (c, tap)]   x[c, pixel moved by the tap]
    input grad     dx[c, pixel]    = sum over (m, tap)   w[(m, tap), c]   dy[m, pixel moved back onto its grid]
    weight grad    dw[m, (c, tap)] = sum over pixels     dy[m, pixel]     x[c, pixel moved by the tap]

The operands of a tile (tile.py) are gathered from the tensors as they lie; nothing is unfolded in memory. Columns
of the first two are the pixels of all images. Numbers are taken apart by the divisors that conv_plan.py gives
with their multiplier and shift. Shapes: x (N, G Q, I..), w (G M, Q, K..), y (N, G M, O..); names of axes d h w.
"""

from __future__ import annotations

from numpy import int32, int64, uint32, uint64

from ..jit import T, T_ptr, device, i64, real
from ..loops import quotient
from ..memory import offset, stack
from .gpu import block, shared, take, thread
from .index import element
from .launch import bound, ceil_div, kernel
from .matmul import finished
from .tile import (
    FETCHED,
    HEIGHT,
    LARGE,
    MEDIUM,
    ROOM_A,
    ROOM_B,
    SIDE,
    THREADS,
    WIDTH,
    col_of,
    multiply,
    row_of,
    shaped,
    spot,
)  # fmt: skip


@device
def divide(i, multiplier, shift):
    """i // d for 0 <= i < 2**31, and the d of elementwise.divisor."""
    high = uint32((uint64(uint32(i)) * uint64(multiplier)) >> uint64(32))
    return int32(uint32(uint32(high + uint32(i)) >> uint32(shift)))


@device
def times(a, b):
    """a * b in int32."""
    return int32(int32(a) * int32(b))


@device
def within(v, size):
    """0 <= v < size, for int32."""
    return uint32(v) < uint32(size)


@device
def tap_of(k, taps, by_taps, taps_shift, plane, by_plane, plane_shift, row, by_row, row_shift):
    """(channel, d, h, w) of number k among (channel, tap): `taps`, `plane`, `row` are KD KH KW, KH KW and KW."""
    channel = divide(k, by_taps, taps_shift)
    tap = int32(k - times(channel, taps))
    d = divide(tap, by_plane, plane_shift)
    rest = int32(tap - times(d, plane))
    h = divide(rest, by_row, row_shift)
    return channel, d, h, int32(rest - times(h, row))


@device
def pixel_of(column, columns, depth, height, width):
    """(image, d, h, w) of a column; the last one's where there are no more columns."""
    at = min(column, columns - 1)
    line = quotient(at, width)
    level = quotient(line, height)
    image = quotient(level, depth)
    return image, int32(level - image * depth), int32(line - level * height), int32(at - line * width)


@device
def my_tile(rows, columns):
    """(first row, first column, number of the matrix) of this block's tile."""
    across, down = quotient(columns + WIDTH - 1, int64(WIDTH)), quotient(rows + HEIGHT - 1, int64(HEIGHT))
    line = quotient(int64(block()), across)
    matrix = quotient(line, down)
    return (line - matrix * down) * HEIGHT, (int64(block()) - line * across) * WIDTH, matrix


@device
def store_pixels(out, bias, sums, i0, j0, rows, columns, pixels, group, groups, beta, low, flags):
    """out[image, group, row, pixel] = max(sum + beta * out + bias[group, row], low)."""
    held, places = stack(SIDE, T), stack(SIDE, int64)
    for j in range(SIDE):
        column = j0 + col_of(j)
        image = quotient(column, pixels)
        places[j] = (image * groups + group) * rows * pixels + column - image * pixels
    for i in range(SIDE):
        sums = take(held, sums, SIDE)
        m = i0 + row_of(i)
        for j in range(SIDE):
            if m < rows and j0 + col_of(j) < columns:
                at = places[j] + m * pixels
                out[at] = finished(held[j], out, at, bias, group * rows + m, T(1), beta, low, flags)


# ---- forward


@device
def gather_moved(values, operand, along, extent, k, last):
    """x at this thread's pixel moved by the taps of four k, 0 outside of the image."""
    p, on, z0, y0, x0, depth, height, width, ld, lh, lw, taps, a, b, plane, c, d, row, e, f = operand
    for j in range(FETCHED):
        _, deep = spot(j, along, extent)
        at = int32(k + deep)
        channel, kd, kh, kw = tap_of(at, taps, a, b, plane, c, d, row, e, f)
        z, y, x = int32(z0 + times(kd, ld)), int32(y0 + times(kh, lh)), int32(x0 + times(kw, lw))
        values[j] = T(0)
        if on and at < last and within(z, depth) and within(y, height) and within(x, width):
            values[j] = p[((int64(channel) * depth + z) * height + y) * width + x]


def forward_kernel(
    out: T_ptr, weight: T_ptr, x: T_ptr, bias: T_ptr, N: i64, G: i64, M: i64, Q: i64, ID: i64, IH: i64, IW: i64,
    OD: i64, OH: i64, OW: i64, SD: i64, SH: i64, SW: i64, PD: i64, PH: i64, PW: i64, LD: i64, LH: i64, LW: i64,
    taps: i64, by_taps: i64, taps_shift: i64, plane: i64, by_plane: i64, plane_shift: i64, row: i64, by_row: i64,
    row_shift: i64, beta: real, low: real, flags: i64, height: i64, width: i64,
):  # fmt: skip
    """out = conv(x, weight) + beta * out + bias, clamped below."""
    room_a, room_b = shared(ROOM_A, T), shared(ROOM_B, T)
    pixels = OD * OH * OW
    columns, K = N * pixels, Q * taps
    i0, j0, g = my_tile(M, columns)
    column = j0 + int64(uint32(thread()) % uint32(WIDTH))
    n, z, y, u = pixel_of(column, columns, OD, OH, OW)
    left = (offset(weight, g * M * K), i0, M, K, int64(1))
    right = (
        offset(x, (n * G + g) * Q * ID * IH * IW), column < columns, int32(times(z, SD) - int32(PD)),
        int32(times(y, SH) - int32(PH)), int32(times(u, SW) - int32(PW)), ID, IH, IW, LD, LH, LW,
        taps, by_taps, taps_shift, plane, by_plane, plane_shift, row, by_row, row_shift,
    )  # fmt: skip
    sums = multiply(left, right, int32(1), int32(0), int64(0), K, room_a, room_b)
    store_pixels(out, bias, sums, i0, j0, M, columns, pixels, g, G, beta, low, flags)


# ---- input gradient


@device
def gather_weights(values, operand, along, extent, k, last):
    """w[(m, tap), c] for four channels c and this thread's k = (m, tap)."""
    p, first, channels, taps, by_taps, taps_shift = operand
    for j in range(FETCHED):
        line, deep = spot(j, along, extent)
        at = int32(k + deep)
        m = divide(at, by_taps, taps_shift)
        c = first + line
        values[j] = T(0)
        if c < channels and at < last:
            values[j] = p[(int64(m) * channels + c) * taps + int32(at - times(m, taps))]


@device
def on_grid(v, by_stride, stride_shift, stride, size):
    """(v / stride, whether that is a whole number in 0..size)."""
    o = divide(max(v, int32(0)), by_stride, stride_shift)
    return o, v >= 0 and times(o, stride) == v and o < size


@device
def gather_back(values, operand, along, extent, k, last):
    """dy at the outputs that this thread's pixel went to by the taps of four k; 0 where it went to none."""
    p, on, z0, y0, x0, depth, height, width, steps, ld, lh, lw, taps, a, b, plane, c, d, row, e, f = operand
    sd, by_d, d_shift, sh, by_h, h_shift, sw, by_w, w_shift = steps
    for j in range(FETCHED):
        _, deep = spot(j, along, extent)
        at = int32(k + deep)
        m, kd, kh, kw = tap_of(at, taps, a, b, plane, c, d, row, e, f)
        z, in_z = on_grid(int32(z0 - times(kd, ld)), by_d, d_shift, sd, depth)
        y, in_y = on_grid(int32(y0 - times(kh, lh)), by_h, h_shift, sh, height)
        x, in_x = on_grid(int32(x0 - times(kw, lw)), by_w, w_shift, sw, width)
        values[j] = T(0)
        if on and at < last and in_z and in_y and in_x:
            values[j] = p[((int64(m) * depth + z) * height + y) * width + x]


def input_grad_kernel(
    out: T_ptr, weight: T_ptr, x: T_ptr, bias: T_ptr, N: i64, G: i64, M: i64, Q: i64, ID: i64, IH: i64, IW: i64,
    OD: i64, OH: i64, OW: i64, SD: i64, by_d: i64, d_shift: i64, SH: i64, by_h: i64, h_shift: i64, SW: i64,
    by_w: i64, w_shift: i64, PD: i64, PH: i64, PW: i64, LD: i64, LH: i64, LW: i64, taps: i64, by_taps: i64,
    taps_shift: i64, plane: i64, by_plane: i64, plane_shift: i64, row: i64, by_row: i64, row_shift: i64,
    beta: real, low: real, flags: i64, height: i64, width: i64,
):  # fmt: skip
    """out = gradient of the input (N, G Q, I..) for the output gradient x (N, G M, O..) (+ beta * out + bias)."""
    room_a, room_b = shared(ROOM_A, T), shared(ROOM_B, T)
    pixels = ID * IH * IW
    columns, K = N * pixels, M * taps
    i0, j0, g = my_tile(Q, columns)
    column = j0 + int64(uint32(thread()) % uint32(WIDTH))
    n, z, y, u = pixel_of(column, columns, ID, IH, IW)
    left = (offset(weight, g * K * Q), i0, Q, taps, by_taps, taps_shift)
    right = (
        offset(x, (n * G + g) * M * OD * OH * OW), column < columns, int32(z + int32(PD)), int32(y + int32(PH)),
        int32(u + int32(PW)), OD, OH, OW, (SD, by_d, d_shift, SH, by_h, h_shift, SW, by_w, w_shift), LD, LH, LW,
        taps, by_taps, taps_shift, plane, by_plane, plane_shift, row, by_row, row_shift,
    )  # fmt: skip
    sums = multiply(left, right, int32(1), int32(0), int64(0), K, room_a, room_b)
    store_pixels(out, bias, sums, i0, j0, Q, columns, pixels, g, G, beta, low, flags)


# ---- weight gradient


@device
def gather_outputs(values, operand, along, extent, k, last):
    """dy[m, pixel] for four m and this thread's k, a pixel of all images."""
    p, first, rows, image_step, pixels, by_pixels, pixels_shift = operand
    for j in range(FETCHED):
        line, deep = spot(j, along, extent)
        at = int32(k + deep)
        n = divide(at, by_pixels, pixels_shift)
        m = first + line
        values[j] = T(0)
        if m < rows and at < last:
            values[j] = p[n * image_step + m * pixels + int32(at - times(n, pixels))]


@device
def gather_inputs(values, operand, along, extent, k, last):
    """x[c, pixel moved by the tap] for four columns (c, tap) and this thread's k, a pixel of all images."""
    p, first, columns, image_step, size, move, out, taps, a, b, plane, c, d, row, e, f = operand
    depth, height, width = size
    sd, sh, sw, pd, ph, pw, ld, lh, lw = move
    pixels, by_pixels, pixels_shift, area, by_area, area_shift, line_length, by_line, line_shift = out
    for j in range(FETCHED):
        line, deep = spot(j, along, extent)
        at = int32(k + deep)
        n, oz, oy, ox = tap_of(
            at, pixels, by_pixels, pixels_shift, area, by_area, area_shift, line_length, by_line, line_shift
        )
        column = int32(first + line)
        channel, kd, kh, kw = tap_of(column, taps, a, b, plane, c, d, row, e, f)
        z = int32(int32(times(oz, sd) - int32(pd)) + times(kd, ld))
        y = int32(int32(times(oy, sh) - int32(ph)) + times(kh, lh))
        x = int32(int32(times(ox, sw) - int32(pw)) + times(kw, lw))
        values[j] = T(0)
        if column < columns and at < last and within(z, depth) and within(y, height) and within(x, width):
            values[j] = p[n * image_step + ((int64(channel) * depth + z) * height + y) * width + x]


def weight_grad_kernel(
    work: T_ptr, x: T_ptr, dy: T_ptr, N: i64, G: i64, M: i64, Q: i64, ID: i64, IH: i64, IW: i64, SD: i64, SH: i64,
    SW: i64, PD: i64, PH: i64, PW: i64, LD: i64, LH: i64, LW: i64, taps: i64, by_taps: i64, taps_shift: i64,
    plane: i64, by_plane: i64, plane_shift: i64, row: i64, by_row: i64, row_shift: i64, pixels: i64,
    by_pixels: i64, pixels_shift: i64, area: i64, by_area: i64, area_shift: i64, line: i64, by_line: i64,
    line_shift: i64, parts: i64, span: i64, height: i64, width: i64,
):  # fmt: skip
    """work[parts, G M, Q, taps]: the sums over the pixels p * span .. (p + 1) * span of all images, for each part p."""
    room_a, room_b = shared(ROOM_A, T), shared(ROOM_B, T)
    columns, inputs = Q * taps, ID * IH * IW
    i0, j0, matrix = my_tile(M, columns)
    part = quotient(matrix, G)
    g = matrix - part * G
    left = (offset(dy, g * M * pixels), i0, M, G * M * pixels, pixels, by_pixels, pixels_shift)
    right = (
        offset(x, g * Q * inputs), j0, columns, G * Q * inputs, (ID, IH, IW), (SD, SH, SW, PD, PH, PW, LD, LH, LW),
        (pixels, by_pixels, pixels_shift, area, by_area, area_shift, line, by_line, line_shift),
        taps, by_taps, taps_shift, plane, by_plane, plane_shift, row, by_row, row_shift,
    )  # fmt: skip
    first = part * span
    last = min(N * pixels, first + span)
    sums = multiply(left, right, int32(1), int32(1), first, last, room_a, room_b)
    held, out = stack(SIDE, T), offset(work, matrix * M * columns)
    for i in range(SIDE):
        sums = take(held, sums, SIDE)
        m = i0 + row_of(i)
        for j in range(SIDE):
            r = j0 + col_of(j)
            if m < M and r < columns:
                out[m * columns + r] = held[j]


@kernel(grid=lambda count: ceil_div(count, THREADS), threads=THREADS)
def weight_sum(dw: T_ptr, work: T_ptr, count: i64, parts: i64, accumulate: i64):
    """dw[count] = sum of work[parts, count] in order (+ dw with `accumulate`)."""
    i = element()
    if i < count:
        total = T(0)
        for p in range(parts):
            total += work[p * count + i]
        dw[i] = total + dw[i] if accumulate != 0 else total


# ---- the kernels: each formula with two tiles


def forward_grid(N: int, G: int, M: int, OD: int, OH: int, OW: int, height: int, width: int) -> int:
    """A block for each tile of output channels and pixels, of each group."""
    return ceil_div(M, height) * ceil_div(N * OD * OH * OW, width) * G


def input_grid(N: int, G: int, Q: int, ID: int, IH: int, IW: int, height: int, width: int) -> int:
    """A block for each tile of input channels and pixels, of each group."""
    return ceil_div(Q, height) * ceil_div(N * ID * IH * IW, width) * G


def weight_grid(G: int, M: int, Q: int, taps: int, parts: int, height: int, width: int) -> int:
    """A block for each tile of each part of each group."""
    return ceil_div(M, height) * ceil_div(Q * taps, width) * G * parts


def _both(function, name, grid, **gathers):
    made = []
    for shape, size in ((LARGE, "large"), (MEDIUM, "medium")):
        names = shaped(shape, f"{name}_{size}", **gathers)
        for helper in (my_tile, store_pixels):
            names[helper.name] = device(bound(helper.py, f"{name}_{size}_{helper.name}", **names))
        decorate = kernel(grid=grid, threads=THREADS, min_blocks=1 if shape is LARGE else 2)
        made.append(decorate(bound(function, f"{name}_{size}", **names)))
    return made


forward_large, forward_medium = _both(forward_kernel, "forward", forward_grid, gather_b=gather_moved)
input_grad_large, input_grad_medium = _both(
    input_grad_kernel, "input_grad", input_grid, gather_a=gather_weights, gather_b=gather_back
)
weight_grad_large, weight_grad_medium = _both(
    weight_grad_kernel, "weight_grad", weight_grid, gather_a=gather_outputs, gather_b=gather_inputs
)
