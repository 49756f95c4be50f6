"""Convolutions: one op for the output, one for each gradient; the three are each other's derivatives.

    conv(x, w) = y        conv_input(y, w) = gradient of x        conv_weight(x, y) = gradient of w

All three are linear in both arguments, so each backward rule calls the other two. A transposed convolution is ``conv_input``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import settings
from .._tensor import Tensor
from ..autograd.mode import state, watchers
from ..dtype import float32
from ..errors import not_implemented, require_same_device, require_tensor
from ..shape import Layout, contiguous
from . import view
from .constant import table
from .conv_integers import convolve, convolve_transposed
from .copying import write
from .declare import Context, kernel_op, tensor_cores
from .launch import Launch, Scratch
from .matmul import bind
from .reduce import planner

Sizes = tuple[int, ...]


def _triple(values: Sequence[int], fill: int) -> Sizes:
    return (fill,) * (3 - len(values)) + tuple(values)


def geometry_of(x: Sizes, w: Sizes, attrs: dict) -> Any:
    """The planner's description of the convolution of an input and a weight of these shapes."""
    make = planner("Conv", "conv_plan")
    return make(
        x[0], x[1], w[0], _triple(x[2:], 1), _triple(w[2:], 1), _triple(attrs["stride"], 1), _triple(attrs["padding"], 0),
        _triple(attrs["dilation"], 1), attrs["groups"],
    )  # fmt: skip


def _plan(which: str, x: Tensor, geometry: Any, **asked: Any) -> Any:
    """The planner's answer: kernels for tensor cores where a GPU has them, rounding to tf32 is permitted and they suit."""
    device = x._layout.device
    if device != "cpu" and x.dtype is float32 and settings.conv_tf32_permitted() and tensor_cores(device):
        if planner("suits", "conv_tensor_plan", device)(geometry):
            return planner(which, "conv_tensor_plan", device)(geometry, **asked)
    return planner(which, "conv_plan", device)(geometry, x.dtype.kind, **asked)


def _launches(plan: Any, **tensors: Any) -> list[Launch]:
    """Launches from a planner's answer; ``work`` is shared by them, ``scratch`` private to each."""
    if plan.work_bytes:
        tensors["work"] = Scratch(plan.work_bytes)
    device = next(t._layout.device for t in tensors.values() if isinstance(t, Tensor))
    launches = []
    for found in plan.launches:
        if found.table is not None:
            tensors["table"] = table(found.table, device)
        launches.append(bind(found, **tensors))
    return launches


def _filled(out: Tensor, a: Tensor, b: Tensor, bias: Tensor | None) -> bool:
    """Whether there was nothing to sum up (an operand has no elements), so that ``out`` now holds zeros or the bias."""
    if a._layout.numel and b._layout.numel:
        return False
    from ..creation import fill_into

    fill_into(out, 0)
    if bias is not None:
        write(out, view.reshape(bias.detach(), (-1,) + (1,) * (out._layout.ndim - 2)))
    return True


def _pointer(bias: Tensor | None) -> Any:
    return 0 if bias is None else bias.detach().contiguous()


def _attrs(stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> dict:
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


def _output_size(size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Sizes:
    return tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, kernel, stride, padding, dilation)
    )


@kernel_op(["x", "w", "bias"], saves=["x", "w"], name="convolution")
def conv(
    x: Tensor, w: Tensor, bias: Tensor | None, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> Layout:
    """The cross-correlation of x (N, C, *size) with w (K, C / groups, *kernel), plus bias (K)."""
    shape = _output_size(x._layout.shape[2:], w._layout.shape[2:], stride, padding, dilation)
    return contiguous((x._layout.shape[0], w._layout.shape[0], *shape), x._layout.dtype, x._layout.device)


@conv.plan
def _(outputs: Any, x: Tensor, w: Tensor, bias: Tensor | None, relu: bool = False, **attrs: Any) -> list[Launch]:
    if not outputs[0]._layout.numel or _filled(outputs[0], x, w, bias):
        return []
    x, w = x.detach().contiguous(), w.detach().contiguous()
    geometry = geometry_of(x._layout.shape, w._layout.shape, attrs)
    plan = _plan("forward_plan", x, geometry, bias=bias is not None, relu=relu)
    return _launches(plan, out=outputs[0], weight=w, x=x, bias=_pointer(bias))


@conv.backward
def _(ctx: Context, g: Tensor) -> Any:
    attrs = ctx.attrs
    dx = conv_input(g, ctx.w, None, size=tuple(ctx.meta(0).shape[2:]), **attrs) if ctx.needs(0) else None
    dw = conv_weight(ctx.x, g, kernel=tuple(ctx.meta(1).shape[2:]), **attrs) if ctx.needs(1) else None
    return dx, dw, (conv_bias(g) if ctx.needs(2) else None)


@kernel_op(["y", "w", "bias"], saves=["y", "w"], name="convolution_input")
def conv_input(y: Tensor, w: Tensor, bias: Tensor | None, size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes,
               groups: int) -> Layout:  # fmt: skip
    """The gradient of ``conv`` for an input of ``size``, given the gradient y of its output; plus bias (C)."""
    shape = (y._layout.shape[0], w._layout.shape[1] * groups, *size)
    return contiguous(shape, y._layout.dtype, y._layout.device)


@conv_input.plan
def _(outputs: Any, y: Tensor, w: Tensor, bias: Tensor | None, size: Sizes, **attrs: Any) -> list[Launch]:
    if not outputs[0]._layout.numel or _filled(outputs[0], y, w, bias):
        return []
    y, w = y.detach().contiguous(), w.detach().contiguous()
    geometry = geometry_of(outputs[0]._layout.shape, w._layout.shape, attrs)
    plan = _plan("input_grad_plan", y, geometry, bias=bias is not None)
    return _launches(plan, out=outputs[0], weight=w, x=y, bias=_pointer(bias))


@conv_input.backward
def _(ctx: Context, g: Tensor) -> Any:
    attrs = {k: v for k, v in ctx.attrs.items() if k != "size"}
    dy = conv(g, ctx.w, None, **attrs) if ctx.needs(0) else None
    dw = conv_weight(g, ctx.y, kernel=tuple(ctx.meta(1).shape[2:]), **attrs) if ctx.needs(1) else None
    return dy, dw, (conv_bias(g) if ctx.needs(2) else None)


@kernel_op(["x", "y"], saves=["x", "y"], name="convolution_weight")
def conv_weight(
    x: Tensor, y: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> Layout:
    """The gradient of ``conv`` for a weight with this kernel size, given its input x and the gradient y of its output."""
    shape = (y._layout.shape[1], x._layout.shape[1] // groups, *kernel)
    return contiguous(shape, x._layout.dtype, x._layout.device)


@conv_weight.plan
def _(outputs: Any, x: Tensor, y: Tensor, kernel: Sizes, **attrs: Any) -> list[Launch]:
    if not outputs[0]._layout.numel or _filled(outputs[0], x, y, None):
        return []
    x, y = x.detach().contiguous(), y.detach().contiguous()
    geometry = geometry_of(x._layout.shape, outputs[0]._layout.shape, attrs)
    plan = _plan("weight_grad_plan", x, geometry)
    return _launches(plan, dw=outputs[0], x=x, dy=y)


@conv_weight.backward
def _(ctx: Context, g: Tensor) -> Any:
    attrs = {k: v for k, v in ctx.attrs.items() if k != "kernel"}
    dx = conv_input(ctx.y, g, None, size=tuple(ctx.meta(0).shape[2:]), **attrs) if ctx.needs(0) else None
    return dx, (conv(ctx.x, g, None, **attrs) if ctx.needs(1) else None)


@kernel_op(["y"], name="convolution_bias")
def conv_bias(y: Tensor) -> Layout:
    """The sum over all but the channels: the gradient of a bias."""
    return contiguous(y._layout.shape[1:2], y._layout.dtype, y._layout.device)


@conv_bias.plan
def _(outputs: Any, y: Tensor) -> list[Launch]:
    n, channels, *size = y._layout.shape
    plan = planner("bias_grad_plan", "conv_plan", y._layout.device)(n, channels, math.prod(size), y.dtype.kind)
    return _launches(plan, db=outputs[0], dy=y.detach().contiguous())


@conv_bias.backward
def _(ctx: Context, g: Tensor) -> Any:
    shape = ctx.meta(0).shape
    return view.expand(view.reshape(g, (-1,) + (1,) * (len(shape) - 2)), shape)


# -- PyTorch's function and its checks


def _times(sizes: Sequence[int]) -> str:
    return " x ".join(str(n) for n in sizes)


def _check_weight(x: Sizes, w: Sizes, bias: Tensor | None, transposed: bool, groups: int) -> None:
    if groups <= 0:
        raise RuntimeError(f"convolution: non-positive groups is not supported, got groups={groups}; give groups >= 1")
    if len(x) != len(w):
        raise RuntimeError(
            f"Expected {len(w)}-dimensional input for {len(w)}-dimensional weight {list(w)}, but got {len(x)}-dimensional"
            f" input of size {list(x)} instead"
        )
    if w[0] < groups:
        raise RuntimeError(f"Given groups={groups}, expected weight to be at least {groups} at dimension 0, but got weight of"
                           f" size {list(w)} instead")  # fmt: skip
    if w[0] % groups:
        raise RuntimeError(f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but got weight"
                           f" of size {list(w)} instead")  # fmt: skip
    expected = w[0] if transposed else w[1] * groups
    if x[1] != expected:
        raise RuntimeError(
            f"Given {'transposed=1' if transposed else f'groups={groups}'}, weight of size {list(w)}, expected input"
            f"{list(x)} to have {expected} channels, but got {x[1]} channels instead; channels are dimension 1 of a batch"
        )
    channels = w[1] * groups if transposed else w[0]
    if bias is not None and bias._layout.shape != (channels,):
        raise RuntimeError(
            f"Given {'transposed=1' if transposed else f'groups={groups}'}, weight of size {list(w)}, expected bias to be"
            f" 1-dimensional with {channels} elements, one per output channel, but got bias of size {list(bias.shape)} instead; give one of that size"
        )


def _check_types(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    require_same_device("convolution", input=input, weight=weight, bias=bias)
    for name, t in (("weight", weight), ("bias", bias)):
        if t is not None and t.dtype is not input.dtype:
            raise RuntimeError(
                f"convolution: Input type ({input.dtype!r}) and {name} type ({t.dtype!r}) should be the same; convert one of"
                " them with .to()"
            )
    if input.dtype.name == "bool":
        raise not_implemented("convolution", input.dtype)


def _check_numbers(n: int, **given: Sizes) -> None:
    for name, values in given.items():
        if len(values) != n:
            raise RuntimeError(f"convolution: expected {name} to have {n} values, one for each spatial dimension, but got"
                               f" {name}={list(values)}")  # fmt: skip
        least = 1 if name in ("stride", "dilation") else 0
        if any(v < least for v in values):
            word = "non-positive" if least else "negative"
            raise RuntimeError(f"convolution: {word} {name} is not supported, got {name}={list(values)}; give values >= {least}")


def convolution(
    input: Tensor, weight: Tensor, bias: Tensor | None, stride: Sizes, padding: Sizes, dilation: Sizes, transposed: bool,
    output_padding: Sizes, groups: int,
) -> Tensor:  # fmt: skip
    """Convolution in one to three dimensions: input (N, C, *size), weight (K, C / groups, *kernel), bias (K).

    Transposed: weight (C, K / groups, *kernel), and ``output_padding`` adds to one side of the output. RuntimeError where
    sizes, channels or dtypes don't fit.

    Example:
        >>> import numtorch
        >>> x, w = numtorch.ones(1, 1, 4), numtorch.ones(1, 1, 2)
        >>> numtorch.ops.convolution(x, w, None, (1,), (0,), (1,), False, (0,), 1).tolist()
        [[[2.0, 2.0, 2.0]]]
    """
    for name, t in (("input", input), ("weight", weight)):
        require_tensor("convolution", name, t)
    x, w = tuple(input._layout.shape), tuple(weight._layout.shape)
    n = len(w) - 2
    if not 1 <= n <= 3:
        raise RuntimeError(
            f"convolution: expected a weight with 3 to 5 dimensions, but got one of size {list(w)}"
        )
    stride, padding, dilation, output_padding = (
        tuple(stride),
        tuple(padding),
        tuple(dilation),
        tuple(output_padding),
    )
    _check_weight(x, w, bias, transposed, groups)
    _check_numbers(n, stride=stride, padding=padding, dilation=dilation, output_padding=output_padding)
    if watchers and state.autocast is not None:
        input, weight, bias = state.autocast("convolution", (input, weight, bias))
    _check_types(input, weight, bias)
    attrs = _attrs(stride, padding, dilation, groups)
    if transposed:
        return _transposed(input, weight, bias, output_padding, attrs)
    padded = [m + 2 * p for m, p in zip(x[2:], padding)]
    reach = [d * (k - 1) + 1 for k, d in zip(w[2:], dilation)]
    if any(k > m for k, m in zip(reach, padded)) or 0 in w[2:]:
        raise RuntimeError(
            f"Calculated padded input size per channel: ({_times(padded)}). Kernel size: ({_times(reach)}). Kernel size can't"
            " be greater than actual input size; use a smaller kernel or dilation, or more padding"
        )
    if not x[1]:  # as PyTorch: without input channels there are no output channels either
        weight, bias = view.narrow(weight, 0, 0, 0), None
    return (conv if input.dtype.is_floating_point else convolve)(input, weight, bias, **attrs)


def _transposed(
    input: Tensor, weight: Tensor, bias: Tensor | None, output_padding: Sizes, attrs: dict
) -> Tensor:
    stride, padding, dilation = attrs["stride"], attrs["padding"], attrs["dilation"]
    given, kernel = input._layout.shape[2:], weight._layout.shape[2:]
    if any(o >= s and o >= d for o, s, d in zip(output_padding, stride, dilation)):
        raise RuntimeError(
            f"output padding must be smaller than either stride or dilation, but got output_padding: {list(output_padding)},"
            f" stride: {list(stride)}, dilation: {list(dilation)}"
        )
    size = tuple(
        (m - 1) * s - 2 * p + d * (k - 1) + o + 1
        for m, s, p, d, k, o in zip(given, stride, padding, dilation, kernel, output_padding)
    )
    if any(m < 1 for m in size):
        raise RuntimeError(
            f"Given input size per channel: ({_times(given)}). Calculated output size per channel: ({_times(size)}). Output size"
            " is too small"
        )
    if not input.dtype.is_floating_point:
        return convolve_transposed(input, weight, bias, size, **attrs)
    needed = _output_size(size, kernel, stride, padding, dilation)
    if needed != tuple(
        given
    ):  # an output padding beyond the stride: as if more (zero) positions had been given
        input = _grown(input, needed)
    return conv_input(input, weight, bias, size=size, **attrs)


def _grown(x: Tensor, size: Sizes) -> Tensor:
    """Zeros added at the ends of the spatial dimensions."""
    from ..creation import zeros
    from .joining import cat

    for d, n in enumerate(size, start=2):
        shape = x._layout.shape
        if n > shape[d]:
            more = zeros(shape[:d] + (n - shape[d],) + shape[d + 1 :], dtype=x.dtype, device=x.device)
            x = cat([x, more], d)
    return x
