"""Whole slices by the index of one dimension: select, add, copy, fill; and index_put by several indices."""

from __future__ import annotations

from typing import Any

from .._tensor import Tensor
from ..dtype import int32
from ..errors import refuse_dtypes, require_same_device, require_tensor, tensors_only
from ..shape import wrap_dim
from . import view
from .copying import overwrite
from .index import (
    bounded,
    check_range,
    index_add_values,
    index_copy_values,
    index_int64,
    index_select_values,
    wrap_negative,
)
from .inplace import write_out
from .node_names import called, named, overwritten
from .scatter import _number, _reduced, kept


def _vector(op: str, index: Tensor, error: type = IndexError) -> Tensor:
    """The index as a vector; ``error`` if it has more dimensions."""
    if index._layout.ndim > 1:
        raise error(
            f"{op}(): Index is supposed to be a vector, but got an index with {index.ndim} dimensions; flatten() it"
        )
    return view.reshape(index, (index._layout.numel,))


def _lined(x: Tensor) -> Tensor:
    return x if x._layout.ndim else view.reshape(x, (1,))


@called("IndexSelectBackward0")
def index_select(input: Tensor, dim: int, index: Tensor, *, out: Any = None) -> Tensor:
    """The slices index[k] of dimension ``dim``; IndexError for an index out of range.

    Example:
        >>> import numtorch
        >>> numtorch.index_select(numtorch.tensor([[1, 2], [3, 4]]), 1, numtorch.tensor([1, 1])).tolist()
        [[2, 2], [4, 4]]
    """
    require_tensor("index_select", "input", input)
    d = wrap_dim(dim, input.ndim, "index_select")
    index = _vector("index_select", index_int64("index_select", index, int32, empty=False))
    require_same_device("index_select", input=input, index=index)
    if not input._layout.ndim and index._layout.numel != 1:
        raise RuntimeError(
            f"index_select(): Index to scalar can have only 1 value, got {index._layout.numel} value(s)"
        )
    x = _lined(input)
    n = x._layout.shape[d]

    def error(value: int) -> Exception:
        return IndexError(f"index_select(): index out of range in self: {value} (dimension {d} has size {n}); valid are 0..{n - 1}")

    check_range(index, 0, n - 1, error)
    result = index_select_values(x, index, dim=d)
    result = result if input._layout.ndim else view.reshape(result, ())
    return result if out is None else write_out(result, out, "index_select")


def _source(op: str, x: Tensor, d: int, index: Tensor, source: Tensor, error: type) -> None:
    """Raise unless ``source`` is like ``x`` with as many slices as the index has."""
    if source.dtype is not x.dtype:
        raise RuntimeError(
            f"{op}_(): self ({x.dtype!r}) and source ({source.dtype!r}) must have the same scalar type; convert"
            " one with .to()"
        )
    n = index._layout.numel
    xs, ss = x._layout.shape, source._layout.shape
    if op == "index_copy" or (not xs and not ss):
        xs, ss = xs or (1,), ss or (1,)
    if len(xs) == len(ss) and n != ss[d]:
        raise error(
            f"{op}_(): Number of indices ({n}) should be equal to source.size(dim): ({ss[d]}), for dim: {d}"
        )
    if len(xs) != len(ss) or xs[:d] + xs[d + 1 :] != ss[:d] + ss[d + 1 :]:
        raise RuntimeError(
            f"{op}_(): source tensor shape must match self tensor shape, excluding the specified dimension. Got"
            f" self.shape = {list(xs)} source.shape = {list(ss)}"
        )


def _slices(
    op: str, x: Tensor, dim: Any, index: Tensor, source: Tensor, index_error: type, *allowed: Any
) -> Any:
    """(dimension, index, source), after all checks."""
    require_tensor(op, "input", x)
    require_tensor(op, "source", source)
    d = wrap_dim(dim, x.ndim, op)
    index = _vector(op, index_int64(op, index, *allowed, empty=op == "index_copy"))
    require_same_device(op, input=x, index=index, source=source)
    _source(op, x, d, index, source, IndexError if op == "index_copy" else RuntimeError)
    if op == "index_add" and x.ndim == 1:
        index_error = IndexError
    bounded(op, index, x._layout.shape[d] if x.ndim else 1, d, index_error)
    return d, index, _lined(source)


@called("IndexAddBackward0")
def index_add(
    input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1, out: Any = None
) -> Tensor:
    """A copy with alpha * slice k of ``source`` added to slice index[k]."""
    d, index, source = _slices("index_add", input, dim, index, source, RuntimeError, int32)
    x = _lined(input)
    result = index_add_values(x, index, source, dim=d, size=x._layout.shape[d], alpha=float(alpha))
    result = view.reshape(result, input._layout.shape)
    return result if out is None else write_out(result, out, "index_add")


def index_add_(self: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """In-place form of ``index_add``."""
    d, index, source = _slices("index_add", self, dim, index, source, RuntimeError, int32)
    x = _lined(self)
    index_add_values.into(x, index, source, dim=d, size=x._layout.shape[d], alpha=float(alpha))
    return self


@called("IndexCopyBackward0")
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor, *, out: Any = None) -> Tensor:
    """A copy with slice index[k] replaced by slice k of ``source``."""
    d, index, source = _slices("index_copy", input, dim, index, source, IndexError)
    x = _lined(input)
    result = index_copy_values(x, index, source, dim=d, shape=tuple(x._layout.shape))
    result = view.reshape(result, input._layout.shape)
    return result if out is None else write_out(result, out, "index_copy")


def index_copy_(self: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """In-place form of ``index_copy``."""
    d, index, source = _slices("index_copy", self, dim, index, source, IndexError)
    x = _lined(self)
    index_copy_values.into(x, index, source, dim=d, shape=tuple(x._layout.shape))
    return self


def _filling(x: Tensor, dim: Any, index: Tensor, value: Any) -> tuple[int, Tensor, Tensor]:
    """(dimension, index, 0-d value), after all checks."""
    require_tensor("index_fill", "input", x)
    d = wrap_dim(dim, x.ndim, "index_fill")
    index = _vector("index_fill", index_int64("index_fill", index, error=IndexError), IndexError)
    n = x._layout.shape[d] if x.ndim else 1
    value = _number("index_fill", value, x)

    def error(bad: int) -> Exception:
        return IndexError(f"index_fill(): index {bad} is out of bounds for dimension {d} with size {n}; valid are {-n}..{n - 1}")

    if check_range(index, -n, n - 1, error):
        index = wrap_negative(index, n=n)
    return d, index, value


def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """A copy with the slices index[k] filled with one number."""
    tensor = isinstance(value, Tensor)
    d, index, value = _filling(input, dim, index, value)
    x = _lined(input)
    result = index_copy_values(x, index, value, dim=d, shape=tuple(x._layout.shape))
    return named(view.reshape(result, input._layout.shape), f"IndexFillBackward{int(tensor)}")


def index_fill_(self: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """In-place form of ``index_fill``."""
    tensor = isinstance(value, Tensor)
    d, index, value = _filling(self, dim, index, value)
    x = _lined(self)
    index_copy_values.into(x, index, value, dim=d, shape=tuple(x._layout.shape))
    return overwritten(self, f"IndexFillBackward{int(tensor)}")


@called("IndexReduceBackward0")
def index_reduce(
    input: Tensor,
    dim: int,
    index: Tensor,
    source: Tensor,
    reduce: str,
    *,
    include_self: bool = True,
    out: Any = None,
) -> Tensor:
    """A copy with slice k of ``source`` combined into slice index[k]: prod, mean, amax or amin."""
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(
            f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}."
        )
    refuse_dtypes("index_reduce", input, {"bool"})
    d, index, source = _slices("index_reduce", input, dim, index, source, RuntimeError, int32)
    shape = source._layout.shape
    places = view.reshape(index, tuple(-1 if k == d else 1 for k in range(len(shape))))
    result = _reduced(input, d, view.expand(places, shape), source, reduce, include_self)
    return result if out is None else write_out(result, out, "index_reduce")


def index_reduce_(
    self: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """In-place form of ``index_reduce``."""
    return overwrite(self, index_reduce(kept(self), dim, index, source, reduce, include_self=include_self))


@tensors_only
def index_put_(self: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """Write (or add) ``values`` where the index tensors, one per dimension or None, point to."""
    from ..indexing import expand_masks, put_

    require_tensor("index_put", "values", values)
    if values.dtype is not self.dtype:
        raise RuntimeError(
            f"Index put requires the source and destination dtypes match, got {self.dtype!r} for the destination"
            f" and {values.dtype!r} for the source."
        )
    given = list(indices)
    for k, i in enumerate(given):
        if i is not None:
            require_tensor("index_put", f"indices[{k}]", i)
            if i.dtype.is_floating_point:
                raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
    found = expand_masks(given)
    if len(found) > self._layout.ndim:
        raise IndexError(f"too many indices for tensor of dimension {self.ndim} (got {len(found)})")
    found += [None] * (self._layout.ndim - len(found))
    return put_(self, found, values, bool(accumulate))


@called("IndexPutBackward0")
@tensors_only
def index_put(input: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy with ``values`` written (or added) where the index tensors point to."""
    return index_put_(input.clone(), indices, values, accumulate)
