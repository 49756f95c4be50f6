"""NAdam: Adam with Nesterov momentum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numtorch

from .._tensor import Tensor
from ..ops.elementwise import lerp, sqrt
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


def nadam_count(
    t: Any, mu_product: Any, of_grad: Any, of_mean: Any, correction: Any,
    lr: Any, beta1: Any, beta2: Any, momentum_decay: Any,
) -> Any:  # fmt: skip
    """Advance the count and the product of the momentum's schedule; the two step sizes and the second
    moment's correction."""
    t = t + 1.0
    mu = beta1 * (1.0 - 0.5 * 0.96 ** (t * momentum_decay))
    mu_next = beta1 * (1.0 - 0.5 * 0.96 ** ((t + 1.0) * momentum_decay))
    mu_product = mu_product * mu
    of_grad = lr * (1.0 - mu) / (1.0 - mu_product)
    of_mean = lr * mu_next / (1.0 - mu_product * mu_next)
    correction = 1.0 - beta2**t
    return t, mu_product, of_grad, of_mean, correction


def nadam(
    p: Any, m: Any, v: Any, g: Any, of_grad: Any, of_mean: Any, correction: Any,
    sign: Any, decay: Any, shrink: Any, weight1: Any, beta2: Any, weight2: Any, eps: Any,
) -> Any:  # fmt: skip
    """One step from the gradient and the first moment, both divided by the root of the second moment."""
    g = descent(p, g, sign, decay)
    p = p * shrink
    m = lerp(m, g, weight1)
    v = v * beta2 + weight2 * (g * g)
    denom = sqrt(v / correction) + eps
    p = p - of_grad * (g / denom)
    return p - of_mean * (m / denom), m, v


class NAdam(RuleOptimizer):
    """Adam with Nesterov momentum: Dozat, "Incorporating Nesterov Momentum into Adam", 2016.

    Args:
        params: tensors, (name, tensor) pairs or parameter groups.
        lr, betas, eps, weight_decay, decoupled_weight_decay: as in ``Adam``.
        momentum_decay: how quickly the momentum's schedule reaches its end.
        maximize, differentiable: as in ``SGD``; foreach and capturable are accepted.
    """

    _added_options: ClassVar[dict[str, Any]] = RuleOptimizer._added_options | {
        "decoupled_weight_decay": False
    }
    _counts = ("step", "mu_product")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ):
        check_nonnegative(lr=lr, eps=eps)
        check_betas(betas)
        check_nonnegative(weight_decay=weight_decay, momentum_decay=momentum_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {
            "step": count(p),
            "mu_product": count(p, 1.0),
            "exp_avg": numtorch.zeros_like(p),
            "exp_avg_sq": numtorch.zeros_like(p),
        }

    def _numbers(self, group: dict[str, Any]) -> dict[str, Any]:
        lr, decay = option(group, "lr"), group["weight_decay"]
        beta1, beta2 = group["betas"]
        decoupled = group["decoupled_weight_decay"]
        return {
            "lr": lr,
            "beta1": beta1,
            "beta2": beta2,
            "momentum_decay": group["momentum_decay"],
            "sign": sign_of(group),
            "decay": 0.0 if decoupled else decay,
            "shrink": 1 - lr * decay if decoupled else 1.0,
            "weight1": 1 - beta1,
            "weight2": 1 - beta2,
            "eps": group["eps"],
        }

    def _update(self, p: Tensor, g: Tensor, state: Any, group: dict[str, Any], numbers: Numbers) -> None:
        cells = [cell(p), cell(p), cell(p)]
        apply(nadam_count, [state["step"], state["mu_product"], *cells], [], numbers)
        apply(nadam, [p, state["exp_avg"], state["exp_avg_sq"]], [g, *cells], numbers)
