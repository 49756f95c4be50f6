"""A traced function as data that another process can run: what ``save`` writes and ``load`` reads.

All paths that hold for the present state of its modules are kept; memory is numbered, ops go by name.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from .._tensor import Tensor
from ..nn.parameter import Parameter
from .names import all_refs, captured_names, module_tensors, optimizer_tensors
from .opnames import UnknownOp, name_of
from .path import Path, Virtual
from .record import Live
from .values import Writer


class SaveError(TypeError):
    """A trace that no file can hold; the message says why."""


class _Memory:
    """The storages of all paths, numbered: captured ones once, arguments and results for each path."""

    def __init__(self) -> None:
        self.table: list[dict[str, Any]] = []
        self.blocks: list[Any] = []
        self.tensors: list[dict[str, Any]] = []
        self.tensor_numbers: dict[int, int] = {}
        self.captured: dict[int, int] = {}
        self.keep: list[Any] = []  # numbers go by id()
        self.length = 0
        self.labels: dict[int, str] = {}

    def add(self, kind: str, nbytes: int, **more: Any) -> int:
        self.table.append({"kind": kind, "nbytes": nbytes, **more})
        return len(self.table) - 1

    def capture(self, storage: Any) -> int:
        """The number of memory that is part of the file."""
        found = self.captured.get(id(storage))
        if found is not None:
            return found
        if storage.device != "cpu":
            raise SaveError(f"jit.save: a captured tensor lives on {storage.device}; move the model to the CPU and trace again")
        self.keep.append(storage)
        name = self.labels.get(id(storage), "")
        pad = -self.length % 64
        self.blocks += [bytes(pad), bytes(storage.bytes())] if storage.nbytes else [bytes(pad)]
        number = self.add("captured", storage.nbytes, name=name, at=self.length + pad)
        self.length += pad + storage.nbytes
        self.captured[id(storage)] = number
        return number


def describe(name: str, paths: Sequence[Path]) -> tuple[dict, list[Any]]:
    """The description and the blocks of memory of a function's paths; SaveError if one can't be saved."""
    if not paths:
        raise SaveError(f"jit.save: {name} has recorded nothing yet; call it once with example inputs")
    memory, options = _Memory(), _Options()
    for path in paths:
        memory.labels.update(captured_names(path))
    writer = _PathWriter(memory, options)
    try:
        kinds = [writer.path(p) for p in paths]
    except UnknownOp as error:
        raise SaveError(f"jit.save: {name} can't be saved: {error}") from None
    except TypeError as error:
        raise error if isinstance(error, SaveError) else SaveError(
            f"jit.save: {name} can't be saved: it holds {error}"
        ) from None
    return {
        "name": name, "storages": memory.table, "tensors": memory.tensors, "options": options.table,
        "layouts": writer.write.table, "paths": kinds,
    }, memory.blocks  # fmt: skip


class _Options:
    """Numbers that each replay reads anew (learning rates and the like), by a name for users."""

    def __init__(self) -> None:
        self.table: list[list[Any]] = []
        self.numbers: dict[Any, int] = {}
        self.keep: list[Any] = []

    def number(self, x: Live) -> int:
        """The number of an option."""
        f = x.function
        key: Any = id(f)
        name = "number"
        if isinstance(f, functools.partial) and f.args and isinstance(f.args[-1], str):
            name = f.args[-1]
            owner = getattr(f.func, "__self__", f.func)
            group = getattr(owner, "group", None)
            key = (id(owner) if group is None else id(group), name)
        found = self.numbers.get(key)
        if found is None:
            self.keep.append(x)
            taken = {n for n, _ in self.table}
            k = 1
            label = name
            while label in taken:
                label, k = f"{name}.{k}", k + 1
            found = self.numbers[key] = len(self.table)
            self.table.append([label, float(f())])
        return found


class _PathWriter:
    def __init__(self, memory: _Memory, options: _Options):
        self.memory = memory
        self.local: dict[int, int] = {}
        self.write = Writer(self._storage, options.number)

    def _storage(self, storage: Any) -> int:
        from ..random import default_generator

        found = self.local.get(id(storage))
        if found is not None:
            return found
        if type(storage) is Virtual:
            number = self.memory.add("local", storage.nbytes)
        elif storage is default_generator._state._storage:
            number = self.memory.capture(storage)
            self.memory.table[number]["rng"] = True
        else:
            number = self.memory.capture(storage)
        self.local[id(storage)] = number
        return number

    def path(self, path: Path) -> dict:
        """One path as plain data."""
        self.local = {}
        write = self.write
        for k, r in enumerate(path.inputs):
            if id(r.storage) not in self.local:
                self.local[id(r.storage)] = self.memory.add("input", r.storage.nbytes, input=k)
        self._grad_memory(path)
        for r in all_refs(path):
            self._storage(r.storage)
        self._expose(path)
        return {
            "structure": write.tree(path.structure), "requires": list(path.requires), "mode": list(path.mode),
            "inputs": [write(r) for r in path.inputs],
            "forward": [self._entry(e) for e in path.forward],
            "backward": [self._entry(e) for e in path.backward],
            "guards": [[g.at, write(g.source), write(g.value)] for g in path.guards],
            "result": write.tree(path.result),
            "outputs": [[write(o.ref), o.requires_grad, self._who(o.same)] for o in path.outputs],
            "grads": [[self._who(t), None if g is None else write(g), same is not None] for t, g, same in path.grads],
            "grad_reads": [[self._who(t), g is not None] for t, g in path.grad_reads],
            "given": [write(r) for r in path.given],
            "leaves": [self._who(t) for t in path.leaves],
            "leaf_grads": [None if g is None else write(g) for g in path.leaf_grads],
            "differentiable": list(path.differentiable),
            "constants": [[self._storage(s), write(content)] for s, content in path.constants],
        }  # fmt: skip

    def _entry(self, e: Any) -> list[Any]:
        write = self.write
        elementwise = e.plan is not None
        attrs = None if elementwise else {k: write(v) for k, v in e.attrs.items()}
        return [name_of(e.op), [write(r) for r in e.outputs], [write(a) for a in e.args], attrs, e.line]

    def _who(self, t: Any) -> Any:
        if t is None:
            return None
        return ["input", t[1]] if type(t) is tuple else ["tensor", self._tensor(t)]

    def _tensor(self, t: Tensor, name: str = "") -> int:
        """The number of a captured tensor that has a life of its own: a parameter, a buffer, state."""
        found = self.memory.tensor_numbers.get(id(t))
        if found is None:
            self.memory.keep.append(t)
            found = self.memory.tensor_numbers[id(t)] = len(self.memory.tensors)
            row: dict[str, Any] = {
                "name": name or self.memory.labels.get(id(t._storage), ""), "storage": self.memory.capture(t._storage),
                "offset": t._offset, "layout": self.write.layout(t._layout), "requires_grad": t._rg,
                "parameter": isinstance(t, Parameter), "grad": None, "of_module": False,
            }  # fmt: skip
            self.memory.tensors.append(row)
            g = t._grad
            if g is not None:
                row["grad"] = [self.memory.capture(g._storage), g._offset, self.write.layout(g._layout)]
        return found

    def _expose(self, path: Path) -> None:
        """The tensors that a user may want to see or change: those of modules and optimizers."""
        used = {id(r.storage) for r in all_refs(path)}
        for name, t in module_tensors(path):
            if id(t._storage) in used:
                self.memory.tensors[self._tensor(t, name)]["of_module"] = True
        for name, t in optimizer_tensors(path, self.memory.labels):
            if id(t._storage) in used:
                self._tensor(t, "" if id(t._storage) in self.memory.labels else name)

    def _grad_memory(self, path: Path) -> None:
        """Gradients that the function found and used: their memory belongs to the tensor that has them."""
        for who, g in path.grad_reads:
            if g is None or id(g._storage) in self.local:
                continue
            if type(who) is tuple:
                number = self.memory.add("grad", g._storage.nbytes, of=["input", who[1]], offset=g._offset)
            else:
                number = self.memory.add("grad", g._storage.nbytes, of=["tensor", self._tensor(who)], offset=g._offset)
            self.local[id(g._storage)] = number


__all__ = ["SaveError", "describe"]
