"""Kernel ops whose launches follow from layouts and attributes alone: planned once, then run from what was noted.

``Steps`` are the launches of one call with every pointer replaced by whose memory it was: an output's, an input's, working
memory, or a table of constants. Where a launch reads anything else (a copy made by the plan), nothing is noted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from ..autograd.mode import set_notes
from ..dtype import uint8
from ..settings import conv_tf32_permitted, tf32_permitted
from ..shape import Layout, contiguous
from ..storage import SMALL, _size_class
from . import constant, ways
from . import launch as launching
from .launch import PARALLEL_COST, Launch, Scratch

MOST_KEPT = 1 << 20  # bytes of working memory that is kept for the next call


class Steps:
    """The launches of an op for operands of certain layouts, run without planning."""

    __slots__ = ("keep", "layouts", "scratch", "single", "steps")

    def __init__(self, layouts: Sequence[Layout], single: bool):
        self.layouts, self.single = tuple(layouts), single
        self.scratch: list[Layout] = []
        # (recipe or None, its operands, units or -1: makes the output, (address, pointers, words) for many threads)
        self.steps: list[tuple[Any, ...]] = []
        self.keep: Any = None  # whatever the launches point to stays alive

    def run(self, inputs: Sequence[Any]) -> Any:
        """The outputs for inputs of these layouts."""
        steps = self.steps
        if len(steps) == 1 and steps[0][2] < 0:
            return ways.make(steps[0][0], *steps[0][1](inputs))
        outputs = [ways.empty(la) for la in self.layouts]
        working = [_borrow(la) for la in self.scratch]
        memory = (*outputs, *inputs, *working)
        for how, operands, units, parallel in steps:
            chunks = min(units, launching.threads()) if units > 1 else 1
            if chunks == 1 and how is not None:
                ways.make(how, *operands(memory))
            else:
                address, places, words = parallel
                (launching._launch or launching.driver())(
                    address, chunks, *[_address(memory, p) for p in places], *words
                )
        for la, t in zip(self.scratch, working):
            if la.numel <= MOST_KEPT:
                _idle.setdefault(la, []).append(t)
        return outputs[0] if self.single else tuple(outputs)


# Working memory that no call uses. A call takes it away, as another may begin meanwhile: in another thread, or in a finalizer.
_idle: dict[Layout, list[Any]] = {}


def _borrow(la: Layout) -> Any:
    """Working memory of this layout, for one call."""
    idle = _idle.get(la)
    try:
        return idle.pop() if idle else ways.empty(la)
    except IndexError:  # another thread was quicker
        return ways.empty(la)


def _address(memory: Sequence[Any], place: int) -> int:
    return memory[place]._address() if place >= 0 else -1 - place


def place(device: str) -> tuple[Any, ...]:
    """What, besides layouts and attributes, decides on a GPU which kernels are taken."""
    from ..cuda import runtime

    return runtime.gpu(device), tf32_permitted(), conv_tf32_permitted()


def planned(op: Any, key: tuple, inputs: Sequence[Any], attrs: dict) -> Any:
    """The outputs of an op whose steps are not known yet; they are noted."""
    known = op._known

    def keep(outputs: Sequence[Any], launches: Sequence[Launch], single: bool) -> None:
        given = [(t._storage, t._offset) for t in inputs if t is not None]
        # Where two operands are one memory, it can't be told which of them a pointer meant.
        if key not in known and len(set(given)) == len(given):
            known.note(key, note(outputs, inputs, launches, single))

    if not hasattr(key[0], "prepare"):
        if key in known or key in op._once:
            return op.planned(inputs, attrs, keep)
        op._once.note(key)  # noted when they come again: many sizes never do
        return op.planned(inputs, attrs)
    from ..cuda.notes import Notes

    notes = Notes(key[0])
    set_notes(notes)
    try:
        result = op.planned(inputs, attrs, notes.finish)
    finally:
        set_notes(None)
    steps = notes.steps(inputs, attrs)
    if steps is not None:
        known.note(key, steps)
    return result


def note(outputs: Sequence[Any], inputs: Sequence[Any], launches: Sequence[Launch] | None, single: bool) -> Any:
    """What the launches of a call were; None if they can't be repeated with other tensors of the same layouts."""
    devices = {t._layout.device for t in (*outputs, *inputs) if t is not None}
    if launches is None:  # computed by another library
        return None
    if devices != {"cpu"} or (not launches and any(t._layout.numel for t in outputs)):
        return None
    made = Steps([t._layout for t in outputs], single)
    tensors: list[Any] = [*outputs, *inputs]
    written: set[Any] = set()
    scratches: list[Scratch] = []
    for la in launches:
        places = [_place(p, tensors, scratches) for p in la.pointers]
        if None in places:
            return None
        written.update(places)
        working = _working(scratches)
        layouts = [t if t is None else t._layout for t in tensors] + working
        made.steps.append(_step(la, places, layouts, len(launches) == 1 and len(outputs) == 1, len(tensors)))
    if not written.issuperset(i for i, t in enumerate(outputs) if t._layout.numel):
        return None  # written by something else than launches
    made.scratch = _working(scratches)
    made.keep = [(la.kernel, [p for p in la.pointers if constant.is_table(p)]) for la in launches]  # but no operands
    return made


def _working(scratches: Sequence[Scratch]) -> list[Layout]:
    """Layouts of working memory, of few different sizes so that ops share it."""
    return [contiguous((_size_class(max(s.nbytes, 64)),), uint8) for s in scratches]


def _place(p: Any, tensors: list[Any], scratches: list[Scratch]) -> int | None:
    """Where a pointer's memory comes from: its number among outputs, inputs and working memory; -1 - address for a table of
    constants, -1 for none."""
    if type(p) is int:
        return -1 if p == 0 else None
    if constant.is_table(p):
        return -1 - p._address()
    if type(p) is Scratch:
        if p not in scratches:
            scratches.append(p)
        return len(tensors) + scratches.index(p)
    for i, t in enumerate(tensors):
        if p is t:
            return i
    same = [i for i, t in enumerate(tensors)
            if t is not None and t._storage is p._storage and t._offset == p._offset]  # fmt: skip
    return same[0] if len(same) == 1 else None


def _step(la: Launch, places: Sequence[Any], layouts: Sequence[Any], alone: bool, tensors: int) -> tuple[Any, ...]:  # fmt: skip
    """One launch: as a recipe for one thread, where it has room for all words, and for many."""
    from ..kernels.driver import MAX_WORDS
    from ..kernels.factory import recipe

    units = la.units if la.units > 1 and la.cost >= PARALLEL_COST else 1
    parallel = (la.address(), tuple(places), tuple(la.words))
    image = [-1 - p if p < 0 else 0 for p in places] + list(la.words)
    if len(image) > MAX_WORDS:
        return None, None, units, parallel
    out = layouts[0]
    size = out.numel * out.itemsize
    alone = alone and units == 1 and size <= SMALL and bool(places) and places[0] == 0
    if alone and not any(p == 0 or p >= tensors for p in places[1:]):
        rest = [(k, p) for k, p in enumerate(places) if p > 0]
        described = [(layouts[p], layouts[p].itemsize, k) for k, p in rest]
        return recipe(la.address(), out, size, described, image), _getter([p - 1 for _, p in rest]), -1, parallel
    rest = [(k, p) for k, p in enumerate(places) if p >= 0]
    described = [(layouts[p], layouts[p].itemsize, k) for k, p in rest]
    return recipe(la.address(), None, 0, described, image), _getter([p for _, p in rest]), units, parallel


def _getter(places: Sequence[int]) -> Callable:
    """A function that picks these of a sequence, as a tuple."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda values: tuple([values[p] for p in places])
