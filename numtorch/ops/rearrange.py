"""Elements in other places: triangles, flips, rolls, rotations and repeated elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .._tensor import Tensor
from ..dtype import int64
from ..errors import require_same_device, require_tensor, tensors_only
from ..shape import Layout, as_index, as_shape, contiguous, wrap_dim
from . import view
from .copying import clone
from .declare import Context, kernel_op
from .index import env, split_at
from .inplace import write_out
from .launch import Launch
from .node_names import called
from .scan import cumsum
from .slices import index_select


def _same_shape(x: Tensor) -> Layout:
    return contiguous(x._layout.shape, x._layout.dtype, x._layout.device)


# -- triangles


@kernel_op(["x"])
def triangle_values(x: Tensor, diagonal: int, upper: bool) -> Layout:
    """The lower (or upper) triangle of matrices (..., M, N), zeros elsewhere."""
    return _same_shape(x)


@triangle_values.plan
def _(outputs: Any, x: Tensor, diagonal: int, upper: bool) -> list[Launch]:
    la = x._layout
    if not la.numel:
        return []
    rows, cols = la.shape[-2:]
    batch = math.prod(la.shape[:-2])
    words = (batch, rows, cols, max(-rows, min(diagonal, cols)), int(upper))
    pointers = [outputs[0], x.detach().contiguous()]
    # The kernel counts rows across the batch with row % rows, so one launch serves all matrices.
    return [Launch(("rearrange", "triangle"), env(x), pointers, words, batch * rows, la.numel)]


@triangle_values.backward
def _(ctx: Context, g: Tensor) -> Any:
    return triangle_values(g, diagonal=ctx.attrs["diagonal"], upper=ctx.attrs["upper"])


def _triangle(op: str, x: Tensor, diagonal: Any, out: Any) -> Tensor:
    require_tensor(op, "input", x)
    if x._layout.ndim < 2:
        raise RuntimeError(f"{op}: input tensor must have at least 2 dimensions, got {x._layout.ndim}")
    result = triangle_values(x, diagonal=as_index(diagonal, op, "diagonal"), upper=op == "triu")
    return result if out is None else write_out(result, out, op)


def tril(input: Tensor, diagonal: int = 0, *, out: Any = None) -> Tensor:
    """The lower triangle of matrices up to a diagonal, zeros above it; RuntimeError below 2 dimensions.

    Example:
        >>> import numtorch
        >>> numtorch.ones(2, 2).tril().tolist()
        [[1.0, 0.0], [1.0, 1.0]]
    """
    return _triangle("tril", input, diagonal, out)


def triu(input: Tensor, diagonal: int = 0, *, out: Any = None) -> Tensor:
    """The upper triangle of matrices from a diagonal on, zeros below it; RuntimeError below 2 dimensions."""
    return _triangle("triu", input, diagonal, out)


# -- flips, rolls and rotations


@kernel_op(["x"])
def flip_values(x: Tensor, dim: int) -> Layout:
    """Elements along one dimension in reverse order."""
    return _same_shape(x)


@flip_values.plan
def _(outputs: Any, x: Tensor, dim: int) -> list[Launch]:
    outer, n, inner = split_at(x._layout.shape, dim)
    pointers = [outputs[0], x.detach().contiguous()]
    return [Launch(("rearrange", "flip"), env(x), pointers, (outer, n, inner), outer * n, outer * n * inner)]


@flip_values.backward
def _(ctx: Context, g: Tensor) -> Any:
    return flip_values(g, dim=ctx.attrs["dim"])


def _distinct(op: str, dims: Sequence[int], ndim: int) -> list[int]:
    wrapped = [wrap_dim(d, ndim, op) for d in dims]
    for d in wrapped:
        if wrapped.count(d) > 1:
            raise RuntimeError(f"{op}: dim {d} appears multiple times in the list of dims; name it once")
    return wrapped


@called("FlipBackward0")
def flip(input: Tensor, *places: Any, dims: Any = None) -> Tensor:
    """A copy with the elements along ``dims`` in reverse order.

    Example:
        >>> import numtorch
        >>> numtorch.flip(numtorch.tensor([1, 2, 3]), [0]).tolist()
        [3, 2, 1]
    """
    require_tensor("flip", "input", input)
    given = dims if dims is not None else places[0] if len(places) == 1 else places
    result = input
    for d in _distinct("flip", as_shape(given, "flip"), input.ndim):
        if input._layout.ndim and input._layout.shape[d] > 1:
            result = flip_values(result, dim=d)
    return clone(input) if result is input else result


@tensors_only
def fliplr(input: Tensor) -> Tensor:
    """Columns in reverse order; RuntimeError below 2 dimensions."""
    if input.ndim < 2:
        raise RuntimeError(f"Input must be >= 2-d, got {input.ndim}-d; fliplr reverses dimension 1")
    return flip(input, (1,))


@tensors_only
def flipud(input: Tensor) -> Tensor:
    """Rows in reverse order; RuntimeError for a 0-d tensor."""
    if input.ndim < 1:
        raise RuntimeError("Input must be >= 1-d, got 0-d; flipud reverses dimension 0")
    return flip(input, (0,))


@kernel_op(["x"])
def roll_values(x: Tensor, dim: int, shift: int) -> Layout:
    """Elements moved on by ``shift`` (0 <= shift < n) along one dimension, the last ones to the front."""
    return _same_shape(x)


@roll_values.plan
def _(outputs: Any, x: Tensor, dim: int, shift: int) -> list[Launch]:
    outer, n, inner = split_at(x._layout.shape, dim)
    pointers = [outputs[0], x.detach().contiguous()]
    words = (outer, n, inner, shift)
    return [Launch(("rearrange", "roll"), env(x), pointers, words, outer * n, outer * n * inner)]


@roll_values.backward
def _(ctx: Context, g: Tensor) -> Any:
    dim = ctx.attrs["dim"]
    n = g._layout.shape[dim]
    return roll_values(g, dim=dim, shift=(n - ctx.attrs["shift"]) % n)


@called("RollBackward0")
def roll(input: Tensor, shifts: Any, dims: Any = ()) -> Tensor:
    """Elements moved on along ``dims``, those beyond the end to the front; without ``dims`` of the flat tensor.

    RuntimeError unless there are as many shifts as dimensions.
    """
    require_tensor("roll", "input", input)
    shifts, dims = as_shape(shifts, "roll"), as_shape(() if dims is None else dims, "roll")
    if not shifts:
        raise RuntimeError("`shifts` required")
    if not dims and len(shifts) == 1:
        return view.reshape(
            roll(view.reshape(input, (input._layout.numel,)), shifts, (0,)), input._layout.shape
        )
    if len(shifts) != len(dims):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}")
    if not input._layout.numel:
        return clone(input)
    if not input._layout.ndim:
        raise IndexError(
            f"roll: Dimension specified as {dims[0]} but tensor has no dimensions; leave 'dims' out to roll a number"
        )
    result = input
    for shift, dim in zip(shifts, dims):
        d = wrap_dim(dim, input.ndim, "roll")
        n = input._layout.shape[d]
        if shift % n:
            result = roll_values(result, dim=d, shift=shift % n)
    return clone(input) if result is input else result


@called("Rot90Backward0")
def rot90(input: Tensor, k: int = 1, dims: Any = (0, 1)) -> Tensor:
    """Rotated ``k`` times by 90 degrees in the plane of two dimensions, from the first towards the second."""
    require_tensor("rot90", "input", input)
    dims = as_shape(dims, "rot90")
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if input.ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {input.ndim}")
    if dims[0] == dims[1] or abs(dims[0] - dims[1]) == input.ndim:
        raise RuntimeError(
            f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}"
        )
    for d in dims:
        if not -input.ndim <= d < input.ndim:
            raise RuntimeError(f"Rotation dim{dims.index(d)} out of range, dim{dims.index(d)} = {d}")
    k = as_index(k, "rot90", "k") % 4
    if k == 1:
        return clone(view.transpose(flip(input, (dims[1],)), *dims)).contiguous()
    if k == 2:
        return flip(input, dims)
    if k == 3:
        return clone(view.transpose(flip(input, (dims[0],)), *dims)).contiguous()
    return clone(input)


# -- repeated elements


@kernel_op(["ends"])
def repeat_index_values(ends: Tensor, size: int) -> Layout:
    """0, 0, .., 1, .. with element k up to place ends[k], the running totals of the repeats."""
    return contiguous((size,), int64, ends._layout.device)


@repeat_index_values.plan
def _(outputs: Any, ends: Tensor, size: int) -> list[Launch]:
    n = ends._layout.numel
    return [Launch(("rearrange", "repeat_index"), {}, [outputs[0], ends.contiguous()], (n,), n, size)]


def _repeat_index(repeats: Tensor, output_size: Any) -> Tensor:
    """The index of the element at each place of the result; the total size is read back unless it is given."""
    if repeats.ndim > 1:
        raise RuntimeError("repeat_interleave only accept 0D or 1D vector as repeat")
    if repeats.dtype.name not in ("int64", "int32"):
        raise RuntimeError("repeats has to be Long or Int tensor; convert it with .long()")
    repeats = view.reshape(repeats, (-1,)).to(int64)
    if not repeats._layout.numel:
        return repeats
    if bool((repeats < 0).any()):
        raise RuntimeError("repeats can not be negative")
    ends = cumsum(repeats, 0)
    total = int(ends[-1])
    if output_size is not None and output_size != total:
        raise RuntimeError(f"repeat_interleave: allocated size does not match required size: output_size={output_size}, sum of repeats={total}")  # fmt: skip
    return repeat_index_values(ends, size=total)


def repeat_interleave(
    input: Tensor, repeats: Any = None, dim: Any = None, *, output_size: int | None = None
) -> Tensor:
    """Each element (or slice of ``dim``) repeated ``repeats`` times (a number or one each); one argument: the index.

    Example:
        >>> import numtorch
        >>> numtorch.repeat_interleave(numtorch.tensor([1, 2]), 2).tolist()
        [1, 1, 2, 2]
    """
    require_tensor("repeat_interleave", "input", input)
    if repeats is None:
        return _repeat_index(input, output_size)
    x, d = (
        (view.reshape(input, (-1,)), 0)
        if dim is None
        else (input, wrap_dim(dim, input.ndim, "repeat_interleave"))
    )
    x = x if x.ndim else view.reshape(x, (1,))
    n = x._layout.shape[d]
    if isinstance(repeats, Tensor) and repeats._layout.numel != 1:
        require_same_device("repeat_interleave", input=input, repeats=repeats)
        index = _repeat_index(repeats, output_size)
        if repeats._layout.numel != n:
            raise RuntimeError(
                f"repeats must have the same size as input along dim, but got repeats.size(0) = {repeats._layout.numel} and"
                f" input.size({d}) = {n}"
            )
        return index_select(x, d, index)
    count = (
        int(repeats.item())
        if isinstance(repeats, Tensor)
        else as_index(repeats, "repeat_interleave", "repeats")
    )
    if count < 0:
        raise RuntimeError("Repeats must be non-negative")
    shape = x._layout.shape
    wide = view.expand(view.unsqueeze(x, d + 1), shape[: d + 1] + (count,) + shape[d + 1 :])
    result = view.reshape(wide, shape[:d] + (n * count,) + shape[d + 1 :])
    return clone(result) if result._storage is input._storage else result
