"""Layers and optimizers of the batteries on a simulated GPU against what PyTorch computes."""

from __future__ import annotations

import json
import pathlib
import warnings
from typing import Any

import numpy as np
import pytest
from nn import layers
from optim import cases

import numtorch

pytestmark = pytest.mark.simulator
TESTS = pathlib.Path(layers.__file__).parents[1]
LAYERS = json.loads((TESTS / "nn" / "recorded_layers.json").read_text())["training"]
STEPS = json.loads((TESTS / "optim" / "recorded.json").read_text())["optimizers"]
# Many products of matrices, which take the simulator seconds each; their kernels have tests of their own.
SLOW = set("""Bilinear Conv1d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d CTCLoss GRU LSTM RNN GRUCell LSTMCell RNNCell
    MultiheadAttention Transformer TransformerEncoder TransformerDecoder TransformerEncoderLayer TransformerDecoderLayer
    FractionalMaxPool2d FractionalMaxPool3d AdaptiveLogSoftmaxWithLoss LinearCrossEntropyLoss""".split())


def first_rows() -> dict[str, tuple]:
    """The first row of each class that has one in the battery."""
    found: dict[str, tuple] = {}
    for row in layers.LAYERS:
        if row[0] not in SLOW and layers.label(row) in LAYERS:
            found.setdefault(row[0], row)
    return found


@pytest.mark.parametrize("name", first_rows())
def test_layer(any_gpu: Any, name: str) -> None:
    row = first_rows()[name]
    wanted = LAYERS[layers.label(row)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own about arguments
        found = layers.run(numtorch, row, "float32", True, "cuda")
    for key in ("outputs", "input gradients", "parameter gradients", "buffers"):
        for a, b in zip(found[key], wanted[key], strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_allclose(a, b, 5e-5, 5e-5, err_msg=key)


@pytest.mark.parametrize("name", sorted({name for name, _ in cases.OPTIMIZERS} - {"Muon", "LBFGS", "Adafactor"}))
def test_optimizer(any_gpu: Any, name: str) -> None:
    k = max(k for k, case in enumerate(cases.OPTIMIZERS) if case[0] == name)
    found = cases.run(numtorch, *cases.OPTIMIZERS[k], "float32", "cuda", 2)
    for ours, theirs in zip(found, STEPS[k]):
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            wanted = np.reshape(b, cases.SHAPES[i])
            moved = np.abs(wanted - cases.values(cases.SHAPES[i], i)).max()
            np.testing.assert_allclose(a, wanted, 1e-6, 1e-4 * moved + 1e-6)
