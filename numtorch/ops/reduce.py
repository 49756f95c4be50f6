"""Reductions: over all elements or some dimensions, to one value each.

Every reduction runs on (outer, reduce, inner) of a contiguous tensor; ``_split`` brings any tensor and any dimensions there,
by a copy only where the reduced dimensions don't lie together.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

from .._tensor import Tensor
from ..dtype import FLOATING, bool_, dtype, int64
from ..errors import TORCH_NAMES, require_tensor, tensors_only
from ..shape import contiguous, wrap_dims
from . import elementwise as E
from . import view
from .declare import Context, KernelOp, kernel_op
from .inplace import write_out
from .launch import Launch, from_plan
from .node_names import named


def planner(name: str, module: str = "reduce_plan", device: str = "cpu") -> Callable:
    """A plan function of the kernels, imported when it is first needed. Most serve every device as they are."""
    folder = "cpu" if device == "cpu" else "cuda"
    return getattr(importlib.import_module(f"numtorch.kernels.{folder}.{module}"), name)


def _split(x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, int, int, int]:
    """(contiguous tensor, outer, reduce, inner) such that ``dims`` are the middle axis."""
    la = x._layout
    shape = la.shape
    if not dims:
        return x.contiguous(), la.numel, 1, 1
    first, last = dims[0], dims[-1]
    between = [d for d in range(first, last + 1) if d not in dims and shape[d] != 1]
    if between:
        kept = [d for d in range(la.ndim) if d not in dims]
        x = view.permute(x, kept + list(dims))
        shape = x._layout.shape
        first, last = len(kept), la.ndim - 1
    outer, n, inner = (
        math.prod(shape[:first]),
        math.prod(shape[first : last + 1]),
        math.prod(shape[last + 1 :]),
    )
    return x.contiguous(), outer, n, inner


def _shape(shape: tuple[int, ...], dims: tuple[int, ...], keepdim: bool) -> tuple[int, ...]:
    if keepdim:
        return tuple(1 if d in dims else n for d, n in enumerate(shape))
    return tuple(n for d, n in enumerate(shape) if d not in dims)


def spread(g: Tensor, shape: tuple[int, ...], dims: tuple[int, ...], keepdim: bool) -> Tensor:
    """A reduced tensor seen in the shape before the reduction."""
    if not keepdim:
        g = view.reshape(g, _shape(shape, dims, True))
    return view.expand(g, shape)


# -- sum, mean, prod


@kernel_op(["x"], name="sum")
def sum_values(x: Tensor, dims: tuple, keepdim: bool, plan: str = "sum_plan") -> Any:
    """The sum over dimensions."""
    la = x._layout
    d = la.dtype if la.dtype.is_floating_point else int64
    return contiguous(_shape(la.shape, dims, keepdim), d, la.device)


@sum_values.plan
def _(outputs: Any, x: Tensor, dims: tuple, keepdim: bool, plan: str = "sum_plan") -> list[Launch]:
    source, outer, n, inner = _split(x.detach(), dims)
    return from_plan(planner(plan)(outer, n, inner, x.dtype.kind), y=outputs[0], x=source)


@sum_values.backward
def _(ctx: Context, g: Tensor) -> Any:
    shape, dims = ctx.meta(0).shape, ctx.attrs["dims"]
    g = spread(g, shape, dims, ctx.attrs["keepdim"])
    if ctx.attrs.get("plan") == "mean_plan":
        count = math.prod(shape[d] for d in dims)
        return E.true_divide(g, float(count)) if count else g
    return g


def _in_dtype(x: Tensor, d: dtype | None) -> Tensor:
    return x if d is None or d is x.dtype else x.to(d)


def sum(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, out: Any = None
) -> Tensor:
    """The sum over all elements or over ``dim``; integers add up in int64.

    Example:
        >>> import numtorch
        >>> numtorch.ones(2, 3).sum(1)
        tensor([3., 3.])
    """
    require_tensor("sum", "input", input)
    x = _in_dtype(input, dtype)
    result = sum_values(x, dims=wrap_dims(dim, x.ndim, "sum"), keepdim=keepdim)
    if dtype is not None and not dtype.is_floating_point and dtype is not int64:
        result = result.to(dtype)
    if dim is not None:
        named(result, "SumBackward1")
    return result if out is None else write_out(result, out, "sum")


def mean(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, out: Any = None
) -> Tensor:
    """The mean over all elements or over ``dim``; RuntimeError for integers (give ``dtype``)."""
    require_tensor("mean", "input", input)
    x = _in_dtype(input, dtype)
    if not x.dtype.is_floating_point:
        raise RuntimeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. Got:"
            f" {TORCH_NAMES[x.dtype.name]}; convert with .float() or give dtype="
        )
    result = sum_values(x, dims=wrap_dims(dim, x.ndim, "mean"), keepdim=keepdim, plan="mean_plan")
    if dim is not None:
        named(result, "MeanBackward1")
    return result if out is None else write_out(result, out, "mean")


@kernel_op(["x"], saves=["x", "out"], name="prod")
def prod_values(x: Tensor, dims: tuple, keepdim: bool) -> Any:
    """The product over dimensions."""
    la = x._layout
    d = la.dtype if la.dtype.is_floating_point else int64
    return contiguous(_shape(la.shape, dims, keepdim), d, la.device)


@prod_values.plan
def _(outputs: Any, x: Tensor, dims: tuple, keepdim: bool) -> list[Launch]:
    source, outer, n, inner = _split(x.detach(), dims)
    return from_plan(planner("prod_plan")(outer, n, inner, x.dtype.kind), y=outputs[0], x=source)


@prod_values.backward
def _(ctx: Context, g: Tensor) -> Any:
    x, dims = ctx.x, ctx.attrs["dims"]
    if not bool((x.detach() == 0).any()):
        y = spread(ctx.out, x._layout.shape, dims, ctx.attrs["keepdim"])
        return spread(g, x._layout.shape, dims, ctx.attrs["keepdim"]) * (y / x)
    return _prod_grad_with_zeros(x, spread(g, x._layout.shape, dims, ctx.attrs["keepdim"]), dims)


def _prod_grad_with_zeros(x: Tensor, g: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The product of all the others, as products from the left times products from the right."""
    from .scan import exclusive_products

    kept = [d for d in range(x.ndim) if d not in dims]
    order = kept + list(dims)
    inverse = [order.index(d) for d in range(x.ndim)]
    moved = view.permute(x, order)
    shape = moved._layout.shape
    rows = view.reshape(moved, (math.prod(shape[: len(kept)]), math.prod(shape[len(kept) :])))
    others = view.permute(view.reshape(exclusive_products(rows), shape), inverse)
    return g * others


def prod(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, out: Any = None
) -> Tensor:
    """The product over all elements or over one dimension."""
    require_tensor("prod", "input", input)
    x = _in_dtype(input, dtype)
    dims = tuple(range(x.ndim)) if dim is None else wrap_dims(dim, x.ndim, "prod")
    result = prod_values(x, dims=dims, keepdim=keepdim)
    if dtype is not None and not dtype.is_floating_point and dtype is not int64:
        result = result.to(dtype)
    if dim is not None:
        named(result, "ProdBackward1")
    return result if out is None else write_out(result, out, "prod")


# -- any, all, counts


def _test(name: str, plan: str, result: dtype | None) -> KernelOp:
    def meta(x: Tensor, dims: tuple, keepdim: bool) -> Any:
        la = x._layout
        d = result or bool_
        return contiguous(_shape(la.shape, dims, keepdim), d, la.device)

    op = KernelOp(name, meta, ("x",), (), ())

    @op.plan
    def _(outputs: Any, x: Tensor, dims: tuple, keepdim: bool) -> list[Launch]:
        source, outer, n, inner = _split(x.detach(), dims)
        return from_plan(planner(plan)(outer, n, inner, x.dtype.kind), y=outputs[0], x=source)

    return op


_any = _test("any", "any_plan", None)
_all = _test("all", "all_plan", None)
_count = _test("count_nonzero", "count_nonzero_plan", int64)


def _boolean(op: KernelOp, input: Tensor, dim: Any, keepdim: bool, out: Any) -> Tensor:
    require_tensor(op.name, "input", input)
    result = op(input, dims=wrap_dims(dim, input.ndim, op.name), keepdim=keepdim)
    if input.dtype.name == "uint8":
        result = result.to(input.dtype)
    return result if out is None else write_out(result, out, op.name)


def any(input: Tensor, dim: Any = None, keepdim: bool = False, *, out: Any = None) -> Tensor:
    """Whether any element is nonzero, in all or along ``dim``."""
    return _boolean(_any, input, dim, keepdim, out)


def all(input: Tensor, dim: Any = None, keepdim: bool = False, *, out: Any = None) -> Tensor:
    """Whether all elements are nonzero, in all or along ``dim``."""
    return _boolean(_all, input, dim, keepdim, out)


def count_nonzero(input: Tensor, dim: Any = None) -> Tensor:
    """How many elements are nonzero, in all or along ``dim``."""
    require_tensor("count_nonzero", "input", input)
    return _count(input, dims=wrap_dims(dim, input.ndim, "count_nonzero"), keepdim=False)


def sum_to_size(input: Tensor, *size: Any) -> Tensor:
    """Summed over the dimensions along which ``size`` would have been broadcast; RuntimeError if it doesn't fit."""
    from ..shape import as_shape

    target = as_shape(size[0] if len(size) == 1 else size, "sum_to_size")
    if not target and not input.dtype.is_floating_point:
        return sum(input)  # in int64, as PyTorch
    if input._layout.shape == target:
        return input
    wide = input if input.dtype.is_floating_point or len(target) < input.ndim else input.to(int64)
    result = summed_to(wide, target)
    return result.clone() if result._storage is input._storage else result


def summed_to(input: Tensor, target: tuple[int, ...]) -> Tensor:
    """``sum_to_size`` that may give a view, where there is nothing to sum."""
    shape = input._layout.shape
    lead = len(shape) - len(target)
    if lead < 0 or builtin_any(m != n and n != 1 for m, n in zip(shape[lead:], target)):
        raise RuntimeError(f"size {{{list(target)}}} is not expandable to size {{{list(shape)}}}.")
    dims = tuple(range(lead)) + tuple(
        d + lead for d, n in enumerate(target) if n == 1 and shape[d + lead] != 1
    )
    # Dimensions of size 1 need no sum: the gradient of a bias in a batch of one is the gradient itself.
    dims = tuple([d for d in dims if shape[d] != 1])
    if dims:
        result = sum_values(input, dims=dims, keepdim=True)
        input = result if result._layout.dtype is input._layout.dtype else result.to(input.dtype)
    return view.reshape(input, target)


max_of = __builtins__["max"] if isinstance(__builtins__, dict) else __builtins__.max  # type: ignore[union-attr]
builtin_any = __builtins__["any"] if isinstance(__builtins__, dict) else __builtins__.any  # type: ignore[union-attr]


@tensors_only
def logsumexp(input: Tensor, dim: Any, keepdim: bool = False, *, out: Any = None) -> Tensor:
    """``log(sum(exp(input)))`` over ``dim``, without overflow."""
    x = input if input.dtype.category == FLOATING else input.float()
    dims = wrap_dims(dim, x.ndim, "logsumexp")
    result = logsumexp_values(x, dims=dims, keepdim=keepdim)
    return result if out is None else write_out(result, out, "logsumexp")


@kernel_op(["x"], saves=["x", "out"], name="logsumexp")
def logsumexp_values(x: Tensor, dims: tuple, keepdim: bool) -> Any:
    """``log(sum(exp(x)))`` over dimensions."""
    la = x._layout
    return contiguous(_shape(la.shape, dims, keepdim), la.dtype, la.device)


@logsumexp_values.plan
def _(outputs: Any, x: Tensor, dims: tuple, keepdim: bool) -> list[Launch]:
    source, outer, n, inner = _split(x.detach(), dims)
    return from_plan(planner("logsumexp_plan")(outer, n, inner, x.dtype.kind), y=outputs[0], x=source)


@logsumexp_values.backward
def _(ctx: Context, g: Tensor) -> Any:
    x, dims, keep = ctx.x, ctx.attrs["dims"], ctx.attrs["keepdim"]
    shape = x._layout.shape
    y = ctx.out
    y = E.where(E.isinf(y), 0.0, y)
    return spread(g, shape, dims, keep) * E.exp(x - spread(y, shape, dims, keep))
