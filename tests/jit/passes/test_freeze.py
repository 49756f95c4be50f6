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


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_weights_of_recurrent_layers_are_packed_once(kind):
    """Also where the trace is otherwise exact: the bits stay."""
    torch.manual_seed(0)
    layer, x = getattr(nn, kind)(6, 20, batch_first=True, bidirectional=True).eval(), torch.randn(5, 5, 6)
    frozen = jit.freeze(layer, optimize_numerics=False)
    for n in (5, 2):  # the weight of the input inside the kernel, and before it
        (y, _), (wanted, _) = frozen(x[:n]), layer(x[:n])
        assert y.tolist() == wanted.tolist() and names(frozen).count("recurrent") == 2 and "pack" not in names(frozen)
    again = torch.randn(5, 5, 6, requires_grad=True)
    same = again.detach().clone().requires_grad_()
    frozen(again)[0].sum().backward()
    layer(same)[0].sum().backward()
    np.testing.assert_allclose(again.grad.numpy(), same.grad.numpy(), rtol=1e-5, atol=1e-6)


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


def residual(batch):
    torch.manual_seed(0)
    conv1, conv2 = nn.Conv2d(32, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2, self.out = conv1, conv2, nn.Conv2d(64, 40, 3, padding=1)

        def forward(self, x):
            return self.out(torch.relu(self.conv2(torch.relu(self.conv1(x)) + x)))

    return Block().eval(), torch.randn(batch, 32, 16, 16)


@pytest.mark.parametrize("batch", [1, 12])
def test_weights_of_convolutions_are_packed_once(batch):
    model, x = residual(batch)
    frozen = jit.freeze(model)
    np.testing.assert_allclose(frozen(x).numpy(), model(x).detach().numpy(), rtol=1e-4, atol=1e-5)
    ops = frozen.paths()[0].program.ops
    assert {op.entry.name for op in ops} == {
        "convolution+relu (packed)+add", "convolution+relu (packed)", "convolution (packed)"
    }  # the packing itself is done  # fmt: skip
    assert all("winograd_conv" in repr(la.kernel) for op in ops for la in op.entry.launches or ())
    same = jit.freeze(model, optimize_numerics=False)
    np.testing.assert_array_equal(same(x).numpy(), model(x).detach().numpy())


def test_frozen_convolutions_give_the_same_bits_on_any_number_of_threads():
    model, x = residual(12)
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3, 8):
            torch.set_num_threads(count)
            frozen = jit.freeze(model)
            found.append(frozen(x).numpy().tobytes())
            parts = [note.split(": ")[1] for line in frozen.passes if line.name == "batches" for note in line.notes]
            assert parts == (["6 parts"] if count in (2, 3) else [])
    finally:
        torch.set_num_threads(before)
    assert len(set(found)) == 1
    one = torch.cat([jit.freeze(model)(x[i : i + 1]) for i in range(12)])
    assert one.numpy().tobytes() == found[0]


def test_parts_whose_weights_would_be_packed_otherwise_are_not_made():
    torch.manual_seed(0)
    model, before = nn.Sequential(nn.Conv2d(200, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 24, 3)).eval(), torch.get_num_threads()
    x = torch.randn(8, 200, 14, 13)
    try:
        found = []
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(jit.freeze(model)(x).numpy().tobytes())
        torch.set_num_threads(2)
        with jit.passes.disable("batches"):
            found.append(jit.freeze(model)(x).numpy().tobytes())
    finally:
        torch.set_num_threads(before)
    assert len(set(found)) == 1
