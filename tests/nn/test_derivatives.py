"""First and second derivatives of layers against differences: what no recorded result shows."""

from __future__ import annotations

import warnings

import pytest
from nn import layers

import numtorch
from numtorch import nn
from numtorch.autograd import gradcheck
from numtorch.autograd.gradcheck import gradgradcheck

F = nn.functional
SMOOTH = [
    ("LSTM", (1, 2), {}, ((2, 2, 1),)),
    ("LSTM", (1, 2), {"proj_size": 1}, ((2, 1, 1),)),
    ("GRU", (1, 2), {}, ((2, 1, 1), (1, 1, 2))),
    ("RNN", (2, 2), {"bias": False}, ((3, 1, 2),)),
    ("LSTMCell", (2, 2), {}, ((2, 2),)),
    ("GRUCell", (2, 2), {}, ((2, 2), (2, 2))),
    ("RNNCell", (2, 2), {}, ((2, 2), (2, 2))),
    ("Linear", (3, 2), {}, ((2, 3),)),
    ("Bilinear", (2, 2, 2), {}, ((2, 2), (2, 2))),
    ("Conv1d", (2, 2, 2), {}, ((1, 2, 4),)),
    ("ConvTranspose1d", (2, 2, 2), {"stride": 2}, ((1, 2, 3),)),
    ("LayerNorm", (3,), {}, ((2, 3),)),
    ("RMSNorm", (3,), {}, ((2, 3),)),
    ("GroupNorm", (2, 4), {}, ((2, 4, 2),)),
    ("BatchNorm1d", (2,), {"track_running_stats": False}, ((3, 2),)),
    ("InstanceNorm1d", (2,), {}, ((2, 2, 3),)),
    ("LocalResponseNorm", (3,), {"alpha": 0.5}, ((1, 4, 2),)),
    ("MultiheadAttention", (2, 1), {}, ((2, 1, 2), (3, 1, 2), (3, 1, 2))),
    ("AvgPool1d", (2,), {}, ((1, 2, 4),)),
    ("AdaptiveAvgPool1d", (2,), {}, ((1, 2, 5),)),
    ("Upsample", (), {"scale_factor": 2, "mode": "linear"}, ((1, 1, 3),)),
    ("Unfold", (2,), {}, ((1, 1, 3, 3),)),
    ("Fold", ((3, 3), 2), {}, ((1, 4, 4),)),
    ("ReflectionPad1d", (1,), {}, ((1, 1, 3),)),
    ("ConstantPad1d", ((1, -1), 0.5), {}, ((1, 1, 4),)),
    ("CosineSimilarity", (), {}, ((2, 3), (2, 3))),
    ("GLU", (), {}, ((2, 4),)),
    *[(name, (), {}, ((5,),)) for name in ("GELU", "SiLU", "Mish", "Softplus", "LogSigmoid", "ELU", "CELU", "SELU")],
    *[(name, (), {}, ((5,),)) for name in ("Tanhshrink", "Softsign", "Sigmoid", "Tanh", "PReLU", "Hardswish")],
    ("GELU", (), {"approximate": "tanh"}, ((5,),)),
    ("MSELoss", (), {}, ((4,), (4,))),
    ("HuberLoss", (), {}, ((4,), (4,))),
    ("BCELoss", (), {}, (("probability", (4,)), ("probability", (4,)))),
    ("BCEWithLogitsLoss", (), {}, ((4,), ("probability", (4,)))),
    ("KLDivLoss", (), {"reduction": "sum"}, ((4,), ("probability", (4,)))),
    ("KLDivLoss", (), {"reduction": "sum", "log_target": True}, ((4,), (4,))),
    ("PoissonNLLLoss", (), {"full": True}, ((4,), ("positive", (4,)))),
    ("PoissonNLLLoss", (), {"log_input": False}, (("positive", (4,)), ("positive", (4,)))),
    ("GaussianNLLLoss", (), {}, ((4,), (4,), ("positive", (4,)))),
    ("SoftMarginLoss", (), {}, ((4,), (4,))),
    ("CrossEntropyLoss", (), {"label_smoothing": 0.2}, ((2, 3), (3, (2,)))),
    ("CrossEntropyLoss", (), {}, ((2, 3), ("probability", (2, 3)))),
    ("NLLLoss", (), {}, ((2, 3), (3, (2,)))),
]  # fmt: skip


def tensors(inputs: tuple) -> list:
    found = []
    for k, spec in enumerate(inputs):
        x = layers.array(spec, k + 0.2)
        floating = x.dtype.kind == "f"
        t = numtorch.tensor(x, dtype=numtorch.float64 if floating else numtorch.int64)
        found.append(t.requires_grad_(floating))
    return found


@pytest.mark.parametrize("row", SMOOTH, ids=layers.label)
def test_derivatives(row: tuple) -> None:
    name, args, kwargs, inputs = row
    layer = getattr(nn, name)(*args, **kwargs).double()
    layers.fill(layer, numtorch)
    parameters = list(layer.parameters())
    given = tensors(inputs)

    def call(*values):
        names = [n for n, _ in layer.named_parameters()]
        replaced = dict(zip(names, values[len(given) :]))
        result = nn.utils.stateless.functional_call(layer, replaced, values[: len(given)])
        return tuple(layers.flat(result))

    assert gradcheck(call, (*given, *parameters))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert gradgradcheck(call, (*given, *parameters))


def test_packed_sequences() -> None:
    lstm = nn.LSTM(2, 2, bidirectional=True).double()
    x = numtorch.tensor(layers.numbers((3, 2, 2), 0.3), requires_grad=True)

    def call(x):
        packed = nn.utils.rnn.pack_padded_sequence(x, [3, 1])
        out, (h, c) = lstm(packed)
        return out.data, h, c

    assert gradcheck(call, (x,))
    assert gradgradcheck(call, (x,))


def test_large_inputs_have_finite_second_derivatives() -> None:
    x = numtorch.tensor([-1e4, -100.0, 100.0, 1e4], dtype=numtorch.float64, requires_grad=True)
    for name in (
        "elu",
        "celu",
        "selu",
        "gelu",
        "silu",
        "mish",
        "softplus",
        "logsigmoid",
        "softsign",
        "hardswish",
    ):
        (g,) = numtorch.autograd.grad(getattr(F, name)(x).sum(), x, create_graph=True)
        (h,) = numtorch.autograd.grad(g.sum(), x)
        assert numtorch.isfinite(g).all() and numtorch.isfinite(h).all(), name


def test_recurrent_layers_refuse_changed_outputs() -> None:
    layer = nn.LSTM(2, 2)
    out, _ = layer(numtorch.ones(3, 1, 2))
    with numtorch.no_grad():
        out.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()
