"""Anomaly mode names the op, the line and the module where a NaN was born."""

from __future__ import annotations

import pytest

import numtorch as torch
from numtorch.autograd.anomaly import AnomalyError


def test_nan_in_backward_names_function_and_line():
    x = torch.tensor([0.0, 1.0], requires_grad=True)
    with pytest.warns(UserWarning, match="SqrtBackward0"), torch.autograd.detect_anomaly(check_forward=False):
        y = (x.sqrt() * 0.0).sum()  # the culprit's line
        with pytest.raises(RuntimeError, match="SqrtBackward0.*nan") as error:
            y.backward()
    assert "the culprit's line" in str(error.value) and "Hint" in str(error.value)


def test_nan_in_forward_names_the_op_and_its_inputs():
    x = torch.tensor([1.0, -2.0])
    with torch.autograd.detect_anomaly(), pytest.raises(AnomalyError, match="'log'.*nan") as error:
        torch.log(x)
    assert "first at (1,)" in str(error.value) and "-2.0" in str(error.value)


def test_nan_that_came_in_is_not_blamed_on_an_op():
    x = torch.tensor([float("nan"), 1.0])
    with torch.autograd.detect_anomaly():
        assert torch.isnan(x * 2).tolist() == [True, False]


def test_infinities_on_request():
    x = torch.tensor([1000.0])
    with torch.autograd.detect_anomaly():
        torch.exp(x)
    with torch.autograd.detect_anomaly(check_inf=True), pytest.raises(AnomalyError, match="'exp'.*inf"):
        torch.exp(x)


def test_module_path_is_named():
    class Log(torch.nn.Module):
        def forward(self, x):
            return torch.log(x)

    net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Sequential(Log()))
    with torch.autograd.detect_anomaly(), pytest.raises(AnomalyError, match=r"module Sequential\.1\.0"):
        net(torch.tensor([-1.0]))


def test_traced_functions_are_looked_into():
    traced = torch.jit.trace(lambda x: torch.log(x) * 2, torch.ones(2))
    with torch.autograd.detect_anomaly(), pytest.raises(AnomalyError, match="'log'"):
        traced(torch.tensor([-1.0, 1.0]))


def test_set_detect_anomaly_and_restoring():
    assert not torch.is_anomaly_enabled()
    with torch.autograd.set_detect_anomaly(True):
        assert torch.is_anomaly_enabled() and torch.is_anomaly_check_nan_enabled()
    assert not torch.is_anomaly_enabled()
    torch.autograd.set_detect_anomaly(True)
    assert torch.is_anomaly_enabled()
    torch.autograd.set_detect_anomaly(False)
    assert not torch.is_anomaly_enabled()


def test_clean_training_passes():
    w = torch.ones(3, requires_grad=True)
    with torch.autograd.detect_anomaly():
        (w * 2).exp().sum().backward()
    assert w.grad is not None


def test_backward_functions_are_named_with_forward_checks_on_too():
    x = torch.ones(3, requires_grad=True)
    with torch.autograd.detect_anomaly(), pytest.warns(UserWarning, match="Traceback of forward call"):
        y = (x - x.detach()).pow(2).sum().sqrt()
        with pytest.raises(RuntimeError, match="Backward0' returned nan values in its 0th output"):
            y.backward()
