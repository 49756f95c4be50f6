"""Tensors put together: cat, stack and their kin. Each part is written straight into its place in the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._tensor import Tensor, make_view_as
from ..autograd.engine import Node
from ..autograd.mode import state, watchers
from ..creation import new_tensor, sequence_of_tensors
from ..dtype import promote_types
from ..errors import tensors_only
from ..memo import Memo
from ..shape import Layout, broadcast, wrap_dim
from . import view
from .copying import write
from .declare import attach, empty_like_layout
from .inplace import refuse_overlap, write_out
from .node_names import called, named


class CatNode(Node):
    """Gradients of ``cat``: the slices."""

    __slots__ = ("dim", "sizes")

    def __init__(self, tensors: Sequence[Tensor], dim: int, sizes: list[int]):
        Node.__init__(self, tensors)
        self.dim, self.sizes = dim, sizes

    @property
    def title(self) -> str:  # type: ignore[override]
        return self.alias or "CatBackward0"

    def run(self, grads: list[Any]) -> Any:
        g, start, out = grads[0], 0, []
        for n, edge in zip(self.sizes, self.edges):
            if edge is not None and n < 0:  # skipped: 1-d without elements
                out.append(view.reshape(g, (-1,))[:0])
            else:
                out.append(None if edge is None else view.slice_dim(g, self.dim, start, start + n, 1))
            start += max(n, 0)
        return out


def cat(tensors: Sequence[Tensor], dim: int = 0, *, out: Any = None) -> Tensor:
    """Tensors joined along an existing dimension; all other sizes must agree."""
    tensors = sequence_of_tensors(tensors, "cat")
    key = (dim, *[t._layout for t in tensors]) if type(dim) is int and out is None and not watchers else ()
    known = _known.get(key)
    if known is not None:
        return known.run(tensors)
    if not tensors:
        raise ValueError(
            "numtorch.cat(): expected a non-empty list of Tensors, got an empty one; pass at least one"
        )
    d = tensors[0].dtype
    for t in tensors[1:]:
        d = promote_types(d, t.dtype)
        if t._layout.device != tensors[0]._layout.device:
            raise RuntimeError(
                "cat: Expected all tensors to be on the same device, but found at least two devices,"
                f" {tensors[0]._layout.device} and {t._layout.device}! Move one of them with .to()"
            )
    kept, axis = _fitting(tensors, dim)
    first = kept[0]._layout
    total = sum(t._layout.shape[axis] for t in kept)
    result = new_tensor(first.shape[:axis] + (total,) + first.shape[axis + 1 :], d, first.device)
    _write_parts(result, kept, axis)
    sizes = [-1 if t._layout.shape == (0,) and first.shape != (0,) else t._layout.shape[axis] for t in tensors]
    if state.grad and any(t._rg for t in tensors):
        attach(CatNode(tensors, axis, sizes), (result,))
    if key:
        _known.note(key, _Joined(result, axis, sizes))
    refuse_overlap("cat", out, *tensors)
    return result if out is None else write_out(result, out, "cat")


def _fitting(tensors: Sequence[Tensor], dim: int) -> tuple[list[Tensor], int]:
    """The tensors that have a part in the result, and the dimension; RuntimeError for sizes that don't fit."""
    # PyTorch skips 1-d tensors without elements, whatever the others' shape.
    kept = [t for t in tensors if t._layout.shape != (0,)] or list(tensors[:1])
    first = kept[0]._layout
    scalar = next((i for i, t in enumerate(tensors) if t._layout.ndim == 0), None)
    if scalar is not None:
        raise RuntimeError(
            f"cat: zero-dimensional tensor (at position {scalar}) cannot be concatenated; use stack"
        )
    axis = wrap_dim(dim, first.ndim, "cat")
    for i, t in enumerate(kept):
        s = t._layout.shape
        if len(s) != first.ndim:
            raise RuntimeError(
                f"cat: Tensors must have same number of dimensions: got {first.ndim} and {len(s)} (tensor number {i} in"
                " the list); add dimensions with unsqueeze"
            )
        if any(m != n for k, (m, n) in enumerate(zip(s, first.shape)) if k != axis):
            bad = next(k for k, (m, n) in enumerate(zip(s, first.shape)) if k != axis and m != n)
            raise RuntimeError(
                f"cat: Sizes of tensors must match except in dimension {axis}. Expected size {first.shape[bad]} but got"
                f" size {s[bad]} for tensor number {i} in the list; pad or narrow it, or give another dim"
            )
    return kept, axis


class _Joined:
    """How tensors of certain layouts are joined: the result's layout, and each part's place in it."""

    __slots__ = ("axis", "layout", "parts", "sizes")

    def __init__(self, result: Tensor, axis: int, sizes: list[int]):
        self.layout, self.axis, self.sizes = result._layout, axis, sizes
        self.parts: list[tuple[int, Layout, int]] = []
        start, whole = 0, result.detach()
        for i, n in enumerate(sizes):
            if n > 0 and whole._layout.numel:
                place = view.slice_dim(whole, axis, start, start + n, 1)
                self.parts.append((i, place._layout, place._offset))
                start += n

    def run(self, tensors: Sequence[Tensor]) -> Tensor:
        result = empty_like_layout(self.layout)
        for i, la, offset in self.parts:
            write(make_view_as(result, la, offset), tensors[i])
        if state.grad and any(t._rg for t in tensors):
            attach(CatNode(tensors, self.axis, self.sizes), (result,))
        return result


_known = Memo()  # how tensors of these layouts are joined along a dimension


def _write_parts(result: Tensor, parts: Sequence[Tensor], axis: int) -> None:
    start = 0
    grad, state.grad = state.grad, False
    try:
        for t in parts:
            n = t._layout.shape[axis]
            if t._layout.numel:
                write(view.slice_dim(result, axis, start, start + n, 1), t)
            start += n
    finally:
        state.grad = grad


def stack(tensors: Sequence[Tensor], dim: int = 0, *, out: Any = None) -> Tensor:
    """Tensors of one shape joined along a new dimension."""
    tensors = sequence_of_tensors(tensors, "stack")
    if not tensors:
        raise RuntimeError("stack expects a non-empty TensorList, got an empty one; pass at least one tensor")
    first = tensors[0]._layout
    for i, t in enumerate(tensors):
        if t._layout.shape != first.shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(first.shape)} at entry 0 and"
                f" {list(t._layout.shape)} at entry {i}; pad them to one size, or use cat"
            )
    axis = wrap_dim(dim, first.ndim + 1, "stack")
    result = cat([view.unsqueeze(t, axis) for t in tensors], axis, out=out)
    return named(result, "StackBackward0") if out is None else result


def _some(tensors: Any, op: str) -> Any:
    """The tensors given; RuntimeError if there are none."""
    found = sequence_of_tensors(tensors, op)
    if not found:
        raise RuntimeError(f"{op} expects a non-empty TensorList, got an empty one; pass at least one tensor")
    return found


def hstack(tensors: Sequence[Tensor], *, out: Any = None) -> Tensor:
    """Joined side by side: along dimension 1, 1-d tensors along 0."""
    parts = [atleast_1d(t) for t in _some(tensors, "hstack")]
    return cat(parts, 0 if parts and parts[0].ndim == 1 else 1, out=out)


def vstack(tensors: Sequence[Tensor], *, out: Any = None) -> Tensor:
    """Joined below each other."""
    return cat([atleast_2d(t) for t in _some(tensors, "vstack")], 0, out=out)


def dstack(tensors: Sequence[Tensor], *, out: Any = None) -> Tensor:
    """Joined along the third dimension."""
    return cat([atleast_3d(t) for t in _some(tensors, "dstack")], 2, out=out)


def column_stack(tensors: Sequence[Tensor], *, out: Any = None) -> Tensor:
    """Joined as columns."""
    parts = [
        t.reshape(t.numel(), 1) if t.ndim <= 1 else t for t in _some(tensors, "column_stack")
    ]
    return cat(parts, 1, out=out)


def _each(function: Any, tensors: tuple) -> Any:
    given = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    results = tuple(function(t) for t in given)
    return results[0] if len(tensors) == 1 and given is tensors else results


@tensors_only
def atleast_1d(*tensors: Any) -> Any:
    """With at least one dimension."""
    return _each(lambda t: t.reshape(1) if t.ndim == 0 else t, tensors)


@tensors_only
def atleast_2d(*tensors: Any) -> Any:
    """With at least two dimensions."""
    return _each(lambda t: t.reshape(1, 1) if t.ndim == 0 else t.unsqueeze(0) if t.ndim == 1 else t, tensors)


@tensors_only
def atleast_3d(*tensors: Any) -> Any:
    """With at least three dimensions."""

    def grown(t: Tensor) -> Tensor:
        if t.ndim == 0:
            return t.reshape(1, 1, 1)
        if t.ndim == 1:
            return t.reshape(1, -1, 1)
        return t.unsqueeze(-1) if t.ndim == 2 else t

    return _each(grown, tensors)


@tensors_only
def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """All expanded to their common shape."""
    given = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    if not given:
        return ()
    shape = broadcast(*[t._layout.shape for t in given], op="broadcast_tensors")
    return tuple(view.expand(t, shape) for t in given)


def broadcast_shapes(*shapes: Any) -> Any:
    """The shape to which shapes broadcast."""
    from ..shape import Size, as_shape

    return Size(broadcast(*[as_shape(s) for s in shapes], op="broadcast_shapes")) if shapes else Size(())


@tensors_only
def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Grids of coordinates from 1-d tensors; ``indexing``: "ij" (rows first) or "xy"."""
    given = list(tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors)
    if not given:
        raise RuntimeError("meshgrid expects a non-empty TensorList, got an empty one; pass at least one tensor")
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f'meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    for t in given:
        if t.ndim > 1:
            raise RuntimeError(f"meshgrid: Expected 0D or 1D tensor in the tensor list but got: {t.ndim}D")
    swap = indexing == "xy" and len(given) > 1
    if swap:
        given[0], given[1] = given[1], given[0]
    shape = [t.numel() for t in given]
    grids = [
        view.expand(t.reshape([n if k == i else 1 for k in range(len(given))]), shape)
        for i, (t, n) in enumerate(zip(given, shape))
    ]
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


@tensors_only
def tile(input: Tensor, *dims: Any) -> Tensor:
    """Repeated, with missing leading counts taken as 1."""
    reps = tuple(dims[0] if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims)
    return repeat(input, (1,) * (input.ndim - len(reps)) + reps)


@called("RepeatBackward0")
def repeat(input: Tensor, *sizes: Any) -> Tensor:
    """The tensor repeated along its dimensions."""
    from ..shape import as_shape

    reps = as_shape(sizes[0] if len(sizes) == 1 else sizes, "repeat")
    lead = len(reps) - input.ndim
    if lead < 0:
        raise RuntimeError(
            "repeat: Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor; give one count per dimension"
        )
    if any(r < 0 for r in reps):
        raise RuntimeError(f"Trying to create tensor with negative dimension in repeat: {list(reps)}")
    shape = (1,) * lead + input._layout.shape
    spread = view.reshape(input, [m for n in shape for m in (1, n)])
    full = view.expand(spread, [m for r, n in zip(reps, shape) for m in (r, n)])
    result = view.reshape(full, [r * n for r, n in zip(reps, shape)])
    return result.clone() if result._storage is input._storage else result
