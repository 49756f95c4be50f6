"""Geometry of convolutions and the tables that their kernels walk along; pure Python and NumPy, made once per shape.

Sizes are tuples of three (depth, height, width); one- and two-dimensional convolutions put 1 in front (0 for padding).
"""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Any, NamedTuple

import numpy as np

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


def ints(*parts: Any) -> np.ndarray:
    return np.concatenate([np.asarray(part, np.int64).ravel() for part in parts])


class Layout(NamedTuple):
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
    overlap: bool  # vectors may write what a later one writes again

    @property
    def positions(self) -> Triple:
        """Output positions of phase 0, which has the most."""
        return tuple(-(-r // s) for r, s in zip(self.result, self.phases))  # type: ignore[return-value]

    def size(self, i: int, phase: int, block: int, most: int) -> int:
        """Positions of dimension `i` in block number `block` of `most`, for one phase."""
        return max(0, min(most, -(-(self.result[i] - phase) // self.phases[i]) - block * most))


def layout(conv: Conv, grad: bool, overlap: bool = True) -> Layout:
    _, C, OC, size, K, S, P, L, G = conv
    taps = K[0] * K[1] * K[2]
    if grad:
        before = [max(0, -(-((k - 1) * d - p) // s)) for k, s, p, d in zip(K, S, P, L)]
        reach = [b + (s - 1 + p) // s for b, s, p in zip(before, S, P)]
        return Layout(True, C // G, OC // G, taps, C // G * taps, conv.output, size, before, reach, (1, 1, 1), S, 1, overlap)
    reach = [(k - 1) * d // s for k, s, d in zip(K, S, L)]
    planes = [min(s, (k - 1) * d + 1) for k, s, d in zip(K, S, L)]
    return Layout(False, OC // G, C // G, C // G * taps, taps, size, conv.output, P, reach, planes, (1, 1, 1), S[1], overlap)


def axis(conv: Conv, lay: Layout, i: int, phase: int) -> np.ndarray:
    """Rows (kernel position, residue plane, shift) of the kernel positions of dimension `i` that count for `phase`."""
    at, stride, dilation = np.arange(conv.kernel[i]), conv.stride[i], conv.dilation[i]
    if not lay.grad:
        return np.stack([at, at * dilation % stride, at * dilation // stride], 1)
    distance = phase + conv.padding[i] - at * dilation
    before = lay.before[i] if i else 0  # planes of a depth are found, not laid out
    return np.stack([at, 0 * at, distance // stride + before], 1)[distance % stride == 0]


def correlation_table(
    conv: Conv, lay: Layout, lanes: int, vectors: int, yb: int, xb: int, ib: int, packed: int = 0
) -> np.ndarray:
    """The table of conv_taps, int64:

    - for each depth phase: first input plane, number of planes;
    - for each depth phase, phase (row, column), band and x block: where its taps, ranges and places start, number of
      groups of pixels, room of its places;
    - taps: (weight element, scratch element) pairs, those of a kernel row together;
    - ranges: for each group the first and last tap (kernel rows that see padding only are left out) and whether it is whole;
    - places: the vectors' scratch elements, output elements and lanes, `room` of each.

    With `packed`, the rows of a tile, the weight is that of conv.pack_weight.
    """
    axes = [[axis(conv, lay, i, phase) for phase in range(lay.phases[i])] for i in range(3)]
    depths = [[int(z[0, 2]) if lay.grad and len(z) else -conv.padding[0], len(z)] for z in axes[0]]
    bands, blocks = -(-lay.positions[1] // yb), -(-lay.positions[2] // xb)
    cases = len(axes[0]) * len(axes[1]) * len(axes[2]) * bands * blocks
    pool, heads = _Pool(2 * len(depths) + 5 * cases), []
    for (rz, z), (ry, y), (rx, x) in itertools.product(*(list(enumerate(phases)) for phases in axes)):
        taps = pool.add(("taps", rz, ry, rx), partial(_taps, conv, lay, z, y, x, yb + lay.reach[1], xb + lay.reach[2], packed))
        for band, block in np.ndindex(bands, blocks):
            ny, nx = lay.size(1, ry, band, yb), lay.size(2, rx, block, xb)
            at = _places(lay, ny, nx, xb + lay.reach[2], blocks == 1, lanes)
            plane = (yb + lay.reach[1]) * (xb + lay.reach[2]) * lay.planes[1] * lay.planes[2]
            result = conv.groups * lay.M * math.prod(lay.result)
            at = _repeated(at, ib, (lay.Q * len(z) * plane, result, 0, 0), vectors)
            rows = lay.ystep * (band * yb + at[3]) - lay.before[1]
            ranges = _ranges(lay, y, rows, at[2] == lanes, len(z) * len(x) * lay.Q, vectors)
            heads += [taps, pool.add(ranges.tobytes(), lambda found=ranges: found), pool.add((ny, nx), lambda found=at: found[:3])]
            heads += [at.shape[1] // vectors, at.shape[1]]
    return ints(depths, heads, *pool.pieces)


class _Pool:
    """Pieces of a table, equal ones once; `add` says where a piece starts."""

    def __init__(self, start: int):
        self.start, self.pieces, self.known = start, [], {}

    def add(self, key: Any, make: Any) -> int:
        if key not in self.known:
            self.known[key] = self.start
            self.pieces.append(make())
            self.start += self.pieces[-1].size
        return self.known[key]


def _taps(
    conv: Conv, lay: Layout, z: np.ndarray, y: np.ndarray, x: np.ndarray, height: int, pitch: int, packed: int
) -> np.ndarray:
    """(weight element, scratch element) for every kernel row, channel, plane and kernel column, in this order."""
    y, x = y[:, None, None, None], x[None, None, None]
    c, j = np.arange(lay.Q)[:, None, None], np.arange(len(z))[:, None]
    a = c * lay.wq + (z[j, 0] * conv.kernel[1] + y[..., 0]) * conv.kernel[2] + x[..., 0]
    plane = ((c * len(z) + j) * lay.planes[1] + y[..., 1]) * lay.planes[2] + x[..., 1]
    if packed:
        a = np.arange(a.size).reshape(a.shape) * packed
    return np.stack(np.broadcast_arrays(a, (plane * height + y[..., 2]) * pitch + x[..., 2]), -1)


def weight_order(conv: Conv, lay: Layout) -> np.ndarray:
    """Weight elements in the order of the taps, for conv.pack_weight; only where there is one phase."""
    z, y, x = (axis(conv, lay, i, 0) for i in range(3))
    return np.ascontiguousarray(_taps(conv, lay, z, y, x, 0, 0, 0)[..., 0].ravel())


def _places(lay: Layout, ny: int, nx: int, pitch: int, whole_rows: bool, lanes: int) -> np.ndarray:
    """Rows scratch element, output element, lanes, row of the vectors that cover ny x nx pixels.

    With `overlap` the last vector of a row ends with the row; one that is wider than the row writes into the following
    rows, if those come next in memory and are written after it, but not behind the last one.
    """
    _, sy, sx = lay.phases
    overlap = lay.overlap and sx == 1
    x = np.arange(0, nx, lanes)
    if overlap and nx >= lanes:
        x = np.minimum(x, nx - lanes)
    row, x = (v.ravel() for v in np.broadcast_arrays(np.arange(ny)[:, None], x))
    out, n = row * sy * lay.result[2] + x * sx, np.minimum(lanes, nx - x)
    if overlap and nx < lanes and whole_rows and sy == 1:
        n = np.where(out + lanes <= ny * nx, lanes, n)
    return np.stack([row * pitch + x, out, n, row])


def _repeated(at: np.ndarray, images: int, step: tuple[int, ...], vectors: int) -> np.ndarray:
    """`at` for several images, `step` apart, filled up to whole groups of vectors with copies of no lanes."""
    at = (at[:, None] + np.arange(images)[:, None] * np.array(step)[:, None, None]).reshape(4, -1)
    extra = -at.shape[1] % vectors
    if extra:
        at = np.concatenate([at, np.repeat(at[:, -1:], extra, 1)], 1)
        at[2, -extra:] = 0
    return at


def _ranges(lay: Layout, y: np.ndarray, rows: np.ndarray, full: np.ndarray, taps: int, vectors: int) -> np.ndarray:
    """(first tap, last tap + 1, whole) of each group of vectors, which start at input rows `rows`; a strided or
    added output is not whole."""
    seen = rows[:, None] + y[:, 2] * lay.ystep + y[:, 1]  # input row of each kernel row, of which each has `taps` taps
    inside = ((seen >= 0) & (seen < lay.source[1])).reshape(len(rows) // vectors, vectors, len(y)).any(1)
    inside = np.pad(inside, ((0, 0), (0, 1)))  # argmax wants at least one column
    some = inside.any(1)
    first, last = inside.argmax(1), len(y) + 1 - inside[:, ::-1].argmax(1)
    whole = full.reshape(-1, vectors).all(1) & (lay.phases[2] == 1) & lay.overlap  # no overlap: the output is read
    return np.stack([np.where(some, first, 0) * taps, np.where(some, last, 0) * taps, whole], 1)


def weight_table(
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
    return ints(rows, *pixels)


def dots_table(conv: Conv, lay: Layout, height: int, pitch: int, rows: int) -> np.ndarray:
    """Scratch elements of the (channel, tap) pairs in the forward pass's planes, the last repeated to whole tiles."""
    z, y, x = (axis(conv, lay, i, 0) for i in range(3))
    c, j, y, x = np.arange(lay.Q)[:, None, None, None], np.arange(len(z))[:, None, None], y[:, None], x[None]
    plane = ((c * len(z) + j) * lay.planes[1] + y[..., 1]) * lay.planes[2] + x[..., 1]
    at = ((plane * height + y[..., 2]) * pitch + x[..., 2]).ravel()
    return ints(at, np.repeat(at[-1:], -len(at) % rows))
