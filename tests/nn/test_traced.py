"""Layers in traces: replayed outputs and gradients are the eager ones, bit for bit."""

from __future__ import annotations

import pytest
from nn import layers

import numtorch
from numtorch import nn

ROWS = [
    ("LSTM", (3, 4, 2), {"bidirectional": True}, ((5, 2, 3),)),
    ("LSTM", (3, 4), {"proj_size": 2}, ((5, 2, 3),)),
    ("GRU", (3, 4), {}, ((5, 2, 3),)),
    ("RNN", (3, 4, 1, "relu"), {}, ((5, 2, 3),)),
    ("LSTMCell", (3, 4), {}, ((2, 3),)),
    ("MultiheadAttention", (4, 2), {}, ((3, 2, 4), (5, 2, 4), (5, 2, 4))),
    ("TransformerEncoderLayer", (4, 2, 6), {"dropout": 0.0}, ((3, 2, 4),)),
    ("Conv2d", (3, 4, 3), {"stride": 2, "padding": 1}, ((2, 3, 7, 8),)),
    ("Conv2d", (2, 2, 3), {"padding": 1, "padding_mode": "circular"}, ((1, 2, 5, 5),)),
    ("BatchNorm2d", (3,), {}, ((2, 3, 4, 4),)),
    ("GroupNorm", (2, 4), {}, ((2, 4, 3),)),
    ("MaxPool2d", (2,), {}, ((2, 3, 6, 8),)),
    ("Upsample", (), {"scale_factor": 2, "mode": "bilinear"}, ((1, 2, 3, 4),)),
    ("Unfold", (2,), {"padding": 1}, ((1, 2, 3, 4),)),
    ("GELU", (), {}, ((3, 4),)),
    ("PReLU", (3,), {}, ((2, 3, 4),)),
]


@pytest.mark.parametrize("row", ROWS, ids=layers.label)
def test_replay_is_eager(row: tuple) -> None:
    name, args, kwargs, inputs = row
    eager, traced = (getattr(nn, name)(*args, **kwargs) for _ in range(2))
    layers.fill(eager, numtorch)
    layers.fill(traced, numtorch)
    given = [numtorch.tensor(layers.array(s, 0.2), dtype=numtorch.float32).requires_grad_() for s in inputs]
    replay = numtorch.jit.trace(traced, tuple(given))
    # Tracing may have moved running statistics; start both from the same ones.
    traced.load_state_dict(eager.state_dict())
    for _ in range(2):
        results = []
        for layer in (eager, replay):
            outputs = [y for y in layers.flat(layer(*given)) if y.requires_grad]
            parameters = list((eager if layer is eager else traced).parameters())
            total = sum((y * y).sum() for y in outputs)
            results.append(
                [*outputs, *numtorch.autograd.grad(total, [*given, *parameters], allow_unused=True)]
            )
        for a, b in zip(*results, strict=True):
            assert (a is None) == (b is None) and (a is None or numtorch.equal(a, b))
    for a, b in zip(eager.buffers(), traced.buffers(), strict=True):
        assert numtorch.equal(a, b)
