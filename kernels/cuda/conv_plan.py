"""Plans of convolutions on CUDA: the same questions as cpu/conv_plan.py answers, with other kernels.

Launches need no scratch; "work" is a buffer that the launches of a plan share, "table" says what a (channel, tap) means.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..cpu.conv_plan import Conv, Plan
from ..cpu.plan import LOWEST, Launch
from . import conv as kernels
from .conv_weight import bias_grad
from .elementwise import divisor
from .launch import ceil_div
from .matmul import BIAS, BLOCKS, READ, SHORT
from .tile import FLAT, WIDE, Shape

__all__ = ["Conv", "Plan", "bias_grad_plan", "forward_plan", "input_grad_plan", "weight_grad_plan"]


def divisors(*numbers: int) -> tuple[int, ...]:
    """Each number with its multiplier and shift."""
    return tuple(word for n in numbers for word in (n, *divisor(n)))


ROUND = 128  # rows of a table are a multiple of this: no tile reads past its end
_FAR = (0, -(1 << 30), 0, 0)  # the row of a tap that is outside of every image


def taps_of(conv: Conv) -> np.ndarray:
    """[taps, 3]: how far the taps move along d, h and w."""
    return np.indices(conv.kernel).reshape(3, -1).T * np.array(conv.dilation)


def _rows(channels: int, size: tuple[int, int, int], moves: np.ndarray, kinds: np.ndarray | None = None) -> np.ndarray:
    """The table of (channel, tap) as int32 words (two in an element): (elements, d, h, w), then (kind, 0, 0, 0)."""
    steps = np.array((size[1] * size[2], size[2], 1))
    within = (np.arange(channels)[:, None] * _pixels(size) + moves @ steps).ravel()
    rows = np.column_stack((within, np.tile(moves, (channels, 1))))
    if kinds is not None:
        more = np.zeros_like(rows)
        more[:, 0] = np.tile(kinds, channels)
        rows = np.hstack((rows, more))
    empty = np.zeros((-len(rows) % ROUND + ROUND, rows.shape[1]), np.int64)
    empty[:, :4] = _FAR
    return np.ascontiguousarray(np.vstack((rows, empty)), np.int32).view(np.int64).ravel()


@lru_cache(maxsize=1024)
def forward_table(conv: Conv) -> np.ndarray:
    return _rows(conv.C // conv.groups, conv.input, taps_of(conv))


@lru_cache(maxsize=1024)
def _back_table(conv: Conv) -> np.ndarray:
    """A tap t takes pixel p to output (p - t) / stride, where that is whole: where p and t have the same rest, their kind."""
    whole, rest = np.divmod(taps_of(conv), conv.stride)
    _, h, w = conv.stride
    return _rows(conv.OC // conv.groups, conv.output, -whole, (rest[:, 0] * h + rest[:, 1]) * w + rest[:, 2])


def check_sizes(conv: Conv) -> None:
    """Raise ValueError where a number that kernels keep in 32 bits does not fit."""
    planes = conv.N * max(_pixels(conv.input), _pixels(conv.output))
    images = max(conv.C * _pixels(conv.input), conv.OC * _pixels(conv.output), max(conv.C, conv.OC) * _pixels(conv.kernel))
    if max(planes, images) >= 1 << 30:
        raise ValueError(
            f"conv: one image, and one channel of all images, must have fewer than 2**30 elements, got {images} and {planes};"
            " split the batch or the image."
        )


def _check(T: str) -> None:
    if T not in ("float32", "float64"):
        raise TypeError(f"conv: expected float32 or float64, got {T}; convert with .float() or .double().")


def _shape(rows: int, columns: int, groups: int, T: str) -> Shape:
    """The tile with more rows where it fills the GPU and they are used."""
    tiles = groups * ceil_div(rows, WIDE.height) * ceil_div(columns, WIDE.width)
    return WIDE if T == "float32" and rows > FLAT.height and tiles >= BLOCKS else FLAT


def _pixels(size: tuple[int, int, int]) -> int:
    return size[0] * size[1] * size[2]


@lru_cache(maxsize=1024)
def forward_plan(conv: Conv, T: str, bias: bool = False, relu: bool = False) -> Plan:
    """Plan out = conv(x, weight) + bias, then max(., 0) with `relu`: pointers out, weight, x, bias."""
    _check(T)
    check_sizes(conv)
    M, Q = conv.OC // conv.groups, conv.C // conv.groups
    shape = _shape(M, conv.N * _pixels(conv.output), conv.groups, T)
    words = (
        conv.N, conv.groups, M, Q, *conv.input, *conv.output, *conv.stride, *conv.padding, _pixels(conv.kernel),
        0.0, 0.0 if relu else LOWEST, BIAS if bias else 0, shape.height, shape.width,
    )  # fmt: skip
    kernel = kernels.forward_wide if shape is WIDE else kernels.forward_flat
    pointers, table = ("out", "weight", "x", "bias", "table"), forward_table(conv)
    launch = Launch(kernel, T, pointers, words, 1, 0, conv.multiply_adds, table)
    return Plan((launch,), 0)


@lru_cache(maxsize=1024)
def input_grad_plan(
    conv: Conv, T: str, accumulate: bool = False, bias: bool = False, relu: bool = False
) -> Plan:
    """Plan out = gradient of the input for the output gradient x: pointers out, weight, x, bias.

    With `bias` (one number per input channel) and `relu` it is the forward pass of a transposed convolution.
    """
    _check(T)
    check_sizes(conv)
    M, Q = conv.OC // conv.groups, conv.C // conv.groups
    shape = _shape(Q, conv.N * _pixels(conv.input), conv.groups, T)
    flags = (READ if accumulate else 0) | (BIAS if bias else 0)
    words = (
        conv.N, conv.groups, M, Q, *conv.input, *conv.output, *conv.stride, *conv.padding,
        *divisors(_pixels(conv.kernel)), 1.0 if accumulate else 0.0, 0.0 if relu else LOWEST, flags, shape.height,
        shape.width,
    )  # fmt: skip
    kernel = kernels.input_grad_wide if shape is WIDE else kernels.input_grad_flat
    pointers, table = ("out", "weight", "x", "bias", "table"), _back_table(conv)
    launch = Launch(kernel, T, pointers, words, 1, 0, conv.multiply_adds, table)
    return Plan((launch,), 0)


@lru_cache(maxsize=1024)
def weight_grad_plan(conv: Conv, T: str, accumulate: bool = False) -> Plan:
    """Plan dw = gradient of the weight: pointers dw, x, dy, work."""
    _check(T)
    check_sizes(conv)
    M, Q = conv.OC // conv.groups, conv.C // conv.groups
    taps, out = _pixels(conv.kernel), conv.output
    columns, K = Q * taps, conv.N * _pixels(out)
    shape = _shape(M, columns * max(1, K // SHORT), conv.groups, T)
    tiles = max(1, conv.groups * ceil_div(M, shape.height) * ceil_div(columns, shape.width))
    parts = max(1, min(2 * BLOCKS // tiles, K // SHORT, 256))
    span = ceil_div(max(K, 1), parts)
    words = (
        conv.N, conv.groups, M, Q, *conv.input, *conv.stride, *conv.padding, taps,
        *divisors(_pixels(out), out[1] * out[2], out[2]), parts, span, shape.height, shape.width,
    )  # fmt: skip
    kernel = kernels.weight_grad_wide if shape is WIDE else kernels.weight_grad_flat
    count = conv.OC * columns
    first = Launch(kernel, T, ("work", "x", "dy", "table"), words, 1, 0, conv.multiply_adds, forward_table(conv))
    words = (count, parts, int(accumulate))
    second = Launch(kernels.weight_sum, T, ("dw", "work"), words, 1, 0, parts * count)
    return Plan((first, second), parts * count * (8 if T == "float64" else 4))


def bias_grad_plan(N: int, M: int, pixels: int, T: str, accumulate: bool = False) -> Plan:
    """Plan db[m] = sum of dy (N, M, pixels) over N and pixels: pointers "db", "dy"."""
    _check(T)
    launch = Launch(bias_grad, T, ("db", "dy"), (N, M, pixels, int(accumulate)), 1, 0, N * M * pixels)
    return Plan((launch,), 0)
