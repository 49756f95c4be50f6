"""Users' scalar functions as ops: values, derivatives of any order, branches, mistakes."""

from __future__ import annotations

import math

import numpy as np
import pytest

import numtorch as torch
from numtorch.library import opcheck

HALF = 0.5


@torch.elementwise
def bump(x, width):
    """Smooth, zero outside of ``width``."""
    return math.exp(-1.0 / (1.0 - (x / width) ** 2)) if abs(x) < width else 0.0


@torch.elementwise
def horner(x, y=2.0):
    s = 0.0
    for k in range(4):
        s = s * x + (k + 1)
    if x > y:
        return s
    elif x < 0:
        s += math.sin(y)
    return s * math.sqrt(abs(x) + 1) + np.tanh(y) ** 3 + max(x, y, 0.3)


def helper(a, b):
    return a * b, a - b


@torch.elementwise
def with_helper(g, v):
    p, q = helper(g, HALF)
    return p * math.log1p(v * v) if q > 0 and not v < 0 else q**3 - v / (1.5 + g * g)


@torch.elementwise
def two(a, b):
    return a * b, a / b


@torch.elementwise
def other_ops(x):
    return torch.sigmoid(x) * bump(x, 3.0) + torch.where(x > 0, torch.erf(x), x)


OPS = {"bump": (bump, 2), "horner": (horner, 2), "with_helper": (with_helper, 2), "two": (two, 2), "other_ops": (other_ops, 1)}


@pytest.mark.parametrize("name", OPS)
def test_battery(name):
    op, count = OPS[name]
    rng = torch.Generator().manual_seed(3)
    a = torch.rand(4, 5, generator=rng, dtype=torch.float64) * 1.2 + 0.2
    b = torch.rand(5, generator=rng, dtype=torch.float64) + 1.6
    args = [t.requires_grad_() for t in (a, b)[:count]]
    assert set(opcheck(op, args).values()) == {"SUCCESS"}


@pytest.mark.parametrize("name", ["bump", "horner", "with_helper"])
def test_values_are_those_of_the_function(name):
    op, _ = OPS[name]
    xs = np.linspace(-3.1, 3.3, 40)
    ys = np.linspace(0.7, 2.9, 40)
    want = [op.function(float(x), float(y)) for x, y in zip(xs, ys)]
    have = op(torch.tensor(xs), torch.tensor(ys))
    np.testing.assert_allclose(have.numpy(), want, rtol=1e-13, atol=1e-15)


def test_a_branch_that_is_infinite_elsewhere_does_no_harm():
    @torch.elementwise
    def root(x):
        return math.sqrt(x) if x > 0 else 0.0

    x = torch.tensor([0.0, 4.0, -1.0], requires_grad=True)
    root(x).sum().backward()
    assert x.grad.tolist() == [0.0, 0.25, 0.0]


def test_fuses_in_a_trace():
    x = torch.linspace(-1, 1, 50)
    traced = torch.jit.trace(lambda t: (bump(t * 2, 1.5) + 1).relu(), (x,))
    assert torch.equal(traced(x), (bump(x * 2, 1.5) + 1).relu())


def test_training_step_with_an_own_activation():
    @torch.elementwise
    def swish(x, beta):
        return x / (1.0 + math.exp(-beta * x))

    w = torch.full((3, 3), 0.4, requires_grad=True)
    beta = torch.tensor(1.5, requires_grad=True)
    optimizer = torch.optim.SGD([w, beta], lr=0.5)

    def step(x):
        optimizer.zero_grad()
        loss = (swish(x @ w, beta) - 1).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    x = torch.linspace(-1, 1, 12).reshape(4, 3)
    traced = torch.jit.trace(step, (x,), check_trace=False)
    losses = [traced(x).item() for _ in range(60)]
    assert losses[-1] < 0.8 * losses[0] and beta.grad is not None


def test_whole_numbers_and_conditions():
    @torch.elementwise
    def clipped(x):
        return min(max(x, -2), 2)

    @torch.elementwise
    def near(a, b):
        return abs(a - b) < 0.5

    assert clipped(torch.arange(-4, 5)).dtype is torch.int64
    assert clipped(torch.arange(-4, 5)).tolist() == [-2, -2, -2, -1, 0, 1, 2, 2, 2]
    assert near(torch.zeros(2), torch.tensor([0.4, 0.6])).tolist() == [True, False]
    assert horner(torch.arange(3)).dtype is torch.float32


def test_powers_have_short_derivatives():
    @torch.elementwise
    def polynomial(x, y):
        square = y * y
        return 0.3 * x * x * x * x + square * x - (x * x * y if x > 0.3 else square * y * 2)

    assert "4.0 * " in polynomial.derivative and "2.0 * y" in polynomial.derivative
    x = torch.linspace(-1, 1, 6, dtype=torch.float64).requires_grad_()
    y = torch.linspace(0.5, 2, 6, dtype=torch.float64).requires_grad_()
    assert set(opcheck(polynomial, [x, y]).values()) == {"SUCCESS"}
    polynomial(x, y).sum().backward()
    u, v = x.detach(), y.detach()
    positive = u > 0.3
    assert torch.allclose(x.grad, 1.2 * u**3 + v * v - torch.where(positive, 2 * u * v, 0.0))
    assert torch.allclose(y.grad, 2 * v * u - torch.where(positive, u * u, 6 * v * v))


def test_a_lambda():
    op = torch.elementwise(lambda x: x * x * 3)
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    op(x).sum().backward()
    assert x.grad.tolist() == [6.0, 12.0]


def test_keywords_and_defaults():
    x = torch.ones(2)
    assert torch.equal(horner(x), horner(x, 2.0)) and torch.equal(horner(x, y=1.5), horner(x, 1.5))
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        horner(x, z=1)


def newton_root(x):
    z = x
    while abs(z * z - x) > 1e-14 * x:
        z = 0.5 * (z + x / z)
    return z


def test_a_loop_without_known_end_needs_its_derivative_by_hand():
    op = torch.elementwise(newton_root)
    assert torch.allclose(op(torch.tensor([4.0, 9.0], dtype=torch.float64)), torch.tensor([2.0, 3.0], dtype=torch.float64))
    x = torch.tensor([4.0, 9.0], dtype=torch.float64, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"while abs\(z \* z - x\).*@op\.grad"):
        op(x)

    @op.grad
    def newton_root_grad(g, y):
        return g / (2 * y)

    assert torch.autograd.gradcheck(op, (x,)) and torch.autograd.gradgradcheck(op, (x,))


def test_mistakes_get_a_sentence():
    def product(a, b):
        return a * b

    op = torch.elementwise(product)
    with pytest.raises(TypeError, match=r"returns 1 value\(s\), expected 2: one for each of a, b"):
        op.grad(lambda g, a: g * a)
    with pytest.raises(TypeError, match="unknown parameter 'c'; a derivative takes g, y and a, b"):
        op.grad(lambda g, c: (g, c))
    with pytest.raises(TypeError, match="kernels do not know the function print"):
        torch.elementwise(lambda x: print(x))
    with pytest.raises(TypeError, match="expected a function of numbers, got int"):
        torch.elementwise(3)


def test_derivative_can_be_read():
    assert "def bump_grad(g, x, width):" in bump.derivative
