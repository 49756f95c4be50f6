"""Checkpoints between frameworks: training goes on as if it had not changed hands; schedulers give PyTorch's sequences."""

from __future__ import annotations

import io
import math
import warnings
from typing import Any

import numpy as np
import pytest

import numtorch

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")]
RANDOM = np.random.default_rng(0)
WEIGHTS = [RANDOM.normal(size=(4, 3)), RANDOM.normal(size=(3,))]
GRADIENTS = [[RANDOM.normal(size=w.shape) for w in WEIGHTS] for _ in range(8)]
OPTIMIZERS = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}, "Adam": {"lr": 0.1, "amsgrad": True, "maximize": True},
    "AdamW": {"lr": 0.1, "foreach": True}, "NAdam": {"lr": 0.1}, "RAdam": {"lr": 0.1}, "Adamax": {"lr": 0.1}, "Adadelta": {"lr": 0.5},
    "Adagrad": {"lr": 0.1, "lr_decay": 0.1}, "RMSprop": {"lr": 0.01, "momentum": 0.9, "centered": True}, "Rprop": {"lr": 0.01},
    "ASGD": {"lr": 0.1, "t0": 3}, "Adafactor": {"lr": 0.1}, "LBFGS": {"lr": 0.1, "max_iter": 3},
}  # fmt: skip


def make(torch: Any, name: str, parameters: Any) -> tuple[Any, Any]:
    optimizer = getattr(torch.optim, name)(parameters, **OPTIMIZERS[name])
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)


def step(torch: Any, parameters: Any, optimizer: Any, scheduler: Any, gradients: Any) -> None:
    def closure():
        optimizer.zero_grad()
        loss = sum(((p - 1) ** 2).sum() for p in parameters)
        loss.backward()
        return loss

    for p, g in zip(parameters, gradients):
        p.grad = torch.tensor(g, dtype=torch.float64)
    optimizer.step(*[closure] if type(optimizer).__name__ == "LBFGS" else [])
    scheduler.step()


def handed_over(name: str, first: Any, second: Any) -> list[np.ndarray]:
    """Half of a training in one framework, a checkpoint, the other half in another."""
    parameters = [first.nn.Parameter(first.tensor(w, dtype=first.float64)) for w in WEIGHTS]
    optimizer, scheduler = make(first, name, parameters)
    for g in GRADIENTS[:4]:
        step(first, parameters, optimizer, scheduler, g)
    file = io.BytesIO()
    first.save({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(), "weights": [p.detach() for p in parameters]}, file)
    file.seek(0)
    read = second.load(file)
    parameters = [second.nn.Parameter(w) for w in read["weights"]]
    optimizer, scheduler = make(second, name, parameters)
    optimizer.load_state_dict(read["optimizer"])
    scheduler.load_state_dict(read["scheduler"])
    for g in GRADIENTS[4:]:
        step(second, parameters, optimizer, scheduler, g)
    return [p.detach().numpy() for p in parameters]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_checkpoint_changes_hands(name):
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = handed_over(name, torch, torch)
        for first, second in ((torch, numtorch), (numtorch, torch), (numtorch, numtorch)):
            for ours, theirs in zip(handed_over(name, first, second), expected):
                np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6, err_msg=f"{first.__name__} to {second.__name__}")


S: dict[str, Any] = {
    "LambdaLR": lambda L, o: L.LambdaLR(o, [lambda e: 0.95**e, lambda e: 1 / (1 + e)]),
    "MultiplicativeLR": lambda L, o: L.MultiplicativeLR(o, lambda e: 0.97),
    "StepLR": lambda L, o: L.StepLR(o, 7, 0.5), "MultiStepLR": lambda L, o: L.MultiStepLR(o, [5, 20, 20, 40], 0.3),
    "ConstantLR": lambda L, o: L.ConstantLR(o, 0.5, 10), "LinearLR": lambda L, o: L.LinearLR(o, 0.1, 0.9, 20),
    "ExponentialLR": lambda L, o: L.ExponentialLR(o, 0.9), "PolynomialLR": lambda L, o: L.PolynomialLR(o, 30, 2.0),
    "CosineAnnealingLR": lambda L, o: L.CosineAnnealingLR(o, 20, 0.001), "warm restarts": lambda L, o: L.CosineAnnealingWarmRestarts(o, 5, 2, 0.001),
    "CyclicLR": lambda L, o: L.CyclicLR(o, 0.01, 0.1, 8, 5, mode="triangular2"),
    "CyclicLR with momentum": lambda L, o: L.CyclicLR(o, 0.01, 0.1, 8, mode="exp_range", gamma=0.99, base_momentum=0.7, max_momentum=0.95),
    "CyclicLR of a function": lambda L, o: L.CyclicLR(o, 0.01, 0.1, 8, scale_fn=lambda x: 1 / (1 + x), scale_mode="iterations", cycle_momentum=False),
    "OneCycleLR": lambda L, o: L.OneCycleLR(o, [0.1, 0.2], total_steps=52),
    "OneCycleLR, three phases": lambda L, o: L.OneCycleLR(o, 0.1, epochs=13, steps_per_epoch=4, anneal_strategy="linear", three_phase=True, pct_start=0.4),
    "SequentialLR": lambda L, o: L.SequentialLR(o, [L.ConstantLR(o, 0.1, 5), L.ExponentialLR(o, 0.9), L.CosineAnnealingLR(o, 10)], [6, 20]),
    "ChainedScheduler": lambda L, o: L.ChainedScheduler([L.ConstantLR(o, 0.1, 5), L.ExponentialLR(o, 0.9)], optimizer=o),
    **{f"ReduceLROnPlateau {mode} {kind}": lambda L, o, mode=mode, kind=kind: L.ReduceLROnPlateau(
        o, mode, 0.5, 2, threshold=0.01, threshold_mode=kind, cooldown=2, min_lr=[1e-4, 1e-3]) for mode in ("min", "max") for kind in ("rel", "abs")},
}  # fmt: skip


def rates(torch: Any, name: str, resume: int | None) -> list[Any]:
    """Learning rates and momenta of 50 epochs; at ``resume`` all is made anew from the state dicts."""

    def begin():
        optimizer = torch.optim.SGD([{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.05}], lr=0.1, momentum=0.9)
        return optimizer, S[name](torch.optim.lr_scheduler, optimizer)

    parameters = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizer, scheduler = begin()
    found = []
    for epoch in range(50):
        if epoch == resume:
            states = optimizer.state_dict(), scheduler.state_dict()
            optimizer, scheduler = begin()
            optimizer.load_state_dict(states[0])
            scheduler.load_state_dict(states[1])
        for p in parameters:
            p.grad = torch.ones(2)
        optimizer.step()
        scheduler.step(*[math.sin(epoch / 3) + 2] if "Plateau" in name else [])
        found.append([*(g[key] for g in optimizer.param_groups for key in ("lr", "momentum")), *scheduler.get_last_lr()])
    return found + [sorted(scheduler.state_dict())]


@pytest.mark.parametrize("name", S)
def test_schedulers_over_50_epochs(name):
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = rates(torch, name, None)
        for resume in (None, 17):
            ours = rates(numtorch, name, resume)
            np.testing.assert_allclose(ours[:-1], expected[:-1], rtol=1e-12, atol=1e-15)
            assert ours[-1] == expected[-1]
