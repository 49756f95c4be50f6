"""Compare a replay with eager: outputs, gradients and everything else that was written, strictly."""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autograd.mode import state
from . import tree
from .bound import Bound, GuardFailed
from .path import warm_up  # noqa: F401 - part of the checking vocabulary
from .record import Recording


class TracingCheckError(RuntimeError):
    """A replay gave something else than the function itself."""


def check(function: Callable, bound: Bound, structure: Any, leaves: Sequence[Any]) -> None:
    """Run the function and the replay from the same state, undo both, and compare; raises TracingCheckError."""
    eager = _eager(function, structure, leaves)
    before = [(s, ctypes.string_at(s.ptr, s.nbytes)) for s in bound.path.written.values()]
    grads = [(t, t._grad) for t, _, _ in bound.path.grads if type(t) is not tuple]
    grads += [(leaves[t[1]], leaves[t[1]]._grad) for t, _, _ in bound.path.grads if type(t) is tuple]
    versions = [(s, s.version) for s in bound.path.written.values()]
    try:
        outputs = bound.run(leaves, None)
    except GuardFailed:
        _report(function, "a value that the function reads in Python differs from run to run")
        return
    replayed = [_values(t) for t in outputs] + [
        None if t._grad is None else _values(t._grad) for t, _ in grads
    ]
    for s, content in before:
        ctypes.memmove(s.ptr, content, len(content))
    for t, g in grads:
        t._grad = g
    for s, v in versions:
        s.version = v
    names = [f"output {i}" for i in range(len(outputs))] + [f"gradient {i}" for i in range(len(grads))]
    if len(eager) != len(replayed):
        raise TracingCheckError(f"trace: eager gave {len(eager)} tensors, the replay {len(replayed)}")
    for name, a, b in zip(names, eager, replayed):
        difference = _difference(a, b)
        if difference:
            raise TracingCheckError(
                f"trace of {getattr(function, '__name__', function)}: {name} of the replay differs from eager: {difference}; does"
                " the function depend on hidden state that changes between runs?"
            )


def _eager(function: Callable, structure: Any, leaves: Sequence[Any]) -> list[Any]:
    args, kwargs = tree.unflatten(structure, list(leaves))
    with Recording() as r:
        try:
            outputs: list[Any] = []
            tree.flatten(function(*args, **kwargs), outputs)
            found = [_values(t) for t in outputs]
            found += [None if t._grad is None else _values(t._grad) for t, _ in _order(r)]
        finally:
            r.roll_back()
    return found


def _order(r: Any) -> list[Any]:
    return list(r.grads.values())


def _values(t: Any) -> np.ndarray:
    la = t._layout
    return t._storage.array(la.shape, la.strides, la.dtype.numpy, t._offset).copy()


def _difference(a: Any, b: Any) -> str:
    if a is None or b is None:
        return (
            ""
            if a is b
            else f"{'nothing' if a is None else a.shape} in eager, {'nothing' if b is None else b.shape} in the replay"
        )
    if a.shape != b.shape or a.dtype != b.dtype:
        return f"{a.dtype}{list(a.shape)} in eager, {b.dtype}{list(b.shape)} in the replay"
    if a.dtype.kind != "f":
        wrong = a != b
    else:
        eps = np.finfo(a.dtype).eps
        scale = float(np.nanmax(np.abs(np.where(np.isfinite(a), a, 0.0)), initial=0.0))
        with np.errstate(invalid="ignore"):
            close = np.abs(a - b) <= 64 * eps * (np.abs(a) + scale)
        wrong = ~(close | (a == b) | (np.isnan(a) & np.isnan(b)))
    if not wrong.any():
        return ""
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    return f"{int(wrong.sum())} of {wrong.size} elements, first at {at}: {a[at]!r} in eager, {b[at]!r} in the replay"


def _report(function: Callable, what: str) -> None:
    warnings.warn(f"numtorch.jit.trace: {getattr(function, '__name__', function)}: {what}", stacklevel=5)


__all__ = ["TracingCheckError", "check", "state"]
