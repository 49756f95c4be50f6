"""Adagrad: step sizes by the sum of squared gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numtorch

from .._tensor import Tensor
from ..ops.elementwise import sqrt
from .rule import (
    Numbers,
    RuleOptimizer,
    apply,
    cell,
    check_flags,
    check_nonnegative,
    count,
    descent,
    option,
    sign_of,
)


def adagrad_count(t: Any, rate: Any, lr: Any, lr_decay: Any) -> Any:
    """Advance the count; the decayed learning rate."""
    return t + 1.0, lr / (1.0 + t * lr_decay)


def adagrad(p: Any, total: Any, g: Any, rate: Any, sign: Any, decay: Any, eps: Any) -> Any:
    """One step; ``total`` is the sum of all squared gradients."""
    g = descent(p, g, sign, decay)
    total = total + g * g
    return p - rate * (g / (sqrt(total) + eps)), total


class Adagrad(RuleOptimizer):
    """Step sizes by the sum of squared gradients: Duchi, Hazan and Singer, "Adaptive Subgradient Methods",
    2011.

    Args:
        params: tensors, (name, tensor) pairs or parameter groups.
        lr, lr_decay: the rate at step t is ``lr / (1 + (t - 1) * lr_decay)``.
        weight_decay: this times the parameter is added to the gradient.
        initial_accumulator_value: where the sum of squares starts.
        eps: added to the denominator.
        maximize, differentiable: as in ``SGD``; foreach and fused are accepted.

    Example:
        >>> import numtorch
        >>> w = numtorch.ones(2, requires_grad=True)
        >>> optimizer = numtorch.optim.Adagrad([w], lr=0.5)
        >>> w.sum().backward()
        >>> optimizer.step()
        >>> w.tolist()
        [0.5, 0.5]
    """

    _added_options: ClassVar[dict[str, Any]] = {
        "foreach": None,
        "maximize": False,
        "differentiable": False,
        "fused": None,
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        check_nonnegative(
            lr=lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
        )
        check_flags(foreach, differentiable, fused)
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p] = self._new_state(p, group)

    def _new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {"step": count(p), "sum": numtorch.full_like(p, group["initial_accumulator_value"])}

    def share_memory(self) -> None:
        """Move the sums to shared memory, for training in several processes."""
        for state in self.state.values():
            state["sum"].share_memory_()

    def _numbers(self, group: dict[str, Any]) -> dict[str, Any]:
        return {
            "lr": option(group, "lr"),
            "lr_decay": group["lr_decay"],
            "sign": sign_of(group),
            "decay": group["weight_decay"],
            "eps": group["eps"],
        }

    def _update(self, p: Tensor, g: Tensor, state: Any, group: dict[str, Any], numbers: Numbers) -> None:
        rate = cell(p)
        apply(adagrad_count, [state["step"], rate], [], numbers)
        apply(adagrad, [p, state["sum"]], [g, rate], numbers)
