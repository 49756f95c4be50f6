"""The gradients of reductions that have a short cut: one elementwise kernel instead of the tree backwards."""

from __future__ import annotations

from typing import Any

from .._tensor import Tensor
from ..autograd.function import Function
from ..ops import view


def _spread(t: Tensor, like: Tensor, dims: tuple[int, ...], keepdim: bool) -> Tensor:
    """A reduced tensor with its lost dimensions back, so that it broadcasts against ``like``."""
    if keepdim:
        return t
    shape = tuple(1 if d in dims else n for d, n in enumerate(like.shape))
    return view.reshape(t, shape)


class ByHand(Function):
    """A reduction whose derivative the user gave."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, op: Any, dims: tuple[int, ...], keepdim: bool) -> Tensor:
        y = op.run(x, dims, keepdim)
        ctx.op, ctx.dims, ctx.keepdim = op, dims, keepdim
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, y = ctx.saved_tensors
        spread = [_spread(t, x, ctx.dims, ctx.keepdim) for t in (g, y)]
        return ctx.op._grad(spread[0], x, spread[1]), None, None, None


def by_hand(op: Any, x: Tensor, dims: tuple[int, ...], keepdim: bool) -> Tensor:
    """Reduce with the derivative given by hand."""
    return ByHand.apply(x, op, dims, keepdim)


class SumOfParts(Function):
    """A fold whose state is a plain sum of a function of each element."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, op: Any) -> Tensor:
        ctx.op = op
        ctx.save_for_backward(rows)
        return op.fold(rows)[0]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (rows,) = ctx.saved_tensors
        return ctx.op.slope(g, rows), None


def sum_of_parts(op: Any, rows: Tensor) -> Tensor:
    """The state of rows (..., n) as (..., 1)."""
    return SumOfParts.apply(rows, op)
