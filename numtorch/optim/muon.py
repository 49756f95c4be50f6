"""Muon: momentum whose update is made orthogonal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numtorch

from .._tensor import Tensor
from .optimizer import Optimizer
from .rule import check_nonnegative, option


def orthogonalize(g: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """A matrix with the singular vectors of g and singular values near 1, by Newton-Schulz iterations.

    In bfloat16, as in PyTorch: the iteration amplifies rounding, so that a more exact one takes visibly different
    steps. Raises ValueError unless g is a matrix, there are three
    coefficients, and fewer than 100 steps.
    """
    if steps >= 100:
        raise ValueError(
            f"Number of steps must be less than 100 for computational efficiency; got ns_steps={steps}"
        )
    if g.dim() != 2:
        raise ValueError(f"Input tensor gradient must be a 2D matrix; got shape {tuple(g.shape)}")
    if len(coefficients) != 3:
        raise ValueError(f"Coefficients must be a tuple of exactly 3 values; got {coefficients}")
    a, b, c = coefficients
    tall = g.size(0) > g.size(1)
    x = (g.T if tall else g).bfloat16()  # the smaller side first: cheaper products
    x = x / x.norm().clamp(min=eps)  # spectral norm at most 1
    for _ in range(steps):
        gram = x @ x.T
        update = numtorch.addmm(gram, gram, gram, beta=b, alpha=c)
        x = numtorch.addmm(x, update, x, beta=a)
    return x.T if tall else x


def adjusted_lr(lr: float, how: str | None, shape: Any) -> float:
    """The learning rate for a matrix of a shape."""
    rows, columns = shape[:2]
    if how is None or how == "original":
        return lr * math.sqrt(max(1, rows / columns))
    return lr * 0.2 * math.sqrt(max(rows, columns))


class Muon(Optimizer):
    """Momentum orthogonalized by Newton-Schulz: Jordan and others, "Muon: An optimizer for hidden layers",
    2024.

    The iteration runs in bfloat16, as in PyTorch.

    Args:
        params: matrices only (ValueError otherwise); optimize biases and embeddings with another optimizer.
        lr, weight_decay, momentum, nesterov: the parameter shrinks by ``lr * weight_decay``.
        ns_coefficients, eps, ns_steps: of the Newton-Schulz iteration.
        adjust_lr_fn: "original" (the default) or "match_rms_adamw".
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ):
        if isinstance(lr, Tensor):
            check_nonnegative(lr=lr)
        if not lr >= 0.0:
            raise ValueError(f"Learning rate should be >= 0 but is: {lr}")
        if not momentum >= 0.0:
            raise ValueError(f"momentum should be >= 0 but is: {momentum}")
        if not weight_decay >= 0.0:
            raise ValueError(f"weight decay should be >= 0 but is: {weight_decay}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(
                f"Adjust learning rate function {adjust_lr_fn} is not supported; use 'original' or"
                " 'match_rms_adamw'"
            )
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, defaults)

    def _check_param(self, p: Any) -> None:
        super()._check_param(p)
        if p.dim() != 2:
            raise ValueError(
                f"Muon only supports 2D parameters whereas we found a parameter with size: {p.size()}"
            )

    @numtorch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; returns the closure's loss, or None without a
        closure."""
        loss = None
        if closure is not None:
            with numtorch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, p.grad, self.state[p], group)
        return loss

    def _update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        lr, momentum = option(group, "lr"), group["momentum"]
        buffer = state.get("momentum_buffer")
        if buffer is None:
            buffer = state["momentum_buffer"] = numtorch.zeros_like(g)
        buffer.lerp_(g, 1 - momentum)
        update = g.lerp(buffer, momentum) if group["nesterov"] else buffer
        update = orthogonalize(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
        p.mul_(1 - lr * group["weight_decay"])
        p.add_(update, alpha=-adjusted_lr(lr, group["adjust_lr_fn"], p.shape))
