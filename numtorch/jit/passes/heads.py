"""Which operands of attention are cut with its results when a batch is done part by part."""

from __future__ import annotations

import math

from ...ops.reduce import planner
from ..record import Entry, Ref


def attention(e: Entry) -> list[int] | None:
    """All operands but a mask that the examples share; None where a part would add up in another order."""
    n, rank = e.outputs[0].layout.shape[0], len(e.outputs[0].layout.shape)
    tensors = [r for r in e.args if isinstance(r, Ref)]
    if rank < 3:
        return None
    if e.name == "attention_backward":
        key = tensors[2].layout.shape
        if planner("groups_of", "attention_plan")(math.prod(key[1:-2]), key[-2]) != 1:
            return None
    mask = 3 if e.name == "attention" else 4
    given = e.args[mask]
    shared = given is not None and (len(given.layout.shape) < rank or given.layout.shape[0] != n)
    return [k for k in range(len(tensors)) if not shared or k != mask]
