"""Optimizer steps inside traces: replays take the same steps as eager calls, whatever changes in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from optim import cases

import numtorch
from numtorch.optim import lr_scheduler

TRACED = [
    case for case in cases.OPTIMIZERS if case[0] != "LBFGS"
]  # its iterations depend on the values it finds


def train(traced: bool, make: Callable, between: Callable, shape: tuple[int, ...] = (4, 3)) -> list[Any]:
    """The parameter after each of seven steps; ``between(i, optimizer)`` runs before each."""
    p = numtorch.from_numpy(cases.values(shape, 1.0).astype("float32")).requires_grad_(True)
    target = numtorch.from_numpy(cases.values(shape, 2.0).astype("float32"))
    optimizer = make([p])

    def step(target: numtorch.Tensor) -> numtorch.Tensor:
        optimizer.zero_grad()
        loss = ((p - target) ** 2).sum()
        loss.backward()
        optimizer.step()
        return loss

    call = numtorch.jit.trace(step, (target,)) if traced else step
    found = []
    for i in range(7):
        between(i, optimizer)
        call(target)
        found.append(p.tolist())
    return found


def check_same(make: Callable, between: Callable) -> None:
    """Traced and eager training agree to the last bit, and go somewhere."""
    eager = train(False, make, between)
    assert train(True, make, between) == eager and eager[0] != eager[-1]


@pytest.mark.parametrize("case", TRACED, ids=cases.label)
def test_replays_equal_eager_steps_under_a_schedule(case: tuple) -> None:
    name, options = case
    schedules: dict[int, Any] = {}

    def between(i: int, optimizer: Any) -> None:
        if i == 0:
            schedules[0] = lr_scheduler.ExponentialLR(optimizer, 0.8)
        else:
            schedules[0].step()

    check_same(lambda params: getattr(numtorch.optim, name)(params, **options), between)


def test_options_that_choose_other_code_are_seen() -> None:
    changes = {2: {"momentum": 0.9}, 3: {"nesterov": True}, 4: {"weight_decay": 0.1}, 5: {"maximize": True}}

    def between(i: int, optimizer: Any) -> None:
        optimizer.param_groups[0].update(changes.get(i, {}))
        if i == 6:
            optimizer.load_state_dict(optimizer.state_dict())
            optimizer.param_groups[0]["lr"] = 0.5

    check_same(lambda params: numtorch.optim.SGD(params, lr=0.1), between)


def test_a_learning_rate_in_a_tensor_is_read_at_each_replay() -> None:
    def between(i: int, optimizer: Any) -> None:
        optimizer.param_groups[0]["lr"].mul_(0.5)

    check_same(lambda params: numtorch.optim.Adam(params, lr=numtorch.tensor(0.2)), between)


class Plain(numtorch.optim.Optimizer):
    """A user's optimizer, which reads its options as Python numbers."""

    def __init__(self, params: Any, lr: float):
        super().__init__(params, {"lr": lr})

    @numtorch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(p.grad * group["lr"])


def test_a_users_optimizer_follows_its_schedule_as_well() -> None:
    def between(i: int, optimizer: Any) -> None:
        optimizer.param_groups[0]["lr"] = 0.1 / (1 + i)

    check_same(lambda params: Plain(params, 0.1), between)


def test_two_steps_in_one_trace_count_twice() -> None:
    ends = []
    for traced in (False, True):
        p = numtorch.ones(3, requires_grad=True)
        optimizer = numtorch.optim.Adam([p], lr=0.1)

        def twice(x: numtorch.Tensor, p: Any = p, optimizer: Any = optimizer) -> None:
            for _ in range(2):
                optimizer.zero_grad()
                ((p - x) ** 2).sum().backward()
                optimizer.step()

        x = numtorch.arange(3.0)
        call = numtorch.jit.trace(twice, (x,)) if traced else twice
        for _ in range(3):
            call(x)
        ends.append((p.tolist(), optimizer.state[p]["step"].item()))
    assert ends[0] == ends[1] and ends[0][1] == 6.0
