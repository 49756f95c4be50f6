"""``trace``: the callable that replays, and chooses or records the path that fits a call."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from .._tensor import replaced
from ..autograd.mode import state
from . import tree
from .bound import Bound, GuardFailed
from .check import check
from .passes import Report, check_names
from .path import record_path
from .record import Untraceable
from .seeing import Visible

_MOST_PATHS = 16  # recordings kept for one kind of call; a function that needs more runs eagerly


class _Kind:
    """The paths of one kind of call (same structure, layouts, flags), and why it runs eagerly if it does."""

    __slots__ = ("eager", "paths", "structure")

    def __init__(self, structure: Any):
        self.structure = structure
        self.paths: list[Bound] = []
        self.eager = ""


class Traced(Visible):
    """A function (or module) that replays what was recorded; see ``trace``."""

    def __init__(self, function: Callable, check_trace: bool = True, passes: Sequence[str] | None = None):
        self.function = function
        self.check_trace = check_trace
        self._passes = None if passes is None else sorted(check_names(passes))
        self._kinds: dict[Any, list[_Kind]] = {}
        self._lock = threading.RLock()
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self.__doc__ = getattr(function, "__doc__", None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if state.recorder is not None or state.anomaly is not None:
            return self.function(*args, **kwargs)
        leaves: list[Any] = []
        structure = tree.flatten((args, kwargs), leaves)
        with self._lock:
            kind = self._kind(structure, leaves)
            if kind.eager:
                return self.function(*args, **kwargs)
            return self._replay(kind, structure, leaves)

    def _kind(self, structure: Any, leaves: list[Any]) -> _Kind:
        places: dict[int, int] = {}
        shared = tuple([places.setdefault(id(t._storage), i) for i, t in enumerate(leaves)])
        key = (state.grad, state.inference, shared, *[(t._layout, t._rg) for t in leaves])
        if len(places) < len(leaves):
            key += tuple(t._offset for t in leaves)
        kinds = self._kinds.setdefault(key, [])
        for kind in kinds:
            if tree.same(kind.structure, structure):
                return kind
        kind = _Kind(structure)
        kinds.append(kind)
        return kind

    def _replay(self, kind: _Kind, structure: Any, leaves: list[Any]) -> Any:
        for bound in list(kind.paths):
            if bound.counter != replaced[0] and bound.stale():
                kind.paths.remove(bound)
                continue
            if not bound.fits():
                continue
            try:
                outputs = bound.run(leaves, (self.function, structure, leaves))
            except GuardFailed:
                continue
            return tree.unflatten(bound.path.result, outputs)
        return self._record(kind, structure, leaves)

    def _record(self, kind: _Kind, structure: Any, leaves: list[Any]) -> Any:
        args, kwargs = tree.unflatten(structure, leaves)
        if len(kind.paths) >= _MOST_PATHS:
            kind.eager = f"more than {_MOST_PATHS} different ways through the function were taken"
            kind.paths.clear()
        bound = None if kind.eager else self._bound(kind, structure, leaves)
        if bound is None:
            return self.function(*args, **kwargs)
        kind.paths.insert(0, bound)
        try:
            outputs = bound.run(leaves, (self.function, structure, leaves))
        except GuardFailed:
            return self.function(*args, **kwargs)
        return tree.unflatten(bound.path.result, outputs)

    def _bound(self, kind: _Kind, structure: Any, leaves: list[Any]) -> Bound | None:
        try:
            bound = Bound(record_path(self.function, structure, leaves), self._passes)
        except Untraceable as reason:
            kind.eager = str(reason)
            warnings.warn(f"numtorch.jit.trace: {self.__name__} runs eagerly: {reason}", stacklevel=4)
            return None
        if self.check_trace:
            check(self.function, bound, structure, leaves)
        return bound

    def prepare(self, args: tuple, kwargs: dict) -> None:
        """Record the path of these arguments without any effect."""
        leaves: list[Any] = []
        structure = tree.flatten((args, kwargs), leaves)
        with self._lock:
            kind = self._kind(structure, leaves)
            bound = self._bound(kind, structure, leaves)
            if bound is not None:
                kind.paths.insert(0, bound)

    def paths(self) -> list[Bound]:
        """Everything recorded so far."""
        return [b for kinds in self._kinds.values() for k in kinds for b in k.paths]

    @property
    def passes(self) -> Report:
        """What the passes did to the newest recording; prints as a table."""
        found = self.paths()
        return found[0].report if found else Report()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or "function" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.function, name)


def trace(func: Callable, example_inputs: Any = None, *, check_trace: bool = True, example_kwarg_inputs: dict | None = None,
          passes: Sequence[str] | None = None, **ignored: Any) -> Traced:  # fmt: skip
    """Record what ``func`` (a function, a training step, or a module) does with the example inputs; replay it when called.

    The recording has no effect: parameters, optimizer state and random numbers stay as they are. Calls with other shapes, dtypes,
    flags or branches record a path of their own, so the result always equals eager. ``passes`` names the passes to run
    (``numtorch.jit.passes``), by default all of them.

    Example:
        >>> import numtorch
        >>> double = numtorch.jit.trace(lambda x: x * 2 + 1, numtorch.ones(3))
        >>> double(numtorch.tensor([1.0, 2.0, 3.0]))
        tensor([3., 5., 7.])
    """
    if not callable(func):
        raise TypeError(f"trace: expected a function or a module, got {type(func).__name__}")
    traced = Traced(func, check_trace, passes)
    if example_inputs is not None or example_kwarg_inputs is not None:
        args = () if example_inputs is None else example_inputs
        args = tuple(args) if isinstance(args, (tuple, list)) else (args,)
        traced.prepare(args, example_kwarg_inputs or {})
    return traced
