"""Max pooling in traces: relu before it, no places that nobody reads, the same bits and gradients."""

import numpy as np
import pytest

import numtorch as torch
from numtorch import jit, nn

F = nn.functional


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def notes(traced):
    return [note for line in traced.passes if line.name == "pooling" for note in line.notes]


def names(traced):
    return [op.entry.name for op in traced.paths()[0].program.ops]


def pooled(size=2, **options):
    conv = nn.Conv2d(2, 3, 3)
    return conv, lambda x: F.relu(F.max_pool2d(conv(x), size, **options)).flatten(1)


@pytest.mark.parametrize("shape", [(2, 2, 12, 12), (1, 2, 9, 7), (3, 2, 40, 21)])
def test_relu_goes_before_the_pooling_and_places_are_left_out(shape):
    _, f = pooled()
    with torch.no_grad():
        traced = jit.trace(f, torch.randn(*shape))
        assert names(traced) == ["convolution+relu", "max_pool_values"] and len(notes(traced)) == 2
        assert "max_pool_2x2_values" in repr(traced.paths()[0].program.ops[1].entry.launches)
        x = torch.randn(*shape)
        assert traced(x).numpy().tobytes() == f(x).numpy().tobytes()
        x[0, 0, 0, 0] = float("nan")
        x[0, 1, -1, -1] = float("inf")
        np.testing.assert_array_equal(traced(x).numpy(), f(x).numpy())


def test_other_windows_keep_their_kernel():
    _, f = pooled(3, stride=2, padding=1)
    with torch.no_grad():
        x = torch.randn(2, 2, 12, 12)
        traced = jit.trace(f, x)
        assert names(traced) == ["convolution+relu", "max_pool_values"]
        assert traced(x).numpy().tobytes() == f(x).numpy().tobytes()


def train(f, conv, passes=None, hook=False):
    conv.weight.grad = None
    x = torch.linspace(-1, 1, 288).reshape(1, 2, 12, 12)

    def step(x):
        conv.zero_grad()
        (f(x) ** 2).sum().backward()
        return conv.weight.grad

    traced = jit.trace(step, x, passes=passes)
    return traced, traced(x).numpy().copy(), step(x).numpy().copy()


def test_gradients_go_to_the_same_places():
    conv, f = pooled()
    with torch.no_grad():
        conv.bias.copy_(torch.tensor([-5.0, 0.0, 0.2]))  # windows without a positive value, too
    traced, replayed, eager = train(f, conv)
    assert notes(traced) and "convolution+relu" in names(traced)
    assert replayed.tobytes() == eager.tobytes()


def test_a_gradient_that_is_changed_between_stays_where_it_was():
    conv = nn.Conv2d(2, 3, 3)

    def f(x):
        y = F.max_pool2d(conv(x), 2)
        y.register_hook(lambda g: g + 1)
        return F.relu(y)

    with torch.no_grad():
        conv.bias.fill_(-5.0)
    traced, replayed, eager = train(f, conv)
    assert not notes(traced) and replayed.tobytes() == eager.tobytes()


def test_values_and_places_that_are_read_elsewhere_stay():
    conv = nn.Conv2d(2, 3, 3)
    x = torch.randn(2, 2, 12, 12)

    def places(x):
        y, at = F.max_pool2d(conv(x), 2, return_indices=True)
        return F.relu(y), at

    def values(x):
        y = F.max_pool2d(conv(x), 2)
        return F.relu(y), y

    def before(x):
        z = conv(x)
        return F.relu(F.max_pool2d(z, 2)), z

    with torch.no_grad():
        for f in (places, values, before):
            traced = jit.trace(f, x)
            assert not any("relu" in note for note in notes(traced))
            for a, b in zip(traced(x), f(x)):
                assert a.numpy().tobytes() == b.numpy().tobytes()


def test_operands_in_another_layout():
    """Kernels that read a contiguous copy of an operand are not planned anew from the operand."""
    conv = nn.Conv2d(2, 3, 3)
    functions = [
        lambda x: F.max_pool2d(x.transpose(2, 3) * 2, 2),
        lambda x: F.max_pool2d((x * 2).transpose(2, 3), 2),
        lambda x: F.relu(conv((x * 2).transpose(2, 3))),
        lambda x: F.relu(F.max_pool2d(conv((x * 2).transpose(2, 3)), 2)),
    ]
    with torch.no_grad():
        for f in functions:
            x = torch.randn(2, 2, 12, 10)
            assert jit.trace(f, x)(x).numpy().tobytes() == f(x).numpy().tobytes()
