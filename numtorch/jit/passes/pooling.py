"""Max pooling: what follows it is done before, where a kernel does it in registers; places nobody asks for are not found.

    conv, max pool, relu     becomes     conv with relu, max pool       the largest of clamped values is the clamped largest
    max pool -> values, places           max pool -> values             where nothing reads the places

The first where only the pooling reads the convolution. Places of windows without a positive value may be others then: nothing
but the gradient reads them, which is zero there.
"""

from __future__ import annotations

from ...ops.pool import has_quick_kernel
from ...shape import contiguous
from ..record import Entry, Ref
from .work import Work, can_replan, covers, is_virtual, reads, recorded, replanned, touches, writes


def pooling(entries: list[Entry], work: Work) -> list[Entry]:
    """Rewrite the max poolings."""
    result: list[Entry | None] = list(entries)
    places = touches(entries)
    for k, e in enumerate(entries):
        if e.name != "max_pool_values" or e.outputs[0].layout.device != "cpu" or not e.launches or not can_replan(e):
            continue
        found = _around(entries, places, k, work)
        outputs = list(e.outputs)
        if found is not None:
            at, after = found
            conv, relu = entries[at], entries[after]
            clamped = [_as_rows(conv.outputs[0])]
            result[at] = made = replanned(conv, conv.op, clamped, conv.args, {**(conv.attrs or {}), "relu": True})
            made.name = f"{conv.name}+relu"
            result[after] = None
            outputs[0] = Ref(relu.outputs[0].storage, 0, e.outputs[0].layout)
            work.note(f"relu at {relu.line} into {conv.name} at {conv.line}")
        quick = has_quick_kernel(e.args[0].layout.shape[2:], outputs[0].layout.shape[2:], e.attrs)
        index = id(outputs[1].storage)
        if quick and len(places[index]) == 1 and index not in work.needed and is_virtual(outputs[1]):
            result[k] = replanned(e, e.op, outputs[:1], e.args, {**e.attrs, "places": False})
            work.note(f"no places at {e.line}")
        elif found is not None:
            result[k] = replanned(e, e.op, outputs, e.args, e.attrs)
        if found is not None:
            result[k].parts = recorded(e, entries[found[1]])  # type: ignore[union-attr]
    return [e for e in result if e is not None]


def _as_rows(r: Ref) -> Ref:
    """The memory under another shape: its values are not those of the recorded result, and are compared with nothing."""
    la = r.layout
    return Ref(r.storage, r.offset, contiguous((la.shape[0], la.numel // la.shape[0]), la.dtype, la.device))


def _around(entries: list[Entry], places: dict[int, list[int]], k: int, work: Work) -> tuple[int, int] | None:
    """The convolution whose only reader pooling ``k`` is, and the relu that alone reads its values; None without."""
    e = entries[k]
    source, values, index = e.args[0], e.outputs[0], e.outputs[1]
    before, after = places[id(source.storage)], places[id(values.storage)]
    if len(before) != 2 or before[1] != k or len(after) != 2 or after[0] != k:
        return None
    conv, relu = entries[before[0]], entries[after[1]]
    if conv.name != "convolution" or not conv.launches or (conv.attrs or {}).get("relu") or relu.name != "relu":
        return None
    if not can_replan(conv):
        return None
    if relu.plan is None or not relu.plan.address or relu.inputs[0].storage is not values.storage:
        return None
    out = relu.outputs[0]
    whole = all(covers(r) and r.layout.contiguous and is_virtual(r) for r in (*conv.outputs, values, out, relu.inputs[0]))
    if not whole or source.layout is not conv.outputs[0].layout or out.layout.dtype is not values.layout.dtype:
        return None
    if work.needed & {id(source.storage), id(values.storage), id(index.storage)} or len(
        {work.segment(x) for x in (conv, e, relu)}
    ) != 1:
        return None
    if places[id(out.storage)][0] != after[1] or not _only_masked(entries, places, k):
        return None
    return before[0], after[1]


def _only_masked(entries: list[Entry], places: dict[int, list[int]], k: int) -> bool:
    """Whether the places of pooling ``k`` are only read to spread what a relu has let through."""
    for i in places[id(entries[k].outputs[1].storage)][1:]:
        spread = entries[i]
        if spread.name != "pool_spread":
            return False
        key = id(spread.args[0].storage)
        made = [j for j in places[key] if j < i and key in writes(entries[j])]
        if not made or entries[made[-1]].name != "relu_grad" or key in reads(entries[made[-1]]):
            return False
    return True


__all__ = ["pooling"]
