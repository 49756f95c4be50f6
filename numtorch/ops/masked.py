"""By mask or by position in the flattened tensor: masked_fill, masked_select, take, put; embeddings and one-hot vectors."""

from __future__ import annotations

from typing import Any

from .._tensor import Tensor
from ..dtype import bool_, int32, int64
from ..errors import require_same_device, require_tensor, tensors_only
from ..shape import Layout, broadcast, contiguous, wrap_dim
from . import elementwise as E
from . import view
from .copying import overwrite
from .declare import Context, kernel_op
from .index import (
    check_range,
    env,
    gather_checked,
    index_add_values,
    index_copy_values,
    index_int64,
    index_select_values,
    wrap_negative,
)
from .inplace import refuse_overlap, write_out
from .launch import Launch
from .node_names import called, named
from .places import nonzero


def _mask(op: str, x: Tensor, mask: Tensor) -> None:
    require_tensor(op, "input", x)
    require_tensor(op, "mask", mask)
    if mask.dtype is not bool_:
        raise RuntimeError(
            f"{op} only supports boolean masks, but got mask with dtype {mask.dtype!r}; use mask.bool()"
        )
    require_same_device(op, input=x, mask=mask)


def _fill_value(x: Tensor, value: Any) -> Any:
    """The value in the dtype of ``x``: a number, or a 0-d tensor."""
    if isinstance(value, Tensor):
        if value._layout.ndim:
            raise RuntimeError(
                f"masked_fill_ only supports a 0-dimensional value tensor, but got tensor with {value.ndim} dimension(s)."
            )
        return value.to(x.dtype)
    if not isinstance(value, (bool, int, float)):
        raise TypeError(
            f"masked_fill(): argument 'value' must be Number or Tensor, not {type(value).__name__}"
        )
    if x.dtype.is_floating_point:
        return float(value)
    return bool(value) if x.dtype is bool_ else int(value)


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """A copy with the elements where ``mask`` is True replaced by one number.

    Example:
        >>> import numtorch
        >>> x = numtorch.tensor([1.0, 2.0, 3.0])
        >>> x.masked_fill(x > 1.5, 0.0)
        tensor([1., 0., 0.])
    """
    _mask("masked_fill", input, mask)
    filled = E.where(mask, _fill_value(input, value), input)
    return named(filled, f"MaskedFillBackward{int(isinstance(value, Tensor))}")


def masked_fill_(self: Tensor, mask: Tensor, value: Any) -> Tensor:
    """In-place form of ``masked_fill``."""
    _mask("masked_fill", self, mask)
    if broadcast(self._layout.shape, mask._layout.shape, op="masked_fill_") != self._layout.shape:
        raise RuntimeError(
            f"masked_fill_: output with shape {list(self.shape)} doesn't match the broadcast shape of mask"
            f" {list(mask.shape)}"
        )
    return overwrite(self, masked_fill(self, mask, value))


@called("MaskedSelectBackward0")
def masked_select(input: Tensor, mask: Tensor, *, out: Any = None) -> Tensor:
    """The elements where ``mask`` is True, as a vector."""
    _mask("masked_select", input, mask)
    refuse_overlap("masked_select", out, input, mask)
    shape = broadcast(input._layout.shape, mask._layout.shape, op="masked_select")
    x = view.reshape(view.expand(input, shape), (-1,))
    places = view.reshape(nonzero(view.reshape(view.expand(mask, shape), (-1,))), (-1,))
    result = index_select_values(x, places, dim=0)
    return result if out is None else write_out(result, out, "masked_select")


@called("MaskedScatterBackward0")
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """A copy with the elements where ``mask`` is True replaced by the elements of ``source`` in order."""
    _mask("masked_scatter", input, mask)
    require_tensor("masked_scatter", "source", source)
    if source.dtype is not input.dtype:
        raise RuntimeError(
            f"masked_scatter: expected self and source to have same dtypes but got {input.dtype!r} and {source.dtype!r}"
        )
    shape = broadcast(input._layout.shape, mask._layout.shape, op="masked_scatter")
    places = view.reshape(nonzero(view.reshape(view.expand(mask, shape), (-1,))), (-1,))
    count = places._layout.numel
    if source._layout.numel < count:
        raise RuntimeError(
            f"masked_scatter: Number of elements of source < number of ones in mask ({source._layout.numel} < {count})"
        )
    flat = view.reshape(view.expand(input, shape), (-1,))
    values = view.narrow(view.reshape(source, (-1,)), 0, 0, count)
    result = index_copy_values(flat, places, values, dim=0, shape=tuple(flat._layout.shape))
    return view.reshape(result, shape)


def masked_scatter_(self: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """In-place form of ``masked_scatter``."""
    return overwrite(self, masked_scatter(self, mask, source))


# -- positions in the flattened tensor


def _positions(op: str, x: Tensor, index: Tensor) -> Tensor:
    """A checked vector of positions from the front."""
    require_tensor(op, "input", x)
    require_tensor(op, "index", index)
    if index.dtype is not int64:
        raise RuntimeError(
            f"{op}(): Expected a long tensor for index, but got {index.dtype!r}; convert it with .long()"
        )
    require_same_device(op, input=x, index=index)
    n = x._layout.numel
    if not n and index._layout.numel:
        raise IndexError(f"{op}(): tried to {op} from an empty tensor")

    def error(value: int) -> Exception:
        return IndexError(f"out of range: tried to access index {value} on a tensor of {n} elements; valid are {-n}..{n - 1}")

    flat = view.reshape(index.detach(), (-1,)) if index._layout.ndim != 1 else index.detach()
    return wrap_negative(flat, n=n) if check_range(flat, -n, n - 1, error) else flat


@called("TakeBackward0")
def take(input: Tensor, index: Tensor, *, out: Any = None) -> Tensor:
    """The elements at positions of the flattened tensor, in the shape of ``index``."""
    places = _positions("take", input, index)
    refuse_overlap("take", out, input, index)
    result = index_select_values(view.reshape(input, (input._layout.numel,)), places, dim=0)
    result = view.reshape(result, index._layout.shape)
    return result if out is None else write_out(result, out, "take")


@called("PutBackward0")
@tensors_only
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """A copy with the elements at positions of the flattened tensor replaced by (or increased by) ``source``."""
    places = _positions("put_", input, index)
    if source._layout.numel != index._layout.numel:
        raise IndexError(
            "put_(): Expected source and index to have the same number of elements, but got source.numel() ="
            f" {source.numel()}, index.numel() = {index.numel()}"
        )
    if source.dtype is not input.dtype:
        raise RuntimeError(
            f"put_(): self and source expected to have the same dtype, but got self.dtype = {input.dtype!r} and"
            f" source.dtype = {source.dtype!r}"
        )
    flat = view.reshape(input, (input._layout.numel,))
    values = view.reshape(source, (source._layout.numel,))
    if accumulate:
        result = index_add_values(flat, places, values, dim=0, size=flat._layout.numel, alpha=1.0)
    else:
        result = index_copy_values(flat, places, values, dim=0, shape=tuple(flat._layout.shape))
    return view.reshape(result, input._layout.shape)


def put_(self: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """In-place form of ``put``."""
    return overwrite(self, put(self, index, source, accumulate))


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None, *, out: Any = None) -> Tensor:
    """``gather`` with the other dimensions broadcast; without ``dim`` from the flattened tensor."""
    require_tensor("take_along_dim", "input", input)
    require_tensor("take_along_dim", "indices", indices)
    if indices.dtype is not int64:
        raise RuntimeError(
            f"torch.take_along_dim(): dtype of indices should be Long but got {indices.dtype!r}"
        )
    if dim is None:
        x, index, d = view.reshape(input, (-1,)), view.reshape(indices.detach(), (-1,)), 0
    else:
        if input.ndim != indices.ndim:
            raise RuntimeError(
                "torch.take_along_dim(): input and indices should have the same number of dimensions, but got"
                f" {input.ndim} dimensions for input, and {indices.ndim} dimensions for indices"
            )
        d = wrap_dim(dim, input.ndim, "take_along_dim")
        x, index = input, indices.detach()
    n = x._layout.shape[d] if x._layout.ndim else 1

    def error(value: int) -> Exception:
        return RuntimeError(f"index {value} is out of bounds for dimension {d} with size {n}")

    if check_range(index, 0 if dim is None else -n, n - 1, error):
        index = wrap_negative(index, n=n)
    if dim is not None and x._layout.ndim:
        xs, ns = list(x._layout.shape), list(index._layout.shape)
        xs[d] = ns[d] = 1
        shape = broadcast(tuple(xs), tuple(ns), op="take_along_dim")
        x = view.expand(x, shape[:d] + (n,) + shape[d + 1 :])
        index = view.expand(index, shape[:d] + (index._layout.shape[d],) + shape[d + 1 :])
    result = gather_checked(x, d, index)
    return result if out is None else write_out(result, out, "take_along_dim")


# -- embedding


@kernel_op(["g", "index"], saves=["index"])
def embedding_backward(g: Tensor, index: Tensor, size: int, padding: int) -> Layout:
    """Rows (size, features): g[k] added to row index[k], but none to row ``padding``."""
    la = g._layout
    return contiguous((size, la.shape[1]), la.dtype, la.device)


@embedding_backward.plan
def _(outputs: Any, g: Tensor, index: Tensor, size: int, padding: int) -> list[Launch]:
    n, inner = g._layout.shape
    pointers = [outputs[0], g.detach().contiguous(), index.contiguous()]
    return [
        Launch(("index", "embedding_backward"), env(g), pointers, (n, size, inner, padding), size, n * inner)
    ]


@embedding_backward.backward
def _(ctx: Context, h: Tensor) -> Any:
    index, padding = ctx.index, ctx.attrs["padding"]
    rows = index_select_values(h, index, dim=0)
    return (rows if padding < 0 else E.where(view.unsqueeze(E.ne(index, padding), 1), rows, 0.0)), None


@kernel_op(["weight", "index"], saves=["index"], name="embedding")
def embedding_values(weight: Tensor, index: Tensor, padding: int, by_frequency: bool) -> Layout:
    """The rows index[k] of the weight."""
    la = weight._layout
    return contiguous((index._layout.numel, la.shape[1]), la.dtype, la.device)


@embedding_values.plan
def _(outputs: Any, weight: Tensor, index: Tensor, padding: int, by_frequency: bool) -> list[Launch]:
    size, inner = weight._layout.shape
    n = index._layout.numel
    pointers = [outputs[0], weight.detach().contiguous(), index.contiguous()]
    return [Launch(("index", "index_select"), env(weight), pointers, (1, n, inner, size), n, n * inner)]


@embedding_values.backward
def _(ctx: Context, g: Tensor) -> Any:
    from ..creation import ones

    index, size = ctx.index, ctx.meta(0).shape[0]
    if ctx.attrs["by_frequency"]:
        one = ones(index._layout.shape, dtype=g.dtype, device=g.device)
        counts = index_add_values(None, index, one, dim=0, size=size, alpha=1.0)
        g = g / view.unsqueeze(index_select_values(counts, index, dim=0), 1)
    return embedding_backward(g, index, size=size, padding=ctx.attrs["padding"]), None


def embedding(
    weight: Tensor,
    indices: Tensor,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """The rows of ``weight`` (size, features) at the indices (*): (*, features); IndexError for one out of range."""
    require_tensor("embedding", "weight", weight)
    require_tensor("embedding", "indices", indices)
    if weight._layout.ndim != 2:
        raise RuntimeError(
            f"embedding: 'weight' must be 2-D, got a {weight.ndim}-D tensor of shape {list(weight.shape)}"
        )
    index = index_int64("embedding", indices, int32, empty=False)
    require_same_device("embedding", weight=weight, indices=indices)
    size = weight._layout.shape[0]

    def error(value: int) -> Exception:
        return IndexError(
            f"embedding: index out of range in self: {value} (the weight has {size} rows); give indices in 0..{size - 1}"
        )

    if not size and index._layout.numel:
        raise RuntimeError("embedding: the weight has 0 rows, so there is none to take; its size must be positive")
    flat = view.reshape(index, (index._layout.numel,))
    check_range(flat, 0, size - 1, error)
    rows = embedding_values(weight, flat, padding=padding_idx, by_frequency=bool(scale_grad_by_freq))
    return view.reshape(rows, index._layout.shape + weight._layout.shape[1:])
