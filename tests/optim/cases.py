"""Configurations of optimizers and schedulers, and the small problem on which they run.

``record.py`` runs them in PyTorch and keeps the results in ``recorded.json``; the tests run them here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

STEPS = 6
SHAPES = [(4, 3), (5,), (2, 3, 2)]
MATRICES = [(4, 3), (3, 5)]

OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {}),
    ("SGD", {"lr": 0.01, "weight_decay": 0.5, "maximize": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("Adam", {}),
    ("Adam", {"lr": 0.01, "betas": (0.5, 0.6), "eps": 0.1, "weight_decay": 0.1, "maximize": True}),
    ("Adam", {"amsgrad": True, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.01}),
    ("AdamW", {"lr": 0.01, "amsgrad": True, "weight_decay": 0.3, "betas": (0.3, 0.9)}),
    ("RMSprop", {}),
    ("RMSprop", {"centered": True, "weight_decay": 0.1}),
    ("RMSprop", {"momentum": 0.5, "alpha": 0.8, "maximize": True}),
    ("RMSprop", {"centered": True, "momentum": 0.1, "weight_decay": 0.1}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.5, "weight_decay": 0.1, "initial_accumulator_value": 0.1}),
    ("Adadelta", {}),
    ("Adadelta", {"rho": 0.95, "weight_decay": 0.9, "maximize": True}),
    ("Adamax", {}),
    ("Adamax", {"lr": 0.1, "weight_decay": 0.1, "maximize": True}),
    ("NAdam", {}),
    ("NAdam", {"weight_decay": 0.1, "momentum_decay": 0.006, "decoupled_weight_decay": True}),
    ("RAdam", {}),
    ("RAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "betas": (0.9, 0.9)}),
    ("RAdam", {"weight_decay": 0.1, "maximize": True}),
    ("ASGD", {}),
    ("ASGD", {"lr": 0.02, "t0": 2, "lambd": 0.1, "weight_decay": 0.1}),
    ("Rprop", {}),
    ("Rprop", {"etas": (0.4, 1.5), "step_sizes": (2e-6, 0.02), "maximize": True}),
    ("Adafactor", {}),
    ("Adafactor", {"weight_decay": 0.1, "d": 1.5, "beta2_decay": -1.0, "maximize": True}),
    ("LBFGS", {"max_iter": 3}),
    ("LBFGS", {"lr": 0.1, "max_iter": 4, "history_size": 2}),
    ("LBFGS", {"line_search_fn": "strong_wolfe", "max_iter": 3}),
    ("Muon", {"lr": 0.01}),
    ("Muon", {"nesterov": False, "adjust_lr_fn": "match_rms_adamw", "ns_steps": 4}),
]


def values(shape: tuple[int, ...], phase: float) -> np.ndarray:
    """Numbers between -1.2 and 1.2 without any pattern that matters."""
    n = math.prod(shape)
    return (1.2 * np.sin(2.3 * np.arange(n) + phase)).reshape(shape)


def run(
    module: Any, name: str, options: dict[str, Any], dtype: str, device: str = "cpu", steps: int = STEPS
) -> list[list[np.ndarray]]:
    """The parameters after each step of an optimizer of ``module`` (numtorch or torch)."""
    shapes = MATRICES if name == "Muon" else SHAPES

    def tensor(array: np.ndarray) -> Any:
        return module.from_numpy(np.array(array, dtype)).to(device)

    params = [tensor(values(s, k)).requires_grad_(True) for k, s in enumerate(shapes)]
    optimizer = getattr(module.optim, name)(params, **options)
    weights = [1.5 + 0.5 * values(s, 40 + k) for k, s in enumerate(shapes)]

    def closure() -> Any:
        loss = 0.0
        for p, w in zip(params, weights):
            x = p.detach().cpu().numpy()
            loss += float((w * x**2).sum()) / 2 + float(np.cos(x).sum())
            p.grad = tensor(w * x - np.sin(x))
        return module.tensor(loss)

    found = []
    for step in range(steps):
        for k, p in enumerate(params):
            p.grad = tensor(values(shapes[k], 7 * step + 3 * k + 1))
        optimizer.step(closure) if name == "LBFGS" else optimizer.step()
        found.append([p.detach().cpu().numpy().copy() for p in params])
    return found


def _halving(epoch: int) -> float:
    return 0.5 ** (epoch // 2)


SCHEDULES: list[tuple[str, dict[str, Any]]] = [
    ("LambdaLR", {"lr_lambda": [_halving, math.sqrt]}),
    ("MultiplicativeLR", {"lr_lambda": lambda epoch: 0.9}),
    ("StepLR", {"step_size": 3, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [2, 5, 5], "gamma": 0.5}),
    ("ConstantLR", {"factor": 0.25, "total_iters": 4}),
    ("LinearLR", {"start_factor": 0.2, "end_factor": 0.8, "total_iters": 6}),
    ("ExponentialLR", {"gamma": 0.7}),
    ("PolynomialLR", {"total_iters": 8, "power": 1.5}),
    ("CosineAnnealingLR", {"T_max": 4, "eta_min": 0.01}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2, "eta_min": 0.01}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": [0.1, 0.2], "step_size_up": 2, "step_size_down": 3}),
    (
        "CyclicLR",
        {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 2, "mode": "triangular2", "cycle_momentum": False},
    ),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 2, "mode": "exp_range", "gamma": 0.9}),
    ("OneCycleLR", {"max_lr": [0.3, 0.1], "total_steps": 12}),
    (
        "OneCycleLR",
        {"max_lr": 0.3, "epochs": 3, "steps_per_epoch": 4, "three_phase": True, "anneal_strategy": "linear"},
    ),
]
COMPOSED = ("SequentialLR", "ChainedScheduler", "ReduceLROnPlateau", "SWALR")
METRICS = [1.0, 0.9, 0.91, 0.92, 0.93, 0.8, 0.9, 0.9, 0.9, 0.9, 0.9]


def schedule_run(
    module: Any, name: str, options: dict[str, Any], optimizer: str = "SGD"
) -> list[list[float]]:
    """Learning rate and momentum of both groups after each epoch."""
    params = [module.zeros(2, requires_grad=True), module.zeros(3, requires_grad=True)]
    more = {"momentum": 0.9} if optimizer == "SGD" else {}
    opt = getattr(module.optim, optimizer)(
        [{"params": params[:1]}, {"params": params[1:], "lr": 0.05}], lr=0.1, **more
    )
    kinds = module.optim.lr_scheduler
    if name == "SequentialLR":
        parts = [
            kinds.ConstantLR(opt, 0.1, total_iters=2),
            kinds.ExponentialLR(opt, 0.9),
            kinds.StepLR(opt, 2, 0.5),
        ]
        schedule = kinds.SequentialLR(opt, parts, milestones=[3, 6])
    elif name == "ChainedScheduler":
        schedule = kinds.ChainedScheduler(
            [kinds.LinearLR(opt, 0.5, total_iters=4), kinds.ExponentialLR(opt, 0.8)]
        )
    elif name == "ReduceLROnPlateau":
        schedule = kinds.ReduceLROnPlateau(opt, factor=0.5, patience=1, cooldown=1, min_lr=[0.03, 0.01])
    elif name == "SWALR":
        schedule = module.optim.swa_utils.SWALR(opt, swa_lr=[0.01, 0.3], anneal_epochs=4)
    else:
        schedule = getattr(kinds, name)(opt, **options)
    found = []
    for metric in METRICS:
        found.append([g["lr"] for g in opt.param_groups] + [_momentum(g) for g in opt.param_groups])
        opt.step()
        schedule.step(metric) if name == "ReduceLROnPlateau" else schedule.step()
    return found


def _momentum(group: dict[str, Any]) -> float:
    return group["momentum"] if "momentum" in group else group["betas"][0]


def label(case: tuple[str, dict[str, Any]]) -> str:
    """A name for a case: its class and what is set."""
    name, options = case
    return name + "".join(f"-{k}" for k in options)
