"""Stochastic gradient descent, with momentum if wished."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numtorch

from .._tensor import Tensor
from ..ops.elementwise import where
from .rule import (
    Numbers,
    RuleOptimizer,
    apply,
    check_flags,
    check_nonnegative,
    count,
    descent,
    option,
    sign_of,
)


def sgd(p: Any, g: Any, sign: Any, decay: Any, lr: Any) -> Any:
    """One plain step."""
    g = descent(p, g, sign, decay)
    return p - lr * g


def sgd_momentum(p: Any, buf: Any, g: Any, sign: Any, decay: Any, momentum: Any, weight: Any, lr: Any) -> Any:
    """One step along the momentum buffer."""
    g = descent(p, g, sign, decay)
    buf = buf * momentum + weight * g
    return p - lr * buf, buf


def sgd_dampened(
    p: Any, buf: Any, g: Any, fresh: Any, sign: Any, decay: Any, momentum: Any, weight: Any, lr: Any
) -> Any:
    """The same where the first gradient (``fresh`` is 1) goes into the buffer in full."""
    g = descent(p, g, sign, decay)
    buf = where(fresh > 0.0, g, buf * momentum + weight * g)
    return p - lr * buf, buf


def used(fresh: Any) -> Any:
    """The buffer is filled."""
    return fresh * 0.0


def sgd_nesterov(p: Any, buf: Any, g: Any, sign: Any, decay: Any, momentum: Any, weight: Any, lr: Any) -> Any:
    """One step along the gradient at the place where the momentum leads."""
    g = descent(p, g, sign, decay)
    buf = buf * momentum + weight * g
    return p - lr * (g + momentum * buf), buf


class SGD(RuleOptimizer):
    """Stochastic gradient descent; with momentum, dampening and Nesterov's form as in Sutskever et al., "On
    the importance of initialization and momentum in deep learning", 2013 (there the learning rate is inside
    the momentum).

    Args:
        params: tensors, (name, tensor) pairs or parameter groups.
        lr: learning rate, a number or a tensor of one element.
        momentum, dampening, nesterov: the buffer is ``momentum * buffer + (1 - dampening) * gradient``.
        weight_decay: this times the parameter is added to the gradient.
        maximize: go up instead of down.
        foreach, fused: accepted; every step is one fused kernel per parameter.
        differentiable: record the step for autograd.

    Raises:
        ValueError: an option out of its range, or Nesterov without momentum or with dampening.

    Example:
        >>> import numtorch
        >>> w = numtorch.ones(2, requires_grad=True)
        >>> optimizer = numtorch.optim.SGD([w], lr=0.25, momentum=0.9)
        >>> w.sum().backward()
        >>> optimizer.step()
        >>> w.tolist()
        [0.75, 0.75]
    """

    _added_options: ClassVar[dict[str, Any]] = {
        "nesterov": False,
        "maximize": False,
        "foreach": None,
        "differentiable": False,
        "fused": False,
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        check_nonnegative(lr=lr, momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError(
                "Nesterov momentum requires a momentum and zero dampening;"
                f" got momentum={momentum}, dampening={dampening}"
            )
        check_flags(foreach, differentiable, fused)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        self._fresh: dict[Tensor, Tensor] = {}  # whose buffers were made here and wait for the first gradient

    def _numbers(self, group: dict[str, Any]) -> dict[str, Any]:
        return {
            "sign": sign_of(group),
            "decay": option(group, "weight_decay"),
            "momentum": group["momentum"],
            "weight": 1 - group["dampening"],
            "lr": option(group, "lr"),
        }

    def _update(self, p: Tensor, g: Tensor, state: Any, group: dict[str, Any], numbers: Numbers) -> None:
        if group["momentum"] == 0:
            apply(sgd, [p], [g], numbers)
            return
        state = self.state[p]
        buffer = state.get("momentum_buffer")
        if buffer is None:
            buffer = state["momentum_buffer"] = numtorch.zeros_like(p)
            if group["dampening"] != 0:
                # In memory, not in Python, so that a trace of the first step is right for those that follow.
                self._fresh[p] = count(p, 1.0)
        fresh = self._fresh.get(p)
        if fresh is not None:
            apply(sgd_dampened, [p, buffer], [g, fresh], numbers)
            apply(used, [fresh], [], numbers)
        else:
            # Without dampening the first step, from a buffer of zeros, is like any other.
            apply(sgd_nesterov if group["nesterov"] else sgd_momentum, [p, buffer], [g], numbers)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._fresh = {}  # buffers that come with a state are filled
