"""The way back through a traced forward: its backward program, and what a call keeps for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from .._tensor import Tensor
from ..errors import saved_version_error
from ..storage import INFERENCE
from .path import Path, Virtual
from .program import Op
from .slots import Slots, virtuals

_FIRST_RUNS = 2  # by Python, before a backward is worth a table


class Backward:
    """The backward program of a path, bound to memory.

    What a call keeps for it is one flat tuple: memory that the forward has saved, the arguments' memory, the
    addresses that stand for its recorded beginning, all memory that must not change, and its versions.
    """

    def __init__(self, bound: Any, ops: list[Op], saved: dict[int, Any]):
        self.path: Path = bound.path
        self.can_be_native = bound.is_on_cpu and not bound.is_watched
        self._memory = bound._memory
        self.count_saved = len(saved)
        self.slots, self.fresh = self._slots(saved)
        temps = [v for k, v in virtuals(ops).items() if k not in self.slots.index]
        self.program = bound._program(ops, self.slots.storages, temps, self.path.recorder.live, [])
        self._note_reads(ops)
        self.lock = threading.RLock()  # a program's argument blocks and temporaries are there once
        self.runs = 0  # by Python
        self.native: Any = None  # the same by native code, once it is worth it
        threads_on_fork(self)

    def after_fork(self) -> None:
        """In a forked child nobody is running this program."""
        self.lock = threading.RLock()

    def _slots(self, saved: dict[int, Any]) -> tuple[Slots, list[tuple[int, int]]]:
        """The memory that differs between calls; of it that of the results as (slot, bytes)."""
        path, slots = self.path, Slots()
        for r in path.given:
            slots.add(r.storage)
        for v in saved.values():
            slots.add(v)
        for r in path.inputs:
            slots.add(r.storage)
        self.inputs = [(slots.index[id(r.storage)], r.offset * r.layout.itemsize) for r in path.inputs]
        start = len(slots.storages)
        for g in path.leaf_grads:
            if g is not None and type(g.storage) is Virtual:
                slots.add(g.storage)
        return slots, [(i, s.nbytes) for i, s in enumerate(slots.storages) if i >= start]

    def _note_reads(self, ops: list[Op]) -> None:
        """Which arguments, captured tensors and results the program reads: those that must not change before it runs."""
        path = self.path
        read = set().union(*[op.reads for op in ops])
        live = set().union(*[op.writes for op in ops])  # no saved tensors: a checkpoint's generator, a hook's counter
        inputs = {id(r.storage) for r in path.inputs}
        self.read_inputs = [k for k, r in enumerate(path.inputs) if id(r.storage) in read]
        self.read_captured = [(s, la) for _, s, _, la in path.captured if id(s) in read - live]
        kept = [k for k, o in enumerate(path.outputs) if id(o.ref.storage) in read - inputs and o.same is None]
        self.read_outputs = kept
        self.layouts = [path.inputs[k].layout for k in self.read_inputs]
        self.layouts += [la for _, la in self.read_captured]
        self.layouts += [path.outputs[k].ref.layout for k in kept]

    def keep(self, saved: Sequence[Any], leaves: Sequence[Any], outputs: Sequence[Any]) -> tuple:
        """What a call keeps."""
        watched = [leaves[k]._storage for k in self.read_inputs]
        watched += [s for s, _ in self.read_captured]
        watched += [outputs[k]._storage for k in self.read_outputs]
        return (*saved, *[t._storage for t in leaves], *[t._address() - at for t, (_, at) in zip(leaves, self.inputs)], *watched, *[s.version for s in watched])

    def check(self, kept: tuple, node: Any) -> None:
        """RuntimeError if memory that the forward has used was changed since."""
        n = len(self.layouts)
        for storage, version, la in zip(kept[len(kept) - 2 * n :], kept[len(kept) - n :], self.layouts):
            if storage.version != version != INFERENCE:
                raise saved_version_error(Tensor._make(storage, 0, la), version, node)

    def run(self, grads: list[Any], kept: tuple, node: Any) -> list[Any]:
        """Replay: the gradients of the path's leaves from those of its outputs; RuntimeError as ``check`` has it."""
        with self.lock:
            if self.native is not None:
                found = self.native(grads, kept)
                if found is not None:
                    return found
            return self._in_layout(grads, kept, node)

    def _in_layout(self, grads: list[Any], kept: tuple, node: Any) -> list[Any]:
        """The same after a look at what was kept, with gradients in the recorded layouts."""
        from .nodes import in_layout

        self.check(kept, node)
        held = [in_layout(g, r.layout) for r, g in zip(self.path.given, grads)]
        found = None if self.native is None else self.native(held, kept)
        return self._by_python(held, kept) if found is None else found

    def _by_python(self, held: Sequence[Any], kept: tuple) -> list[Any]:
        path, slots = self.path, self.slots
        pointers: list[int] = [0] * len(slots.storages)
        storages: list[Any] = [None] * len(pointers)
        for r, g in zip(path.given, held):
            pointers[slots.index[id(r.storage)]] = g._address()
        first, count = len(path.given), self.count_saved
        for k in range(count):
            pointers[first + k] = kept[k].ptr
        for (slot, _), address in zip(self.inputs, kept[count + len(self.inputs) :]):
            pointers[slot] = address
        for slot, nbytes in self.fresh:
            s = storages[slot] = self._memory(nbytes)
            pointers[slot] = s.ptr
        self.program.run(pointers, None)
        self.runs += 1
        if self.runs == _FIRST_RUNS:
            from .returning import native

            self.native = native(self)
        return [None if g is None else self._result(g, held, storages) for g in path.leaf_grads]

    def _result(self, g: Any, held: Sequence[Any], storages: Sequence[Any]) -> Tensor:
        """The gradient of a leaf."""
        slot = self.slots.index.get(id(g.storage), -1)
        if 0 <= slot < len(held):  # a gradient that only passes through, maybe in another shape
            t = held[slot]
            offset = g.offset - self.path.given[slot].offset + t._offset
            return t if g.layout is t._layout else Tensor._make(t._storage, offset, g.layout)
        return Tensor._make(storages[slot] if slot >= 0 else g.storage, g.offset, g.layout)


def threads_on_fork(owner: Any) -> None:
    """Have ``owner.after_fork()`` called in forked children."""
    from ..kernels import threads

    threads.on_fork(owner)
