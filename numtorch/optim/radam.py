"""RAdam: Adam that waits until its second moment can be trusted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numtorch

from .._tensor import Tensor
from ..ops.elementwise import clamp_min, lerp, sqrt, where
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


def radam_count(t: Any, rate: Any, rect: Any, lr: Any, beta1: Any, beta2: Any) -> Any:
    """Advance the count; the corrected rate, and the rectification with the second moment's correction (0:
    not yet)."""
    t = t + 1.0
    power2 = beta2**t
    correction2 = 1.0 - power2
    rho_inf = 2.0 / (1.0 - beta2) - 1.0
    rho = rho_inf - 2.0 * t * power2 / correction2
    inside = (rho - 4.0) * (rho - 2.0) * rho_inf / ((rho_inf - 4.0) * (rho_inf - 2.0) * rho)
    rect = where(rho > 5.0, sqrt(correction2) * sqrt(clamp_min(inside, 0.0)), 0.0)
    return t, lr / (1.0 - beta1**t), rect


def radam(
    p: Any, m: Any, v: Any, g: Any, rate: Any, rect: Any,
    sign: Any, decay: Any, shrink: Any, weight1: Any, beta2: Any, weight2: Any, eps: Any,
) -> Any:  # fmt: skip
    """One step, along the first moment alone until the rectification is known."""
    g = descent(p, g, sign, decay)
    p = p * shrink
    m = lerp(m, g, weight1)
    v = v * beta2 + weight2 * (g * g)
    step = m * rate
    return p - where(rect > 0.0, step * (rect / (sqrt(v) + eps)), step), m, v


class RAdam(RuleOptimizer):
    """Rectified Adam: Liu and others, "On the Variance of the Adaptive Learning Rate and Beyond", 2020.

    Args:
        params: tensors, (name, tensor) pairs or parameter groups.
        lr, betas, eps, weight_decay, decoupled_weight_decay: as in ``Adam``.
        maximize, differentiable: as in ``SGD``; foreach and capturable are accepted.
    """

    _added_options: ClassVar[dict[str, Any]] = RuleOptimizer._added_options | {
        "decoupled_weight_decay": False
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ):
        check_nonnegative(lr=lr, eps=eps)
        check_betas(betas)
        check_nonnegative(weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {"step": count(p), "exp_avg": numtorch.zeros_like(p), "exp_avg_sq": numtorch.zeros_like(p)}

    def _numbers(self, group: dict[str, Any]) -> dict[str, Any]:
        lr, decay = option(group, "lr"), group["weight_decay"]
        beta1, beta2 = group["betas"]
        decoupled = group["decoupled_weight_decay"]
        return {
            "lr": lr,
            "beta1": beta1,
            "beta2": beta2,
            "sign": sign_of(group),
            "decay": 0.0 if decoupled else decay,
            "shrink": 1 - lr * decay if decoupled else 1.0,
            "weight1": 1 - beta1,
            "weight2": 1 - beta2,
            "eps": group["eps"],
        }

    def _update(self, p: Tensor, g: Tensor, state: Any, group: dict[str, Any], numbers: Numbers) -> None:
        rate, rect = cell(p), cell(p)
        apply(radam_count, [state["step"], rate, rect], [], numbers)
        apply(radam, [p, state["exp_avg"], state["exp_avg_sq"]], [g, rate, rect], numbers)
