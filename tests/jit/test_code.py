"""``traced.code``: the source runs, and gives what the replay gives."""

from __future__ import annotations

import numpy as np
import pytest

import numtorch as torch
from numtorch import jit, nn

F = nn.functional


def array(t):
    return t.detach().numpy().copy()


def check_close(a, b):
    """Equal, or off by some units in the last place where one kernel became several ops."""
    np.testing.assert_allclose(array(a), array(b), rtol=1e-6, atol=1e-6)


def check(function, *inputs, exact=True):
    """The code's result (and gradients) against the replay's."""
    traced = jit.trace(function, inputs)
    code = traced.code
    want = traced(*inputs)
    have = code.function()(*inputs)
    if isinstance(have, tuple) and callable(have[-1]):
        have, backward = have
        leaves = traced.paths()[0].leaf_tensors(inputs)
        g = torch.randn(want.shape)
        for a, b in zip(torch.autograd.grad(want, leaves, g), backward(g)):
            check_close(a, b)
    (np.testing.assert_array_equal if exact else np.testing.assert_allclose)(array(have), array(want))
    return code


def test_views_are_written_as_views():
    def f(x):
        y = x.t()[1:3].reshape(-1) + x[:, 1:2].expand(3, 2).flatten() * x[0, 1]
        return y.view(3, 2).permute(1, 0) @ x.unsqueeze(0).transpose(0, 1).squeeze(1)

    code = check(f, torch.arange(12.0).reshape(3, 4))
    assert ".view(" in code and "def f(input0, captured):" in code and "# test_code.py:" in code


def test_public_functions_and_formulas():
    x = torch.randn(3, 4, requires_grad=True)
    code = check(lambda x: (torch.tanh(x * 2 + 1).square() - x.sigmoid()).sum(0), x)
    assert "gradient0.expand(3, 4)" in code and "torch.tanh(" in code and "* 2" in code and "def tanh_grad(" in code and "def backward(gradient0):" in code


MODELS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 3)), (5, 4)),
    "conv": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.SiLU(), nn.AvgPool2d(2), nn.GroupNorm(1, 3)), (2, 2, 6, 6)),
    "attention": (lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), (2, 5, 8)),
    "gru": (lambda: Last(nn.GRU(3, 4, batch_first=True)), (2, 5, 3)),
    "lstm": (lambda: Last(nn.LSTM(3, 4, bidirectional=True)), (5, 2, 3)),
    "activations": (lambda: nn.Sequential(nn.ELU(), nn.Softplus(), nn.Hardswish(), nn.Mish(), nn.LogSoftmax(1)), (3, 7)),
}  # fmt: skip


class Last(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)[0]


@pytest.mark.parametrize("name", MODELS)
def test_models_forward_and_backward(name):
    torch.manual_seed(0)
    make, shape = MODELS[name]
    net, x = make(), torch.randn(shape, requires_grad=True)
    traced = jit.trace(net, (x,))
    out, backward = traced.code.function()(x)
    want = traced(x)
    check_close(out, want)
    g = torch.randn(want.shape)
    leaves = traced.paths()[0].leaf_tensors((x,))
    for a, b in zip(torch.autograd.grad(want, leaves, g), backward(g)):
        check_close(a, b)


OPTIMIZERS = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "nesterov": True}, "Adam": {"lr": 0.1}, "AdamW": {"lr": 0.1, "amsgrad": True},
    "RMSprop": {"lr": 0.1, "centered": True}, "Adagrad": {"lr": 0.1}, "RAdam": {"lr": 0.1}, "NAdam": {"lr": 0.1},
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_training_step_with_its_update(name):
    ends = []
    for use_code in (False, True):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3))
        optimizer = getattr(torch.optim, name)(net.parameters(), **OPTIMIZERS[name])
        x, y = torch.randn(5, 4), torch.tensor([0, 1, 2, 1, 0])

        def step(x, y, net=net, optimizer=optimizer):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            return loss

        traced = jit.trace(step, (x, y))
        call = traced.code.function() if use_code else traced
        losses = [call(x, y).item() for _ in range(4)]
        ends.append((losses, net, optimizer))
    (a, net, _), (b, other, _) = ends
    np.testing.assert_allclose(a, b, rtol=1e-5)
    for p, q in zip(net.parameters(), other.parameters()):
        np.testing.assert_allclose(array(p), array(q), rtol=1e-4, atol=1e-6)
        check_close(p.grad, q.grad)
    for p, q in zip(net.buffers(), other.buffers()):
        np.testing.assert_allclose(array(p), array(q), rtol=1e-5)


def test_numbers_are_read_when_the_function_is_called():
    p = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([p], lr=0.5)

    def step(x):
        optimizer.zero_grad()
        (p * x).sum().backward()
        optimizer.step()

    code = jit.trace(step, (torch.ones(2),)).code
    run = code.function()
    run(torch.ones(2))
    optimizer.param_groups[0]["lr"] = 0.25
    run(torch.ones(2))
    assert p.tolist() == [0.25, 0.25] and "numbers['lr']" in code


def test_structures_guards_and_in_place():
    def f(a, b):
        a.mul_(2.0)
        k = b.sum().item()
        return {"x": [a * k, None, (b,)], "n": 3}

    traced = jit.trace(f, (torch.ones(2), torch.ones(3)))
    run = traced.code.function()
    a, b = torch.ones(2), torch.ones(3)
    out = run(a, b)
    assert out["x"][0].tolist() == [6, 6] and out["x"][2][0] is b and out["n"] == 3 and a.tolist() == [2, 2]
    with pytest.raises(AssertionError, match="another way"):
        run(a, b * 2)


def test_nothing_recorded():
    with pytest.raises(RuntimeError, match="recorded nothing"):
        _ = jit.trace(lambda x: x).code
