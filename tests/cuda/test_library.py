"""Users' ops on a simulated GPU: the battery of the CPU."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import numtorch as torch
from numtorch.library import opcheck

pytestmark = pytest.mark.simulator


@torch.elementwise
def bent(x, k):
    return k * math.log1p(x) if x > 0 else math.tanh(x)


@torch.elementwise
def both(a, b):
    return a * b, a / (1.0 + b * b)


@torch.reduction(init=0.0, combine=lambda a, b: a + b, finish=lambda a, n: math.sqrt(a / n))
def rms(a, x):
    return a + x * x


@torch.reduction(init=(-1e30, 0.0), combine=lambda m, s, n, t: (max(m, n), s * math.exp(m - max(m, n)) + t * math.exp(n - max(m, n))),
                 finish=lambda m, s: m + math.log(s))  # fmt: skip
def log_sum(m, s, x):
    top = max(m, x)
    return top, s * math.exp(m - top) + math.exp(x - top)


@torch.library.custom_op("gpu::doubled")
def doubled(x: torch.Tensor) -> torch.Tensor:
    return x + x


doubled.register_autograd(lambda ctx, g: doubled(g))
# The second gradient of some takes minutes in the simulator: the tests of the CPU have it.
WITHOUT_SECOND = ["test_float32", "test_strided", "test_sizes", "test_device", "test_gradient", "test_traced"]
OPS = {"bent": (bent, 1), "both": (both, 2), "rms": (rms, 1), "doubled": (doubled, 1)}


@pytest.mark.parametrize("name", OPS)
def test_battery(gpu: Any, name: str) -> None:
    op, count = OPS[name]
    tensors = [torch.tensor([[-0.9, 1.3 + k]]).cuda().requires_grad_() for k in range(count)]
    tests = WITHOUT_SECOND if op is both else None
    found = opcheck(op, [*tensors, 1.5] if op is bent else tensors, test_utils=tests)
    assert set(found.values()) == {"SUCCESS"} and "test_gradient" in found and gpu.launched


def test_a_state_of_two_numbers(gpu: Any) -> None:
    x = torch.tensor([[-0.9, 1.3]]).cuda().requires_grad_()
    assert set(opcheck(log_sum, [x], test_utils=WITHOUT_SECOND).values()) == {"SUCCESS"}


def test_elementwise(gpu: Any) -> None:
    x = torch.linspace(-2, 2, 9)
    a, b = x.clone().requires_grad_(), x.cuda().requires_grad_()
    bent(a, 1.5).sum().backward()
    out = bent(b, 1.5)
    out.sum().backward()
    assert out.is_cuda
    np.testing.assert_allclose(out.detach().cpu().numpy(), bent(x, 1.5).numpy(), rtol=2e-6)
    np.testing.assert_allclose(b.grad.cpu().numpy(), a.grad.numpy(), rtol=2e-6)


def test_mistakes_are_told(gpu: Any) -> None:
    x = torch.ones(2, 3).cuda()
    with pytest.raises(RuntimeError, match="same device|on cpu|on cuda"):
        both(x, torch.ones(3))
    with pytest.raises(RuntimeError, match=r"broadcast|must match"):
        both(x, torch.ones(4).cuda())
    with pytest.raises(IndexError, match="out of range"):
        rms(x, 2)
