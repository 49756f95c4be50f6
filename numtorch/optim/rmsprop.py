"""RMSprop: steps divided by the running root mean square of the gradient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numtorch

from .._tensor import Tensor
from ..ops.elementwise import lerp, sqrt
from .rule import Numbers, RuleOptimizer, apply, check_nonnegative, count, descent, one_more, option, sign_of


def rmsprop(p: Any, v: Any, g: Any, sign: Any, decay: Any, alpha: Any, weight: Any, eps: Any, lr: Any) -> Any:
    """One step; v is the running mean of squares."""
    g = descent(p, g, sign, decay)
    v = v * alpha + weight * (g * g)
    return p - lr * (g / (sqrt(v) + eps)), v


def rmsprop_centered(
    p: Any, v: Any, mean: Any, g: Any, sign: Any, decay: Any, alpha: Any, weight: Any, eps: Any, lr: Any
) -> Any:
    """One step; the mean is taken off, so that v - mean**2 is the variance."""
    g = descent(p, g, sign, decay)
    v = v * alpha + weight * (g * g)
    mean = lerp(mean, g, weight)
    return p - lr * (g / (sqrt(v - mean * mean) + eps)), v, mean


def rmsprop_momentum(
    p: Any, v: Any, buf: Any, g: Any,
    sign: Any, decay: Any, alpha: Any, weight: Any, eps: Any, momentum: Any, lr: Any,
) -> Any:  # fmt: skip
    """One step along a momentum buffer."""
    g = descent(p, g, sign, decay)
    v = v * alpha + weight * (g * g)
    buf = buf * momentum + g / (sqrt(v) + eps)
    return p - lr * buf, v, buf


def rmsprop_centered_momentum(
    p: Any, v: Any, mean: Any, buf: Any, g: Any,
    sign: Any, decay: Any, alpha: Any, weight: Any, eps: Any, momentum: Any, lr: Any,
) -> Any:  # fmt: skip
    """One step along a momentum buffer, divided by the deviation."""
    g = descent(p, g, sign, decay)
    v = v * alpha + weight * (g * g)
    mean = lerp(mean, g, weight)
    buf = buf * momentum + g / (sqrt(v - mean * mean) + eps)
    return p - lr * buf, v, mean, buf


class RMSprop(RuleOptimizer):
    """Steps divided by the running root mean square: Hinton, "Neural Networks for Machine Learning", lecture
    6, 2012.

    Args:
        params: tensors, (name, tensor) pairs or parameter groups.
        lr: learning rate.
        alpha: how much of the running mean of squares is kept at each step.
        eps: added to the denominator.
        weight_decay: this times the parameter is added to the gradient.
        momentum: of the divided gradient.
        centered: divide by the deviation instead (Graves, "Generating Sequences With Recurrent Neural
            Networks", 2013).
        maximize, differentiable: as in ``SGD``; foreach and capturable are accepted.

    Example:
        >>> import numtorch
        >>> w = numtorch.ones(2, requires_grad=True)
        >>> optimizer = numtorch.optim.RMSprop([w], lr=0.05, alpha=0.0)
        >>> w.sum().backward()
        >>> optimizer.step()
        >>> w
        tensor([0.9500, 0.9500], requires_grad=True)
    """

    _added_options: ClassVar[dict[str, Any]] = RuleOptimizer._added_options | {
        "momentum": 0,
        "centered": False,
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        check_nonnegative(lr=lr, eps=eps, momentum=momentum, weight_decay=weight_decay, alpha=alpha)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        state = {"step": count(p), "square_avg": numtorch.zeros_like(p)}
        if group["momentum"] > 0:
            state["momentum_buffer"] = numtorch.zeros_like(p)
        if group["centered"]:
            state["grad_avg"] = numtorch.zeros_like(p)
        return state

    def _numbers(self, group: dict[str, Any]) -> dict[str, Any]:
        return {
            "lr": option(group, "lr"),
            "sign": sign_of(group),
            "decay": group["weight_decay"],
            "alpha": group["alpha"],
            "weight": 1 - group["alpha"],
            "eps": group["eps"],
            "momentum": group["momentum"],
        }

    def _update(self, p: Tensor, g: Tensor, state: Any, group: dict[str, Any], numbers: Numbers) -> None:
        apply(one_more, [state["step"]], [], numbers)
        tensors = [p, state["square_avg"]]
        if group["centered"]:
            tensors.append(state["grad_avg"])
        if group["momentum"] > 0:
            tensors.append(state["momentum_buffer"])
            rule = rmsprop_centered_momentum if group["centered"] else rmsprop_momentum
        else:
            rule = rmsprop_centered if group["centered"] else rmsprop
        apply(rule, tensors, [g], numbers)
