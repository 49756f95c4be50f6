"""``NUMTORCH_DEBUG``: how much a program tells about itself, without a change to it.

    0  nothing (the default)
    1  traces: what is recorded, how long that takes, why a function runs eagerly (to stderr)
    2  also anomaly detection in the main thread: the first NaN raises, naming its op, line and module
    3  also every op as it runs, with its shapes and the user's line
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from .autograd.anomaly import Settings
from .autograd.mode import set_anomaly
from .autograd.stack import Stack
from .profiler import Watcher

__all__ = ["level", "note", "set_level"]

_level = [0]


def level() -> int:
    """The level in force."""
    return _level[0]


def set_level(value: int) -> None:
    """Change the level; anomaly detection is switched in the calling thread. ValueError unless 0 to 3.

    Example:
        >>> import numtorch
        >>> numtorch.debug.set_level(0)
        >>> numtorch.debug.level()
        0
    """
    if value not in (0, 1, 2, 3):
        raise ValueError(f"NUMTORCH_DEBUG: expected 0, 1, 2 or 3, got {value!r}")
    before, _level[0] = _level[0], value
    if value >= 2:
        settings = Settings(True, False, True)
        set_anomaly(settings if value == 2 else _OpLog(settings))
    elif before >= 2:
        set_anomaly(None)


def note(least: int, text: str) -> None:
    """A line to stderr, from this level on."""
    if _level[0] >= least:
        print(f"numtorch: {text}", file=sys.stderr)


class _OpLog(Watcher):
    """Writes a line for each op, and looks for anomalies."""

    looks_inside = True

    def __init__(self, inner: Any):
        super().__init__(inner, False, False)

    def on_forward(self, name: str, outputs: Sequence[Any], inputs: Sequence[Any]) -> None:
        """An op has run."""
        given = ", ".join(str(list(x._layout.shape)) if hasattr(x, "_layout") else f"{x!r}" for x in inputs)
        made = ", ".join(f"{t._layout.dtype.name}{list(t._layout.shape)}" for t in outputs)
        note(3, f"{name}({given}) -> {made}  # {os.path.basename(Stack(2).line)}")
        super().on_forward(name, outputs, inputs)
        self.events.clear()


def from_environment() -> None:
    """Take the level from ``NUMTORCH_DEBUG``; ValueError for anything but 0 to 3."""
    text = os.environ.get("NUMTORCH_DEBUG", "0")
    if not text.isdecimal():
        raise ValueError(f"NUMTORCH_DEBUG: expected 0, 1, 2 or 3, got {text!r}")
    set_level(int(text))
