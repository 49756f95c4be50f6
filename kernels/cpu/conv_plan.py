"""Plans of convolutions: which kernels, with which words and how much scratch; pure Python, no arrays.

Sizes are tuples of three (depth, height, width); one- and two-dimensional convolutions put 1 in front (0 for padding).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from ..target import target
from .conv import BIAS, READ, taps_kernel
from .conv_weight import bias_grad, partials_kernel, weight_sum
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
        choices = ((4, 3), (6, 2), (5, 2), (3, 3), (2, 4), (1, 8))
    speed = {8: 1.0, 3: 0.8, 2: 0.75, 1: 0.5}
    return min(choices, key=lambda tile: -(-M // tile[0]) * tile[0] / speed.get(tile[0], 1.0))


def _round(n: int, unit: int) -> int:
    return -(-n // unit) * unit


def _private(table: int, words: int, itemsize: int) -> tuple[int, int, int]:
    """(int64 of a chunk's scratch, its leading elements for the table, all its elements), in whole cache lines."""
    lead, rest = _round(8 * table, 64), _round(itemsize * words, 64)
    return (lead + rest) // 8, lead // itemsize, (lead + rest) // itemsize


@lru_cache(maxsize=1024)
def _correlation(conv: Conv, T: str, grad: bool, flags: int, relu: bool) -> Plan:
    """The launch of forward (pointers out, weight, x, bias) or of the input gradient (out = dx, x = dy)."""
    lanes, itemsize = _lanes(T)
    N, C, OC, size, K, S, P, L, G = conv
    taps = K[0] * K[1] * K[2]
    if grad:
        M, Q, source, result = C // G, OC // G, conv.output, size
        wm, wq = taps, C // G * taps
        before = [max(0, -(-((k - 1) * d - p) // s)) for k, s, p, d in zip(K, S, P, L)]
        reach = [b + (s - 1 + p) // s for b, s, p in zip(before, S, P)]
        planes, step = [1, 1], S
    else:
        M, Q, source, result = OC // G, C // G, size, conv.output
        wm, wq = C // G * taps, taps
        before, reach = list(P), [(k - 1) * d // s for k, s, d in zip(K, S, L)]
        planes, step = [min(s, (k - 1) * d + 1) for k, s, d in zip(K[1:], S[1:], L[1:])], (1, 1, 1)
    rows, vectors = _tile(M)
    positions = [-(-r // s) for r, s in zip(result, step)]
    xb = positions[2] if positions[2] <= 512 else 256
    pitch = xb + reach[2]
    cb = max(1, min(Q, 320 // taps))
    per_row = cb * K[0] * planes[0] * planes[1] * pitch * itemsize
    yb = max(1, min(positions[1], (1 << 17) // per_row - reach[1]))
    yb = -(-positions[1] // -(-positions[1] // yb))
    units = N * G * result[0] * -(-positions[1] // yb) * -(-positions[2] // xb)
    room = yb * -(-xb // lanes) + vectors
    private = _private(2 * cb * taps + 3 * room, cb * K[0] * planes[0] * planes[1] * (yb + reach[1]) * pitch + lanes, itemsize)
    words = (
        N, G, M, Q, wm, wq, OC // G * (C // G) * taps, *source, *result, *K, *S, *L, *P, *before, reach[1], reach[2],
        int(grad), flags, 0.0 if relu else LOWEST, LOWEST, yb, xb, cb, *private,
    )  # fmt: skip
    cost = N * OC * (C // G) * taps * conv.output[0] * conv.output[1] * conv.output[2]
    names = ("out", "weight", "x", "bias", "scratch", "scratch")
    return Plan((Launch(taps_kernel(rows, vectors), T, names, words, slots(units), 8 * private[0], cost),), 0)


def forward_plan(conv: Conv, T: str, bias: bool = False, relu: bool = False) -> Plan:
    """Plan out = conv(x, weight) + bias, then max(., 0) with `relu`: pointers out, weight, x, bias, scratch.

    Example: `forward_plan(Conv(64, 1, 10, (1, 28, 28), (1, 5, 5)), "float32", bias=True)`
    """
    return _correlation(conv, T, False, BIAS if bias else 0, relu)


def input_grad_plan(conv: Conv, T: str, accumulate: bool = False, bias: bool = False, relu: bool = False) -> Plan:
    """Plan out = gradient of the input for the output gradient x: pointers out, weight, x, bias, scratch.

    With `bias` (one number per input channel) and `relu` it is the forward pass of a transposed convolution.
    """
    return _correlation(conv, T, True, (READ if accumulate else 0) | (BIAS if bias else 0), relu)


@lru_cache(maxsize=1024)
def weight_grad_plan(conv: Conv, T: str, accumulate: bool = False) -> Plan:
    """Plan dw = gradient of the weight: pointers "dw", "x", "dy", "work", "scratch"."""
    lanes, itemsize = _lanes(T)
    N, C, OC, size, K, S, P, L, G = conv
    taps, out, M, Q = K[0] * K[1] * K[2], conv.output, OC // G, C // G
    choices = ((8, 2), (8, 3), (12, 1)) if target().vector_bytes == 64 else ((6, 2), (4, 3))
    rows, vectors = min(choices, key=lambda tile: _round(M, tile[1] * lanes))
    width = vectors * lanes
    cols = _round(M, width)
    xb = min(out[2], 256)
    yb = max(1, min(out[1], 256 // xb))
    ib = max(1, min(N, 256 // (yb * xb))) if yb == out[1] else 1
    height, pitch = (yb - 1) * S[1] + (K[1] - 1) * L[1] + 1, (xb - 1) * S[2] + (K[2] - 1) * L[2] + 1
    plane = ib * K[0] * height * pitch * itemsize
    cb = max(1, min(Q, (1 << 17) // plane, max(1, (1 << 18) // (taps * cols * itemsize))))
    cb = -(-Q // -(-Q // cb))
    block_rows = _round(cb * taps, rows)
    cblocks = -(-Q // cb)
    steps = -(-N // ib) * out[0] * -(-out[1] // yb) * -(-out[2] // xb)
    blocks = max(1, min(steps, 16 // (G * cblocks)))
    pixels = ib * yb * xb
    private = _private(pixels + block_rows, cols * pixels + ib * cb * K[0] * height * pitch + lanes, itemsize)
    words = (
        N, G, M, Q, *size, *out, *K, *S, *L, *P, blocks, ib, yb, xb, cb, block_rows, cols, *private,
    )  # fmt: skip
    cost = N * OC * Q * taps * out[0] * out[1] * out[2]
    units, names = blocks * G * cblocks, ("work", "x", "dy", "scratch", "scratch")
    first = Launch(partials_kernel(rows, vectors), T, names, words, slots(units), 8 * private[0], cost)
    words = (G, M, Q, taps, blocks, cb, block_rows, cols, int(accumulate))
    second = Launch(weight_sum, T, ("dw", "work"), words, G * -(-M // 8), 0, blocks * OC * Q * taps)
    return Plan((first, second), units * block_rows * cols * itemsize)


def bias_grad_plan(N: int, M: int, pixels: int, T: str, accumulate: bool = False) -> Plan:
    """Plan db[m] = sum of dy (N, M, pixels) over N and pixels: pointers "db", "dy"."""
    _lanes(T)
    launch = Launch(bias_grad, T, ("db", "dy"), (N, M, pixels, int(accumulate)), max(M, 1), 0, N * M * pixels)
    return Plan((launch,), 0)
