"""What the passes share: the program being rewritten, and questions about its entries."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..._tensor import Tensor
from ...ops.launch import Launch, Plan
from ...shape import contiguous
from ..record import Entry, Guard, Live, Ref, ref


class Work:
    """One program on its way through the passes.

    ``needed``: ids of storages that must hold their values afterwards; ``guards``: values that are compared, ``cuts``: orders
    of entries before which the program stops to do so (nothing is moved across a stop); ``frozen``: ids of storages that
    never change.
    """

    def __init__(self, needed: set[int], guards: Sequence[Guard] = (), frozen: Iterable[int] = ()):
        self.needed, self.frozen = set(needed), set(frozen)
        self.notes: list[str] = []
        self.check(guards)

    def check(self, guards: Sequence[Guard]) -> None:
        """These are the values that are compared."""
        self.guards = list(guards)
        self.cuts = sorted({g.at for g in guards})

    def segment(self, e: Entry) -> int:
        """Between which stops an entry runs."""
        return bisect_right(self.cuts, e.order)

    def note(self, text: str) -> None:
        """A line for the report: what was rewritten, and where."""
        self.notes.append(text)


class LatePlan(Plan):
    """The plan of a fused program, whose kernel is loaded (or compiled) when it is asked for: a tail needs another one."""

    __slots__ = ("found",)

    def __init__(self, program: Any, device: str):
        self.program, self.alone, self.found = program, None, None
        if device != "cpu":
            self.found = "cuda", (), 0  # a GPU lays its launch out itself

    def _find(self) -> tuple[str, tuple, int]:
        if self.found is None:
            kind, words = self.program.words(*self.sizes)
            self.found = kind, words, self.program.kernel(kind).address()
        return self.found

    @property
    def layout_kind(self) -> str:
        """The layout of its kernel."""
        return self._find()[0]

    @property
    def words(self) -> tuple:
        """The words between its pointers and numbers."""
        return self._find()[1]

    @property
    def address(self) -> int:
        """The address of its kernel; 0 on a GPU."""
        return self._find()[2]


def replaced_plan(old: Plan, **changes: Any) -> LatePlan:
    """A plan like another one for other sizes, outputs or chunks."""
    made = LatePlan(old.program, old.outputs[0].device)
    for name in ("tensors", "scalars", "outputs", "sizes", "chunks"):
        setattr(made, name, changes.get(name, getattr(old, name)))
    return made


def storages(refs: Iterable[Any]) -> set[int]:
    """Ids of the storages behind the tensors among operands."""
    return {id(r.storage) for r in refs if isinstance(r, Ref)}


def reads(e: Entry) -> frozenset[int]:
    """Ids of the storages that an entry may read; a kernel may add to what it writes."""
    known = e.reads  # asked for very often; right while the entry has the same operands
    if known is None or known[0] is not e.inputs or known[1] is not e.launches or known[2] is not e.plan:
        known = e.reads = (e.inputs, e.launches, e.plan, _reads(e))
    return known[3]


def _reads(e: Entry) -> frozenset[int]:
    if e.plan is not None:
        return frozenset([id(e.inputs[i].storage) for i in e.plan.tensors])
    found = storages(e.inputs)
    for la in e.launches or ():
        found |= storages(la.pointers)
    return frozenset(found)


def writes(e: Entry) -> frozenset[int]:
    """Ids of the storages that an entry writes."""
    known = e.writes
    if known is None or known[0] is not e.outputs:
        known = e.writes = (e.outputs, frozenset(storages(e.outputs)))
    return known[1]


def touches(entries: Iterable[Entry]) -> dict[int, list[int]]:
    """For each storage the places of the entries that read or write it, in order."""
    found: dict[int, list[int]] = {}
    for k, e in enumerate(entries):
        for key in reads(e) | writes(e):
            found.setdefault(key, []).append(k)
    return found


def is_virtual(r: Ref) -> bool:
    """Whether the memory exists only while the program runs."""
    from ..path import Virtual

    return type(r.storage) is Virtual


def covers(r: Ref) -> bool:
    """Whether a tensor is the whole of its memory, each element once."""
    return (
        r.offset == 0 and r.layout.dense and r.layout.numel * r.layout.itemsize == getattr(r.storage, "nbytes", -1)
    )


def has_live(e: Entry) -> bool:
    """Whether a number in it is computed anew at each replay."""
    return any(type(x) is Live for x in e.inputs) or any(
        type(w) is Live for la in e.launches or () for w in la.words
    )


def copy_of(e: Entry) -> Entry:
    """An entry of the same content: a pass changes copies, never the recording."""
    made = Entry(e.name, e.outputs, e.inputs, e.line)
    for name in ("args", "attrs", "backward", "launches", "op", "order", "plan", "tail"):
        setattr(made, name, getattr(e, name))
    made.parts = recorded(e)
    return made


def recorded(*entries: Entry) -> list[Entry]:
    """The recorded entries that these entries were made of."""
    return [part for e in entries for part in e.parts or (e,)]


def mapped(e: Entry, change: Callable[[Ref], Ref]) -> Entry:
    """The entry with every tensor in it replaced by ``change`` of it."""

    def moved(x: Any) -> Any:
        if isinstance(x, Ref):
            return change(x)
        return type(x)(map(moved, x)) if type(x) in (tuple, list) else x

    if e.tail is not None:
        from .tails import joined, tail_of

        found = tail_of(mapped(e.tail.host, change), mapped(e.tail.chain, change))
        assert found is not None  # it was one, and memory changes its place only
        made = joined(found)
        made.order = e.order
        return made
    made = copy_of(e)
    made.outputs = [change(r) for r in e.outputs]
    made.inputs = [moved(x) for x in e.inputs]
    made.args = made.inputs if e.args is e.inputs else moved(e.args)
    made.attrs = {k: moved(v) for k, v in (e.attrs or {}).items()}
    if e.launches is not None:
        made.launches = [
            Launch(la.kernel, la.env, [moved(p) for p in la.pointers], la.words, la.units, la.cost) for la in e.launches
        ]
    return made


def renamed(entries: Iterable[Entry], old: Any, new: Any) -> list[Entry]:
    """Entries with one storage in the place of another."""

    def change(r: Ref) -> Ref:
        return Ref(new, r.offset, r.layout) if r.storage is old else r

    key = id(old)
    return [mapped(e, change) if key in reads(e) or key in writes(e) else e for e in entries]


def can_replan(e: Entry) -> bool:
    """Whether its kernels read its operands themselves (not copies in another layout): only then it can be planned anew."""
    used = storages(p for la in e.launches or () for p in la.pointers)
    return storages(e.args) <= used


def replanned(e: Entry, op: Any, outputs: Sequence[Ref], args: Sequence[Any], attrs: dict) -> Entry:
    """An entry whose launches are planned anew, for other outputs, operands or attributes; nothing runs."""
    made = copy_of(e)
    made.op, made.outputs, made.args, made.attrs = op, list(outputs), list(args), attrs
    made.inputs = [a for a in args if isinstance(a, Ref)]
    launches = op._plan([_stand(r) for r in outputs], *[_stand(a) for a in args], **attrs)
    made.launches = [
        Launch(la.kernel, la.env, [ref(p) if hasattr(p, "_layout") else p for p in la.pointers], la.words, la.units, la.cost)
        for la in launches
    ]
    return made


def _stand(r: Any) -> Any:
    return Tensor._make(r.storage, r.offset, r.layout) if isinstance(r, Ref) else r


def packing(nbytes: int, kind: Any, like: Entry, sources: list[Ref]) -> tuple[Entry, Ref]:
    """An entry, still without launches, that packs weights of another one once, and the memory that it packs them into."""
    from ..path import Virtual

    target = Ref(Virtual(nbytes), 0, contiguous((nbytes // kind.itemsize,), kind, "cpu"))
    made = Entry("pack", [target], sources, like.line)
    made.order, made.op, made.args = like.order, like.op, sources
    return made, target


def elementwise(name: str, outputs: Sequence[Ref], args: Sequence[Any], like: Entry) -> Entry:
    """A new entry of an elementwise op, in the place and at the source line of another entry."""
    from ...ops.declare import TABLE

    op = TABLE[name]
    stands = tuple([_stand(a) for a in args])
    key = ("into", *[r.layout for r in outputs], *[a._layout if hasattr(a, "_layout") else type(a) for a in stands])
    plan = op._plans.get(key)
    if plan is None:
        plan, _ = op.plan(key, stands, out=[r.layout for r in outputs])
    made = Entry(op.name, outputs, args, like.line)
    made.op, made.plan, made.args, made.attrs = op, plan, made.inputs, {}
    made.order, made.backward = like.order, like.backward
    return made
