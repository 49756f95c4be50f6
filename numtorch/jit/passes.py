"""Rewriting of recorded entries before they become kernel calls; each pass is one function from a list to a list."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from ..ops.launch import PARALLEL_COST, threads
from ..ops.pointwise import Plan
from .record import Entry, Ref

MOST_STEPS = 24  # of one fused kernel: beyond that registers spill and compiling takes long
MOST_WORDS = 40  # pointers and numbers of one fused kernel


def optimize(entries: Sequence[Entry], needed: set[int]) -> list[Entry]:
    """All passes in order; ``needed``: ids of storages that must hold their values afterwards."""
    return optimize_between(entries, needed, [])


def optimize_between(entries: Sequence[Entry], needed: set[int], cuts: Sequence[int]) -> list[Entry]:
    """``optimize`` where the program stops at some entries to compare values: nothing is fused across a stop."""
    found = list(entries)
    for i, e in enumerate(found):
        e.order = i
    found = drop_dead(found, needed)
    result: list[Entry] = []
    later = set(needed)
    bounds = [0, *cuts, len(entries) + 1]
    for a, b in reversed(list(itertools.pairwise(bounds))):
        part = [e for e in found if a <= e.order < b]
        result = fuse(part, later) + result
        for e in part:
            later |= storages(e.inputs)
            for la in e.launches or ():
                later |= storages(la.pointers)
    return result


def storages(refs: Sequence[Any]) -> set[int]:
    """Ids of the storages behind the tensors among operands."""
    return {id(r.storage) for r in refs if isinstance(r, Ref)}


def drop_dead(entries: Sequence[Entry], needed: set[int]) -> list[Entry]:
    """Without entries none of whose results is used: walked from the end, as liveness is."""
    live = set(needed)
    kept: list[Entry] = []
    for e in reversed(entries):
        if storages(e.outputs) & live:
            kept.append(e)
            live |= storages(e.inputs)
            for la in e.launches or ():
                live |= storages(la.pointers)
    kept.reverse()
    return kept


# -- fusing chains of elementwise ops


class _Group:
    """Elementwise entries that become one kernel."""

    def __init__(self, first: Entry):
        self.shape = first.outputs[0].layout.shape
        self.entries: list[Entry] = []
        self.reads: dict[tuple, Ref] = {}
        self.writes: dict[tuple, Ref] = {}
        self.add(first)

    def add(self, e: Entry) -> None:
        self.entries.append(e)
        for i in e.plan.tensors:
            r = e.inputs[i]
            if _key(r) not in self.writes:
                self.reads[_key(r)] = r
        for r in e.outputs:
            self.writes[_key(r)] = r

    def takes(self, e: Entry) -> bool:
        """Whether an entry can join: the same shape, and memory shared with the group only element by element."""
        if len(self.entries) >= MOST_STEPS or e.outputs[0].layout.shape != self.shape:
            return False
        if len(self.reads) + len(self.writes) + len(e.inputs) + len(e.outputs) > MOST_WORDS:
            return False
        written = {id(r.storage) for r in self.writes.values()}
        read = {id(r.storage) for r in self.reads.values()}
        for i in e.plan.tensors:
            if id(e.inputs[i].storage) in written and _key(e.inputs[i]) not in self.writes:
                return False
        for r in e.outputs:
            if id(r.storage) in written and _key(r) not in self.writes:
                return False
            if id(r.storage) in read and (_key(r) not in self.reads or _repeats(r)):
                return False
        return True


def _key(r: Ref) -> tuple:
    return (id(r.storage), r.offset, id(r.layout))


def _repeats(r: Ref) -> bool:
    return any(s == 0 and n > 1 for n, s in zip(r.layout.shape, r.layout.strides))


def fusible(e: Entry) -> bool:
    """Whether an entry is an elementwise op whose result has the dtype in which it was computed (or is a test)."""
    if e.plan is None or not e.plan.address:
        return False
    step = e.plan.program.steps[0]
    result = e.outputs[0].layout.dtype.name
    same = all(r.layout.dtype.name == result for r in e.outputs)
    return same and (
        result == step.compute_dtype or (result == "bool" and getattr(e.op, "result", "") == "bool")
    )


def fuse(entries: Sequence[Entry], needed: set[int]) -> list[Entry]:
    """Neighbouring elementwise entries of one shape as one kernel each."""
    groups: list[Any] = []
    for e in entries:
        if not fusible(e):
            groups.append(e)
        elif groups and isinstance(groups[-1], _Group) and groups[-1].takes(e):
            groups[-1].add(e)
        else:
            groups.append(_Group(e))
    later = set(needed)
    result: list[Entry] = []
    for g in reversed(groups):
        if isinstance(g, _Group):
            result.append(g.entries[0] if len(g.entries) == 1 else _fused(g, later))
            later |= {id(r.storage) for r in g.reads.values()}
        else:
            result.append(g)
            later |= storages(g.inputs)
            for la in g.launches or ():
                later |= storages(la.pointers)
    result.reverse()
    return result


class _Names:
    """Names of a fused program: inputs x0.., numbers s0.., values t0.., outputs y0.. ."""

    def __init__(self) -> None:
        self.values: dict[tuple, str] = {}
        self.inputs: list[Ref] = []
        self.scalars: list[tuple[Any, str]] = []
        self.count = 0

    def tensor(self, r: Ref) -> str:
        """The name of an operand's value."""
        found = self.values.get(_key(r))
        if found is None:
            found = self.values[_key(r)] = f"x{len(self.inputs)}"
            self.inputs.append(r)
        return found

    def number(self, value: Any, kind: str) -> str:
        """The name of a number."""
        self.scalars.append((value, kind))
        return f"s{len(self.scalars) - 1}"


def _fused(g: _Group, later: set[int]) -> Entry:
    """One entry for a group: its outputs are what is read later."""
    from ..kernels.codegen import Program, Step

    names = _Names()
    steps: list[Any] = []
    last: dict[tuple, int] = {}
    for k, e in enumerate(g.entries):
        for r in e.outputs:
            last[_key(r)] = k
    outputs: list[Ref] = []
    for k, e in enumerate(g.entries):
        program = e.plan.program
        step = program.steps[0]
        given = {f"x{j}": names.tensor(e.inputs[i]) for j, i in enumerate(e.plan.tensors)}
        for i, (name, kind) in zip(e.plan.scalars, program.scalars):
            given[name] = names.number(e.inputs[i], kind)
        outs = []
        for r in e.outputs:
            kept = last[_key(r)] == k and id(r.storage) in later
            name = f"y{len(outputs)}" if kept else f"t{names.count}"
            names.count += 1
            if kept:
                outputs.append(r)
            outs.append(name)
        steps.append(
            Step(
                step.body,
                tuple(given.get(a, a) for a in step.args),
                tuple(outs),
                step.compute_dtype,
                step.component,
            )
        )
        for r, name in zip(e.outputs, outs):
            names.values[_key(r)] = name
    scalars = [(f"s{i}", kind) for i, (_, kind) in enumerate(names.scalars)]
    fused = Program(
        inputs=[r.layout.dtype.kind for r in names.inputs], scalars=scalars,
        outputs=[r.layout.dtype.kind for r in outputs], steps=steps,
    )  # fmt: skip
    return _entry(g, fused, names, outputs)


def _entry(g: _Group, program: Any, names: _Names, outputs: list[Ref]) -> Entry:
    from ..shape import expand_strides

    plan = Plan()
    plan.program = program
    plan.tensors = tuple(range(len(names.inputs)))
    plan.scalars = tuple(range(len(names.inputs), len(names.inputs) + len(names.scalars)))
    plan.outputs = tuple(r.layout for r in outputs)
    plan.alone = None
    strides = [r.layout.strides for r in outputs]
    strides += [expand_strides(r.layout.shape, r.layout.strides, g.shape) for r in names.inputs]
    plan.layout_kind, plan.words = program.words(g.shape, tuple(strides))
    plan.sizes = (g.shape, tuple(strides))
    plan.address = program.kernel(plan.layout_kind).address()
    n = outputs[0].layout.numel
    plan.chunks = 1 if n * len(program.steps) < PARALLEL_COST else min(threads(), (n + 16383) // 16384)
    first = g.entries[0]
    inputs = [*names.inputs, *[v for v, _ in names.scalars]]
    e = Entry("+".join(dict.fromkeys(x.name for x in g.entries)), outputs, inputs, first.line)
    e.plan, e.order, e.backward, e.parts = plan, g.entries[-1].order, first.backward, g.entries
    return e
