"""What the arguments of native calls look like: tensors, constants, and the containers that hold them."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from . import tree


class NotDirect(Exception):
    """A path that native calls do not cover."""


class Things:
    """All that a call's structure has, in the order in which native code finds it (``kernels/arguments.py``).

    ``found``: the arguments, those by keyword last, then what the containers among them hold, one after the other: places
    of tensors, constants as ``("value", v)``, and containers. ``containers``: (kind, place, class, items, place of the first
    item, keys) of each.
    """

    def __init__(self, structure: Any):
        (_, args), (_, _, kwargs, _) = structure[1]
        self.found: list[Any] = [*args, *[s for _, s in kwargs]]
        self.top = len(self.found)
        self.containers: list[tuple[int, int, type, int, int, list[Any]]] = []
        for i, s in enumerate(self.found):  # which grows meanwhile
            if not self.is_leaf(i) and not self.is_constant(i):
                kind, cls, items, keys = _parts(s)
                self.containers.append((kind, i, cls, len(items), len(self.found), keys))
                self.found += items

    def __len__(self) -> int:
        return len(self.found)

    def is_leaf(self, i: int) -> bool:
        """Whether thing number ``i`` is a tensor."""
        return type(self.found[i]) is tree.Leaf

    def is_constant(self, i: int) -> bool:
        """Whether thing number ``i`` is a value."""
        return not self.is_leaf(i) and self.found[i][0] == "value"

    def leaves(self) -> list[int]:
        """Of each tensor argument, in the order of the structure, its place among the things."""
        places = {s.index: i for i, s in enumerate(self.found) if type(s) is tree.Leaf}
        return [places[k] for k in range(len(places))]

    def rows(self, keep: list[Any]) -> list[list[int]]:
        """The records of the containers; what must stay alive with them is appended to ``keep``."""
        rows = []
        for kind, i, cls, count, first, keys in self.containers:
            words = np.array([*map(id, keys), 0], np.int64)
            keep.append((keys, words))
            rows.append([kind, i, id(cls), count, first, words.ctypes.data])
        return rows


def _parts(s: Any) -> tuple[int, type, tuple, list[Any]]:
    """(kind, class, items, keys) of a container's structure."""
    from ..kernels import arguments as C

    if s[0] is list or s[0] is tuple:
        return (C.A_LIST if s[0] is list else C.A_TUPLE), s[0], s[1], []
    if s[0] == "named" and not s[1].__dictoffset__:
        return C.A_TUPLE, s[1], s[2], []
    items, keys = tuple(v for _, v in s[2]), [k for k, _ in s[2]]
    if s[0] == "dict" and s[1] is dict:
        return C.A_DICT, dict, items, keys
    if s[0] == "data" and _is_plain(s[1], keys):
        return C.AN_OBJECT, s[1], items, keys
    raise NotDirect(f"a {s[1].__name__} as an argument")


def _is_plain(cls: type, names: list[str]) -> bool:
    """Whether the attributes of a class's objects are what their ``__dict__`` holds."""
    found = [type(inspect.getattr_static(cls, name, None)) for name in names]
    return (
        cls.__dictoffset__ != 0
        and cls.__getattribute__ is object.__getattribute__
        and not any(hasattr(kind, "__get__") or hasattr(kind, "__set__") for kind in found)
    )
