"""PyTorch's file names of layers lead to the layers."""

from __future__ import annotations

import importlib

import pytest

import numtorch as torch
from numtorch import nn


@pytest.mark.parametrize(
    "file, name",
    [
        ("batchnorm", "_BatchNorm"), ("instancenorm", "InstanceNorm2d"), ("conv", "_ConvNd"), ("conv", "LazyConv2d"),
        ("loss", "_Loss"), ("loss", "TripletMarginLoss"), ("module", "register_module_forward_hook"), ("rnn", "LSTMCell"),
        ("activation", "MultiheadAttention"), ("upsampling", "Upsample"), ("container", "ParameterDict"),
    ],
)  # fmt: skip
def test_files(file: str, name: str) -> None:
    module = importlib.import_module(f"numtorch.nn.modules.{file}")
    assert getattr(module, name) is getattr(getattr(nn.modules, file), name)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        module.nothing  # noqa: B018 - the look-up is the test


def test_layers_and_sizes() -> None:
    assert nn.modules.Linear is nn.Linear
    assert nn.modules.utils._pair(3) == (3, 3) and nn.modules.utils._ntuple(3)((1, 2, 3)) == (1, 2, 3)
    assert issubclass(nn.BatchNorm2d, nn.modules.batchnorm._BatchNorm)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        nn.modules.nothing  # noqa: B018 - the look-up is the test


def test_containers_of_parameters_print_as_in_pytorch():
    p = torch.nn.Parameter(torch.ones(2, 3))
    assert "(0): Parameter containing: [torch.float32 of size 2x3]" in repr(torch.nn.ParameterList([p]))
    assert "(w): Parameter containing: [torch.FloatTensor of size 2x3]" in repr(torch.nn.ParameterDict({"w": p}))
    assert repr(torch.nn.Linear(1, 1).load_state_dict({}, strict=False)).startswith("_IncompatibleKeys(missing_keys=['weight'")
