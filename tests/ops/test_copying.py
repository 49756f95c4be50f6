"""Casts and copies: values, dtypes and gradients, also where a call of the same kind came before."""

import itertools

import numpy as np
import pytest

import numtorch as torch

FLOATS = ["float16", "float32", "float64"]


@pytest.mark.parametrize(("source", "target"), list(itertools.permutations(FLOATS, 2)))
def test_gradients_of_casts_come_back_in_the_dtype_of_the_source(source, target):
    x = torch.tensor([1.0, 2.0, 3.0], dtype=getattr(torch, source), requires_grad=True)
    for k in range(3):  # the second call takes another way than the first
        x.grad = None
        y = x.to(getattr(torch, target))
        y.backward(torch.full((3,), 5.0 + k, dtype=y.dtype))
        assert y.grad_fn is not None and y.grad_fn.name() == "ToCopyBackward0"
        assert x.grad.dtype is x.dtype
        np.testing.assert_array_equal(x.grad.numpy(), np.full(3, 5.0 + k))


def test_casts_to_integers_have_no_history():
    x = torch.tensor([1.5, -2.5], requires_grad=True)
    for _ in range(3):
        assert not x.long().requires_grad and x.long().tolist() == [1, -2]
