"""Elements moved to other places: masks, flips, triangles, one-hot rows, counts, repeats, image windows.

The CUDA twin of cpu/rearrange.py. A thread makes one element of the result; masks are counted as in nonzero.py,
and counts are added up as in index.py, in order.
"""

from numpy import int32, int64, uint32

from ..cpu.nonzero import BLOCK
from ..jit import T, T_ptr, device, i64, i64_ptr, real, u8_ptr
from ..loops import quotient
from .gpu import ballot, barrier, block, count_bits, first_bit, shared, shuffle, thread
from .index import element
from .launch import ceil_div, kernel
from .nonzero import blocks_grid
from .team import lane, warp

THREADS, WARPS = 256, 8
SPAN = 32  # bins of one warp


@device
def place_among(found, room):
    """(how many threads of the block before this one have found, how many of all)."""
    votes = ballot(found)
    barrier()
    if lane() == 0:
        room[warp()] = count_bits(votes)
    barrier()
    before, total = int32(0), int32(0)
    for w in range(WARPS):
        if w < warp():
            before = int32(before + room[w])
        total = int32(total + room[w])
    below = uint32(votes & uint32(uint32(uint32(1) << uint32(lane())) - uint32(1)))
    return int32(before + count_bits(below)), total


@kernel(grid=blocks_grid, threads=THREADS)
def masked_select(y: T_ptr, x: T_ptr, mask: u8_ptr, starts: i64_ptr, n: i64):
    """y = the elements of x[n] where mask[n]; `starts` as in nonzero.py."""
    room = shared(WARPS, int32)
    base = int64(block()) * BLOCK
    end, at = min(n, base + BLOCK), starts[int64(block())]
    while base < end:
        i = base + thread()
        found = i < end and mask[min(i, end - 1)] != 0
        before, total = place_among(found, room)
        if found:
            y[at + before] = x[i]
        at += total
        base += THREADS


@kernel(grid=blocks_grid, threads=THREADS)
def masked_scatter(y: T_ptr, src: T_ptr, mask: u8_ptr, starts: i64_ptr, n: i64):
    """y[n] takes the elements of src in order where mask[n]; `starts` as in nonzero.py."""
    room = shared(WARPS, int32)
    base = int64(block()) * BLOCK
    end, at = min(n, base + BLOCK), starts[int64(block())]
    while base < end:
        i = base + thread()
        found = i < end and mask[min(i, end - 1)] != 0
        before, total = place_among(found, room)
        if found:
            y[i] = src[at + before]
        at += total
        base += THREADS


@kernel(grid=lambda n: ceil_div(n, THREADS), threads=THREADS)
def masked_fill(y: T_ptr, x: T_ptr, mask: u8_ptr, value: real, n: i64):
    """y[n] = value where mask[n], else x[n]."""
    i = element()
    if i < n:
        y[i] = value if mask[i] != 0 else x[i]


def rows_grid(outer: int, n: int, inner: int) -> int:
    """A thread for each element of (outer, n, inner)."""
    return ceil_div(outer * n * inner, THREADS)


@kernel(grid=rows_grid, threads=THREADS)
def flip(y: T_ptr, x: T_ptr, outer: i64, n: i64, inner: i64):
    """y[o, k, :] = x[o, n - 1 - k, :]."""
    i = element()
    if i < outer * n * inner:
        row = quotient(i, inner)
        o = quotient(row, n)
        y[i] = x[((2 * o + 1) * n - 1 - row) * inner + i - row * inner]


@kernel(grid=rows_grid, threads=THREADS)
def roll(y: T_ptr, x: T_ptr, outer: i64, n: i64, inner: i64, shift: i64):
    """y[o, (k + shift) % n, :] = x[o, k, :] with 0 <= shift < n."""
    i = element()
    if i < outer * n * inner:
        row = quotient(i, inner)
        k = row - quotient(row, n) * n
        y[i] = x[i - shift * inner if k >= shift else i + (n - shift) * inner]


@kernel(grid=lambda batch, rows, cols: ceil_div(batch * rows * cols, THREADS), threads=THREADS)
def triangle(y: T_ptr, x: T_ptr, batch: i64, rows: i64, cols: i64, diagonal: i64, upper: i64):
    """tril (or triu if `upper`) of x[batch, rows, cols]: the rest becomes 0."""
    i = element()
    if i < batch * rows * cols:
        row = quotient(i, cols)
        c, edge = i - row * cols, row - quotient(row, rows) * rows + diagonal
        keep = c >= edge if upper != 0 else c <= edge
        y[i] = x[i] if keep else T(0)


@kernel(grid=lambda n, classes: ceil_div(n * classes, THREADS), threads=THREADS)
def one_hot(y: i64_ptr, index: i64_ptr, n: i64, classes: i64):
    """y[n, classes] = 1 at index[n], else 0."""
    i = element()
    if i < n * classes:
        row = quotient(i, classes)
        y[i] = 1 if index[row] == i - row * classes else 0


@kernel(grid=lambda bins: ceil_div(ceil_div(bins, SPAN), WARPS), threads=THREADS)
def bincount(y: T_ptr, index: i64_ptr, weight: T_ptr, n: i64, bins: i64, weighted: i64):
    """y[bins] = how often each bin occurs in index[n], or the sum of its weights; a lane keeps one bin."""
    first = (int64(block()) * WARPS + int64(warp())) * SPAN
    if first < bins:
        total, k = T(0), int64(0)
        while k < n:
            mine = int64(-1)
            if k + lane() < n:
                b = index[k + lane()]
                if first <= b < first + SPAN:
                    mine = b - first
            votes = ballot(mine >= 0)
            while votes != 0:
                r = first_bit(votes)
                votes = uint32(votes & uint32(votes - uint32(1)))
                if shuffle(mine, r) == lane():
                    total = T(total + (weight[k + r] if weighted != 0 else T(1)))
            k += 32
        if first + lane() < bins:
            y[first + lane()] = total


@kernel(grid=lambda n: ceil_div(n, WARPS), threads=THREADS)
def repeat_index(y: i64_ptr, ends: i64_ptr, n: i64):
    """y = 0, 0, .., 1, .. with element k up to place ends[k] (running totals of the repeats); a warp for each k."""
    k = int64(block()) * WARPS + int64(warp())
    if k < n:
        i = (ends[k - 1] if k > 0 else int64(0)) + lane()
        while i < ends[k]:
            y[i] = k
            i += 32


def windows_grid(planes: int, yh: int, yw: int, kh: int, kw: int) -> int:
    """A thread for each pixel of each tap."""
    return ceil_div(planes * kh * kw * yh * yw, THREADS)


@kernel(grid=windows_grid, threads=THREADS)
def unfold_windows(
    y: T_ptr, x: T_ptr, planes: i64, xh: i64, xw: i64, yh: i64, yw: i64, kh: i64, kw: i64, sh: i64, sw: i64,
    ph: i64, pw: i64, lh: i64, lw: i64,
):  # fmt: skip
    """y[planes, kh, kw, yh, yw] = x[planes, xh, xw] at every tap (im2col, nn.Unfold), 0 in the padding."""
    i = element()
    if i < planes * kh * kw * yh * yw:
        line = quotient(i, yw)
        ox, unit = i - line * yw, quotient(line, yh)
        oy, tap_row = line - unit * yh, quotient(unit, kw)
        plane = quotient(tap_row, kh)
        v = oy * sh + (tap_row - plane * kh) * lh - ph
        u = ox * sw + (unit - tap_row * kw) * lw - pw
        value = T(0)
        if 0 <= v < xh and 0 <= u < xw:
            value = x[(plane * xh + v) * xw + u]
        y[i] = value


@device
def came_from(at, step, size):
    """(output, whether there is one) whose window's tap starts at `at`."""
    o = quotient(max(at, int64(0)), step)
    return o, at >= 0 and o * step == at and o < size


@kernel(grid=lambda planes, xh, xw: ceil_div(planes * xh * xw, THREADS), threads=THREADS)
def fold_windows(
    x: T_ptr, y: T_ptr, planes: i64, xh: i64, xw: i64, yh: i64, yw: i64, kh: i64, kw: i64, sh: i64, sw: i64,
    ph: i64, pw: i64, lh: i64, lw: i64,
):  # fmt: skip
    """x[planes, xh, xw] = sum of y[planes, kh, kw, yh, yw] over the taps that fall there (col2im)."""
    i = element()
    if i < planes * xh * xw:
        line = quotient(i, xw)
        plane = quotient(line, xh)
        v, u, total = line - plane * xh + ph, i - line * xw + pw, T(0)
        for a in range(kh):
            oy, in_y = came_from(v - a * lh, sh, yh)
            for b in range(kw):
                ox, in_x = came_from(u - b * lw, sw, yw)
                if in_y and in_x:
                    total += y[(((plane * kh + a) * kw + b) * yh + oy) * yw + ox]
        x[i] = total
