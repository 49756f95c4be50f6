"""Optimizers on a simulated GPU update all parameters by few launches, eagerly and in traces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numtorch as torch
from numtorch.cuda import together

SHAPES = [(3, 4), (5,), (2, 3), (20,)]


def training(device: str, optimizer: str, **options: Any) -> tuple[list[Any], Any, Callable]:
    """(parameters, optimizer, one step on x)."""
    torch.manual_seed(0)
    params = [torch.randn(s).to(device).requires_grad_() for s in SHAPES]
    update = getattr(torch.optim, optimizer)(params, **options)

    def step(x: Any) -> Any:
        update.zero_grad()
        loss = sum(((p * x) ** 2).sum() for p in params)
        loss.backward()
        update.step()
        return loss

    return params, update, step


def check_same(found: list[Any], wanted: list[Any]) -> None:
    for a, b in zip(found, wanted):
        np.testing.assert_allclose(a.detach().cpu().numpy(), b.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.simulator
@pytest.mark.parametrize(
    "optimizer, options, launches",
    [("SGD", {"lr": 0.1}, 1), ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}, 2), ("AdamW", {"lr": 0.05}, 2)],
)
def test_eager(gpu: Any, optimizer: str, options: dict[str, Any], launches: int) -> None:
    mine, update, _ = training("cuda", optimizer, **options)
    wanted, other, _ = training("cpu", optimizer, **options)
    for k in range(2):
        for params in (mine, wanted):
            for i, p in enumerate(params):
                p.grad = torch.sin(torch.arange(p.numel()).float() + i + k).reshape(p.shape).to(p.device)
        gpu.launched.clear()
        other.step()
        update.step()
    check_same(mine, wanted)
    assert len(gpu.launched) == launches and all("grouped" in name for name in gpu.launched)


@pytest.mark.simulator
def test_traced(gpu: Any) -> None:
    mine, update, step = training("cuda", "AdamW", lr=0.05)
    wanted, other, eager = training("cpu", "AdamW", lr=0.05)
    x = torch.tensor(1.5)
    traced = torch.jit.trace(step, x.cuda(), check_trace=False)
    for lr in (0.05, 0.05, 0.01):
        update.param_groups[0]["lr"] = other.param_groups[0]["lr"] = lr
        eager(x)
        gpu.launched.clear()
        traced(x.cuda())
    check_same(mine, wanted)
    grouped = [name for name in gpu.launched if "_grouped" in name]  # the updates may be one kernel with the gradients
    assert len(grouped) == 2 and grouped[0].startswith("adam_count")


@pytest.mark.simulator
def test_few_parameters_go_one_by_one(gpu: Any) -> None:
    p = torch.ones(4, device="cuda", requires_grad=True)
    p.grad = torch.full((4,), 2.0, device="cuda")
    torch.optim.SGD([p], lr=0.5).step()
    assert p.tolist() == [0.0] * 4 and not any("grouped" in name for name in gpu.launched)


def test_calls_wait_for_those_they_depend_on() -> None:
    """Updates of one memory stay in order; alike ones of other memory join them."""
    params, _, _ = training("cpu", "SGD")
    from numtorch.ops.updates import rule_op

    def double(p: Any) -> Any:
        return p * 2.0

    def more(p: Any) -> Any:
        return p + 1.0

    calls = []
    for p in params[:2]:
        p = p.detach()
        for rule in (double, more, double):
            op = rule_op(rule, 1)
            plan, args = op.plan((p._layout,), (p,), out=[p._layout])
            calls.append((plan, (p,), args))
    found = [[plan.program.key for plan, _, _ in group] for group in together.levels(calls)]
    first, second, third = found
    assert len(first) == len(second) == len(third) == 2 and first == third != second
    assert [len(p) for p in together.parts(calls[:1] * 70)] == [32, 32, 6]
    assert together.most(13) == 32 and together.most(20) == 21, "operands fit into the parameters of a launch"


@pytest.mark.cuda_compile
def test_code() -> None:
    from compiling import check

    from numtorch.kernels.cuda.grouped import cells_of, grouped
    from numtorch.ops import updates

    updates._rules.clear()
    *_, step = training("cpu", "Adam", amsgrad=True)
    step(torch.tensor(1.0))
    for op in updates._rules.values():
        plan = next(iter(op._plans.values()))
        cells = cells_of(plan.program, *plan.sizes)
        assert cells is not None
        for code in check(grouped(plan.program, cells), **plan.program.written.env):
            assert not code.doubles or plan.program.written.env["T"] == "float64"
