"""What a function does besides computing with tensors: a counter, a list that grows, a mode that it leaves switched.

No program can repeat that. A function that does it at each call runs eagerly; one that does it once (a lazy set-up) is
replayed, and what it has set belongs to the places that each call looks at.
"""

from __future__ import annotations

import itertools
import operator
import random
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._tensor import Tensor, replaced
from ..autograd.mode import state
from ..device import default
from ..dtype import get_default_dtype, set_default_dtype
from . import tree
from .looks import looks_of
from .places import MISSING, Key, Place, Stream, alike
from .record import SetsUp, Untraceable
from .surroundings import walk_from

_DICTS = ("_parameters", "_buffers", "_modules")


class Effects:
    """Python's state around a function before it is recorded, and what became of it."""

    def __init__(self, function: Callable, structure: Any, rehearsal: bool = False):
        self.rehearsal = rehearsal  # whether to record on after a first run that set something up
        self.function, self.given = function, tree.values(structure)
        self.walk = walk_from(function, self.given)
        self.places = list(self.walk.found.values())
        self.modules = [(m, _state_of(m), _marks(m)) for m in self.walk.modules]
        self.streams = [*self.walk.streams, Stream.of(random)]
        self._look_at_numpy()
        self.dicts = [(d, dict(d)) for d in self.walk.dicts]
        self.mode, self.dtype, self.device = state.grad, get_default_dtype(), default[0]
        self.made: list[Place] = []
        self.once: dict[Any, tuple[str, Any]] = {}  # what the first run changed
        self.reason = ""

    def noted(self, leaves: Sequence[Any]) -> tuple[set[str], list[dict[str, Any]]]:
        """Attributes of arguments that the function may look at, and what they are now."""
        if self.walk.hidden:
            raise Untraceable(self.walk.hidden[0])
        if _overlap(leaves):
            raise Untraceable("two arguments that know nothing of each other lie in the same memory, as of one NumPy array")
        if self.walk.iterators:
            raise Untraceable(f"it takes from {self.walk.iterators[0]!r}, which only gives each value once")
        names = {name for t in leaves for name in self.walk.names & tree.notes(t).keys()}
        if leaves:
            names |= {name for name in self.walk.unknown() if not hasattr(Tensor, name)}
        found = [{k: v for k, v in tree.notes(t).items() if k in names} for t in leaves]
        for value in (v for held in found for v in held.values()):
            if not (type(value) in tree.PLAIN or isinstance(value, Tensor)):
                raise Untraceable(f"it is given a tensor with an attribute that is a {type(value).__name__}")
        return names, found

    def compared(self, leaves: Sequence[Any]) -> dict[int, Any] | None:
        """Tensors that arguments may be compared with by ``is``; None for a function that compares nothing."""
        if not self.walk.compares or not leaves:
            return None
        if is_one_of(leaves, self.walk.tensors):
            raise Untraceable("it compares objects with `is`, and an argument is a tensor that it uses besides, or comes twice")
        return self.walk.tensors

    def first(self) -> None:
        """The function has run once; SetsUp if that has changed anything, but in a rehearsal."""
        self.once = self._now()
        if not self.is_random_loaded:
            self._look_at_numpy()
        if self.once and not self.rehearsal:
            raise SetsUp("it sets up something at its first call")
        if self.once:  # in what it has made, too, the next run may change nothing
            known = self.walk.found
            self.made = [p for key, p in walk_from(self.function, self.given).found.items() if key not in known]

    def again(self) -> None:
        """The function has run once more: notes what is not as it was after the first run."""
        if self.reason:
            return
        changed = [_name(p) for p in self.made if not p.holds()]
        if changed:
            self.reason = f"it changes {changed[0]} at each call, which no replay repeats"
        now = self._now()
        for key, (what, value) in (self.once | now).items():
            if key not in self.once or key not in now or not alike(value, self.once[key][1]):
                self.reason = f"it changes {what} at each call, which no replay repeats"

    def verdict(self) -> str:
        """The function has run several times: why it can't be replayed if it is not the same afterwards each time."""
        self.again()
        if state.grad != self.mode:
            return "it leaves the recording of gradients switched on or off"
        if get_default_dtype() is not self.dtype or default[0] != self.device:
            return "it leaves another default dtype or device"
        for s in self.streams:
            if not s.holds():
                return f"it draws random numbers from {s.name()}; take them from numtorch's"
        return self.reason

    def _look_at_numpy(self) -> None:
        """NumPy's random numbers, which NumPy itself imports only when they are asked for."""
        self.is_random_loaded = "numpy.random" in sys.modules
        if self.is_random_loaded:
            self.streams.append(Stream.of(np.random))

    def _now(self) -> dict[Any, tuple[str, Any]]:
        """What is not as it was before the recording: what it is called, and what it is now."""
        found: dict[Any, tuple[str, Any]] = {}
        for k, p in enumerate(self.places):
            if not p.holds():
                found[k] = _name(p), p.now()
        changed = [(m, before) for m, before, marks in self.modules if not _is_marked(m, marks)]
        held = [(id(m), type(m).__name__ + ".", _state_of(m), before) for m, before in changed]
        held += [(id(d), "", d, before) for d, before in self.dicts]
        for k, name, now, before in held:
            for key in now.keys() | before.keys():
                value = now.get(key, MISSING)
                if not tree.same_value(value, before.get(key, MISSING)):
                    found[k, key] = f"{name}{key[1] if name else repr(key)}", value
        return found

    def undo(self) -> None:
        """Give Python's state the values from before."""
        for p in self.places:
            if not p.holds():
                p.restore()
        for m, before, _ in self.modules:
            _set_state(m, before)
        for d, held in self.dicts:
            for key in d.keys() | held.keys():
                if key not in held:
                    del d[key]
                elif d.get(key, MISSING) is not held[key]:
                    d[key] = held[key]
        for s in self.streams:
            if not s.holds():
                s.restore()
        state.grad, default[0] = self.mode, self.device
        set_default_dtype(self.dtype)
        replaced[0] += 1

    def names(self, bound: Any) -> list[Place]:
        """The places that calls look at: those that the function leaves as they are, or has set for good.

        Modules that it takes something from without calling them are looked at like those that it calls.
        """
        now = walk_from(self.function, self.given, self.walk)
        for group, key in bound.path.recorder.options:
            place = Key(group, key, group.get(key, MISSING))
            now.found.setdefault((Key, id(group), key), place)
        known = {id(m) for m, _ in bound.modules}
        bound.modules += [(m, looks_of(m)) for m in now.modules if id(m) not in known]
        return list(now.found.values())


def _overlap(leaves: Sequence[Any]) -> bool:
    """Whether two storages of arguments lie in the same memory."""
    spans = sorted({(s.ptr, s.ptr + s.nbytes) for s in {id(t._storage): t._storage for t in leaves}.values()})
    known = len({id(t._storage) for t in leaves if t._storage.nbytes})
    return any(a[1] > b[0] for a, b in itertools.pairwise(spans)) or len([1 for a, b in spans if b > a]) < known


def is_one_of(leaves: Sequence[Any], others: dict[int, Any]) -> bool:
    """Whether an argument comes twice, or is one of some other tensors."""
    ids = {id(t) for t in leaves}
    return len(ids) < len(leaves) or not ids.isdisjoint(others)


def _state_of(m: Any) -> dict[tuple[str, str], Any]:
    own = m.__dict__
    found = {("", k): v for k, v in own.items() if k not in _DICTS}
    for name in _DICTS:
        found |= {(name, k): v for k, v in own.get(name, {}).items()}
    return found


def _marks(m: Any) -> tuple[list[Any], list[Any]]:
    """The same as two flat lists, keys (and how many there are of each kind) and values: compared much faster than dicts."""
    own = m.__dict__
    parts = [own, *[own.get(name, {}) for name in _DICTS]]
    keys = [k for held in parts for k in held]
    return [*keys, *map(len, parts)], [v for held in parts for v in held.values()]


def _is_marked(m: Any, marks: tuple[list[Any], list[Any]]) -> bool:
    """Whether a module holds the same objects under the same names."""
    names, values = _marks(m)
    return names == marks[0] and all(map(operator.is_, values, marks[1]))


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


