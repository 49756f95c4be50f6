"""Adafactor: second moments kept as the outer product of their row and column means."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numtorch

from .._tensor import Tensor
from .optimizer import Optimizer
from .rule import check_nonnegative, count, option


def root_mean_square(x: Tensor) -> Tensor:
    """The root of the mean of squares, a 0-d float64 tensor."""
    return (x * x).mean().to(numtorch.float64).sqrt()


class Adafactor(Optimizer):
    """Adam's memory cut to rows plus columns: Shazeer and Stern, "Adafactor: Adaptive Learning Rates with
    Sublinear Memory Cost", 2018.

    Args:
        params: tensors, (name, tensor) pairs or parameter groups.
        lr: upper limit of the relative step size, which is ``1 / sqrt(step)``.
        beta2_decay: the second moment forgets with ``step ** beta2_decay``; at most 0.
        eps: (floor of the squares, None for the dtype's; floor of the parameter's own scale).
        d: the update's root mean square is clipped to this; at least 1.
        weight_decay: the parameter shrinks by this times the learning rate.
        foreach: accepted. maximize: go up instead of down.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ):
        if isinstance(lr, Tensor):
            check_nonnegative(lr=lr)
        if not lr >= 0.0:
            raise ValueError(f"Learning rate should be >= 0 but is: {lr}")
        if not beta2_decay <= 0.0:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        if eps[0] is not None and not eps[0] >= 0.0:
            raise ValueError(f"epsilon1 should be >= 0 but is: {eps[0]}")
        if not eps[1] >= 0.0:
            raise ValueError(f"epsilon2 should be >= 0 but is: {eps[1]}")
        if not d >= 1.0:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        if not weight_decay >= 0.0:
            raise ValueError(f"weight_decay should be >= 0 but is: {weight_decay}")
        defaults = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("foreach", None)

    def _new_state(self, p: Tensor) -> dict[str, Any]:
        if p.dim() < 2:
            return {"step": count(p), "variance": numtorch.zeros_like(p)}
        rows, columns = list(p.shape), list(p.shape)
        rows[-1] = columns[-2] = 1
        return {"step": count(p), "row_var": p.new_zeros(rows), "col_var": p.new_zeros(columns)}

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
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state.update(self._new_state(p))
                self._update(p, -p.grad if group["maximize"] else p.grad, state, group)
        return loss

    def _update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        lr, (eps1, eps2) = option(group, "lr"), group["eps"]
        if eps1 is None:
            eps1 = numtorch.finfo(p.dtype).eps
        state["step"] += 1
        # Numbers that hold for the whole parameter stay 0-d float64 tensors: a replay counts on by itself.
        t = state["step"].to(numtorch.float64)
        alpha = root_mean_square(p).clamp(min=eps2) * (1 / t**0.5).clamp(max=lr)
        if group["weight_decay"] != 0:
            p.mul_(1 - lr * group["weight_decay"])
        update = self._variance(g, state, (t ** group["beta2_decay"]).to(p.dtype), eps1)
        update = update.clamp_(min=eps1 * eps1).rsqrt_().mul_(g)
        clipped = (root_mean_square(update) / group["d"]).clamp(min=1.0)
        p.sub_(update * (alpha / clipped))

    @staticmethod
    def _variance(g: Tensor, state: dict[str, Any], weight: Tensor, eps1: float) -> Tensor:
        """The new estimate of the second moment, shaped like g."""
        squares = g * g
        if g.dim() < 2:
            return state["variance"].lerp_(squares, weight).clone()
        rows, columns = state["row_var"], state["col_var"]
        rows.lerp_(squares.mean(-1, keepdim=True), weight)
        columns.lerp_(squares.mean(-2, keepdim=True), weight)
        return (rows @ columns).div_(rows.mean(-2, keepdim=True).clamp_(min=eps1))
