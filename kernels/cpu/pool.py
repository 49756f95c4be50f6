"""Pooling over the last three axes of contiguous planes[count, depth, height, width]; fewer axes: 1s.

Size words, by axis (d, h, w): input `xd xh xw`, output `yd yh yw`, kernel `kd kh kw`, stride `sd sh sw`,
padding `pd ph pw`, dilation `ld lh lw`; `shape_words` makes them. Max pooling yields the flat position in the
input plane of each maximum (int64), as PyTorch: the first of equal values, the last NaN. Units are planes, or
rows of the output (planes * yd * yh) where those are independent.
"""

from numpy import int64

from ..jit import T, T_ptr, device, i64, i64_ptr, kernel
from ..loops import independent
from ..memory import offset, select, split, stack

REASSOC = frozenset({"contract", "reassoc"})
WIDTH = 512  # input columns worked on at a time
HALVES = 2 * WIDTH


def shape_words(input, output, kernel=None, stride=None, padding=0, dilation=None) -> tuple[int, ...]:
    """Size words from tuples of 1 to 3 sizes (an int stands for as many equal ones); 6, 15 or 18 of them.

    Example: `shape_words((8, 8), (4, 4), 2, dilation=1)` describes 2x2 max pooling with stride 2; without
    dilation it is for avg_pool; `shape_words((8, 8), (4, 4))` is for adaptive pooling.
    """
    dims = len(input)

    def three(value, fill):
        value = (value,) * dims if isinstance(value, int) else tuple(value)
        return (fill,) * (3 - dims) + value

    words = three(input, 1) + three(output, 1)
    if kernel is not None:
        words += three(kernel, 1) + three(kernel if stride is None else stride, 1) + three(padding, 0)
    return words if dilation is None else words + three(dilation, 1)


@device
def taps_inside(start, taps, step, size):
    """(first, end): the k in 0..taps with 0 <= start + k * step < size."""
    if start >= 0 and start + (taps - 1) * step < size:
        return 0, taps
    first = 0 if start >= 0 else (step - 1 - start) // step
    end = 0 if start >= size else (size - start + step - 1) // step
    return first, (end if end < taps else taps)


@device
def outputs_touching(begin, end, padding, taps, stride, step, outputs):
    """(first, end) of the outputs whose windows may hold one of the columns begin..end."""
    first = (begin + padding - (taps - 1) * step + stride - 1) // stride
    last = (end - 1 + padding) // stride + 1
    return (0 if first < 0 else first), (last if last < outputs else outputs)


@device
def column_maxima(best, line, p, first, count, xh, xw, z, z0, z1, ld, v, v0, v1, lh):
    """For columns first..first + count: the largest over the window's rows and the start of its row.

    Results alternate between the halves of the buffers (so that no store depends on a load of its own place);
    returns where the last half begins.
    """
    half = 0
    for kz in range(z0, z1):
        for kv in range(v0, v1):
            row = ((z + kz * ld) * xh + v + kv * lh) * xw
            x = offset(p, row + first)
            if kz == z0 and kv == v0:
                for i in range(count):
                    best[i], line[i] = x[i], row
            else:
                for i in range(count):
                    better = (x[i] > best[half + i]) | (x[i] != x[i])
                    best[WIDTH - half + i] = select(better, x[i], best[half + i])
                    line[WIDTH - half + i] = select(better, row, line[half + i])
                half = WIDTH - half
    return half


@kernel
def max_pool(
    y: T_ptr, index: i64_ptr, x: T_ptr, planes: i64, xd: i64, xh: i64, xw: i64, yd: i64, yh: i64, yw: i64,
    kd: i64, kh: i64, kw: i64, sd: i64, sh: i64, sw: i64, pd: i64, ph: i64, pw: i64,
    ld: i64, lh: i64, lw: i64, chunk: i64, nchunks: i64,
):  # fmt: skip
    """y, index [planes, output] = the largest of each window of x, and where it is; units: output rows.

    Down the columns first (vectorised, in pieces of WIDTH columns), then along each window's row of maxima.
    """
    top, line = stack(HALVES, T), stack(HALVES, int64)
    lo, hi = split(planes * yd * yh, chunk, nchunks)
    for row in range(lo, hi):
        plane = row // (yd * yh)
        p = offset(x, plane * xd * xh * xw)
        z = (row // yh - plane * yd) * sd - pd
        v = (row - row // yh * yh) * sh - ph
        z0, z1 = taps_inside(z, kd, ld, xd)
        v0, v1 = taps_inside(v, kh, lh, xh)
        begin = 0
        while begin < xw:
            end = xw if xw - begin < WIDTH else begin + WIDTH
            half = column_maxima(top, line, p, begin, end - begin, xh, xw, z, z0, z1, ld, v, v0, v1, lh)
            first, last = outputs_touching(begin, end, pw, kw, sw, lw, yw)
            for o in range(first, last):
                u = o * sw - pw
                u0, u1 = taps_inside(u - begin, kw, lw, end - begin)
                if u0 < u1:
                    i = half + u - begin + u0 * lw
                    best, at = top[i], line[i] + u + u0 * lw
                    if begin > 0 and u + (u0 - 1) * lw >= 0 and u0 > 0:
                        best, at = y[row * yw + o], index[row * yw + o]
                    for k in range(u0, u1):
                        value = top[half + u - begin + k * lw]
                        here = line[half + u - begin + k * lw] + u + k * lw
                        # of equal values the first in the plane counts, of several NaN the last
                        better = (value > best) | ((value == best) & (here < at))
                        better = better | ((value != value) & ((best == best) | (here > at)))
                        best, at = select(better, value, best), select(better, here, at)
                    y[row * yw + o], index[row * yw + o] = best, at
            begin = end


@kernel
def max_pool_2x2(y: T_ptr, index: i64_ptr, x: T_ptr, planes: i64, xh: i64, xw: i64, chunk: i64, nchunks: i64):
    """max_pool of windows 2x2, stride 2, without padding, in two dimensions; units: planes * (xh // 2)."""
    yh, yw = xh // 2, xw // 2
    lo, hi = split(planes * yh, chunk, nchunks)
    plane = lo // max(yh, 1)
    r = lo - plane * yh
    for row in range(lo, hi):
        first = 2 * r * xw
        a = offset(x, plane * xh * xw + first)
        b = offset(a, xw)
        values, places = offset(y, row * yw), offset(index, row * yw)
        for o in range(yw):  # selects and no branches: which of four is the largest cannot be predicted
            p, q, r_, s = a[2 * o], a[2 * o + 1], b[2 * o], b[2 * o + 1]
            right, lower = (q > p) | (q != q), (s > r_) | (s != s)
            top, bottom = select(right, q, p), select(lower, s, r_)
            down = (bottom > top) | (bottom != bottom)
            values[o] = select(down, bottom, top)
            places[o] = first + 2 * o + select(down, select(lower, xw + 1, xw), select(right, 1, 0))
        independent()
        wraps = r + 1 == yh  # no division: short rows are as quick as one
        plane, r = select(wraps, plane + 1, plane), select(wraps, 0, r + 1)


@kernel
def max_pool_2x2_values(y: T_ptr, x: T_ptr, planes: i64, xh: i64, xw: i64, chunk: i64, nchunks: i64):
    """max_pool_2x2 without the places: down the columns first, then along several rows at once (short ones are slow)."""
    best = stack(HALVES, T)
    yh, yw = xh // 2, xw // 2
    lo, hi = split(planes * yh, chunk, nchunks)
    row, plane = lo, lo // max(yh, 1)
    r = lo - plane * yh
    most = max(1, HALVES // (2 * yw + 1))
    while row < hi:
        count = min(hi - row, most)
        for first in range(0, 2 * yw, HALVES):
            width, next_plane, next_r = min(2 * yw - first, HALVES), plane, r
            for k in range(count):
                a = offset(x, next_plane * xh * xw + 2 * next_r * xw + first)
                b, top = offset(a, xw), offset(best, k * width)
                for i in range(width):
                    top[i] = select((b[i] > a[i]) | (b[i] != b[i]), b[i], a[i])
                independent()
                wraps = next_r + 1 == yh
                next_plane, next_r = select(wraps, next_plane + 1, next_plane), select(wraps, 0, next_r + 1)
            values = offset(y, row * yw + first // 2)
            for o in range(count * width // 2):
                p, q = best[2 * o], best[2 * o + 1]
                values[o] = select((q > p) | (q != q), q, p)
            independent()
        row += count
        plane = row // max(yh, 1)
        r = row - plane * yh


@kernel
def max_pool_backward(
    dx: T_ptr, g: T_ptr, index: i64_ptr, planes: i64, inputs: i64, outputs: i64, chunk: i64, nchunks: i64
):
    """dx[planes, inputs] = 0, then dx[p, index[p, o]] += g[p, o]; units: planes. For adaptive pooling too."""
    lo, hi = split(planes, chunk, nchunks)
    for plane in range(lo, hi):
        out = offset(dx, plane * inputs)
        for i in range(inputs):
            out[i] = T(0)
        for o in range(plane * outputs, plane * outputs + outputs):
            out[index[o]] += g[o]


@kernel
def max_pool_pick(
    y: T_ptr, x: T_ptr, index: i64_ptr, planes: i64, inputs: i64, outputs: i64, chunk: i64, nchunks: i64
):
    """y[p, o] = x[p, index[p, o]]: the gradient of max_pool_backward by g; units: planes."""
    lo, hi = split(planes, chunk, nchunks)
    for plane in range(lo, hi):
        for o in range(plane * outputs, plane * outputs + outputs):
            y[o] = x[plane * inputs + index[o]]


@device
def average_window(start, taps, size, padding):
    """(first, end, padded length) of a window: PyTorch counts the padding it covers, but nothing beyond."""
    end = start + taps if start + taps < size + padding else size + padding
    return (0 if start < 0 else start), (end if end < size else size), end - start


@kernel
def avg_pool(
    y: T_ptr, x: T_ptr, planes: i64, xd: i64, xh: i64, xw: i64, yd: i64, yh: i64, yw: i64,
    kd: i64, kh: i64, kw: i64, sd: i64, sh: i64, sw: i64, pd: i64, ph: i64, pw: i64,
    include: i64, divisor: i64, chunk: i64, nchunks: i64,
):  # fmt: skip
    """y[planes, output] = sum of each window, divided by `divisor` or if that is 0 by the window's size.

    That size counts the padding if `include`. Units: output rows. Columns first, as in max_pool.
    """
    sums = stack(WIDTH, T)
    lo, hi = split(planes * yd * yh, chunk, nchunks)
    for row in range(lo, hi):
        plane = row // (yd * yh)
        p = offset(x, plane * xd * xh * xw)
        z0, z1, zn = average_window((row // yh - plane * yd) * sd - pd, kd, xd, pd)
        v0, v1, vn = average_window((row - row // yh * yh) * sh - ph, kh, xh, ph)
        begin = 0
        while begin < xw:
            end = xw if xw - begin < WIDTH else begin + WIDTH
            for i in range(end - begin):
                sums[i] = T(0)
            for z in range(z0, z1):
                for v in range(v0, v1):
                    source = offset(p, (z * xh + v) * xw + begin)
                    for i in range(end - begin):
                        sums[i] += source[i]
            first, last = outputs_touching(begin, end, pw, kw, sw, 1, yw)
            for o in range(first, last):
                u0, u1, un = average_window(o * sw - pw, kw, xw, pw)
                total = T(0) if u0 >= begin else y[row * yw + o]
                for u in range(u0 if u0 >= begin else begin, u1 if u1 <= end else end):
                    total += sums[u - begin]
                if u1 <= end:
                    size = zn * vn * un if include != 0 else (z1 - z0) * (v1 - v0) * (u1 - u0)
                    total /= T(size if divisor == 0 else divisor)
                y[row * yw + o] = total
            begin = end


@kernel
def avg_pool_backward(
    dx: T_ptr, g: T_ptr, planes: i64, xd: i64, xh: i64, xw: i64, yd: i64, yh: i64, yw: i64,
    kd: i64, kh: i64, kw: i64, sd: i64, sh: i64, sw: i64, pd: i64, ph: i64, pw: i64,
    include: i64, divisor: i64, chunk: i64, nchunks: i64,
):  # fmt: skip
    """dx[planes, input], all of it written; units: planes. Along the columns first, then to each row."""
    share = stack(WIDTH, T)
    lo, hi = split(planes, chunk, nchunks)
    for plane in range(lo, hi):
        out = offset(dx, plane * xd * xh * xw)
        for i in range(xd * xh * xw):
            out[i] = T(0)
        for row in range(yd * yh):
            z0, z1, zn = average_window(row // yh * sd - pd, kd, xd, pd)
            v0, v1, vn = average_window((row - row // yh * yh) * sh - ph, kh, xh, ph)
            for begin in range(0, xw, WIDTH):
                end = xw if xw - begin < WIDTH else begin + WIDTH
                for i in range(end - begin):
                    share[i] = T(0)
                first, last = outputs_touching(begin, end, pw, kw, sw, 1, yw)
                for o in range(first, last):
                    u0, u1, un = average_window(o * sw - pw, kw, xw, pw)
                    size = zn * vn * un if include != 0 else (z1 - z0) * (v1 - v0) * (u1 - u0)
                    part = g[(plane * yd * yh + row) * yw + o] / T(size if divisor == 0 else divisor)
                    for u in range(u0 if u0 >= begin else begin, u1 if u1 <= end else end):
                        share[u - begin] += part
                for z in range(z0, z1):
                    for v in range(v0, v1):
                        to = offset(out, (z * xh + v) * xw + begin)
                        for i in range(end - begin):
                            to[i] += share[i]


@device
def adaptive_window(o, size, outputs):
    """(first, end) of window o of `outputs` that spread evenly over `size` inputs."""
    return o * size // outputs, ((o + 1) * size + outputs - 1) // outputs


@kernel
def adaptive_max_pool(
    y: T_ptr, index: i64_ptr, x: T_ptr, planes: i64, xd: i64, xh: i64, xw: i64, yd: i64, yh: i64, yw: i64,
    chunk: i64, nchunks: i64,
):  # fmt: skip
    """max_pool with adaptive windows; units: output rows."""
    lo, hi = split(planes * yd * yh, chunk, nchunks)
    for row in range(lo, hi):
        plane = row // (yd * yh)
        p = offset(x, plane * xd * xh * xw)
        z0, z1 = adaptive_window(row // yh - plane * yd, xd, yd)
        v0, v1 = adaptive_window(row - row // yh * yh, xh, yh)
        for o in range(yw):
            u0, u1 = adaptive_window(o, xw, yw)
            at = (z0 * xh + v0) * xw + u0
            best = p[at]
            for z in range(z0, z1):
                for v in range(v0, v1):
                    for i in range((z * xh + v) * xw + u0, (z * xh + v) * xw + u1):
                        if p[i] > best or p[i] != p[i]:
                            best = p[i]
                            at = i
            y[row * yw + o] = best
            index[row * yw + o] = at


@kernel(fastmath=REASSOC)
def adaptive_avg_pool(
    y: T_ptr, x: T_ptr, planes: i64, xd: i64, xh: i64, xw: i64, yd: i64, yh: i64, yw: i64,
    chunk: i64, nchunks: i64,
):  # fmt: skip
    """Mean of adaptive windows; units: output rows. (One output a plane is a plain mean: use mean_plan.)"""
    lo, hi = split(planes * yd * yh, chunk, nchunks)
    for row in range(lo, hi):
        plane = row // (yd * yh)
        p = offset(x, plane * xd * xh * xw)
        z0, z1 = adaptive_window(row // yh - plane * yd, xd, yd)
        v0, v1 = adaptive_window(row - row // yh * yh, xh, yh)
        for o in range(yw):
            u0, u1 = adaptive_window(o, xw, yw)
            total = T(0)
            for z in range(z0, z1):
                for v in range(v0, v1):
                    for i in range((z * xh + v) * xw + u0, (z * xh + v) * xw + u1):
                        total += p[i]
            y[row * yw + o] = total / T((z1 - z0) * (v1 - v0) * (u1 - u0))


@kernel
def adaptive_avg_pool_backward(
    dx: T_ptr, g: T_ptr, planes: i64, xd: i64, xh: i64, xw: i64, yd: i64, yh: i64, yw: i64,
    chunk: i64, nchunks: i64,
):  # fmt: skip
    """dx[planes, input], all of it written; units: planes."""
    lo, hi = split(planes, chunk, nchunks)
    for plane in range(lo, hi):
        out = offset(dx, plane * xd * xh * xw)
        for i in range(xd * xh * xw):
            out[i] = T(0)
        for row in range(yd * yh):
            z0, z1 = adaptive_window(row // yh, xd, yd)
            v0, v1 = adaptive_window(row - row // yh * yh, xh, yh)
            for o in range(yw):
                u0, u1 = adaptive_window(o, xw, yw)
                share = g[(plane * yd * yh + row) * yw + o] / T((z1 - z0) * (v1 - v0) * (u1 - u0))
                for z in range(z0, z1):
                    for v in range(v0, v1):
                        for i in range((z * xh + v) * xw + u0, (z * xh + v) * xw + u1):
                            out[i] += share
