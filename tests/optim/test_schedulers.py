"""Learning-rate schedules against PyTorch's, composed ones, their state dicts and their errors."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
from optim import cases

import numtorch
from numtorch.optim import lr_scheduler as kinds

RECORDED = json.loads(pathlib.Path(__file__).with_name("recorded.json").read_text())["schedules"]
ALL = cases.SCHEDULES + [(name, {}) for name in cases.COMPOSED]


@pytest.fixture
def sgd() -> numtorch.optim.SGD:
    return numtorch.optim.SGD([numtorch.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)


@pytest.mark.parametrize(
    "case, wanted", [pytest.param(*p, id=cases.label(p[0])) for p in zip(ALL, RECORDED, strict=True)]
)
def test_follows_pytorch(case: tuple, wanted: list) -> None:
    np.testing.assert_allclose(cases.schedule_run(numtorch, *case), wanted, rtol=1e-8, atol=1e-12)


@pytest.mark.oracle
@pytest.mark.parametrize("case", ALL, ids=cases.label)
def test_pytorch_still_does_what_was_recorded(case: tuple) -> None:
    torch = pytest.importorskip("torch")
    found = cases.schedule_run(torch, *case)
    np.testing.assert_allclose(found, RECORDED[ALL.index(case)], rtol=1e-8, atol=1e-12)


def test_cyclic_schedules_move_the_first_beta_of_adam() -> None:
    rows = cases.schedule_run(numtorch, "OneCycleLR", {"max_lr": 0.3, "total_steps": 12}, optimizer="Adam")
    momenta = [row[2] for row in rows]
    assert momenta[0] == 0.95 and abs(min(momenta) - 0.85) < 0.02


@pytest.mark.parametrize("case", cases.SCHEDULES, ids=cases.label)
def test_a_loaded_state_goes_on(case: tuple) -> None:
    name, options = case

    def make() -> tuple:
        p = [numtorch.zeros(1, requires_grad=True), numtorch.zeros(1, requires_grad=True)]
        opt = numtorch.optim.SGD([{"params": [q]} for q in p], lr=0.1, momentum=0.9)
        return opt, getattr(kinds, name)(opt, **options)

    def go(opt, schedule, n) -> list:
        for _ in range(n):
            opt.step()
            schedule.step()
        return [g["lr"] for g in opt.param_groups]

    one, first = make()
    go(one, first, 4)
    other, second = make()
    second.load_state_dict(first.state_dict())
    other.load_state_dict(one.state_dict())
    assert go(one, first, 3) == go(other, second, 3)


@pytest.mark.parametrize("kind", ["SequentialLR", "ChainedScheduler"])
def test_composed_states_go_on(kind: str, sgd: numtorch.optim.SGD) -> None:
    def make(opt) -> kinds.LRScheduler:
        parts = [kinds.ConstantLR(opt, 0.5, total_iters=3), kinds.ExponentialLR(opt, 0.9)]
        return (
            kinds.SequentialLR(opt, parts, [2]) if kind == "SequentialLR" else kinds.ChainedScheduler(parts)
        )

    first = make(sgd)
    sgd.step()
    first.step()
    other = numtorch.optim.SGD([numtorch.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)
    second = make(other)
    second.load_state_dict(first.state_dict())
    other.load_state_dict(sgd.state_dict())
    for opt, schedule in ((sgd, first), (other, second)):
        opt.step()
        schedule.step()
        schedule.step()
    assert first.get_last_lr() == second.get_last_lr()


def test_plateau_watches_either_direction(sgd: numtorch.optim.SGD) -> None:
    schedule = kinds.ReduceLROnPlateau(
        sgd, mode="max", factor=0.1, patience=0, threshold=0.5, threshold_mode="abs"
    )
    for metric, lr in ((1.0, 1.0), (1.6, 1.0), (2.0, 0.1), (numtorch.tensor(2.2), 0.1)):
        schedule.step(metric)
        assert abs(sgd.param_groups[0]["lr"] - lr) < 1e-12
    assert schedule.best == pytest.approx(2.2) or schedule.best == 1.6


def test_a_tensor_learning_rate_is_filled_in_place() -> None:
    lr = numtorch.tensor(0.5)
    opt = numtorch.optim.SGD([numtorch.zeros(1, requires_grad=True)], lr=lr)
    schedule = kinds.ExponentialLR(opt, 0.5)
    opt.step()
    schedule.step()
    assert opt.param_groups[0]["lr"] is lr and lr.item() == 0.25


def test_warning_when_the_order_is_wrong(sgd: numtorch.optim.SGD) -> None:
    schedule = kinds.ExponentialLR(sgd, 0.5)
    with pytest.warns(UserWarning, match=r"before `optimizer.step\(\)`"):
        schedule.step()
    with pytest.warns(UserWarning, match="get_last_lr"):
        schedule.get_lr()
    with pytest.warns(UserWarning, match="epoch parameter"):
        schedule.step(5)
    assert sgd.param_groups[0]["lr"] == 0.5**5


def test_resuming_needs_the_initial_rate(sgd: numtorch.optim.SGD) -> None:
    with pytest.raises(KeyError, match="initial_lr"):
        kinds.StepLR(sgd, 2, last_epoch=3)


WRONG = [
    (TypeError, "int is not an Optimizer", lambda o: kinds.StepLR(3, 1)),
    (ValueError, "Expected 1 lr_lambdas, but got 2", lambda o: kinds.LambdaLR(o, [float, float])),
    (TypeError, "lr_lambda should be a function, but got int", lambda o: kinds.MultiplicativeLR(o, 3)),
    (ValueError, "between 0 and 1", lambda o: kinds.ConstantLR(o, factor=2.0)),
    (ValueError, "Starting multiplicative factor", lambda o: kinds.LinearLR(o, start_factor=0)),
    (ValueError, "positive integer T_0", lambda o: kinds.CosineAnnealingWarmRestarts(o, 0)),
    (
        ValueError,
        "number of the milestone|number of milestone",
        lambda o: kinds.SequentialLR(o, [kinds.StepLR(o, 1)], [1]),
    ),
    (ValueError, "got no scheduler", lambda o: kinds.ChainedScheduler([])),
    (ValueError, "Factor should be < 1.0", lambda o: kinds.ReduceLROnPlateau(o, factor=1.0)),
    (ValueError, "mode best is unknown", lambda o: kinds.ReduceLROnPlateau(o, mode="best")),
    (ValueError, "max_lr must have the same length", lambda o: kinds.CyclicLR(o, 0.1, [0.2, 0.3])),
    (ValueError, "total_steps OR", lambda o: kinds.OneCycleLR(o, 0.1)),
    (ValueError, "positive integer epochs", lambda o: kinds.OneCycleLR(o, 0.1, epochs=-1, steps_per_epoch=2)),
    (ValueError, "pct_start", lambda o: kinds.OneCycleLR(o, 0.1, total_steps=5, pct_start=2.0)),
    (
        ValueError,
        "does not support `ReduceLROnPlateau`",
        lambda o: kinds.ChainedScheduler([kinds.ReduceLROnPlateau(o)]),
    ),
]


@pytest.mark.parametrize("error, message, make", WRONG, ids=[w[1] for w in WRONG])
def test_wrong_options(error: type, message: str, make, sgd: numtorch.optim.SGD) -> None:
    with pytest.raises(error, match=message):
        make(sgd)


def test_cyclic_momentum_needs_an_optimizer_with_one() -> None:
    opt = numtorch.optim.Adagrad([numtorch.zeros(1, requires_grad=True)])
    with pytest.raises(ValueError, match="must support momentum or beta1"):
        kinds.CyclicLR(opt, 0.1, 0.2)


def test_one_cycle_ends(sgd: numtorch.optim.SGD) -> None:
    schedule = kinds.OneCycleLR(sgd, 0.1, total_steps=2)
    sgd.step()
    schedule.step()
    schedule.step()
    with pytest.raises(ValueError, match="Tried to step 3 times"):
        schedule.step()
