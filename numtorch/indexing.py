"""``x[...]`` and ``x[...] = v``: integers, slices, None and Ellipsis give views; tensors, lists and masks give copies."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ._tensor import Tensor
from .autograd.mode import state
from .dtype import BOOL, INTEGER, bool_, int64
from .memo import Memo
from .ops import view
from .ops.index import checked_index, index_put_values, index_put_values_, index_select_checked
from .ops.node_names import named, overwritten
from .ops.places import nonzero
from .shape import broadcast


def _is_advanced(i: Any) -> bool:
    return isinstance(i, (Tensor, list, np.ndarray, range)) or isinstance(i, tuple)


def _as_index_tensor(i: Any) -> Tensor:
    from .from_data import as_tensor, tensor

    if isinstance(i, Tensor):
        t = i
    elif isinstance(i, np.ndarray):
        t = as_tensor(i)
    else:
        t = tensor(list(i) if isinstance(i, range) else i) if len(i) else tensor([], dtype=int64)
    if t.dtype.category not in (BOOL, INTEGER):
        raise IndexError(
            f"tensors used as indices must be long, int, byte or bool tensors, got {t.dtype!r}; convert with .long()"
        )
    return t


def _items(index: Any, ndim: int) -> list[Any]:
    """The index as a list with one entry per dimension used, Ellipsis written out as slices."""
    items = list(index) if isinstance(index, tuple) else [index]
    used = 0
    for i in items:
        if i is None or i is Ellipsis or isinstance(i, bool):
            continue
        if isinstance(i, (Tensor, np.ndarray)) and i.dtype in (bool_, np.bool_):
            used += i.ndim
        else:
            used += 1
    if used > ndim:
        raise IndexError(f"too many indices for tensor of dimension {ndim}: got {used}")
    dots = [k for k, i in enumerate(items) if i is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    fill = [slice(None)] * (ndim - used)
    if dots:
        k = dots[0]
        return items[:k] + fill + items[k + 1 :]
    return items + fill


def _number(i: Any) -> int | None:
    """The int behind a plain index, or None."""
    if isinstance(i, bool) or isinstance(i, (slice, tuple, list)) or i is None:
        return None
    if isinstance(i, (Tensor, np.ndarray)):
        return None
    try:
        return i.__index__()
    except (AttributeError, TypeError):
        if isinstance(i, str):
            raise TypeError("new(): invalid data type 'str': a tensor is indexed by numbers, slices and tensors") from None
        raise IndexError(
            f"only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices (got"
            f" {type(i).__name__}); convert it with int(...)"
        ) from None


def basic(x: Tensor, items: list[Any]) -> tuple[Tensor, list[Any]]:
    """Apply integers, slices and None; returns the view and per remaining dimension an index tensor or None."""
    rest: list[Any] = []
    d = 0
    for i in items:
        if isinstance(i, slice):
            x = _slice(x, d, i)
            rest.append(None)
            d += 1
        elif i is None:
            x = view.unsqueeze(x, d)
            rest.append(None)
            d += 1
        elif isinstance(i, bool):
            from .from_data import tensor

            x = view.unsqueeze(x, d)
            rest.append(tensor([i], dtype=bool_))
            d += 1
        elif _is_advanced(i):
            t = _as_index_tensor(i)
            if (
                t.ndim == 0
                and t.dtype.category == INTEGER
                and t.dtype.name != "uint8"
                and not t.requires_grad
                and (state.recorder is None)
            ):
                x = view.select(x, d, int(t.item()))
                continue
            rest.append(t)
            if t.dtype.name in ("bool", "uint8"):
                _check_mask(x, d, t)
                rest.extend([...] * (t.ndim - 1))
                d += t.ndim if t.ndim else 0
                if t.ndim == 0:
                    x = view.unsqueeze(x, d)
                    d += 1
            else:
                d += 1
        else:
            n = _number(i)
            size = x._layout.shape[d]
            if not -size <= n < size:  # type: ignore[operator]
                raise IndexError(f"index {n} is out of bounds for dimension {d} with size {size}")
            x = view.select(x, d, n)  # type: ignore[arg-type]
    return x, rest


def _slice(x: Tensor, d: int, s: slice) -> Tensor:
    if s.start is None and s.stop is None and s.step is None:
        return x
    n = x._layout.shape[d]
    step = 1 if s.step is None else s.step.__index__()
    if step <= 0:
        raise ValueError(f"step must be greater than zero, got {step}; use flip for a reversed order")
    bounds = [None if v is None else v.__index__() for v in (s.start, s.stop)]
    start, stop, step = slice(bounds[0], bounds[1], step).indices(n)
    return view.slice_dim(x, d, start, max(start, stop), step)


def _check_mask(x: Tensor, d: int, mask: Tensor) -> None:
    for k, n in enumerate(mask._layout.shape):
        if x._layout.shape[d + k] != n:
            raise IndexError(
                f"The shape of the mask {list(mask.shape)} at index {k} does not match the shape of the indexed tensor"
                f" {list(x.shape)} at index {d + k}"
            )


def expand_masks(rest: list[Any]) -> list[Any]:
    """Masks replaced by the int64 indices of their True elements, one per dimension they cover."""
    out: list[Any] = []
    for i in rest:
        if i is Ellipsis:
            continue
        if i is not None and i.dtype.name in ("bool", "uint8"):
            where = nonzero(i if i.dtype is bool_ else i.bool())
            out.extend(where.unbind(1) if i.ndim else [where.new_zeros((where.shape[0],))])
        else:
            out.append(i)
    return out


def getitem(x: Tensor, index: Any) -> Tensor:
    """``x[index]``."""
    if type(index) is int and x._layout.ndim:
        n = x._layout.shape[0]
        if not -n <= index < n:
            raise IndexError(f"index {index} is out of bounds for dimension 0 with size {n}")
        return view.select(x, 0, index)
    if type(index) is Tensor and index.dtype is bool_ and 0 < index._layout.ndim <= x._layout.ndim:
        return _masked(x, index)
    known = _known_view(x, index)
    return _getitem(x, index) if known is None else known


def _masked(x: Tensor, mask: Tensor) -> Tensor:
    """The elements where the mask, which covers the first dimensions, is True."""
    _check_mask(x, 0, mask)
    shape, n = x._layout.shape, mask._layout.ndim
    where = view.reshape(nonzero(mask if n == 1 else view.reshape(mask, (mask._layout.numel,))), (-1,))
    flat = x if n == 1 else view.reshape(x, (mask._layout.numel, *shape[n:]))
    return named(index_select_checked(flat, 0, where), "IndexBackward0")


def _getitem(x: Tensor, index: Any) -> Tensor:
    part, rest = basic(x, _items(index, x._layout.ndim))
    if all(i is None for i in rest):
        return view.alias(part) if part is x else part
    return take(part, expand_masks(rest))


_places = Memo()  # where the views of plain indices are: layout, distance from the start


def _known_view(x: Tensor, index: Any) -> Tensor | None:
    """The view for integers, slices, None and Ellipsis as was found before; None where it must be found in steps.

    Steps it takes where gradients are recorded, for each is a node.
    """
    if x._rg and state.grad:
        return None
    key: list[Any] = [x._layout]
    for i in index if type(index) is tuple else (index,):
        if type(i) is slice:
            a, b, c = i.start, i.stop, i.step
            if (
                (a is not None and type(a) is not int)
                or (b is not None and type(b) is not int)
                or (c is not None and type(c) is not int)
            ):
                return None
            key.append((a, b, c))
        elif i is None or type(i) is int or i is Ellipsis:
            key.append(i)
        else:
            return None
    whole = tuple(key)
    found = _places.get(whole)
    if found is None:
        made = _getitem(x, index)
        _places.note(whole, (made._layout, made._offset - x._offset))
        return made
    return view.known_view(x, found[0], found[1])


class Plan:
    """Where the elements of an advanced index are: the indexed dimensions, their linear index, and the result's shape."""

    def __init__(self, x: Tensor, indices: list[Any]):
        shape = x._layout.shape
        self.dims = [d for d, i in enumerate(indices) if i is not None]
        given = [indices[d] for d in self.dims]
        try:
            self.shape = broadcast(*[t._layout.shape for t in given])
        except RuntimeError:
            shapes = ", ".join(str(list(t.shape)) for t in given)
            raise IndexError(
                f"shape mismatch: indexing tensors could not be broadcast together with shapes {shapes}"
            ) from None
        sizes = [shape[d] for d in self.dims]
        self.count = math.prod(sizes)
        self.rest = [d for d in range(len(shape)) if d not in self.dims]
        self.together = self.dims == list(range(self.dims[0], self.dims[0] + len(self.dims)))
        self.linear = _linear(given, sizes, self.dims, self.shape)
        self.front = self.dims[0] if self.together else 0


def _linear(given: list[Tensor], sizes: list[int], dims: list[int], shape: tuple[int, ...]) -> Tensor:
    total: Any = None
    for t, n, d in zip(given, sizes, dims):
        t = checked_index(t, n, d)
        total = t if total is None else total * n + t
    return total.expand(shape) if total._layout.shape != shape else total


def take(x: Tensor, indices: list[Any]) -> Tensor:
    """Advanced indexing: one int64 tensor (or None) per dimension."""
    plan = Plan(x, indices)
    shape = x._layout.shape
    if plan.together:
        before, after = shape[: plan.front], shape[plan.front + len(plan.dims) :]
        flat = x if len(plan.dims) == 1 else view.reshape(x, (*before, plan.count, *after))
        linear = plan.linear if len(plan.shape) == 1 else view.reshape(plan.linear, (-1,))
        taken = index_select_checked(flat, plan.front, linear)
        if len(plan.shape) == 1:
            return named(taken, "IndexBackward0")
        return view.reshape(taken, (*before, *plan.shape, *after))
    moved = view.permute(x, plan.dims + plan.rest)
    after = tuple(shape[d] for d in plan.rest)
    flat = view.reshape(moved, (plan.count, *after))
    return view.reshape(
        index_select_checked(flat, 0, view.reshape(plan.linear, (-1,))), (*plan.shape, *after)
    )


def setitem(x: Tensor, index: Any, value: Any) -> None:
    """``x[index] = value``."""
    from .from_data import tensor
    from .methods import fill_

    known = _known_view(x, index) if type(value) in (int, float, bool) else None
    if known is not None:
        fill_(known, value)
        return
    view_, rest = basic(x, _items(index, x._layout.ndim))
    if not isinstance(value, Tensor):
        if isinstance(value, (bool, int, float)) and all(i is None for i in rest):
            fill_(view_, value)
            return
        value = tensor(
            value, dtype=x.dtype if isinstance(value, (bool, int, float)) else None, device=x.device
        )
    if all(i is None for i in rest):
        view_.copy_(_squeezed(value, view_._layout.ndim))  # type: ignore[attr-defined]
        return
    if value.dtype is not x.dtype:
        value = value.to(x.dtype)
    if value.device != x.device and value.ndim == 0:
        value = value.to(x.device)
    put_(view_, expand_masks(rest), value, False)


def _squeezed(value: Tensor, ndim: int) -> Tensor:
    """Without leading dimensions of size 1 that the target lacks, which PyTorch allows."""
    while value._layout.ndim > ndim and value._layout.shape[0] == 1:
        value = value.squeeze(0)  # type: ignore[attr-defined]
    return value


def put_(x: Tensor, indices: list[Any], value: Tensor, accumulate: bool) -> Tensor:
    """Write (or add) values at an advanced index."""
    plan = Plan(x, indices)
    shape = x._layout.shape
    order = plan.dims + plan.rest if not plan.together else list(range(len(shape)))
    moved = view.permute(x, order) if order != list(range(len(shape))) else x
    m = moved._layout.shape
    front = plan.front
    k = len(plan.dims)
    before, after = m[:front], m[front + k :]
    target = (*before, *plan.shape, *after)
    value = _squeezed(value, len(target))
    try:
        value = view.expand(value, target)
    except RuntimeError:
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(value.shape)} cannot be broadcast to indexing result of shape"
            f" {list(target)}; give a value of that shape, or one that broadcasts to it"
        ) from None
    flat = view.reshape(moved, (*before, plan.count, *after))
    values = view.reshape(value, (*before, math.prod(plan.shape), *after))
    linear = view.reshape(plan.linear, (-1,))
    if moved._layout.contiguous:  # then flat is a view
        index_put_values_(flat, front, linear, values, accumulate)
        return overwritten(x, "IndexPutBackward0")
    result = index_put_values(flat, front, linear, values, accumulate)
    moved.copy_(view.reshape(result, m))  # type: ignore[attr-defined]
    return overwritten(x, "IndexPutBackward0")
