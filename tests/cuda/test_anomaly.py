"""Anomaly detection on a simulated GPU: the same reports as on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import numtorch as torch
import numtorch.nn.functional as F
from numtorch import nn
from numtorch.autograd import AnomalyError, detect_anomaly

pytestmark = pytest.mark.simulator


def of_forward(device: str) -> Any:
    return torch.tensor([1.0, -1.0, 2.0], device=device).log()


def of_backward(device: str) -> Any:
    x = torch.tensor([0.0, 1.0], device=device, requires_grad=True)
    (x.sqrt() * 0).sum().backward()


def of_an_update(device: str) -> Any:
    x = torch.tensor([1.0, 0.0], device=device)
    return x.div_(torch.tensor([1.0, 0.0], device=device))


def of_a_masked_row(device: str) -> Any:
    x = torch.zeros(2, 3, device=device)
    mask = torch.tensor([[True, False, True], [True, True, True]], device=device)
    return F.softmax(x.masked_fill(mask, float("-inf")), 1)


def of_a_module(device: str) -> Any:
    class Inner(nn.Module):
        def forward(self, x: Any) -> Any:
            return x / (x - x)

    return nn.Sequential(nn.ReLU(), Inner()).to(device)(torch.zeros(3, device=device))


CASES: list[Callable[[str], Any]] = [of_forward, of_backward, of_an_update, of_a_masked_row, of_a_module]


def error_of(case: Callable[[str], Any], device: str) -> AnomalyError:
    with (
        pytest.warns() if case is of_backward else detect_anomaly(),
        detect_anomaly(),
        pytest.raises(AnomalyError) as caught,
    ):
        case(device)
    return caught.value


@pytest.mark.parametrize("case", CASES)
def test_reports_are_those_of_the_cpu(any_gpu: Any, case: Callable[[str], Any]) -> None:
    here, there = error_of(case, "cpu"), error_of(case, "cuda")
    for name in ("op", "phase", "what", "line", "module", "count", "index"):
        assert getattr(there, name) == getattr(here, name), name
    assert str(there) == str(here)


def test_what_is_finite_or_legal_passes(any_gpu: Any) -> None:
    with detect_anomaly():
        x = torch.tensor([1.0, 2.0], device="cuda", requires_grad=True)
        y = (x * 2).masked_fill(x > 1, float("-inf"))
        F.softmax(y, 0).sum().backward()
        assert x.grad is not None and x.grad.is_cuda
        assert bool(torch.empty(0, device="cuda").log().isnan().any()) is False


def test_infinities_on_request(any_gpu: Any) -> None:
    with detect_anomaly(check_inf=True), pytest.raises(AnomalyError, match="inf values in forward"):
        torch.tensor([100.0], device="cuda").exp()
