"""Rewriting of recorded entries before they become kernel calls; each pass is one function from a list to a list."""

from __future__ import annotations

from typing import Callable, Sequence

from .record import Entry

PASSES: list[Callable[[Sequence[Entry]], list[Entry]]] = []


def optimize(entries: Sequence[Entry]) -> list[Entry]:
    """All passes that are switched on, in order."""
    found = list(entries)
    for i, e in enumerate(found):
        e.order = i
    for run in PASSES:
        found = run(found)
    return found
