"""Views: other shapes, strides and offsets over the same memory. No kernels; gradients are views or copies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .._tensor import Tensor, make_view_as
from ..autograd.engine import Node
from ..autograd.mode import state, watchers
from ..autograd.views import know, made_how
from ..dtype import INTEGER
from ..errors import tensors_only
from ..memo import Memo
from ..shape import (
    Layout,
    as_index,
    as_shape,
    contiguous,
    contiguous_strides,
    expand_strides,
    extent,
    infer_size,
    layout,
    view_strides,
    wrap_dim,
)

_transposed = Memo()  # (layout, dim0, dim1) -> the transposed layout
_reshaped = Memo()  # (contiguous layout, shape) -> the layout in that shape


class ViewNode(Node):
    """History of a view: ``function(gradient, *args)`` gives the gradient of the tensor viewed."""

    __slots__ = ("args", "function", "label")

    def __init__(self, x: Tensor, label: str, function: Callable, args: tuple):
        Node.__init__(self, [x])
        self.function, self.args, self.label = function, args, label

    @property
    def title(self) -> str:  # type: ignore[override]
        from .node_names import of_view

        return self.alias or of_view(self)

    def run(self, grads: list[Any]) -> Any:
        return (self.function(grads[0], *self.args),)


def _view(x: Tensor, shape: Sequence[int], strides: Sequence[int], offset: int, label: str,
          back: Callable, *args: Any) -> Tensor:  # fmt: skip
    """A view with its history."""
    la = x._layout
    la = layout(tuple(shape), tuple(strides), la.dtype, la.device)
    return _view_as(x, la, offset, label, back, args)


def _view_as(x: Tensor, la: Layout, offset: int, label: str, back: Callable, args: tuple) -> Tensor:
    """A view of a known layout with its history."""
    t = make_view_as(x, la, offset)
    if state.grad:
        if x._rg:
            node = ViewNode(x, label, back, args)
            node.out_metas[0] = t._layout
            t._node, t._rg = node, True
        elif t._layout.dtype.is_floating_point:
            know(t._base, t)
    elif t._base._rg:
        made_how(t)
    if watchers and state.recorder is not None:
        state.recorder.alias(x, t)
    return t


def known_view(x: Tensor, la: Layout, distance: int) -> Tensor:
    """A view of a known layout, `distance` elements behind the start of `x`, where no history is recorded."""
    return _view_as(x, la, x._offset + distance, "Slice", _same_back, ())


def strided_history(view: Tensor, base: Tensor) -> None:
    """Give a view the history "strided view of its base" (after the base's history changed)."""
    node = ViewNode(base, "AsStrided", _embed, (base._layout, view._layout, view._offset - base._offset))
    node.out_metas[0] = view._layout
    view._node, view._nr, view._rg = node, 0, True


# -- gradients


def _reshape_back(g: Tensor, shape: tuple[int, ...]) -> Tensor:
    return reshape(g, shape)


def _same_back(g: Tensor) -> Tensor:
    return g


def _permute_back(g: Tensor, inverse: tuple[int, ...]) -> Tensor:
    return permute(g, inverse)


def _embed(g: Tensor, source: Any, target: Any, offset: int) -> Tensor:
    """Zeros of the source's shape with ``g`` at the places that a view of it showed (added where it showed one twice)."""
    from ..creation import zeros

    strides = source.strides
    reach = extent(target.shape, target.strides)[1] + offset
    if not source.dense or offset < 0 or reach >= _storage_size(source):
        # Places in a gapped or repeating source, and around it, are looked up in a dense copy of the memory.
        return _embed_general(g, source, target, offset)
    z = zeros(_storage_size(source), dtype=g.dtype, device=g.device)
    if _repeats(target):
        z = _add_at(z, g, target, offset)
    else:
        as_strided(z, target.shape, target.strides, offset).copy_(g)
    return as_strided(z, source.shape, strides, 0)


def _storage_size(la: Any) -> int:
    return extent(la.shape, la.strides)[1] + 1


def _repeats(la: Any) -> bool:
    """Whether a view may show one element twice (overlapping windows, repeated dimensions)."""
    reach = 0
    for s, n in sorted((s, n) for n, s in zip(la.shape, la.strides) if n > 1):
        if s <= reach:
            return True
        reach += s * (n - 1)
    return False


def _places(la: Any, offset: int, device: Any) -> Tensor:
    """The linear memory index of every element of a view."""
    from ..creation import arange, zeros
    from ..dtype import int64

    index = zeros((), dtype=int64, device=device) + offset
    for d, (n, s) in enumerate(zip(la.shape, la.strides)):
        index = index + (arange(n, device=device) * s).reshape((n,) + (1,) * (la.ndim - 1 - d))
    return index.expand(la.shape)


def _add_at(z: Tensor, g: Tensor, target: Any, offset: int) -> Tensor:
    index = _places(target, offset, g.device).reshape(-1)
    return z.index_add(0, index, g.reshape(-1))


def _embed_general(g: Tensor, source: Any, target: Any, offset: int) -> Tensor:
    """As PyTorch's as_strided backward: gather the memory's gradient, shared among the source elements at one place."""
    from ..creation import ones, zeros

    first = max(0, -offset)  # of the source; a view may begin before it
    size = max(_storage_size(source) + first, extent(target.shape, target.strides)[1] + 1 + offset + first)
    z = _add_at(zeros(size, dtype=g.dtype, device=g.device), g, target, offset + first)
    if _repeats(source):
        one = ones(source.shape, dtype=g.dtype, device=g.device)
        count = _add_at(zeros(size, dtype=g.dtype, device=g.device), one, source, first)
        z = z / count
    return z[_places(source, first, g.device)]


def _embed_back(g: Tensor, source: Any, target: Any, offset: int) -> Tensor:
    """Gradient of a slice, select, diagonal or window of a tensor of a given shape: zeros elsewhere."""
    from ..creation import zeros

    z = zeros(source, dtype=g.dtype, device=g.device)
    shape, strides = target
    view = as_strided(z, shape, strides, offset)
    view.copy_(g)
    return z


def _window_back(g: Tensor, source: Any, dim: int, size: int, step: int) -> Tensor:
    la = contiguous(source, g.dtype, g._layout.device)
    shape, strides = _window_geometry(la.shape, la.strides, dim, size, step)
    return _embed(g, la, layout(shape, strides, g.dtype, la.device), 0)


# -- shape


def view(input: Tensor, *shape: Any) -> Tensor:
    """The same memory in another shape; RuntimeError where that needs a copy (use ``reshape``)."""
    from ..dtype import dtype

    if len(shape) == 1 and isinstance(shape[0], dtype):
        return _view_dtype(input, shape[0])
    if not shape:
        raise TypeError("view() received an invalid combination of arguments - got (), but expected a size or a dtype; view(()) gives a number")
    wanted = shape[0] if len(shape) == 1 else shape
    la = input._layout
    if la.contiguous:
        return _view_as(input, _reshaped_layout(la, wanted, "view"), input._offset, "View", _reshape_back, (la.shape,))
    target = infer_size(as_shape(wanted, "view"), la.numel)
    strides = view_strides(la.shape, la.strides, target)
    if strides is None:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across two"
            " contiguous subspaces). Use .reshape(...) instead."
        )
    return _view(input, target, strides, input._offset, "View", _reshape_back, la.shape)


def _view_dtype(x: Tensor, d: Any) -> Tensor:
    """The same bytes as another dtype of the same size (or sizes that divide along the last dimension)."""
    la = x._layout
    if d is la.dtype:
        return view(x, la.shape)
    a, b = la.itemsize, d.itemsize
    shape, strides, offset = la.shape, la.strides, x._offset * a
    if a != b:
        if (
            not la.ndim
            or strides[-1] != 1
            or shape[-1] * a % b
            or offset % b
            or any(s * a % b for s in strides[:-1])
        ):
            raise RuntimeError(
                f"self.size(-1) must be divisible by {b // a if b > a else 1} to view {la.dtype.name} as {d.name}, and"
                f" strides must allow it: shape {list(shape)}, strides {list(strides)}; make it contiguous first"
            )
        shape = shape[:-1] + (shape[-1] * a // b,)
        strides = tuple(s * a // b for s in strides[:-1]) + (1,)
    t = Tensor._make(x._storage, offset // b, layout(shape, strides, d, la.device))
    if state.recorder is not None:
        state.recorder.alias(x, t)
    return t


def reshape(input: Tensor, *shape: Any) -> Tensor:
    """The same elements in row-major order in another shape; a view where possible, else a copy."""
    if len(shape) == 1:
        shape = shape[0]
    la = input._layout
    if la.contiguous:
        return _view_as(input, _reshaped_layout(la, shape, "reshape"), input._offset, "View", _reshape_back, (la.shape,))
    target = infer_size(as_shape(shape, "reshape"), la.numel)
    strides = view_strides(la.shape, la.strides, target)
    if strides is None:
        return _relabel(view(input.contiguous(), target), "UnsafeViewBackward0")
    return _view(input, target, strides, input._offset, "View", _reshape_back, la.shape)


def _reshaped_layout(la: Layout, shape: Any, op: str) -> Layout:
    """The layout of memory without gaps in another shape."""
    is_plain = type(shape) is tuple
    if is_plain:
        for n in shape:
            if type(n) is not int:  # 2.0 would be taken for 2
                is_plain = False
    found = _reshaped.get((la, shape)) if is_plain else None
    if found is None:
        found = contiguous(tuple(infer_size(as_shape(shape, op), la.numel)), la.dtype, la.device)
        if is_plain:
            _reshaped.note((la, shape), found)
    return found


@tensors_only
def view_as(input: Tensor, other: Tensor) -> Tensor:
    """``view`` in another tensor's shape."""
    return view(input, other._layout.shape)


@tensors_only
def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """``reshape`` in another tensor's shape."""
    return reshape(input, other._layout.shape)


def alias(input: Tensor) -> Tensor:
    """A view of all of a tensor."""
    la = input._layout
    return _view(input, la.shape, la.strides, input._offset, "Alias", _same_back)


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions ``start_dim`` to ``end_dim`` as one."""
    la = input._layout
    a, b = wrap_dim(start_dim, la.ndim, "flatten"), wrap_dim(end_dim, la.ndim, "flatten")
    if a > b:
        raise RuntimeError(
            f"flatten() has invalid args: start_dim cannot come after end_dim: {start_dim}, {end_dim}; swap them"
        )
    if not la.ndim:
        return reshape(input, (1,))
    if a == b:
        return input
    n = 1
    for size in la.shape[a : b + 1]:
        n *= size
    return reshape(input, la.shape[:a] + (n,) + la.shape[b + 1 :])


def ravel(input: Tensor) -> Tensor:
    """All elements in one dimension."""
    return reshape(input, (-1,))


def unflatten(input: Tensor, dim: int, sizes: Any) -> Tensor:
    """One dimension split in several."""
    la = input._layout
    d = wrap_dim(dim, la.ndim, "unflatten")
    sizes = as_shape(sizes, "unflatten")
    if not sizes:
        raise RuntimeError("unflatten: sizes must be non-empty")
    try:
        full = infer_size(sizes, la.shape[d])
    except RuntimeError:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {d} ({la.shape[d]}) in the input"
            " tensor; use -1 for one of them"
        ) from None
    return reshape(input, la.shape[:d] + full + la.shape[d + 1 :])


def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Without the dimensions (all, or those named) of size 1."""
    la = input._layout
    if dim is None:
        drop = {d for d, n in enumerate(la.shape) if n == 1}
    else:
        dims = dim if isinstance(dim, (tuple, list)) else (dim,)
        drop = {d for d in (wrap_dim(d, la.ndim, "squeeze") for d in dims) if la.ndim and la.shape[d] == 1}
    shape = [n for d, n in enumerate(la.shape) if d not in drop]
    strides = [s for d, s in enumerate(la.strides) if d not in drop]
    label = "Squeeze" if dim is None else f"SqueezeBackward{1 + isinstance(dim, (tuple, list))}"
    return _view(input, shape, strides, input._offset, label, _reshape_back, la.shape)


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a dimension of size 1 before ``dim``."""
    la = input._layout
    d = wrap_dim(dim, la.ndim + 1, "unsqueeze")
    stride = la.shape[d] * la.strides[d] if d < la.ndim else 1
    shape = la.shape[:d] + (1,) + la.shape[d:]
    strides = la.strides[:d] + (stride,) + la.strides[d:]
    return _view(input, shape, strides, input._offset, "Unsqueeze", _reshape_back, la.shape)


def permute(input: Tensor, *dims: Any) -> Tensor:
    """Dimensions in another order."""
    la = input._layout
    order = dims[0] if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
    if len(order) != la.ndim:
        raise RuntimeError(
            f"permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired"
            f" ordering of dimensions i.e. input.dim() = {la.ndim} is not equal to len(dims) = {len(order)}; name each dimension once"
        )
    order = [wrap_dim(d, la.ndim, "permute") for d in order]
    if len(set(order)) != len(order):
        raise RuntimeError(
            f"permute(): duplicate dims are not allowed: {list(dims)}; name each dimension once"
        )
    inverse = [0] * la.ndim
    for i, d in enumerate(order):
        inverse[d] = i
    shape = [la.shape[d] for d in order]
    strides = [la.strides[d] for d in order]
    return _view(input, shape, strides, input._offset, "Permute", _permute_back, tuple(inverse))


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions swapped."""
    la = input._layout
    known = _transposed.get((la, dim0, dim1))
    if known is not None:
        return _view_as(input, known, input._offset, "Transpose", transpose, (dim0, dim1))
    a, b = wrap_dim(dim0, la.ndim, "transpose"), wrap_dim(dim1, la.ndim, "transpose")
    if not la.ndim:
        return alias(input)
    shape, strides = list(la.shape), list(la.strides)
    shape[a], shape[b] = shape[b], shape[a]
    strides[a], strides[b] = strides[b], strides[a]
    if type(dim0) is int and type(dim1) is int:
        _transposed.note((la, dim0, dim1), layout(tuple(shape), tuple(strides), la.dtype, la.device))
    return _view(input, shape, strides, input._offset, "Transpose", transpose, a, b)


def t(input: Tensor) -> Tensor:
    """A matrix transposed (fewer dimensions: as it is)."""
    if input._layout.ndim > 2:
        raise RuntimeError(
            f"t() expects a tensor with <= 2 dimensions, but self is {input._layout.ndim}D; use transpose"
        )
    if input._layout.ndim < 2:
        return _relabel(alias(input), "T")
    return _relabel(transpose(input, 0, 1), "T")


def _relabel(x: Tensor, label: str) -> Tensor:
    if isinstance(x._node, ViewNode):
        x._node.label = label
    return x


def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Dimensions moved to other places, the rest in order."""
    n = input._layout.ndim
    src = [wrap_dim(d, n, "movedim") for d in (source if isinstance(source, (tuple, list)) else (source,))]
    dst = [
        wrap_dim(d, n, "movedim")
        for d in (destination if isinstance(destination, (tuple, list)) else (destination,))
    ]
    if len(src) != len(dst):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({source} dims) should contain the same number of dims as"
            f" destination ({destination} dims)"
        )
    for what, given in (("source", src), ("destination", dst)):
        if len(set(given)) != len(given):
            raise RuntimeError(f"movedim: repeated dim in `{what}` ({given})")
    if not n:
        return permute(input, ())
    order = [d for d in range(n) if d not in src]
    for d, s in sorted(zip(dst, src)):
        order.insert(d, s)
    return permute(input, order)


def expand(input: Tensor, *sizes: Any) -> Tensor:
    """Dimensions of size 1 repeated without a copy; -1 keeps a size."""
    la = input._layout
    target = as_shape(sizes[0] if len(sizes) == 1 else sizes, "expand")
    lead = len(target) - la.ndim
    if lead < 0:
        raise RuntimeError(
            f"expand(numtorch.{la.dtype.name}{list(la.shape)}, size={list(target)}): the number of sizes provided"
            f" ({len(target)}) must be greater or equal to the number of dimensions in the tensor ({la.ndim})"
        )
    shape = []
    for d, n in enumerate(target):
        have = la.shape[d - lead] if d >= lead else 1
        if n == -1 and d < lead:
            raise RuntimeError(
                f"expand: The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension {d}"
            )
        n = have if n == -1 else n
        if (have != n and have != 1) or n < 0:
            raise RuntimeError(
                f"expand: The expanded size of the tensor ({n}) must match the existing size ({have}) at non-singleton dimension {d}."
                f"  Target sizes: {list(target)}.  Tensor sizes: {list(la.shape)}; only sizes of 1"
                " can be expanded"
            )
        shape.append(n)
    strides = expand_strides(la.shape, la.strides, shape)
    return _view(input, shape, strides, input._offset, "Expand", _same_back)


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """``expand`` to another tensor's shape."""
    return expand(input, other._layout.shape)


@tensors_only
def broadcast_to(input: Tensor, size: Any) -> Tensor:
    """``expand`` to a shape."""
    return expand(input, as_shape(size, "broadcast_to"))


# -- parts


@tensors_only
def adjoint(input: Tensor) -> Tensor:
    """The last two dimensions exchanged (and conjugated, which changes no real number)."""
    if input._layout.ndim == 1:
        raise RuntimeError(
            "tensor.adjoint() is only supported on matrices or batches of matrices. Got 1-D tensor; add a dimension with unsqueeze"
        )
    return transpose(input, -2, -1) if input._layout.ndim else input


def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """``length`` elements of a dimension from ``start``."""
    la = input._layout
    if not la.ndim:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    d = wrap_dim(dim, la.ndim, "narrow")
    n = la.shape[d]
    if hasattr(start, "_layout") and (start._layout.ndim or start._layout.dtype.category != INTEGER):
        raise RuntimeError(f"narrow(): start must be a 0-dim integral Tensor, got {start._layout.dtype.name} of {start._layout.ndim} dimensions; use start.item()")
    start, length = as_index(start, "narrow", "start"), as_index(length, "narrow", "length")
    if length < 0:
        raise RuntimeError(f"narrow(): length must be non-negative, got {length}")
    if not -n <= start <= n:
        raise IndexError(f"start out of range (expected to be in range of [{-n}, {n}], but got {start})")
    start = start + n if start < 0 else start
    if start + length > n:
        raise RuntimeError(f"narrow(): start ({start}) + length ({length}) exceeds dimension size ({n}); at most {n - start} elements are left from there")
    return slice_dim(input, d, start, start + length, 1)


def slice_dim(x: Tensor, d: int, start: int, stop: int, step: int) -> Tensor:
    """Elements start, start + step, ... below stop of a dimension; the bounds are valid already."""
    la = x._layout
    n = max(0, -(-(stop - start) // step))
    shape = la.shape[:d] + (n,) + la.shape[d + 1 :]
    strides = la.strides[:d] + (la.strides[d] * step,) + la.strides[d + 1 :]
    flat = contiguous_strides(la.shape)
    target = (shape, flat[:d] + (flat[d] * step,) + flat[d + 1 :])
    offset = x._offset + start * la.strides[d] if n else x._offset
    return _view(x, shape, strides, offset, "Slice", _embed_back, la.shape, target, start * flat[d] if n else 0)


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """One index of a dimension, which goes away."""
    la = input._layout
    if not la.ndim:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    d = wrap_dim(dim, la.ndim, "select")
    n = la.shape[d]
    index = as_index(index, "select", "index")
    if not -n <= index < n:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(la.shape)} at dimension {d}; valid are {-n}..{n - 1}"
        )
    index = index + n if index < 0 else index
    shape, strides = la.shape[:d] + la.shape[d + 1 :], la.strides[:d] + la.strides[d + 1 :]
    flat = contiguous_strides(la.shape)
    target = (shape, flat[:d] + flat[d + 1 :])
    return _view(input, shape, strides, input._offset + index * la.strides[d], "Select", _embed_back, la.shape, target,
                 index * flat[d])  # fmt: skip


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of two dimensions, as the last one."""
    la = input._layout
    a, b = wrap_dim(dim1, la.ndim, "diagonal"), wrap_dim(dim2, la.ndim, "diagonal")
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")

    def geometry(strides: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        n = (
            max(min(la.shape[a], la.shape[b] - offset), 0)
            if offset >= 0
            else max(min(la.shape[a] + offset, la.shape[b]), 0)
        )
        start = (offset * strides[b] if offset >= 0 else -offset * strides[a]) if n else 0
        rest = [d for d in range(la.ndim) if d not in (a, b)]
        return (
            tuple(la.shape[d] for d in rest) + (n,),
            tuple(strides[d] for d in rest) + (strides[a] + strides[b],),
            start,
        )

    shape, strides, start = geometry(la.strides)
    _, flat, place = geometry(contiguous_strides(la.shape))
    return _view(
        input, shape, strides, input._offset + start, "Diagonal", _embed_back, la.shape, (shape, flat), place
    )


def _window_geometry(shape: Sequence[int], strides: Sequence[int], d: int, size: int, step: int) -> tuple:
    if not shape:
        return (size,), (1,)
    n = (shape[d] - size) // step + 1
    new = tuple(shape[:d]) + (n,) + tuple(shape[d + 1 :]) + (size,)
    return new, tuple(strides[:d]) + (strides[d] * step,) + tuple(strides[d + 1 :]) + (strides[d],)


def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """All windows of ``size`` elements of a dimension, ``step`` apart, as a new last dimension."""
    la = input._layout
    d = wrap_dim(dimension, la.ndim, "unfold")
    have = la.shape[d] if la.ndim else 1
    if size < 0 or size > have:
        raise RuntimeError(f"unfold: maximum size for tensor at dimension {d} is {have} but size is {size}; use smaller windows, or pad the tensor")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    shape, strides = _window_geometry(la.shape, la.strides, d, size, step)
    return _view(input, shape, strides, input._offset, "Unfold", _window_back, la.shape, d, size, step)


def as_strided(input: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """Any strided view of the memory; RuntimeError if it would reach outside of the storage."""
    shape, strides = as_shape(size, "as_strided"), as_shape(stride, "as_strided")
    if len(shape) != len(strides):
        raise RuntimeError(f"mismatch in length of strides and shape: {list(strides)} and {list(shape)}")
    if any(s < 0 for s in strides) or any(n < 0 for n in shape):
        raise RuntimeError(
            f"as_strided: Negative strides and sizes are not supported: strides {list(strides)}, sizes {list(shape)}"
        )
    offset = input._offset if storage_offset is None else storage_offset
    # Offsets count from the start of the storage, as in PyTorch.
    high = extent(shape, strides)[1]
    limit = input._storage.nbytes // input._layout.itemsize
    if offset < 0 or (offset + high >= limit and high >= 0):
        raise RuntimeError(
            f"setStorage: sizes {list(shape)}, strides {list(strides)}, storage offset {offset}, and itemsize"
            f" {input._layout.itemsize} requiring a storage size of {(offset + high + 1) * input._layout.itemsize} are out of"
            f" bounds for storage of size {input._storage.nbytes}"
        )
    target = layout(shape, strides, input._layout.dtype, input._layout.device)
    return _view(
        input, shape, strides, offset, "AsStrided", _embed, input._layout, target, offset - input._offset
    )


@tensors_only
def as_strided_scatter(
    input: Tensor, src: Tensor, size: Any, stride: Any, storage_offset: int | None = None
) -> Tensor:
    """A copy of ``input`` with ``src`` at the places of a strided view."""
    out = input.clone()
    as_strided(out, size, stride, storage_offset).copy_(src)
    return out
