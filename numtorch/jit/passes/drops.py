"""Dropout: the mask is drawn apart, the rest is elementwise, and so can be fused with what comes before and after.

    y, mask = dropout(x)        becomes        mask = draw;  y = x * where(mask, 1 / (1 - p), 0)

The same numbers are drawn, and the products are the same: the result keeps its bits.
"""

from __future__ import annotations

from ...dtype import float32, get_default_dtype
from ...ops.launch import Launch
from ...shape import contiguous
from ..record import Entry, Ref
from .work import Work, can_replan, elementwise, is_virtual, reads, recorded, touches, writes

MOST_BACK = 16  # entries that the drawing is moved across


def drops(entries: list[Entry], work: Work) -> list[Entry]:
    """Take dropouts apart where something elementwise, or a product, is on either side."""
    result: list[Entry] = []
    places = touches(entries) if any(e.name == "dropout" for e in entries) else {}
    for k, e in enumerate(entries):
        if _can_part(e) and _has_neighbours(entries, places, k):
            drawn, *rest = _parted(e)
            result.insert(_earliest(result, drawn, work), drawn)
            result += rest
            work.note(f"{e.name} at {e.line}")
        else:
            result.append(e)
    return result


def _earliest(entries: list[Entry], drawn: Entry, work: Work) -> int:
    """Where the mask may be drawn: before what gives the input, but after other numbers."""
    used = reads(drawn) | writes(drawn)
    at = len(entries)
    while at and len(entries) - at < MOST_BACK and work.segment(entries[at - 1]) == work.segment(drawn):
        if used & (reads(entries[at - 1]) | writes(entries[at - 1])):
            break
        at -= 1
    return at


def _can_part(e: Entry) -> bool:
    """Numbers in a `where` are of the default dtype."""
    if e.name != "dropout" or len(e.launches or ()) != 2 or len(e.outputs) != 3 or not can_replan(e):
        return False
    la = e.outputs[0].layout
    return la.device == "cpu" and la.dtype is float32 is get_default_dtype() and is_virtual(e.outputs[1])


def _has_neighbours(entries: list[Entry], places: dict[int, list[int]], k: int) -> bool:
    """Whether what gives the input, or what reads the result next, could be one kernel with an elementwise op."""
    e = entries[k]
    source, result = id(e.args[0].storage), id(e.outputs[0].storage)
    before = [j for j in places[source] if j < k and source in writes(entries[j])]
    after = [j for j in places[result] if j > k]
    return any(entries[j].plan is not None for j in (*before[-1:], *after[:1])) or any(
        entries[j].name.startswith(("matmul", "convolution")) for j in before[-1:]
    )


def _parted(e: Entry) -> list[Entry]:
    from ..path import Virtual

    draw, advance = e.launches  # type: ignore[misc]
    y, mask, state = e.outputs
    x, la, (first, n, p, scale) = e.args[0], y.layout, draw.words
    drawn = Entry("dropout_mask", [mask, state], [state], e.line)
    drawn.order, drawn.backward = e.order, e.backward
    pointers = [mask, draw.pointers[3]]
    drawn.launches = [Launch(("random", "dropout_mask"), draw.env, pointers, (first, n, p), draw.units, draw.cost), advance]
    factor = Ref(Virtual(n * la.itemsize), 0, contiguous(la.shape, la.dtype, la.device))
    scaled = elementwise("where", [factor], [mask, scale, 0.0], e)
    made = elementwise("mul", [y], [x, factor], e)
    made.name, made.parts = "dropout", recorded(e)
    return [drawn, scaled, made]


__all__ = ["drops"]
