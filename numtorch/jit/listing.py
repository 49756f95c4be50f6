"""What a trace recorded, as text: one line an op, with shapes, dtypes and the user's source line."""

from __future__ import annotations

from typing import Any

from .path import Path
from .record import Entry, Live, Ref


class Graph:
    """The ops of a recorded path; ``print`` it. ``forward`` and ``backward`` hold the entries."""

    def __init__(self, path: Path):
        self.forward, self.backward = list(path.forward), list(path.backward)
        self._names: dict[Any, str] = {}
        for k, r in enumerate(path.inputs):
            self._names[id(r.storage)] = f"input{k}"
        self._path = path

    def __len__(self) -> int:
        return len(self.forward) + len(self.backward)

    def __str__(self) -> str:
        lines = [f"inputs: {', '.join(map(self._typed, self._path.inputs))}"]
        lines += [self._line(e) for e in self.forward]
        lines.append(f"outputs: {', '.join(self._typed(o.ref) for o in self._path.outputs)}")
        if self.backward:
            lines.append("backward:")
            lines += [self._line(e) for e in self.backward]
        return "\n".join(lines)

    __repr__ = __str__

    def _name(self, r: Ref) -> str:
        found = self._names.get(id(r.storage))
        if found is None:
            found = self._names[id(r.storage)] = f"%{len(self._names)}"
        return found

    def _typed(self, r: Ref) -> str:
        la = r.layout
        return f"{self._name(r)}: {la.dtype.name}{list(la.shape)}"

    def _value(self, x: Any) -> str:
        if isinstance(x, Ref):
            return self._name(x)
        return f"live({float(x):g})" if isinstance(x, Live) else f"{x!r}"

    def _line(self, e: Entry) -> str:
        given = ", ".join(self._value(x) for x in e.inputs)
        made = ", ".join(self._typed(r) for r in e.outputs)
        where = f"    # {e.line}" if e.line else ""
        return f"  {made} = {e.name}({given}){where}"
