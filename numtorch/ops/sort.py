"""Order: sort, topk, kthvalue, median, mode. Kernels work on the rows of the last dimension; NaN is the largest."""

from __future__ import annotations

import math
from typing import Any

from .. import return_types
from .._tensor import Tensor
from ..autograd.mode import state
from ..dtype import BOOL, int64, uint8
from ..errors import not_implemented, refuse_dtypes, require_tensor
from ..shape import contiguous, wrap_dim
from . import elementwise as E
from . import view
from .declare import Context, KernelOp, kernel_op
from .index import gather_checked, scatter_add_values
from .inplace import refuse_overlap, write_out
from .launch import Launch, Scratch
from .node_names import called, named
from .reduce import sum_values

Sizes = tuple[int, ...]


def _rows(x: Tensor) -> tuple[int, int]:
    shape = x._layout.shape
    return math.prod(shape[:-1]), shape[-1]


def _pair(x: Tensor, shape: Sizes) -> Any:
    """Layouts of values and indices."""
    la = x._layout
    return contiguous(shape, la.dtype, la.device), contiguous(shape, int64, la.device)


def _back(ctx: Context, g: Tensor, *_: Any) -> Any:
    """The gradient of each value goes to where it came from."""
    la, index = ctx.meta(0), ctx.out1
    if index._layout.ndim < la.ndim:
        g, index = view.unsqueeze(g, -1), view.unsqueeze(index, -1)
    return scatter_add_values(None, index, g, dim=la.ndim - 1, size=la.shape[-1])


@kernel_op(["x"], saves=["out1"], nograd=(1,), name="sort")
def sort_values(x: Tensor, descending: bool) -> Any:
    """Each row in order, equal elements in theirs, and where each element was."""
    return _pair(x, x._layout.shape)


@sort_values.plan
def _(outputs: Any, x: Tensor, descending: bool) -> list[Launch]:
    rows, n = _rows(x)
    count = x._layout.numel
    spare = [Scratch(count * x._layout.itemsize), Scratch(count * 8)]
    pointers = [*outputs, *spare, x.detach().contiguous()]
    cost = 4 * count * max(n, 2).bit_length()
    return [Launch(("sort", "sort"), {"T": x.dtype.kind}, pointers, (rows, n, int(descending)), rows, cost)]


@kernel_op(["x"], saves=["out1"], nograd=(1,), name="topk")
def topk_values(x: Tensor, k: int, largest: bool) -> Any:
    """The k largest or smallest of each row, best first, and where they were."""
    return _pair(x, x._layout.shape[:-1] + (k,))


@topk_values.plan
def _(outputs: Any, x: Tensor, k: int, largest: bool) -> list[Launch]:
    rows, n = _rows(x)
    words, cost = (rows, n, k, int(largest)), 4 * x._layout.numel
    return [
        Launch(("sort", "topk"), {"T": x.dtype.kind}, [*outputs, x.detach().contiguous()], words, rows, cost)
    ]


@kernel_op(["x"], saves=["out1"], nograd=(1,), name="kthvalue")
def kth_values(x: Tensor, k: int, nan_first: bool) -> Any:
    """The k-th smallest of each row and where it was; with ``nan_first`` a NaN comes before all."""
    return _pair(x, x._layout.shape[:-1])


@kth_values.plan
def _(outputs: Any, x: Tensor, k: int, nan_first: bool) -> list[Launch]:
    rows, n = _rows(x)
    pointers = [*outputs, Scratch(x._layout.numel * 8), x.detach().contiguous()]
    cost = 8 * x._layout.numel
    return [Launch(("sort", "kth"), {"T": x.dtype.kind}, pointers, (rows, n, k, int(nan_first)), rows, cost)]


@kernel_op(["x"], saves=["out1"], nograd=(1,), name="mode")
def mode_values(x: Tensor) -> Any:
    """The smallest of the most frequent values of each row, and its last place."""
    return _pair(x, x._layout.shape[:-1])


@mode_values.plan
def _(outputs: Any, x: Tensor) -> list[Launch]:
    rows, n = _rows(x)
    count, itemsize, env = x._layout.numel, x._layout.itemsize, {"T": x.dtype.kind}
    ordered, order = Scratch(count * itemsize), Scratch(count * 8)
    spare = [Scratch(count * itemsize), Scratch(count * 8)]
    first = [ordered, order, *spare, x.detach().contiguous()]
    cost = 4 * count * max(n, 2).bit_length()
    return [
        Launch(("sort", "sort"), env, first, (rows, n, 0), rows, cost),
        Launch(("mode", "mode"), env, [*outputs, ordered, order], (rows, n), rows, count),
    ]


for _op in (sort_values, topk_values, kth_values, mode_values):
    _op.backward(_back)


# -- PyTorch's functions


def _along(op: KernelOp, x: Tensor, dim: int, keepdim: bool | None, **attrs: Any) -> Any:
    """Run an op of the last dimension along ``dim``; ``keepdim``: None where the dimension stays."""
    if not x.ndim:
        pair = op(view.reshape(x, (1,)), **attrs)
        return [view.reshape(t, ()) for t in pair]
    last = x.ndim - 1
    values, index = op(x if dim == last else view.movedim(x, dim, last), **attrs)
    if keepdim is not None:
        return [view.unsqueeze(t, dim) for t in (values, index)] if keepdim else [values, index]
    if dim != last:
        values, index = (view.movedim(t, last, dim).contiguous() for t in (values, index))
    return [values, index]


def _written(result: Any, out: Any, op: str) -> Any:
    return return_types.of(op)(*(result if out is None else write_out(tuple(result), out, op)))


def sort(
    input: Tensor, dim: int = -1, descending: bool = False, stable: bool | None = False, *, out: Any = None
) -> Any:
    """The elements along ``dim`` in order, and where they were; equal elements keep their order.

    Example:
        >>> import numtorch
        >>> values, places = numtorch.sort(numtorch.tensor([3.0, 1.0, 2.0]))
        >>> values.tolist(), places.tolist()
        ([1.0, 2.0, 3.0], [1, 2, 0])
    """
    require_tensor("sort", "input", input)
    d = wrap_dim(dim, input.ndim, "sort")
    found = _along(sort_values, input, d, None, descending=bool(descending))
    named(found[0], f"SortBackward{int(stable is not False)}")
    return _written(found, out, "sort")


def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """Where the elements along ``dim`` are in order."""
    return sort(input.detach(), dim, descending, stable)[1]


@called("SortBackward0")
def msort(input: Tensor, *, out: Any = None) -> Tensor:
    """The elements along the first dimension in order."""
    values = sort(input, 0)[0]
    return values if out is None else write_out(values, out, "msort")


@called("TopkBackward0")
def topk(
    input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True, *, out: Any = None
) -> Any:
    """The k largest (or smallest) elements along ``dim``, best first, and where they are."""
    require_tensor("topk", "input", input)
    d = wrap_dim(dim, input.ndim, "topk")
    n = input._layout.shape[d] if input.ndim else 1
    if not 0 <= k <= n:
        raise RuntimeError(f"topk(): selected index k out of range: k={k}, but dimension {d} has size {n}")
    if input.dtype.category == BOOL:
        raise RuntimeError("topk does not support bool dtypes on CPU; convert with .to(numtorch.uint8)")
    k = int(k) if input.ndim else 1  # a number is its own best, as in PyTorch even for k=0
    return _written(_along(topk_values, input, d, None, k=k, largest=bool(largest)), out, "topk")


def _require_elements(op: str, x: Tensor, d: int) -> int:
    """The size of a dimension; IndexError if it is 0."""
    n = x._layout.shape[d] if x.ndim else 1
    if n == 0:
        raise IndexError(f"{op}(): Expected reduction dim {d} to have non-zero size; there is nothing to choose from")
    return n


@called("KthvalueBackward0")
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False, *, out: Any = None) -> Any:
    """The k-th smallest element along ``dim`` (counted from 1), and where it is."""
    require_tensor("kthvalue", "input", input)
    d = wrap_dim(dim, input.ndim, "kthvalue")
    n = _require_elements("kthvalue", input, d)
    if not 1 <= k <= n:
        raise RuntimeError(
            f"kthvalue(): selected number k out of range for dimension {d}: k={k}, its size is {n}"
        )
    refuse_overlap("kthvalue", out, input)
    if input.dtype.category == BOOL:
        values, places = kthvalue(input.to(uint8), k, d, keepdim)
        return _written([values.to(input.dtype), places], out, "kthvalue")
    return _written(_along(kth_values, input, d, keepdim, k=int(k), nan_first=False), out, "kthvalue")


@kernel_op(["x"], saves=["x", "out"], name="median")
def median_of_all(x: Tensor, k: int) -> Any:
    """The k-th smallest of all elements, NaN if there is one."""
    return contiguous((), x._layout.dtype, x._layout.device)


@median_of_all.plan
def _(outputs: Any, x: Tensor, k: int) -> list[Launch]:
    n = x._layout.numel
    pointers = [outputs[0], Scratch(8), Scratch(n * 8), x.detach().contiguous()]
    return [Launch(("sort", "kth"), {"T": x.dtype.kind}, pointers, (1, n, k, 1))]


@median_of_all.backward
def _(ctx: Context, g: Tensor) -> Any:
    """Shared evenly among all elements that are equal to the median."""
    x, y = ctx.x, ctx.out
    hit = E.logical_or(E.eq(x, y), E.logical_and(E.isnan(x), E.isnan(y)))
    return E.where(hit, g / sum_values(hit, dims=tuple(range(x.ndim)), keepdim=False), 0.0)


def median(input: Tensor, dim: int | None = None, keepdim: bool = False, *, out: Any = None) -> Any:
    """The middle element (the lower of two) of all, or along ``dim`` with where it is; NaN if there is one."""
    require_tensor("median", "input", input)
    if input.dtype.category == BOOL:
        raise not_implemented("median", input.dtype)
    if dim is None:
        if not input.numel():
            return E.mul(input.sum(), math.nan) if input.is_floating_point() else input.new_zeros(())
        result = median_of_all(input, k=(input.numel() + 1) // 2)
        return result if out is None else write_out(result, out, "median")
    d = wrap_dim(dim, input.ndim, "median")
    n = _require_elements("median", input, d)
    found = _along(kth_values, input, d, keepdim, k=(n + 1) // 2, nan_first=True)
    named(found[0], "MedianBackward1")
    return _written(found, out, "median")


def _shared_evenly(x: Tensor, value: Tensor) -> Tensor:
    """``value``, its gradient shared evenly among all elements that are equal to it."""
    if not (state.grad and x._rg):
        return value
    hit = E.eq(x.detach(), value)
    share = sum_values(E.where(hit, x, 0.0), dims=(0,), keepdim=False) / sum_values(hit, dims=(0,), keepdim=False)
    return value + (share - share.detach())


def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False, *, out: Any = None) -> Any:
    """The median of the elements that are not NaN, of all or along ``dim``; NaN where all are."""
    require_tensor("nanmedian", "input", input)
    refuse_dtypes("nanmedian", input, {"bool"})
    if dim is None:
        if not input.numel():
            return median(input, out=out)
        x = view.reshape(input, (-1,))
        result = named(_shared_evenly(x, nanmedian(x.detach(), 0)[0]), "NanmedianBackward0")
        return result if out is None else write_out(result, out, "nanmedian")
    d = wrap_dim(dim, input.ndim, "nanmedian")
    _require_elements("nanmedian", input, d)
    x = input if input.ndim else view.reshape(input, (1,))
    order = argsort(x, d)
    count = sum_values(E.eq(x.detach(), x.detach()), dims=(d,), keepdim=True)
    middle = E.clamp_min(E.floor_divide(count - 1, 2), 0)
    index = gather_checked(order, d, middle)
    values = gather_checked(x, d, index)
    shape = input._layout.shape
    if not input.ndim:
        values, index = view.reshape(values, shape), view.reshape(index, shape)
    elif not keepdim:
        values, index = view.squeeze(values, d), view.squeeze(index, d)
    named(values, "NanmedianBackward1")
    return _written([values, index], out, "nanmedian")


@called("ModeBackward0")
def mode(input: Tensor, dim: int = -1, keepdim: bool = False, *, out: Any = None) -> Any:
    """The most frequent element along ``dim`` (the smallest of several), and its last place."""
    require_tensor("mode", "input", input)
    d = wrap_dim(dim, input.ndim, "mode")
    _require_elements("mode", input, d)
    return _written(_along(mode_values, input, d, keepdim), out, "mode")
