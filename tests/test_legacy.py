"""Constructors from before dtypes, as PyTorch 2.13 has them."""

from __future__ import annotations

import numpy as np
import pytest

import numtorch as torch


def test_tensor_types():
    assert torch.FloatTensor([1, 2]).tolist() == [1.0, 2.0] and torch.LongTensor([1.5, 2]).tolist() == [1, 2]
    assert torch.FloatTensor(2, 3).shape == (2, 3) and torch.FloatTensor(torch.Size([2, 3])).shape == (2, 3)
    assert torch.FloatTensor((2, 3)).tolist() == [2.0, 3.0] and torch.DoubleTensor(np.ones(2)).dtype is torch.float64
    assert torch.BoolTensor([1, 0]).tolist() == [True, False] and torch.HalfTensor().shape == (0,)
    x = torch.ones(2)
    assert isinstance(x, torch.FloatTensor) and not isinstance(x, torch.LongTensor) and not isinstance(1, torch.FloatTensor)
    assert x.type(torch.LongTensor).dtype is torch.int64 and torch.FloatTensor.dtype is torch.float32
    assert x.new(2, 3).shape == (2, 3) and torch.LongTensor([1]).new([1.5]).tolist() == [1]
    assert torch.Tensor([1, 2]).tolist() == [1.0, 2.0] and torch.Tensor(2, 3).shape == (2, 3)


@pytest.mark.parametrize("call", [
    lambda: torch.FloatTensor(torch.ones(1, dtype=torch.int64)), lambda: torch.FloatTensor("x"), lambda: torch.Tensor(3.5),
    lambda: torch.FloatTensor(2, dtype=torch.float32), lambda: torch.set_default_tensor_type(torch.LongTensor),
])  # fmt: skip
def test_refused(call):
    with pytest.raises(TypeError, match=r".+: .+"):
        call()


def test_the_default_type():
    torch.set_default_tensor_type("torch.DoubleTensor")
    try:
        assert torch.ones(1).dtype is torch.float64
    finally:
        torch.set_default_tensor_type(torch.FloatTensor)
    assert torch.ones(1).dtype is torch.float32


def test_only_pytorchs_in_place_names_are_functions():
    assert torch.relu_(torch.tensor([-1.0, 2.0])).tolist() == [0.0, 2.0]
    with pytest.raises(AttributeError, match="has no attribute 'add_'"):
        torch.add_  # noqa: B018
