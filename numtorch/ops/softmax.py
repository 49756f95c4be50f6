"""Softmax and its logarithm over one dimension."""

from __future__ import annotations

from typing import Any

from .._tensor import Tensor
from ..dtype import dtype as DType
from ..errors import not_implemented, require_tensor
from ..shape import Layout, contiguous, wrap_dim
from . import elementwise as E
from . import view
from .declare import Context, KernelOp
from .index import split_at
from .inplace import write_out
from .launch import Launch
from .reduce import sum_values

TILE = 64  # columns that one part of the `cols` kernels works on
EXP_COST = 8  # element operations that one exponential counts for


def _launch(name: str, dim: int, *tensors: Tensor) -> list[Launch]:
    """The kernel for the last dimension or for another one, over an output and inputs of one shape."""
    la = tensors[0]._layout
    outer, n, inner = split_at(la.shape, dim)
    pointers = [tensors[0], *[t.detach().contiguous() for t in tensors[1:]]]
    cost = la.numel * EXP_COST
    if inner == 1:
        return [Launch(("softmax", f"{name}_rows"), {"T": la.dtype.kind}, pointers, (outer, n), outer, cost)]
    units = outer * -(-inner // TILE)
    words = (outer, n, inner)
    return [Launch(("softmax", f"{name}_cols"), {"T": la.dtype.kind}, pointers, words, units, cost)]


def _same(x: Tensor, *others: Tensor, dim: int) -> Layout:
    la = x._layout
    return contiguous(la.shape, la.dtype, la.device)


softmax_values = KernelOp("softmax", _same, ("x",), ("out",), ())
log_softmax_values = KernelOp("log_softmax", _same, ("x",), ("out",), ())
softmax_backward = KernelOp("softmax_backward", _same, ("g", "y"), ("g", "y"), ())
log_softmax_backward = KernelOp("log_softmax_backward", _same, ("g", "y"), ("g", "y"), ())

for _op in (softmax_values, log_softmax_values, softmax_backward, log_softmax_backward):

    def _plan(outputs: Any, *inputs: Tensor, dim: int, _name: str = _op.name) -> list[Launch]:
        return _launch(_name, dim, outputs[0], *inputs)

    _op.plan(_plan)


@softmax_values.backward
def _(ctx: Context, g: Tensor) -> Any:
    return softmax_backward(g, ctx.out, dim=ctx.attrs["dim"])


@log_softmax_values.backward
def _(ctx: Context, g: Tensor) -> Any:
    return log_softmax_backward(g, ctx.out, dim=ctx.attrs["dim"])


def _total(x: Tensor, dim: int) -> Tensor:
    return sum_values(x, dims=(dim,), keepdim=True)


@softmax_backward.backward
def _(ctx: Context, h: Tensor) -> Any:
    """Of y * (g - sum(g * y))."""
    g, y, dim = ctx.g, ctx.y, ctx.attrs["dim"]
    dg = softmax_backward(h, y, dim=dim) if ctx.needs(0) else None
    dy = h * (g - _total(g * y, dim)) - g * _total(h * y, dim) if ctx.needs(1) else None
    return dg, dy


@log_softmax_backward.backward
def _(ctx: Context, h: Tensor) -> Any:
    """Of g - exp(y) * sum(g)."""
    g, p, dim = ctx.g, E.exp(ctx.y), ctx.attrs["dim"]
    dg = h - _total(h * p, dim) if ctx.needs(0) else None
    return dg, (-(h * p * _total(g, dim)) if ctx.needs(1) else None)


def _over(op: KernelOp, input: Tensor, dim: Any, d: DType | None, out: Any) -> Tensor:
    require_tensor(op.name, "input", input)
    axis = wrap_dim(dim, input.ndim, op.name)
    x = input if d is None or d is input.dtype else input.to(d)
    if not x.dtype.is_floating_point:
        raise not_implemented(op.name, x.dtype)
    if x.ndim:
        result = op(x, dim=axis)
    else:
        result = view.reshape(op(view.reshape(x, (1,)), dim=0), ())
    return result if out is None else write_out(result, out, op.name)


def softmax(input: Tensor, dim: int, dtype: Any = None, *, out: Any = None) -> Tensor:
    """exp(x) / sum(exp(x)) over ``dim``, without overflow; ``dtype`` converts first.

    Example:
        >>> import numtorch
        >>> numtorch.softmax(numtorch.zeros(2, 4), 1)
        tensor([[0.2500, 0.2500, 0.2500, 0.2500],
                [0.2500, 0.2500, 0.2500, 0.2500]])
    """
    return _over(softmax_values, input, dim, dtype, out)


def log_softmax(input: Tensor, dim: int, dtype: Any = None, *, out: Any = None) -> Tensor:
    """The logarithm of ``softmax``, accurate where that underflows; ``dtype`` converts first."""
    return _over(log_softmax_values, input, dim, dtype, out)


def softmin(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """``softmax`` of the negative."""
    return softmax(-input, dim, dtype)
