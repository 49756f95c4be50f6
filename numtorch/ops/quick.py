"""The short way of arithmetic on small tensors: from two layouts straight to a launch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd.mode import state
from . import launch as launching
from .declare import TABLE
from .pointwise import _MOST_PLANS, Elementwise


def binary(op: Elementwise, slow: Callable) -> Callable:
    """An arithmetic operator of tensors: the short way for small floating tensors, else through the op, and through
    ``slow`` (the signature's checks) for other dtypes and operands.
    """
    from .._tensor import Tensor
    from ..storage import quick

    plans: dict[tuple, tuple] = {}
    new = object.__new__

    def method(self: Any, other: Any) -> Any:
        if type(other) is Tensor and not state.watched:
            found = plans.get((self._layout, other._layout))
            if found is not None:
                la, nbytes, address, words, a, b = found
                out = new(Tensor)
                out._storage = storage = quick(nbytes)
                out._offset = 0
                out._layout = la
                out._rg = False
                out._node = out._grad = out._base = None
                launching._launch(
                    address,
                    1,
                    storage.ptr,
                    self._storage.ptr + self._offset * a,
                    other._storage.ptr + other._offset * b,
                    *words,
                )
                if (self._rg or other._rg) and state.grad:
                    op._record_node((self, other), (out,))
                return out
        if isinstance(other, Tensor) or type(other) is float or type(other) is int:
            if self._layout.dtype.category == 2:
                result = op(self, other)
                if type(other) is Tensor:
                    _learn(plans, op, self, other)
                return result
        return slow(self, other)

    return method


def _learn(plans: dict, op: Elementwise, a: Any, b: Any) -> None:
    """Remember the short way for two layouts."""
    plan = op._plans.get((a._layout, b._layout))
    if plan is not None and plan.quick and plan.chunks == 1:
        if len(plans) > _MOST_PLANS:
            plans.clear()
        la = plan.alone
        plans[a._layout, b._layout] = (
            la, la.numel * la.itemsize, plan.address, plan.words, a._layout.itemsize, b._layout.itemsize
        )  # fmt: skip


_into_plans: dict[tuple, tuple] = {}


def add_into(held: Any, other: Any) -> None:
    """``held += other`` on gradients: no history, the short way where it is known."""
    if not state.watched:
        found = _into_plans.get((held._layout, other._layout))
        if found is not None:
            address, words, chunks = found
            launching._launch(address, chunks, held._address(), held._address(), other._address(), *words)
            held._storage.version += 1
            return
    held.add_(other)
    plan = TABLE["add"]._plans.get(("in", held._layout, other._layout))
    if plan is not None and plan.address:
        _into_plans[held._layout, other._layout] = (plan.address, plan.words, plan.chunks)
