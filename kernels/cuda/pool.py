"""Pooling over the last three axes of contiguous planes[count, depth, height, width]: the twin of
cpu/pool.py.

Forward a thread makes one output. Backward a thread collects one input's gradient from the windows over it;
where only positions are known (max_pool_backward), a warp adds up its range of a plane in order, as in
index.py. So sums have the order of the CPU's, and no two threads write one element.
"""

from numpy import int64

from ..jit import T, T_ptr, device, i64, i64_ptr
from ..loops import quotient
from ..memory import offset
from .gpu import block, warp_barrier
from .index import element, scatter_part
from .launch import ceil_div, kernel
from .team import lane, warp

THREADS, WARPS = 256, 8
MANY = 8192  # warps that are enough to fill a GPU


def outputs_grid(planes: int, yd: int, yh: int, yw: int) -> int:
    """A thread for each output."""
    return ceil_div(planes * yd * yh * yw, THREADS)


def inputs_grid(planes: int, xd: int, xh: int, xw: int) -> int:
    """A thread for each input."""
    return ceil_div(planes * xd * xh * xw, THREADS)


@device
def place_of(at, depth, height, width):
    """(plane, z, v, u) of element `at` of planes (depth, height, width)."""
    row = quotient(at, width)
    level = quotient(row, height)
    plane = quotient(level, depth)
    return plane, level - plane * depth, row - level * height, at - row * width


@device
def taps_inside(start, taps, step, size):
    """(first, end): the k in 0..taps with 0 <= start + k * step < size."""
    first = int64(0) if start >= 0 else quotient(step - 1 - start, step)
    end = int64(0) if start >= size else quotient(size - start + step - 1, step)
    return first, min(end, taps)


@kernel(grid=outputs_grid, threads=THREADS)
def max_pool(
    y: T_ptr, index: i64_ptr, x: T_ptr, planes: i64, xd: i64, xh: i64, xw: i64, yd: i64, yh: i64, yw: i64,
    kd: i64, kh: i64, kw: i64, sd: i64, sh: i64, sw: i64, pd: i64, ph: i64, pw: i64,
    ld: i64, lh: i64, lw: i64,
):  # fmt: skip
    """y, index [planes, output] = the largest of each window of x, and where it is in its plane."""
    out = element()
    if out < planes * yd * yh * yw:
        plane, oz, ov, ou = place_of(out, yd, yh, yw)
        p = offset(x, plane * xd * xh * xw)
        z, v, u = oz * sd - pd, ov * sh - ph, ou * sw - pw
        z0, z1 = taps_inside(z, kd, ld, xd)
        v0, v1 = taps_inside(v, kh, lh, xh)
        u0, u1 = taps_inside(u, kw, lw, xw)
        at = ((z + z0 * ld) * xh + v + v0 * lh) * xw + u + u0 * lw
        best = p[at]
        kz = z0
        while kz < z1:
            kv = v0
            while kv < v1:
                line = ((z + kz * ld) * xh + v + kv * lh) * xw + u
                ku = u0
                while ku < u1:
                    value = p[line + ku * lw]
                    if value > best or value != value:
                        best, at = value, line + ku * lw
                    ku += 1
                kv += 1
            kz += 1
        y[out] = best
        index[out] = at


@kernel(grid=lambda planes, xh, xw: ceil_div(planes * (xh // 2) * (xw // 2), THREADS), threads=THREADS)
def max_pool_2x2(y: T_ptr, index: i64_ptr, x: T_ptr, planes: i64, xh: i64, xw: i64):
    """max_pool of windows 2x2, stride 2, without padding, in two dimensions."""
    out = element()
    yh, yw = xh >> int64(1), xw >> int64(1)
    if out < planes * yh * yw:
        plane, _, v, u = place_of(out, int64(1), yh, yw)
        p, first = offset(x, plane * xh * xw), 2 * (v * xw + u)
        best, at = p[first], first
        for k in range(1, 4):
            here = first + (k & 1) + (k >> 1) * xw
            if p[here] > best or p[here] != p[here]:
                best, at = p[here], here
        y[out] = best
        index[out] = at


@device
def shares(planes, inputs):
    """Into how many ranges of inputs a plane is dealt, one for each warp."""
    return int64(max(1, min((inputs + 255) // 256, MANY // max(1, planes))))


def planes_grid(planes: int, inputs: int) -> int:
    """A warp for each range of inputs of each plane."""
    return ceil_div(planes * int(shares.py(planes, inputs)), WARPS)


@kernel(grid=planes_grid, threads=THREADS)
def max_pool_backward(dx: T_ptr, g: T_ptr, index: i64_ptr, planes: i64, inputs: i64, outputs: i64):
    """dx[planes, inputs] = 0, then dx[p, index[p, o]] += g[p, o]. For adaptive pooling too."""
    parts = shares(planes, inputs)
    unit = int64(block()) * WARPS + int64(warp())
    plane = quotient(unit, parts)
    if plane < planes:
        span = quotient(inputs + parts - 1, parts)
        low = (unit - plane * parts) * span
        high = min(inputs, low + span)
        i = low + lane()
        while i < high:
            dx[plane * inputs + i] = T(0)
            i += 32
        warp_barrier()
        scatter_part(dx, g, index, plane * outputs, plane * inputs, outputs, 1, low, high, 1, 0)


@kernel(grid=lambda planes, outputs: ceil_div(planes * outputs, THREADS), threads=THREADS)
def max_pool_pick(y: T_ptr, x: T_ptr, index: i64_ptr, planes: i64, inputs: i64, outputs: i64):
    """y[p, o] = x[p, index[p, o]]: the gradient of max_pool_backward by g."""
    out = element()
    if out < planes * outputs:
        y[out] = x[quotient(out, outputs) * inputs + index[out]]


@device
def average_window(start, taps, size, padding):
    """(first, end, padded length) of a window: PyTorch counts the padding it covers, but nothing beyond."""
    end = min(start + taps, size + padding)
    return max(start, int64(0)), min(end, size), end - start


@device
def window_sum(p, xh, xw, z0, z1, v0, v1, u0, u1):
    """The sum of a box of the plane p."""
    total = T(0)
    z = z0
    while z < z1:
        v = v0
        while v < v1:
            i, end = (z * xh + v) * xw + u0, (z * xh + v) * xw + u1
            while i < end:
                total += p[i]
                i += 1
            v += 1
        z += 1
    return total


@kernel(grid=outputs_grid, threads=THREADS)
def avg_pool(
    y: T_ptr, x: T_ptr, planes: i64, xd: i64, xh: i64, xw: i64, yd: i64, yh: i64, yw: i64,
    kd: i64, kh: i64, kw: i64, sd: i64, sh: i64, sw: i64, pd: i64, ph: i64, pw: i64,
    include: i64, divisor: i64,
):  # fmt: skip
    """y[planes, output] = sum of each window, divided by `divisor` or if that is 0 by the window's size.

    That size counts the padding if `include`.
    """
    out = element()
    if out < planes * yd * yh * yw:
        plane, oz, ov, ou = place_of(out, yd, yh, yw)
        z0, z1, zn = average_window(oz * sd - pd, kd, xd, pd)
        v0, v1, vn = average_window(ov * sh - ph, kh, xh, ph)
        u0, u1, un = average_window(ou * sw - pw, kw, xw, pw)
        size = zn * vn * un if include != 0 else (z1 - z0) * (v1 - v0) * (u1 - u0)
        total = window_sum(offset(x, plane * xd * xh * xw), xh, xw, z0, z1, v0, v1, u0, u1)
        y[out] = total / T(size if divisor == 0 else divisor)


@device
def windows_over(i, taps, step, padding, outputs):
    """(first, end) of the windows that cover input i."""
    reach = i + padding
    first = int64(0) if reach < taps else quotient(reach - taps + step, step)
    return first, min(quotient(reach, step) + 1, outputs)


@kernel(grid=inputs_grid, threads=THREADS)
def avg_pool_backward(
    dx: T_ptr, g: T_ptr, planes: i64, xd: i64, xh: i64, xw: i64, yd: i64, yh: i64, yw: i64,
    kd: i64, kh: i64, kw: i64, sd: i64, sh: i64, sw: i64, pd: i64, ph: i64, pw: i64,
    include: i64, divisor: i64,
):  # fmt: skip
    """dx[planes, input], all of it written."""
    at = element()
    if at < planes * xd * xh * xw:
        plane, z, v, u = place_of(at, xd, xh, xw)
        oz, z_end = windows_over(z, kd, sd, pd, yd)
        v_first, v_end = windows_over(v, kh, sh, ph, yh)
        u_first, u_end = windows_over(u, kw, sw, pw, yw)
        total = T(0)
        while oz < z_end:
            z0, z1, zn = average_window(oz * sd - pd, kd, xd, pd)
            ov = v_first
            while ov < v_end:
                v0, v1, vn = average_window(ov * sh - ph, kh, xh, ph)
                ou = u_first
                while ou < u_end:
                    u0, u1, un = average_window(ou * sw - pw, kw, xw, pw)
                    size = zn * vn * un if include != 0 else (z1 - z0) * (v1 - v0) * (u1 - u0)
                    share = g[((plane * yd + oz) * yh + ov) * yw + ou]
                    total += share / T(size if divisor == 0 else divisor)
                    ou += 1
                ov += 1
            oz += 1
        dx[at] = total


@device
def adaptive_window(o, size, outputs):
    """(first, end) of window o of `outputs` that spread evenly over `size` inputs."""
    return quotient(o * size, outputs), quotient((o + 1) * size + outputs - 1, outputs)


@kernel(grid=outputs_grid, threads=THREADS)
def adaptive_max_pool(
    y: T_ptr, index: i64_ptr, x: T_ptr, planes: i64, xd: i64, xh: i64, xw: i64, yd: i64, yh: i64, yw: i64
):
    """max_pool with adaptive windows."""
    out = element()
    if out < planes * yd * yh * yw:
        plane, oz, ov, ou = place_of(out, yd, yh, yw)
        p = offset(x, plane * xd * xh * xw)
        z, z1 = adaptive_window(oz, xd, yd)
        v0, v1 = adaptive_window(ov, xh, yh)
        u0, u1 = adaptive_window(ou, xw, yw)
        at = (z * xh + v0) * xw + u0
        best = p[at]
        while z < z1:
            v = v0
            while v < v1:
                i, end = (z * xh + v) * xw + u0, (z * xh + v) * xw + u1
                while i < end:
                    if p[i] > best or p[i] != p[i]:
                        best, at = p[i], i
                    i += 1
                v += 1
            z += 1
        y[out] = best
        index[out] = at


@kernel(grid=outputs_grid, threads=THREADS)
def adaptive_avg_pool(y: T_ptr, x: T_ptr, planes: i64, xd: i64, xh: i64, xw: i64, yd: i64, yh: i64, yw: i64):
    """Mean of adaptive windows. (One output a plane is a plain mean: use mean_plan.)"""
    out = element()
    if out < planes * yd * yh * yw:
        plane, oz, ov, ou = place_of(out, yd, yh, yw)
        z0, z1 = adaptive_window(oz, xd, yd)
        v0, v1 = adaptive_window(ov, xh, yh)
        u0, u1 = adaptive_window(ou, xw, yw)
        total = window_sum(offset(x, plane * xd * xh * xw), xh, xw, z0, z1, v0, v1, u0, u1)
        y[out] = total / T((z1 - z0) * (v1 - v0) * (u1 - u0))


@kernel(grid=inputs_grid, threads=THREADS)
def adaptive_avg_pool_backward(
    dx: T_ptr, g: T_ptr, planes: i64, xd: i64, xh: i64, xw: i64, yd: i64, yh: i64, yw: i64
):
    """dx[planes, input], all of it written."""
    at = element()
    if at < planes * xd * xh * xw:
        plane, z, v, u = place_of(at, xd, xh, xw)
        oz, z_end = adaptive_window(z, yd, xd)  # the windows over an input spread like the inputs of a window
        v_first, v_end = adaptive_window(v, yh, xh)
        u_first, u_end = adaptive_window(u, yw, xw)
        total = T(0)
        while oz < z_end:
            z0, z1 = adaptive_window(oz, xd, yd)
            ov = v_first
            while ov < v_end:
                v0, v1 = adaptive_window(ov, xh, yh)
                ou = u_first
                while ou < u_end:
                    u0, u1 = adaptive_window(ou, xw, yw)
                    total += g[((plane * yd + oz) * yh + ov) * yw + ou] / T((z1 - z0) * (v1 - v0) * (u1 - u0))
                    ou += 1
                ov += 1
            oz += 1
        dx[at] = total
