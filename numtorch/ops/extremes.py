"""The largest and smallest elements, and where they are."""

from __future__ import annotations

from typing import Any

from .. import return_types
from .._tensor import Tensor
from ..dtype import BOOL, int64, uint8
from ..errors import require_tensor, tensors_only
from ..shape import contiguous, wrap_dim, wrap_dims
from . import elementwise as E
from . import view
from .declare import Context, KernelOp
from .inplace import write_out
from .launch import Launch, from_plan
from .node_names import called, named
from .reduce import _shape, _split, planner, spread, sum_values


def _extreme(name: str, plan: str) -> KernelOp:
    def meta(x: Tensor, dims: tuple, keepdim: bool) -> Any:
        la = x._layout
        _require_elements(name, la.shape, dims)
        return contiguous(_shape(la.shape, dims, keepdim), la.dtype, la.device)

    op = KernelOp(name, meta, ("x",), ("x", "out"), ())

    @op.plan
    def _(outputs: Any, x: Tensor, dims: tuple, keepdim: bool) -> list[Launch]:
        source, outer, n, inner = _split(x.detach(), dims)
        return from_plan(planner(plan)(outer, n, inner, x.dtype.kind), y=outputs[0], x=source)

    @op.backward
    def _(ctx: Context, g: Tensor) -> Any:
        """The gradient is shared evenly among equal elements."""
        x, dims, keep = ctx.x, ctx.attrs["dims"], ctx.attrs["keepdim"]
        shape = x._layout.shape
        hit = x == spread(ctx.out, shape, dims, keep)
        count = spread(sum_values(hit, dims=dims, keepdim=True), shape, dims, True)
        return E.where(hit, spread(g, shape, dims, keep) / count, 0.0)

    return op


def _require_elements(op: str, shape: tuple[int, ...], dims: tuple[int, ...]) -> None:
    empty = [d for d in dims if shape[d] == 0]
    if empty:
        if len(dims) == len(shape):
            raise (IndexError if op in ("argmax", "argmin") else RuntimeError)(
                f"{op}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with the"
                " 'dim' argument."
            )
        raise IndexError(f"{op}(): Expected reduction dim {empty[0]} to have non-zero size; the shape is {list(shape)}")


_amax, _amin = _extreme("amax", "max_plan"), _extreme("amin", "min_plan")


@tensors_only
def amax(input: Tensor, dim: Any = (), keepdim: bool = False, *, out: Any = None) -> Tensor:
    """The largest element, in all or along ``dim``; equal ones share the gradient."""
    result = _amax(input, dims=wrap_dims(dim, input.ndim, "amax"), keepdim=keepdim)
    return result if out is None else write_out(result, out, "amax")


@tensors_only
def amin(input: Tensor, dim: Any = (), keepdim: bool = False, *, out: Any = None) -> Tensor:
    """The smallest element, in all or along ``dim``; equal ones share the gradient."""
    result = _amin(input, dims=wrap_dims(dim, input.ndim, "amin"), keepdim=keepdim)
    return result if out is None else write_out(result, out, "amin")


@called("AminmaxBackward0")
@tensors_only
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False, out: Any = None) -> Any:
    """The smallest and the largest element, as a named pair."""
    result = return_types.aminmax(
        amin(input, () if dim is None else dim, keepdim), amax(input, () if dim is None else dim, keepdim)
    )
    return result if out is None else return_types.aminmax(*write_out(tuple(result), out, "aminmax"))


def _arg(name: str, plan: str) -> KernelOp:
    def meta(x: Tensor, dims: tuple, keepdim: bool) -> Any:
        la = x._layout
        _require_elements(name, la.shape, dims)
        return contiguous(_shape(la.shape, dims, keepdim), int64, la.device)

    op = KernelOp(name, meta, ("x",), (), ())

    @op.plan
    def _(outputs: Any, x: Tensor, dims: tuple, keepdim: bool) -> list[Launch]:
        source, outer, n, inner = _split(x.detach(), dims)
        return from_plan(planner(plan)(outer, n, inner, x.dtype.kind), y=outputs[0], x=source)

    return op


_argmax, _argmin = _arg("argmax", "argmax_plan"), _arg("argmin", "argmin_plan")


def _position(op: KernelOp, input: Tensor, dim: Any, keepdim: bool, out: Any) -> Tensor:
    require_tensor(op.name, "input", input)
    if input.dtype.category == BOOL:
        raise RuntimeError(f"\"{op.name}_cpu\" not implemented for 'Bool'; convert with .int()")
    dims = tuple(range(input.ndim)) if dim is None else wrap_dims(int(dim), input.ndim, op.name)
    if dim is None and keepdim is False:
        input = view.reshape(input, (-1,)) if input.numel() else input
        dims = tuple(range(input.ndim))
    result = op(input, dims=dims, keepdim=keepdim)
    return result if out is None else write_out(result, out, op.name)


@tensors_only
def argmax(input: Tensor, dim: Any = None, keepdim: bool = False, *, out: Any = None) -> Tensor:
    """The index of the largest element (the first of equals), in all or along ``dim``."""
    return _position(_argmax, input, dim, keepdim, out)


@tensors_only
def argmin(input: Tensor, dim: Any = None, keepdim: bool = False, *, out: Any = None) -> Tensor:
    """The index of the smallest element (the first of equals), in all or along ``dim``."""
    return _position(_argmin, input, dim, keepdim, out)


def _max_or_min(input: Tensor, args: tuple, kwargs: dict, pair: Any, whole: KernelOp, arg: KernelOp) -> Any:
    out = kwargs.pop("out", None)
    other = kwargs.pop("other", args[0] if args and isinstance(args[0], Tensor) else None)
    if isinstance(other, Tensor):
        return pair(input, other, out=out)
    dim = kwargs.get("dim", args[0] if args else None)
    keepdim = kwargs.get("keepdim", args[1] if len(args) > 1 else False)
    if dim is None:
        result = named(whole(input, dims=tuple(range(input.ndim)), keepdim=False), f"{whole.name[1:].capitalize()}Backward1")
        return result if out is None else write_out(result, out, whole.name, casts=True)
    d, kind = wrap_dim(dim, input.ndim, whole.name[1:]), return_types.of(whole.name[1:])
    if not input.ndim:
        result = kind(input.clone(), arg(input, dims=(), keepdim=False))
        return result if out is None else kind(*write_out(tuple(result), out, whole.name))
    x = input.to(uint8) if input.dtype.category == BOOL else input
    where_ = arg(x, dims=(d,), keepdim=True)
    from .index import gather_checked

    values = gather_checked(input, d, where_)
    if not keepdim:
        values, where_ = view.squeeze(values, d), view.squeeze(where_, d)
    result = kind(named(values, f"{whole.name[1:].capitalize()}Backward0"), where_)
    return result if out is None else kind(*write_out(tuple(result), out, whole.name))


@tensors_only
def max(input: Tensor, *args: Any, **kwargs: Any) -> Any:
    """The largest element; with ``dim`` also where it is; with a second tensor the elementwise maximum."""
    return _max_or_min(input, args, kwargs, E.maximum, _amax, _argmax)


@tensors_only
def min(input: Tensor, *args: Any, **kwargs: Any) -> Any:
    """The smallest element; with ``dim`` also where it is; with a second tensor the elementwise minimum."""
    return _max_or_min(input, args, kwargs, E.minimum, _amin, _argmin)
