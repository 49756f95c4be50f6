"""A program's kernels run one by one on copies of all memory: to time them, to compare them, without any effect."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..storage import Storage
from .program import Own
from .record import Live


def runner(entries: Sequence[tuple[int, int, int]], keep: Any) -> Any:
    """A function that runs kernel calls one after the other."""
    from ..kernels.driver import PARALLEL, SERIAL, Program, replay

    program = Program(entries, (), keep)
    address, mode = program.address, PARALLEL if any(n > 1 for _, _, n in entries) else SERIAL

    def run(program: Any = program) -> None:
        replay(address, mode)

    return run


class Copies:
    """Memory of a program, copied, so that running it has no effect."""

    def __init__(self, bound: Any, leaves: Sequence[Any]):
        self.storages: dict[int, Storage] = {}
        self.shifts: dict[int, int] = {}
        self.keep: list[Any] = []
        for r, t in zip(bound.path.inputs, leaves):
            self.shifts[id(r.storage)] = (t._offset - r.offset) * r.layout.itemsize
            self.storages[id(r.storage)] = self._copy(t._storage)
            self.keep.append(r.storage)

    def _copy(self, source: Any) -> Storage:
        made = Storage(source.nbytes)
        if getattr(source, "ptr", 0):
            ctypes.memmove(made.ptr, source.ptr, source.nbytes)
        else:
            ctypes.memset(made.ptr, 0, source.nbytes)
        return made

    def put(self, storage: Any, source: Storage) -> None:
        """The values that a storage of the program has."""
        self.storages[id(storage)] = self._copy(source)

    def has(self, r: Any) -> bool:
        """Whether any call has used that memory so far."""
        return id(r.storage) in self.storages

    def values(self, r: Any) -> np.ndarray:
        """A copy of the values at a place that the program has written."""
        la = r.layout
        shift = self.shifts.get(id(r.storage), 0) // la.itemsize
        return la.dtype.numbers(self.storages[id(r.storage)].array(la.shape, la.strides, la.dtype.numpy, r.offset + shift).copy())

    def fill(self, given: Sequence[Any]) -> None:
        """Ones for the gradients that a backward starts from."""
        for r in given:
            s = self.storages[id(r.storage)] = self._copy(r.storage)
            s.array((s.nbytes // r.layout.itemsize,), (1,), r.layout.dtype.numpy, 0)[...] = r.layout.dtype.stored(1)

    def address(self, w: Any) -> int:
        """Where the memory behind a pointer word was copied to."""
        key = id(w.storage)
        found = self.storages.get(key)
        if found is None:
            self.keep.append(w.storage)
            found = self.storages[key] = self._copy(w.storage)
        return found.ptr + w.offset + self.shifts.get(key, 0)

    def call(self, op: Any) -> tuple[tuple[int, int, int], Any]:
        """(kernel, argument block, chunks) of an op on the copies, and what must be kept alive."""
        block = np.zeros(len(op.words) + 8, np.int64)
        for k, w in enumerate(op.words):
            if hasattr(w, "storage"):
                block[k] = self.address(w)
            elif type(w) is Own:
                block[k] = block.ctypes.data + 8 * w.index
            elif isinstance(w, float):
                number = w.function() if type(w) is Live else w
                block[k : k + 1] = np.array([float(number)]).view(np.int64)
            else:
                block[k] = int(w)
        return (op.address, block.ctypes.data, op.chunks), [block, self]
