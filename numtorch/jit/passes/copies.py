"""Copies: a copy that nothing tells from its source is not made."""

from __future__ import annotations

from ..record import Entry, Ref
from .work import Work, covers, is_virtual, reads, renamed, writes


def copies(entries: list[Entry], work: Work) -> list[Entry]:
    """Compute results where a copy would have brought them; read the source where a copy would be read."""
    result = list(entries)
    k = 0
    while k < len(result):
        e = result[k]
        changed = _without(result, k, work) if _copies_whole(e) else None
        if changed is None:
            k += 1
            continue
        work.note(f"{e.name} at {e.line}")
        result = changed
    return result


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


def _without(entries: list[Entry], k: int, work: Work) -> list[Entry] | None:
    """The program without copy number ``k``, or None if it has to be."""
    e = entries[k]
    source: Ref = e.inputs[e.plan.tensors[0]]
    target: Ref = e.outputs[0]
    s, t = id(source.storage), id(target.storage)
    before, after = entries[:k], entries[k + 1 :]
    if s == t or not is_virtual(target) or any(t in reads(x) | writes(x) for x in before):
        return None
    made_here = any(s in writes(x) for x in before)
    if is_virtual(source) and made_here and s not in work.needed and not any(s in reads(x) | writes(x) for x in after):
        return renamed(before, source.storage, target.storage) + after
    if t not in work.needed and not any({s, t} & writes(x) for x in after):
        return before + renamed(after, target.storage, source.storage)
    return None
