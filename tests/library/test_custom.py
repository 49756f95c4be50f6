"""Whole kernels and functions of users as one op."""

from __future__ import annotations

import numba
import numpy as np
import pytest

import numtorch as torch
from numtorch.library import OpCheckError, custom_op, opcheck


@custom_op("tests::smooth", shape=lambda x, k: x.shape)
@numba.njit(error_model="numpy")
def smooth(x, k, out):
    """Each row's running mean over 2k + 1 places (fewer at the ends), with the adjoint's symmetry."""
    for r in range(x.shape[0]):
        for i in range(x.shape[1]):
            s = out.dtype.type(0)
            for j in range(max(i - k, 0), min(i + k + 1, x.shape[1])):
                s += x[r, j]
            out[r, i] = s / (2 * k + 1)


def smooth_setup(ctx, inputs, output):
    ctx.k = inputs[1]


smooth.register_autograd(lambda ctx, g: (smooth(g, ctx.k), None), setup_context=smooth_setup)


@custom_op("tests::divmod", shape=lambda a, b: (a.shape, (a.shape, torch.int64)))
@numba.njit(error_model="python")
def divide(a, b, fraction, whole):
    for i in range(a.size):
        if b[i] == 0:
            raise ZeroDivisionError("no quotient")
        whole[i] = int(a[i] // b[i])
        fraction[i] = a[i] / b[i] - whole[i]


def test_battery():
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert set(opcheck(smooth, (x, 2)).values()) == {"SUCCESS"}


def test_values_and_several_outputs():
    x = np.random.default_rng(0).standard_normal((4, 9)).astype(np.float32)
    want = np.empty_like(x)
    smooth.function(x, 1, want)
    np.testing.assert_array_equal(smooth(torch.tensor(x), k=1).numpy(), want)
    fraction, whole = divide(torch.tensor([7.0, 9.0]), torch.tensor([2.0, 4.0]))
    assert fraction.tolist() == [0.5, 0.25] and whole.tolist() == [3, 2] and whole.dtype is torch.int64


def test_one_native_node_in_a_trace():
    x = torch.rand(5, 16)
    traced = torch.jit.trace(lambda t: smooth(t * 2, 3).relu().sum(1), (x,))
    other = torch.rand(5, 16)
    assert torch.equal(traced(other), smooth(other * 2, 3).relu().sum(1))
    assert "tests::smooth" in str(traced.graph)
    assert torch.equal(traced(other.repeat(2, 1)), smooth(other.repeat(2, 1) * 2, 3).relu().sum(1))


def test_training_step_traced():
    w = torch.full((8, 8), 0.1, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.05)

    def step(x):
        optimizer.zero_grad()
        loss = (smooth(x @ w, 1) - x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    x = torch.linspace(-1, 1, 48).reshape(6, 8)
    start = w.detach().clone()
    eager = [step(x).item() for _ in range(5)]
    with torch.no_grad():
        w.copy_(start)
    traced = torch.jit.trace(step, (x,), check_trace=False)
    with torch.no_grad():
        w.copy_(start)
    assert [traced(x).item() for _ in range(5)] == eager


def test_a_function_that_cannot_raise_is_not_checked():
    x = torch.rand(2, 4)
    smooth(x, 1)
    assert not smooth._raises
    divide(x[0], x[1])
    assert divide._raises


def test_exceptions_rise_eager_and_replayed():
    a, zero = torch.ones(2), torch.zeros(2)
    with pytest.raises(ZeroDivisionError, match="no quotient"):
        divide(a, zero)
    traced = torch.jit.trace(lambda p, q: divide(p + 1, q)[0], (a, a))
    assert traced(a * 2, a * 2).tolist() == [0.5, 0.5]
    with pytest.raises((ZeroDivisionError, RuntimeError)):
        traced(a, zero)
    assert traced(a * 2, a * 2).tolist() == [0.5, 0.5]


@custom_op("tests::scaled_sin", mutates_args=())
def scaled_sin(x: torch.Tensor, scale: float = 2.0) -> torch.Tensor:
    return x.sin() * scale


@scaled_sin.register_fake
def _(x, scale=2.0):
    return torch.empty_like(x)


def sine_setup(ctx, inputs, output):
    ctx.save_for_backward(inputs[0])
    ctx.scale = inputs[1]


def sine_backward(ctx, g):
    (x,) = ctx.saved_tensors
    return g * x.cos() * ctx.scale, None


def test_function_on_tensors():
    x = torch.rand(4, requires_grad=True)
    with pytest.raises(RuntimeError, match="has no derivative; give one with register_autograd"):
        scaled_sin(x)
    scaled_sin.register_autograd(sine_backward, setup_context=sine_setup)
    assert set(opcheck(scaled_sin, (x, 3.0)).values()) == {"SUCCESS"}
    assert "scaled_sinBackward" in repr(scaled_sin(x).grad_fn)


def test_mistakes_get_a_sentence():
    @numba.njit
    def fill(x, out):
        out[:] = x

    with pytest.raises(ValueError, match='expected a name like "mylib::blur"'):
        custom_op("fill", fill)
    with pytest.raises(TypeError, match="needs its shape rule"):
        custom_op("tests::fill", fill)
    with pytest.raises(TypeError, match="it must take more"):
        custom_op("tests::fill", fill, shape=lambda x, y: x.shape)
    with pytest.raises(TypeError, match="the shape rule returned 'x'"):
        custom_op("tests::fill", fill, shape=lambda x: "x")(torch.ones(2))
    op = custom_op("tests::two_grads", fill, shape=lambda x: x.shape)
    op.register_autograd(lambda ctx, g: (g, g))
    with pytest.raises(RuntimeError, match="returned 2 gradient.*expected 1: one for each of x"):
        op(torch.ones(2, requires_grad=True)).sum().backward()
    wide = custom_op("tests::wide", fill, shape=lambda x: (x.shape, torch.float64))
    with pytest.raises(OpCheckError, match="output 0 is float64 for float32 operands"):
        opcheck(wide, [torch.ones(3)])


def test_wrong_shape_rule_of_a_python_function():
    op = custom_op("tests::halved", lambda x: x[:1])
    op.register_fake(lambda x: torch.empty_like(x))
    with pytest.raises(RuntimeError, match=r"output 0 is numtorch\.float32\[1\], its shape rule says numtorch\.float32\[2\]"):
        op(torch.ones(2))
