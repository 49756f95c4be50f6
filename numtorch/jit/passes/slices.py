"""Slices: sums of tensors that are zero but for one slice each are written slice by slice.

The gradients of q, k and v cut from one tensor are recorded as three tensors of its size, filled with zeros but for a third,
and added up:

    fill a, copy into a[0], fill b, copy into b[1], add a + b -> c      becomes      fill c, copy into c[0], copy into c[1]

and without the fill where the slices are everything. (A negative zero that was added to zero comes out negative.)
"""

from __future__ import annotations

import math

import numpy as np

from ..record import Entry, Ref
from .work import Work, covers, is_virtual, reads, renamed, writes

MOST_ELEMENTS = 1 << 22  # of a tensor whose slices are compared element by element


def slices(entries: list[Entry], work: Work) -> list[Entry]:
    """Join sums of slices, then drop fills that slices write over."""
    result = list(entries)
    joined = True
    while joined:
        joined = False
        for k, e in enumerate(result):
            found = _joined(result, k, work) if e.name == "add" and e.plan is not None else None
            if found is not None:
                work.note(f"{e.name} at {e.line}")
                result, joined = found, True
                break
    return _without_fills(result, work)


def _is_zero_fill(e: Entry) -> bool:
    if e.plan is None or not e.plan.address or e.plan.tensors or len(e.outputs) != 1 or e.name != "fill":
        return False
    values = [e.inputs[i] for i in e.plan.scalars]
    return len(values) == 1 and type(values[0]) in (int, float) and values[0] == 0 and math.copysign(1, values[0]) > 0


def _is_copy_into(e: Entry, key: int) -> bool:
    return (
        e.plan is not None
        and len(e.outputs) == 1
        and len(e.plan.tensors) == 1
        and id(e.outputs[0].storage) == key
        and key not in reads(e)
        and e.plan.program.is_copy
    )


def _parts(entries: list[Entry], r: Ref, end: int, work: Work, stays: bool) -> list[int] | None:
    """Places of the fill and of the copies that make up tensor ``r``, all it is before ``end``; ``stays``: it may live on."""
    key = id(r.storage)
    if not is_virtual(r) or not covers(r) or not r.layout.contiguous or (key in work.needed and not stays):
        return None
    at = [k for k, e in enumerate(entries) if (k < end or not stays) and (key in reads(e) or key in writes(e))]
    if not stays and at and at.pop() != end:
        return None
    if len(at) < 2 or not _is_zero_fill(entries[at[0]]) or not covers(entries[at[0]].outputs[0]):
        return None
    segment = work.segment(entries[end])
    if any(work.segment(entries[k]) != segment for k in at):
        return None
    return at if all(_is_copy_into(entries[k], key) for k in at[1:]) else None


def _marks(entries: list[Entry], places: list[int], total: int) -> np.ndarray | None:
    """How often each element of a memory of ``total`` elements is copied to; None if it is too large to tell."""
    if total > MOST_ELEMENTS:
        return None
    marks = np.zeros(total, np.uint8)
    for k in places:
        r = entries[k].outputs[0]
        view = np.lib.stride_tricks.as_strided(marks[r.offset :], r.layout.shape, r.layout.strides)
        view += 1
    return marks


def _joined(entries: list[Entry], k: int, work: Work) -> list[Entry] | None:
    """The program with the sum at ``k`` written slice by slice, or None."""
    e = entries[k]
    out, tensors = e.outputs[0], [e.inputs[i] for i in e.plan.tensors]
    if len(e.outputs) != 1 or len(tensors) != 2 or e.plan.scalars or not covers(out) or not is_virtual(out):
        return None
    a, b = tensors
    key = id(out.storage)
    if key == id(b.storage):
        a, b = b, a
    if a.storage is b.storage or not (a.layout is b.layout is out.layout):
        return None
    own = key == id(a.storage)  # added up in place
    first, second = _parts(entries, a, k, work, own), _parts(entries, b, k, work, False)
    if first is None or second is None or (not own and any(key in reads(x) or key in writes(x) for x in entries[:k])):
        return None
    marks = _marks(entries, [*first[1:], *second[1:]], out.layout.numel)
    if marks is None or (marks > 1).any():
        return None
    later = max(first[0], second[0])  # the fill that would wipe the other's slices
    before = [x for i, x in enumerate(entries[:k]) if i != later]
    return renamed(renamed(before, a.storage, out.storage), b.storage, out.storage) + entries[k + 1 :]


def _without_fills(entries: list[Entry], work: Work) -> list[Entry]:
    """Without zero fills of which copies write over every element before anything reads."""
    drop = set()
    for k, e in enumerate(entries):
        if not _is_zero_fill(e) or not is_virtual(e.outputs[0]) or not covers(e.outputs[0]):
            continue
        key, places = id(e.outputs[0].storage), []
        for i in range(k + 1, len(entries)):
            if _is_copy_into(entries[i], key) and work.segment(entries[i]) == work.segment(e):
                places.append(i)
            elif key in reads(entries[i]) or key in writes(entries[i]):
                break
        marks = _marks(entries, places, e.outputs[0].layout.numel) if places else None
        if marks is not None and marks.all():
            drop.add(k)
            work.note(f"fill at {e.line}")
    return [e for k, e in enumerate(entries) if k not in drop]
