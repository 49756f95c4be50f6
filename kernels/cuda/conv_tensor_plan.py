"""Plans of convolutions on tensor cores: the questions of conv_plan.py, for float32 that may be rounded to tf32."""

from __future__ import annotations

from functools import lru_cache
from math import prod

import numpy as np

from ..cpu.conv_plan import Conv, Plan
from ..cpu.plan import LOWEST, Launch
from .conv import weight_sum
from .conv_plan import ROUND, check_sizes, divisors, forward_table, taps_of
from .conv_tensor import WIDTH, conv_of, weight_of
from .launch import ceil_div
from .matmul import BIAS, BLOCKS, READ
from .tensor_tile import WORDS

FEW = 16  # rows up to which most of a tile would be empty
BITS = 31  # places of a kernel along its axes that fit into a mask
SHORT = 512  # least length of a part of the sums over pixels


def suits(conv: Conv) -> bool:
    """Whether the kernels here take this convolution: enough channels a group, and a kernel whose places fit into a mask."""
    rows = min(conv.OC, conv.C) // conv.groups
    return rows > FEW and sum(conv.kernel) <= BITS


def _height(rows: int) -> int:
    return 64 if rows <= 64 else 128


def _masks(channels: int, size: tuple[int, int, int], conv: Conv, moves: np.ndarray) -> np.ndarray:
    """The table of (channel, tap) as int32 words (two in an element): how many elements it moves, the bits it needs."""
    places = np.indices(conv.kernel).reshape(3, -1).T + np.array((0, conv.kernel[0], conv.kernel[0] + conv.kernel[1]))
    bits = (1 << places).sum(1)
    ahead = np.arange(channels)[:, None] * prod(size) + moves @ np.array((size[1] * size[2], size[2], 1))
    rows = np.column_stack((ahead.ravel(), np.tile(bits, channels)))
    never = np.tile((0, -(1 << 31)), (-len(rows) % ROUND + ROUND, 1))
    return np.ascontiguousarray(np.vstack((rows, never)), np.int32).view(np.int64).ravel()


@lru_cache(maxsize=1024)
def _forward_masks(conv: Conv) -> np.ndarray:
    return _masks(conv.C // conv.groups, conv.input, conv, taps_of(conv))


@lru_cache(maxsize=1024)
def _back_masks(conv: Conv) -> np.ndarray:
    return _masks(conv.OC // conv.groups, conv.output, conv, -(taps_of(conv) // np.array(conv.stride)))


@lru_cache(maxsize=1024)
def forward_plan(conv: Conv, bias: bool = False, relu: bool = False) -> Plan:
    """Plan out = conv(x, weight) + bias, then max(., 0) with `relu`: pointers out, weight, x, bias, table."""
    check_sizes(conv)
    M, Q = conv.OC // conv.groups, conv.C // conv.groups
    K, height = Q * prod(conv.kernel), _height(M)
    words = (
        conv.N, conv.groups, M, Q, *conv.output, *conv.input, *conv.kernel, *conv.stride, *(-p for p in conv.padding),
        *conv.dilation, 1, 1, 1, K, *divisors(K), 0, 0.0, 0.0 if relu else LOWEST, BIAS if bias else 0, height, WIDTH,
    )  # fmt: skip
    pointers = ("out", "weight", "x", "bias", "table")
    return Plan((Launch(conv_of[height], "float32", pointers, words, 1, 0, conv.multiply_adds, _forward_masks(conv)),), 0)


@lru_cache(maxsize=1024)
def input_grad_plan(conv: Conv, accumulate: bool = False, bias: bool = False) -> Plan:
    """Plan out = gradient of the input for the output gradient x: pointers out, weight, x, bias, table."""
    check_sizes(conv)
    M, Q, taps = conv.OC // conv.groups, conv.C // conv.groups, prod(conv.kernel)
    flags, height = (READ if accumulate else 0) | (BIAS if bias else 0), _height(Q)
    words = (
        conv.N, conv.groups, Q, M, *conv.input, *conv.output, *conv.kernel, 1, 1, 1, *conv.padding,
        *(-d for d in conv.dilation), *conv.stride, taps, *divisors(taps), (Q - 1) * taps, 1.0 if accumulate else 0.0,
        LOWEST, flags, height, WIDTH,
    )  # fmt: skip
    pointers = ("out", "weight", "x", "bias", "table")
    return Plan((Launch(conv_of[height], "float32", pointers, words, 1, 0, conv.multiply_adds, _back_masks(conv)),), 0)


@lru_cache(maxsize=1024)
def weight_grad_plan(conv: Conv, accumulate: bool = False) -> Plan:
    """Plan dw = gradient of the weight: pointers dw, x, dy, table, work."""
    check_sizes(conv)
    M, Q, out, taps = conv.OC // conv.groups, conv.C // conv.groups, conv.output, prod(conv.kernel)
    columns, K, height = Q * taps, conv.N * prod(out), _height(M)
    tiles = conv.groups * ceil_div(M, height) * ceil_div(columns, WIDTH)
    parts = max(1, min(3 * BLOCKS // tiles, K // SHORT, 256))
    span = ceil_div(K, parts * WORDS) * WORDS
    parts = ceil_div(K, span)
    words = (
        conv.N, conv.groups, M, Q, *conv.input, *conv.stride, *conv.padding, taps,
        *divisors(prod(out), out[1] * out[2], out[2]), parts, span, height, WIDTH,
    )  # fmt: skip
    count = conv.OC * columns
    pointers, table = ("work", "x", "dy", "table"), forward_table(conv)
    first = Launch(weight_of[height], "float32", pointers, words, 1, 0, conv.multiply_adds, table)
    second = Launch(weight_sum, "float32", ("dw", "work"), (count, parts, int(accumulate)), 1, 0, parts * count)
    return Plan((first, second), parts * count * 4)
