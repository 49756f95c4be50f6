"""Users' reductions: values, derivatives, orders of combination, mistakes."""

from __future__ import annotations

import math

import numpy as np
import pytest

import numtorch as torch
from numtorch.library import opcheck


def add(a, b):
    return a + b


@torch.reduction(init=0.0, combine=add, finish=lambda a, n: math.sqrt(a / n))
def root_mean_square(a, x):
    return a + x * x


def merge(m, s, n, t):
    top = max(m, n)
    return top, s * math.exp(m - top) + t * math.exp(n - top)


@torch.reduction(init=(-1e30, 0.0), combine=merge, finish=lambda m, s: m + math.log(s))
def log_sum_exp(m, s, x):
    return merge(m, s, x, 1.0)


@torch.reduction(init=-math.inf, combine=lambda a, b: a if a > b else b)
def largest(a, x):
    return a if a > x else x


@torch.reduction(init=1.0, combine=lambda a, b: a * b)
def product(a, x):
    return a * x


REFERENCE = {
    "root_mean_square": (root_mean_square, lambda x, dim: x.square().mean(dim).sqrt()),
    "log_sum_exp": (log_sum_exp, lambda x, dim: x.logsumexp(dim)),
    "largest": (largest, lambda x, dim: x.amax(dim)),
    "product": (product, lambda x, dim: x.prod(dim)),
}


@pytest.mark.parametrize("name", REFERENCE)
@pytest.mark.parametrize("n", [1, 2, 3, 5, 7, 64, 101])
def test_values(name, n):
    op, want = REFERENCE[name]
    x = torch.rand(3, n, 2, generator=torch.Generator().manual_seed(n), dtype=torch.float64) + 0.5
    for dim in (0, 1, 2):
        torch_like = want(x, dim)
        assert torch.allclose(op(x, dim), torch_like, rtol=1e-12)
        assert op(x, dim, keepdim=True).shape == want(x, dim).unsqueeze(dim).shape
    assert torch.allclose(op(x), want(x.reshape(-1), 0), rtol=1e-12) and op(x).shape == ()
    assert torch.allclose(op(x, (0, 2)), want(x.transpose(0, 1).reshape(n, -1), 1), rtol=1e-12)


@pytest.mark.parametrize("name", REFERENCE)
def test_battery(name):
    op, _ = REFERENCE[name]
    x = torch.rand(2, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.5
    assert set(opcheck(op, (x.requires_grad_(), 1)).values()) == {"SUCCESS"}


def test_empty_and_whole_numbers():
    assert product(torch.ones(2, 0), 1).tolist() == [1.0, 1.0]
    assert product(torch.tensor([2, 3])).item() == 6.0


def test_a_sum_has_one_kernel_backwards():
    assert root_mean_square.slope is not None and log_sum_exp.slope is None


def test_the_derivative_by_hand():
    @torch.reduction(init=(-1e30, 0.0), combine=merge, finish=lambda m, s: m + math.log(s))
    def smooth_max(m, s, x):
        return merge(m, s, x, 1.0)

    @smooth_max.grad
    def smooth_max_grad(g, x, y):
        return g * math.exp(x - y)

    x = torch.rand(3, 6, dtype=torch.float64, requires_grad=True)
    assert set(opcheck(smooth_max, (x, 1)).values()) == {"SUCCESS"}
    with pytest.raises(TypeError, match="expected a function of g, x and y that returns one value"):
        smooth_max.grad(lambda g, z: g)


def test_order_does_not_depend_on_threads():
    x = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    before = torch.get_num_threads()
    found = []
    for n in (1, 2, 3):
        torch.set_num_threads(n)
        found.append(root_mean_square(x).item())
    torch.set_num_threads(before)
    assert len(set(found)) == 1
    np.testing.assert_allclose(found[0], x.double().square().mean().sqrt().item(), rtol=1e-6)


def test_mistakes_get_a_sentence():
    with pytest.raises(TypeError, match="step takes 3 and returns 1"):
        torch.reduction(init=0.0, combine=add)(lambda a, b, x: a + x)
    with pytest.raises(TypeError, match="needs finish="):
        torch.reduction(init=(0.0, 0.0), combine=merge)(lambda m, s, x: merge(m, s, x, 1.0))
    with pytest.raises(TypeError, match="combine must be a function of two states"):
        torch.reduction(init=0.0, combine=3)
    with pytest.raises(TypeError, match="argument 'x' must be Tensor, not list"):
        product([1.0])
