"""A view of known memory, written as PyTorch would: ``x.t()``, ``x[2]``, ``x.reshape(3, 4)``, at worst ``x.as_strided(...)``."""

from __future__ import annotations

from ..shape import Layout, view_strides
from .record import Ref


def view_text(name: str, base: Ref, r: Ref) -> str:
    """An expression for ``r`` made of the variable ``name``, which shows ``base`` of the same memory."""
    if r.layout is base.layout and r.offset == base.offset:
        return name
    if r.layout.dtype is not base.layout.dtype:
        return _reinterpreted(name, base, r)
    a, b = base.layout, r.layout
    if r.offset == base.offset:
        if view_strides(a.shape, a.strides, b.shape) == b.strides and a.numel == b.numel:
            return f"{name}.view({_sizes(b.shape)})"
        order = _permutation(a, b)
        if order is not None:
            return f"{name}.t()" if order == (1, 0) else f"{name}.permute({_sizes(order)})"
        if a.shape == tuple(n for n, s in zip(b.shape, b.strides) if s) and _expands(a, b):
            return f"{name}.expand({_sizes(b.shape)})"
    shift = r.offset - base.offset
    if a.ndim == b.ndim + 1 and a.shape[1:] == b.shape and a.strides[1:] == b.strides and a.strides[0]:
        index, rest = divmod(shift, a.strides[0])
        if rest == 0 and 0 <= index < a.shape[0]:
            return f"{name}[{index}]"
    sliced = _slice(name, a, b, shift)
    return sliced or f"{name}.as_strided({tuple(b.shape)}, {tuple(b.strides)}, {name}.storage_offset() + {shift})"


def _reinterpreted(name: str, base: Ref, r: Ref) -> str:
    """A view in another dtype, from the start of the shown memory."""
    flat = f"{name}.view(-1).view(torch.{r.layout.dtype.name})"
    shift = r.offset - base.offset * base.layout.itemsize // r.layout.itemsize
    return f"{flat}.as_strided({tuple(r.layout.shape)}, {tuple(r.layout.strides)}, {shift})"


def _sizes(sizes: tuple[int, ...]) -> str:
    return ", ".join(map(str, sizes)) if sizes else "()"


def _permutation(a: Layout, b: Layout) -> tuple[int, ...] | None:
    """The order of dimensions that makes ``b`` of ``a``, if there is one and it is not ambiguous."""
    if a.ndim != b.ndim:
        return None
    left = list(zip(a.shape, a.strides))
    if len(set(left)) != len(left) or sorted(left) != sorted(zip(b.shape, b.strides)):
        return None
    return tuple(left.index(pair) for pair in zip(b.shape, b.strides))


def _expands(a: Layout, b: Layout) -> bool:
    return b.shape[b.ndim - a.ndim :] == a.shape and b.strides[b.ndim - a.ndim :] == a.strides


def _slice(name: str, a: Layout, b: Layout, shift: int) -> str | None:
    """``x[:, 2:5]`` where only ranges of dimensions differ and the strides are the same."""
    if a.ndim != b.ndim or a.strides != b.strides or shift < 0:
        return None
    parts = []
    for n, m, s in zip(a.shape, b.shape, a.strides):
        start, shift = divmod(shift, s) if s else (0, shift)
        if start + m > n:
            return None
        parts.append(":" if m == n else f"{start}:{start + m}")
    if shift:
        return None
    while parts and parts[-1] == ":":
        parts.pop()
    return f"{name}[{', '.join(parts)}]" if parts else name
