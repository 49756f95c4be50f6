"""Replay on a GPU: a program's kernels as CUDA graphs over memory that stays where it is.

The recorder, the guards and the effects are those of the CPU; here recorded entries become launches of the CUDA twins, and
a program becomes one graph for each stretch between two comparisons. Temporaries lie in one arena of the device. Addresses
that differ from call to call (arguments, results) and numbers that do are written into the launches that use them, only
when they have changed. Blocks of memory take turns (a loss lives until the next one is there), so that a program keeps graphs
for the few sets of addresses that come again and again.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from ..ops.launch import Launch, Scratch
from ..storage import Storage, allocate
from .program import Op, Word, plan_arena, word_of
from .record import Entry, Live, Ref, Untraceable


def device_of(entries: Iterable[Entry]) -> str:
    """The device that all entries compute on. Raises Untraceable if there are several."""
    found: dict[str, Entry] = {}
    for e in entries:
        for r in (*e.outputs, *e.inputs, *(p for la in e.launches or () for p in la.pointers)):
            if isinstance(r, Ref):
                found.setdefault(r.layout.device, e)
    if len(found) > 1:
        first, second = sorted(found)[:2]
        raise Untraceable(
            f"it computes on {first} and on {second}, and a graph holds one device ({found[first].name} and"
            f" {found[second].name} at {found[second].line}); make all tensors on one device"
        )
    return next(iter(found), "cpu")


def lower(entries: Sequence[Entry]) -> list[Op]:
    """The launches of recorded entries; an op's ``address`` is (kernel, dtypes)."""
    ops: list[Op] = []
    for e in entries:
        if e.plan is not None:
            ops.extend(_elementwise(e))
        else:
            scratch: dict[Scratch, Storage] = {}
            ops.extend(_launch(e, la, scratch) for la in e.launches or ())
    return ops


def _elementwise(e: Entry) -> list[Op]:
    from ..kernels.cuda import elementwise

    program = e.plan.program
    tensors = [*e.outputs, *(e.inputs[i] for i in e.plan.tensors)]
    numbers = [e.inputs[i] for i in e.plan.scalars]
    reads = {id(e.inputs[i].storage) for i in e.plan.tensors}
    writes = {id(r.storage) for r in e.outputs}
    ops = []
    for call in elementwise.plan(program, *e.plan.sizes) if e.plan.outputs[0].numel else ():
        places = [Word(r.storage, (r.offset + s) * r.layout.itemsize) for r, s in zip(tensors, call.starts)]
        words = [*places, *call.words, *numbers]
        ops.append(Op((call.kernel, program.written.env), 1, words, reads, writes, e))
    return ops


def _launch(e: Entry, la: Launch, scratch: dict[Scratch, Storage]) -> Op:
    from ..cuda.runtime import twin

    words: list[Any] = []
    own: list[Storage] = []
    reads = {id(p.storage) for p in la.pointers if isinstance(p, Ref)}
    writes = {id(r.storage) for r in e.outputs}
    for p in la.pointers:
        if isinstance(p, Ref):
            words.append(word_of(p))
        elif type(p) is Scratch:
            s = scratch.get(p)
            if s is None:
                s = scratch[p] = Storage.external(0, p.nbytes, None, e.outputs[0].layout.device)
            words.append(Word(s, 0))
            own.append(s)
            writes.add(id(s))
            reads.add(id(s))
        else:
            words.append(p)
    op = Op((twin(la.kernel), la.env), 1, [*words, *la.words], reads, writes, e)
    op.scratch = own
    return op


MOST_VARIANTS = 4  # sets of addresses that a program keeps graphs for


class _Variant:
    """The graphs of a program for one set of addresses: ``now`` are the words of each op as last given, ``values`` the numbers.

    ``graphs`` is None where none could be made.
    """

    __slots__ = ("graphs", "now", "pointers", "values")

    def __init__(self, now: list[list[Any]], pointers: Sequence[int], values: list[float]):
        self.now, self.pointers, self.values = now, tuple(pointers), values
        self.graphs: list[Any] | None = None


class CudaProgram:
    """A replayable program on a GPU; ``run(pointers)`` with one address per slot, as for the CPU's ``Compiled``."""

    parallel = False

    def __init__(
        self,
        device: str,
        ops: Sequence[Op],
        slots: Sequence[Any],
        temps: Iterable[Any],
        live: Sequence[Live],
        cuts: Sequence[int],
    ):
        from ..cuda import runtime
        from .cuda_merge import merged

        self.slots = list(slots)
        self.ops, cuts = merged(ops, cuts)
        self.gpu = runtime.gpu(device)
        temporary = {id(s): s for s in temps}
        for op in self.ops:
            temporary.update({id(s): s for s in op.scratch})
        self.places, self.peak = plan_arena(self.ops, temporary)  # bytes
        self.arena = allocate(self.peak, device)
        self.live = list({id(v): v for v in live}.values())
        self.keep = [w.storage for op in self.ops for w in op.words if type(w) is Word]
        self.numbers = {id(s): i for i, s in enumerate(self.slots)}
        self.bounds = [0, *cuts, len(self.ops)]
        self.variants: dict[tuple[int, ...], _Variant] = {}  # by addresses; the first is made at the first run
        self.without_graph = ""  # why there is none
        self.stream = self.gpu.stream  # that the arena is ready on, then that it was last used on
        # Which words of each op change from call to call: (place, slot, byte offset) and (place, live number).
        self.moving = [
            [(i, self.slot(w), w.offset) for i, w in enumerate(op.words) if self.slot(w) >= 0] for op in self.ops
        ]
        self.changing = [[(i, w) for i, w in enumerate(op.words) if type(w) is Live] for op in self.ops]
        self.users: list[list[int]] = [[] for _ in self.slots]  # the ops that a slot's address is in
        for k, found in enumerate(self.moving):
            for slot in {slot for _, slot, _ in found}:
                self.users[slot].append(k)

    def slot(self, w: Any) -> int:
        """The slot that a word's memory is in, -1 for none."""
        return self.numbers.get(id(w.storage), -1) if type(w) is Word else -1

    def locate(self, r: Ref) -> tuple[int, int]:
        """Where a tensor of the program is while it runs: (slot, byte offset), or (-1, address)."""
        w = word_of(r)
        slot = self.slot(w)
        return (slot, w.offset) if slot >= 0 else (-1, self._fixed(w))

    def where(self, r: Ref, pointers: Sequence[int]) -> int:
        """The address of a tensor of the program while it runs."""
        slot, address = self.locate(r)
        return address if slot < 0 else pointers[slot] + address

    def _fixed(self, w: Word) -> int:
        place = self.places.get(id(w.storage))
        return w.offset + (w.storage.ptr if place is None else self.arena.ptr + place)

    def _set(self, words: list[Any], k: int, pointers: Sequence[int], values: dict[int, float]) -> None:
        """Write these addresses and numbers into the words of op ``k``."""
        for i, slot, offset in self.moving[k]:
            words[i] = pointers[slot] + offset
        for i, number in self.changing[k]:
            words[i] = values[id(number)]

    def run(self, pointers: Sequence[int], check: Any) -> None:
        """Replay on these addresses, one per slot; ``check(k, pointers)`` is called at cut ``k``."""
        stream = self.gpu.stream
        if stream is not self.stream:
            stream.wait(self.stream)  # the arena may be in use there
        self.stream = stream
        key = tuple(pointers)
        values = [float(v.function()) for v in self.live]
        variant = self.variants.get(key)
        if variant is None and len(self.variants) < (1 if self.without_graph else MOST_VARIANTS):
            variant = self.variants[key] = self._made(key, values)
        elif variant is None:
            variant = min(self.variants.values(), key=lambda v: sum(map(int.__ne__, v.pointers, key)))
            del self.variants[variant.pointers]
            self.variants[key] = variant
        if variant.pointers != key or variant.values != values:
            self._renew(variant, key, values)
        last = len(self.bounds) - 2
        for k in range(last + 1):
            self._run_part(variant, k)
            if k < last:
                check(k, pointers)

    def _made(self, pointers: Sequence[int], values: list[float]) -> _Variant:
        now = [[self._fixed(w) if type(w) is Word and self.slot(w) < 0 else w for w in op.words] for op in self.ops]
        numbers = self._by_number(values)
        for k, words in enumerate(now):
            self._set(words, k, pointers, numbers)
        variant = _Variant(now, pointers, values)
        calls = [(*op.address, words) for op, words in zip(self.ops, now)]
        try:
            variant.graphs = [self.gpu.graph(calls[a:b]) if b > a else None for a, b in itertools.pairwise(self.bounds)]
        except Exception as error:
            self.without_graph = str(error)
            warnings.warn(
                f"numtorch.jit.trace: no CUDA graph could be made ({error}); the kernels are launched one by one",
                stacklevel=2,
            )
        return variant

    def _by_number(self, values: list[float]) -> dict[int, float]:
        return {id(v): value for v, value in zip(self.live, values)}

    def _renew(self, variant: _Variant, pointers: tuple[int, ...], values: list[float]) -> None:
        """Write what is different from a variant's last run into the launches that use it."""
        changed: set[int] = set()
        for i, (old, new) in enumerate(zip(variant.pointers, pointers)):
            if old != new:
                changed.update(self.users[i])
        if values != variant.values:
            changed.update(k for k, found in enumerate(self.changing) if found)
        variant.pointers, variant.values = pointers, values
        numbers = self._by_number(values)
        for k in changed:
            self._set(variant.now[k], k, pointers, numbers)
            if variant.graphs is not None:
                part = next(j for j in range(len(variant.graphs)) if k < self.bounds[j + 1])
                variant.graphs[part].update(k - self.bounds[part], variant.now[k])

    def _run_part(self, variant: _Variant, k: int) -> None:
        if variant.graphs is None:
            for i in range(self.bounds[k], self.bounds[k + 1]):
                self.gpu.launch(*self.ops[i].address, variant.now[i])
        elif variant.graphs[k] is not None:
            variant.graphs[k].launch()
