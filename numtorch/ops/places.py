"""Where the nonzero elements are: ``nonzero``, whose result's size depends on the values."""

from __future__ import annotations

from typing import Any

from .._tensor import Tensor
from ..dtype import int64
from ..errors import require_tensor
from ..shape import Layout, contiguous
from . import view
from .constant import table
from .declare import kernel_op
from .index import env
from .inplace import write_out
from .launch import Launch, twin


@kernel_op(["x"])
def nonzero_starts(x: Tensor) -> Layout:
    """Where each block's nonzero elements begin in the list of all; the last value is their number."""
    blocks = twin("cpu", "nonzero", "blocks")(x._layout.numel)
    return contiguous((blocks + 1,), int64, x._layout.device)


@nonzero_starts.plan
def _(outputs: Any, x: Tensor) -> list[Launch]:
    n, out = x._layout.numel, outputs[0]
    blocks = out._layout.numel - 1
    source = x.detach().contiguous()
    return [
        Launch(("nonzero", "count_blocks"), env(x), [out, source], (n,), blocks, n),
        Launch(("nonzero", "add_up"), {}, [out], (blocks,)),
    ]


@kernel_op(["x", "starts"])
def nonzero_places(x: Tensor, starts: Tensor, count: int) -> Layout:
    """The index of every nonzero element, a row each."""
    return contiguous((count, x._layout.ndim), int64, x._layout.device)


@nonzero_places.plan
def _(outputs: Any, x: Tensor, starts: Tensor, count: int) -> list[Launch]:
    la = x._layout
    pointers = [outputs[0], x.detach().contiguous(), starts, table(la.shape, la.device)]
    return [
        Launch(
            ("nonzero", "write_places"),
            env(x),
            pointers,
            (la.numel, la.ndim),
            starts._layout.numel - 1,
            la.numel,
        )
    ]


def nonzero(input: Tensor, *, out: Any = None, as_tuple: bool = False) -> Any:
    """The indices of all nonzero elements as rows (count, ndim), or with ``as_tuple`` as one tensor per dimension.

    Example:
        >>> import numtorch
        >>> numtorch.tensor([[0, 5], [7, 0]]).nonzero().tolist()
        [[0, 1], [1, 0]]
    """
    require_tensor("nonzero", "input", input)
    x = input.detach()
    if as_tuple:
        x = view.reshape(x, (1,)) if not x._layout.ndim else x
        return nonzero(x).unbind(1)
    starts = nonzero_starts(x)
    result = nonzero_places(x, starts, count=int(starts[-1].item()))
    return result if out is None else write_out(result, out, "nonzero")


def nonzero_static(input: Tensor, *, size: int, fill_value: int = -1, out: Any = None) -> Tensor:
    """The first ``size`` rows of ``nonzero``, filled up with rows of ``fill_value``."""
    if size < 0:
        raise RuntimeError(f"nonzero_static: 'size' must be an non-negative integer, got {size}")
    found = nonzero(input)
    result = found.new_full((size, found._layout.shape[1]), fill_value)
    count = min(size, found._layout.shape[0])
    result[:count] = found[:count]
    return result if out is None else write_out(result, out, "nonzero_static")


def argwhere(input: Tensor) -> Tensor:
    """The indices of all nonzero elements as rows."""
    return nonzero(input)
