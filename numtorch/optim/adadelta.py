"""Adadelta: steps scaled by the ratio of past steps to past gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numtorch

from .._tensor import Tensor
from ..ops.elementwise import sqrt
from .rule import Numbers, RuleOptimizer, apply, check_nonnegative, count, descent, one_more, option, sign_of


def adadelta(
    p: Any, v: Any, acc: Any, g: Any, sign: Any, decay: Any, rho: Any, weight: Any, eps: Any, lr: Any
) -> Any:
    """One step; v and acc are running means of squared gradients and of squared steps."""
    g = descent(p, g, sign, decay)
    v = v * rho + weight * (g * g)
    delta = sqrt(acc + eps) / sqrt(v + eps) * g
    acc = acc * rho + weight * (delta * delta)
    return p - lr * delta, v, acc


class Adadelta(RuleOptimizer):
    """Steps scaled by the ratio of past steps to past gradients: Zeiler, "ADADELTA: An Adaptive Learning Rate
    Method", 2012.

    Args:
        params: tensors, (name, tensor) pairs or parameter groups.
        lr: the step is multiplied by this.
        rho: how much of the running means is kept at each step.
        eps: added under the roots.
        weight_decay: this times the parameter is added to the gradient.
        maximize, differentiable: as in ``SGD``; foreach and capturable are accepted.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        check_nonnegative(lr=lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}; it must be in [0, 1]")
        check_nonnegative(eps=eps, weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "capturable": capturable,
            "foreach": foreach,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {"step": count(p), "square_avg": numtorch.zeros_like(p), "acc_delta": numtorch.zeros_like(p)}

    def _numbers(self, group: dict[str, Any]) -> dict[str, Any]:
        return {
            "lr": option(group, "lr"),
            "sign": sign_of(group),
            "decay": group["weight_decay"],
            "rho": group["rho"],
            "weight": 1 - group["rho"],
            "eps": group["eps"],
        }

    def _update(self, p: Tensor, g: Tensor, state: Any, group: dict[str, Any], numbers: Numbers) -> None:
        apply(one_more, [state["step"]], [], numbers)
        apply(adadelta, [p, state["square_avg"], state["acc_delta"]], [g], numbers)
