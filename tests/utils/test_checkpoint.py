"""utils.checkpoint: the same gradients, computed again."""

from __future__ import annotations

import pytest

import numtorch as torch
import numtorch.nn.functional as F
from numtorch import nn
from numtorch.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 3))


def gradients(run):
    model = network()
    x = torch.linspace(-1, 1, 24).reshape(4, 6).requires_grad_()
    run(model, x).square().sum().backward()
    return [x.grad, *[p.grad for p in model.parameters()]]


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_same_gradients(use_reentrant):
    want = gradients(lambda m, x: m(x))
    have = gradients(lambda m, x: checkpoint(m, x, use_reentrant=use_reentrant))
    assert all(torch.equal(a, b) for a, b in zip(have, want))
    parts = gradients(lambda m, x: checkpoint_sequential(m, 3, x))
    assert all(torch.equal(a, b) for a, b in zip(parts, want))


def test_activations_are_not_kept_but_computed_again():
    calls = []

    def f(x):
        calls.append(1)
        return x.exp().sin().exp()

    x = torch.ones(3, requires_grad=True)
    y = checkpoint(f, x)
    assert len(calls) == 1
    y.sum().backward()
    assert len(calls) == 2
    with torch.no_grad():
        checkpoint(f, x)
    assert len(calls) == 3


def test_dropout_draws_the_same_numbers_again():
    torch.manual_seed(3)
    x = torch.ones(50, requires_grad=True)
    y = checkpoint(lambda t: F.dropout(t * 2, 0.5), x)
    torch.rand(7)
    y.sum().backward()
    assert torch.equal(x.grad != 0, y != 0)


def test_second_derivative_and_two_backwards():
    x = torch.tensor([0.3, 0.7], requires_grad=True)
    (g,) = torch.autograd.grad(checkpoint(lambda t: t.sin().exp(), x).sum(), x, create_graph=True)
    (h,) = torch.autograd.grad(g.sum(), x)
    want = (x.cos() ** 2 - x.sin()) * x.sin().exp()
    assert torch.allclose(h, want)
    y = checkpoint(lambda t: t.exp().sin(), x).sum()
    y.backward(retain_graph=True)
    once = x.grad.clone()
    y.backward()
    assert torch.allclose(x.grad, 2 * once)


def test_another_second_run_is_an_error():
    runs = []

    def changing(x):
        runs.append(1)
        return x.exp() if len(runs) == 1 else x.exp().sin().exp()

    y = checkpoint(changing, torch.ones(2, requires_grad=True))
    with pytest.raises(CheckpointError, match="it must do the same each time"):
        y.sum().backward()


def test_arguments():
    with pytest.raises(ValueError, match="expected 1 to 6 segments for 6 layers, got 9"):
        checkpoint_sequential(network(), 9, torch.ones(2, 6))
    with pytest.raises(ValueError, match="determinism_check"):
        checkpoint(lambda x: x, torch.ones(1), determinism_check="maybe")


@pytest.mark.parametrize("whole", [True, False], ids=["step", "forward"])
def test_a_trace_draws_the_same_numbers_in_the_second_run(whole):
    def network():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 1))

    def losses(trace):
        net, x = network(), torch.ones(2, 4)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

        def forward(x):
            return checkpoint(net, x, use_reentrant=False).square().sum()

        def step(x):
            optimizer.zero_grad()
            loss = (forward if whole else first)(x)
            loss.backward()
            optimizer.step()
            return loss

        first = torch.jit.trace(forward, (x,)) if trace else forward
        function = torch.jit.trace(step, (x,)) if trace and whole else step
        torch.manual_seed(2)
        found = [float(function(x).detach()) for _ in range(5)]
        assert not trace or all(not p.path.guards for p in (function if whole else first).paths())
        return found

    assert losses(True) == losses(False)
