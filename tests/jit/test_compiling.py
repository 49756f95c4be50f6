"""numtorch.compile."""

from __future__ import annotations

import pytest

import numtorch as torch
from numtorch import nn


def test_function_and_decorator():
    def f(x, k=2.0):
        return (x * k).sin().sum()

    x = torch.rand(5)
    for made in (torch.compile(f), torch.compile(mode="max-autotune")(f)):
        assert torch.equal(made(x), f(x)) and torch.equal(made(x, k=3.0), f(x, k=3.0))
    assert torch.compile(f, disable=True) is f


def test_module_stays_a_module():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))
    model = torch.compile(plain)
    assert isinstance(model, nn.Module) and len(list(model.parameters())) == 6
    assert next(iter(model.state_dict())) == "_orig_mod.0.weight"
    x = torch.rand(6, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    assert plain[0].weight.grad is not None
    model.eval()
    assert not plain.training and torch.equal(model(x), plain(x))
    model.train()
    assert plain[3].training


def test_what_cannot_be_compiled():
    with pytest.raises(TypeError, match="expected a function or a module, got int"):
        torch.compile(3)
