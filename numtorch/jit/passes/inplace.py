"""Buffer reuse: an elementwise result takes the memory of an operand that nobody reads any more.

The arena of a program gives memory of dead temporaries to later ones; this saves the one moment at which an operand and the
result would both be there.
"""

from __future__ import annotations

from ..record import Entry, Ref
from .work import Work, covers, is_virtual, mapped, reads, storages, touches, writes


def inplace(entries: list[Entry], work: Work) -> list[Entry]:
    """Let elementwise entries write over operands that end with them."""
    result = list(entries)
    places = touches(result)
    first, last = {key: at[0] for key, at in places.items()}, {key: at[-1] for key, at in places.items()}
    made = {key for key, k in first.items() if key in writes(result[k]) and key not in storages(result[k].inputs)}
    moved: dict[int, Ref] = {}  # storage of a result -> the operand whose memory it takes
    for k, e in enumerate(result):
        if e.plan is None or not e.plan.address:
            continue
        ending = [
            r for r in (e.inputs[i] for i in e.plan.tensors)
            if id(r.storage) in made and last[id(r.storage)] == k and id(r.storage) not in work.needed and _whole(r)
        ]  # fmt: skip
        for out in e.outputs:
            key = id(out.storage)
            if key in work.needed or first[key] != k or not _whole(out):
                continue
            source = next((r for r in ending if _same(r, out) and _read_once(e, r)), None)
            if source is not None:
                ending.remove(source)
                moved[key] = moved.get(id(source.storage), source)
    if not moved:
        return entries

    def change(r: Ref) -> Ref:
        found = moved.get(id(r.storage))
        return r if found is None else Ref(found.storage, r.offset, r.layout)

    work.note(f"{len(moved)} results in the memory of an operand")
    return [mapped(e, change) if (reads(e) | writes(e)) & moved.keys() else e for e in result]


def _whole(r: Ref) -> bool:
    return is_virtual(r) and covers(r) and r.layout.contiguous


def _same(a: Ref, b: Ref) -> bool:
    la, lb = a.layout, b.layout
    return la.numel == lb.numel and la.dtype is lb.dtype and a.storage.nbytes == b.storage.nbytes and la.shape == lb.shape


def _read_once(e: Entry, r: Ref) -> bool:
    """Whether the entry reads that memory as this tensor only, element by element."""
    found = [e.inputs[i] for i in e.plan.tensors if e.inputs[i].storage is r.storage]
    return all(x.layout is r.layout and x.offset == r.offset for x in found) and all(
        out.storage is not r.storage for out in e.outputs
    )
