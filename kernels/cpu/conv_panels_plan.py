"""Plans of conv_panels: its blocks, and the table that it walks along; pure Python and NumPy."""

from __future__ import annotations

import itertools

import numpy as np

from ..target import target
from .conv import BIAS, pack_weight
from .conv_panels import panels_kernel
from .conv_tables import Conv, Layout, axis, ints, layout
from .plan import LOWEST, Launch, slots

PANEL = 24 << 10  # bytes of a panel of one block of channels: most of the L1 cache
WEIGHTS = 192 << 10  # bytes of a block's weights that stay in L2
SUMS = 512 << 10  # bytes of the sums of a unit
FEW, LEAST = 8, 1 << 18  # units that few images are split into; multiply-adds of such a unit


def panels_tile() -> tuple[int, int]:
    """(rows, vectors) of a register tile."""
    return (8, 3) if target().vector_bytes == 64 else (4, 3)


def _copies(starts: np.ndarray, counts: np.ndarray, width: int, lanes: int) -> np.ndarray:
    """The copies that fill panels of `width` pixels from rows of pixels (first element in the planes, how many) each:
    where the pairs start, for each panel its first pair and behind the last, then the pairs (element in the line, in the planes).

    A panel has four at least: that many are copied fastest, and the last may be copied again.
    """
    ends = np.cumsum(counts)
    pixels, pairs, first = int(ends[-1]) if len(ends) else 0, [], [0]
    for panel in range(-(-pixels // width)):
        at, stop = panel * width, min(pixels, panel * width + width)
        while at < stop:
            row = int(np.searchsorted(ends, at, "right"))
            run = min(stop, int(ends[row]))
            source = int(starts[row] + at - (ends[row] - counts[row]))
            pairs += [(p - panel * width, source + p - at) for p in range(at, run, lanes)]
            at = run
        pairs += [pairs[-1]] * (first[-1] + 4 - len(pairs))
        first.append(len(pairs))
    return ints(len(first) + 1, first, pairs)


def panels_table(conv: Conv, lay: Layout, ib: int, cb: int, yb: int, width: int, lanes: int) -> tuple[np.ndarray, int, int]:
    """The table of conv_panels, int64, the most taps of a phase and the pitch of the sums. The table:

    - for each case (band but the last, last band) and phase (row, column): number of taps, where their shifts start, taps of
      the phases before times channels, where the copies start, where the runs start, runs an image, pixels an image, element
      in the sums where the phase starts;
    - shifts: scratch elements behind a pixel's, in the order of the weight;
    - copies: see `_copies`;
    - runs: (element in the sums, in the output, how many) of each image.
    """
    axes = [[axis(conv, lay, i, phase) for phase in range(lay.phases[i])] for i in (1, 2)]
    _, npy, npx = lay.positions
    bands, height, pitch = -(-npy // yb), yb + lay.reach[1], npx + lay.reach[2]
    plane, area = lay.planes[1] * lay.planes[2] * height * pitch, lay.M * lay.result[1] * lay.result[2]
    _, sy, sx = lay.phases
    heads, pieces, start, sums_pitch = [], [], 2 * sy * sx * 8, 0
    for case in range(2):
        before = at = 0
        for (ry, y), (rx, x) in itertools.product(*(list(enumerate(phases)) for phases in axes)):
            ny, nx = lay.size(1, ry, 0 if case == 0 else bands - 1, yb), lay.size(2, rx, 0, npx)
            shifts = (((y[:, None, 1] * lay.planes[2] + x[:, 1]) * height + y[:, None, 2]) * pitch + x[:, 2]).ravel()
            image, row = np.arange(ib)[:, None], np.arange(ny)
            starts = (image * cb * plane + row * pitch).ravel()
            copies = _copies(starts, np.full(len(starts), nx), width, lanes)
            if sx == sy == 1:  # the rows of a band follow each other
                runs = [(at + i * ny * nx, i * area, ny * nx) for i in range(ib)]
            else:
                runs = [(at + (i * ny + r) * nx, i * area + r * sy * lay.result[2], nx) for i in range(ib) for r in range(ny)]
            head = [len(shifts), start, before, start + len(shifts), start + len(shifts) + len(copies), len(runs) // ib]
            heads += [*head, ny * nx, at]
            pieces += [shifts, copies, ints(runs)]
            start += len(shifts) + len(copies) + 3 * len(runs)
            before, at = before + len(shifts) * lay.Q, at + -(-ib * ny * nx // width) * width
        sums_pitch = max(sums_pitch, at)
    return ints(heads, *pieces), max(len(y) for y in axes[0]) * max(len(x) for x in axes[1]), sums_pitch


def weight_order(conv: Conv, lay: Layout) -> np.ndarray:
    """Weight elements in the order (phase, channel, tap)."""
    axes = [[axis(conv, lay, i, phase) for phase in range(lay.phases[i])] for i in (1, 2)]
    c, found = np.arange(lay.Q)[:, None, None] * lay.wq, []
    for y, x in itertools.product(*axes):
        found.append((c + y[:, None, 0] * conv.kernel[2] + x[:, 0]).ravel())
    return ints(*found)


def _units(lay: Layout, N: int, width: int, itemsize: int, few: int, wanted: int) -> tuple[int, int]:
    """(images, rows of positions) of a unit: few empty columns and repeated rows, but at least `wanted` units."""
    _, npy, npx = lay.positions
    most = max(npx, SUMS // (lay.M * itemsize * lay.phases[1] * lay.phases[2]))
    found = []
    for images in range(1, max(1, min(N // few, most // (npy * npx))) + 1):
        columns = images * npy * npx
        found.append((columns / (-(-columns // width) * width), images, npy))
    if npy * npx > most or N < wanted:
        found, bands = [], -(-wanted // N)
        for yb in range(1, max(1, min(-(-npy // bands), most // npx)) + 1):
            ends = npy - npy // yb * yb
            panels = npy // yb * -(-yb * npx // width) + -(-ends * npx // width)
            found.append((npy * npx / (panels * width) * yb / (yb + 0.1 * lay.reach[1]), 1, yb))
    return max(found)[1:]


def cost(conv: Conv, grad: bool, T: str) -> float:
    """How many times longer than its multiply-adds alone a convolution should take this way."""
    lay, lanes = layout(conv, grad), target().lanes(T)
    width = panels_tile()[1] * lanes
    ib, yb = _units(lay, conv.N, width, target().vector_bytes // lanes, FEW, 1)
    columns = ib * yb * lay.positions[2]
    return (1 + 7 / max(1, lay.M)) * -(-columns // width) * width / columns


def suits(conv: Conv, flags: int) -> bool:
    """Whether the kernel can do a convolution or its input gradient."""
    flat = conv.input[0] == conv.kernel[0] == conv.stride[0] == 1 and conv.padding[0] == 0
    return flat and conv.groups == 1 and conv.N > 0 and flags & ~BIAS == 0 and conv.output[2] <= 512 and conv.input[2] <= 512


def panels_launches(conv: Conv, T: str, grad: bool, flags: int, relu: bool) -> tuple[tuple[Launch, ...], int]:
    """The launches of the forward pass or the input gradient (pointers out, weight, x, bias), and the bytes of "work"."""
    lanes, itemsize = target().lanes(T), target().vector_bytes // target().lanes(T)
    lay, N, (rows, vectors) = layout(conv, grad), conv.N, panels_tile()
    width, K_all, tiles = vectors * lanes, lay.Q * conv.kernel[1] * conv.kernel[2], -(-lay.M // rows)
    few = FEW // 2 if lay.M * K_all * itemsize > 1 << 19 else FEW  # each unit reads the whole weight from beyond L2
    wanted = max(1, min(few, conv.multiply_adds // LEAST))
    ib, yb = _units(lay, N, width, itemsize, few, wanted)
    _, npy, npx = lay.positions
    bands, height, pitch = -(-npy // yb), yb + lay.reach[1], npx + lay.reach[2]
    mb = -(-tiles // min(tiles, max(1, wanted // (-(-N // ib) * bands)))) * rows
    most_taps = max(1, conv.kernel[1] * conv.kernel[2] // (lay.phases[1] * lay.phases[2]))
    cb = max(1, min(lay.Q, PANEL // (width * itemsize * most_taps)))
    cb = -(-lay.Q // -(-lay.Q // cb))
    table, most_taps, sums_pitch = panels_table(conv, lay, ib, cb, yb, width, lanes)
    room = -(-ib * yb * npx // width) * width * cb * most_taps + lanes
    chunk_words = mb * sums_pitch + room + ib * cb * lay.planes[1] * lay.planes[2] * height * pitch + 3 * lanes
    chunk_words += -chunk_words % 16
    packed = grad or lay.M * K_all * itemsize >= 1 << 20
    weight = (1, K_all * rows, rows) if packed else (lay.wm, rows * lay.wm, 1)
    units, mblocks = -(-N // ib) * bands * -(-lay.M // mb), -(-lay.M // mb)
    steps = (1, 1) if grad else conv.stride[1:]
    words = (
        N, ib, lay.M, mb, mblocks, lay.Q, cb, *weight, *lay.source[1:], *lay.result[1:], steps[0], lay.before[1], steps[1],
        lay.before[2], *lay.planes[1:], *lay.phases[1:], yb, bands, height, pitch, room, sums_pitch,
        max(1, WEIGHTS // (cb * most_taps * rows * itemsize)), flags, 0.0 if relu else LOWEST, chunk_words, 0,
    )  # fmt: skip
    names = ("out", "work" if packed else "weight", "x", "bias", "table", "scratch")
    kernel, scratch = panels_kernel(rows, vectors), chunk_words * itemsize
    launch = Launch(kernel, T, names, words, slots(units), scratch, conv.multiply_adds, table)
    if not packed:
        return (launch,), 0
    words, size = (1, lay.M, K_all, rows, lay.wm, lay.M * K_all), tiles * K_all * rows
    first = Launch(pack_weight, T, ("work", "weight", "table"), words, tiles, 0, size, weight_order(conv, lay))
    return (first, launch), size * itemsize
