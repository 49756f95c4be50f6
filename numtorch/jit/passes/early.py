"""Early checks: indices that are arguments are checked before anything else runs, not where they are used.

So the program stops once, before it has changed anything, and the rest is one piece: the threads are woken once, and passes
that move nothing across a stop (fuse, updates, batches) see forward and backward together.
"""

from __future__ import annotations

from ..record import Entry, Guard, RangeCheck
from .work import Work, reads, touches, writes


def early(entries: list[Entry], work: Work) -> list[Entry]:
    """Move what range checks look at to the front, and the checks behind it; changes ``work.guards``."""
    first: list[int] = []
    places = touches(entries)
    count = 0
    for g in work.guards:  # those behind another question are asked only if its answer is the recorded one
        made = _source(g, entries, places)
        if made is None:
            break
        count += 1
        first += [made] if made not in first else []
    if not count or all(g.at <= len(first) for g in work.guards[:count]):
        return entries
    chosen = set(first)
    found = [entries[k] for k in first] + [e for k, e in enumerate(entries) if k not in chosen]
    moved = [g._replace(at=len(first)) for g in work.guards[:count]]
    moved += [g._replace(at=g.at + sum(k >= g.at for k in first)) for g in work.guards[count:]]
    work.check(moved)
    for k, e in enumerate(found):
        e.order = k
    work.note(f"{count} checks before {len(entries) - len(first)} ops")
    return found


def _source(g: Guard, entries: list[Entry], places: dict[int, list[int]]) -> int | None:
    """The place of the entry that finds a range of arguments for a check; None where it cannot come first."""
    if not isinstance(g.value, RangeCheck):
        return None
    key = id(g.source.storage)
    users = places.get(key, [])
    if len(users) != 1 or key not in writes(entries[users[0]]):
        return None
    (made,) = users
    wanted = reads(entries[made]) | writes(entries[made])
    before = (k for used in wanted for k in places[used] if k < made)
    return None if any(writes(entries[k]) & wanted for k in before) else made


__all__ = ["early"]
