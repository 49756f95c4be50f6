"""Nested inputs and outputs: tuples, lists, dicts and None, taken apart to their tensors and put together again.

Objects of dataclasses with a tensor in a field are taken apart, too. Anything else is a value: the same plain value, or the
same object.
"""

from __future__ import annotations

import collections
import copy
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..device import device
from ..dtype import dtype
from ..shape import Size

PLAIN = (bool, int, float, complex, str, bytes, type(None))
_BY_VALUE = (range, Size, dtype, device)  # never change, and are equal where nothing tells them apart


class Leaf:
    """The place of tensor number ``index``."""

    __slots__ = ("index",)

    def __init__(self, index: int):
        self.index = index

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Leaf) and other.index == self.index

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Leaf({self.index})"


def flatten(value: Any, leaves: list[Any], whole: Mapping[int, Any] = {}) -> Any:
    """The structure of a value with each tensor replaced by its place; tensors are appended to ``leaves``.

    ``whole``: containers, by id, that are not taken apart: they stand in the structure as they are.
    """
    from .._tensor import Tensor

    if isinstance(value, Tensor):
        leaves.append(value)
        return Leaf(len(leaves) - 1)
    if whole and id(value) in whole:
        return ("value", value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        if getattr(value, "__dict__", None):  # attributes besides the fields
            return ("value", value)
        return ("named", type(value), tuple(flatten(v, leaves, whole) for v in value))
    if type(value) in (tuple, list):
        return (type(value), tuple(flatten(v, leaves, whole) for v in value))
    if type(value) in PLAIN:
        return ("value", value)
    if isinstance(value, dict) and (type(value) in (dict, collections.OrderedDict) or not getattr(value, "__dict__", None)):
        items = tuple((k, flatten(v, leaves, whole)) for k, v in value.items())
        return ("dict", type(value), items, _emptied(value))
    fields = _fields(value)
    if fields:
        return ("data", type(value), tuple((k, flatten(v, leaves, whole)) for k, v in fields.items()))
    return ("value", value)


def containers(value: Any, found: dict[int, Any]) -> bool:
    """Note the lists, dicts and objects that ``flatten`` takes apart; returns whether one of them comes twice."""
    if type(value) is list or type(value) is tuple or (isinstance(value, tuple) and hasattr(value, "_fields")):
        inner: Any = value
    elif isinstance(value, dict):
        inner = value.values()
    elif fields := _fields(value):
        inner = fields.values()
    else:
        return False
    if not isinstance(value, tuple):
        if id(value) in found:
            return True
        found[id(value)] = value
    twice = False
    for v in inner:
        twice |= containers(v, found)
    return twice


def _emptied(value: dict) -> Any:
    """A dict of a class of its own without its items, to make others from; None for the usual ones."""
    if type(value) in (dict, collections.OrderedDict):
        return None
    made = copy.copy(value)
    dict.clear(made)
    return made


def _fields(value: Any) -> dict[str, Any] | None:
    """The attributes of a dataclass's object that has a tensor in a field."""
    from .._tensor import Tensor
    from ..nn.module import Module

    kind = type(value)
    names = getattr(kind, "__dataclass_fields__", None)
    if names is None or kind.__new__ is not object.__new__ or isinstance(value, (type, Module)):
        return None
    fields = {k: getattr(value, k) for k in names if hasattr(value, k)} | getattr(value, "__dict__", {})
    found = [x for v in fields.values() for x in (v if type(v) in (tuple, list) else v.values() if type(v) is dict else (v,))]
    return fields if any(isinstance(x, Tensor) for x in found) else None


def unflatten(structure: Any, leaves: list[Any]) -> Any:
    """The value of a structure with these tensors."""
    if type(structure) is Leaf:
        return leaves[structure.index]
    kind = structure[0]
    if kind == "value":
        return structure[1]
    if kind == "named":
        return tuple.__new__(structure[1], [unflatten(s, leaves) for s in structure[2]])  # not by a __new__ of its own
    if kind == "dict":
        if structure[3] is None:
            return structure[1]((k, unflatten(s, leaves)) for k, s in structure[2])
        made = copy.copy(structure[3])
        for k, s in structure[2]:
            dict.__setitem__(made, k, unflatten(s, leaves))
        return made
    if kind == "data":
        made = object.__new__(structure[1])
        for k, s in structure[2]:
            object.__setattr__(made, k, unflatten(s, leaves))
        return made
    return kind(unflatten(s, leaves) for s in structure[1])


def same(a: Any, b: Any) -> bool:
    """Whether two structures are equal, plain values compared by type and value."""
    if type(a) is Leaf or type(b) is Leaf:
        return a == b if type(a) is type(b) else False
    if a[0] != b[0]:
        return False
    if a[0] == "value":
        return same_value(a[1], b[1])
    if a[0] in ("dict", "data"):
        return (
            a[1] is b[1]
            and len(a[2]) == len(b[2])
            and all(same_value(k, m) and same(v, w) for (k, v), (m, w) in zip(a[2], b[2]))
        )
    if a[0] == "named":
        return a[1] is b[1] and len(a[2]) == len(b[2]) and all(map(same, a[2], b[2]))
    return len(a[1]) == len(b[1]) and all(map(same, a[1], b[1]))


def same_value(x: Any, y: Any) -> bool:
    """Whether two values are one object, or equal values of one type that no code can tell apart (floats: the same bits)."""
    if x is y:
        return True
    kind = type(x)
    if kind is not type(y):
        return False
    if kind is float:
        return struct.pack("=d", x) == struct.pack("=d", y)
    if kind is complex:
        return struct.pack("=2d", x.real, x.imag) == struct.pack("=2d", y.real, y.imag)
    if isinstance(x, np.generic):
        return x.tobytes() == y.tobytes()
    if kind is frozenset or kind is tuple:  # sets in the order in which they are gone through
        return len(x) == len(y) and all(map(same_value, x, y))
    if kind is slice:
        return all(map(same_value, (x.start, x.stop, x.step), (y.start, y.stop, y.step)))
    return (kind in PLAIN or kind in _BY_VALUE) and bool(x == y)


def values(structure: Any) -> list[Any]:
    """The values in a structure, from left to right."""
    if type(structure) is Leaf:
        return []
    if structure[0] == "value":
        return [structure[1]]
    if structure[0] in ("dict", "data"):
        return [v for _, s in structure[2] for v in values(s)]
    return [v for s in structure[2 if structure[0] == "named" else 1] for v in values(s)]


def notes(t: Any) -> dict[str, Any]:
    """The attributes that somebody has put on a tensor."""
    return {k: v for k, v in t.__dict__.items() if not hasattr(type(t), k)}


def same_notes(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether attributes are the same values."""
    return a.keys() == b.keys() and all(same_value(v, b[k]) for k, v in a.items())


def is_lasting(x: Any) -> bool:
    """Whether a value can stand in the results of every call: nobody can change it."""
    return type(x) in PLAIN or type(x) in (*_BY_VALUE, slice, frozenset) or isinstance(x, np.generic) or x is Ellipsis
