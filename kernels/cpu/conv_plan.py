"""Plans of convolutions: which kernels, with which words and how much scratch; pure Python, no arrays.

Sizes are tuples of three (depth, height, width); one- and two-dimensional convolutions put 1 in front (0 for padding).
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd
from typing import Any, NamedTuple

import numpy as np

from ..target import target
from .conv import BIAS, READ, taps_kernel
from .conv_weight import bias_grad, partials_kernel, weight_sum
from .matmul import matmul_plan
from .plan import LOWEST, Launch, slots

Triple = tuple[int, int, int]


class Conv(NamedTuple):
    """A convolution: input (N, C, *input), weight (OC, C // groups, *kernel), output (N, OC, *output)."""

    N: int
    C: int
    OC: int
    input: Triple
    kernel: Triple
    stride: Triple = (1, 1, 1)
    padding: Triple = (0, 0, 0)
    dilation: Triple = (1, 1, 1)
    groups: int = 1

    @property
    def output(self) -> Triple:
        """Output size; raises ValueError where the kernel is larger than the padded input."""
        sizes = zip(self.input, self.kernel, self.stride, self.padding, self.dilation)
        out = tuple((i + 2 * p - d * (k - 1) - 1) // s + 1 for i, k, s, p, d in sizes)
        if min(out) < 1:
            raise ValueError(f"conv: kernel {self.kernel} is larger than the padded input {self.input}.")
        return out  # type: ignore[return-value]

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of the forward pass, and of each gradient."""
        out, taps = self.output, self.kernel[0] * self.kernel[1] * self.kernel[2]
        return self.N * self.OC * (self.C // self.groups) * taps * out[0] * out[1] * out[2]


class Plan(NamedTuple):
    """Launches in order. "work" is a buffer of `work_bytes` shared by them; each launch's "scratch" is its own."""

    launches: tuple[Launch, ...]
    work_bytes: int


def _lanes(T: str) -> tuple[int, int]:
    """(lanes, bytes of an element). Raises TypeError for dtypes without a convolution."""
    if T not in ("float32", "float64"):
        raise TypeError(f"conv: no kernel for {T}; convert the input and weight to float32 or float64.")
    return target().lanes(T), target().vector_bytes // target().lanes(T)


def _tile(M: int) -> tuple[int, int]:
    """(rows, vectors) of the tile that wastes fewest rows for M output channels; the earlier of equal ones."""
    if target().vector_bytes == 64:
        choices = ((8, 3), (10, 2), (12, 2), (6, 4), (5, 4), (4, 6), (3, 8), (1, 8))
    else:
        choices = ((6, 2), (5, 2), (4, 2), (3, 3), (2, 4), (1, 8))
    speed = {5: 0.97, 4: 0.93, 3: 0.85, 2: 0.8, 1: 0.6}
    return min(choices, key=lambda tile: -(-M // tile[0]) * tile[0] / speed.get(tile[0], 1.0))


def _round(n: int, unit: int) -> int:
    return -(-n // unit) * unit


def _ints(*parts: Any) -> np.ndarray:
    return np.concatenate([np.asarray(part, np.int64).ravel() for part in parts])


def _axis(grad: bool, k: int, stride: int, dilation: int, pad: int, before: int, phase: int) -> np.ndarray:
    """Rows (kernel position, residue plane, shift) of the kernel positions that count for output positions of `phase`."""
    at = np.arange(k)
    if not grad:
        return np.stack([at, at * dilation % stride, at * dilation // stride], 1)
    distance = phase + pad - at * dilation
    return np.stack([at, 0 * at, distance // stride + before], 1)[distance % stride == 0]


class _Layout(NamedTuple):
    """How one kind of correlation walks: see conv.conv_taps. Triples are (depth, height, width)."""

    grad: bool
    M: int  # output channels of a group
    Q: int  # input channels of a group
    wm: int  # weight strides of those
    wq: int
    source: Triple
    result: Triple
    before: Triple  # scratch elements in front of position 0
    reach: Triple  # the largest shift
    planes: Triple  # residue planes
    phases: Triple
    ystep: int  # input rows from one position to the next


def _layout(conv: Conv, grad: bool) -> _Layout:
    _, C, OC, size, K, S, P, L, G = conv
    taps = K[0] * K[1] * K[2]
    if grad:
        before = [max(0, -(-((k - 1) * d - p) // s)) for k, s, p, d in zip(K, S, P, L)]
        reach = [b + (s - 1 + p) // s for b, s, p in zip(before, S, P)]
        return _Layout(True, C // G, OC // G, taps, C // G * taps, conv.output, size, before, reach, (1, 1, 1), S, 1)
    reach = [(k - 1) * d // s for k, s, d in zip(K, S, L)]
    planes = [min(s, (k - 1) * d + 1) for k, s, d in zip(K, S, L)]
    return _Layout(False, OC // G, C // G, C // G * taps, taps, size, conv.output, P, reach, planes, (1, 1, 1), S[1])


def _tables(conv: Conv, lay: _Layout, lanes: int, vectors: int, yb: int, xb: int, overlap: bool) -> np.ndarray:
    """The table of conv_taps, int64:

    - for each depth phase: first input plane, number of planes;
    - for each depth phase, phase (row, column), band and x block: where its taps, ranges and places start, number of
      groups of pixels, room of its places;
    - taps: (weight element, scratch element) pairs, those of a kernel row together;
    - ranges: for each group the first and last tap (kernel rows that see padding only are left out) and whether it is whole;
    - places: the vectors' scratch elements, output elements and lanes, `room` of each.
    """
    K, S, P, L = conv.kernel, conv.stride, conv.padding, conv.dilation
    (pz, sy, sx), result = lay.phases, lay.result
    pitch = xb + lay.reach[2]
    ybands, xblocks = -(-(-(-result[1] // sy)) // yb), -(-(-(-result[2] // sx)) // xb)
    axes = [[_axis(lay.grad, K[i], S[i], L[i], P[i], lay.before[i], r) for r in range(lay.phases[i])] for i in (1, 2)]
    pieces: list[np.ndarray] = []
    start = pz * 2 + pz * sy * sx * ybands * xblocks * 5
    depths, heads, seen = [], [], {}

    def add(key: Any, make: Any) -> int:
        nonlocal start
        if key not in seen:
            seen[key] = start
            pieces.append(make())
            start += pieces[-1].size
        return seen[key]

    for rz in range(pz):
        z = _axis(lay.grad, K[0], S[0], L[0], P[0], 0, rz)
        depths += [int(z[0, 2]) if lay.grad and len(z) else -P[0], len(z)]
        for ry, rx in np.ndindex(sy, sx):
            y, x = axes[0][ry], axes[1][rx]
            taps = add(("taps", rz, ry, rx), lambda: _taps(lay, K, z, y, x, yb + lay.reach[1], pitch))
            for b, c in np.ndindex(ybands, xblocks):
                ny, nx = (max(0, min(n, -(-(r - p) // s) - i * n)) for n, r, p, s, i in (
                    (yb, result[1], ry, sy, b), (xb, result[2], rx, sx, c)))
                at = _places(ny, nx, lanes, pitch, sy, sx, result[2], vectors, overlap and sx == 1, xblocks == 1)
                rows = lay.ystep * (b * yb + at[3]) - lay.before[1]
                groups = at.shape[1] // vectors
                key = ("places", ny, nx, sy, sx)
                where = add(key, lambda: at[:3])
                ranges = add(("ranges", rz, ry, rx, b, ny, nx), lambda: _ranges(lay, y, rows, at[2], len(z) * len(x), vectors, lanes))
                heads += [taps, ranges, where, groups, at.shape[1]]
    return _ints(depths, heads, *pieces)


def _taps(lay: _Layout, K: Triple, z: np.ndarray, y: np.ndarray, x: np.ndarray, height: int, pitch: int) -> np.ndarray:
    """(weight element, scratch element) for every kernel row, channel, plane and kernel column, in this order."""
    y, x = y[:, None, None, None], x[None, None, None]
    c, j = np.arange(lay.Q)[:, None, None], np.arange(len(z))[:, None]
    a = c * lay.wq + (z[j, 0] * K[1] + y[..., 0]) * K[2] + x[..., 0]
    plane = ((c * len(z) + j) * lay.planes[1] + y[..., 1]) * lay.planes[2] + x[..., 1]
    return np.stack(np.broadcast_arrays(a, (plane * height + y[..., 2]) * pitch + x[..., 2]), -1)


def _places(
    ny: int, nx: int, lanes: int, pitch: int, sy: int, sx: int, width: int, vectors: int, overlap: bool, spill: bool
) -> np.ndarray:
    """Rows scratch element, output element, lanes, row of the vectors that cover ny x nx pixels, in whole groups.

    With `overlap` the last vector of a row ends with the row. With that and `spill` a vector wider than a row writes into
    the following rows, which are written after it, but not behind the last one.
    """
    x = np.arange(0, nx, lanes)
    if overlap and nx >= lanes:
        x = np.minimum(x, nx - lanes)
    row, x = (v.ravel() for v in np.broadcast_arrays(np.arange(ny)[:, None], x))
    out = row * sy * width + x * sx
    n = np.minimum(lanes, nx - x)
    if overlap and spill and nx < lanes:
        n = np.where(out + lanes <= ny * width, lanes, n)
    at = np.stack([row * pitch + x, out, n, row])
    extra = -at.shape[1] % vectors
    if extra:
        at = np.concatenate([at, np.repeat(at[:, -1:], extra, 1)], 1)
        at[2, -extra:] = 0
    return at


def _ranges(
    lay: _Layout, y: np.ndarray, rows: np.ndarray, n: np.ndarray, per_row: int, vectors: int, lanes: int
) -> np.ndarray:
    """(first tap, last tap + 1, whole) of each group of vectors, whose input rows start at `rows`; strided is not whole."""
    taps = per_row * lay.Q
    seen = rows[:, None] + y[:, 2] * lay.ystep + y[:, 1]  # input row of each kernel row
    inside = ((seen >= 0) & (seen < lay.source[1])).reshape(len(rows) // vectors, vectors, len(y)).any(1)
    inside = np.pad(inside, ((0, 0), (0, 1)))  # argmax wants at least one column
    first = np.where(inside.any(1), inside.argmax(1), 0)
    last = np.where(inside.any(1), len(y) + 1 - inside[:, ::-1].argmax(1), 0)
    whole = (n.reshape(-1, vectors) == lanes).all(1) & (lay.phases[2] == 1)
    return np.stack([first * taps, last * taps, whole], 1)


def _blocks(lay: _Layout, K: Triple, npy: int, npx: int, lanes: int, itemsize: int) -> tuple[int, int]:
    """(rows, columns) of positions whose planes take 192 KiB of L2: whole rows if at all possible."""
    most, per_cell = 196608 // itemsize, lay.Q * K[0] * lay.planes[1] * lay.planes[2]
    xblocks = -(-npx // 512)
    while npx > 4 * lanes * xblocks and per_cell * (-(-npx // xblocks) + lay.reach[2]) * (1 + lay.reach[1]) > most:
        xblocks += 1
    xb = -(-npx // xblocks)
    yb = max(1, min(npy, most // (per_cell * (xb + lay.reach[2])) - lay.reach[1]))
    return -(-npy // -(-npy // yb)), xb


@lru_cache(maxsize=1024)
def _correlation(conv: Conv, T: str, grad: bool, flags: int, relu: bool) -> Plan:
    """The launch of forward (pointers out, weight, x, bias) or of the input gradient (out = dx, x = dy)."""
    lanes, itemsize = _lanes(T)
    N, _, _, _, K, S, _, L, G = conv
    lay, taps = _layout(conv, grad), K[0] * K[1] * K[2]
    rows, vectors = _tile(lay.M)
    _, npy, npx = (-(-r // s) for r, s in zip(lay.result, lay.phases))
    yb, xb = _blocks(lay, K, npy, npx, lanes, itemsize)
    ybands, xblocks, height, pitch = -(-npy // yb), -(-npx // xb), yb + lay.reach[1], xb + lay.reach[2]
    table = _tables(conv, lay, lanes, vectors, yb, xb, flags & READ == 0)
    chunk_words = _round(lay.Q * K[0] * lay.planes[1] * lay.planes[2] * height * pitch + 2 * lanes, 16)
    units = N * G * lay.result[0] * ybands * xblocks
    zscale, zstep = (1, -(L[0] // gcd(S[0], L[0]))) if grad else (S[0], L[0])
    steps = (1, 1) if grad else S[1:]
    words = (
        units, G, lay.M, lay.Q, lay.wm, lay.M * lay.Q * taps, *lay.source, *lay.result, lay.phases[0], zscale, zstep,
        steps[0], lay.before[1], steps[1], lay.before[2], *lay.planes[1:], *lay.phases[1:], yb, ybands, xb, xblocks, height,
        pitch, int(lay.Q * taps <= 400), flags, 0.0 if relu else LOWEST, chunk_words,
    )  # fmt: skip
    names = ("out", "weight", "x", "bias", "table", "scratch")
    launch = Launch(
        taps_kernel(rows, vectors), T, names, words, slots(units), itemsize * chunk_words, conv.multiply_adds, table
    )
    return Plan((launch,), 0)


def _is_product(conv: Conv) -> bool:
    """Whether every output pixel sees one input pixel: then the planes are the rows of a matrix product."""
    return conv.groups == 1 and max(conv.kernel) == 1 and max(conv.stride) == 1 and max(conv.padding) == 0


@lru_cache(maxsize=1024)
def _product(conv: Conv, T: str, grad: bool, flags: int, relu: bool) -> Plan:
    """A 1x1 convolution as out[n] = weight x[n] (+ bias), or its input gradient with the weight transposed."""
    size, lay = conv.input, _layout(conv, grad)
    pixels = size[0] * size[1] * size[2]
    beta, bias = float(flags & READ != 0), (1, 0) if flags & BIAS else None
    launch = matmul_plan(
        lay.M, pixels, lay.Q, (lay.wm, lay.wq), (pixels, 1), T, batch=(1, conv.N), b_batch=(0, lay.Q * pixels),
        beta=beta, bias=bias, relu=relu,
    )  # fmt: skip
    names = {"c": "out", "a": "weight", "b": "x", "bias": "bias", "scratch": "scratch"}
    return Plan((launch._replace(pointers=tuple(names[name] for name in launch.pointers)),), 0)


def forward_plan(conv: Conv, T: str, bias: bool = False, relu: bool = False) -> Plan:
    """Plan out = conv(x, weight) + bias, then max(., 0) with `relu`: pointers out, weight, x, bias, table, scratch.

    Example: `forward_plan(Conv(64, 1, 10, (1, 28, 28), (1, 5, 5)), "float32", bias=True)`
    """
    plan = _product if _is_product(conv) else _correlation
    return plan(conv, T, False, BIAS if bias else 0, relu)


def input_grad_plan(conv: Conv, T: str, accumulate: bool = False, bias: bool = False, relu: bool = False) -> Plan:
    """Plan out = gradient of the input for the output gradient x: pointers out, weight, x, bias, table, scratch.

    With `bias` (one number per input channel) and `relu` it is the forward pass of a transposed convolution.
    """
    plan = _product if _is_product(conv) else _correlation
    return plan(conv, T, True, (READ if accumulate else 0) | (BIAS if bias else 0), relu)


def _weight_tables(
    conv: Conv, ib: int, yb: int, xb: int, cb: int, block_rows: int, height: int, pitch: int
) -> np.ndarray:
    """Scratch elements of the (channel, tap) pairs, then of a step's pixels, then of those in the last x block."""
    K, S, L = conv.kernel, conv.stride, conv.dilation
    c, z, y, x = np.ix_(range(cb), range(K[0]), range(K[1]), range(K[2]))
    rows = (((c * K[0] + z) * height + y * L[1]) * pitch + x * L[2]).ravel()
    rows = np.append(rows, np.full(block_rows - len(rows), rows[-1]))
    pixels = []
    for nx in (xb, conv.output[2] - (conv.output[2] - 1) // xb * xb):
        i, y, x = np.ix_(range(ib), range(yb), range(nx))
        pixels.append(i * cb * K[0] * height * pitch + y * S[1] * pitch + x * S[2])
    return _ints(rows, *pixels)


@lru_cache(maxsize=1024)
def weight_grad_plan(conv: Conv, T: str, accumulate: bool = False) -> Plan:
    """Plan dw = gradient of the weight: pointers "dw", "x", "dy", "work", "table", "scratch"."""
    lanes, itemsize = _lanes(T)
    N, C, OC, size, K, S, P, L, G = conv
    taps, out, M, Q = K[0] * K[1] * K[2], conv.output, OC // G, C // G
    rows, vectors = (8, 2) if target().vector_bytes == 64 else (6, 2)
    width = vectors * lanes
    cols = _round(M, width)
    xb = min(out[2], 256)
    yb = max(1, min(out[1], 256 // xb))
    ib = max(1, min(N, 256 // (yb * xb))) if yb == out[1] else 1
    height, pitch = (yb - 1) * S[1] + (K[1] - 1) * L[1] + 1, (xb - 1) * S[2] + (K[2] - 1) * L[2] + 1
    line = ib * K[0] * height * pitch * itemsize
    cb = max(1, min(Q, (1 << 17) // line, max(1, (1 << 18) // (taps * cols * itemsize))))
    cb = -(-Q // -(-Q // cb))
    ybands, xblocks, cblocks = -(-out[1] // yb), -(-out[2] // xb), -(-Q // cb)
    steps = -(-N // ib) * out[0] * ybands * xblocks
    blocks = max(1, min(steps, 16 // (G * cblocks)))
    block_rows, pixels = _round(cb * taps, rows), ib * yb * xb
    chunk_words = _round(cols * (pixels + lanes) + ib * cb * K[0] * height * pitch + lanes, 16)
    words = (
        N, G, M, Q, *size, *out, K[0], *S, L[0], *P, blocks, steps, ib, yb, ybands, xb, xblocks, cb, cblocks, height, pitch,
        block_rows, cols, 1, chunk_words,
    )  # fmt: skip
    table = _weight_tables(conv, ib, yb, xb, cb, block_rows, height, pitch)
    units, names = blocks * G * cblocks, ("work", "x", "dy", "table", "scratch")
    kernel = partials_kernel(rows, vectors)
    first = Launch(kernel, T, names, words, slots(units), itemsize * chunk_words, conv.multiply_adds, table)
    words = (G, M, Q, taps, blocks, cb, block_rows, cols, int(accumulate))
    second = Launch(weight_sum, T, ("dw", "work"), words, G * -(-M // 8), 0, blocks * OC * Q * taps)
    return Plan((first, second), units * block_rows * cols * itemsize)


def bias_grad_plan(N: int, M: int, pixels: int, T: str, accumulate: bool = False) -> Plan:
    """Plan db[m] = sum of dy (N, M, pixels) over N and pixels: pointers "db", "dy"."""
    _lanes(T)
    launch = Launch(bias_grad, T, ("db", "dy"), (N, M, pixels, int(accumulate)), max(M, 1), 0, N * M * pixels)
    return Plan((launch,), 0)
