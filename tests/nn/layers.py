"""Layers, their arguments and inputs: ``record.py`` runs them in PyTorch, ``test_layers.py`` here.

A row is (class, arguments, keyword arguments, inputs). An input is a shape (numbers in about [-1.2, 1.2]),
or a pair of a
kind and a shape: "positive", "probability", "log_probability", "sign" (-1 or 1), "bool", or an int n for
indices below n.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

T = "tensor"  # an argument ("tensor", shape, kind) is made into a tensor

LAYERS: list[tuple[str, tuple, dict[str, Any], tuple]] = [
    # activations
    *[
        (name, (), {}, ((3, 4),))
        for name in (
            "ReLU ReLU6 ELU CELU SELU GELU SiLU Mish Sigmoid Tanh Softplus Softsign Hardtanh Hardsigmoid"
            " Hardswish Hardshrink"
            " Softshrink Tanhshrink LogSigmoid LeakyReLU PReLU Identity"
        ).split()
    ],
    ("ELU", (0.7,), {}, ((7,),)),
    ("CELU", (), {"alpha": 1.3}, ((7,),)),
    ("GELU", (), {"approximate": "tanh"}, ((7,),)),
    ("LeakyReLU", (0.2,), {}, ((2, 3),)),
    ("PReLU", (3,), {}, ((2, 3, 4),)),
    ("Hardtanh", (-0.5, 0.3), {}, ((9,),)),
    ("Threshold", (0.1, 20.0), {}, ((9,),)),
    ("Softplus", (2.0, 1.0), {}, ((9,),)),
    ("GLU", (), {"dim": 1}, ((2, 4, 3),)),
    ("Softmax", (1,), {}, ((2, 5),)),
    ("Softmin", (0,), {}, ((3, 4),)),
    ("LogSoftmax", (-1,), {}, ((2, 3, 4),)),
    ("Softmax2d", (), {}, ((2, 3, 2, 2),)),
    # linear
    ("Linear", (4, 3), {}, ((5, 4),)),
    ("Linear", (4, 3), {"bias": False}, ((2, 5, 4),)),
    ("Linear", (4, 3), {}, ((4,),)),
    ("Bilinear", (2, 3, 4), {}, ((5, 2), (5, 3))),
    # convolutions
    ("Conv1d", (2, 4, 3), {"padding": 1}, ((3, 2, 8),)),
    ("Conv1d", (4, 4, 3), {"groups": 2, "stride": 2, "dilation": 2}, ((2, 4, 11),)),
    ("Conv2d", (3, 4, 3), {"stride": 2, "padding": 1}, ((2, 3, 7, 8),)),
    ("Conv2d", (3, 4, (3, 2)), {"bias": False, "padding": "same", "dilation": (1, 2)}, ((2, 3, 5, 6),)),
    ("Conv2d", (4, 8, 3), {"groups": 4, "padding": (1, 2), "padding_mode": "reflect"}, ((1, 4, 5, 6),)),
    ("Conv2d", (2, 2, 3), {"padding": 1, "padding_mode": "circular"}, ((2, 5, 5),)),
    ("Conv2d", (2, 3, 1), {"padding_mode": "replicate", "padding": 2}, ((1, 2, 3, 3),)),
    ("Conv3d", (2, 3, 2), {"stride": (1, 2, 1), "padding": 1}, ((1, 2, 3, 4, 4),)),
    ("ConvTranspose1d", (2, 4, 3), {"stride": 2, "output_padding": 1}, ((2, 2, 5),)),
    (
        "ConvTranspose2d",
        (4, 6, 3),
        {"stride": 2, "padding": 1, "groups": 2, "output_padding": 1},
        ((2, 4, 3, 4),),
    ),
    ("ConvTranspose2d", (2, 3, (2, 3)), {"dilation": 2, "bias": False}, ((2, 4, 4),)),
    ("ConvTranspose3d", (2, 2, 2), {"stride": 2}, ((1, 2, 2, 3, 2),)),
    # pooling
    ("MaxPool1d", (2,), {}, ((2, 3, 7),)),
    ("MaxPool2d", (2,), {}, ((2, 3, 6, 8),)),
    ("MaxPool2d", (3,), {"stride": 2, "padding": 1, "ceil_mode": True}, ((2, 7, 8),)),
    ("MaxPool2d", ((2, 3),), {"dilation": 2, "stride": 1, "return_indices": True}, ((1, 2, 6, 7),)),
    ("MaxPool3d", (2,), {}, ((1, 2, 4, 4, 5),)),
    ("AvgPool1d", (3,), {"stride": 2, "padding": 1}, ((2, 3, 8),)),
    ("AvgPool2d", (2,), {}, ((2, 3, 5, 6),)),
    (
        "AvgPool2d",
        (3,),
        {"stride": 2, "padding": 1, "count_include_pad": False, "ceil_mode": True},
        ((1, 2, 6, 7),),
    ),
    ("AvgPool2d", (2,), {"divisor_override": 3}, ((1, 2, 4, 4),)),
    ("AvgPool3d", (2,), {"stride": 1}, ((1, 2, 3, 4, 3),)),
    ("AdaptiveAvgPool1d", (3,), {}, ((2, 2, 7),)),
    ("AdaptiveAvgPool2d", ((1, 1),), {}, ((2, 3, 4, 5),)),
    ("AdaptiveAvgPool2d", ((3, None),), {}, ((2, 3, 7, 4),)),
    ("AdaptiveAvgPool3d", (2,), {}, ((1, 2, 3, 4, 5),)),
    ("AdaptiveMaxPool1d", (3,), {}, ((2, 2, 7),)),
    ("AdaptiveMaxPool2d", ((3, 2),), {"return_indices": True}, ((2, 7, 5),)),
    ("AdaptiveMaxPool3d", (2,), {}, ((1, 2, 3, 4, 5),)),
    ("LPPool1d", (2, 3), {"stride": 2}, (("positive", (2, 3, 7)),)),
    ("LPPool2d", (3, 2), {}, (("positive", (2, 2, 4, 4)),)),
    ("MaxUnpool1d", (2,), {}, ((1, 2, 3), ("distinct", (1, 2, 3)))),
    ("MaxUnpool2d", (2,), {"stride": 2}, ((1, 2, 2, 2), ("distinct", (1, 2, 2, 2)))),
    (
        "FractionalMaxPool2d",
        (2,),
        {"output_size": 3, "_random_samples": (T, (2, 2, 2), "probability")},
        ((2, 2, 7, 8),),
    ),
    (
        "FractionalMaxPool3d",
        (2,),
        {"output_ratio": 0.5, "_random_samples": (T, (1, 2, 3), "probability")},
        ((1, 2, 6, 5, 7),),
    ),
    # normalisation
    ("BatchNorm1d", (3,), {}, ((5, 3),)),
    ("BatchNorm1d", (3,), {"momentum": None}, ((5, 3, 4),)),
    ("BatchNorm1d", (3,), {"bias": False}, ((5, 3),)),
    ("BatchNorm2d", (3,), {"momentum": 0.3, "eps": 1e-3}, ((2, 3, 4, 4),)),
    ("BatchNorm2d", (3,), {"affine": False, "track_running_stats": False}, ((2, 3, 4, 4),)),
    ("BatchNorm3d", (2,), {}, ((2, 2, 2, 3, 2),)),
    ("InstanceNorm1d", (3,), {}, ((2, 3, 5),)),
    ("InstanceNorm2d", (3,), {"affine": True, "track_running_stats": True}, ((2, 3, 4, 4),)),
    ("InstanceNorm3d", (2,), {"affine": True}, ((2, 3, 2, 2),)),
    ("LayerNorm", (4,), {}, ((2, 3, 4),)),
    ("LayerNorm", ((3, 4),), {"elementwise_affine": False}, ((2, 3, 4),)),
    ("LayerNorm", (4,), {"bias": False, "eps": 0.1}, ((3, 4),)),
    ("GroupNorm", (2, 4), {}, ((2, 4, 3),)),
    ("GroupNorm", (2, 6), {"bias": False}, ((2, 6, 2, 2),)),
    ("RMSNorm", (4,), {}, ((3, 4),)),
    ("RMSNorm", ((2, 4),), {"eps": 0.1}, ((3, 2, 4),)),
    ("LocalResponseNorm", (3,), {"alpha": 0.5}, ((2, 5, 4),)),
    # embedding
    ("Embedding", (6, 3), {}, ((6, (2, 4)),)),
    ("Embedding", (6, 3), {"padding_idx": 1}, ((6, (2, 4)),)),
    ("Embedding", (6, 3), {"max_norm": 0.8, "scale_grad_by_freq": True}, ((6, (2, 4)),)),
    ("EmbeddingBag", (6, 3), {"mode": "sum"}, ((6, (3, 4)),)),
    ("EmbeddingBag", (6, 3), {"mode": "mean", "padding_idx": 2}, ((6, (3, 4)),)),
    ("EmbeddingBag", (6, 3), {"mode": "max"}, ((6, (3, 4)),)),
    # recurrent
    ("RNN", (3, 4), {}, ((5, 2, 3),)),
    ("RNN", (3, 4, 2, "relu"), {"bidirectional": True}, ((5, 2, 3), (4, 2, 4))),
    ("RNN", (3, 4), {"bias": False, "batch_first": True}, ((2, 5, 3),)),
    ("LSTM", (3, 4), {}, ((5, 2, 3),)),
    ("LSTM", (3, 4, 2), {"bidirectional": True, "batch_first": True}, ((2, 5, 3),)),
    ("LSTM", (3, 4), {"proj_size": 2, "bidirectional": True}, ((5, 2, 3),)),
    ("LSTM", (3, 4), {}, ((5, 3),)),
    ("GRU", (3, 4), {}, ((5, 2, 3), (1, 2, 4))),
    ("GRU", (3, 4, 2), {"bidirectional": True, "bias": False}, ((5, 2, 3),)),
    ("RNNCell", (3, 4), {}, ((2, 3),)),
    ("RNNCell", (3, 4), {"nonlinearity": "relu", "bias": False}, ((2, 3), (2, 4))),
    ("LSTMCell", (3, 4), {}, ((2, 3),)),
    ("GRUCell", (3, 4), {}, ((3,), (4,))),
    # attention
    ("MultiheadAttention", (4, 2), {}, ((3, 2, 4), (5, 2, 4), (5, 2, 4))),
    ("MultiheadAttention", (4, 2), {"batch_first": True, "bias": False}, ((2, 3, 4), (2, 5, 4), (2, 5, 4))),
    ("MultiheadAttention", (4, 2), {"kdim": 3, "vdim": 5}, ((3, 2, 4), (5, 2, 3), (5, 2, 5))),
    (
        "MultiheadAttention",
        (4, 2),
        {"add_bias_kv": True, "add_zero_attn": True},
        ((3, 2, 4), (5, 2, 4), (5, 2, 4)),
    ),
    ("MultiheadAttention", (4, 2), {}, ((3, 4), (5, 4), (5, 4))),
    ("TransformerEncoderLayer", (4, 2, 6), {"dropout": 0.0}, ((3, 2, 4),)),
    (
        "TransformerEncoderLayer",
        (4, 2, 6, 0.0),
        {"norm_first": True, "activation": "gelu", "batch_first": True},
        ((2, 3, 4),),
    ),
    ("TransformerDecoderLayer", (4, 2, 6), {"dropout": 0.0}, ((3, 2, 4), (5, 2, 4))),
    ("Transformer", (4, 2, 1, 2, 6), {"dropout": 0.0}, ((3, 2, 4), (2, 2, 4))),
    # padding
    *[
        (f"{kind}Pad{n}d", (1,), {}, ((2, 3, 4, 3, 4)[: n + 2],))
        for kind in ("Reflection", "Replication", "Zero", "Circular")
        for n in (1, 2, 3)
    ],
    ("ConstantPad1d", ((1, 2), 3.5), {}, ((2, 3),)),
    ("ConstantPad2d", ((1, -1, 0, 2), -1.0), {}, ((2, 3, 4),)),
    ("ReflectionPad2d", ((1, 2, 0, 1),), {}, ((1, 2, 3, 4),)),
    # shapes
    ("Flatten", (), {}, ((2, 3, 4),)),
    ("Unflatten", (1, (2, 3)), {}, ((2, 6),)),
    ("PixelShuffle", (2,), {}, ((1, 8, 2, 3),)),
    ("PixelUnshuffle", (2,), {}, ((1, 2, 4, 6),)),
    ("ChannelShuffle", (2,), {}, ((1, 4, 2, 2),)),
    ("Unfold", ((2, 3),), {"padding": 1, "stride": 2, "dilation": (1, 2)}, ((1, 2, 5, 6),)),
    ("Fold", ((4, 5), 2), {"padding": 1, "stride": 2}, ((1, 8, 9),)),
    ("Upsample", (), {"scale_factor": 2}, ((1, 2, 3),)),
    ("Upsample", (), {"size": (5, 7), "mode": "bilinear"}, ((1, 2, 3, 4),)),
    ("Upsample", (), {"scale_factor": 1.5, "mode": "bicubic", "align_corners": True}, ((1, 2, 4, 4),)),
    ("Upsample", (), {"scale_factor": (2.0, 1.5, 1.0), "mode": "trilinear"}, ((1, 1, 2, 4, 3),)),
    ("UpsamplingBilinear2d", (), {"scale_factor": 2}, ((1, 2, 2, 3),)),
    ("CosineSimilarity", (), {"dim": 0}, ((3, 4), (3, 4))),
    ("PairwiseDistance", (), {"p": 1.5, "keepdim": True}, ((3, 4), (3, 4))),
    # losses
    ("MSELoss", (), {}, ((3, 4), (3, 4))),
    ("L1Loss", (), {"reduction": "sum"}, ((3, 4), (3, 4))),
    ("SmoothL1Loss", (), {"beta": 0.6}, ((3, 4), (3, 4))),
    ("HuberLoss", (), {"delta": 0.6, "reduction": "none"}, ((3, 4), (3, 4))),
    ("CrossEntropyLoss", (), {}, ((3, 5), (5, (3,)))),
    ("CrossEntropyLoss", (), {"weight": (T, (5,), "positive"), "ignore_index": 2}, ((6, 5), (5, (6,)))),
    (
        "CrossEntropyLoss",
        (),
        {"label_smoothing": 0.2, "weight": (T, (5,), "positive")},
        ((2, 5, 3), (5, (2, 3))),
    ),
    ("CrossEntropyLoss", (), {"reduction": "none"}, ((2, 5, 2, 3), (5, (2, 2, 3)))),
    ("CrossEntropyLoss", (), {"label_smoothing": 0.1}, ((3, 5), ("probability", (3, 5)))),
    ("CrossEntropyLoss", (), {}, ((5,), (5, ()))),
    ("NLLLoss", (), {}, (("log_probability", (3, 5)), (5, (3,)))),
    (
        "NLLLoss",
        (),
        {"weight": (T, (5,), "positive"), "reduction": "sum"},
        (("log_probability", (2, 5, 3)), (5, (2, 3))),
    ),
    ("BCELoss", (), {}, (("probability", (3, 4)), ("probability", (3, 4)))),
    ("BCEWithLogitsLoss", (), {}, ((3, 4), ("probability", (3, 4)))),
    (
        "BCEWithLogitsLoss",
        (),
        {"pos_weight": (T, (4,), "positive"), "weight": (T, (4,), "positive")},
        ((3, 4), ("probability", (3, 4))),
    ),
    ("KLDivLoss", (), {"reduction": "batchmean"}, (("log_probability", (3, 4)), ("probability", (3, 4)))),
    (
        "KLDivLoss",
        (),
        {"reduction": "sum", "log_target": True},
        (("log_probability", (3, 4)), ("log_probability", (3, 4))),
    ),
    ("PoissonNLLLoss", (), {"full": True}, ((3, 4), ("positive", (3, 4)))),
    ("PoissonNLLLoss", (), {"log_input": False}, (("positive", (3, 4)), ("positive", (3, 4)))),
    ("GaussianNLLLoss", (), {"full": True}, ((3, 4), (3, 4), ("positive", (3, 1)))),
    ("HingeEmbeddingLoss", (), {"margin": 0.5}, ((3, 4), ("sign", (3, 4)))),
    ("SoftMarginLoss", (), {}, ((3, 4), ("sign", (3, 4)))),
    ("MultiLabelSoftMarginLoss", (), {}, ((3, 4), ("probability", (3, 4)))),
    ("MultiLabelMarginLoss", (), {}, ((2, 4), ("labels", (2, 4)))),
    ("MultiMarginLoss", (), {"p": 2, "margin": 0.5, "weight": (T, (5,), "positive")}, ((3, 5), (5, (3,)))),
    ("CosineEmbeddingLoss", (), {"margin": 0.1}, ((4, 5), (4, 5), ("sign", (4,)))),
    ("MarginRankingLoss", (), {"margin": 0.1}, ((4,), (4,), ("sign", (4,)))),
    ("TripletMarginLoss", (), {"swap": True, "p": 1}, ((3, 4), (3, 4), (3, 4))),
    ("TripletMarginWithDistanceLoss", (), {"margin": 0.5}, ((3, 4), (3, 4), (3, 4))),
    (
        "CTCLoss",
        (),
        {},
        (("log_probability", (6, 2, 4)), ("labels_ctc", (2, 2)), ("lengths", (6, 5)), ("lengths", (2, 1))),
    ),
    (
        "CTCLoss",
        (),
        {"reduction": "sum", "zero_infinity": True},
        (("log_probability", (3, 2, 4)), ("labels_ctc", (2, 2)), ("lengths", (3, 1)), ("lengths", (2, 2))),
    ),
]


def label(row: tuple) -> str:
    """A row in a few characters."""
    name, args, kwargs, inputs = row
    texts = [repr(a) for a in args] + [
        f"{k}={v[1] if isinstance(v, tuple) and v[:1] == (T,) else v}" for k, v in kwargs.items()
    ]
    shapes = " ".join("x".join(map(str, i if not i or isinstance(i[-1], int) else i[1])) for i in inputs)
    return f"{name}({', '.join(texts)}) {shapes}"


def numbers(shape: tuple[int, ...], phase: float) -> np.ndarray:
    """Numbers between -1.2 and 1.2 without a pattern that matters."""
    return (1.2 * np.sin(2.3 * np.arange(math.prod(shape)) + phase)).reshape(shape)


def array(spec: Any, phase: float) -> np.ndarray:
    """The array that an input of the table stands for."""
    if not spec or (isinstance(spec[-1], int)):
        return numbers(spec, phase)
    kind, shape = spec
    x = numbers(shape, phase)
    if isinstance(kind, int):
        return (np.arange(x.size).reshape(shape) * 7 + 3) % kind
    if kind == "positive":
        return np.abs(x) + 0.2
    if kind == "probability":
        return np.abs(x) / 1.3 + 0.02
    if kind == "log_probability":
        return x - np.log(np.exp(x).sum(-1, keepdims=True))
    if kind == "sign":
        return np.sign(x)
    if kind == "distinct":
        return np.arange(x.size).reshape(shape) % math.prod(shape[2:]) * 2
    if kind == "labels":
        return np.array([[2, 0, -1, 1], [3, -1, 2, 0]])
    if kind == "labels_ctc":
        return np.array([[1, 2], [3, 3]])
    assert kind == "lengths"
    return np.array(shape)


def fill(layer: Any, module: Any) -> None:
    """Give all parameters and running statistics values that show mistakes."""
    state = layer.state_dict()
    for k, (name, old) in enumerate(state.items()):
        if name.rsplit(".")[-1] in ("num_batches_tracked", "_random_samples", "pos_weight"):
            continue
        new = 0.6 * numbers(tuple(old.shape), k + 0.5)
        if "running_var" in name or (name == "weight" and "Loss" in type(layer).__name__):
            new = np.abs(new) + 0.5
        old.copy_(module.tensor(new, dtype=old.dtype))


def build(module: Any, value: Any, dtype: Any) -> Any:
    """An argument, made into a tensor if the table says so."""
    if isinstance(value, tuple) and value[:1] == (T,):
        return module.tensor(array((value[2], value[1]), 0.3), dtype=dtype)
    return value


def flat(value: Any) -> list[Any]:
    """The tensors in a nested result."""
    if isinstance(value, (tuple, list)):
        return [t for v in value for t in flat(v)]
    return [] if value is None else [value]


def run(
    module: Any, row: tuple, dtype_name: str = "float64", training: bool = True, device: str = "cpu"
) -> dict[str, Any]:
    """Outputs, gradients of inputs and parameters, buffers and text of one layer in ``module`` (numtorch or
    torch).
    """
    name, args, kwargs, inputs = row
    dtype = getattr(module, dtype_name)
    layer = getattr(module.nn, name)(*args, **{k: build(module, v, dtype) for k, v in kwargs.items()})
    layer.to(device, dtype).train(training)
    fill(layer, module)
    tensors = []
    for k, spec in enumerate(inputs):
        x = array(spec, k + 0.1)
        floating = x.dtype.kind == "f"
        t = module.tensor(x, dtype=dtype if floating else module.int64).to(device)
        tensors.append(t.requires_grad_(floating and not (spec and spec[0] == "sign")))
    outputs = flat(layer(*tensors))
    differentiable = [y for y in outputs if y.requires_grad]
    cotangents = [
        module.tensor(numbers(tuple(y.shape), 5.0 + k), dtype=dtype).to(device) for k, y in enumerate(differentiable)
    ]
    if differentiable:
        module.autograd.backward(differentiable, cotangents)

    def lists(items: Any) -> list[Any]:
        return [None if t is None else t.detach().cpu().numpy().tolist() for t in items]

    return {
        "text": repr(layer),
        "names": list(layer.state_dict()),
        "outputs": lists(outputs),
        "shapes": [list(y.shape) for y in outputs],
        "input gradients": lists(t.grad for t in tensors),
        "parameter gradients": lists(p.grad for p in layer.parameters()),
        "buffers": lists(layer.buffers()),
    }
