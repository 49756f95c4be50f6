"""Users' ops on a simulated GPU."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import numtorch as torch

pytestmark = pytest.mark.simulator


@torch.elementwise
def bent(x, k):
    return k * math.log1p(x) if x > 0 else math.tanh(x)


def test_elementwise(gpu: Any) -> None:
    x = torch.linspace(-2, 2, 9)
    a, b = x.clone().requires_grad_(), x.cuda().requires_grad_()
    bent(a, 1.5).sum().backward()
    out = bent(b, 1.5)
    out.sum().backward()
    assert out.is_cuda
    np.testing.assert_allclose(out.detach().cpu().numpy(), bent(x, 1.5).numpy(), rtol=2e-6)
    np.testing.assert_allclose(b.grad.cpu().numpy(), a.grad.numpy(), rtol=2e-6)
