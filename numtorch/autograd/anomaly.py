"""Anomaly detection: where a NaN (or inf) was born, in forward and in backward, and what brought it in if no op did.

Every node keeps the stack of the call that made it. The first op that gives a NaN for inputs without one raises; what came
with the data, in a parameter or from an optimizer's step is said to have. Values are looked at by one pass of a kernel.
"""

from __future__ import annotations

import contextlib
import warnings
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

from .blame import AnomalyError, Report, is_bad, looks_bad
from .mode import set_anomaly, state
from .remedies import public_name
from .stack import Origin, Stack, levels_to_user, module_path

# Ops that only make or move memory, or whose output may hold anything.
_MOST_COPIED = 1 << 16  # bytes of what an op overwrites that are kept for the report
_MAY_HOLD_ANYTHING = {"fill", "uniform", "normal"}


class Settings:
    """What is looked for, where the program is, and which memory holds what came in."""

    looks_inside = times_traces = False  # traces are replayed, and looked at natively (jit/watching.py)

    def __init__(self, check_nan: bool, check_inf: bool, check_forward: bool):
        self.check_nan, self.check_inf, self.check_forward = check_nan, check_inf, check_forward
        self.modules: list[Any] = []
        self.busy = False
        self.node: Any = None  # whose backward runs: its ops are not looked at one by one
        self.outer: Any = None  # the custom Function whose backward runs: its ops are
        self.line = ""  # of the op of a loaded trace that runs
        self.optimizer: Any = None  # whose step runs
        self.before: dict[int, tuple[str, Any]] = {}  # memory that the running op overwrites: whether it was bad, a copy
        self.brought: dict[int, tuple[Any, str]] = {}  # storages that hold what came in, and where from
        self.infinite: dict[int, tuple[Any, str]] = {}  # storages that became infinite, and where
        self.roots: weakref.WeakSet = weakref.WeakSet()  # outermost modules: they know the parameters' names
        self.resumed: tuple[int, list] | None = None  # while a forward is taken again: frames of now, and those of then

    # -- where we are

    @contextlib.contextmanager
    def inside(self, module: Any) -> Iterator[None]:
        """While a module's forward runs."""
        if not self.modules:
            self.roots.add(module)
        self.modules.append(module)
        try:
            yield
        finally:
            self.modules.pop()

    def leave(self, module: Any, result: Any) -> None:
        """A module is done: at the outermost one, a NaN that only passed through is told."""
        if self.modules or not self.check_forward:
            return
        for t in _tensors(result):
            note = self._note(t)
            if note and is_bad(t, self):
                raise Report(self, "forward", type(module).__name__, t, is_bad(t, self)).brought_in(note)

    @contextlib.contextmanager
    def stepping(self, optimizer: Any) -> Iterator[None]:
        """While an optimizer's step runs."""
        outer, self.optimizer = self.optimizer, optimizer
        try:
            yield
        finally:
            self.optimizer = outer

    def on_create(self, node: Any) -> None:
        """A node was made: keep the stack of the call, the module, and the node in whose backward it was."""
        stack = Stack(3)
        if self.resumed is not None:
            stack.frames[len(stack.frames) - self.resumed[0] :] = self.resumed[1]
        node.trace_back = Origin(stack, tuple(self.modules), self.node or self.outer)

    # -- looking at what an op gave

    def on_write(self, outputs: Sequence[Any], inputs: Sequence[Any]) -> None:
        """An op is about to run: what it overwrites is looked at before."""
        self.before.clear()
        if not self.check_forward or self.busy or self.node is not None:
            return
        given = {id(x._storage) for x in inputs if hasattr(x, "_layout")}
        for out in outputs:
            if id(out._storage) in given and out._layout.dtype.is_floating_point:
                storage = out._storage
                copy = storage.__deepcopy__({}) if storage.nbytes <= _MOST_COPIED else None
                self.before[id(storage)] = (is_bad(out, self), copy)

    def on_forward(self, name: str, outputs: Sequence[Any], inputs: Sequence[Any]) -> None:
        """An op has run: raise if it made a NaN or inf out of inputs that had none."""
        if not self.check_forward or self.busy or self.node is not None:
            return
        for out in outputs:
            if out._layout.dtype.is_floating_point and looks_bad(out):
                break
        else:
            return
        self.busy = True
        try:
            for number, out in enumerate(outputs):
                what = is_bad(out, self)
                if what:
                    self._judge(name, number, out, inputs, what)
                elif out._layout.dtype.is_floating_point and looks_bad(out):
                    self._note_infinite(name, out, inputs)
        finally:
            self.busy = False

    def _judge(self, name: str, number: int, out: Any, inputs: Sequence[Any], what: str) -> None:
        """Raise for an op that made a NaN; remember where one came from that was there before."""
        guilty = None
        for k, x in enumerate(inputs):
            if not hasattr(x, "_layout"):
                if isinstance(x, float) and (x != x if what == "nan" else x - x != 0):
                    guilty = (k, x)  # the number itself was one
                    break
                continue
            held = self.before.get(id(x._storage))
            if (held[0] if held is not None else is_bad(x, self)) == what:
                guilty = (k, x)
                break
        if guilty is None and name not in _MAY_HOLD_ANYTHING:
            report = Report(self, "forward", name, out, what, inputs, self.before)
            raise report.of_optimizer(out) if self.optimizer is not None else report.of_forward()
        if guilty is not None:
            note = ("" if isinstance(guilty[1], float) else self._note(guilty[1])) or self._where_from(name, *guilty)
            _put(self.brought, out._storage, note)
            if self.optimizer is not None and self.before.get(id(out._storage), ("",))[0] == "":
                raise Report(self, "forward", name, out, what, inputs, self.before).of_optimizer(out)

    def _note_infinite(self, name: str, out: Any, inputs: Sequence[Any]) -> None:
        """Remember which op made the first infinity of a chain."""
        since = next((s for x in inputs if hasattr(x, "_layout") and (s := self.infinite_since(x))), "")
        since = since or f" (infinite since op '{public_name(name)}', {self.line or Stack(4).line})"
        _put(self.infinite, out._storage, since)

    def note_infinite_results(self, name: str, line: str, outputs: Sequence[Any]) -> None:
        """A replay whose op ``name`` made an infinity: remember it for those of its results that are."""
        for t in outputs:
            if t._layout.dtype.is_floating_point and looks_bad(t):
                _put(self.infinite, t._storage, f" (infinite since op '{public_name(name)}', {line})")

    def infinite_since(self, t: Any) -> str:
        """Which op made a tensor infinite, in brackets, or nothing."""
        held = self.infinite.get(id(t._storage))
        return held[1] if held is not None and held[0]() is t._storage else ""

    def _note(self, t: Any) -> str:
        """Where the NaN in a tensor came from, if it was brought in."""
        held = self.brought.get(id(t._storage))
        return held[1] if held is not None and held[0]() is t._storage else ""

    def _where_from(self, name: str, k: int, x: Any) -> str:
        line = self.line or Stack(4).line
        if isinstance(x, float):
            return f"the number {x} was given to op '{public_name(name)}' ({line})"
        owner = self.owner_of(x)
        if owner:
            return f"{owner} held it"
        la = x._layout
        return f"input {k} of op '{public_name(name)}' ({line}), numtorch.{la.dtype.name}{list(la.shape)}, brought it in with the data"

    def owner_of(self, x: Any) -> str:
        """What memory is, of the modules that ran or of the optimizer: "parameter 'Net.0.weight'", or nothing."""
        for root in self.roots:
            if any(p._storage is x._storage for p in root.buffers()):
                return f"buffer '{self.name_of(x)}'"
        name = self.name_of(x)
        return f"parameter '{name}'" if name else ""

    def name_of(self, x: Any) -> str:
        """A parameter's or buffer's name in the modules that ran, or its place in the optimizer."""
        for root in self.roots:
            for name, p in (*root.named_parameters(), *root.named_buffers()):
                if p is x or p._storage is x._storage:
                    return f"{type(root).__name__}.{name}"
        if self.optimizer is not None:
            for g, group in enumerate(self.optimizer.param_groups):
                for k, p in enumerate(group["params"]):
                    if p._storage is x._storage:
                        return f"parameter {k} of group {g}"
        return ""

    # -- backward

    def run_backward(self, node: Any, grads: Any) -> Any:
        """Run a node's backward and look at what it gives."""
        if hasattr(node, "bound"):
            from ..jit.watching import run_backward

            results = run_backward(self, node, grads)
            self.on_backward(node, results, grads)
            return results
        outer = self.node, self.outer
        custom = hasattr(node, "cls") or hasattr(node, "has_ops")
        # Only the results of a built-in backward are looked at: it runs unwatched unless it makes nodes itself.
        alone = not custom and not state.grad and state.recorder is None
        self.node, self.outer = (None, node) if custom else (node, self.outer)
        if alone:
            set_anomaly(None)
        try:
            results = node.run(grads)
        finally:
            self.node, self.outer = outer
            if alone:
                set_anomaly(self)
        self.on_backward(node, results, grads)
        return results

    def again(self, node: Any) -> _Again:
        """While the forward of a traced node is taken again, to differentiate it op by op: as if it were then."""
        return _Again(self, node)

    def is_bad(self, t: Any) -> str:
        """ "nan", "inf" or nothing, of what is looked for in a tensor."""
        return is_bad(t, self)

    def on_backward(self, node: Any, results: Sequence[Any], grads: Sequence[Any] = ()) -> None:
        """A backward function has run: raise if a result holds a NaN or inf."""
        if self.busy:
            return
        self.busy = True
        try:
            for i, g in enumerate(results):
                if g is None or not hasattr(g, "_layout") or not g._layout.dtype.is_floating_point or not looks_bad(g):
                    continue
                what = is_bad(g, self)
                if what:
                    self._raise_backward(node, i, what, g, grads)
                edge = node.edges[i] if i < len(node.edges) else None
                if type(edge) is tuple:
                    edge[0].infinite = getattr(node, "infinite", None) or node  # a NaN further on was born here
        finally:
            self.busy = False

    def _raise_backward(self, node: Any, i: int, what: str, g: Any, grads: Sequence[Any]) -> None:
        report = Report(self, "backward", node.title, g, what)
        origin = node.trace_back
        if origin is not None and origin.stack:
            warnings.warn(
                f"Error detected in {node.title}. Traceback of forward call that caused the error:\n{origin.stack}",
                UserWarning,
                stacklevel=levels_to_user(),
            )
        raise report.of_backward(node, i, grads)

    def module_path(self) -> str:
        """The running module's name below the outermost one: ``Net.blocks.1.norm``."""
        return module_path(tuple(self.modules))


class _Again:
    """The block in which a forward is taken again."""

    def __init__(self, settings: Settings, node: Any):
        self.settings, self.origin = settings, node.trace_back

    def __enter__(self) -> None:
        s = self.settings
        self.held = s.node, s.outer, s.modules, s.check_forward, s.resumed
        s.node = s.outer = None
        s.check_forward = False
        if self.origin is not None:
            s.modules, s.resumed = list(self.origin.modules), (len(Stack(2).frames), self.origin.stack.frames)

    def __exit__(self, *exc: Any) -> None:
        s = self.settings
        s.node, s.outer, s.modules, s.check_forward, s.resumed = self.held


def _put(notes: dict[int, tuple[Any, str]], storage: Any, text: str) -> None:
    """A note on a piece of memory; those on memory that is gone are dropped now and then."""
    if len(notes) > 4096:
        for key in [k for k, (found, _) in notes.items() if found() is None]:
            del notes[key]
    notes[id(storage)] = (weakref.ref(storage), text)


def _tensors(x: Any) -> Iterator[Any]:
    if hasattr(x, "_layout"):
        yield x
    elif isinstance(x, (tuple, list)):
        for y in x:
            yield from _tensors(y)
    elif isinstance(x, dict):
        for y in x.values():
            yield from _tensors(y)


class detect_anomaly:
    """Within the block, the first op or backward function that makes a NaN raises ``AnomalyError`` naming the place.

    The message gives the op, the user's line and stack, the module, how many elements are bad, the first index and the
    input values there, and for known culprits how to mend it. A NaN that came with the data or was in a parameter is said to
    have when it reaches the outermost module's result or a gradient.

    Args:
        check_nan: look for NaN.
        check_inf: infinities too (``-inf`` is common in masks, so not by default).
        check_forward: look at forward results as well.

    Example:
        >>> import numtorch
        >>> x = numtorch.tensor([0.0, 1.0], requires_grad=True)
        >>> with numtorch.autograd.detect_anomaly(check_forward=False):
        ...     (x.sqrt() * 0).sum().backward()
        Traceback (most recent call last):
        numtorch.autograd.AnomalyError: ...
    """

    def __init__(self, check_nan: bool = True, check_inf: bool = False, check_forward: bool = True):
        self.settings = Settings(check_nan, check_inf, check_forward)
        self._before: list[Any] = []

    def __enter__(self) -> None:
        self._before.append(state.anomaly)
        set_anomaly(self.settings)

    def __exit__(self, *exc: Any) -> None:
        set_anomaly(self._before.pop())


class set_detect_anomaly(detect_anomaly):
    """Switch anomaly detection on or off at once; used with ``with``, the setting is restored afterwards."""

    def __init__(
        self, mode: bool, check_nan: bool = True, check_inf: bool = False, check_forward: bool = True
    ):
        super().__init__(check_nan, check_inf, check_forward)
        self._previous = state.anomaly
        set_anomaly(self.settings if mode else None)

    def __enter__(self) -> None:
        self._before.append(self._previous)


def is_anomaly_enabled() -> bool:
    """Whether anomalies are looked for."""
    return in_force() is not None


def is_anomaly_check_nan_enabled() -> bool:
    """Whether NaN counts as an anomaly."""
    found = in_force()
    return found is not None and found.check_nan


def in_force() -> Settings | None:
    """Those of this thread; a profile that runs stands before them."""
    found = state.anomaly
    return found if found is None or isinstance(found, Settings) else found.inner


__all__ = ["AnomalyError", "detect_anomaly", "is_anomaly_check_nan_enabled", "is_anomaly_enabled", "set_detect_anomaly"]
