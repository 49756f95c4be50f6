"""Ops are pickled, and copied, as their names."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def declared(module: str, name: str) -> Any:
    """The op of that name, declared in that module."""
    from .declare import TABLE

    importlib.import_module(module)
    return TABLE[name]


def reduce_op(op: Any, rule: Callable) -> tuple:
    """The pickle of an op declared by ``rule``. TypeError for one that was not declared in a module of numtorch."""
    from .declare import TABLE

    if TABLE.get(op.name) is not op:
        raise TypeError(f"cannot pickle the op {op.name}, which was made by a program and has no name in a module of numtorch")
    return declared, (rule.__module__, op.name)
