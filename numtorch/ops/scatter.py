"""Writing at indices of the whole shape: scatter, scatter_add and scatter_reduce, each with its in-place form."""

from __future__ import annotations

from typing import Any

from .._tensor import Tensor
from ..dtype import dtype, iinfo, int32
from ..errors import not_implemented, require_same_device, require_tensor
from ..shape import Layout, contiguous, wrap_dim
from . import elementwise as E
from . import view
from .copying import copy_, overwrite, write
from .declare import Context
from .index import (
    UpdateOp,
    bounded,
    cut_to,
    env,
    gather_values,
    index_int64,
    match_sizes,
    scatter_add_values,
    split_at,
    update_op,
)
from .inplace import write_out
from .launch import Launch
from .node_names import called, named, overwritten

MODES = {"prod": 1, "amax": 2, "amin": 3}  # of the kernel; sums are scatter_add


@update_op(["x", "index", "src"], saves=["index"])
def scatter_values(x: Tensor, index: Tensor, src: Tensor, dim: int) -> Layout:
    """x with [o, index[o, k, i], i] replaced by src[o, k, i], or by the one number in a 0-d src."""
    return contiguous(x._layout.shape, x._layout.dtype, x._layout.device)


@scatter_values.plan
def _(outputs: Any, x: Tensor, index: Tensor, src: Tensor, dim: int) -> list[Launch]:
    scatter_values.start(outputs[0], x)
    outer, n, inner = split_at(index._layout.shape, dim)
    pointers = [outputs[0], src.detach().contiguous(), index.contiguous()]
    words = (outer, n, inner, x._layout.shape[dim], int(src._layout.ndim > 0))
    return [Launch(("index", "scatter"), env(x), pointers, words, outer * inner, outer * n * inner)]


@scatter_values.backward
def _(ctx: Context, g: Tensor) -> Any:
    from ..creation import zeros

    dim, index = ctx.attrs["dim"], ctx.index
    dx = ds = None
    if ctx.needs(0):
        dx = scatter_values(g, index, zeros((), dtype=g.dtype, device=g.device), dim=dim)
    if ctx.needs(2):
        ds = gather_values(g, index, dim=dim)
    return dx, None, ds


@update_op(["x", "index", "src"], saves=["x", "index", "src", "out"])
def scatter_reduce_values(x: Tensor, index: Tensor, src: Tensor, dim: int, mode: str) -> Layout:
    """x with [o, index[o, k, i], i] combined with src[o, k, i]: "prod", "amax" or "amin"."""
    return contiguous(x._layout.shape, x._layout.dtype, x._layout.device)


@scatter_reduce_values.plan
def _(outputs: Any, x: Tensor, index: Tensor, src: Tensor, dim: int, mode: str) -> list[Launch]:
    write(outputs[0], x.detach())
    outer, n, inner = split_at(index._layout.shape, dim)
    pointers = [outputs[0], src.detach().contiguous(), index.contiguous()]
    words = (outer, n, inner, x._layout.shape[dim], MODES[mode])
    return [Launch(("index", "scatter_reduce"), env(x), pointers, words, outer * inner, outer * n * inner)]


@scatter_reduce_values.backward
def _(ctx: Context, g: Tensor) -> Any:
    x, index, src, y, dim = ctx.x, ctx.index, ctx.src, ctx.out, ctx.attrs["dim"]
    rule = _product_gradient if ctx.attrs["mode"] == "prod" else _extreme_gradient
    dx, ds = rule(g, x, index, src, y, dim)
    return (dx if ctx.needs(0) else None), None, (ds if ctx.needs(2) else None)


def _extreme_gradient(
    g: Tensor, x: Tensor, index: Tensor, src: Tensor, y: Tensor, dim: int
) -> tuple[Tensor, Tensor]:
    """The gradient is shared evenly among all that are equal to the result."""
    mine = E.eq(x, y).to(g.dtype)
    theirs = E.eq(src, gather_values(y, index, dim=dim)).to(g.dtype)
    count = scatter_add_values(mine, index, theirs, dim=dim, size=x._layout.shape[dim])
    share = g / count
    return mine * share, theirs * gather_values(share, index, dim=dim)


def _product_gradient(
    g: Tensor, x: Tensor, index: Tensor, src: Tensor, y: Tensor, dim: int
) -> tuple[Tensor, Tensor]:
    """The product of all the others: where one factor is zero, found by putting a 1 in its place."""
    others = scatter_reduce_values(E.where(E.eq(x, 0.0), 1.0, x), index, src, dim=dim, mode="prod")
    dx = g * others / E.where(E.eq(x, 0.0), 1.0, x)
    zero = E.eq(src, 0.0)
    zeros = scatter_add_values(None, index, zero.to(g.dtype), dim=dim, size=x._layout.shape[dim])
    alone = E.logical_and(zero, E.eq(gather_values(zeros, index, dim=dim), 1.0))
    without = scatter_reduce_values(x, index, E.where(alone, 1.0, src), dim=dim, mode="prod")
    ds = E.where(
        alone,
        gather_values(g * without, index, dim=dim),
        gather_values(g * y, index, dim=dim) / E.where(zero, 1.0, src),
    )
    return dx, ds


# -- PyTorch's functions


def _prepare(op: str, x: Tensor, dim: Any, index: Tensor, src: Tensor | None) -> tuple[int, Tensor]:
    """(dimension, int64 index), after all checks."""
    require_tensor(op, "input", x)
    d = wrap_dim(dim, x.ndim, op)
    index = index_int64(op, index, int32)
    require_same_device(op, input=x, index=index, src=src)
    if index._layout.numel:
        match_sizes(op, x, index, d, src)
    if src is not None and src.dtype is not x.dtype:
        raise RuntimeError(
            f"{op}(): Expected self.dtype to be equal to src.dtype, but got {x.dtype!r} and {src.dtype!r};"
            " convert one with .to()"
        )
    bounded(op, index, x._layout.shape[d] if x.ndim else 1, d)
    return d, index


def _with_dim(t: Tensor) -> Tensor:
    return t if t._layout.ndim else view.reshape(t, (1,))


def _run(op: UpdateOp, x: Tensor, d: int, index: Tensor, src: Tensor, inplace: bool, **attrs: Any) -> Tensor:
    """Run an op on the part of ``x`` that has the index's shape apart from ``d``; src fits or is a 0-d number."""
    if not index._layout.numel:
        return x if inplace else x.clone()
    index = _with_dim(index)
    shape = index._layout.shape
    src = cut_to(src, shape) if src._layout.ndim else src
    part = cut_to(_with_dim(x), shape, d)
    if op is scatter_add_values:
        attrs["size"] = part._layout.shape[d]
    if inplace:
        op.into(part, index, src, dim=d, **attrs)
        return x
    if part._layout.shape == (x._layout.shape or (1,)):
        return view.reshape(op(part, index, src, dim=d, **attrs), x._layout.shape)
    whole = x.clone()
    copy_(cut_to(whole, shape, d), op(part, index, src, dim=d, **attrs))
    return whole


def _number(op: str, value: Any, like: Tensor) -> Tensor:
    """A number as a 0-d tensor of another tensor's dtype."""
    from ..creation import full

    if isinstance(value, Tensor):
        if value._layout.ndim:
            raise RuntimeError(
                f"{op}(): only supports a 0-dimensional value tensor, but got tensor with {value.ndim} dimension(s)."
            )
        return value.to(like.dtype)
    if not isinstance(value, (bool, int, float)):
        raise TypeError(f"{op}(): argument 'value' must be Number or Tensor, not {type(value).__name__}")
    return full((), value, dtype=like.dtype, device=like.device)


def _scatter(x: Tensor, dim: Any, index: Tensor, args: tuple, kwargs: dict, inplace: bool) -> Tensor:
    reduce = kwargs.pop("reduce", None)
    given = [*args, *[kwargs.pop(n) for n in ("src", "value") if n in kwargs]]
    if len(given) != 1 or kwargs:
        raise TypeError("scatter() takes input, dim, index, one of src and value, and optionally reduce=")
    src = given[0]
    d, index = _prepare("scatter", x, dim, index, src if isinstance(src, Tensor) else None)
    if not isinstance(src, Tensor):
        src = _number("scatter", src, x)
        if reduce is not None:
            src = view.expand(src, index._layout.shape or (1,))
    else:
        src = _with_dim(src)
    if reduce is None:
        return _run(scatter_values, x, d, index, src, inplace)
    if reduce not in ("add", "multiply"):
        raise RuntimeError(f"scatter(): reduce argument must be either add or multiply, got {reduce}")
    if reduce == "add":
        return _run(scatter_add_values, x, d, index, src, inplace)
    result = _run(scatter_reduce_values, kept(x) if inplace else x, d, index, src, False, mode="prod")
    return overwrite(x, result) if inplace else result


def _overload(src: tuple, kwargs: dict) -> str:
    """The name of the node: there is one for tensors, and one for numbers."""
    return f"ScatterBackward{int('src' not in kwargs and not isinstance(src[0] if src else None, Tensor))}"


def scatter(input: Tensor, dim: int, index: Tensor, *src: Any, out: Any = None, **kwargs: Any) -> Tensor:
    """A copy with element [index[i][j]][j] (dim 0) replaced by src[i][j] or by one number.

    Signatures: (dim, index, src) and (dim, index, value), with reduce="add" or "multiply" to combine instead.

    Example:
        >>> import numtorch
        >>> numtorch.zeros(2, 3).scatter(1, numtorch.tensor([[2], [0]]), 5.0).tolist()
        [[0.0, 0.0, 5.0], [5.0, 0.0, 0.0]]
    """
    name = _overload(src, kwargs)
    result = named(_scatter(input, dim, index, src, kwargs, False), name)
    return result if out is None else write_out(result, out, "scatter")


def scatter_(self: Tensor, dim: int, index: Tensor, *src: Any, **kwargs: Any) -> Tensor:
    """In-place form of ``scatter``."""
    return overwritten(_scatter(self, dim, index, src, kwargs, True), _overload(src, kwargs))


@called("ScatterAddBackward0")
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor, *, out: Any = None) -> Tensor:
    """A copy with src[i][j] added to element [index[i][j]][j] (dim 0)."""
    d, index = _prepare("scatter_add", input, dim, index, src)
    result = _run(scatter_add_values, input, d, index, _with_dim(src), False)
    return result if out is None else write_out(result, out, "scatter_add")


def scatter_add_(self: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """In-place form of ``scatter_add``."""
    d, index = _prepare("scatter_add", self, dim, index, src)
    return _run(scatter_add_values, self, d, index, _with_dim(src), True)


def _identity(d: dtype, mode: str) -> Any:
    """The number that changes nothing: 1, or the lowest or highest of the dtype."""
    if mode in ("sum", "mean"):
        return 0
    if mode == "prod":
        return 1
    if d.is_floating_point:
        return float("-inf") if mode == "amax" else float("inf")
    if d.name == "bool":
        return mode == "amin"
    return iinfo(d).min if mode == "amax" else iinfo(d).max


@called("ScatterReduceBackward0")
def scatter_reduce(
    input: Tensor,
    dim: int,
    index: Tensor,
    src: Tensor,
    reduce: str,
    *,
    include_self: bool = True,
    out: Any = None,
) -> Tensor:
    """A copy with src[i][j] combined into element [index[i][j]][j] (dim 0): sum, prod, mean, amax or amin.

    Without ``include_self`` the elements written to start from nothing.
    """
    if reduce not in ("sum", "prod", "mean", "amax", "amin"):
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    d, index = _prepare("scatter_reduce", input, dim, index, src)
    result = _reduced(input, d, index, _with_dim(src), reduce, include_self)
    return result if out is None else write_out(result, out, "scatter_reduce")


def _reduced(x: Tensor, d: int, index: Tensor, src: Tensor, reduce: str, include_self: bool) -> Tensor:
    start = x
    if not include_self:
        start = _run(
            scatter_values, x, d, index, _number("scatter_reduce", _identity(x.dtype, reduce), x), False
        )
    if reduce in MODES:
        return _run(scatter_reduce_values, start, d, index, src, False, mode=reduce)
    if reduce == "mean" and x.dtype.name == "bool":
        raise not_implemented("scatter_reduce", x.dtype)
    total = _run(scatter_add_values, start, d, index, src, False)
    return total if reduce == "sum" else _divided(total, x, d, index, include_self)


def _divided(total: Tensor, x: Tensor, d: int, index: Tensor, include_self: bool) -> Tensor:
    """Sums divided by how many values they are of."""
    from ..creation import ones_like

    count = ones_like(x)
    one = _number("scatter_reduce", 1, x)
    ones = view.expand(one, index._layout.shape or (1,))
    if not include_self:
        count = _run(scatter_values, count, d, index, _number("scatter_reduce", 0, x), False)
    count = _run(scatter_add_values, count, d, index, ones, False)
    if x.dtype.is_floating_point:
        return total / count
    return E.floor_divide(total, count)


def scatter_reduce_(
    self: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """In-place form of ``scatter_reduce``."""
    return overwrite(self, scatter_reduce(kept(self), dim, index, src, reduce, include_self=include_self))


def kept(x: Tensor) -> Tensor:
    """A tensor whose values will stay as they are when ``x`` is overwritten, for an op that saves its operand."""
    return x.clone() if x._rg else x
