"""From a recording to a replayable program: dead code, memory plan, argument blocks, and the native driver's table.

Memory of a program is of five kinds: ``fixed`` (captured tensors), ``input`` (arguments of the call), ``output`` (fresh at
each call), ``temp`` (planned into one arena by the time it is needed), and scratch of kernels, which is in the arena too.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..ops.launch import Launch, Scratch
from ..storage import Storage
from .record import Entry, Live, Ref


class Word:
    """Where a pointer word of a launch comes from: a storage and a byte offset."""

    __slots__ = ("offset", "storage")

    def __init__(self, storage: Any, offset: int):
        self.storage, self.offset = storage, offset


class Op:
    """One kernel call of a program: kernel address, chunks, words, and the storages it reads and writes."""

    __slots__ = ("address", "chunks", "entry", "reads", "scratch", "words", "writes")

    def __init__(
        self, address: int, chunks: int, words: list[Any], reads: set[int], writes: set[int], entry: Entry
    ):
        self.address, self.chunks, self.words = address, chunks, words
        self.reads, self.writes, self.entry = reads, writes, entry
        self.scratch: list[Storage] = []


def lower(entries: Sequence[Entry]) -> list[Op]:
    """The kernel calls of recorded entries."""
    ops: list[Op] = []
    for e in entries:
        if e.plan is not None:
            if e.plan.address:
                ops.append(_lower_elementwise(e))
        else:
            scratch: dict[Scratch, Storage] = {}
            ops.extend(_lower_launch(e, la, scratch) for la in e.launches or ())
    return ops


def _word(r: Ref) -> Word:
    return Word(r.storage, r.offset * r.layout.itemsize)


def _lower_elementwise(e: Entry) -> Op:
    plan = e.plan
    words: list[Any] = [_word(r) for r in e.outputs]
    words += [_word(e.inputs[i]) for i in plan.tensors]
    words += list(plan.words)
    words += [e.inputs[i] for i in plan.scalars]
    reads = {id(e.inputs[i].storage) for i in plan.tensors}
    return Op(plan.address, plan.chunks, words, reads, {id(r.storage) for r in e.outputs}, e)


def _lower_launch(e: Entry, la: Launch, scratch: dict[Scratch, Storage]) -> Op:
    words: list[Any] = []
    own: list[Storage] = []
    reads: set[int] = set()
    writes: set[int] = set()
    outputs = {id(r.storage) for r in e.outputs}
    for p in la.pointers:
        if isinstance(p, Ref):
            words.append(_word(p))
            (writes if id(p.storage) in outputs else reads).add(id(p.storage))
            if id(p.storage) in outputs:
                reads.add(id(p.storage))  # a kernel may add to what it writes
        elif type(p) is Scratch:
            s = scratch.get(p)
            if s is None:
                s = scratch[p] = Storage(p.nbytes)
            words.append(Word(s, 0))
            own.append(s)
            writes.add(id(s))
            reads.add(id(s))
        else:
            words.append(p)
    words += list(la.words)
    op = Op(la.address(), la.chunks(), words, reads, writes, e)
    op.scratch = own
    return op


def plan_arena(ops: Sequence[Op], temps: dict[int, Storage]) -> tuple[dict[int, int], int]:
    """Byte offset in one arena of every temporary storage: first fit by lifetime. Returns (offsets, size)."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for i, op in enumerate(ops):
        for key in op.reads | op.writes:
            if key in temps:
                first.setdefault(key, i)
                last[key] = i
    offsets: dict[int, int] = {}
    active: list[tuple[int, int, int]] = []  # (offset, size, last use), by offset
    size = 0
    for key in sorted(first, key=lambda k: (first[k], -temps[k].nbytes)):
        n = (temps[key].nbytes + 63) & ~63 or 64
        active = [a for a in active if a[2] >= first[key]]
        active.sort()
        at = 0
        for offset, length, _ in active:
            if offset - at >= n:
                break
            at = max(at, offset + length)
        offsets[key] = at
        active.append((at, n, last[key]))
        size = max(size, at + n)
    return offsets, size


def _bits(word: Any) -> int:
    if isinstance(word, float):
        return struct.unpack("=q", struct.pack("=d", word))[0]
    return int(word)


class Compiled:
    """A replayable program; ``run(words)`` with one word per patched storage and live number, in ``slots`` order."""

    def __init__(
        self,
        ops: Sequence[Op],
        slots: Sequence[Any],
        temps: Iterable[Any],
        live: Sequence[Live],
        cuts: Sequence[int],
    ):
        from ..kernels.driver import MAX_WORDS, Program

        self.ops = list(ops)
        self.slots = list(slots)
        temporary = {id(s): s for s in temps}
        for op in self.ops:
            temporary.update({id(s): s for s in op.scratch})
        self.places, self.peak = plan_arena(self.ops, temporary)  # bytes
        self.arena = Storage(self.peak)
        self.live = list({id(v): v for v in live}.values())
        self.offsets: list[tuple[int, int]] = []  # (slot, byte offset) of each patched word
        self.block = np.zeros(sum(len(op.words) for op in self.ops) + 8 * len(self.ops) + 8, np.int64)
        self.keep: list[Any] = [self.block]
        table, patches = self._write_block()
        self.by_hand: list[tuple[int, int]] = []  # (word, place in the block) where the driver lacks room
        if len(self.offsets) + len(self.live) > MAX_WORDS:
            base = self.block.ctypes.data
            self.by_hand, patches = [(i, (cell - base) // 8) for i, cell in patches], []
        self.parallel = any(op.chunks > 1 for op in self.ops)
        self.programs = [
            Program(table[a:b], patches, self.keep) if b > a else None
            for a, b in itertools.pairwise([0, *cuts, len(table)])
        ]

    def _write_block(self) -> tuple[list[tuple[int, int, int]], list[tuple[int, int]]]:
        """Fill the argument blocks; returns the driver's table and (word number, address) of what each call patches."""
        table: list[tuple[int, int, int]] = []
        patches: list[tuple[int, int]] = []
        live_cells: list[tuple[int, int]] = []
        numbers: dict[tuple[int, int], int] = {}
        slots = {id(s): i for i, s in enumerate(self.slots)}
        live = {id(v): k for k, v in enumerate(self.live)}
        base, at = self.block.ctypes.data, 0
        for op in self.ops:
            table.append((op.address, base + 8 * at, op.chunks))
            for w in op.words:
                if type(w) is Live:
                    live_cells.append((live[id(w)], base + 8 * at))
                elif type(w) is not Word:
                    self.block[at] = _bits(w)
                elif id(w.storage) in slots:
                    slot = (slots[id(w.storage)], w.offset)
                    if slot not in numbers:
                        numbers[slot] = len(self.offsets)
                        self.offsets.append(slot)
                    patches.append((numbers[slot], base + 8 * at))
                else:
                    self.block[at] = self._fixed(w)
                at += 1
            at = (at + 7) & ~7  # each block starts on a cache line of its own
        return table, patches + [(len(self.offsets) + k, cell) for k, cell in live_cells]

    def _fixed(self, w: Word) -> int:
        """The address of memory that is the same at every call."""
        place = self.places.get(id(w.storage))
        if place is not None:
            return self.arena.ptr + place + w.offset
        self.keep.append(w.storage)
        return w.storage.ptr + w.offset

    def where(self, r: Ref, pointers: Sequence[int]) -> int:
        """The address of a tensor of the program while it runs."""
        key, shift = id(r.storage), r.offset * r.layout.itemsize
        for i, s in enumerate(self.slots):
            if id(s) == key:
                return pointers[i] + shift
        return (self.arena.ptr + self.places[key] if key in self.places else r.storage.ptr) + shift

    def run(self, pointers: Sequence[int], check: Any) -> None:
        """Replay on these addresses, one per slot; ``check(k, pointers)`` is called at cut ``k``."""
        from ..kernels.driver import PARALLEL, SERIAL, replay

        words: list[Any] = [pointers[s] + offset for s, offset in self.offsets]
        words += [float(v.function()) for v in self.live]
        if self.by_hand:
            for i, place in self.by_hand:
                self.block[place] = _bits(words[i])
            words = []
        mode = PARALLEL if self.parallel else SERIAL
        last = len(self.programs) - 1
        for k, program in enumerate(self.programs):
            if program is not None:
                replay(program.address, mode, *words)
            if k < last:
                check(k, pointers)
