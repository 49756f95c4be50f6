"""Elementwise launches that are alike and do not wait for one another become one: an optimizer's updates in a CUDA graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..cuda import together
from .program import Op


class _Group:
    """Launches that can be one; ``reads`` and ``writes`` are what all of them touch."""

    def __init__(self, op: Op, key: Any):
        self.ops, self.key, self.reads, self.writes = [op], key, set(op.reads), set(op.writes)

    def clashes(self, op: Op) -> bool:
        """Whether ``op`` must come after this group, if it comes after it now."""
        return bool(op.writes & (self.reads | self.writes) or op.reads & self.writes)

    def add(self, op: Op) -> None:
        self.ops.append(op)
        self.reads |= op.reads
        self.writes |= op.writes

    def lowered(self) -> list[Op]:
        """The launches of the group: one, where it is worth a kernel of its own."""
        if len(self.ops) < together.FEWEST:
            return self.ops
        plan = self.ops[0].entry.plan
        count = len(plan.outputs) + len(plan.tensors)
        kernel, sizes = together.kernel_of([(op.entry.plan, (), ()) for op in self.ops])
        numbers = self.ops[0].words[len(self.ops[0].words) - len(plan.scalars) :]
        words = [*together.words([op.words[:count] for op in self.ops], sizes), *numbers]
        address: Any = (kernel, plan.program.written.env)
        return [Op(address, 1, words, self.reads, self.writes, self.ops[0].entry)]


def merged(ops: Sequence[Op], cuts: Sequence[int]) -> tuple[list[Op], list[int]]:
    """The launches with those merged that can be, never across a cut; the cuts' new places."""
    found: list[Op] = []
    places: list[int] = []
    for first, last in zip([0, *cuts], [*cuts, len(ops)]):
        found += _stretch(ops[first:last])
        places.append(len(found))
    return found, places[:-1]


def _stretch(ops: Sequence[Op]) -> list[Op]:
    groups: list[_Group] = []
    for op in ops:
        key, most = _key(op)
        home = None
        if key is not None:
            for group in reversed(groups):
                clash = group.clashes(op)
                if group.key == key and not clash and len(group.ops) < most:
                    home = group
                if home is not None or clash:
                    break
        if home is None:
            groups.append(_Group(op, key))
        else:
            home.add(op)
    return [one for group in groups for one in group.lowered()]


def _key(op: Op) -> tuple[Any, int]:
    """(what launches of one group have in common, how many there may be); (None, 0) for a launch that goes alone."""
    plan = op.entry.plan
    if plan is None or not plan.sizes or not math.prod(plan.sizes[0]):
        return None, 0
    numbers = op.words[len(op.words) - len(plan.scalars) :]
    return together.key_of(plan, numbers), together.most(len(plan.outputs) + len(plan.tensors))
