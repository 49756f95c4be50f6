"""Tensors cut in parts that lie side by side: unbind, split, chunk, tensor_split."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from .._tensor import Tensor, make_view
from ..autograd.engine import Node
from ..autograd.mode import state
from ..autograd.views import SEVERAL, know, made_how
from ..errors import tensors_only
from ..shape import as_index, wrap_dim
from .view import expand, slice_dim, unsqueeze


class PartsNode(Node):
    """History of all parts of a tensor: their gradients are joined once, however many parts there are."""

    __slots__ = ("dim", "sizes", "title")

    def __init__(self, x: Tensor, title: str, dim: int, parts: Sequence[Tensor], sizes: Sequence[int] | None):
        Node.__init__(self, [x], len(parts))
        self.title, self.dim, self.sizes = title, dim, sizes
        for i, t in enumerate(parts):
            self.out_metas[i] = t._layout
            t._node, t._nr, t._rg = self, i, True

    def run(self, grads: list[Any]) -> Any:
        from .joining import cat

        pieces: list[Tensor] = []
        like, missing = next(g for g in grads if g is not None), 0
        for n, g in zip(self.sizes or itertools.repeat(1), grads):
            if g is None:
                missing += n
                continue
            if missing:
                pieces.append(self._zeros(missing, like))
                missing = 0
            pieces.append(unsqueeze(g, self.dim) if self.sizes is None else g)
        if missing:
            pieces.append(self._zeros(missing, like))
        return (cat(pieces, self.dim),)

    def _zeros(self, n: int, like: Tensor) -> Tensor:
        """The gradient of parts that were not used."""
        from ..creation import zeros

        shape = self.metas[0].shape
        whole = (*shape[: self.dim], n, *shape[self.dim + 1 :])
        return expand(zeros((), dtype=like.dtype, device=like.device), whole)


def _parts(x: Tensor, title: str, d: int, sizes: Sequence[int] | None) -> tuple[Tensor, ...]:
    """Views of consecutive ranges of dimension ``d`` (``sizes`` None: of its single indices, without the dimension)."""
    la = x._layout
    before, after, step = la.shape[:d], la.shape[d + 1 :], la.strides[d]
    strides = la.strides if sizes is not None else la.strides[:d] + la.strides[d + 1 :]
    out, start = [], x._offset
    for n in sizes if sizes is not None else itertools.repeat(1, la.shape[d]):
        shape = (*before, *after) if sizes is None else (*before, n, *after)
        out.append(make_view(x, shape, strides, start))
        start += n * step
    if state.recorder is not None:
        for t in out:
            state.recorder.alias(x, t)
    if state.grad:
        if x._rg and out:
            PartsNode(x, title, d, out, sizes)
        for t in out:
            t._made = SEVERAL
            if not x._rg and la.dtype.is_floating_point:
                know(t._base, t)
    elif out and out[0]._base._rg:
        for t in out:
            made_how(t)
    return tuple(out)


@tensors_only
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """All indices of a dimension, one tensor each."""
    la = input._layout
    if not la.ndim:
        raise IndexError(f"unbind: Dimension specified as {dim} but tensor has no dimensions; it holds one number, use it as it is")
    d = wrap_dim(dim, la.ndim, "unbind")
    return _parts(input, "UnbindBackward0", d, None)


@tensors_only
def split(input: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Parts of one size (the last may be smaller), or of the sizes listed."""
    la = input._layout
    if not la.ndim:
        raise RuntimeError("split expects at least a 1-dimensional tensor, got a 0-d one; unsqueeze(0) it")
    d = wrap_dim(dim, la.ndim, "split")
    n, sizes, title = la.shape[d], split_size_or_sections, "SplitBackward0"
    if isinstance(sizes, (tuple, list)):
        title = "SplitWithSizesBackward0"
        sizes = [as_index(s, "split", "split_size") for s in sizes]
        if sum(sizes) != n or any(s < 0 for s in sizes):
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at dimension {d}), but got"
                f" split_sizes={sizes}, which sum to {sum(sizes)}"
            )
    else:
        step = as_index(sizes, "split", "split_size")
        if step < 0 or (step == 0 and n):
            raise RuntimeError(
                f"split expects split_size be non-negative, but got split_size={step} for dimension of size {n}; give a positive size"
            )
        sizes = [min(step, n - k) for k in range(0, n, step)] if n else [0]
    return _parts(input, title, d, sizes)


@tensors_only
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most ``chunks`` parts of equal size (the last may be smaller)."""
    la = input._layout
    if not la.ndim:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor, got a 0-d one; unsqueeze(0) it")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}; give at least 1")
    d = wrap_dim(dim, la.ndim, "chunk")
    n = la.shape[d]
    if n == 0:
        return split(input, [0] * chunks, d)
    return split(input, -(-n // chunks), d)


@tensors_only
def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Parts of almost equal size, or cut at the indices listed."""
    la = input._layout
    if not la.ndim:
        raise RuntimeError(
            "tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims"
        )
    d = wrap_dim(dim, la.ndim, "tensor_split")
    n, given = la.shape[d], indices_or_sections
    if isinstance(given, Tensor):
        given = given.tolist()
    if isinstance(given, (tuple, list)):
        cuts = [as_index(c, "tensor_split", "indices") for c in given]
        cuts = [min(max(c + n if c < 0 else c, 0), n) for c in cuts]
        bounds = [0, *cuts, n]
        return tuple(slice_dim(input, d, a, max(a, b), 1) for a, b in itertools.pairwise(bounds))
    parts = as_index(given, "tensor_split", "sections")
    if parts <= 0:
        raise RuntimeError(f"tensor_split: number of sections must be larger than 0, got {parts}; give at least 1")
    ends = list(itertools.accumulate((n // parts + (i < n % parts) for i in range(parts)), initial=0))
    return tuple(slice_dim(input, d, a, b, 1) for a, b in itertools.pairwise(ends))
