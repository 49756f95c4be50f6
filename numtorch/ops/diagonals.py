"""Diagonals made and read, and copies in which a view's place holds other values."""

from __future__ import annotations

from typing import Any

from .._tensor import Tensor
from ..creation import new_tensor, sequence_of_tensors, zeros
from ..dtype import int64, promote_types
from ..errors import not_implemented, require_tensor, tensors_only
from ..shape import as_index, wrap_dim
from . import view
from .autocasting import autocasts
from .copying import clone
from .inplace import write_out
from .node_names import called, named
from .places import nonzero
from .reduce import sum as total


@called("DiagEmbedBackward0")
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Zeros with the last dimension of the input as a diagonal of two new dimensions.

    Example:
        >>> import numtorch
        >>> numtorch.diag_embed(numtorch.tensor([1, 2])).tolist()
        [[1, 0], [0, 2]]
    """
    require_tensor("diag_embed", "input", input)
    offset, ndim = as_index(offset, "diag_embed", "offset"), input.ndim + 1
    a, b = wrap_dim(dim1, ndim, "diag_embed"), wrap_dim(dim2, ndim, "diag_embed")
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    shape = list(input._layout.shape)
    n = shape.pop() + abs(offset)
    for d in sorted((a, b)):
        shape.insert(d, n)
    result = zeros(shape, dtype=input.dtype, device=input.device)
    view.diagonal(result, offset, a, b).copy_(input)
    return result


def diag(input: Tensor, diagonal: int = 0, *, out: Any = None) -> Tensor:
    """A vector as the diagonal of a matrix, or the diagonal of a matrix as a vector (a copy)."""
    require_tensor("diag", "input", input)
    if input.ndim not in (1, 2):
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D")
    result = diag_embed(input, diagonal) if input.ndim == 1 else named(clone(view.diagonal(input, diagonal)), "DiagonalBackward0_copy")
    return result if out is None else write_out(result, out, "diag")


@tensors_only
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """All elements as the diagonal of a matrix."""
    return diag_embed(view.reshape(input, (-1,)), offset)


@autocasts
@called("TraceBackward0")
def trace(input: Tensor) -> Tensor:
    """The sum of a matrix's diagonal; RuntimeError unless it has 2 dimensions."""
    require_tensor("trace", "input", input)
    if input.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {input.ndim}; sum its diagonal()")
    if input.dtype.name == "bool":
        raise not_implemented("trace", input.dtype)
    return total(view.diagonal(input))


@called("DiagonalScatterBackward0")
@tensors_only
def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A copy of ``input`` with ``src`` on a diagonal."""
    result = clone(input)
    return _put(result, view.diagonal(result, offset, dim1, dim2), src, "diagonal_scatter")


@called("SelectScatterBackward0")
@tensors_only
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy of ``input`` with ``src`` at one index of a dimension."""
    result = clone(input)
    return _put(result, view.select(result, dim, index), src, "select_scatter")


@tensors_only
def fill_diagonal_(self: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """Write a number into the main diagonal; ``wrap``: of a tall matrix again below it, a row left out between.

    Example:
        >>> import numtorch
        >>> numtorch.zeros(2, 2).fill_diagonal_(3).tolist()
        [[3.0, 0.0], [0.0, 3.0]]
    """
    la = self._layout
    if la.ndim < 2:
        raise RuntimeError(f"fill_diagonal_(): dimensions must larger than 1, got {la.ndim}; a vector has no diagonal")
    if la.ndim > 2 and len(set(la.shape)) > 1:
        raise RuntimeError(
            f"fill_diagonal_(): all dimensions of input must be of equal length, got {list(la.shape)}; use diagonal() of two"
            " dimensions"
        )
    step, n = sum(la.strides), min(la.shape)
    view.as_strided(self, (n,), (step,), self._offset).fill_(fill_value)
    columns = la.shape[1]
    if wrap and la.ndim == 2 and la.shape[0] > columns + 1:
        more = (la.numel + columns) // (columns + 1) - n
        view.as_strided(self, (more,), (step,), self._offset + la.strides[0] * (columns + 1)).fill_(fill_value)
    return self


@called("SliceScatterBackward0")
@tensors_only
def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: int = 1, *, out: Any = None
) -> Tensor:
    """A copy of ``input`` with ``src`` in the slice start:end:step of a dimension."""
    if step <= 0:
        raise RuntimeError(f"slice step must be positive, got step={step}")
    result = clone(input)
    if not input.ndim:
        raise IndexError(f"slice_scatter: dimension {dim} of a 0-d tensor; give it one with unsqueeze(0)")
    d = wrap_dim(dim, input.ndim, "slice_scatter")
    first, last, step = slice(start, end, step).indices(input._layout.shape[d])
    made = _put(result, view.slice_dim(result, d, first, max(first, last), step), src, "slice_scatter")
    return made if out is None else write_out(made, out, "slice_scatter")


def _put(result: Tensor, place: Tensor, src: Tensor, op: str) -> Tensor:
    """``result``, after ``src`` was written into a view of it."""
    require_tensor(op, "src", src)
    if place._layout.shape != src._layout.shape:
        raise RuntimeError(
            f"{op}: expected src to have a size equal to the slice of self. src size = {list(src._layout.shape)}, slice size"
            f" = {list(place._layout.shape)}"
        )
    place.copy_(src)
    return result


@called("BlockDiagBackward0")
def block_diag(*tensors: Tensor) -> Tensor:
    """Matrices (and vectors as rows, numbers as 1 x 1) along the diagonal of one matrix, zeros elsewhere."""
    given = sequence_of_tensors(tensors, "block_diag")
    if not given:
        return new_tensor((1, 0), zeros(0).dtype)
    d = given[0].dtype
    blocks = []
    for t in given:
        if t.ndim > 2:
            raise RuntimeError(f"block_diag: Input tensors must have 2 or fewer dimensions. Got {t.ndim}")
        d = promote_types(d, t.dtype)
        blocks.append(view.reshape(t, (1,) * (2 - t.ndim) + t._layout.shape))
    rows, cols = (sum(t._layout.shape[k] for t in blocks) for k in (0, 1))
    result = zeros(rows, cols, dtype=d, device=given[0].device)
    row = col = 0
    for t in blocks:
        m, n = t._layout.shape
        if m and n:
            view.narrow(view.narrow(result, 0, row, m), 1, col, n).copy_(t)
        row, col = row + m, col + n
    return result


def _triangle_indices(op: str, row: int, col: int, offset: int, dtype: Any, device: Any) -> Tensor:
    from ..creation import arange

    if row < 0 or col < 0:
        name = "row" if row < 0 else "col"
        raise RuntimeError(f"{op}: {name} must be non-negative, got {min(row, col)}")
    distance = arange(col, device=device) - view.reshape(arange(row, device=device), (row, 1))
    inside = distance <= offset if op == "tril_indices" else distance >= offset
    return view.transpose(nonzero(inside), 0, 1).contiguous().to(dtype or int64)


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None, layout: Any = None) -> Tensor:  # fmt: skip
    """Rows and columns (2, n) of the lower triangle of a matrix of this size, row by row."""
    return _triangle_indices("tril_indices", row, col, offset, dtype, device)


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None, layout: Any = None) -> Tensor:  # fmt: skip
    """Rows and columns (2, n) of the upper triangle of a matrix of this size, row by row."""
    return _triangle_indices("triu_indices", row, col, offset, dtype, device)
