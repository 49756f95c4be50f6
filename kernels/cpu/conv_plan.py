"""Plans of convolutions: which kernels, with which words and how much scratch; pure Python, no arrays.

    plan = forward_plan(Conv(64, 1, 10, (1, 28, 28), (1, 5, 5)), "float32", bias=True)
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd
from typing import Any, NamedTuple

import numpy as np

from ..target import target
from . import conv_panels_plan, conv_rows, winograd
from .conv import BIAS, READ, pack_weight, taps_kernel
from .conv_tables import (
    Conv,
    Layout,
    Triple,
    correlation_table,
    dots_table,
    layout,
    weight_order,
    weight_table,
)
from .conv_weight import bias_grad, dots_kernel, partials_kernel, weight_sum
from .matmul import matmul_plan
from .plan import LOWEST, Launch, slots

FEW = 8  # units that a convolution of few images is split into
LEAST = 1 << 16  # multiply-adds of such a unit
FIRST_CACHE = 36 << 10  # bytes of lines of planes from which on a group of pixels no longer stays in L1


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
        choices, speed = ((8, 3), (10, 2), (6, 4), (5, 4), (4, 6), (3, 8), (1, 8)), {5: 0.97, 4: 0.93, 3: 0.85, 1: 0.6}
    else:  # with six rows, their places and the taps take more registers than there are: half the speed
        choices, speed = ((4, 3), (5, 2), (3, 3), (2, 4), (1, 8)), {5: 1.03, 4: 1.02, 3: 0.85, 2: 0.8, 1: 0.6}
    return min(choices, key=lambda tile: -(-M // tile[0]) * tile[0] / speed.get(tile[0], 1.0))


def _round(n: int, unit: int) -> int:
    return -(-n // unit) * unit


def _blocks(lay: Layout, K: Triple, npy: int, npx: int, lanes: int, itemsize: int) -> tuple[int, int]:
    """(rows, columns) of positions whose planes take 192 KiB of L2: whole rows if at all possible."""
    most, per_cell = 196608 // itemsize, lay.Q * K[0] * lay.planes[1] * lay.planes[2]
    xblocks = -(-npx // 512)
    while npx > 4 * lanes * xblocks and per_cell * (-(-npx // xblocks) + lay.reach[2]) * (1 + lay.reach[1]) > most:
        xblocks += 1
    xb = -(-npx // xblocks)
    yb = max(1, min(npy, most // (per_cell * (xb + lay.reach[2])) - lay.reach[1]))
    return -(-npy // -(-npy // yb)), xb


def _parts(npy: int, npx: int, M: int, rows: int, group: int, wanted: int) -> tuple[int, int]:
    """(bands, blocks of output channels) for about `wanted` units where few images alone would make too few.

    Blocks come first, of two tiles at least, as those that a thread does one after the other share the planes; then
    bands of rows, as long as each has several groups of vectors to compute.
    """
    blocks = max(1, min(wanted, M // (2 * rows)))
    return max(1, min(wanted // blocks, npy * npx // (8 * group), npy)), blocks


def _images(N: int, plane_bytes: int, weight_bytes: int) -> int:
    """How many images a unit takes, a divisor of N: more for a weight that has to come from beyond L2 for each unit."""
    units = 2 if weight_bytes > 1 << 19 else 8
    most = max(1, min(N // units, (3 << 17) // plane_bytes))
    return next(n for n in range(most, 0, -1) if N % n == 0 or N == 0)


@lru_cache(maxsize=1024)
def _correlation(conv: Conv, T: str, grad: bool, flags: int, relu: bool) -> Plan:
    """The launch of forward (pointers out, weight, x, bias) or of the input gradient (out = dx, x = dy)."""
    lanes, itemsize = _lanes(T)
    N, _, _, _, K, S, _, L, G = conv
    lay, taps = layout(conv, grad, flags & READ == 0), K[0] * K[1] * K[2]
    rows, vectors = _tile(lay.M)
    _, npy, npx = lay.positions
    yb, xb = _blocks(lay, K, npy, npx, lanes, itemsize)
    tiles, units, mb = -(-lay.M // rows), max(1, N * G * lay.result[0] * -(-npy // yb) * -(-npx // xb)), lay.M
    wanted = min(FEW // units, conv.multiply_adds // (units * LEAST))
    if wanted > 1:  # as many units on every machine, so that results are the same
        bands, blocks = _parts(-(-npy // -(-npy // yb)), xb, lay.M, rows, vectors * lanes, wanted)
        yb, mb = -(-yb // bands), -(-tiles // blocks) * rows
    ybands, xblocks, height, pitch = -(-npy // yb), -(-npx // xb), yb + lay.reach[1], xb + lay.reach[2]
    mblocks = -(-lay.M // mb)
    image = lay.Q * K[0] * lay.planes[1] * lay.planes[2] * height * pitch
    ib = _images(N, image * itemsize, lay.M * lay.Q * taps * itemsize) if ybands * xblocks * mblocks == 1 else 1
    K_all = lay.Q * taps
    pack = max(lay.phases) == 1 and lay.M * K_all * itemsize >= (1 << 14 if grad else 1 << 18) and N * npy * npx >= 64
    table = correlation_table(conv, lay, lanes, vectors, yb, xb, ib, rows if pack else 0)
    chunk_words = _round(ib * image + 2 * lanes, 16)
    units = N // ib * G * lay.result[0] * ybands * xblocks * mblocks
    zscale, zstep = (1, -(L[0] // gcd(S[0], L[0]))) if grad else (S[0], L[0])
    steps = (1, 1) if grad else S[1:]
    weight = (1, K_all * rows, tiles * K_all * rows) if pack else (lay.wm, rows * lay.wm, lay.M * K_all)
    words = (
        units, ib, G, lay.M, mb, mblocks, lay.Q, *weight, *lay.source, *lay.result, lay.phases[0], zscale, zstep,
        steps[0], lay.before[1], steps[1], lay.before[2], *lay.planes[1:], *lay.phases[1:], yb, ybands, xb, xblocks, height,
        pitch, int(K_all <= 400), flags, 0.0 if relu else LOWEST, chunk_words, 0,
    )  # fmt: skip
    names = ("out", "work" if pack else "weight", "x", "bias", "table", "scratch")
    kernel = taps_kernel(rows, vectors)
    launch = Launch(kernel, T, names, words, slots(units), itemsize * chunk_words, conv.multiply_adds, table)
    if not pack:
        return Plan((launch,), 0)
    words, size = (G, lay.M, K_all, rows, lay.wm, lay.M * K_all), G * tiles * K_all * rows
    first = Launch(pack_weight, T, ("work", "weight", "table"), words, G * tiles, 0, size, weight_order(conv, lay))
    return Plan((first, launch), size * itemsize)


def _is_product(conv: Conv) -> bool:
    """Whether every output pixel sees one input pixel: then the planes are the rows of a matrix product."""
    return conv.groups == 1 and max(conv.kernel) == 1 and max(conv.stride) == 1 and max(conv.padding) == 0


@lru_cache(maxsize=1024)
def _product(conv: Conv, T: str, grad: bool, flags: int, relu: bool) -> Plan:
    """A 1x1 convolution as out[n] = weight x[n] (+ bias), or its input gradient with the weight transposed."""
    size, lay = conv.input, layout(conv, grad)
    pixels = size[0] * size[1] * size[2]
    beta, bias = float(flags & READ != 0), (1, 0) if flags & BIAS else None
    launch = matmul_plan(
        lay.M, pixels, lay.Q, (lay.wm, lay.wq), (pixels, 1), T, batch=(1, conv.N), b_batch=(0, lay.Q * pixels),
        beta=beta, bias=bias, relu=relu,
    )  # fmt: skip
    names = {"c": "out", "a": "weight", "b": "x", "bias": "bias", "scratch": "scratch"}
    return Plan((launch._replace(pointers=tuple(names[name] for name in launch.pointers)),), 0)


@lru_cache(maxsize=1024)
def _winograd(conv: Conv, T: str, grad: bool, flags: int, relu: bool) -> Plan:
    """A 3x3 convolution, or its input gradient, with fewer multiplications."""
    _lanes(T)
    return Plan(*winograd.winograd_launches(conv, T, grad, flags, relu))


@lru_cache(maxsize=1024)
def _rows(conv: Conv, T: str, flags: int, relu: bool) -> Plan:
    """The input gradient of small images, by rows of the output gradient."""
    units = max(1, conv.N * conv.groups)
    wanted, M = min(FEW // units, conv.multiply_adds // (units * LEAST)), conv.C // conv.groups
    if wanted > 1:  # blocks that two threads share equally, if they can
        each = {n: -(-M // n) for n in range(wanted, 1, -1)}
        wanted = min(each, key=lambda n: (-(-M // each[n]) + 1) // 2 * each[n])
    return Plan((conv_rows.rows_launch(conv, T, flags, relu, max(1, min(wanted, M))),), 0)


@lru_cache(maxsize=1024)
def _panels(conv: Conv, T: str, grad: bool, flags: int, relu: bool) -> Plan:
    """A convolution, or its input gradient, as a product with packed blocks of pixels."""
    _lanes(T)
    return Plan(*conv_panels_plan.panels_launches(conv, T, grad, flags, relu))


@lru_cache(maxsize=1024)
def _pays(conv: Conv, T: str, grad: bool) -> bool:
    """Whether panels should be faster than `_correlation`: rows that fill few lanes, planes beyond L1, strided gradients."""
    (lanes, itemsize), lay = _lanes(T), layout(conv, grad)
    _, vectors = _tile(lay.M)
    npx = lay.positions[2]
    lines = lay.Q * conv.kernel[1] * min(lay.planes[2], conv.kernel[2]) * (vectors * lanes * itemsize + 64)
    correlation = 1.05 * -(-npx // lanes) * lanes / npx * (1.15 if lines > FIRST_CACHE else 1.0)
    correlation *= 1.4 if max(lay.phases) > 1 else 1.0  # weights that are far apart, outputs one by one
    return conv_panels_plan.cost(conv, grad, T) < correlation


def _way(conv: Conv, T: str, grad: bool, flags: int) -> Any:
    if _is_product(conv):
        return _product
    if winograd.suits(conv, flags):
        return _winograd
    return _panels if conv_panels_plan.suits(conv, flags) and _pays(conv, T, grad) else _correlation


def forward_plan(conv: Conv, T: str, bias: bool = False, relu: bool = False) -> Plan:
    """Plan out = conv(x, weight) + bias, then max(., 0) with `relu`: pointers out, weight, x, bias, table, scratch.

    Example: `forward_plan(Conv(64, 1, 10, (1, 28, 28), (1, 5, 5)), "float32", bias=True)`
    """
    flags = BIAS if bias else 0
    return _way(conv, T, False, flags)(conv, T, False, flags, relu)


def packed_plan(conv: Conv, T: str, bias: bool = False, relu: bool = False) -> Plan | None:
    """A `forward_plan` whose first launch only brings the weight into the order of the second: once for all calls.

    None where the kernel reads the weight as it is.
    """
    flags = BIAS if bias else 0
    if winograd.suits(conv, flags, packed=True):
        return _winograd(conv, T, False, flags, relu)
    plan = forward_plan(conv, T, bias, relu)
    return plan if len(plan.launches) == 2 else None


def same_sums(a: Plan, b: Plan) -> bool:
    """Whether two packed plans read the weight in the same order and add in the same: then only their tiles may differ."""
    first, other = a.launches[0], b.launches[0]
    if first.kernel is not other.kernel or first.words != other.words:
        return False
    if first.kernel is winograd.winograd_weight:
        return True
    return a.launches[1].kernel is b.launches[1].kernel and np.array_equal(first.table, other.table)


def input_grad_plan(conv: Conv, T: str, accumulate: bool = False, bias: bool = False, relu: bool = False) -> Plan:
    """Plan out = gradient of the input for the output gradient x: pointers out, weight, x, bias, table, scratch.

    With `bias` (one number per input channel) and `relu` it is the forward pass of a transposed convolution.
    """
    _lanes(T)
    flags = (READ if accumulate else 0) | (BIAS if bias else 0)
    if conv_rows.suits(conv, T):
        return _rows(conv, T, flags, relu)
    return _way(conv, T, True, flags)(conv, T, True, flags, relu)


def _weight_tile(taps: int, M: int, lanes: int) -> tuple[int, int]:
    """(rows, vectors) of the tile that computes least beside `taps` (channel, tap) pairs x M output channels."""
    choices = ((8, 2),) if target().vector_bytes == 64 else ((6, 2), (4, 3), (5, 2))

    def work(tile: tuple[int, int]) -> int:
        return -(-taps // tile[0]) * tile[0] * -(-M // (tile[1] * lanes)) * tile[1]

    best = min(choices, key=work)
    return best if 20 * work(best) < 19 * work(choices[0]) else choices[0]


@lru_cache(maxsize=1024)
def weight_grad_plan(conv: Conv, T: str, accumulate: bool = False) -> Plan:
    """Plan dw = gradient of the weight: pointers "dw", "x", "dy", "work", "table", "scratch"."""
    lanes, itemsize = _lanes(T)
    N, C, OC, size, K, S, P, L, G = conv
    taps, out, M, Q = K[0] * K[1] * K[2], conv.output, OC // G, C // G
    if 4 * M <= lanes:
        return _weight_dots(conv, T, accumulate)
    rows, vectors = _weight_tile(Q * taps, M, lanes)
    width = vectors * lanes
    cols = _round(M, width)
    xb = min(out[2], 256)
    yb = max(1, min(out[1], 256 // xb))
    ib = max(1, min(N, 256 // (yb * xb))) if yb == out[1] else 1
    few = N * G == 1 and out[0] * -(-out[2] // xb) == 1 and conv.multiply_adds >= 2 * LEAST  # else too few for two threads
    yb = -(-out[1] // _round(-(-out[1] // yb), 2 if few and (Q == 1 or yb < out[1]) else 1))
    height, pitch = (yb - 1) * S[1] + (K[1] - 1) * L[1] + 1, (xb - 1) * S[2] + (K[2] - 1) * L[2] + 1
    line = ib * K[0] * height * pitch * itemsize
    cb = max(1, min(Q, (1 << 17) // line, max(1, (1 << 18) // (taps * cols * itemsize))))
    cb = -(-Q // max(-(-Q // cb), 2 if few and yb == out[1] else 1))
    ybands, xblocks, cblocks = -(-out[1] // yb), -(-out[2] // xb), -(-Q // cb)
    steps = -(-N // ib) * out[0] * ybands * xblocks
    blocks = min(steps, max(1, 16 // (G * cblocks)))
    block_rows, pixels = _round(cb * taps, rows), ib * yb * xb
    chunk_words = _round(cols * (pixels + lanes) + ib * cb * K[0] * height * pitch + lanes, 16)
    words = (
        N, G, M, Q, *size, *out, K[0], *S, L[0], *P, blocks, steps, ib, yb, ybands, xb, xblocks, cb, cblocks, height, pitch,
        block_rows, cols, 1, chunk_words,
    )  # fmt: skip
    table = weight_table(conv, ib, yb, xb, cb, block_rows, height, pitch)
    units, names = blocks * G * cblocks, ("work", "x", "dy", "table", "scratch")
    kernel = partials_kernel(rows, vectors)
    first = Launch(kernel, T, names, words, slots(units), itemsize * chunk_words, conv.multiply_adds, table)
    words = (G, M, Q, taps, blocks, cb, block_rows, cols, int(accumulate))
    second = Launch(weight_sum, T, ("dw", "work"), words, G * -(-M // lanes), 0, blocks * OC * Q * taps)
    return Plan((first, second), units * block_rows * cols * itemsize)


def _weight_dots(conv: Conv, T: str, accumulate: bool) -> Plan:
    """weight_grad_plan for few output channels a group, where vectors of channels would be mostly empty."""
    lanes, itemsize = _lanes(T)
    N, C, OC, size, K, S, P, L, G = conv
    out, M, Q, lay = conv.output, OC // G, C // G, layout(conv, False)
    taps = Q * K[0] * K[1] * K[2]
    rows = -(-taps // -(-taps // 8))
    pitch, per_row = out[2] + lay.reach[2], Q * K[0] * lay.planes[1] * lay.planes[2] * itemsize
    yb = max(1, min(out[1], (1 << 16) // (per_row * pitch) - lay.reach[1]))
    ybands, height = -(-out[1] // yb), yb + lay.reach[1]
    steps = N * out[0] * ybands
    blocks = min(steps, max(1, 16 // G))
    chunk_words = _round(Q * K[0] * lay.planes[1] * lay.planes[2] * height * pitch + lanes, 16)
    words = (
        N, G, M, Q, *size, *out, K[0], *S, L[0], *P, blocks, *lay.planes[1:], yb, ybands, height, pitch, taps, chunk_words,
    )  # fmt: skip
    table, units = dots_table(conv, lay, height, pitch, rows), blocks * G
    names = ("work", "x", "dy", "table", "scratch")
    first = Launch(dots_kernel(rows), T, names, words, slots(units), itemsize * chunk_words, conv.multiply_adds, table)
    words = (G, M, Q, taps // Q, blocks, Q, taps, M, int(accumulate))
    second = Launch(weight_sum, T, ("dw", "work"), words, G * -(-M // lanes), 0, blocks * OC * taps)
    return Plan((first, second), units * taps * M * itemsize)


def bias_grad_plan(N: int, M: int, pixels: int, T: str, accumulate: bool = False) -> Plan:
    """Plan db[m] = sum of dy (N, M, pixels) over N and pixels: pointers "db", "dy"."""
    _lanes(T)
    launch = Launch(bias_grad, T, ("db", "dy"), (N, M, pixels, int(accumulate)), max(M, 1), 0, N * M * pixels)
    return Plan((launch,), 0)
