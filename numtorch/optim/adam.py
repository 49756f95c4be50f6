"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numtorch

from .._tensor import Tensor
from ..ops.elementwise import lerp, maximum, sqrt
from .rule import (
    Numbers,
    RuleOptimizer,
    apply,
    cell,
    check_betas,
    check_flags,
    check_nonnegative,
    count,
    descent,
    option,
    sign_of,
)


def adam_count(t: Any, step_size: Any, root: Any, lr: Any, beta1: Any, beta2: Any) -> Any:
    """Advance the count; the corrected step size, and the square root of the second moment's correction."""
    t = t + 1.0
    step_size = lr / (1.0 - beta1**t)
    root = sqrt(1.0 - beta2**t)
    return t, step_size, root


def adam(
    p: Any, m: Any, v: Any, g: Any, step_size: Any, root: Any,
    sign: Any, decay: Any, shrink: Any, weight1: Any, beta2: Any, weight2: Any, eps: Any,
) -> Any:  # fmt: skip
    """One step from the first moment m and the second moment v."""
    g = descent(p, g, sign, decay)
    p = p * shrink
    m = lerp(m, g, weight1)
    v = v * beta2 + weight2 * (g * g)
    denom = sqrt(v) / root + eps
    return p - step_size * (m / denom), m, v


def amsgrad(
    p: Any, m: Any, v: Any, most: Any, g: Any, step_size: Any, root: Any,
    sign: Any, decay: Any, shrink: Any, weight1: Any, beta2: Any, weight2: Any, eps: Any,
) -> Any:  # fmt: skip
    """One step from the first moment and the largest second moment so far."""
    g = descent(p, g, sign, decay)
    p = p * shrink
    m = lerp(m, g, weight1)
    v = v * beta2 + weight2 * (g * g)
    most = maximum(most, v)
    denom = sqrt(most) / root + eps
    return p - step_size * (m / denom), m, v, most


def _check_kinds(betas: tuple[Any, Any], plain_foreach: bool) -> None:
    """ValueError unless both betas are floats, or both tensors of one element where PyTorch takes such."""
    kinds = [float if isinstance(b, float) else Tensor if isinstance(b, Tensor) else None for b in betas]
    if None in kinds or kinds[0] is not kinds[1]:
        raise ValueError(f"betas must be either both floats or both Tensors; got {betas}")
    for i, beta in enumerate(betas):
        if isinstance(beta, Tensor):
            if plain_foreach:
                raise ValueError(
                    f"betas[{i}] as a Tensor is not supported for capturable=False and foreach=True"
                )
            if beta.numel() != 1:
                raise ValueError(f"Tensor betas[{i}] must be 1-element; got one of shape {tuple(beta.shape)}")


class Adam(RuleOptimizer):
    """Adaptive moments: Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015.

    Args:
        params: tensors, (name, tensor) pairs or parameter groups.
        lr: learning rate, a number or a tensor of one element.
        betas: how much of the running first and second moment is kept at each step.
        eps: added to the denominator.
        weight_decay: this times the parameter is added to the gradient, or, with ``decoupled_weight_decay``,
            the parameter shrinks by this times the learning rate, as in AdamW.
        amsgrad: divide by the largest second moment so far (Reddi, Kale and Kumar, 2018).
        maximize: go up instead of down.
        foreach, fused, capturable: accepted; every step is one fused kernel per parameter, and its count
            lives in a tensor.
        differentiable: record the step for autograd.

    Raises:
        ValueError: an option out of its range.

    Example:
        >>> import numtorch
        >>> w = numtorch.ones(2, requires_grad=True)
        >>> optimizer = numtorch.optim.Adam([w], lr=0.5)
        >>> w.sum().backward()
        >>> optimizer.step()
        >>> w
        tensor([0.5000, 0.5000], requires_grad=True)
    """

    _added_options: ClassVar[dict[str, Any]] = {
        "amsgrad": False,
        "maximize": False,
        "foreach": None,
        "capturable": False,
        "differentiable": False,
        "decoupled_weight_decay": False,
        "fused": None,
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[Any, Any] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ):
        if isinstance(lr, Tensor) and foreach and not capturable:
            raise ValueError("lr as a Tensor is not supported for capturable=False and foreach=True")
        check_nonnegative(lr=lr, eps=eps)
        check_betas(betas)
        check_nonnegative(weight_decay=weight_decay)
        _check_kinds(betas, bool(foreach) and not capturable)
        check_flags(foreach, differentiable, fused)
        defaults = {
            "lr": lr,
            "betas": tuple(b.reshape(()) if isinstance(b, Tensor) else b for b in betas),
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def _new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        state = {"step": count(p), "exp_avg": numtorch.zeros_like(p), "exp_avg_sq": numtorch.zeros_like(p)}
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = numtorch.zeros_like(p)
        return state

    def _numbers(self, group: dict[str, Any]) -> dict[str, Any]:
        lr, decay = option(group, "lr"), option(group, "weight_decay")
        beta1, beta2 = option(group, "betas")
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
        step_size, root = cell(p), cell(p)
        apply(adam_count, [state["step"], step_size, root], [], numbers)
        tensors = [p, state["exp_avg"], state["exp_avg_sq"]]
        if group["amsgrad"]:
            apply(amsgrad, [*tensors, state["max_exp_avg_sq"]], [g, step_size, root], numbers)
        else:
            apply(adam, tensors, [g, step_size, root], numbers)


class AdamW(Adam):
    """Adam with decoupled weight decay: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019.

    The parameter shrinks by ``lr * weight_decay`` before the step; all else as in ``Adam``.

    Example:
        >>> import numtorch
        >>> w = numtorch.ones(2, requires_grad=True)
        >>> optimizer = numtorch.optim.AdamW([w], lr=0.5, weight_decay=0.5)
        >>> w.sum().backward()
        >>> optimizer.step()
        >>> w
        tensor([0.2500, 0.2500], requires_grad=True)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[Any, Any] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = (
                True  # state dicts of before AdamW was a kind of Adam say nothing
            )
