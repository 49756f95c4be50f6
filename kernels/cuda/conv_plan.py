"""Plans of convolutions on CUDA: the same questions as cpu/conv_plan.py answers, with other kernels.

Launches need no table and no scratch; "work" is a buffer that the launches of a plan share.
"""

from __future__ import annotations

from functools import lru_cache

from ..cpu.conv_plan import Conv, Plan
from ..cpu.plan import LOWEST, Launch
from . import conv as kernels
from .conv_weight import bias_grad
from .elementwise import divisor
from .launch import ceil_div
from .matmul import BIAS, BLOCKS, READ, SHORT
from .tile import LARGE, MEDIUM, Shape

__all__ = ["Conv", "Plan", "bias_grad_plan", "forward_plan", "input_grad_plan", "weight_grad_plan"]


def _divisors(*numbers: int) -> tuple[int, ...]:
    """Each number with its multiplier and shift."""
    return tuple(word for n in numbers for word in (n, *divisor(n)))


def _taps(conv: Conv) -> tuple[int, ...]:
    """The words that take a number of (channel, tap) apart."""
    d, h, w = conv.kernel
    return _divisors(d * h * w, h * w, w)


def _check(T: str) -> None:
    if T not in ("float32", "float64"):
        raise TypeError(f"conv: expected float32 or float64, got {T}; convert with .float() or .double().")


def _shape(rows: int, columns: int, groups: int, T: str) -> Shape:
    """The large tile where it fills the GPU and its rows are used."""
    tiles = groups * ceil_div(rows, LARGE.height) * ceil_div(columns, LARGE.width)
    return LARGE if T == "float32" and rows > LARGE.height // 2 and tiles >= BLOCKS else MEDIUM


def _pixels(size: tuple[int, int, int]) -> int:
    return size[0] * size[1] * size[2]


@lru_cache(maxsize=1024)
def forward_plan(conv: Conv, T: str, bias: bool = False, relu: bool = False) -> Plan:
    """Plan out = conv(x, weight) + bias, then max(., 0) with `relu`: pointers out, weight, x, bias."""
    _check(T)
    M, Q = conv.OC // conv.groups, conv.C // conv.groups
    shape = _shape(M, conv.N * _pixels(conv.output), conv.groups, T)
    words = (
        conv.N, conv.groups, M, Q, *conv.input, *conv.output, *conv.stride, *conv.padding, *conv.dilation, *_taps(conv),
        0.0, 0.0 if relu else LOWEST, BIAS if bias else 0, shape.height, shape.width,
    )  # fmt: skip
    kernel = kernels.forward_large if shape is LARGE else kernels.forward_medium
    launch = Launch(kernel, T, ("out", "weight", "x", "bias"), words, 1, 0, conv.multiply_adds)
    return Plan((launch,), 0)


@lru_cache(maxsize=1024)
def input_grad_plan(
    conv: Conv, T: str, accumulate: bool = False, bias: bool = False, relu: bool = False
) -> Plan:
    """Plan out = gradient of the input for the output gradient x: pointers out, weight, x, bias.

    With `bias` (one number per input channel) and `relu` it is the forward pass of a transposed convolution.
    """
    _check(T)
    M, Q = conv.OC // conv.groups, conv.C // conv.groups
    shape = _shape(Q, conv.N * _pixels(conv.input), conv.groups, T)
    flags = (READ if accumulate else 0) | (BIAS if bias else 0)
    words = (
        conv.N, conv.groups, M, Q, *conv.input, *conv.output, *_divisors(*conv.stride), *conv.padding, *conv.dilation,
        *_taps(conv), 1.0 if accumulate else 0.0, 0.0 if relu else LOWEST, flags, shape.height, shape.width,
    )  # fmt: skip
    kernel = kernels.input_grad_large if shape is LARGE else kernels.input_grad_medium
    launch = Launch(kernel, T, ("out", "weight", "x", "bias"), words, 1, 0, conv.multiply_adds)
    return Plan((launch,), 0)


@lru_cache(maxsize=1024)
def weight_grad_plan(conv: Conv, T: str, accumulate: bool = False) -> Plan:
    """Plan dw = gradient of the weight: pointers dw, x, dy, work."""
    _check(T)
    M, Q = conv.OC // conv.groups, conv.C // conv.groups
    taps, out = _pixels(conv.kernel), conv.output
    columns, K = Q * taps, conv.N * _pixels(out)
    shape = _shape(M, columns * max(1, K // SHORT), conv.groups, T)
    tiles = max(1, conv.groups * ceil_div(M, shape.height) * ceil_div(columns, shape.width))
    parts = max(1, min(2 * BLOCKS // tiles, K // SHORT, 256))
    span = ceil_div(max(K, 1), parts)
    words = (
        conv.N, conv.groups, M, Q, *conv.input, *conv.stride, *conv.padding, *conv.dilation, *_taps(conv),
        *_divisors(_pixels(out), out[1] * out[2], out[2]), parts, span, shape.height, shape.width,
    )  # fmt: skip
    kernel = kernels.weight_grad_large if shape is LARGE else kernels.weight_grad_medium
    count = conv.OC * columns
    first = Launch(kernel, T, ("work", "x", "dy"), words, 1, 0, conv.multiply_adds)
    words = (count, parts, int(accumulate))
    second = Launch(kernels.weight_sum, T, ("dw", "work"), words, 1, 0, parts * count)
    return Plan((first, second), parts * count * (8 if T == "float64" else 4))


def bias_grad_plan(N: int, M: int, pixels: int, T: str, accumulate: bool = False) -> Plan:
    """Plan db[m] = sum of dy (N, M, pixels) over N and pixels: pointers "db", "dy"."""
    _check(T)
    launch = Launch(bias_grad, T, ("db", "dy"), (N, M, pixels, int(accumulate)), 1, 0, N * M * pixels)
    return Plan((launch,), 0)
