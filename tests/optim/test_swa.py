"""Averages of weights."""

from __future__ import annotations

import numpy as np
import pytest

import numtorch
from numtorch import nn
from numtorch.optim import swa_utils


def fill(model: nn.Module, value: float) -> None:
    with numtorch.no_grad():
        for p in model.parameters():
            p.fill_(value)


def test_equal_averages() -> None:
    model = nn.Linear(2, 3)
    averaged = swa_utils.AveragedModel(model)
    for value in (1.0, 2.0, 6.0):
        fill(model, value)
        averaged.update_parameters(model)
    assert averaged.n_averaged.item() == 3
    assert all(np.allclose(p.detach().numpy(), 3.0) for p in averaged.parameters())
    x = numtorch.ones(1, 2)
    assert np.allclose(averaged(x).detach().numpy(), 9.0) and np.allclose(model(x).detach().numpy(), 18.0)


@pytest.mark.parametrize("multi", [False, True])
def test_exponential_averages(multi: bool) -> None:
    model = nn.Linear(1, 1, bias=False)
    if multi:
        averaged = swa_utils.AveragedModel(model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.75))
    else:
        averaged = swa_utils.AveragedModel(model, avg_fn=swa_utils.get_ema_avg_fn(0.75))
    for value in (4.0, 8.0, 0.0):
        fill(model, value)
        averaged.update_parameters(model)
    assert averaged.module.weight.item() == pytest.approx(0.75 * (0.75 * 4 + 0.25 * 8))


def test_buffers_are_copied_or_averaged() -> None:
    model = nn.BatchNorm1d(2)
    copied, averaged = swa_utils.AveragedModel(model), swa_utils.AveragedModel(model, use_buffers=True)
    for value in (1.0, 3.0):
        model.running_mean.fill_(value)
        copied.update_parameters(model)
        averaged.update_parameters(model)
    assert copied.module.running_mean.tolist() == [3.0, 3.0]
    assert averaged.module.running_mean.tolist() == [2.0, 2.0]


def test_update_bn_computes_the_statistics_of_one_pass() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))
    model.eval()
    data = numtorch.arange(24.0).reshape(8, 3)
    swa_utils.update_bn([(data[:4], "label"), (data[4:], "label")], model)
    halves = data.numpy().reshape(2, 4, 3)
    assert np.allclose(model[0].running_mean.numpy(), halves.mean((0, 1)))
    assert np.allclose(model[0].running_var.numpy(), halves.var(1, ddof=1).mean(0))
    assert model[0].momentum == 0.1 and not model.training


def test_wrong_options() -> None:
    with pytest.raises(ValueError, match=r"Invalid decay value 1\.5"):
        swa_utils.get_ema_avg_fn(1.5)
    with pytest.raises(AssertionError, match="Only one of avg_fn and multi_avg_fn"):
        swa_utils.AveragedModel(nn.Linear(1, 1), avg_fn=max, multi_avg_fn=max)
    opt = numtorch.optim.SGD([numtorch.zeros(1, requires_grad=True)], lr=1.0)
    with pytest.raises(ValueError, match="anneal_strategy must be one of"):
        swa_utils.SWALR(opt, 0.1, anneal_strategy="steps")
