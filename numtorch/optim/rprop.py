"""Rprop: resilient backpropagation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numtorch

from .._tensor import Tensor
from ..ops.elementwise import clamp_max, clamp_min, sign, where
from .rule import Numbers, RuleOptimizer, apply, check_nonnegative, count, one_more, sign_of


def rprop(
    p: Any, prev: Any, size: Any, g: Any, direction: Any, eta_minus: Any, eta_plus: Any, least: Any, most: Any
) -> Any:
    """One step by the gradient's sign; its size grows while the sign stays and shrinks, without a step, when
    it turns."""
    g = g * direction
    agreement = g * prev
    factor = where(agreement > 0.0, eta_plus, where(agreement < 0.0, eta_minus, 1.0))
    size = clamp_max(clamp_min(size * factor, least), most)
    g = where(agreement < 0.0, 0.0, g)
    return p - where(g == g, sign(g), 0.0) * size, g, size


class Rprop(RuleOptimizer):
    """Resilient backpropagation, for full batches: Riedmiller and Braun, "A Direct Adaptive Method for Faster
    Backpropagation Learning: the RPROP Algorithm", 1993.

    Args:
        params: tensors, (name, tensor) pairs or parameter groups.
        lr: the first step size.
        etas: factors by which a step size shrinks and grows.
        step_sizes: its smallest and largest value.
        maximize, differentiable: as in ``SGD``; foreach and capturable are accepted.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        check_nonnegative(lr=lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}; they must be in (0, 1) and above 1")
        defaults = {
            "lr": lr,
            "etas": etas,
            "step_sizes": step_sizes,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def _new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        sizes = numtorch.full_like(p, float(group["lr"]))
        return {"step": count(p), "prev": numtorch.zeros_like(p), "step_size": sizes}

    def _numbers(self, group: dict[str, Any]) -> dict[str, Any]:
        (eta_minus, eta_plus), (least, most) = group["etas"], group["step_sizes"]
        return {
            "direction": sign_of(group),
            "eta_minus": eta_minus,
            "eta_plus": eta_plus,
            "least": float(least),
            "most": float(most),
        }

    def _update(self, p: Tensor, g: Tensor, state: Any, group: dict[str, Any], numbers: Numbers) -> None:
        apply(one_more, [state["step"]], [], numbers)
        apply(rprop, [p, state["prev"], state["step_size"]], [g], numbers)
