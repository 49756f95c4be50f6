"""Nested inputs and outputs: tuples, lists, dicts and None, taken apart to their tensors and put together again."""

from __future__ import annotations

from typing import Any


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


def flatten(value: Any, leaves: list[Any]) -> Any:
    """The structure of a value with each tensor replaced by its place; tensors are appended to ``leaves``."""
    from .._tensor import Tensor

    if isinstance(value, Tensor):
        leaves.append(value)
        return Leaf(len(leaves) - 1)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return ("named", type(value), tuple(flatten(v, leaves) for v in value))
    if type(value) in (tuple, list):
        return (type(value), tuple(flatten(v, leaves) for v in value))
    if isinstance(value, dict):
        return ("dict", type(value), tuple((k, flatten(v, leaves)) for k, v in value.items()))
    return ("value", value)


def unflatten(structure: Any, leaves: list[Any]) -> Any:
    """The value of a structure with these tensors."""
    if type(structure) is Leaf:
        return leaves[structure.index]
    kind = structure[0]
    if kind == "value":
        return structure[1]
    if kind == "named":
        return structure[1](*[unflatten(s, leaves) for s in structure[2]])
    if kind == "dict":
        return structure[1]((k, unflatten(s, leaves)) for k, s in structure[2])
    return kind(unflatten(s, leaves) for s in structure[1])


def same(a: Any, b: Any) -> bool:
    """Whether two structures are equal, plain values compared by type and value."""
    if type(a) is Leaf or type(b) is Leaf:
        return a == b if type(a) is type(b) else False
    if a[0] != b[0]:
        return False
    if a[0] == "value":
        x, y = a[1], b[1]
        return x is y or (type(x) is type(y) and _equal(x, y))
    if a[0] == "dict":
        return (
            a[1] is b[1]
            and len(a[2]) == len(b[2])
            and all(k == m and same(v, w) for (k, v), (m, w) in zip(a[2], b[2]))
        )
    x, y = (a[2], b[2]) if a[0] == "named" else (a[1], b[1])
    return len(x) == len(y) and all(same(v, w) for v, w in zip(x, y))


def _equal(x: Any, y: Any) -> bool:
    try:
        return bool(x == y)
    except (TypeError, ValueError):
        return False
