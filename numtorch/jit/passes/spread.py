"""Spreading: an elementwise kernel is split among the threads by what its functions cost, not by its size alone."""

from __future__ import annotations

import ast
from typing import Any

from ...ops.launch import REPLAYED_COST, threads
from ..record import Entry
from .work import Work, copy_of, replaced_plan

CALL_COST = 8  # simple operations that an exponential or the like is worth
LEAST_ELEMENTS = 512  # of a part: contiguous kernels are split between blocks of this size


def spread(entries: list[Entry], work: Work) -> list[Entry]:
    """Split small kernels of expensive functions (the gates of an LSTM) too; the parts give the same bits."""
    result = []
    for e in entries if threads() > 1 else ():
        n = e.outputs[0].layout.numel if e.plan is not None and e.plan.address and e.plan.chunks == 1 else 0
        if n >= 2 * LEAST_ELEMENTS:
            cost = n * cost_of(e.plan.program)
            chunks = min(threads(), n // LEAST_ELEMENTS, 1 + cost // REPLAYED_COST)
            if cost >= REPLAYED_COST and chunks > 1:
                work.note(f"{e.name} at {e.line}: {chunks} parts")
                e = copy_of(e)
                e.plan = replaced_plan(e.plan, chunks=chunks)
        result.append(e)
    return result or entries


_costs: dict[Any, int] = {}


def cost_of(program: Any) -> int:
    """About how many simple operations an element of a program takes."""
    found = _costs.get(program.key)
    if found is None:
        found = _costs[program.key] = _count(program)
    return found


def _count(program: Any) -> int:
    written = program.written
    nodes = [n for line in written.lines for n in ast.walk(line.value)]
    called = [n.func.id for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    simple = sum(isinstance(n, (ast.BinOp, ast.Compare)) for n in nodes)
    return 1 + simple // 4 + CALL_COST * sum(name not in ("select", "abs", "T", "S") for name in called)

