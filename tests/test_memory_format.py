"""Channels last: strides as PyTorch's, values and derivatives as without."""

from __future__ import annotations

import pytest

import numtorch as torch

X = torch.arange(120.0).reshape(2, 3, 4, 5)


def test_strides():
    x = X.contiguous(memory_format=torch.channels_last)
    assert x.stride() == (60, 1, 15, 3) and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    assert torch.equal(x, X) and x.contiguous(memory_format=torch.channels_last) is x
    assert (x + 1).stride() == x.clone().stride() == torch.empty_like(x).stride() == x.stride()
    assert x.contiguous().stride() == x.clone(memory_format=torch.contiguous_format).stride() == X.stride()
    assert X.to(memory_format=torch.channels_last).stride() == x.stride()
    assert torch.zeros_like(X, memory_format=torch.channels_last).stride() == x.stride()
    assert torch.empty(2, 3, 4, 5, 6, memory_format=torch.channels_last_3d).stride() == (360, 1, 90, 18, 3)


def test_modules_and_convolution():
    conv = torch.nn.Conv2d(3, 2, 3)
    want = conv(X)
    conv = conv.to(memory_format=torch.channels_last)
    assert conv.weight.stride() == (27, 1, 9, 3) and conv.bias.stride() == (1,)
    assert torch.allclose(conv(X.contiguous(memory_format=torch.channels_last)), want, atol=1e-4)


def test_derivative():
    x = X.clone().requires_grad_()
    (x.contiguous(memory_format=torch.channels_last) * X).sum().backward()
    assert torch.equal(x.grad, X)


def test_refused():
    with pytest.raises(RuntimeError, match="required rank 4 tensor to use channels_last format, but got 2 dimensions; use"):
        X[0, 0].contiguous(memory_format=torch.channels_last)
    with pytest.raises(TypeError, match="argument 'memory_format' must be numtorch.memory_format, not int; use"):
        X.is_contiguous(memory_format=1)
