"""Batches: a run of ops that treat each example by itself is done part by part of the batch, without barriers in between.

    conv, pool, conv, pool, product of 64 images    becomes    the same five of images 0-31 and, beside them, of 32-63

One part a thread: parts of fewer examples would fit the caches better, but kernels get slower on them (measured). Not so
convolutions with packed weights: with one of them, parts are so small that what an op reads and writes stays in L2. Each
thread reads all weights then, so they must be small beside the examples: else it is better that it reads a part of them. The
bits are the same: kernels add up in an order that does not depend on the number of examples.
"""

from __future__ import annotations

from math import gcd

from ...ops.launch import threads
from ..costs import flops
from ..record import Entry, Ref
from .pieces import Cut, confined, cut_of, is_packed_convolution, operands, part_of, step, tensors
from .work import Work, copy_of, is_virtual, touches, writes

LEAST_ENTRIES = 2  # of a run
LEAST_COST = 1_000_000  # floating point operations of a run: below that there is not enough for two threads
LEAST_SHARE = 2  # bytes of what is cut, by those of what every thread reads
LEAST_SHARE_TRAINED = 3  # by those of weights that the program updates, row by row
PART_BYTES = 1 << 18  # what an op of a part reads and writes where parts are small
PART_CHUNKS = 4  # of such parts, for each thread


class Run:
    """Entries that are done part by part: what the program needs to lay them out.

    ``first``: the entries of the first part; ``private``: ids of the storages that nothing else uses; ``steps``: for each
    entry, by (storage, byte offset) of a tensor that is cut, the bytes from one part to the next.
    """

    def __init__(self, entries: list[Entry], first: list[Entry], parts: int, chunks: int, private: set[int]):
        self.entries, self.first, self.parts, self.chunks, self.private = entries, first, parts, chunks, private
        self.steps = [_steps(e, one, parts) for e, one in zip(entries, first)]


def _steps(e: Entry, one: Entry, parts: int) -> dict[tuple[int, int], int]:
    """By (storage, byte offset) of a tensor that is cut: bytes from part to part."""
    found = {}
    for whole, part in zip(tensors(e), tensors(one)):
        if whole.layout is not part.layout:
            found[id(whole.storage), whole.offset * whole.layout.itemsize] = step(whole, parts)
    return found


class _Open:
    """A run that is being gathered."""

    def __init__(self, segment: int):
        self.segment = segment
        self.entries: list[Entry] = []
        self.cuts: list[Cut] = []
        self.common = 0  # greatest common divisor of the first dimensions
        self.written: set[int] = set()
        self.loose: set[int] = set()  # read across parts: must not be written

    def takes(self, e: Entry, cut: Cut, least: int) -> bool:
        """Take an entry in, if each of its parts needs nothing but the same part of what the run has made."""
        n, chosen = cut
        common = gcd(self.common, n)
        if common < least:
            return False
        used = operands(e)
        whole = {id(r.storage) for k, r in enumerate(used) if k not in chosen or not confined(r)}
        whole |= {id(r.storage) for r in e.inputs if isinstance(r, Ref)} - {id(r.storage) for r in used}
        made = writes(e)
        if not all(confined(r) for r in e.outputs) or whole & (self.written | made) or self.loose & made:
            return False
        self.entries.append(e)
        self.cuts.append(cut)
        self.common, self.written, self.loose = common, self.written | made, self.loose | whole
        return True


def batches(entries: list[Entry], work: Work) -> list[Entry]:
    """Mark the runs; the entries stay as they are."""
    least = threads()
    if least < 2:
        return entries
    runs: list[_Open] = []
    now: _Open | None = None
    for e in entries:
        cut = cut_of(e)
        if cut is None:
            now = None
            continue
        if now is None or now.segment != work.segment(e) or not now.takes(e, cut, least):
            now = _Open(work.segment(e))
            if now.takes(e, cut, least):
                runs.append(now)
            else:
                now = None
    places = touches(entries) if runs else {}
    at = {id(e): k for k, e in enumerate(entries)}
    made: dict[int, Entry] = {}
    for run in runs:
        _mark(run, places, at, work, made)
    return [made.get(id(e), e) for e in entries]


def _mark(run: _Open, places: dict[int, list[int]], at: dict[int, int], work: Work, made: dict[int, Entry]) -> None:
    """Plan the parts of a run, and note it on copies of its entries; where an entry has no such part, the run is cut."""
    if not _pays(run.entries, run.cuts, work):
        return
    parts, chunks = _parts(run)
    pieces: list[tuple[list[Entry], list[Cut], list[Entry]]] = [([], [], [])]
    for e, cut in zip(run.entries, run.cuts) if parts else ():
        one = part_of(e, cut, parts)
        if one is None:
            pieces.append(([], [], []))
        else:
            for target, value in zip(pieces[-1], (e, cut, one)):
                target.append(value)  # type: ignore[arg-type]
    for found, cuts, first in pieces:
        if not _pays(found, cuts, work):
            continue
        copies = [copy_of(e) for e in found]
        whole = Run(copies, first, parts, chunks, _private(found, places, at, work))
        for k, (e, one) in enumerate(zip(found, copies)):
            made[id(e)] = one
            one.run = (whole, k)
        work.note(f"{len(found)} ops from {found[0].line} to {found[-1].line}: {parts} parts")


def _parts(run: _Open) -> tuple[int, int]:
    """Into how many parts the batch is cut, 0 where it can't be, and the chunks that they are done in."""
    count = threads()
    possible = [n for n in range(count, run.common + 1, count) if run.common % n == 0]
    if not possible:
        return 0, 0
    if not any(is_packed_convolution(e) for e in run.entries):
        return possible[0], count
    most = max(_bytes(e, cut) for e, cut in zip(run.entries, run.cuts))
    parts = next((n for n in possible if most <= n * PART_BYTES), possible[-1])
    return parts, min(parts, PART_CHUNKS * count)


def _bytes(e: Entry, cut: Cut) -> int:
    """Bytes of what is cut of an entry's operands and results."""
    used = operands(e)
    return sum(r.layout.numel * r.layout.itemsize for r in (*e.outputs, *(used[k] for k in cut[1])))


def _pays(entries: list[Entry], cuts: list[Cut], work: Work) -> bool:
    """Whether there is enough to do, and most of the memory is that of the examples."""
    if len(entries) < LEAST_ENTRIES or sum(map(flops, entries)) < LEAST_COST:
        return False
    mine: dict[int, int] = {}
    shared: dict[int, int] = {}
    for e, (_, chosen) in zip(entries, cuts):
        for k, r in enumerate(operands(e)):
            (mine if k in chosen else shared)[id(r.storage)] = r.layout.numel * r.layout.itemsize
        mine |= {id(r.storage): r.layout.numel * r.layout.itemsize for r in e.outputs}
    trained = sum(n for key, n in shared.items() if key in work.needed)
    return sum(mine.values()) >= LEAST_SHARE * (sum(shared.values()) - trained) + LEAST_SHARE_TRAINED * trained


def _private(entries: list[Entry], places: dict[int, list[int]], at: dict[int, int], work: Work) -> set[int]:
    """The storages, by id, that only these entries use."""
    inside = {at[id(e)] for e in entries}
    made = {id(r.storage) for e in entries for r in e.outputs if is_virtual(r)}
    return {key for key in made - work.needed if inside.issuperset(places[key])}


__all__ = ["Run", "batches"]
