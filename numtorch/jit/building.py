"""Functions that put a nested result together from its tensors: one expression of Python for each structure."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

from . import tree


def builder(structure: Any) -> Callable[[tuple], Any]:
    """The function from a structure's tensors to its value, as ``tree.unflatten`` makes it."""
    names: dict[str, Any] = {"unflatten": tree.unflatten}
    return eval(f"lambda t: {_expression(structure, names)}", names)


def _expression(s: Any, names: dict[str, Any]) -> str:
    """Python's expression for a structure; the objects in it are noted in ``names``."""

    def name_of(value: Any) -> str:
        names[f"c{len(names)}"] = value
        return f"c{len(names) - 1}"

    if type(s) is tree.Leaf:
        return f"t[{s.index}]"
    if s[0] == "value":
        return name_of(s[1])
    if s[0] is tuple:
        return "(" + "".join(_expression(x, names) + ", " for x in s[1]) + ")"
    if s[0] is list:
        return "[" + ", ".join(_expression(x, names) for x in s[1]) + "]"
    if s[0] == "named":
        items = "".join(_expression(x, names) + ", " for x in s[2])
        return f"{name_of(tuple.__new__)}({name_of(s[1])}, ({items}))"  # not by a __new__ of its own
    if s[0] == "dict" and s[1] in (dict, collections.OrderedDict):
        items = "{" + ", ".join(f"{name_of(k)}: {_expression(v, names)}" for k, v in s[2]) + "}"
        return items if s[1] is dict else f"{name_of(s[1])}({items})"
    return f"unflatten({name_of(s)}, t)"
