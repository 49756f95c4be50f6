"""Places in Python's memory that a traced function may read: each knows what it held, and how native code compares it.

``holds()`` says whether a place holds still what it held; ``words(keep)`` are the words of tables.py's record, for which
``keep`` keeps objects alive, or ``NotNative`` where only Python can tell.
"""

from __future__ import annotations

import collections
import ctypes
import functools
import itertools
import operator
import pickle
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from . import tree
from .tree import same_value as same

if TYPE_CHECKING:
    from .entries import Entries

MISSING = object()  # what a place holds that is not there (yet)


class NotNative(Exception):
    """A place that native code can't look at."""


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

    def restore(self) -> None:
        self.place.cell_contents = self.value

    def words(self, keep: list[Any]) -> list[int]:
        from ..kernels import tables as C

        keep.append(value := self.now())
        return [C.IN_CELL, id(self.place), 0, id(value)]


class Key(NamedTuple):
    """An entry of a dict: a global, an attribute of an object or a class, an item."""

    place: dict
    key: Any
    value: Any
    owner: Any = None  # the class whose dict it is

    def now(self) -> Any:
        return self.place.get(self.key, MISSING)

    def holds(self) -> bool:
        return same(self.now(), self.value)

    def restore(self) -> None:
        if self.owner is not None:
            delattr(self.owner, self.key) if self.value is MISSING else setattr(self.owner, self.key, self.value)
        elif self.value is MISSING:
            del self.place[self.key]
        else:
            self.place[self.key] = self.value

    def words(self, keep: list[Any]) -> list[int]:
        from ..kernels import tables as C

        if type(self.key) not in tree.PLAIN:
            raise NotNative("a dict whose keys are compared by Python")
        keep.append(value := self.now())
        return [C.IN_DICT, id(self.place), id(self.key), 0 if value is MISSING else id(value)]


class Count(NamedTuple):
    """Which keys a dict has, in which order."""

    place: dict
    value: tuple
    held: dict

    def now(self) -> Any:
        return (*self.place, *self.place.values())

    def again(self) -> Count:
        return Count(self.place, tuple(self.place), dict(self.place))

    def holds(self) -> bool:
        return len(self.place) == len(self.value) and all(map(same, self.place, self.value))

    def restore(self) -> None:
        self.place.clear()
        self.place.update(self.held)

    def words(self, keep: list[Any]) -> list[int]:
        from ..kernels import tables as C

        if isinstance(self.place, collections.OrderedDict):
            raise NotNative("an OrderedDict")
        keep += [keys := tuple(self.place), known := np.array([id(k) for k in keys], np.int64)]
        return [C.IN_KEYS, id(self.place), known.ctypes.data, len(keys)]


class Table(NamedTuple):
    """The entries of a large dict, told by identity."""

    place: dict
    value: tuple

    def now(self) -> Any:
        return (*self.place, *self.place.values())

    def holds(self) -> bool:
        now = self.place
        return 2 * len(now) == len(self.value) and all(map(operator.is_, itertools.chain(now, now.values()), self.value))

    def restore(self) -> None:
        half = len(self.value) // 2
        self.place.clear()
        self.place.update(zip(self.value[:half], self.value[half:]))

    def words(self, keep: list[Any]) -> list[int]:
        raise NotNative("a large dict")


class Members(NamedTuple):
    """The members of a set, in the order in which they are gone through."""

    place: set
    value: tuple

    def holds(self) -> bool:
        return len(self.place) == len(self.value) and all(map(same, self.place, self.value))

    def now(self) -> Any:
        return tuple(self.place)

    def restore(self) -> None:
        self.place.clear()
        self.place.update(self.value)

    def words(self, keep: list[Any]) -> list[int]:
        raise NotNative("a set")


class Items(NamedTuple):
    """The items of a list or deque."""

    place: Any
    value: tuple

    def now(self) -> Any:
        return tuple(self.place)

    def restore(self) -> None:
        self.place.clear()
        self.place.extend(self.value)

    def holds(self) -> bool:
        now = self.place
        return len(now) == len(self.value) and all(map(same, now, self.value))

    def words(self, keep: list[Any]) -> list[int]:
        from ..kernels import tables as C

        if type(self.place) is not list:
            raise NotNative("a deque")
        now = list(self.place)
        keep += [now, known := np.array([id(x) for x in now], np.int64)]
        return [C.IN_LIST, id(self.place), known.ctypes.data, len(now)]


class Content(NamedTuple):
    """The bytes of a NumPy array."""

    place: np.ndarray
    value: bytes

    def holds(self) -> bool:
        return self.place.tobytes() == self.value

    def now(self) -> Any:
        return self.place.tobytes()

    def restore(self) -> None:
        self.place[...] = np.frombuffer(self.value, self.place.dtype).reshape(self.place.shape)

    def words(self, keep: list[Any]) -> list[int]:
        from ..kernels import tables as C

        if not self.place.flags.c_contiguous:
            raise NotNative("an array with gaps")
        keep.append(known := np.frombuffer(self.value, np.uint8))
        return [C.IN_ARRAY, self.place.ctypes.data, known.ctypes.data, len(self.value)]


class Buffer(NamedTuple):
    """The bytes of a bytearray, an array of Python's, a number of ctypes."""

    place: Any
    value: bytes

    def now(self) -> Any:
        return bytes(memoryview(self.place))

    def holds(self) -> bool:
        return self.now() == self.value

    def restore(self) -> None:
        with memoryview(self.place) as view:
            if view.nbytes == len(self.value):
                view.cast("B")[:] = self.value
                return
        del self.place[:]
        self.place.extend(self.value) if type(self.place) is bytearray else self.place.frombytes(self.value)

    def words(self, keep: list[Any]) -> list[int]:
        raise NotNative("a buffer")


class OfThread(NamedTuple):
    """An attribute that each thread has its own of."""

    place: Any
    key: str
    value: Any

    def now(self) -> Any:
        return self.place.__dict__.get(self.key, MISSING)

    def holds(self) -> bool:
        return same(self.now(), self.value)

    def restore(self) -> None:
        Key(self.place.__dict__, self.key, self.value).restore()

    def words(self, keep: list[Any]) -> list[int]:
        return Key(self.place.__dict__, self.key, self.value).words(keep)  # other threads have tables of their own


class Slot(NamedTuple):
    """An attribute that a class keeps in ``__slots__``."""

    place: Any
    key: str
    value: Any

    def holds(self) -> bool:
        return same(self.now(), self.value)

    def now(self) -> Any:
        return getattr(self.place, self.key, MISSING)

    def restore(self) -> None:
        setattr(self.place, self.key, self.value)

    def words(self, keep: list[Any]) -> list[int]:
        raise NotNative("an attribute in __slots__")


class Part(NamedTuple):
    """The code of a function, or its default arguments."""

    place: Any
    key: str
    value: Any

    def now(self) -> Any:
        return getattr(self.place, self.key)

    def holds(self) -> bool:
        return self.now() is self.value

    def restore(self) -> None:
        setattr(self.place, self.key, self.value)

    def words(self, keep: list[Any]) -> list[int]:
        from ..kernels import tables as C

        keep.append(value := self.now())
        return [C.IN_WORD, id(self.place) + 8 * _part_words()[self.key], 0, 0 if value is None else id(value)]


@functools.cache
def _part_words() -> dict[str, int]:
    """Which words of a function are its parts."""

    def example(x: Any = object(), *, y: Any = object()) -> None: ...  # noqa: B008

    words = (ctypes.c_int64 * (type(example).__basicsize__ // 8)).from_address(id(example))
    return {name: list(words).index(id(getattr(example, name))) for name in ("__code__", "__defaults__", "__kwdefaults__")}


class Kind(NamedTuple):
    """The class of an object."""

    place: Any
    value: Any

    def now(self) -> Any:
        return type(self.place)

    def holds(self) -> bool:
        return type(self.place) is self.value

    def restore(self) -> None:
        self.place.__class__ = self.value

    def words(self, keep: list[Any]) -> list[int]:
        from ..kernels import tables as C

        keep.append(kind := type(self.place))
        return [C.IN_WORD, id(self.place) + _KIND_AT, 0, id(kind)]


_KIND_AT = object.__basicsize__ - 8  # the last word that all objects have


class Answer(NamedTuple):
    """What a call without arguments gives: a context variable, a weak reference."""

    place: Any
    value: Any

    def now(self) -> Any:
        try:
            return self.place.get() if hasattr(self.place, "get") else self.place()
        except LookupError:
            return MISSING

    def holds(self) -> bool:
        return same(self.now(), self.value)

    def restore(self) -> None:
        self.place.set(self.value)

    def words(self, keep: list[Any]) -> list[int]:
        raise NotNative(f"a {type(self.place).__name__}")


Place: TypeAlias = "Cell | Key | Count | Table | Members | Items | Content | Buffer | OfThread | Slot | Part | Kind | Answer | Entries"


def as_now(p: Place) -> Place:
    """The place with what it holds now."""
    return p.again() if isinstance(p, Count) else p._replace(value=p.now())  # type: ignore[call-arg]


def alike(now: Any, before: Any) -> bool:
    """Whether what a place holds, or all that is in it, is the same."""
    if type(now) is tuple and type(before) is tuple:
        return len(now) == len(before) and all(map(same, now, before))
    return same(now, before)


class Stream(NamedTuple):
    """Random numbers that are not numtorch's, and where they were."""

    place: Any
    value: Any

    @classmethod
    def of(cls, place: Any) -> Stream:
        """The stream as it is now."""
        return cls(place, cls.state(place))

    @staticmethod
    def state(place: Any) -> Any:
        """Where it is."""
        if hasattr(place, "get_state"):
            return place.get_state()
        return place.getstate() if hasattr(place, "getstate") else place.bit_generator.state

    def holds(self) -> bool:
        return pickle.dumps(self.state(self.place)) == pickle.dumps(self.value)

    def restore(self) -> None:
        if hasattr(self.place, "set_state"):
            self.place.set_state(self.value)
        elif hasattr(self.place, "setstate"):
            self.place.setstate(self.value)
        else:
            self.place.bit_generator.state = self.value

    def name(self) -> str:
        """What a message calls it."""
        return getattr(self.place, "__name__", type(self.place).__name__)
