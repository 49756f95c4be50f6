"""Memory of a program that is another one at each call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .path import Virtual


class Slots:
    """Memory that differs between calls: argument storages, fresh results, saved for the backward."""

    def __init__(self) -> None:
        self.storages: list[Any] = []
        self.index: dict[int, int] = {}

    def add(self, storage: Any) -> int:
        """The slot of a storage."""
        found = self.index.get(id(storage))
        if found is None:
            found = self.index[id(storage)] = len(self.storages)
            self.storages.append(storage)
        return found


def virtuals(ops: Sequence[Any]) -> dict[int, Virtual]:
    """The memory of kernel calls that exists only while a program runs, by id."""
    return {
        id(w.storage): w.storage
        for op in ops
        for w in op.words
        if hasattr(w, "storage") and type(w.storage) is Virtual
    }
