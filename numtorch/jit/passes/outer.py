"""Outer products: a matrix product over a single term is elementwise, and so can be fused with what follows.

A training step on one example computes each weight's gradient so, and the optimizer's update joins the same kernel.
"""

from __future__ import annotations

from ...shape import layout
from ..record import Entry, Ref
from .work import Work, elementwise


def outer(entries: list[Entry], work: Work) -> list[Entry]:
    """Write products of a column and a row as multiplications; a product of two factors has the same bits."""
    result = []
    for e in entries:
        if _is_outer(e):
            work.note(f"{e.name} at {e.line}")
            e = elementwise("mul", e.outputs, [_spread(r) for r in e.args[:2]], e)
        result.append(e)
    return result


def _is_outer(e: Entry) -> bool:
    if e.name != "matmul" or not e.launches or (e.attrs or {}).get("relu") or any(x is not None for x in e.args[2:]):
        return False
    a, b = e.args[:2]
    return (
        a.layout.shape[-1] == 1
        and len(a.layout.shape) == len(b.layout.shape) == 2
        and a.layout.dtype.name in ("float32", "float64")
        and a.layout.device == "cpu"
    )


def _spread(r: Ref) -> Ref:
    """The same tensor with stride 0 in dimensions of one element, whatever it was there."""
    la = r.layout
    strides = tuple(0 if n == 1 else s for n, s in zip(la.shape, la.strides))
    return Ref(r.storage, r.offset, layout(tuple(la.shape), strides, la.dtype, la.device))
