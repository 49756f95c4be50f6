"""What an optimizer holds between its steps, and how traces look at it: its groups, its state, its hooks and attributes."""

from __future__ import annotations

import collections
import ctypes
import functools
import gc
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .libraries import file_of, is_library
from .places import Items, Key, NotNative
from .tree import same_value as same


class Entries(NamedTuple):
    """All keys and values of a dict, in order."""

    place: dict
    value: tuple  # keys and values in turn

    @classmethod
    def of(cls, place: dict) -> Entries:
        """What the dict holds now."""
        return cls(place, _flat(place))

    def now(self) -> Any:
        """What the dict holds now, in the same form."""
        return _flat(self.place)

    def holds(self) -> bool:
        """Whether the dict holds the same."""
        now = _flat(self.place)
        return len(now) == len(self.value) and all(map(same, now, self.value))

    def restore(self) -> None:
        """Give the dict back what it held."""
        self.place.clear()
        self.place.update(zip(self.value[::2], self.value[1::2]))

    def words(self, keep: list[Any]) -> list[int]:
        """A record for native code; NotNative where only Python can tell."""
        from ..kernels import tables as C

        if _has_versions():
            return [C.IN_WORD, id(self.place) + 24, 0, _version(self.place)]
        if isinstance(self.place, collections.OrderedDict):
            raise NotNative("an OrderedDict")
        keep += [now := _flat(self.place), known := np.array([id(x) for x in now], np.int64)]
        return [C.IN_ENTRIES, id(self.place), known.ctypes.data, len(now) // 2]


class Cached(Entries):
    """What ``functools.lru_cache`` keeps. A run that adds to it leaves it so: the next one takes what the same call gave."""

    __slots__ = ()

    @classmethod
    def of_function(cls, f: Any) -> Iterator[Cached]:
        """The cache of a decorated function."""
        own = getattr(f, "__dict__", None)
        return (cls.of(held) for held in gc.get_referents(f) if type(held) is dict and held is not own)

    def restore(self) -> None:
        """Nothing to be done, and nothing that could be."""


def _flat(held: dict) -> tuple:
    return tuple([x for pair in held.items() for x in pair])


def _version(held: dict) -> int:
    """The word that CPython changes with each change of a dict, up to 3.12."""
    return ctypes.c_int64.from_address(id(held) + 24).value


@functools.cache
def _has_versions() -> bool:
    held: dict = {1: 2}
    found = [_version(held)]
    for change in (lambda: held.update({1: 3}), lambda: held.update({2: 3}), lambda: held.pop(1)):
        change()
        found.append(_version(held))
    return len(set(found)) == len(found)


def look_at_optimizer(walk: Any, o: Any, depth: int) -> None:
    """Note its groups and its state on a walk; numbers in a group are read at each replay, or the group counts its changes."""
    from ..optim.group import Group

    own = o.__dict__
    if not is_library(file_of(type(o))):
        walk.missing(own, type(o), depth)
    for name in walk.names & own.keys() - {"state", "param_groups", "defaults"}:
        if not name.endswith("hooks"):
            walk.place(Key(own, name, own[name]), depth)
    for name, held in own.items():
        if name.endswith("hooks") and held:
            walk.hooks(held)
    for name in ("param_groups", "state"):
        walk.found.setdefault((Key, id(own), name), Key(own, name, own[name]))
    walk.found.setdefault((Items, id(o.param_groups), None), Items(o.param_groups, tuple(o.param_groups)))
    for held in (o.state, *o.state.values()):
        if isinstance(held, dict):
            walk.found.setdefault((Entries, id(held), None), Entries.of(held))
            for item in held.values():
                if isinstance(item, (list, collections.deque)):
                    walk.container(item, depth + 1)
    walk.dicts += o.param_groups
    for group in o.param_groups:
        walk.found.setdefault((Items, id(group["params"]), None), Items(group["params"], tuple(group["params"])))
        if type(group) is not Group:
            walk.container(group, depth)
