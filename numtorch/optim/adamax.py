"""Adamax: Adam with the infinity norm."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numtorch

from .._tensor import Tensor
from ..ops.elementwise import abs as absolute
from ..ops.elementwise import lerp, maximum
from .rule import (
    Numbers,
    RuleOptimizer,
    apply,
    cell,
    check_betas,
    check_nonnegative,
    count,
    descent,
    option,
    sign_of,
)


def adamax_count(t: Any, rate: Any, lr: Any, beta1: Any) -> Any:
    """Advance the count; the learning rate with the first moment's correction."""
    t = t + 1.0
    return t, lr / (1.0 - beta1**t)


def adamax(
    p: Any, m: Any, u: Any, g: Any, rate: Any, sign: Any, decay: Any, weight1: Any, beta2: Any, eps: Any
) -> Any:
    """One step; u is the decayed maximum of the gradient's absolute value."""
    g = descent(p, g, sign, decay)
    m = lerp(m, g, weight1)
    u = maximum(u * beta2, absolute(g) + eps)
    return p - rate * (m / u), m, u


class Adamax(RuleOptimizer):
    """Adam with the infinity norm: Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015, section
    7.

    Args:
        params: tensors, (name, tensor) pairs or parameter groups.
        lr, betas, eps, weight_decay: as in ``Adam``.
        maximize, differentiable: as in ``SGD``; foreach and capturable are accepted.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ):
        check_nonnegative(lr=lr, eps=eps)
        check_betas(betas)
        check_nonnegative(weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def _new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {"step": count(p), "exp_avg": numtorch.zeros_like(p), "exp_inf": numtorch.zeros_like(p)}

    def _numbers(self, group: dict[str, Any]) -> dict[str, Any]:
        beta1, beta2 = group["betas"]
        return {
            "lr": option(group, "lr"),
            "beta1": beta1,
            "sign": sign_of(group),
            "decay": group["weight_decay"],
            "weight1": 1 - beta1,
            "beta2": beta2,
            "eps": group["eps"],
        }

    def _update(self, p: Tensor, g: Tensor, state: Any, group: dict[str, Any], numbers: Numbers) -> None:
        rate = cell(p)
        apply(adamax_count, [state["step"], rate], [], numbers)
        apply(adamax, [p, state["exp_avg"], state["exp_inf"]], [g, rate], numbers)
