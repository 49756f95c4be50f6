"""What a function does besides computing with tensors: a counter, a list that grows, a mode that it leaves switched.

No program can repeat that. A function that does it at each call runs eagerly; one that does it once (a lazy set-up) is
replayed, and what it has set belongs to the places that each call looks at.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

from .._tensor import replaced
from ..autograd.mode import state
from . import tree
from .places import MISSING, Place, Stream, alike
from .record import Untraceable
from .surroundings import walk_from

_DICTS = ("_parameters", "_buffers", "_modules")


class Effects:
    """Python's state around a function before it is recorded, and what became of it."""

    def __init__(self, function: Callable, structure: Any):
        self.function, self.given = function, tree.values(structure)
        self.walk = walk_from(function, self.given)
        self.places = list(self.walk.found.values())
        self.modules = [(m, _state_of(m)) for m in self.walk.modules]
        self.streams = [*self.walk.streams, Stream.of(random), Stream.of(np.random)]
        self.mode = state.grad
        self.changed: list[tuple[str, Any, Any, Callable[[], Any]]] = []  # what, and after the first run: its value, how to ask

    def first(self) -> None:
        """The function has run once."""
        for p in self.places:
            if not p.holds():
                self.changed.append((_name(p), p.value, p.now(), p.now))
        for m, before in self.modules:
            now = _state_of(m)
            for key in before.keys() | now.keys():
                if not tree.same_value(before.get(key, MISSING), now.get(key, MISSING)):
                    what = f"{type(m).__name__}.{key[1]}"
                    self.changed.append((what, None, now.get(key, MISSING), lambda m=m, k=key: _state_of(m).get(k, MISSING)))

    def judge(self) -> None:
        """The function has run several times: Untraceable if it is not the same afterwards each time."""
        if self.walk.iterators:
            raise Untraceable(f"it takes from {self.walk.iterators[0]!r}, which only gives each value once")
        if state.grad != self.mode:
            raise Untraceable("it leaves the recording of gradients switched on or off")
        for s in self.streams:
            if not s.holds():
                raise Untraceable(f"it draws random numbers from {s.name()}; take them from numtorch's")
        for what, _, once, now in self.changed:
            if not alike(now(), once):
                raise Untraceable(f"it changes {what} at each call, which no replay repeats")

    def undo(self) -> None:
        """Give Python's state the values from before."""
        for p in self.places:
            if not p.holds():
                p.restore()
        for m, before in self.modules:
            _set_state(m, before)
        for s in self.streams:
            if not s.holds():
                s.restore()
        state.grad = self.mode
        replaced[0] += 1

    def names(self) -> list[Place]:
        """The places that calls look at: those that the function leaves as they are, or has set for good."""
        now = walk_from(self.function, self.given)
        return list(now.found.values())


def _state_of(m: Any) -> dict[tuple[str, str], Any]:
    own = m.__dict__
    found = {("", k): v for k, v in own.items() if k not in _DICTS}
    for name in _DICTS:
        found |= {(name, k): v for k, v in own.get(name, {}).items()}
    return found


def _set_state(m: Any, before: dict[tuple[str, str], Any]) -> None:
    now = _state_of(m)
    for key in now.keys() | before.keys():
        held = m.__dict__[key[0]] if key[0] else m.__dict__
        if key not in before:
            del held[key[1]]
        elif now.get(key, MISSING) is not before[key]:
            held[key[1]] = before[key]


def _name(p: Place) -> str:
    key = getattr(p, "key", None)
    return repr(key) if key is not None else f"a {type(p.place).__name__}"


