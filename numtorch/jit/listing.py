"""What a trace recorded, as text: one line an op, with shapes, dtypes, the user's source line, and what became one kernel."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from .names import Names, guard_text
from .path import Path
from .record import Entry, Live, Ref


class Group:
    """Recorded ops that run as one: ``entries``; ``kernels``: how many native calls (0: optimised away)."""

    __slots__ = ("entries", "kernels")

    def __init__(self, entries: Sequence[Entry], kernels: int = 0):
        self.entries, self.kernels = list(entries), kernels

    @property
    def name(self) -> str:
        """The ops' names: ``mul+tanh``."""
        return "+".join(dict.fromkeys(e.name for e in self.entries))


def groups_of(entries: Sequence[Entry], ops: Sequence[Any] | None) -> list[Group]:
    """Recorded entries in order, gathered as the program runs them (``ops``: its kernel calls; None: not known)."""
    if ops is None:
        return [Group([e], 1) for e in entries]
    made: dict[int, Group] = {}
    member: dict[int, Group] = {}
    for op in ops:
        e = op.entry
        group = made.get(id(e))
        if group is None:
            group = made[id(e)] = Group(())
            for part in e.parts or (e,):
                member[id(part)] = group
        group.kernels += 1
    found: list[Group] = []
    seen: set[int] = set()
    for e in entries:
        group = member.get(id(e))
        if group is None:
            found.append(Group([e]))
            continue
        group.entries.append(e)
        if id(group) not in seen:
            seen.add(id(group))
            found.append(group)
    return found


class Graph:
    """The ops of a recorded path; ``print`` it, or let a notebook draw it.

    ``forward`` and ``backward`` hold the entries, ``groups`` and ``backward_groups`` the same as they run: ops of one group are
    one fused kernel.
    """

    def __init__(self, path: Path, bound: Any = None, name: str = "function"):
        self.forward, self.backward = list(path.forward), list(path.backward)
        self.names = Names(path)
        self.path, self.name = path, name
        self.groups = groups_of(self.forward, None if bound is None else bound.program.ops)
        back = getattr(bound, "backward", None)
        self.backward_groups = groups_of(self.backward, None if back is None else back.ops)

    def __len__(self) -> int:
        return len(self.forward) + len(self.backward)

    def __str__(self) -> str:
        path, typed = self.path, self.names.typed
        lines = [f"{self.name}({', '.join(map(typed, path.inputs))})"]
        guards = {g.at: g for g in path.guards}
        at = {id(e): guards[k] for k, e in enumerate(self.forward) if k in guards}
        for group in self.groups:
            lines += self._group(group, at)
        if len(self.forward) in guards:
            lines.append(self._guard(guards[len(self.forward)]))
        lines.append(f"  return {', '.join(typed(o.ref) for o in path.outputs) or None}")
        lines += self._effects()
        if self.backward:
            lines.append(f"backward({', '.join(map(typed, path.given))})")
            for group in self.backward_groups:
                lines += self._group(group, {})
            made = [typed(g) for g in path.leaf_grads if g is not None]
            lines.append(f"  return {', '.join(made)}")
        return "\n".join([*lines, self.summary])

    __repr__ = __str__

    @property
    def summary(self) -> str:
        """How many ops became how many kernel calls."""
        every = [*self.groups, *self.backward_groups]
        dead = sum(g.kernels == 0 for g in every)
        text = f"{len(self)} ops in {sum(g.kernels for g in every)} kernel calls"
        return f"{text}, {dead} optimised away" if dead else text

    def _effects(self) -> list[str]:
        changed = dict.fromkeys(
            name for name, storage in self.names.captured.items() if id(storage) in self.path.written
        )
        lines = [f"  changes {', '.join(changed)}"] if changed else []
        made = [self.names.of(g) for _, g, _ in self.path.grads if g is not None]
        return lines + ([f"  sets .grad to {', '.join(made)}"] if made else [])

    def _group(self, group: Group, guards: dict[int, Any]) -> list[str]:
        checks = [self._guard(guards[id(e)]) for e in group.entries if id(e) in guards]
        if len(group.entries) == 1:
            note = "" if group.kernels else "  (optimised away)"
            return [*checks, f"  {self.line(group.entries[0])}{note}"]
        head = f"  one kernel: {group.name}"
        return [*checks, head, *(f"  | {self.line(e)}" for e in group.entries)]

    def _guard(self, g: Any) -> str:
        return f"  check {self.names.of(g.source)}: {guard_text(g.value)}"

    def value(self, x: Any) -> str:
        """An operand as text."""
        if isinstance(x, Ref):
            return self.names.of(x)
        if isinstance(x, (tuple, list)):
            return f"({', '.join(map(self.value, x))})"
        return f"live({float(x):g})" if isinstance(x, Live) else f"{x!r}"

    def line(self, e: Entry) -> str:
        """One op: results, operands, attributes, the user's line."""
        given = [self.value(x) for x in e.args] + [f"{k}={self.value(v)}" for k, v in e.attrs.items()]
        made = ", ".join(map(self.names.typed, e.outputs))
        where = f"    # {short(e.line)}" if e.line else ""
        return f"{made} = {e.name}({', '.join(given)}){where}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from .picture import bundle

        return bundle(self)


def short(line: str) -> str:
    """ "folder/file.py:3" as "file.py:3"."""
    return os.path.basename(line)
