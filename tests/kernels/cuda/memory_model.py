"""Memory of a simulated GPU: checked pointers, alignment, and a happens-before check that finds races.

Two accesses to one element conflict if different threads make them, at least one writes, and nothing orders
them. They are ordered by a block barrier between them (same block), or by a warp barrier (same warp); blocks
of one launch are never ordered. So a kernel that passes is free of races in every schedule of the barriers it
passed through, not only in this one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from numtorch.kernels.interpret import Pointer

VECTOR_BYTES = 16


class RaceError(AssertionError):
    """Two threads touched one element without an order between them."""


class Access(NamedTuple):
    """Who touched an element, and when: `epoch` counts the block's barriers, `warp_epoch` those of the warp.

    `many`: several threads of the warp or block (`warp` is -1 then if they are of several warps), or of
    several blocks.
    """

    block: int
    epoch: int
    warp: int
    warp_epoch: int
    thread: int
    atomic: bool = False
    many: bool = False


def ordered(before: Access, now: Access) -> bool:
    """Whether `before` surely happened before `now`, or both are one thread's."""
    if before.block != now.block:
        return False
    if before.epoch != now.epoch or (before.thread == now.thread and not before.many):
        return True
    return before.warp == now.warp and before.warp_epoch < now.warp_epoch


def later_reader(before: Access, now: Access) -> Access:
    """What to remember of two reads of one element: `now`, or that several threads have read it."""
    if before.block != now.block:
        return before if before.block < 0 else Access(-1, now.epoch, -1, 0, now.thread, many=True)
    if before.epoch != now.epoch or (before.thread == now.thread and not before.many):
        return now
    if (before.warp == now.warp and before.warp_epoch < now.warp_epoch) or not before.many:
        warp = now.warp if before.warp == now.warp else -1
        return Access(now.block, now.epoch, warp, now.warp_epoch, now.thread, many=True)
    if before.warp in (-1, now.warp):
        return before
    return Access(now.block, now.epoch, -1, 0, now.thread, many=True)


class Buffer:
    """One allocation: its elements, what it is called in messages, and who touched what."""

    def __init__(self, name: str, array: np.ndarray, clock: Any):
        self.name, self.array, self.clock = name, array, clock
        self.writes: dict[int, Access] = {}
        self.reads: dict[int, Access] = {}

    def read(self, i: int) -> None:
        """Note a read of element `i`; raises RaceError if an unordered thread wrote it."""
        now = self.clock()
        written, before = self.writes.get(i), self.reads.get(i)
        if before is now:
            return
        if written is not None and not ordered(written, now):
            raise self._race("reads", i, now, "wrote", written)
        self.reads[i] = now if before is None else later_reader(before, now)

    def write(self, i: int, atomic: bool = False) -> None:
        """Note a write of element `i`; raises RaceError if an unordered thread read or wrote it."""
        now = self.clock()._replace(atomic=atomic)
        written, read = self.writes.get(i), self.reads.get(i)
        if written is not None and not ordered(written, now) and not (atomic and written.atomic):
            raise self._race("writes", i, now, "wrote", written)
        if read is not None and not ordered(read, now):
            raise self._race("writes", i, now, "read", read)
        self.writes[i] = now

    def _race(self, does: str, i: int, now: Access, did: str, before: Access) -> RaceError:
        who = "several threads" if before.many else f"thread {before.thread} of block {before.block}"
        return RaceError(
            f"thread {now.thread} of block {now.block} {does} {self.name}[{i}], which {who} {did}, "
            "with no barrier between."
        )


class DevicePointer(Pointer):
    """A pointer into a Buffer: out-of-range or racing access raises."""

    def __init__(self, buffer: Buffer, start: int = 0):
        super().__init__(buffer.array, start)
        self.buffer = buffer

    def _at(self, i: Any) -> int:
        at = self.start + int(i)
        if not 0 <= at < self.array.size:
            raise IndexError(
                f"access at element {at} of {self.buffer.name}, which has {self.array.size} elements."
            )
        return at

    def __getitem__(self, i: Any) -> Any:
        at = self._at(i)
        self.buffer.read(at)
        return self.array[at]

    def __setitem__(self, i: Any, value: Any) -> None:
        at = self._at(i)
        self.buffer.write(at)
        self.array[at] = value

    def offset(self, k: Any) -> DevicePointer:
        return DevicePointer(self.buffer, self.start + int(k))

    def is_aligned(self) -> bool:
        """Whether the address is a multiple of 16 bytes; every buffer starts at one."""
        return self.start * self.array.itemsize % VECTOR_BYTES == 0

    def vector(self, i: Any, count: int) -> range:
        """The elements of an access of `count` elements at `i`. Raises IndexError if it is misaligned."""
        at = self._at(i)
        if at * self.array.itemsize % min(VECTOR_BYTES, count * self.array.itemsize):
            raise IndexError(
                f"vector access at element {at} of {self.buffer.name} is not aligned to {VECTOR_BYTES} bytes."
            )
        self._at(int(i) + count - 1)
        return range(at, at + count)

    def vector_start(self, i: Any, count: int) -> int:
        """The first element of an access of which only the beginning need exist. Raises IndexError if it is misaligned."""
        at = self._at(i)
        if at * self.array.itemsize % (count * self.array.itemsize):
            raise IndexError(f"vector access at element {at} of {self.buffer.name} is not aligned to {VECTOR_BYTES} bytes.")
        return at

    def update(self, i: Any, value: Any, combine: Any) -> Any:
        """Atomically replace element `i` by combine(old, value); returns the old one."""
        at = self._at(i)
        self.buffer.write(at, atomic=True)
        old = self.array[at]
        self.array[at] = combine(old, value)
        return old
