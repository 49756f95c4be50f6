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
from .diverging import between_runs, difference_of, first_difference, values_of
from .memory import restore, snapshot
from .names import captured_names
from .record import Recording


class TracingCheckError(RuntimeError):
    """A replay gave something else than the function itself."""


class TracerWarning(UserWarning):
    """Something a trace can't promise to repeat."""


def check(function: Callable, bound: Bound, structure: Any, leaves: Sequence[Any]) -> None:
    """Run the function and the replay from the same state, undo both, and compare.

    Raises TracingCheckError, naming the first op that differs and its line; warns when two runs of the function differ in
    what they do but not in what they give.
    """
    entries, eager = _eager(function, bound, structure, leaves)
    replayed = _replayed(bound, leaves)
    name = getattr(function, "__name__", type(function).__name__)
    if replayed is None:
        place = first_difference(function, bound, structure, leaves)
        _report(name, f"a value that the function reads in Python differs from run to run: {place}")
        return
    for what in eager.keys() | replayed.keys():
        difference = difference_of(eager.get(what), replayed.get(what))
        if difference:
            place = first_difference(function, bound, structure, leaves)
            raise TracingCheckError(f"trace of {name}: {what} of the replay differs from eager: {difference}. Cause: {place}")
    changed = between_runs(bound.path.forward, entries[: len(bound.path.forward)])
    if changed:
        _report(name, changed)


def _eager(function: Callable, bound: Bound, structure: Any, leaves: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
    """The ops of one run, and what it gives: outputs, gradients, memory that it changes."""
    args, kwargs = tree.unflatten(structure, list(leaves))
    with Recording() as r:
        try:
            outputs: list[Any] = []
            tree.flatten(function(*args, **kwargs), outputs)
            found = _named(bound, outputs, [t._grad for t, _ in r.grads.values()], leaves)
            found |= _differentiated(bound, outputs, leaves)
        finally:
            r.roll_back()
    return r.entries, found


def _replayed(bound: Bound, leaves: Sequence[Any]) -> dict[str, Any] | None:
    """What the replay gives; None if a value that it compares was another one. All effects are undone."""
    before = [(s, snapshot(s), s.version) for s in _written(bound, leaves)]
    targets = [leaves[t[1]] if type(t) is tuple else t for t, _, _ in bound.path.grads]
    grads = [(t, t._grad) for t in targets]
    try:
        outputs = bound.run(leaves, None)
        found = _named(bound, outputs, [t._grad for t in targets], leaves)
        return found | _differentiated(bound, outputs, leaves)
    except GuardFailed:
        return None
    finally:
        for s, content, version in before:
            restore(s, content)
            s.version = version
        for t, g in grads:
            t._grad = g


def _written(bound: Bound, leaves: Sequence[Any]) -> list[Any]:
    """Captured and argument memory that a replay changes; what was made from Python data is another one in each run."""
    made = {id(s) for s, _ in bound.path.constants}
    given = {id(r.storage): t._storage for r, t in zip(bound.path.inputs, leaves)}
    return [given.get(key, s) for key, s in bound.path.written.items() if key not in made]


def _named(bound: Bound, outputs: Sequence[Any], grads: Sequence[Any], leaves: Sequence[Any]) -> dict[str, Any]:
    """Results by what they are called in a message."""
    labels = captured_names(bound.path)
    found: dict[str, Any] = {f"output {i}": values_of(t) for i, t in enumerate(outputs)}
    found |= {f"gradient {i}": None if g is None else values_of(g) for i, g in enumerate(grads)}
    for i, s in enumerate(_written(bound, leaves)):
        name = labels.get(id(s), f"changed memory {i}")
        found[name] = _memory(bound, s)
    return found


def _differentiated(bound: Bound, outputs: Sequence[Any], leaves: Sequence[Any]) -> dict[str, Any]:
    """What the backward gives for some gradients of the outputs; nothing where it is the function's own affair."""
    chosen = [outputs[i] for i in bound.path.differentiable]
    if not chosen or chosen[0]._layout.device != "cpu":
        return {}
    given = []
    for t in chosen:
        la = t._layout
        pattern = np.cos(np.arange(la.numel, dtype=np.float64)).reshape(la.shape)
        given.append(from_array(pattern, la.dtype))
    targets = bound.leaf_tensors(leaves)
    grads = engine.backward(chosen, given, False, False, targets, accumulate=False)
    labels = captured_names(bound.path)
    names = [f"input {x[1]}" if type(x) is tuple else labels.get(id(x._storage), f"leaf {k}") for k, x in enumerate(bound.path.leaves)]
    return {f"the gradient of {n}": None if g is None else values_of(g) for n, g in zip(names, grads)}


def _memory(bound: Bound, s: Any) -> np.ndarray:
    """A storage as numbers of the dtype in which it was written."""
    kinds = {
        r.layout.dtype.numpy for e in (*bound.path.forward, *bound.path.backward) for r in e.outputs if r.storage is s
    }
    kind = kinds.pop() if len(kinds) == 1 else np.dtype(np.uint8)
    return np.frombuffer(snapshot(s), kind, s.nbytes // kind.itemsize)


def _report(name: str, what: str) -> None:
    warnings.warn(f"numtorch.jit.trace: {name}: {what}", TracerWarning, stacklevel=6)
