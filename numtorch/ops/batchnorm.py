"""Batch norm of x (batch, channels, inner): statistics of each channel, from the batch or from running averages."""

from __future__ import annotations

import math
from typing import Any

from .._tensor import Tensor
from ..autograd.mode import state
from ..errors import tensors_only
from ..shape import Layout, contiguous
from . import view
from .declare import Context, kernel_op
from .launch import Launch, Scratch, from_plan
from .norm import _check, _gradients, _moments, _pointer
from .reduce import planner

TILE = 128  # channels that one part of the sums over a batch without inner dimensions works on


def _channels(x: Tensor) -> Layout:
    return contiguous(x._layout.shape[1:2], x._layout.dtype, x._layout.device)


def _apply(
    y: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor | None, bias: Tensor | None
) -> Launch:
    """y = (x - mean) * rstd * weight + bias."""
    la = x._layout
    batch, channels, inner = la.shape
    pointers = [y, x, mean, rstd, _pointer(weight), _pointer(bias)]
    given = (int(weight is not None), int(bias is not None))
    env, cost = {"T": la.dtype.kind}, 2 * la.numel
    if inner == 1:
        kernel, words, units = "batch_norm_apply_cols", (batch, channels, *given), batch
    else:
        kernel, words, units = "batch_norm_apply", (*la.shape, *given), batch * channels
    return Launch(("batch_norm", kernel), env, pointers, words, units, cost)


@kernel_op(
    ["x", "weight", "bias", "running_mean", "running_var"], saves=["x", "weight", "out1", "out2"], nograd=(1, 2),
    name="batch_norm", mutates=["running_mean", "running_var"],
)  # fmt: skip
def batch_norm_training(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None, running_var: Tensor | None,
    momentum: float, eps: float,
) -> Any:  # fmt: skip
    """y by the batch's statistics, its mean and 1 / sqrt(var + eps); the running averages move towards them."""
    row = _channels(x)
    return contiguous(x._layout.shape, x._layout.dtype, x._layout.device), row, row


@batch_norm_training.plan
def _(
    outputs: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
    running_var: Tensor | None, momentum: float, eps: float,
) -> list[Launch]:  # fmt: skip
    la = x._layout
    batch, channels, inner = la.shape
    if not la.numel:
        return []
    x, env, count = x.detach().contiguous(), {"T": la.dtype.kind}, batch * inner
    y, mean, rstd = outputs
    var = Scratch(channels * la.itemsize)
    if inner == 1:
        stats = from_plan(planner("var_plan")(1, batch, channels, la.dtype.kind, 0.0), y=var, mean=mean, x=x)
    else:
        stats = [
            Launch(("batch_norm", "batch_norm_stats"), env, [mean, var, x], la.shape, channels, 4 * la.numel)
        ]
    track = running_mean is not None and running_var is not None
    pointers = [rstd, running_mean if track else 0, running_var if track else 0, mean, var]
    unbias = count / (count - 1) if count > 1 else math.nan
    words = (channels, float(eps), float(momentum), unbias, int(track))
    update = Launch(("batch_norm", "batch_norm_update"), env, pointers, words, channels, channels)
    return [*stats, update, _apply(y, x, mean, rstd, weight, bias)]


@batch_norm_training.backward
def _(ctx: Context, g: Tensor, *_: Any) -> Any:
    x, weight = ctx.x, ctx.weight
    if state.grad:
        w = None if weight is None else view.reshape(weight, (1, -1, 1))
        grads = _gradients(g, x, w, *_moments(x, (0, 2)), ctx.attrs["eps"], (0, 2), (0, 2))
    else:
        grads = batch_norm_backward(g, x, weight, ctx.out1, ctx.out2, training=True)
    return *[d if ctx.needs(i) else None for i, d in enumerate(grads)], None, None


@kernel_op(["x", "weight", "bias", "mean", "var"], saves=["x", "weight", "mean", "var", "out1"], nograd=(1,))
def batch_norm_evaluation(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, var: Tensor, eps: float
) -> Any:
    """y by given statistics, and 1 / sqrt(var + eps)."""
    return contiguous(x._layout.shape, x._layout.dtype, x._layout.device), _channels(x)


@batch_norm_evaluation.plan
def _(
    outputs: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, var: Tensor, eps: float
) -> list[Launch]:
    channels, env = x._layout.shape[1], {"T": x.dtype.kind}
    first = [outputs[1], var.detach().contiguous()]
    rstd = Launch(("batch_norm", "batch_norm_rstd"), env, first, (channels, float(eps)), channels, channels)
    source, center = x.detach().contiguous(), mean.detach().contiguous()
    return [rstd, _apply(outputs[0], source, center, outputs[1], weight, bias)]


@batch_norm_evaluation.backward
def _(ctx: Context, g: Tensor, *_: Any) -> Any:
    x, weight, mean = ctx.x, ctx.weight, ctx.mean
    if state.grad:
        w = None if weight is None else view.reshape(weight, (1, -1, 1))
        center, var = view.reshape(mean, (1, -1, 1)), view.reshape(ctx.var, (1, -1, 1))
        grads = _gradients(g, x, w, center, var, ctx.attrs["eps"], (0, 2), (0, 2), through=False)
    else:
        grads = batch_norm_backward(g, x, weight, mean, ctx.out1, training=False)
    return *[d if ctx.needs(i) else None for i, d in enumerate(grads)], None, None


@kernel_op(["g", "x", "weight", "mean", "rstd"])
def batch_norm_backward(
    g: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor, rstd: Tensor, training: bool
) -> Any:
    """The gradients of x, weight and bias."""
    row = _channels(x)
    return contiguous(x._layout.shape, x._layout.dtype, x._layout.device), row, row


@batch_norm_backward.plan
def _(
    outputs: Any, g: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor, rstd: Tensor, training: bool
) -> list[Launch]:
    la = x._layout
    batch, channels, inner = la.shape
    dx, dw, db = outputs
    inputs = [g.contiguous(), x.detach().contiguous(), mean.detach().contiguous(), rstd]
    given, env, cost = (int(weight is not None), int(training)), {"T": la.dtype.kind}, 4 * la.numel
    last = [dx, *inputs, _pointer(weight), dw, db]
    if inner == 1:
        sums, words, units = "batch_norm_backward_sums_cols", (batch, channels), -(-channels // TILE)
        back, more, parts = "batch_norm_backward_cols", (batch, channels, *given), batch
    else:
        sums, words, units = "batch_norm_backward_sums", la.shape, channels
        back, more, parts = "batch_norm_backward", (*la.shape, *given), batch * channels
    return [
        Launch(("batch_norm", sums), env, [dw, db, *inputs], words, units, cost),
        Launch(("batch_norm", back), env, last, more, parts, cost),
    ]


@tensors_only
def batch_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None, running_var: Tensor | None,
    training: bool, momentum: float, eps: float, cudnn_enabled: bool = False,
) -> Tensor:  # fmt: skip
    """Mean 0 and variance 1 for each channel of (N, C, *), then scaled and shifted.

    In training by the batch's statistics, towards which running averages (where given) move in place by ``momentum``;
    otherwise by the running averages. Ioffe, Szegedy, arXiv:1502.03167.
    """
    _check("batch_norm", input, weight, bias, running_mean, running_var)
    shape = input._layout.shape
    if len(shape) < 2:
        raise RuntimeError(
            f"batch_norm: expected an input (N, C, *) of at least 2 dimensions, got {list(shape)}"
        )
    for name, t in (
        ("weight", weight),
        ("bias", bias),
        ("running_mean", running_mean),
        ("running_var", running_var),
    ):
        if t is not None and t._layout.shape != (shape[1],):
            raise RuntimeError(f"batch_norm: {name} should contain {shape[1]} elements not {t.numel()}")
    return batch_norm_checked(input, weight, bias, running_mean, running_var, training, momentum, eps)


def batch_norm_checked(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None, running_var: Tensor | None,
    training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    """``batch_norm`` of tensors that fit each other."""
    shape = input._layout.shape
    x = view.reshape(input, (shape[0], shape[1], math.prod(shape[2:])))
    if training:
        y = batch_norm_training(
            x, weight, bias, running_mean, running_var, momentum=float(momentum), eps=float(eps)
        )[0]
    elif running_mean is None or running_var is None:
        raise RuntimeError(
            "batch_norm: Expected running_mean and running_var to be defined when training=False"
        )
    else:
        y = batch_norm_evaluation(x, weight, bias, running_mean, running_var, eps=float(eps))[0]
    return view.reshape(y, shape)
