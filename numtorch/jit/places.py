"""Places in Python's memory that a traced function may read: each knows what it held, and how native code compares it.

``holds()`` says whether a place holds still what it held; ``words(keep)`` are the words of tables.py's record, for which
``keep`` keeps objects alive, or ``NotNative`` where only Python can tell.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

PLAIN = (bool, int, float, complex, str, bytes, type(None))
MISSING = object()  # what a place holds that is not there (yet)


class NotNative(Exception):
    """A place that native code can't look at."""


def same(now: Any, before: Any) -> bool:
    """Whether a value is the same object, or an equal plain value of the same type (floats: the same bits)."""
    if now is before:
        return True
    if type(now) is not type(before) or type(now) not in PLAIN:
        return False
    if type(now) is float:
        return struct.pack("=d", now) == struct.pack("=d", before)
    return now == before


class Cell(NamedTuple):
    """A variable of an enclosing function."""

    place: Any
    value: Any

    def now(self) -> Any:
        try:
            return self.place.cell_contents
        except ValueError:  # the variable was deleted, or not set yet
            return MISSING

    def holds(self) -> bool:
        return same(self.now(), self.value)

    def words(self, keep: list[Any]) -> list[int]:
        from ..kernels import tables as C

        keep.append(value := self.now())
        return [C.IN_CELL, id(self.place), 0, id(value)]


class Key(NamedTuple):
    """An entry of a dict: a global, an attribute of an object or a class, an item."""

    place: dict
    key: Any
    value: Any

    def now(self) -> Any:
        return self.place.get(self.key, MISSING)

    def holds(self) -> bool:
        return same(self.now(), self.value)

    def words(self, keep: list[Any]) -> list[int]:
        from ..kernels import tables as C

        if type(self.key) not in PLAIN:
            raise NotNative("a dict whose keys are compared by Python")
        keep.append(value := self.now())
        return [C.IN_DICT, id(self.place), id(self.key), 0 if value is MISSING else id(value)]


class Count(NamedTuple):
    """How many items a dict has."""

    place: dict
    value: int

    def holds(self) -> bool:
        return len(self.place) == self.value

    def words(self, keep: list[Any]) -> list[int]:
        from ..kernels import tables as C

        return [C.IN_MEMORY, id(self.place) + 8 * C.DICT_USED, 0, self.value]


class Members(NamedTuple):
    """The members of a set."""

    place: set
    value: frozenset

    def holds(self) -> bool:
        return self.place == self.value

    def words(self, keep: list[Any]) -> list[int]:
        raise NotNative("a set")


class Items(NamedTuple):
    """The items of a list."""

    place: list
    value: tuple

    def holds(self) -> bool:
        now = self.place
        return len(now) == len(self.value) and all(map(same, now, self.value))

    def words(self, keep: list[Any]) -> list[int]:
        from ..kernels import tables as C

        now = list(self.place)
        keep += [now, known := np.array([id(x) for x in now], np.int64)]
        return [C.IN_LIST, id(self.place), known.ctypes.data, len(now)]


class Content(NamedTuple):
    """The bytes of a NumPy array."""

    place: np.ndarray
    value: bytes

    def holds(self) -> bool:
        return self.place.tobytes() == self.value

    def words(self, keep: list[Any]) -> list[int]:
        from ..kernels import tables as C

        if not self.place.flags.c_contiguous:
            raise NotNative("an array with gaps")
        keep.append(known := np.frombuffer(self.value, np.uint8))
        return [C.IN_ARRAY, self.place.ctypes.data, known.ctypes.data, len(self.value)]


class Slot(NamedTuple):
    """An attribute that a class keeps in ``__slots__``."""

    place: Any
    key: str
    value: Any

    def holds(self) -> bool:
        return same(getattr(self.place, self.key, MISSING), self.value)

    def words(self, keep: list[Any]) -> list[int]:
        raise NotNative("an attribute in __slots__")


Place = Cell | Key | Count | Members | Items | Content | Slot


def identity(place: Place) -> tuple:
    """What two looks at one place have in common."""
    return type(place), id(place.place), place[1] if isinstance(place, (Key, Slot)) else None


def unchanged(before: Iterable[Place], after: Iterable[Place]) -> list[Place]:
    """The places of ``after`` without those of ``before`` that hold something else now: the function itself writes those."""
    written = {identity(p) for p in before if not p.holds()}
    return [p for p in after if identity(p) not in written]
