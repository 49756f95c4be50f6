"""Losses: cross-entropy and its gradient are one kernel, which reads the scores once.

    cross_entropy -> loss, (what makes g), cross_entropy_backward(g)     becomes     (what makes g), both -> loss, gradient

where g, the gradient of the loss, does not depend on the loss, as when ``backward`` is called on it (or on a multiple). Each
row's gradient is computed right behind its loss, by the same steps: the bits are the same. A mean with class weights stays
two kernels, as its divisor is known only behind the last row.
"""

from __future__ import annotations

from typing import Any

from ...ops.launch import Launch
from ..record import Entry, Ref
from .work import Work, can_replan, copy_of, covers, is_virtual, reads, recorded, touches, writes

MOST_MOVED = 8  # entries that make g
MOST_ROWS = 1 << 24  # beyond, a sum of ones is not exact in float32


def losses(entries: list[Entry], work: Work) -> list[Entry]:
    """Join cross-entropies with their gradients."""
    result, k = list(entries), 0
    while k < len(result):
        if result[k].name == "cross_entropy":
            result = _joined(result, k, work) or result
        k += 1
    return result


def _joined(entries: list[Entry], k: int, work: Work) -> list[Entry] | None:
    """The program with the loss at ``k`` and its gradient as one entry, or None."""
    e, places = entries[k], touches(entries)
    stats = e.outputs[-1]
    used = places[id(stats.storage)]
    if not e.launches or not is_virtual(stats) or id(stats.storage) in work.needed or len(used) != 2 or used[0] != k:
        return None
    j = used[1]
    back = entries[j]
    if back.name != "cross_entropy_backward" or not _fit(e, back) or work.segment(e) != work.segment(back):
        return None
    dx = back.outputs[0]
    if not is_virtual(dx) or not covers(dx) or places[id(dx.storage)][0] != j:
        return None
    kept = reads(e) | {id(e.outputs[1].storage)}
    moved = _makers(entries, k, j, id(_launches(back)[0].pointers[1].storage))
    if moved is None or any(writes(x) & kept for x in entries[k + 1 : j]):
        return None
    work.note(f"{back.name} at {back.line} with {e.name} at {e.line}")
    rest = [x for i, x in enumerate(entries[k + 1 :], k + 1) if i != j and i not in moved]
    return [*entries[:k], *[entries[i] for i in moved], _both(e, back), *rest]


def _fit(e: Entry, back: Entry) -> bool:
    """Whether two entries are a loss and its gradient, of which one kernel can do both."""
    x, target, weight = e.args
    if e.outputs[0].layout.device != "cpu" or e.attrs != back.attrs or tuple(back.args[1:4]) != (x, target, weight):
        return False
    if weight is not None and e.attrs["reduction"] == "mean":
        return False
    given = _launches(back)[0].pointers
    same = [*given[3:4], *given[5:]] == list(_launches(e)[0].pointers[3:])
    return same and x.layout.shape[0] < MOST_ROWS and back.args[4] == e.outputs[1] and can_replan(e)


def _launches(e: Entry) -> list[Any]:
    """The launches of an entry that has some."""
    return list(e.launches or ())


def _makers(entries: list[Entry], k: int, j: int, key: int) -> list[int] | None:
    """Places of what makes memory ``key`` between ``k`` and ``j``, if all of it can be done before ``k``; else None."""
    moved: list[int] = []
    wanted = {key}
    for i in range(j - 1, k, -1):
        if writes(entries[i]) & wanted:
            moved.insert(0, i)
            wanted |= reads(entries[i])
    for i in moved:
        mine, made = reads(entries[i]), writes(entries[i])
        for other in (entries[n] for n in range(k, i) if n not in moved):
            if writes(other) & (mine | made) or reads(other) & made:
                return None
    return moved if len(moved) <= MOST_MOVED else None


def _both(e: Entry, back: Entry) -> Entry:
    """One entry for a loss and its gradient."""
    (first, *others), (second, *_) = _launches(e), _launches(back)
    loss, row_weight, _, *operands = first.pointers
    made = copy_of(e)
    made.name, made.parts = "cross_entropy+backward", recorded(e, back)
    made.outputs, made.args = [*e.outputs[:2], back.outputs[0]], [*e.args, second.pointers[1]]
    made.inputs = [r for r in made.args if isinstance(r, Ref)]
    pointers = [back.outputs[0], loss, row_weight, second.pointers[1], *operands]
    cost = first.cost + second.cost
    made.launches = [
        Launch(("loss", "cross_entropy_both_rows"), first.env, pointers, second.words, first.units, cost), *others
    ]
    return made


__all__ = ["losses"]
