"""Compare a replay with eager: outputs, gradients and everything else that was written, strictly."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autograd import engine
from ..creation import from_array
from . import tree
from .bound import Bound, GuardFailed
from .diverging import between_runs, difference_of, first_difference
from .memory import restore, snapshot, values_of
from .names import captured_names
from .nodes import without_hooks
from .record import Recording
from .warming import FirstRun


class TracingCheckError(RuntimeError):
    """A replay gave something else than the function itself."""


class TracerWarning(UserWarning):
    """Something a trace can't promise to repeat."""


def check(function: Callable, bound: Bound, structure: Any, leaves: Sequence[Any]) -> None:
    """Run the replay from the state that the function ran from, undo it, and compare.

    With the run before the recording, if that did the same ops; where it did not, or anything differs, with one more run of the
    function. Raises TracingCheckError, naming the first op that differs and its line; warns when two runs of the function
    differ in what they do but not in what they give.
    """
    naming = Naming(bound, leaves)
    first, bound.path.first = bound.path.first, None
    known = _of_first_run(first, naming)
    if known is not None and _difference(known, _replayed(bound, naming)) is None:
        return
    entries, eager = _eager(function, structure, naming)
    replayed = _replayed(bound, naming)
    name = getattr(function, "__name__", type(function).__name__)
    if replayed is None:
        place = first_difference(function, bound, structure, leaves)
        _report(name, f"a value that the function reads in Python differs from run to run: {place}")
        return
    found = _difference(eager, replayed)
    if found is not None:
        place = first_difference(function, bound, structure, leaves)
        raise TracingCheckError(f"trace of {name}: {found[0]} of the replay differs from eager: {found[1]}. Cause: {place}")
    changed = between_runs(bound.path.forward, entries[: len(bound.path.forward)])
    if changed:
        _report(name, changed)


class Naming:
    """What the results of a path are called in a message, and where they are."""

    def __init__(self, bound: Bound, leaves: Sequence[Any]):
        self.path, self.leaves = bound.path, leaves
        self.targets = bound.leaf_tensors(leaves)
        self.labels = captured_names(bound.path)
        made = {id(s) for s, _ in bound.path.constants}  # from Python data: another memory in each run
        given = {id(r.storage): t._storage for r, t in zip(bound.path.inputs, leaves)}
        kinds: dict[int, set[np.dtype]] = {}
        for e in (*bound.path.forward, *bound.path.backward):
            for r in e.outputs:
                kinds.setdefault(id(r.storage), set()).add(r.layout.dtype.numpy)
        # captured and argument memory that a replay changes, and the dtypes in which it does
        self.written = [(given.get(k, s), kinds.get(k, set())) for k, s in bound.path.written.items() if k not in made]

    def results(self, outputs: Sequence[Any], grads: Sequence[Any]) -> dict[str, Any]:
        """Values of results and gradients by name."""
        found: dict[str, Any] = {f"output {i}": x for i, x in enumerate(outputs)}
        return found | {f"gradient {i}": x for i, x in enumerate(grads)}

    def changed(self, content: Callable[[Any], bytes]) -> dict[str, Any]:
        """Values of changed memory by name; ``content(storage)``: its bytes. As numbers of the dtype in which it was written."""
        found = {}
        for i, (s, kinds) in enumerate(self.written):
            kind = next(iter(kinds)) if len(kinds) == 1 else np.dtype(np.uint8)
            values = np.frombuffer(content(s), kind, s.nbytes // kind.itemsize)
            found[self.labels.get(id(s), f"changed memory {i}")] = values
        return found

    def all(self, outputs: Sequence[Any], grads: Sequence[Any]) -> dict[str, Any]:
        """What a run gives, before it is undone."""
        values = [None if g is None else values_of(g) for g in grads]
        found = self.results([values_of(t) for t in outputs], values) | self.changed(snapshot)
        return found | self._differentiated(outputs)

    def _differentiated(self, outputs: Sequence[Any]) -> dict[str, Any]:
        """What the backward gives for some gradients of the outputs; nothing where it is the function's own affair."""
        chosen = [outputs[i] for i in self.path.differentiable]
        if not chosen or chosen[0]._layout.device != "cpu":
            return {}
        given = []
        for t in chosen:
            la = t._layout
            pattern = np.cos(np.arange(la.numel, dtype=np.float64)).reshape(la.shape)
            given.append(from_array(pattern, la.dtype))
        with without_hooks(self.targets):
            grads = engine.backward(chosen, given, False, False, self.targets, accumulate=False)
        leaves = enumerate(self.path.leaves)
        names = [f"input {x[1]}" if type(x) is tuple else self.labels.get(id(x._storage), f"leaf {k}") for k, x in leaves]
        return {f"the gradient of {n}": None if g is None else values_of(g) for n, g in zip(names, grads)}


def _difference(eager: dict[str, Any], replayed: dict[str, Any] | None) -> tuple[str, str] | None:
    """What differs and how; None if nothing does."""
    if replayed is None:
        return "a value that Python reads", "another one"
    for what in eager.keys() | replayed.keys():
        difference = difference_of(eager.get(what), replayed.get(what))
        if difference:
            return what, difference
    return None


def _of_first_run(first: FirstRun | None, naming: Naming) -> dict[str, Any] | None:
    """What the run before the recording gave; None if it did something else, or its backward is the caller's affair."""
    path = naming.path
    if first is None or path.differentiable or not first.did(path.forward):
        return None
    if any(s.ptr not in first.memory or len(first.memory[s.ptr][1]) != s.nbytes for s, _ in naming.written):
        return None
    return naming.results(first.outputs, first.grads) | naming.changed(lambda s: first.memory[s.ptr][1])


def _eager(function: Callable, structure: Any, naming: Naming) -> tuple[list[Any], dict[str, Any]]:
    """The ops of one run, and what it gives: outputs, gradients, memory that it changes."""
    args, kwargs = tree.unflatten(structure, list(naming.leaves))
    with Recording() as r:
        try:
            outputs: list[Any] = []
            tree.flatten(function(*args, **kwargs), outputs)
            found = naming.all(outputs, [t._grad for t, _ in r.grads.values()])
        finally:
            r.roll_back()
    return r.entries, found


def _replayed(bound: Bound, naming: Naming) -> dict[str, Any] | None:
    """What the replay gives; None if a value that it compares was another one. All effects are undone."""
    before = [(s, snapshot(s), s.version) for s, _ in naming.written]
    leaves = naming.leaves
    targets = [leaves[t[1]] if type(t) is tuple else t for t, _, _ in bound.path.grads]
    grads = [(t, t._grad) for t in targets]
    try:
        outputs = bound.run(leaves, None)
        return naming.all(outputs, [t._grad for t in targets])
    except GuardFailed:
        return None
    finally:
        for s, content, version in before:
            restore(s, content)
            s.version = version
        for t, g in grads:
            t._grad = g


def _report(name: str, what: str) -> None:
    warnings.warn(f"numtorch.jit.trace: {name}: {what}", TracerWarning, stacklevel=6)
