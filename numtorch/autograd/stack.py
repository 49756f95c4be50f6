"""Where in the user's program something happened: frames kept as numbers, written out only when they are shown."""

from __future__ import annotations

import linecache
import sys
from typing import Any

from .._source import is_internal, shown

_MOST = 60  # frames


class Stack:
    """The user's frames of a call, innermost first."""

    __slots__ = ("frames",)

    def __init__(self, depth: int = 1):
        frame: Any = sys._getframe(depth)
        found: list[Any] = []
        while frame is not None and len(found) < _MOST:
            code = frame.f_code
            if not is_internal(code.co_filename):
                found.append((code, frame.f_lineno))
            frame = frame.f_back
        self.frames = found

    @property
    def line(self) -> str:
        """ "file:line" of the innermost frame, or nothing."""
        if not self.frames:
            return ""
        code, number = self.frames[0]
        return f"{shown(code.co_filename)}:{number}"

    def __str__(self) -> str:
        rows = []
        for code, number in reversed(self.frames):
            name = shown(code.co_filename)
            where = f'File "{name}"' if name == code.co_filename else f"Cell {name}"
            rows.append(f"  {where}, line {number}, in {code.co_name}\n")
            text = linecache.getline(code.co_filename, number).strip()
            if text:
                rows.append(f"    {text}\n")
        return "".join(rows)

    def __bool__(self) -> bool:
        return bool(self.frames)


def levels_to_user() -> int:
    """The ``stacklevel`` by which a warning in the calling function points to the user's line."""
    frame: Any = sys._getframe(1)
    level = 1
    while frame is not None and is_internal(frame.f_code.co_filename):
        frame, level = frame.f_back, level + 1
    return level


class Origin:
    """Where a node of the autograd graph was made: stack, module, and the node in whose backward that was."""

    __slots__ = ("modules", "parent", "stack")

    def __init__(self, stack: Stack, modules: tuple[Any, ...], parent: Any):
        self.stack, self.modules, self.parent = stack, modules, parent

    @property
    def module(self) -> str:
        """The module's path, or nothing."""
        return module_path(self.modules)


def module_path(modules: tuple[Any, ...]) -> str:
    """The innermost module's name below the outermost one: ``Net.blocks.1.norm``."""
    if not modules:
        return ""
    root, inner = modules[0], modules[-1]
    for name, m in root.named_modules():
        if m is inner:
            return f"{type(root).__name__}.{name}" if name else type(root).__name__
    return f"{type(root).__name__} ... {type(inner).__name__}"
