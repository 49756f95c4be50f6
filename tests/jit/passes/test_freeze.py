"""freeze: weights as constants."""

import numpy as np
import pytest

import numtorch as torch
from numtorch import jit, nn


def network():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16),
        nn.Flatten(), nn.Linear(16 * 36, 32), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip
    for _ in range(3):
        model(torch.randn(4, 3, 8, 8))
    return model.eval()


def names(traced):
    return [op.entry.name for op in traced.paths()[0].program.ops]


@pytest.mark.parametrize("of", ["module", "trace"])
def test_frozen_network_equals_its_model(of):
    model, x = network(), torch.randn(4, 3, 8, 8)
    frozen = jit.freeze(model if of == "module" else jit.trace(model, x))
    y = frozen(x)
    np.testing.assert_allclose(y.numpy(), model(x).detach().numpy(), rtol=1e-5, atol=1e-6)
    assert names(frozen) == ["convolution+relu", "convolution", "matmul+relu (packed)", "matmul"]
    assert not y.requires_grad


def test_frozen_network_takes_other_batch_sizes():
    model = network()
    frozen = jit.freeze(model)
    for n in (1, 4, 7):
        x = torch.randn(n, 3, 8, 8)
        np.testing.assert_allclose(frozen(x).numpy(), model(x).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_changes_of_the_model_are_not_seen():
    model, x = network(), torch.randn(4, 3, 8, 8)
    frozen = jit.freeze(model)
    before = frozen(x)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3)
    assert frozen(x).tolist() == before.tolist()
    assert frozen(x[:2]).tolist() == before[:2].tolist() or np.allclose(frozen(x[:2]).numpy(), before[:2].numpy(), atol=1e-5)


def test_gradients_reach_the_input():
    model, x = network(), torch.randn(2, 3, 8, 8, requires_grad=True)
    y = torch.randn(2, 3, 8, 8)
    y.copy_(x.detach())
    y.requires_grad_()
    model(x).sum().backward()
    jit.freeze(model)(y).sum().backward()
    np.testing.assert_allclose(y.grad.numpy(), x.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_exact_rewritings_only():
    model, x = network(), torch.randn(4, 3, 8, 8)
    frozen = jit.freeze(model, optimize_numerics=False)
    assert frozen(x).tolist() == model(x).tolist()
    assert "batch_norm_evaluation" in names(frozen)


def test_training_mode_is_refused():
    with pytest.raises(RuntimeError, match="Please call .eval"):
        jit.freeze(network().train())
    with pytest.raises(TypeError, match="expected a module or the trace of one, got function"):
        jit.freeze(lambda x: x)


def test_batch_norm_whose_input_is_read_elsewhere_stays():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            y = self.conv(x)
            return self.norm(y) + y

    model, x = Both().eval(), torch.randn(1, 1, 6, 6)
    frozen = jit.freeze(model)
    assert frozen(x).tolist() == model(x).tolist()
    assert names(frozen)[0] == "convolution"
