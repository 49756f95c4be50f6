"""Copies of views (``*_copy``), further ways to split, and combinations of elements."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from .._tensor import Tensor
from ..creation import sequence_of_tensors
from ..errors import require_tensor, tensors_only
from . import joining, parts, view
from .constant import table
from .copying import clone
from .inplace import write_out
from .slices import index_select


def _copied(function: Callable) -> Callable:
    """The form of a view that copies."""
    name = function.__name__ + "_copy"

    def op(input: Tensor, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        require_tensor(name, "input", input)
        result = function(input, *args, **kwargs)
        if isinstance(result, tuple):
            made = tuple(clone(r) for r in result)
        else:
            made = clone(result)
            if result._node is not None and made._node is not None:
                made._node.alias = f"{result._node.title}_copy"
        return made if out is None else write_out(made, out, name)

    op.__name__ = op.__qualname__ = name
    op.__doc__ = f"``{function.__name__}`` as a copy."
    return op


alias_copy, as_strided_copy, diagonal_copy = (
    _copied(view.alias),
    _copied(view.as_strided),
    _copied(view.diagonal),
)
expand_copy, narrow_copy, permute_copy = _copied(view.expand), _copied(view.narrow), _copied(view.permute)
select_copy, squeeze_copy, t_copy = _copied(view.select), _copied(view.squeeze), _copied(view.t)
transpose_copy, unbind_copy, unfold_copy = _copied(view.transpose), _copied(parts.unbind), _copied(view.unfold)
unsqueeze_copy, view_copy, split_copy = _copied(view.unsqueeze), _copied(view.view), _copied(parts.split)
split_with_sizes_copy = _copied(parts.split)
split_with_sizes_copy.__name__ = split_with_sizes_copy.__qualname__ = "split_with_sizes_copy"


@tensors_only
def detach_copy(input: Tensor) -> Tensor:
    """A copy without history."""
    return clone(input.detach())


def slice_copy(input: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Tensor:
    """The slice start:end:step of a dimension, as a copy."""
    from ..shape import wrap_dim

    require_tensor("slice_copy", "input", input)
    if not input.ndim:
        raise RuntimeError("slice_copy() cannot be applied to a 0-dim tensor; it holds one number, use it as it is")
    d = wrap_dim(dim, input.ndim, "slice_copy")
    first, last, step = slice(start, end, step).indices(input._layout.shape[d])
    return clone(view.slice_dim(input, d, first, max(first, last), step))


# -- splits


def split_with_sizes(input: Tensor, split_sizes: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Parts of the sizes listed."""
    return parts.split(input, list(split_sizes), dim)


def unsafe_split(input: Tensor, split_size: int, dim: int = 0) -> tuple[Tensor, ...]:
    """``split``."""
    return parts.split(input, split_size, dim)


def unsafe_split_with_sizes(input: Tensor, split_sizes: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """``split_with_sizes``."""
    return parts.split(input, list(split_sizes), dim)


def unsafe_chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """``chunk``."""
    return parts.chunk(input, chunks, dim)


def _evenly(op: str, x: Tensor, given: Any, dim: int, least: int) -> tuple[Tensor, ...]:
    """Parts along ``dim``: a number of equal ones, or cut at indices."""
    require_tensor(op, "input", x)
    if x.ndim < least:
        raise RuntimeError(
            f"torch.{op} requires a tensor with at least {least} dimension{'s' if least > 1 else ''}, but got a tensor with"
            f" {x.ndim} dimensions!"
        )
    if not isinstance(given, (tuple, list, Tensor)):
        n = x._layout.shape[dim]
        if given == 0 or n % given:
            raise RuntimeError(
                f"torch.{op} attempted to split along dimension {dim}, but the size of the dimension {n} is not divisible by"
                f" the split_size {given}!"
            )
    return parts.tensor_split(x, given, dim)


@tensors_only
def hsplit(input: Tensor, *indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Split into columns: a number of equal parts, or cut at indices (a vector: its elements)."""
    given = indices_or_sections[0] if len(indices_or_sections) == 1 else indices_or_sections
    return _evenly("hsplit", input, given, 0 if input.ndim == 1 else 1, 1)


@tensors_only
def vsplit(input: Tensor, *indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Split into rows: a number of equal parts, or cut at indices."""
    given = indices_or_sections[0] if len(indices_or_sections) == 1 else indices_or_sections
    return _evenly("vsplit", input, given, 0, 2)


@tensors_only
def dsplit(input: Tensor, *indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Split along the third dimension: a number of equal parts, or cut at indices."""
    given = indices_or_sections[0] if len(indices_or_sections) == 1 else indices_or_sections
    return _evenly("dsplit", input, given, 2, 3)


# -- combinations


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All combinations of an element of each vector, one a row; of one vector itself."""
    given = sequence_of_tensors(tensors, "cartesian_prod")
    for t in given:
        if t.ndim != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(t._layout.shape)}")
    if len(given) == 1:
        return given[0]
    return joining.stack([view.reshape(g, (-1,)) for g in joining.meshgrid(*given)], 1)


def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All choices of ``r`` elements of a vector in its order, one a row."""
    require_tensor("combinations", "input", input)
    if input.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input._layout.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return view.narrow(input, 0, 0, 0)
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    picks = [k for row in choose(range(input._layout.numel), r) for k in row]
    index = table(picks, input._layout.device)
    return view.reshape(index_select(input, 0, index), (len(picks) // r, r))
