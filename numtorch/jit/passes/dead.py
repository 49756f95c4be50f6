"""Dead code: what nobody reads is not computed."""

from __future__ import annotations

from ..record import Entry
from .work import Work, reads, writes


def dead(entries: list[Entry], work: Work) -> list[Entry]:
    """Drop entries none of whose results is used: walked from the end, as liveness is."""
    live = set(work.needed)
    kept: list[Entry] = []
    for e in reversed(entries):
        if writes(e) & live:
            kept.append(e)
            live |= reads(e)
        else:
            work.note(f"{e.name} at {e.line}")
    kept.reverse()
    return kept
