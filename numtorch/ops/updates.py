"""In-place updates by a rule: what optimizers do to a parameter and its state, as one fused kernel."""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .._tensor import Tensor
from ..autograd.mode import state, watchers
from ..memo import Memo
from ..shape import broadcast
from . import ways
from .pointwise import Elementwise

_recipes = Memo()  # (op, layouts) -> how one thread does the update in one native call, or None
_rules: dict[tuple[Callable, int], Elementwise] = {}
_held = threading.local()  # .calls: updates on a GPU that wait to be run together


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Updates on a GPU inside are run at the end, as few launches; nothing else may read what they write before.

    While a trace is recorded, or anything watches, they are run at once.
    """
    if watchers or getattr(_held, "calls", None) is not None:
        yield
        return
    calls = _held.calls = []
    try:
        yield
    finally:
        _held.calls = None
        if calls:
            from ..cuda import runtime

            runtime.run_programs(calls)


def live(function: Callable[[], Any], source: Callable[[], Any] | None = None) -> Any:
    """``function()``; while a trace is recorded, a number that each replay asks for again.

    ``source()`` is an object whose ``version`` changes whenever the number may, or None while that can't be told.
    """
    if state.recorder is None:
        return function()
    from ..jit.record import Live

    return Live(function, source)


def rule_op(rule: Callable, count: int) -> Elementwise:
    """The op that computes a rule's ``count`` new values."""
    op = _rules.get((rule, count))
    if op is None:
        names = tuple(inspect.signature(rule).parameters)
        op = _rules[rule, count] = Elementwise(rule, promote=names[:count], outputs=count)
    return op


def update(
    rule: Callable, tensors: Sequence[Tensor], reads: Sequence[Tensor], scalars: dict[str, Any]
) -> None:
    """Write the results of a scalar rule into ``tensors``, in place and without history.

    ``rule(*tensors, *reads, *scalars)`` returns a new value per tensor. Reads are broadcast to the tensors' common shape;
    RuntimeError if they don't fit.
    """
    op = rule_op(rule, len(tensors))
    args = (*tensors, *reads, *[scalars[n] for n in op.params[len(tensors) + len(reads) :]])
    key = tuple([a._layout if hasattr(a, "_layout") else type(a) for a in args])
    if not watchers:
        recipe = _recipes.get((op, key))
        if recipe is not None:
            ways.make(recipe, *tensors, *args)
            for t in tensors:
                t._storage.version += 1
            return
    plan = op._plans.get(key)
    if plan is None:
        shape = tensors[0]._layout.shape
        if any(t._layout.shape != shape for t in tensors) or (
            broadcast(shape, *[t._layout.shape for t in reads], op=rule.__name__) != shape
        ):
            raise RuntimeError(
                f"{rule.__name__}: the gradient's shape {[list(t._layout.shape) for t in reads]} must fit the parameter's"
                f" {list(shape)}"
            )
        plan, args = op.plan(key, args, out=[t._layout for t in tensors])
    calls = getattr(_held, "calls", None)
    if calls is not None and not plan.address and plan.outputs[0].numel and not watchers:
        calls.append((plan, tuple(tensors), args))
    else:
        op.execute(plan, tensors, args)
    for t in tensors:
        t._storage.version += 1
    if watchers or (calls is not None and not plan.address):
        return
    _recipes.note((op, key), ways.update_recipe(plan, tensors, args))
