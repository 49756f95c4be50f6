"""Nodes of the autograd graph that stand for traced functions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from ..autograd.engine import Node
from ..autograd.mode import state
from ..errors import second_backward_error
from .memory import as_before
from .places import as_now


class TracedNode(Node):
    """History of a traced forward: its backward is the traced backward program."""

    __slots__ = ("again", "before", "bound", "freed", "saved")
    title = "TracedBackward0"

    def __init__(
        self, bound: Any, inputs: Sequence[Any], outputs: int, saved: tuple, again: Any, before: Sequence[Any] = ()
    ):
        Node.__init__(self, inputs, outputs)
        self.bound, self.saved, self.again = bound, saved, again
        self.before = before  # (storage, content) of what the forward changed, as it was
        self.freed = False

    def release(self) -> None:
        self.saved, self.again, self.before = (), None, ()
        self.freed = True

    def run(self, grads: list[Any]) -> Any:
        if self.freed:
            raise second_backward_error(self)
        bound = self.bound
        changed = [p for p in bound.names if not p.holds()] if bound.runs_python else ()
        if state.grad or changed:
            bound.way_back.check(self.saved, self)
            return self._again(grads, changed)
        return bound.way_back.run(grads if type(grads) is list else list(grads), self.saved, self)

    def _again(self, grads: list[Any], changed: Sequence[Any]) -> Any:
        """Run the function itself again: the gradient of the gradient is wanted, or the backward may read what has changed."""
        from ..autograd import grad
        from ..autograd.mode import enable_grad

        assert self.again is not None
        watcher = state.anomaly
        # The same random numbers; running statistics change once only.
        with (as_before(self.before), _holding_before(changed), enable_grad(),
              contextlib.nullcontext() if watcher is None else watcher.again(self)):  # fmt: skip
            chosen = self.outputs_again()
        targets = self.bound.leaf_tensors(self.again[2])
        pairs = [(o, g) for o, g in zip(chosen, grads) if g is not None]
        with without_hooks(targets):
            return grad(
                [o for o, _ in pairs], targets, [g for _, g in pairs], create_graph=state.grad, allow_unused=True
            )

    def outputs_again(self) -> list[Any]:
        """The differentiable results of one more call of the function itself."""
        from . import tree

        function, structure, leaves = self.again
        args, kwargs = tree.unflatten(structure, leaves)
        outputs: list[Any] = []
        tree.flatten(function(*args, **kwargs), outputs)
        return [outputs[i] for i in self.bound.path.differentiable]


@contextlib.contextmanager
def _holding_before(changed: Sequence[Any]) -> Iterator[None]:
    """Places in Python's memory hold again what they held in the forward."""
    now = list(map(as_now, changed))
    try:
        for p in changed:
            p.restore()
        yield
    finally:
        for p in now:
            p.restore()


@contextlib.contextmanager
def without_hooks(leaves: Sequence[Any]) -> Iterator[None]:
    """The hooks of leaves wait: the pass that goes through the traced function calls them."""
    held = [(t, t._hooks) for t in leaves if t._hooks]
    try:
        for t, _ in held:
            t._hooks = None
        yield
    finally:
        for t, hooks in held:
            t._hooks = hooks


class FreedNode(Node):
    """History of a result whose graph the traced function has already used up.

    Results share it from call to call, and it never runs: what is hung on it is forgotten.
    """

    __slots__ = ()
    hooks = pre_hooks = captures = property(lambda self: {}, lambda self, value: None)
    title = "TracedStepBackward0"

    def run(self, grads: list[Any]) -> Any:
        raise second_backward_error(self)


def in_layout(g: Any, la: Any) -> Any:
    """A gradient as the program expects it: zeros where none arrived, in the recorded strides."""
    from ..creation import zeros
    from ..ops.copying import write
    from ..ops.declare import empty_like_layout

    if g is None:
        return zeros(la.shape, dtype=la.dtype, device=la.device)
    if g._layout is la:
        return g
    out = empty_like_layout(la)
    write(out, g)
    return out
