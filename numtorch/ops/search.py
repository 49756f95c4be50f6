"""Sorted sequences: where values go into them, and what is left of a tensor without repetitions."""

from __future__ import annotations

import math
from typing import Any

from .._tensor import Tensor
from ..dtype import int32, int64, promote_types
from ..errors import refuse_dtypes, require_same_device, require_tensor, tensors_only
from ..shape import Layout, contiguous, wrap_dim
from . import elementwise as E
from . import view
from .declare import kernel_op
from .index import check_range, gather_checked, index_copy_values, index_select_values
from .inplace import write_out
from .launch import Launch
from .reduce import any as any_of
from .scan import cumsum_values
from .sort import sort_values


@kernel_op(["edges", "x"], name="searchsorted")
def search_values(edges: Tensor, x: Tensor, right: bool) -> Layout:
    """Where each x goes into its row of edges, or into the only row."""
    return contiguous(x._layout.shape, int64, x._layout.device)


@search_values.plan
def _(outputs: Any, edges: Tensor, x: Tensor, right: bool) -> list[Launch]:
    n = edges._layout.shape[-1]
    rows = math.prod(edges._layout.shape[:-1])
    one = edges._layout.ndim == 1
    m = x._layout.numel if one else x._layout.shape[-1]
    pointers = [outputs[0], edges.detach().contiguous(), x.detach().contiguous()]
    words = (1 if one else rows, n, m, int(not one), int(right))
    cost = x._layout.numel * max(n, 2).bit_length()
    return [Launch(("sort", "searchsorted"), {"T": x.dtype.kind}, pointers, words, x._layout.numel, cost)]


def _sides(right: bool, side: str | None) -> bool:
    if side not in (None, "left", "right"):
        raise RuntimeError(f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}")
    if side == "left" and right:
        raise RuntimeError(
            "torch.searchsorted(): side and right can't be set to opposites, got side of left while right was True"
        )
    return right or side == "right"


def _in_order(edges: Tensor, sorter: Tensor | None) -> Tensor:
    """The edges in the order that ``sorter`` gives."""
    if sorter is None:
        return edges
    if sorter._layout.shape != edges._layout.shape:
        raise RuntimeError(
            "torch.searchsorted(): boundary and sorter must have the same size, but got boundary tensor"
            f" {list(edges.shape)} and got sorter tensor {list(sorter.shape)}"
        )
    if sorter.dtype is not int64:
        raise RuntimeError(
            f"torch.searchsorted(): sorter must be a tensor of long dtype but got dtype {sorter.dtype!r}"
        )
    n = edges._layout.shape[-1]

    def error(value: int) -> Exception:
        return RuntimeError(f"torch.searchsorted(): sorter index out of range: {value} (the size is {n})")

    check_range(sorter, 0, n - 1, error)
    return gather_checked(edges, edges.ndim - 1, sorter)


@tensors_only
def searchsorted(
    sorted_sequence: Tensor, input: Any, *, out_int32: bool = False, right: bool = False, side: str | None = None,
    sorter: Tensor | None = None, out: Any = None,
) -> Tensor:  # fmt: skip
    """The index of the first element of a sorted sequence that is >= input, or > input if ``right``.

    Example:
        >>> import numtorch
        >>> numtorch.searchsorted(numtorch.tensor([1.0, 2.0, 3.0]), numtorch.tensor([2.0, 9.0])).tolist()
        [1, 3]
    """
    from ..creation import scalar_tensor

    require_tensor("searchsorted", "sorted_sequence", sorted_sequence)
    refuse_dtypes("searchsorted", sorted_sequence, {"bool"})
    right = _sides(right, side)
    edges = sorted_sequence.detach()
    if not edges.ndim:
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should have positive dimension, but got 0 dimension"
        )
    if isinstance(input, Tensor):
        x = input.detach()
    else:
        d = edges.dtype if not isinstance(input, float) or edges.dtype.is_floating_point else None
        x = scalar_tensor(input, dtype=d, device=edges.device)
    require_same_device("searchsorted", sorted_sequence=edges, input=x)
    shapes = edges._layout.shape, x._layout.shape
    if edges.ndim > 1 and (len(shapes[0]) != len(shapes[1]) or shapes[0][:-1] != shapes[1][:-1]):
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries"
            f" tensor and input value tensor must match, but we got boundaries tensor {list(shapes[0])} and input value"
            f" tensor {list(shapes[1])}"
        )
    edges = _in_order(edges, sorter)
    d = promote_types(edges.dtype, x.dtype)
    result = search_values(edges.to(d), x.to(d), right=bool(right))
    result = result.to(int32) if out_int32 else result
    return result if out is None else write_out(result, out, "searchsorted")


@tensors_only
def bucketize(
    input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False, out: Any = None
) -> Tensor:
    """The number of the bucket between sorted ``boundaries`` (a vector) into which each value falls."""
    require_tensor("bucketize", "boundaries", boundaries)
    if boundaries.ndim != 1:
        raise RuntimeError(
            f"bucketize(): boundaries tensor must be 1 dimension, but got dim({boundaries.ndim})"
        )
    return searchsorted(boundaries, input, out_int32=out_int32, right=right, out=out)


# -- without repetitions


@kernel_op(["x"])
def unique_runs(x: Tensor) -> Any:
    """Runs of equal neighbours of a vector: their values, each element's run, the lengths, and how many there are."""
    la = x._layout
    numbers = contiguous(la.shape, int64, la.device)
    return contiguous(la.shape, la.dtype, la.device), numbers, numbers, contiguous((1,), int64, la.device)


@unique_runs.plan
def _(outputs: Any, x: Tensor) -> list[Launch]:
    pointers = [*outputs, x.detach().contiguous()]
    return [Launch(("sort", "unique_runs"), {"T": x.dtype.kind}, pointers, (x._layout.numel,))]


def _runs(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(values, each element's run, lengths) of a vector."""
    values, group, counts, total = unique_runs(x)
    n = int(total.item())
    return view.narrow(values, 0, 0, n).clone(), group, view.narrow(counts, 0, 0, n).clone()


def _unsorted(group: Tensor, order: Tensor) -> Tensor:
    """Groups of elements that were sorted, for the elements where they were."""
    return index_copy_values(None, order, group, dim=0, shape=tuple(order._layout.shape))


def _answer(
    values: Tensor, inverse: Tensor, counts: Tensor, return_inverse: bool, return_counts: bool
) -> Any:
    answer = (values, *([inverse] if return_inverse else []), *([counts] if return_counts else []))
    return answer if len(answer) > 1 else values


def _vector_ids(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(unique values in order, each element's number among them, how often each occurs) of a vector."""
    ordered, order = sort_values(x, descending=False)
    values, group, counts = _runs(ordered)
    return values, _unsorted(group, order), counts


def _rows(x: Tensor, dim: int, op: str) -> tuple[int, Tensor]:
    """(dimension, the slices along it as the rows of a matrix)."""
    d = wrap_dim(dim, x.ndim, op)
    if not x.ndim:
        raise IndexError(f"{op}: Dimension specified as {dim} but tensor has no dimensions; leave dim out")
    moved = view.movedim(x, d, 0)
    n = moved._layout.shape[0]
    return d, view.reshape(moved, (n, math.prod(moved._layout.shape[1:])))


def _first_of(group: Tensor, count: int) -> Tensor:
    """Where each of ``count`` groups occurs first."""
    from ..creation import arange

    n = group._layout.numel
    backwards = (n - 1) - arange(n, device=group.device)
    later = index_select_values(group, backwards, dim=0)
    return index_copy_values(None, later, backwards, dim=0, shape=(count,))


def _slice_ids(rows: Tensor) -> Tensor:
    """The number of each row among the distinct rows in lexicographic order."""
    from ..creation import zeros

    n, columns = rows._layout.shape
    ids = zeros((n,), dtype=int64, device=rows.device)
    for c in range(columns):
        own = _vector_ids(view.select(rows, 1, c))[1]
        ids = own if c == 0 else _vector_ids(ids * n + own)[1]
    return ids


def unique(
    input: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False,
    dim: int | None = None,
) -> Any:  # fmt: skip
    """The distinct elements in order (or slices of ``dim``), where each element went, and how often each occurs.

    Example:
        >>> import numtorch
        >>> numtorch.unique(numtorch.tensor([3, 1, 3]))
        tensor([1, 3])
    """
    require_tensor("unique", "input", input)
    x = input.detach()
    if dim is None:
        values, inverse, counts = _vector_ids(view.reshape(x, (x._layout.numel,)))
        return _answer(values, view.reshape(inverse, x._layout.shape), counts, return_inverse, return_counts)
    d, rows = _rows(x, dim, "unique")
    _, inverse, counts = _vector_ids(_slice_ids(rows))
    values = index_select_values(x, _first_of(inverse, counts._layout.numel), dim=d)
    return _answer(values, inverse, counts, return_inverse, return_counts)


def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The elements (or slices of ``dim``) without those equal to the one before, where each went, and run lengths."""
    require_tensor("unique_consecutive", "input", input)
    x = input.detach()
    if dim is None:
        values, inverse, counts = _runs(view.reshape(x, (x._layout.numel,)))
        return _answer(values, view.reshape(inverse, x._layout.shape), counts, return_inverse, return_counts)
    d, rows = _rows(x, dim, "unique_consecutive")
    n = rows._layout.shape[0]
    if n < 2:
        group = cumsum_values(x.new_zeros((n,), dtype=int64), dim=0)
    else:
        changed = any_of(E.ne(view.narrow(rows, 0, 1, n - 1), view.narrow(rows, 0, 0, n - 1)), 1)
        marks = x.new_zeros((n,), dtype=int64)
        view.narrow(marks, 0, 1, n - 1).copy_(changed)
        group = cumsum_values(marks, dim=0)
    _, inverse, counts = _runs(group)
    values = index_select_values(x, _first_of(inverse, counts._layout.numel), dim=d)
    return _answer(values, inverse, counts, return_inverse, return_counts)
