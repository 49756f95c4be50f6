"""Which elementwise calls can share launches: the updates of all parameters by an optimizer, eager and in traces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..kernels.cuda.grouped import cells_of, grouped, words
from ..kernels.cuda.grouped import room as most

FEWEST = 3  # calls that are worth a kernel of their own
Call = tuple[Any, Sequence[Any], Sequence[Any]]  # plan, outputs, operands


def key_of(plan: Any, numbers: Sequence[Any]) -> Any:
    """What calls of one launch have in common; None for a call that goes alone."""
    cells = cells_of(plan.program, *plan.sizes)
    return None if cells is None else (plan.program.key, cells, *[n if type(n) in (int, float) else id(n) for n in numbers])


def levels(calls: Sequence[Call]) -> list[list[Call]]:
    """The calls in an order that they may be run in, those together that are alike and do not wait for one another."""
    groups: dict[Any, list[Call]] = {}
    last: dict[int, int] = {}  # by memory: the level of the last call that touched it
    for number, (plan, outputs, args) in enumerate(calls):
        memory = [id(t._storage) for t in (*outputs, *(args[i] for i in plan.tensors))]
        level = 1 + max((last.get(m, -1) for m in memory), default=-1)
        last.update(dict.fromkeys(memory, level))
        key = key_of(plan, [args[i] for i in plan.scalars])
        device = outputs[0]._layout.device
        groups.setdefault((level, device, number if key is None else key), []).append((plan, outputs, args))
    return [groups[k] for k in sorted(groups, key=lambda k: k[0])]


def parts(group: Sequence[Call]) -> list[Sequence[Call]]:
    """Pieces of a group that one launch can take."""
    plan, outputs, _ = group[0]
    step = most(len(outputs) + len(plan.tensors))
    return [group[i : i + step] for i in range(0, len(group), step)]


def kernel_of(part: Sequence[Call]) -> tuple[Any, list[int]]:
    """(kernel, elements of each tensor) for calls that are alike; (None, []) where they are too few."""
    if len(part) < FEWEST:
        return None, []
    plan = part[0][0]
    cells = cells_of(plan.program, *plan.sizes)
    assert cells is not None
    return grouped(plan.program, cells), [math.prod(p.sizes[0]) for p, _, _ in part]


__all__ = ["FEWEST", "kernel_of", "key_of", "levels", "most", "parts", "words"]
