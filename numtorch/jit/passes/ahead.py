"""Ahead: single numbers that depend on nothing that the program makes come first.

    mul grad, count steps, adam     becomes     count steps, mul grad, adam

The count of an optimizer's steps then stands no more between what is done to a gradient (it is clipped, or divided by a loss
scale) and the update that reads it, and ``fuse`` makes one kernel of both.
"""

from __future__ import annotations

from ..record import Entry
from .work import Work, reads, writes


def ahead(entries: list[Entry], work: Work) -> list[Entry]:
    """Move elementwise entries of one element to the beginning, or behind the last stop of the program."""
    result: list[Entry] = []
    read: set[int] = set()
    written: set[int] = set()
    at, segment, moved = 0, -1, 0
    for e in entries:
        if work.segment(e) != segment:
            segment, at = work.segment(e), len(result)
            read.clear()
            written.clear()
        mine, made = reads(e), writes(e)
        alone = e.plan is not None and all(r.layout.numel == 1 for r in e.outputs)
        if alone and not (mine | made) & written and not made & read:
            moved += at < len(result)
            result.insert(at, e)
            at += 1
        else:
            result.append(e)
            read |= mine
            written |= made
    if moved:
        work.note(f"{moved} single numbers")
    return result


__all__ = ["ahead"]
