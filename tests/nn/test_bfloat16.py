"""Modules in bfloat16: conversion, training eager and traced, recurrent layers, attention, norms with float32 parameters."""

from __future__ import annotations

import pytest

import numtorch as torch
from numtorch.nn import functional as F

BF = torch.bfloat16


def randn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).bfloat16()


def network():
    torch.manual_seed(0)
    nn = torch.nn
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.LayerNorm(36), nn.Linear(36, 3))


def test_modules_are_converted():
    net = network()
    weight = net[0].weight.detach().clone()
    assert net.to(BF) is net and {t.dtype for t in net.state_dict().values()} == {BF, torch.int64}
    assert torch.equal(net[0].weight.float(), weight.bfloat16().float()) and net.float()[0].weight.dtype is torch.float32
    assert all(p.dtype is BF for p in network().bfloat16().parameters())


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW", "RMSprop"])
def test_training_in_bfloat16_eager_and_traced(optimizer):
    x, target = randn(8, 1, 8, 8), torch.arange(8) % 3

    def losses(trace):
        net = network().bfloat16()
        chosen = getattr(torch.optim, optimizer)(net.parameters(), lr=0.01, **({"momentum": 0.9} if optimizer == "SGD" else {}))

        def step(x):
            chosen.zero_grad()
            loss = F.cross_entropy(net(x), target)
            loss.backward()
            chosen.step()
            return loss

        run = torch.jit.trace(step) if trace else step
        found = [run(x).item() for _ in range(6)]
        assert net[0].weight.grad.dtype is net[0].weight.dtype is BF
        return found

    eager = losses(False)
    assert losses(True) == eager and eager[-1] < eager[0]


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("d", [BF, torch.float16])
def test_recurrent_layers(kind, d):
    torch.manual_seed(0)
    layer = getattr(torch.nn, kind)(5, 3, num_layers=2, batch_first=True)
    x = randn(2, 4, 5).float()
    want = layer(x)[0]
    y, h = layer.to(d)(x.to(d))
    y.sum().backward()
    assert y.dtype is (h[0] if kind == "LSTM" else h).dtype is layer.weight_ih_l0.grad.dtype is d
    assert torch.allclose(y.float(), want, atol=0.03)


def test_attention_and_transformers():
    torch.manual_seed(0)
    layer, x = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0), randn(2, 5, 8)
    want = layer(x.float())
    have = layer.bfloat16()(x)
    assert have.dtype is BF and torch.allclose(have.float(), want, atol=0.06)
    q = randn(1, 2, 5, 8)
    assert torch.allclose(F.scaled_dot_product_attention(q, q, q, is_causal=True).float(), F.scaled_dot_product_attention(*[q.float()] * 3, is_causal=True), atol=0.03)


@pytest.mark.parametrize("norm", [torch.nn.BatchNorm1d, torch.nn.LayerNorm, lambda n: torch.nn.GroupNorm(2, n)])
def test_norms_with_parameters_of_float32(norm):
    layer, x = norm(6), randn(4, 6)
    y = layer(x)
    y.sum().backward()
    assert y.dtype is BF and layer.weight.grad.dtype is torch.float32
    with pytest.raises(RuntimeError, match="the same dtype"):
        layer.double()(x)
