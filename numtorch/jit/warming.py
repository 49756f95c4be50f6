"""The run before a recording: what appears at the first call (an optimizer's buffers) exists afterwards, all else is undone.

For the check of a trace it is a run like any other: ``FirstRun`` is what it did and gave.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..shape import Layout
from ..storage import Storage
from . import tree
from .memory import restore, snapshot, values_of
from .record import Entry, Live, Recorder, Recording, Ref, Untraceable


class Noting(Recorder):
    """A recorder that keeps of each op only its name, the layouts of its results, and what it was given."""

    def __init__(self, notes: bool) -> None:
        super().__init__()
        self.notes: list[tuple[str, list[Layout], list[Any]]] | None = [] if notes else None

    def elementwise(self, op: Any, plan: Any, outputs: Sequence[Any], args: Sequence[Any]) -> None:
        """An elementwise op has run."""
        self._note(op.name, outputs, args, ())

    def launches(self, op: Any, launches: Sequence[Any], outputs: Sequence[Any], inputs: Sequence[Any], attrs: dict) -> None:
        """A kernel op has run."""
        self._note(op.name, outputs, inputs, attrs.values())

    def _note(self, name: str, outputs: Sequence[Any], args: Sequence[Any], more: Iterable[Any]) -> None:
        for t in args:
            if hasattr(t, "_layout"):
                self.captured[id(t)] = t
        if self.notes is not None:
            self.notes.append((name, [t._layout for t in outputs], list(given(*args, *more))))


def given(*operands: Any) -> Iterator[Any]:
    """What tells the operands of an op in two runs apart: offsets and layouts of tensors, numbers but those of a schedule."""
    for x in operands:
        if type(x) in (int, float, bool, str):
            yield x
        elif type(x) is Ref:
            yield from x[1:]
        elif hasattr(x, "_layout"):
            yield x._offset
            yield x._layout
        elif isinstance(x, (tuple, list)):
            yield from given(*x)
        elif isinstance(x, (int, float, str)) and type(x) is not Live:
            yield x


class FirstRun:
    """What the run did and gave: notes of its ops, values of its results and gradients, memory that it changed, by address."""

    def __init__(self, run: Noting, results: Sequence[Any]):
        self._notes = run.notes or []
        self.outputs = [values_of(t) for t in results]
        self.grads = [None if t._grad is None else values_of(t._grad) for t, _ in run.grads.values()]
        self.memory: dict[int, tuple[Storage, bytes]] = {}  # the storages, so that nobody else gets their addresses
        self.keep(s for s, _ in run.undo.values())

    def keep(self, storages: Iterable[Storage]) -> None:
        """Note what these hold now."""
        self.memory.update((s.ptr, (s, snapshot(s))) for s in storages)

    def did(self, entries: Sequence[Entry]) -> bool:
        """Whether it did what a recording says."""
        if len(entries) != len(self._notes):
            return False
        for e, (name, layouts, held) in zip(entries, self._notes):
            now = list(given(*e.args, *e.attrs.values()))
            if e.name != name or [r.layout for r in e.outputs] != layouts or len(now) != len(held):
                return False
            if now != held and any(p != q and not (p != p and q != q) for p, q in zip(now, held)):
                return False
        return True


class _Weak:
    """The tensors and objects of a result, not kept alive."""

    def __init__(self, result: Any):
        leaves: list[Any] = []
        self.containers: dict[int, Any] = {}
        tree.containers(result, self.containers)
        found = [*tree.values(tree.flatten(result, leaves)), *leaves]
        self.held = [weakref.ref(x) for x in found if type(x).__weakrefoffset__]
        # Objects without weak references (lists, functions written in C) are told by their number of references.
        self.others = {id(x): x for x in found if not type(x).__weakrefoffset__ and not tree.is_lasting(x)}

    def alive(self) -> dict[int, Any]:
        """Those that somebody else still holds."""
        found = {id(x): x for x in (r() for r in self.held) if x is not None} | self.containers
        for key in list(self.others):
            if sys.getrefcount(self.others[key]) > 2:  # the dict's, the call's argument
                found[key] = self.others[key]
        return found


def _leaves_of(result: Any) -> list[Any]:
    leaves: list[Any] = []
    tree.flatten(result, leaves)
    return leaves


def warm_up(
    function: Callable, args: tuple, kwargs: dict, watch: bool
) -> tuple[dict[int, Storage], Mapping[int, Any], FirstRun | None]:
    """Run once and undo it; what the function made and keeps (optimizer state) gets the values it was made with.

    Returns the storages that it used and did not make, the objects among its results that somebody else holds, by id, and
    what it did and gave if ``watch``.
    """
    first: FirstRun | None = None
    with Recording(Noting(watch)) as r:
        try:
            result = function(*args, **kwargs)
            if tree.containers(result, {}):
                raise Untraceable("it returns one list, dict or object in two places")
            if watch:
                first = FirstRun(r, _leaves_of(result))
            results = _Weak(result)
            del result
        finally:
            made = [(weakref.ref(s), r.first.get(key)) for key, s in r.created.items()]
            captured = {id(t._storage): t._storage for t in r.captured.values() if id(t._storage) not in r.created}
            r.created.clear()
            r.captured.clear()
            r.guards.clear()
            r.roll_back()
    kept = [(s, content) for s, content in ((found(), content) for found, content in made) if s is not None]
    if first is not None:
        first.keep(s for s, _ in kept)
    for s, content in kept:
        if content is not None:
            restore(s, content)
    return captured, results.alive(), first
