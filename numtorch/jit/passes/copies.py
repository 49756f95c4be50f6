"""Copies: a copy that nothing tells from its source is not made."""

from __future__ import annotations

from typing import Any

from ..record import Entry, Ref
from .work import Work, covers, is_virtual, renamed, touches, writes


def copies(entries: list[Entry], work: Work) -> list[Entry]:
    """Compute results where a copy would have brought them; read the source where a copy would be read."""
    result: list[Any] = list(entries)
    places = touches(entries)
    for k, e in enumerate(entries):
        e = result[k]
        if _copies_whole(e) and _drop(result, places, k, work):
            work.note(f"{e.name} at {e.line}")
    return [e for e in result if e is not None]


def _copies_whole(e: Entry) -> bool:
    """Whether an entry copies the whole of one memory to another, each element to the same place."""
    if e.plan is None or not e.plan.address or len(e.outputs) != 1 or len(e.plan.tensors) != 1:
        return False
    source, target = e.inputs[e.plan.tensors[0]], e.outputs[0]
    same = source.layout is target.layout or (
        source.layout.contiguous
        and target.layout.contiguous
        and source.layout.dtype is target.layout.dtype
        and source.layout.numel == target.layout.numel
    )
    return same and covers(source) and covers(target) and e.plan.program.is_copy


def _drop(entries: list[Any], places: dict[int, list[int]], k: int, work: Work) -> bool:
    """Take copy number ``k`` out, if nothing tells; ``places``: where each storage is touched."""
    e = entries[k]
    source: Ref = e.inputs[e.plan.tensors[0]]
    target: Ref = e.outputs[0]
    s, t = id(source.storage), id(target.storage)
    if s == t or not is_virtual(target) or places[t][0] < k:
        return False
    made_here = any(s in writes(entries[i]) for i in places[s] if i < k)
    if is_virtual(source) and made_here and s not in work.needed and places[s][-1] == k:
        old, new = source.storage, target.storage
    elif t not in work.needed and not any({s, t} & writes(entries[i]) for i in {*places[s], *places[t]} if i > k):
        old, new = target.storage, source.storage
    else:
        return False
    entries[k] = None
    for i in places[id(old)]:
        if i != k:
            (entries[i],) = renamed([entries[i]], old, new)
    places[id(new)] = sorted({*places[s], *places[t]} - {k})
    places[id(old)] = []
    return True
