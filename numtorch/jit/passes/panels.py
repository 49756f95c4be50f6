"""Panels: a recurrent layer of a frozen network packs its weights apart from its run, so that it is done once.

    recurrent = pack the weights, run the steps    ->    pack (a constant, for `fold`); recurrent, which reads the panels

The same two kernels with the same operands: the result keeps its bits.
"""

from __future__ import annotations

from typing import Any

from ...ops.launch import Launch, Scratch
from ..record import Entry, Ref
from .work import Work, copy_of, packing


def panels(entries: list[Entry], work: Work) -> list[Entry]:
    """Give the packing of frozen recurrent weights an entry of its own."""
    result: list[Entry] = []
    for e in entries:
        if e.name == "recurrent" and len(e.launches or ()) == 2 and id(e.args[1].storage) in work.frozen:
            pack, e = _parted(e)
            result.append(pack)
            work.note(f"{e.name} at {e.line}")
        result.append(e)
    return result


def _parted(e: Entry) -> tuple[Entry, Entry]:
    first, second = e.launches
    memory = first.pointers[0]
    assert type(memory) is Scratch
    sources = [p for p in first.pointers if isinstance(p, Ref)]
    pack, target = packing(memory.nbytes, e.outputs[0].layout.dtype, e, sources)
    made = copy_of(e)
    pack.launches, made.launches = [_reading(first, memory, target)], [_reading(second, memory, target)]
    made.inputs = [target, *[r for r in e.inputs if all(r is not s for s in sources)]]
    return pack, made


def _reading(la: Launch, memory: Any, panels: Ref) -> Launch:
    """The launch with panels where its working memory was."""
    pointers = [panels if p is memory else p for p in la.pointers]
    return Launch(la.kernel, la.env, pointers, la.words, la.units, la.cost)
