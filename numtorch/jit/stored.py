"""The paths of a saved trace after reading: checked, with their memory numbered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from . import tree
from .record import Ref
from .values import Reader


class StoredEntry:
    """One recorded op: its portable name, where it writes and what it reads; ``attrs`` is None for an elementwise op."""

    __slots__ = ("args", "attrs", "line", "op", "outputs")

    def __init__(self, row: Sequence[Any], read: Reader):
        op, outputs, args, attrs, line = row
        self.op, self.line = op, str(line)
        self.outputs: list[Ref] = [read(r) for r in outputs]
        self.args: list[Any] = [read(a) for a in args]
        self.attrs = None if attrs is None else {k: read(v) for k, v in attrs.items()}

    def same(self, other: StoredEntry) -> bool:
        """Whether both are the same op on tensors of the same kind."""
        return self.op == other.op and [r.layout for r in self.outputs] == [r.layout for r in other.outputs]


class StoredPath:
    """One recorded way through a saved function."""

    def __init__(self, row: dict[str, Any], read: Reader):
        self.structure, self.result = read.tree(row["structure"]), read.tree(row["result"])
        self.requires, self.mode = tuple(row["requires"]), tuple(row["mode"])
        self.inputs: list[Ref] = [read(r) for r in row["inputs"]]
        self.forward = [StoredEntry(e, read) for e in row["forward"]]
        self.backward = [StoredEntry(e, read) for e in row["backward"]]
        self.guards = [(at, read(source), read(value)) for at, source, value in row["guards"]]
        self.outputs = [(read(r), bool(needs), same) for r, needs, same in row["outputs"]]
        self.grads = [(who, None if r is None else read(r), same) for who, r, same in row["grads"]]
        self.grad_reads = [(who, bool(present)) for who, present in row["grad_reads"]]
        self.given: list[Ref] = [read(r) for r in row["given"]]
        self.leaves, self.differentiable = row["leaves"], row["differentiable"]
        self.leaf_grads = [None if r is None else read(r) for r in row["leaf_grads"]]
        self.constants = [(number, read(content)) for number, content in row["constants"]]
        places: dict[int, int] = {}
        self.shared = [places.setdefault(r.storage, i) for i, r in enumerate(self.inputs)]

    @property
    def steps(self) -> bool:
        """Whether it sets gradients itself, as a training step does."""
        return bool(self.grads)

    @property
    def signature(self) -> str:
        """The tensors it was recorded with."""
        return "(" + ", ".join(f"{r.layout.dtype.name}{list(r.layout.shape)}" for r in self.inputs) + ")"

    def fits(self, structure: Any, leaves: Sequence[Any]) -> bool:
        """Whether a call has the structure, the layouts and the memory sharing of the recording."""
        if len(leaves) != len(self.inputs) or not tree.same(self.structure, structure):
            return False
        if any(t._layout is not r.layout for t, r in zip(leaves, self.inputs)):
            return False
        if any(t._rg and not needed for t, needed in zip(leaves, self.requires)):
            return False
        places: dict[int, int] = {}
        if [places.setdefault(id(t._storage), i) for i, t in enumerate(leaves)] != self.shared:
            return False
        first = [(leaves[k], self.inputs[k]) for k in self.shared]
        return all(t._offset - f._offset == r.offset - g.offset for t, r, (f, g) in zip(leaves, self.inputs, first))


def alternatives(paths: Sequence[StoredPath], path: StoredPath, guard: int) -> Iterator[StoredPath]:
    """Other paths of the same kind of call that are the same up to this guard."""
    at = path.guards[guard][0]
    for other in paths:
        if (
            other is not path
            and len(other.guards) > guard
            and other.mode == path.mode
            and other.requires == path.requires
            and len(other.inputs) == len(path.inputs)
            and all(a.layout is b.layout for a, b in zip(other.inputs, path.inputs))
            and tree.same(other.structure, path.structure)
            and other.guards[guard][0] == at
            and all(a[0] == b[0] and _equal(a[2], b[2]) for a, b in zip(other.guards[:guard], path.guards[:guard]))
            and all(a.same(b) for a, b in zip(other.forward[:at], path.forward[:at]))
        ):
            yield other


def _equal(a: Any, b: Any) -> bool:
    """Whether two guards ask for the same value; ranges are the same where the ops before are."""
    return type(a) is type(b) and (isinstance(a, tuple) or a == b or (a != a and b != b))
