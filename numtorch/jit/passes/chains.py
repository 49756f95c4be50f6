"""Elementwise chains: neighbours in the data flow that work on the same elements become one kernel.

An entry joins an earlier group if nothing between them is in its way, and tensors that are the same elements in another
shape (a reshape of contiguous memory) are the same tensor here.
"""

from __future__ import annotations

from typing import Any

from ...ops.launch import PARALLEL_COST, threads
from ...shape import contiguous
from ..record import Entry, Ref
from .work import LatePlan, Work, reads, recorded, storages, writes

MOST_STEPS = 24  # of one fused kernel: beyond that registers spill and compiling takes long
MOST_WORDS = 40  # pointers and numbers of one fused kernel
MOST_BACK = 64  # how many entries an op may be moved forward to join a group


class _Group:
    """Elementwise entries that become one kernel."""

    def __init__(self, first: Entry, segment: int):
        self.shape = first.outputs[0].layout.shape
        self.numel = first.outputs[0].layout.numel
        self.segment = segment
        self.dtype = _computed_in(first)
        self.entries: list[Entry] = []
        self.reads: dict[tuple, Ref] = {}
        self.writes: dict[tuple, Ref] = {}
        self.flat = True
        self.mixed = False  # results of different shapes: then every tensor must be flat
        self.add(first)

    def add(self, e: Entry) -> None:
        """Take an entry in."""
        self.entries.append(e)
        self.flat = self.flat and _is_flat(e)
        self.mixed = self.mixed or e.outputs[0].layout.shape != self.shape
        for i in e.plan.tensors:
            r = e.inputs[i]
            if key_of(r, self.numel) not in self.writes:
                self.reads[key_of(r, self.numel)] = r
        for r in e.outputs:
            self.writes[key_of(r, self.numel)] = r

    def takes(self, e: Entry) -> bool:
        """Whether an entry can join: the same elements, and memory shared with the group only element by element."""
        if len(self.entries) >= MOST_STEPS or not self._same_elements(e) or _computed_in(e) != self.dtype:
            return False  # a kernel has one main dtype, in which its functions compute
        if len(self.reads) + len(self.writes) + len(e.inputs) + len(e.outputs) > MOST_WORDS:
            return False
        written = {id(r.storage) for r in self.writes.values()}
        read = {id(r.storage) for r in self.reads.values()}
        for i in e.plan.tensors:
            if id(e.inputs[i].storage) in written and key_of(e.inputs[i], self.numel) not in self.writes:
                return False
        for r in e.outputs:
            if id(r.storage) in written and key_of(r, self.numel) not in self.writes:
                return False
            if id(r.storage) in read and (key_of(r, self.numel) not in self.reads or _repeats(r)):
                return False
        return True

    def _same_elements(self, e: Entry) -> bool:
        la = e.outputs[0].layout
        if la.shape == self.shape:
            return not self.mixed or _is_flat(e)
        first = self.entries[0].outputs[0].layout
        return self.flat and la.numel == first.numel and la.numel > 0 and _is_flat(e)

    def touches(self) -> tuple[set[int], set[int]]:
        """Ids of the storages that are read and written."""
        return storages(self.reads.values()), storages(self.writes.values())


def _computed_in(e: Entry) -> str:
    return e.plan.program.steps[0].compute_dtype


def _is_flat(e: Entry) -> bool:
    """Whether all its tensors are the same number of elements in a row, so that their shape does not matter."""
    n = e.outputs[0].layout.numel
    tensors = [*e.outputs, *[e.inputs[i] for i in e.plan.tensors]]
    return all(r.layout.contiguous and r.layout.numel == n for r in tensors) and not e.plan.program.uses_index


def key_of(r: Ref, numel: int) -> tuple:
    """What two operands have in common that are the same elements for an op of ``numel`` results.

    One with fewer elements is repeated, in which way its shape tells: a row and a column may be the same memory.
    """
    la = r.layout
    if not la.contiguous:
        return (id(r.storage), r.offset, id(la))
    return (id(r.storage), r.offset, la.dtype.name, la.numel if la.numel == numel else la.shape)


def _repeats(r: Ref) -> bool:
    return any(s == 0 and n > 1 for n, s in zip(r.layout.shape, r.layout.strides))


def fusible(e: Entry) -> bool:
    """Whether an entry is an elementwise op whose result has the dtype in which it was computed (or is a test)."""
    if e.plan is None or not (e.plan.address or e.outputs[0].layout.device != "cpu"):
        return False
    step = e.plan.program.steps[0]
    result = e.outputs[0].layout.dtype.name
    same = all(r.layout.dtype.name == result for r in e.outputs)
    return same and (
        result == step.compute_dtype or (result == "bool" and getattr(e.op, "result", "") == "bool")
    )


def fuse(entries: list[Entry], work: Work) -> list[Entry]:
    """Elementwise entries on the same elements as one kernel each."""
    items: list[Any] = []
    for e in entries:
        if not fusible(e):
            items.append(e)
            continue
        group = _group_for(items, e, work.segment(e))
        if group is None:
            items.append(_Group(e, work.segment(e)))
        else:
            group.add(e)
    later = set(work.needed)
    result: list[Entry] = []
    for g in reversed(items):
        if isinstance(g, _Group):
            made = g.entries[0] if len(g.entries) == 1 else _fused(g, later)
            if len(g.entries) > 1:
                work.note(f"{made.name} at {made.line}")
            result.append(made)
            later |= storages(g.reads.values())
        else:
            result.append(g)
            later |= reads(g)
    result.reverse()
    return result


def _group_for(items: list[Any], e: Entry, segment: int) -> _Group | None:
    """The group that an entry can join: nothing between reads what it writes, or writes what it reads or writes."""
    mine, made = reads(e), writes(e)
    for item in items[: -MOST_BACK - 1 : -1]:
        if isinstance(item, _Group):
            if item.segment != segment:
                return None
            if item.takes(e):
                return item
            used, written = item.touches()
        else:
            used, written = reads(item), writes(item)
        if written & (mine | made) or used & made:
            return None
    return None


class _Names:
    """Names of a fused program: inputs x0.., numbers s0.., values t0.., outputs y0.. ."""

    def __init__(self, numel: int) -> None:
        self.numel = numel
        self.values: dict[tuple, str] = {}
        self.inputs: list[Ref] = []
        self.scalars: list[tuple[Any, str]] = []
        self.count = 0

    def tensor(self, r: Ref) -> str:
        """The name of an operand's value."""
        key = key_of(r, self.numel)
        found = self.values.get(key)
        if found is None:
            found = self.values[key] = f"x{len(self.inputs)}"
            self.inputs.append(r)
        return found

    def number(self, value: Any, kind: str) -> str:
        """The name of a number."""
        self.scalars.append((value, kind))
        return f"s{len(self.scalars) - 1}"


def _fused(g: _Group, later: set[int]) -> Entry:
    """One entry for a group: its outputs are what is read later."""
    from ...kernels.codegen import Program, Step

    names = _Names(g.numel)
    steps: list[Any] = []
    last: dict[tuple, int] = {}
    for k, e in enumerate(g.entries):
        for r in e.outputs:
            last[key_of(r, g.numel)] = k
    outputs: list[Ref] = []
    for k, e in enumerate(g.entries):
        program = e.plan.program
        step = program.steps[0]
        given = {f"x{j}": names.tensor(e.inputs[i]) for j, i in enumerate(e.plan.tensors)}
        for i, (name, kind) in zip(e.plan.scalars, program.scalars):
            given[name] = names.number(e.inputs[i], kind)
        outs = []
        for r in e.outputs:
            kept = last[key_of(r, g.numel)] == k and id(r.storage) in later
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
            names.values[key_of(r, g.numel)] = name
    scalars = [(f"s{i}", kind) for i, (_, kind) in enumerate(names.scalars)]
    fused = Program(
        inputs=[r.layout.dtype.kind for r in names.inputs], scalars=scalars,
        outputs=[r.layout.dtype.kind for r in outputs], steps=steps,
    )  # fmt: skip
    return _entry(g, fused, names, outputs)


def _entry(g: _Group, program: Any, names: _Names, outputs: list[Ref]) -> Entry:
    from ...shape import expand_strides

    plan = LatePlan(program, outputs[0].layout.device)
    plan.tensors = tuple(range(len(names.inputs)))
    plan.scalars = tuple(range(len(names.inputs), len(names.inputs) + len(names.scalars)))
    plan.outputs = tuple(r.layout for r in outputs)
    shape = g.shape if all(e.outputs[0].layout.shape == g.shape for e in g.entries) else (outputs[0].layout.numel,)
    if shape is not g.shape:
        outputs = [_in_a_row(r) for r in outputs]
        names.inputs = [_in_a_row(r) for r in names.inputs]
    strides = [r.layout.strides for r in outputs]
    strides += [expand_strides(r.layout.shape, r.layout.strides, shape) for r in names.inputs]
    plan.sizes = (shape, tuple(strides))
    n = outputs[0].layout.numel
    plan.chunks = 1 if n * len(program.steps) < PARALLEL_COST else min(threads(), (n + 16383) // 16384)
    first = g.entries[0]
    inputs = [*names.inputs, *[v for v, _ in names.scalars]]
    e = Entry("+".join(dict.fromkeys(x.name for x in g.entries)), outputs, inputs, first.line)
    e.plan, e.order, e.backward, e.parts = plan, g.entries[-1].order, first.backward, recorded(*g.entries)
    return e


def _in_a_row(r: Ref) -> Ref:
    return Ref(r.storage, r.offset, contiguous((r.layout.numel,), r.layout.dtype, r.layout.device))
