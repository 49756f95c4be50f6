"""``trace``: the callable that replays, and chooses or records the path that fits a call."""

from __future__ import annotations

import contextlib
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .._tensor import replaced
from ..autograd.mode import nobody_looking, state
from . import tree
from .bound import Bound, GuardFailed
from .check import TracingCheckError, check
from .direct import Direct, NotDirect
from .effects import Effects, is_one_of
from .histories import fields
from .memory import give_back, uncollected
from .names import captured_names
from .outside import Outside
from .passes import Report, check_names
from .path import record_path
from .record import NotNow, SetsUp, Untraceable
from .seeing import Visible, told, unwatched
from .watching import Flagged, watched

_MOST_PATHS = 16  # recordings kept for one kind of call; a function that needs more runs eagerly
_MOST_SETUPS = 8  # calls in a row after which a function has something more to set up
_MOST_TABLES = 8  # paths that native calls try
_FIRST_REPLAYS = 2  # of a path by Python, before it is worth a table


class _Kind:
    """The paths of one kind of call (same structure, layouts, flags), and why it runs eagerly if it does."""

    __slots__ = ("compared", "eager", "noted", "paths", "setups", "structure", "tries")

    def __init__(self, structure: Any):
        self.structure = structure
        self.paths: list[Bound] = []
        self.eager = ""
        self.setups = 0  # calls after which the function had something more to set up
        self.tries = 0  # recordings that ended because the function did what no replay repeats
        self.compared: dict[int, Any] | None = None  # tensors that the function may compare arguments with by `is`
        self.noted: tuple[set[str], list[dict[str, Any]]] = set(), []  # attributes of arguments that the function looks at

    def add(self, bound: Bound) -> None:
        """Another path, to be tried first; it replaces rehearsals."""
        self.paths = [bound, *(b for b in self.paths if not b.is_rehearsal)]

    def counted(self) -> int:
        """How often this kind of call has set something up, with this time."""
        self.setups += 1
        return self.setups

    def fits(self, structure: Any, leaves: list[Any]) -> bool:
        """Whether a call is of this kind."""
        if self.compared is not None and not self.eager and is_one_of(leaves, self.compared):
            return False
        names, noted = self.noted
        if names:
            notes = [{k: v for k, v in tree.notes(t).items() if k in names} for t in leaves]
            if not all(map(tree.same_notes, noted, notes)):
                return False
        return tree.same(self.structure, structure)


class Traced(Visible):
    """A function (or module) that replays what was recorded; see ``trace``.

    ``__call__`` is a slot: each trace has a builtin of its own there, which replays by tables (``direct.py``) and calls
    ``_by_python`` where none fits.
    """

    __slots__ = ("__call__",)
    if TYPE_CHECKING:
        __call__: Callable[..., Any]

    def __init__(
        self, function: Callable, check_trace: bool = True, passes: Sequence[str] | None = None, frozen: bool = False
    ):
        self.function = function
        self.check_trace = check_trace
        self._passes = None if passes is None else sorted(check_names(passes))
        self._frozen = frozen
        self._kinds: dict[Any, list[_Kind]] = {}
        self._lock = threading.RLock()
        self._tables: list[Direct] = []  # the latest first
        self._caller: Any = None
        self.__call__ = self._by_python
        self._connect()
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self.__doc__ = getattr(function, "__doc__", None)

    def _connect(self) -> None:
        """Let native code answer calls, where there is native code."""
        from ..kernels import caller, threads

        if caller.IS_AVAILABLE:
            self._caller = caller.Caller(self._by_python, fields())
            self.__call__ = self._caller.function
        threads.on_fork(self)

    def after_fork(self) -> None:
        """In a forked child nobody else is running this trace."""
        self._lock = threading.RLock()
        if self._caller is not None:
            self._caller.free()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep all other threads out of this trace."""
        with self._lock:
            if self._caller is None:
                yield
                return
            before = self._caller.enter()
            try:
                yield
            finally:
                self._caller.leave(before)

    def _by_python(self, *args: Any, **kwargs: Any) -> Any:
        """A call that no table answers."""
        watcher = state.anomaly
        if state.recorder is not None or state.interpreter is not None or (watcher is not None and watcher.looks_inside):
            return self.function(*args, **kwargs)
        if watcher is not None and watcher.times_traces:
            with unwatched(f"replay of {self.__name__}"):
                return self._by_python(*args, **kwargs)
        leaves: list[Any] = []
        try:
            structure = tree.flatten((args, kwargs), leaves)
        except RecursionError:  # a list that contains itself
            return self.function(*args, **kwargs)
        with self._alone():
            kind = self._kind(structure, leaves)
            if kind.eager:
                return self.function(*args, **kwargs)
            return self._replay(kind, structure, leaves, lambda: self.function(*args, **kwargs))

    def _kind(self, structure: Any, leaves: list[Any]) -> _Kind:
        places: dict[int, int] = {}
        shared = tuple([places.setdefault(id(t._storage), i) for i, t in enumerate(leaves)])
        key = (state.grad, state.inference, shared, *[(t._layout, t._rg, type(t)) for t in leaves])
        if len(places) < len(leaves):
            key += tuple(t._offset for t in leaves)
        kinds = self._kinds.setdefault(key, [])
        for kind in kinds:
            if kind.fits(structure, leaves):
                return kind
        kind = _Kind(structure)
        kinds.append(kind)
        return kind

    def _replay(self, kind: _Kind, structure: Any, leaves: list[Any], eager: Callable[[], Any]) -> Any:
        settings = state.anomaly
        for bound in list(kind.paths):
            if bound.counter != replaced[0] and bound.stale():
                kind.paths.remove(bound)
                bound.is_gone = True
                if bound.watched is not None:
                    bound.watched.is_gone = True
                continue
            if not bound.fits(leaves):
                continue
            try:
                outputs = self._run(bound, structure, leaves)
            except GuardFailed:
                continue
            except Exception:  # a NaN or an index out of range: found, or raised, with all that has happened before
                break
            self._publish(bound if settings is None else bound.watched, structure)
            return tree.unflatten(bound.path.result, outputs)
        else:
            return self._record(kind, structure, leaves, eager)
        return eager()

    def _run(self, bound: Bound, structure: Any, leaves: list[Any]) -> list[Any]:
        """Replay a path; while anomalies are looked for, its watched form."""
        if state.anomaly is not None:
            bound = watched(bound, state.anomaly)
        return bound.run(leaves, (self.function, structure, leaves))

    def _publish(self, bound: Bound, structure: Any) -> None:
        """Let native calls know a path that was just replayed here."""
        bound.replays += 1
        if bound.replays == _FIRST_REPLAYS:
            give_back()
        if bound.replays < _FIRST_REPLAYS or self._caller is None or not bound.is_direct:
            return
        mine = [d for d in self._tables if d.bound is bound and tree.same(d.structure, structure)]
        others = [d for d in self._tables if d not in mine and not d.bound.is_gone]
        try:
            direct = mine[0] if mine else Direct(bound, structure, self.function)
            direct.refresh(structure)
            self._tables = [direct, *others][:_MOST_TABLES]
        except NotDirect:
            bound.is_direct = False
            self._tables = others
        self._caller.publish([d.table for d in self._tables])

    def _record(self, kind: _Kind, structure: Any, leaves: list[Any], eager: Callable[[], Any]) -> Any:
        if len(kind.paths) >= _MOST_PATHS:
            self._give_up(kind, f"more than {_MOST_PATHS} different ways through the function were taken")
        try:
            bound = None if kind.eager else self._bound(kind, structure, leaves)
        except SetsUp:
            result = eager()
            self._record_after(kind, structure, leaves)
            return result
        except TracingCheckError as e:
            self._give_up(kind, str(e))
            return eager()
        except Exception as e:
            result = eager()  # raises it with all that has happened before
            if state.anomaly is None:
                warnings.warn(f"numtorch.jit.trace: {self.__name__} ran eagerly: recording it raised {e!r}", stacklevel=4)
            return result
        if bound is None:
            return eager()
        kind.add(bound)
        try:
            outputs = self._run(bound, structure, leaves)
        except (GuardFailed, Flagged):
            return eager()
        return tree.unflatten(bound.path.result, outputs)

    def _record_after(self, kind: _Kind, structure: Any, leaves: list[Any]) -> None:
        """Record for the next call, now that the function has set up what it does at its first one."""
        try:
            bound = self._bound(kind, structure, leaves, rehearsal=True)
        except TracingCheckError as e:
            self._give_up(kind, str(e))
            return
        except Exception as e:  # the next call raises it, if it is the function's own
            warnings.warn(f"numtorch.jit.trace: recording {self.__name__} raised {e!r}", stacklevel=5)
            return
        if bound is not None and not bound.is_rehearsal:
            kind.add(bound)
        elif bound is not None and kind.counted() > _MOST_SETUPS:
            self._give_up(kind, "it sets up something new at each call")

    def _give_up(self, kind: _Kind, reason: str) -> None:
        kind.eager = reason
        kind.paths.clear()
        warnings.warn(f"numtorch.jit.trace: {self.__name__} runs eagerly: {reason}", stacklevel=6)

    def _bound(self, kind: _Kind, structure: Any, leaves: list[Any], rehearsal: bool = False) -> Bound | None:
        """Record and check; None where the function is to run eagerly. SetsUp if it set up what the next call finds: then
        this call is to run eagerly, and a rehearsal gives a path that only shows what will be recorded.
        """
        start = time.perf_counter()
        effects = Effects(self.function, structure, rehearsal)
        with nobody_looking(), uncollected():
            try:
                kind.noted, kind.compared = effects.noted(leaves), effects.compared(leaves)
                path = record_path(self.function, structure, leaves, effects.first, self.check_trace)
                bound = Bound(path, self._passes, self._frozen)
                self._judge(effects, bound, structure, leaves)
            except SetsUp:
                effects.undo()
                raise
            except NotNow:
                effects.undo()
                return None
            except Untraceable as reason:
                effects.undo()
                if isinstance(reason, Outside) and kind.tries == 0:
                    kind.tries = 1  # it may be a set-up, which the eager call does for good
                    return None
                self._give_up(kind, str(reason))
                return None
            except Exception:
                effects.undo()
                raise
        bound.is_rehearsal = bool(effects.once)
        if bound.is_rehearsal:
            path.recorder.labels |= captured_names(path)  # of what undo takes away
            effects.undo()
            return bound
        bound.names = effects.names(bound)
        bound.is_direct &= not kind.noted[0]
        give_back()
        bound.strangers = {id(t._storage) for t in (kind.compared or {}).values()}
        told(self, bound, time.perf_counter() - start)
        return bound

    def _judge(self, effects: Effects, bound: Bound, structure: Any, leaves: list[Any]) -> None:
        """Untraceable if the function is not the same each time; what is found wrong with the replay then says where."""
        reason, found = effects.verdict(), ""
        if self.check_trace:
            try:
                check(self.function, bound, structure, leaves)
            except TracingCheckError as e:
                if not reason:
                    raise
                found = f" ({e})"
        reason = reason or effects.verdict()
        if reason:
            raise Untraceable(reason + found)

    def prepare(self, args: tuple, kwargs: dict) -> None:
        """Record the path of these arguments without any effect."""
        if state.interpreter is not None:
            return  # nothing is recorded of what is interpreted
        leaves: list[Any] = []
        structure = tree.flatten((args, kwargs), leaves)
        with self._alone():
            kind = self._kind(structure, leaves)
            bound = self._bound(kind, structure, leaves, rehearsal=True)
            if bound is not None:
                kind.add(bound)

    def paths(self) -> list[Bound]:
        """Everything recorded so far."""
        return [b for kinds in self._kinds.values() for k in kinds for b in k.paths]

    @property
    def passes(self) -> Report:
        """What the passes did to the newest recording; prints as a table."""
        found = self.paths()
        return found[0].report if found else Report()

    def __reduce__(self) -> Any:
        """Copies and pickles have a function of their own if that is copied (a module), and record it anew."""
        return Traced, (self.function, self.check_trace, self._passes, self._frozen)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or "function" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.function, name)


def trace(func: Callable, example_inputs: Any = None, *, check_trace: bool = True, example_kwarg_inputs: dict | None = None,
          passes: Sequence[str] | None = None, **ignored: Any) -> Traced:  # fmt: skip
    """Record what ``func`` (a function, a training step, or a module) does with the example inputs; replay it when called.

    The recording has no effect: parameters, optimizer state and random numbers stay as they are. Calls with other shapes, dtypes,
    flags or branches record a path of their own, so the result always equals eager. A function that prints, reads files or clocks,
    or leaves Python's state different at each call runs eagerly, and a warning says which line is why. ``passes`` names the passes to run
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
