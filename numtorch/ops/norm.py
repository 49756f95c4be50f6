"""Normalisation: layer, RMS, group and batch norm, each one op forward and one or two backward.

    xh = (x - mean) / sqrt(var + eps)        y = xh * weight + bias

The backward runs as kernels; where it is itself differentiated it is the formula of ``_gradients``, from x anew.
"""

from __future__ import annotations

import math
from typing import Any

from .._tensor import Tensor
from ..autograd.mode import state
from ..dtype import REDUCED, float32
from ..errors import not_implemented, require_same_device, require_same_dtype, require_tensor
from ..shape import Layout, contiguous
from . import elementwise as E
from . import parts, view
from .declare import Context, kernel_op
from .launch import Launch, Scratch, from_plan, twin
from .reduce import mean, planner, sum_values

Sizes = tuple[int, ...]


def _gradients(
    g: Tensor, x: Tensor, weight: Tensor | None, center: Tensor | None, var: Tensor, eps: float, dims: Sizes, kept: Sizes,
    through: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """(dx, dw, db), in ops. ``dims``: over which statistics are taken; ``kept``: those over which dw and db are sums.

    ``weight`` broadcasts against x; ``center`` and ``var`` keep ``dims``; ``through``: they depend on x.
    """
    scale = E.rsqrt(var + eps)
    xh = (x if center is None else x - center) * scale
    gw = g if weight is None else g * weight
    inner = gw
    if through:
        inner = gw - xh * mean(gw * xh, dims, True)
        if center is not None:
            inner = inner - mean(gw, dims, True)
    return (
        inner * scale,
        sum_values(g * xh, dims=kept, keepdim=False),
        sum_values(g, dims=kept, keepdim=False),
    )


def _moments(x: Tensor, dims: Sizes) -> tuple[Tensor, Tensor]:
    center = mean(x, dims, True)
    return center, mean(E.square(x - center), dims, True)


def _pointer(t: Tensor | None) -> Any:
    return 0 if t is None else t.detach().contiguous()


def _check(op: str, x: Tensor, *others: Tensor | None) -> None:
    require_tensor(op, "input", x)
    if not x.dtype.is_floating_point:
        raise not_implemented(op, x.dtype)
    given = {f"parameter {k}": t for k, t in enumerate(others)}
    if x.dtype not in REDUCED or any(t is not None and t.dtype is not float32 for t in others):
        require_same_dtype(op, input=x, **given)  # an input of 16 bits may have float32 parameters
    require_same_device(op, input=x, **given)


# -- layer norm and RMS norm of x (rows, n)


@kernel_op(["x", "weight", "bias"], saves=["x", "weight", "out1", "out2"], nograd=(1, 2), name="layer_norm")
def layer_norm_values(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, center: bool) -> Any:
    """y of x (rows, n), and each row's mean and 1 / sqrt(var + eps); without ``center`` the mean counts as 0."""
    la = x._layout
    row = contiguous(la.shape[:1], la.dtype, la.device)
    return contiguous(la.shape, la.dtype, la.device), row, row


@layer_norm_values.plan
def _(
    outputs: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, center: bool
) -> list[Launch]:
    rows, n = x._layout.shape
    env, cost = {"T": x.dtype.kind}, 4 * x._layout.numel
    source, scaled = x.detach().contiguous(), int(weight is not None)
    if center:
        pointers = [*outputs, source, _pointer(weight), _pointer(bias)]
        words = (rows, n, float(eps), scaled, int(bias is not None))
        return [Launch(("norm", "layer_norm"), env, pointers, words, rows, cost)]
    from ..creation import fill_into

    fill_into(outputs[1], 0)
    pointers = [outputs[0], outputs[2], source, _pointer(weight)]
    return [Launch(("norm", "rms_norm"), env, pointers, (rows, n, float(eps), scaled), rows, cost)]


@layer_norm_values.backward
def _(ctx: Context, g: Tensor, *_: Any) -> Any:
    x, weight, eps, center = ctx.x, ctx.weight, ctx.attrs["eps"], ctx.attrs["center"]
    if state.grad:
        moments = _moments(x, (1,)) if center else (None, mean(E.square(x), (1,), True))
        dx, dw, db = _gradients(g, x, weight, *moments, eps, (1,), (0,))
        return dx, (dw if ctx.needs(1) else None), (db if ctx.needs(2) else None)
    dx = dw = db = None
    if center and ctx.needs(0) and ctx.needs(1) and x._layout.device == "cpu":
        dx, sums = layer_norm_gradients(g, x, ctx.out1, ctx.out2, weight)
        return dx, *parts.unbind(sums, 0)
    if ctx.needs(0):
        dx = layer_norm_input(g, x, ctx.out1, ctx.out2, weight, center=center)
    if ctx.needs(1) or ctx.needs(2):
        dw, db = parts.unbind(layer_norm_sums(g, x, ctx.out1, ctx.out2), 0)
    return dx, dw, db


@kernel_op(["g", "x", "mean", "rstd", "weight"], name="layer_norm_backward")
def layer_norm_input(
    g: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor | None, center: bool
) -> Layout:
    """The gradient of x."""
    return contiguous(x._layout.shape, x._layout.dtype, x._layout.device)


@layer_norm_input.plan
def _(
    outputs: Any, g: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor | None, center: bool
) -> list[Launch]:
    rows, n = x._layout.shape
    means = [mean] if center else []
    pointers = [outputs[0], g.contiguous(), x.detach().contiguous(), *means, rstd, _pointer(weight)]
    kernel = ("norm", "layer_norm_backward" if center else "rms_norm_backward")
    words = (rows, n, int(weight is not None))
    return [Launch(kernel, {"T": x.dtype.kind}, pointers, words, rows, 4 * x._layout.numel)]


@kernel_op(["g", "x", "mean", "rstd"], name="layer_norm_sums")
def layer_norm_sums(g: Tensor, x: Tensor, mean: Tensor, rstd: Tensor) -> Layout:
    """(2, n): the gradients of weight and bias."""
    return contiguous((2, x._layout.shape[1]), x._layout.dtype, x._layout.device)


@layer_norm_sums.plan
def _(outputs: Any, g: Tensor, x: Tensor, mean: Tensor, rstd: Tensor) -> list[Launch]:
    rows, n = x._layout.shape
    blocks, kind = twin("cpu", "norm", "row_blocks")(rows), x.dtype.kind
    part = Scratch(blocks * 2 * n * x._layout.itemsize)
    pointers = [part, g.contiguous(), x.detach().contiguous(), mean, rstd]
    first = Launch(
        ("norm", "layer_norm_backward_sums"), {"T": kind}, pointers, (rows, n), blocks, 4 * x._layout.numel
    )
    return [first, *from_plan(planner("sum_plan")(1, blocks, 2 * n, kind), y=outputs[0], x=part)]


@kernel_op(["g", "x", "mean", "rstd", "weight"])
def layer_norm_gradients(g: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor) -> Any:
    """``layer_norm_input`` and ``layer_norm_sums`` in one pass, on the CPU."""
    la = x._layout
    return contiguous(la.shape, la.dtype, la.device), contiguous((2, la.shape[1]), la.dtype, la.device)


@layer_norm_gradients.plan
def _(outputs: Any, g: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor) -> list[Launch]:
    rows, n = x._layout.shape
    blocks, kind = twin("cpu", "norm", "row_blocks")(rows), x.dtype.kind
    part = Scratch(blocks * 2 * n * x._layout.itemsize)
    pointers = [outputs[0], part, g.contiguous(), x.detach().contiguous(), mean, rstd, _pointer(weight)]
    cost = 6 * x._layout.numel
    first = Launch(("norm", "layer_norm_gradients"), {"T": kind}, pointers, (rows, n), blocks, cost)
    return [first, *from_plan(planner("sum_plan")(1, blocks, 2 * n, kind), y=outputs[1], x=part)]


def _rows_of(x: Tensor, shape: Sizes) -> Tensor:
    n = math.prod(shape)
    lead = math.prod(x._layout.shape[: x._layout.ndim - len(shape)])
    return view.reshape(x, (lead, n))


def _layer(
    op: str, x: Tensor, shape: Any, weight: Tensor | None, bias: Tensor | None, eps: float, center: bool
) -> Tensor:
    _check(op, x, weight, bias)
    shape = tuple(shape)
    if x._layout.shape[x._layout.ndim - len(shape) :] != shape or not shape:
        raise RuntimeError(
            f"{op}: Given normalized_shape={list(shape)}, expected input with shape [*, {', '.join(map(str, shape))}], but"
            f" got input of size{list(x.shape)}"
        )
    for name, t in (("weight", weight), ("bias", bias)):
        if t is not None and t._layout.shape != shape:
            raise RuntimeError(
                f"{op}: Expected {name} to be of same shape as normalized_shape, but got {name} of shape"
                f" {list(t.shape)} and normalized_shape = {list(shape)}"
            )
    flat = [t if t is None or t._layout.ndim == 1 else view.reshape(t, (t._layout.numel,)) for t in (weight, bias)]
    whole = x._layout.ndim == 2 and len(shape) == 1
    y = layer_norm_values(x if whole else _rows_of(x, shape), *flat, eps=float(eps), center=center)[0]
    return y if whole else view.reshape(y, x._layout.shape)


def layer_norm(
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Mean 0 and variance 1 over the last dimensions, then scaled and shifted. Ba, Kiros, Hinton, arXiv:1607.06450.

    Example:
        >>> import numtorch
        >>> numtorch.ops.layer_norm(numtorch.tensor([[1.0, 3.0]]), (2,), eps=0.0)
        tensor([[-1.,  1.]])
    """
    return _layer("layer_norm", input, normalized_shape, weight, bias, eps, True)


def rms_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """Mean square 1 over the last dimensions, then scaled. Zhang, Sennrich, arXiv:1910.07467."""
    from ..dtype import finfo

    require_tensor("rms_norm", "input", input)
    if eps is None:
        own = float32 if input.dtype in REDUCED else input.dtype  # in which the sums are
        eps = finfo(own).eps if own.is_floating_point else 0.0
    return _layer("rms_norm", input, normalized_shape, weight, None, eps, False)


# -- group norm of x (batch, groups, channels of a group, inner)


@kernel_op(["x", "weight", "bias"], saves=["x", "weight", "out1", "out2"], nograd=(1, 2), name="group_norm")
def group_norm_values(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Any:
    """y of x (batch, groups, channels, inner), and each group's mean and 1 / sqrt(var + eps)."""
    la = x._layout
    group = contiguous(la.shape[:2], la.dtype, la.device)
    return contiguous(la.shape, la.dtype, la.device), group, group


@group_norm_values.plan
def _(outputs: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> list[Launch]:
    la = x._layout
    pointers = [*outputs, x.detach().contiguous(), _pointer(weight), _pointer(bias)]
    words = (*la.shape, float(eps), int(weight is not None), int(bias is not None))
    return [
        Launch(
            ("norm", "group_norm"),
            {"T": la.dtype.kind},
            pointers,
            words,
            la.shape[0] * la.shape[1],
            4 * la.numel,
        )
    ]


@group_norm_values.backward
def _(ctx: Context, g: Tensor, *_: Any) -> Any:
    x, weight = ctx.x, ctx.weight
    shape = x._layout.shape
    if state.grad:
        w = None if weight is None else view.reshape(weight, (1, shape[1], shape[2], 1))
        dx, dw, db = _gradients(g, x, w, *_moments(x, (2, 3)), ctx.attrs["eps"], (2, 3), (0, 3))
    else:
        dx, sums = group_norm_backward(g, x, ctx.out1, ctx.out2, weight)
        dw, db = parts.unbind(sums, 0)
    flat = (shape[1] * shape[2],)
    return (
        dx,
        (view.reshape(dw, flat) if ctx.needs(1) else None),
        (view.reshape(db, flat) if ctx.needs(2) else None),
    )


@kernel_op(["g", "x", "mean", "rstd", "weight"])
def group_norm_backward(g: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor | None) -> Any:
    """The gradient of x, and (2, groups * channels): those of weight and bias."""
    la = x._layout
    sums = contiguous((2, la.shape[1] * la.shape[2]), la.dtype, la.device)
    return contiguous(la.shape, la.dtype, la.device), sums


@group_norm_backward.plan
def _(outputs: Any, g: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor | None) -> list[Launch]:
    la = x._layout
    batch, groups, channels, _ = la.shape
    every, env = groups * channels, {"T": la.dtype.kind}
    g, x, cost = g.contiguous(), x.detach().contiguous(), 4 * la.numel
    part = Scratch(max(batch, 1) * 2 * every * la.itemsize)
    return [
        Launch(("norm", "group_norm_backward_sums"), env, [part, g, x, mean, rstd], la.shape, batch * every, cost),
        Launch(
            ("norm", "group_norm_backward"), env, [outputs[0], g, x, mean, rstd, part, _pointer(weight)],
            (*la.shape, int(weight is not None)), batch * groups, cost,
        ),
        *from_plan(planner("sum_plan")(1, batch, 2 * every, la.dtype.kind), y=outputs[1], x=part),
    ]  # fmt: skip


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Mean 0 and variance 1 over each group of channels of (N, C, *). Wu, He, arXiv:1803.08494."""
    _check("group_norm", input, weight, bias)
    shape = input._layout.shape
    if len(shape) < 2:
        raise RuntimeError(
            f"group_norm: Expected at least 2 dimensions for input tensor but received {len(shape)}; they are (batch, channels, ...)"
        )
    n, channels = shape[0], shape[1]
    if num_groups <= 0 or channels % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of shape"
            f" {list(shape)} and num_groups={num_groups}"
        )
    split = (n, num_groups, channels // num_groups, math.prod(shape[2:]))
    return view.reshape(group_norm_values(view.reshape(input, split), weight, bias, eps=float(eps))[0], shape)
