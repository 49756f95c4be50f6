"""From a recording to a replayable program: dead code, memory plan, argument blocks, and the native driver's table.

Memory of a program is of five kinds: ``fixed`` (captured tensors), ``input`` (arguments of the call), ``output`` (fresh at
each call), ``temp`` (planned into one arena by the time it is needed), and scratch of kernels, which is in the arena too.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..ops.launch import REPLAYED_COST, Launch, Scratch
from ..storage import Storage
from .path import Virtual
from .record import Entry, Live, Ref

MOST_BY_SIZE = 300  # temporaries that are placed in both orders


class Word:
    """Where a pointer word of a launch comes from: a storage and a byte offset."""

    __slots__ = ("offset", "storage")

    def __init__(self, storage: Any, offset: int):
        self.storage, self.offset = storage, offset


class Own:
    """The address of word number ``index`` of the argument block that it stands in."""

    __slots__ = ("index",)

    def __init__(self, index: int):
        self.index = index


class Op:
    """One kernel call of a program: kernel address, chunks, words, and the storages it reads and writes.

    ``part``: for a call in a run that is done part by part, the run and the chunk that the call belongs to.
    """

    __slots__ = ("address", "chunks", "entry", "part", "reads", "scratch", "words", "writes")

    def __init__(
        self, address: int, chunks: int, words: list[Any], reads: set[int], writes: set[int], entry: Entry
    ):
        self.address, self.chunks, self.words = address, chunks, words
        self.reads, self.writes, self.entry = reads, writes, entry
        self.scratch: list[Any] = []
        self.part: tuple[Any, int] | None = None


def lower(entries: Sequence[Entry]) -> list[Op]:
    """The kernel calls of recorded entries."""
    ops: list[Op] = []
    for e in entries:
        if e.run is None:
            ops.extend(_lowered(e))
        elif e.run[1] == 0:  # the first entry of a run stands for all of them
            ops.extend(_lower_run(e.run[0]))
    return ops


def _lowered(e: Entry) -> list[Op]:
    if e.plan is not None:
        return [_lower_elementwise(e)] if e.plan.address else []
    scratch: dict[Scratch, Any] = {}
    ops = [_lower_launch(e, la, scratch) for la in e.launches or ()]
    if e.tail is not None:
        _add_tail(ops[-1], e.tail)
    return ops


def _add_tail(op: Op, tail: Any) -> None:
    """Make a call that of the kernel with its tail."""
    op.address, op.words = tail.laid_out(op, [word_of(r) for r in tail.tensors], Own)
    op.reads |= {id(r.storage) for r in tail.tensors}
    op.writes |= {id(r.storage) for r in tail.chain.outputs}


def word_of(r: Ref) -> Word:
    """Where a tensor of a recording is."""
    return Word(r.storage, r.offset * r.layout.itemsize)


def _lower_elementwise(e: Entry) -> Op:
    plan = e.plan
    words: list[Any] = [word_of(r) for r in e.outputs]
    words += [word_of(e.inputs[i]) for i in plan.tensors]
    words += list(plan.words)
    words += [e.inputs[i] for i in plan.scalars]
    reads = {id(e.inputs[i].storage) for i in plan.tensors}
    return Op(plan.address, plan.chunks, words, reads, {id(r.storage) for r in e.outputs}, e)


def _lower_launch(e: Entry, la: Launch, scratch: dict[Scratch, Any]) -> Op:
    words: list[Any] = []
    own: list[Any] = []
    reads: set[int] = set()
    writes: set[int] = set()
    outputs = {id(r.storage) for r in e.outputs}
    for p in la.pointers:
        if isinstance(p, Ref):
            words.append(word_of(p))
            (writes if id(p.storage) in outputs else reads).add(id(p.storage))
            if id(p.storage) in outputs:
                reads.add(id(p.storage))  # a kernel may add to what it writes
        elif type(p) is Scratch:
            s = scratch.get(p)
            if s is None:
                s = scratch[p] = Virtual(p.each * la.chunks(REPLAYED_COST) or p.nbytes)
            words.append(Word(s, 0))
            own.append(s)
            writes.add(id(s))
            reads.add(id(s))
        else:
            words.append(p)
    words += list(la.words)
    op = Op(la.address(), la.chunks(REPLAYED_COST), words, reads, writes, e)
    op.scratch = own
    return op


def _lower_run(run: Any) -> list[Op]:
    """The calls of a run, part after part; values that only the run uses are in memory that each chunk has for itself."""
    first = [op for e in run.first for op in _lowered(e)]
    sizes = {id(s): s.nbytes for op in first for s in op.scratch}
    for op in first:
        mine = {id(w.storage): w.storage for w in op.words if type(w) is Word and id(w.storage) in run.private}
        sizes |= {k: s.nbytes // run.parts for k, s in mine.items()}
    places, room = fitted([{id(w.storage) for w in op.words if type(w) is Word} & sizes.keys() for op in first], sizes)
    memory = Virtual(room * run.chunks)
    ops = []
    for part in range(run.parts):
        chunk = part * run.chunks // run.parts
        for op, e, steps in zip(first, run.entries, run.steps):
            words = list(op.words)
            for i, w in enumerate(words):
                if type(w) is not Word:
                    continue
                key = id(w.storage)
                if key in places:
                    words[i] = Word(memory, chunk * room + places[key] + w.offset)
                elif (key, w.offset) in steps:
                    words[i] = Word(w.storage, w.offset + part * steps[key, w.offset])
            own = {id(memory)}
            made = Op(op.address, 1, words, op.reads - places.keys() | own, op.writes - places.keys() | own, e)
            made.part = (run, chunk)
            ops.append(made)
    return ops


def stages(ops: Sequence[Op]) -> list[int]:
    """The number of the stage of each call; all calls of a run are one stage."""
    found: list[int] = []
    for i, op in enumerate(ops):
        last = ops[i - 1].part if i > 0 else None
        same = op.part is not None and last is not None and last[0] is op.part[0]
        found.append(found[-1] + (not same) if found else 0)
    return found


def rows(ops: Sequence[Op], calls: Sequence[tuple[int, int, int]], keep: list[Any]) -> list[tuple[int, int, int]]:
    """The driver's table for calls (kernel, block, chunks) of these ops: a run becomes one call with its chunks."""
    found: list[tuple[int, int, int]] = []
    for _, group in itertools.groupby(zip(stages(ops), ops, calls), lambda row: row[0]):
        members = list(group)
        part = members[0][1].part
        if part is None:
            found.append(members[0][2])
            continue
        from ..kernels import sequence

        lists: list[list[tuple[int, int]]] = [[] for _ in range(part[0].chunks)]
        for _, op, call in members:
            lists[op.part[1]].append(call[:2])  # type: ignore[index]
        table = sequence.table(lists)
        keep.append(table)
        found.append((sequence.address(), table.ctypes.data, len(lists)))
    return found


def fitted(uses: Sequence[Iterable[int]], sizes: Mapping[int, int]) -> tuple[dict[int, int], int]:
    """Byte offsets in one block for memory of these sizes, by the steps that use it (``uses``: keys for each); and the bytes."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for i, keys in enumerate(uses):
        for key in keys:
            first.setdefault(key, i)
            last[key] = i
    keys = sorted(first, key=lambda k: (first[k], -sizes[k]))
    spans = [(first[k], last[k], (sizes[k] + 63) & ~63 or 64) for k in keys]
    places, size = _first_fit(spans)
    if 1 < len(keys) <= MOST_BY_SIZE:  # the largest first: often less, but the time grows with the square
        other, smaller = _by_size(spans)
        if smaller < size:
            places, size = other, smaller
    return dict(zip(keys, places)), size


def plan_arena(ops: Sequence[Op], temps: Mapping[int, Any]) -> tuple[dict[int, int], int]:
    """Byte offset in one arena of every temporary storage, by lifetime. Returns (offsets, size)."""
    uses: list[set[int]] = []
    for stage, op in zip(stages(ops), ops):
        if stage == len(uses):
            uses.append(set())
        uses[stage] |= {key for key in op.reads | op.writes if key in temps}
    return fitted(uses, {key: s.nbytes for key, s in temps.items()})


def _first_fit(spans: Sequence[tuple[int, int, int]]) -> tuple[list[int], int]:
    """Offsets of blocks (first use, last use, bytes) that come in order of their first use, and the bytes needed."""
    offsets: list[int] = []
    active: list[tuple[int, int, int]] = []  # (offset, size, last use), by offset
    size = 0
    for first, last, n in spans:
        active = sorted(a for a in active if a[2] >= first)
        at = _gap(active, n)
        offsets.append(at)
        active.append((at, n, last))
        size = max(size, at + n)
    return offsets, size


def _by_size(spans: Sequence[tuple[int, int, int]]) -> tuple[list[int], int]:
    """The same, placing large blocks before small ones."""
    offsets = [0] * len(spans)
    placed: list[tuple[int, int, int, int]] = []  # (offset, size, first use, last use)
    for i in sorted(range(len(spans)), key=lambda i: -spans[i][2]):
        first, last, n = spans[i]
        offsets[i] = _gap(sorted((o, m, f) for o, m, f, t in placed if f <= last and t >= first), n)
        placed.append((offsets[i], n, first, last))
    return offsets, max(o + m for o, m, _, _ in placed)


def _gap(taken: Sequence[tuple[int, int, int]], n: int) -> int:
    """The lowest offset with ``n`` free bytes between blocks (offset, size, ...) in order of their offsets."""
    at = 0
    for offset, length, _ in taken:
        if offset - at >= n:
            break
        at = max(at, offset + length)
    return at


def _bits(word: Any) -> int:
    if isinstance(word, float):
        return struct.unpack("=q", struct.pack("=d", word))[0]
    return int(word)


class Compiled:
    """A replayable program; ``run(pointers)`` with one address per slot."""

    def __init__(
        self,
        ops: Sequence[Op],
        slots: Sequence[Any],
        temps: Iterable[Any],
        live: Sequence[Live],
        cuts: Sequence[int],
    ):
        from ..kernels.driver import Program

        self.ops = list(ops)
        self.slots = list(slots)
        temporary = {id(s): s for s in temps}
        for op in self.ops:
            temporary.update({id(s): s for s in op.scratch})
        self.places, self.peak = plan_arena(self.ops, temporary)  # bytes
        self.arena = Storage(self.peak)
        self.live = list({id(v): v for v in live}.values())
        self.block = np.zeros(sum(len(op.words) for op in self.ops) + 8 * len(self.ops) + 8, np.int64)
        self.keep: list[Any] = [self.block]
        self.cells: list[tuple[int, int, int]] = []  # (slot, byte offset, place in the block) of each patched word
        self.live_cells: list[tuple[int, int]] = []  # (live number, place in the block)
        table = self._write_block()
        cells = np.array(self.cells, np.int64).reshape(-1, 3)
        self._slots, self._shifts, self._places = (np.ascontiguousarray(c) for c in cells.T)
        self.programs: list[Any] = []
        self.parallel = False
        self.known: np.ndarray | None = None  # addresses that a native call's table has written into the block
        for a, b in itertools.pairwise([0, *cuts, len(table)]):
            found = rows(self.ops[a:b], table[a:b], self.keep)
            self.parallel = self.parallel or any(chunks > 1 for _, _, chunks in found)
            self.programs.append(Program(found, (), self.keep) if found else None)

    def _write_block(self) -> list[tuple[int, int, int]]:
        """Fill the argument blocks and note what each call patches; returns the driver's table."""
        table: list[tuple[int, int, int]] = []
        slots = {id(s): i for i, s in enumerate(self.slots)}
        live = {id(v): k for k, v in enumerate(self.live)}
        base, at = self.block.ctypes.data, 0
        words: list[int] = []
        for op in self.ops:
            table.append((op.address, base + 8 * at, op.chunks))
            for w in op.words:
                word = 0
                if type(w) is Live:
                    self.live_cells.append((live[id(w)], at))
                elif type(w) is Own:
                    word = table[-1][1] + 8 * w.index
                elif type(w) is not Word:
                    word = _bits(w)
                elif id(w.storage) in slots:
                    self.cells.append((slots[id(w.storage)], w.offset, at))
                else:
                    word = self._fixed(w)
                words.append(word)
                at += 1
            words += [0] * (-at & 7)  # each block starts on a cache line of its own
            at = (at + 7) & ~7
        self.block[: len(words)] = words
        return table

    def _fixed(self, w: Word) -> int:
        """The address of memory that is the same at every call."""
        place = self.places.get(id(w.storage))
        if place is not None:
            return self.arena.ptr + place + w.offset
        self.keep.append(w.storage)
        return w.storage.ptr + w.offset

    def locate(self, r: Ref) -> tuple[int, int]:
        """Where a tensor of the program is while it runs: (slot, byte offset), or (-1, address)."""
        key, shift = id(r.storage), r.offset * r.layout.itemsize
        for i, s in enumerate(self.slots):
            if id(s) == key:
                return i, shift
        return -1, (self.arena.ptr + self.places[key] if key in self.places else r.storage.ptr) + shift

    def where(self, r: Ref, pointers: Sequence[int]) -> int:
        """The address of a tensor of the program while it runs."""
        slot, address = self.locate(r)
        return address if slot < 0 else pointers[slot] + address

    def set_numbers(self) -> None:
        """Write the live numbers of now into the argument blocks."""
        if self.live_cells:
            now = [_bits(float(v.function())) for v in self.live]
            for k, place in self.live_cells:
                self.block[place] = now[k]

    def run(self, pointers: Sequence[int], check: Any) -> None:
        """Replay on these addresses, one per slot; ``check(k, pointers)`` is called at cut ``k``."""
        from ..kernels.driver import PARALLEL, SERIAL, replay

        if self.cells:
            if self.known is not None:  # where native calls believe the memory of a call to be
                self.known[:] = 0
            self.block[self._places] = np.array(pointers, np.int64)[self._slots] + self._shifts
        self.set_numbers()
        mode = PARALLEL if self.parallel else SERIAL
        last = len(self.programs) - 1
        for k, program in enumerate(self.programs):
            if program is not None:
                replay(program.address, mode)
            if k < last:
                check(k, pointers)
