"""Averages of weights along training: SWA and exponential moving averages."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from typing import Any, Literal

import numtorch

from .._tensor import Tensor
from ..absent import hints as _hints
from ..nn import Module
from ..nn.norm import _BatchNorm
from .lr_scheduler.base import LRScheduler, per_group
from .optimizer import Optimizer

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]


def _check_decay(decay: float) -> None:
    if decay < 0.0 or decay > 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable:
    """A function that moves a list of averages towards the current parameters, keeping ``decay`` of each."""
    _check_decay(decay)

    @numtorch.no_grad()
    def ema_update(averages: Sequence[Tensor], current: Sequence[Tensor], _: Any) -> None:
        for average, p in zip(averages, current, strict=True):
            if average.is_floating_point():
                average.lerp_(p, 1 - decay)
            else:
                average.copy_(average * decay + p * (1 - decay))

    return ema_update


def get_swa_multi_avg_fn() -> Callable:
    """A function that takes the current parameters into a list of equal averages."""

    @numtorch.no_grad()
    def swa_update(averages: Sequence[Tensor], current: Sequence[Tensor], num_averaged: Any) -> None:
        for average, p in zip(averages, current, strict=True):
            average.copy_(average + (p - average) / (num_averaged + 1))

    return swa_update


def get_ema_avg_fn(decay: float = 0.999) -> Callable:
    """A function that gives the exponential moving average of one parameter, keeping ``decay`` of it."""
    _check_decay(decay)

    @numtorch.no_grad()
    def ema_update(average: Tensor, current: Tensor, num_averaged: Any) -> Tensor:
        return decay * average + (1 - decay) * current

    return ema_update


def get_swa_avg_fn() -> Callable:
    """A function that gives the equal average of one parameter."""

    @numtorch.no_grad()
    def swa_update(average: Tensor, current: Tensor, num_averaged: Any) -> Tensor:
        return average + (current - average) / (num_averaged + 1)

    return swa_update


class AveragedModel(Module):
    """A copy of a model whose parameters are averages: Izmailov and others, "Averaging Weights Leads to Wider
    Optima", 2018.

    Args:
        model: the model to copy.
        device: where to keep the averages (default: where they are).
        avg_fn: ``avg_fn(average, parameter, num_averaged)`` gives the new average; equal averages by default.
        multi_avg_fn: the same for lists, in place; give one of the two (AssertionError otherwise).
        use_buffers: average buffers as well, instead of copying them.

    Example:
        >>> import numtorch
        >>> model = numtorch.nn.Linear(1, 1, bias=False)
        >>> averaged = numtorch.optim.swa_utils.AveragedModel(model)
        >>> with numtorch.no_grad():
        ...     for value in (1.0, 3.0):
        ...         _ = model.weight.fill_(value)
        ...         averaged.update_parameters(model)
        >>> averaged.module.weight.item()
        2.0
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: Callable | None = None,
        multi_avg_fn: Callable | None = None,
        use_buffers: bool = False,
    ):
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", numtorch.zeros((), dtype=numtorch.long, device=device))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The averaged model's output."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Take the parameters of ``model`` into the averages."""
        averages = [t.detach() for t in _tensors(self.module, self.use_buffers)]
        current = [t.detach().to(a.device) for a, t in zip(averages, _tensors(model, self.use_buffers))]
        if self.n_averaged == 0:
            for average, p in zip(averages, current):
                average.copy_(p)
        elif self.avg_fn is None:
            (self.multi_avg_fn or get_swa_multi_avg_fn())(averages, current, self.n_averaged)
        else:
            for average, p in zip(averages, current):
                average.copy_(self.avg_fn(average, p, self.n_averaged.to(average.device)))
        if not self.use_buffers:
            for mine, its in zip(self.module.buffers(), model.buffers()):
                mine.detach().copy_(its.detach().to(mine.device))
        self.n_averaged += 1


def _tensors(module: Module, buffers: bool) -> Iterable[Tensor]:
    return itertools.chain(module.parameters(), module.buffers()) if buffers else module.parameters()


@numtorch.no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Compute the running statistics of a model's batch norms anew, from one pass over ``loader``.

    Batches may be tensors or sequences that begin with one.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    if not norms:
        return
    momenta = [m.momentum for m in norms]
    was_training = model.training
    try:
        model.train()
        for m in norms:
            m.reset_running_stats()
            m.momentum = None  # the plain average over all batches
        for batch in loader:
            x = batch[0] if isinstance(batch, (list, tuple)) else batch
            model(x if device is None else x.to(device))
    finally:
        for m, momentum in zip(norms, momenta):
            m.momentum = momentum
        model.train(was_training)


class SWALR(LRScheduler):
    """Anneal the rate to ``swa_lr`` in ``anneal_epochs`` epochs, along a cosine or a line, and keep it
    there."""

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | list[float],
        anneal_epochs: int = 10,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        last_epoch: int = -1,
    ):
        for lr, group in zip(per_group("swa_lr", optimizer, swa_lr), optimizer.param_groups, strict=True):
            group["swa_lr"] = lr
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        self._anneal_strategy = anneal_strategy
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _alpha(self, step: int) -> float:
        """How much of ``swa_lr`` is in the rate after so many steps."""
        t = max(0, min(1, step / max(1, self.anneal_epochs)))
        return (1 - math.cos(math.pi * t)) / 2 if self._anneal_strategy == "cos" else t

    def get_lr(self) -> list[Any]:
        """The rates, from the current ones: what other schedulers change in between is kept."""
        self._warn_outside_step()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, alpha = self._alpha(step - 1), self._alpha(step)
        rates = []
        for group in self.optimizer.param_groups:
            target = group["swa_lr"]
            base = target if before == 1 else (group["lr"] - before * target) / (1 - before)
            rates.append(target * alpha + base * (1 - alpha))
        return rates

__getattr__ = _hints(__name__)
