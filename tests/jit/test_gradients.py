"""Traced forwards called with gradients on: nodes, what they keep, and their way back, by Python and by native calls."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest

import numtorch as torch
from numtorch import jit


@pytest.fixture
def switching():
    """Threads take turns as often as Python can make them."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_threads_go_back_through_one_trace(switching):
    def f(x, w):
        return (x @ w).tanh() * x

    traced, wrong = jit.trace(f, (torch.ones(64, 64, requires_grad=True), torch.ones(64, 64, requires_grad=True))), []

    def run(k):
        generator = torch.Generator().manual_seed(k)
        for _ in range(60):
            a, b = (torch.randn(64, 64, generator=generator, requires_grad=True) for _ in range(2))
            x, w = a.detach().requires_grad_(), b.detach().requires_grad_()
            f(a, b).sum().backward()
            traced(x, w).sum().backward()
            wrong.extend(k for t, s in ((x, a), (w, b)) if not np.allclose(t.grad.numpy(), s.grad.numpy(), atol=1e-3))

    threads = [threading.Thread(target=run, args=(k,)) for k in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not wrong
