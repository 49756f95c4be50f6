"""PyTorch's file names of layers lead to the layers."""

from __future__ import annotations

import importlib

import pytest

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
