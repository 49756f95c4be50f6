"""ASGD: stochastic gradient descent that also averages its parameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numtorch

from .._tensor import Tensor
from ..ops.elementwise import clamp_min, where
from .rule import Numbers, RuleOptimizer, apply, check_nonnegative, count, descent, option, sign_of


def asgd(p: Any, mean: Any, g: Any, eta: Any, mu: Any, sign: Any, decay: Any, lambd: Any) -> Any:
    """One step, and the mean of the parameters moved by mu (1: the mean starts here)."""
    g = descent(p, g, sign, decay)
    p = p * (1.0 - lambd * eta) - eta * g
    return p, where(mu == 1.0, p, mean + (p - mean) * mu)


def asgd_count(t: Any, eta: Any, mu: Any, lr: Any, lambd: Any, alpha: Any, t0: Any) -> Any:
    """Advance the count; the next step's rate and weight in the mean."""
    t = t + 1.0
    eta = lr / (1.0 + lambd * lr * t) ** alpha
    mu = 1.0 / clamp_min(t - t0, 1.0)
    return t, eta, mu


class ASGD(RuleOptimizer):
    """Averaged gradient descent: Polyak and Juditsky, "Acceleration of Stochastic Approximation by
    Averaging", 1992.

    Args:
        params: tensors, (name, tensor) pairs or parameter groups.
        lr, lambd, alpha: the rate at step t is ``lr / (1 + lambd * lr * t) ** alpha``; parameters shrink by
            lambd times it.
        t0: the step at which averaging begins; the averages are ``state[p]["ax"]``.
        weight_decay: this times the parameter is added to the gradient.
        maximize, differentiable: as in ``SGD``; foreach and capturable are accepted.
    """

    _counts = ("step", "eta", "mu")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ):
        check_nonnegative(lr=lr, weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def _new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {
            "step": count(p),
            "eta": count(p, float(group["lr"])),
            "mu": count(p, 1.0),
            "ax": numtorch.zeros_like(p),
        }

    def _numbers(self, group: dict[str, Any]) -> dict[str, Any]:
        return {
            "lr": option(group, "lr"),
            "sign": sign_of(group),
            "decay": group["weight_decay"],
            "lambd": group["lambd"],
            "alpha": group["alpha"],
            "t0": group["t0"],
        }

    def _update(self, p: Tensor, g: Tensor, state: Any, group: dict[str, Any], numbers: Numbers) -> None:
        apply(asgd, [p, state["ax"]], [g, state["eta"], state["mu"]], numbers)
        apply(asgd_count, [state["step"], state["eta"], state["mu"]], [], numbers)
