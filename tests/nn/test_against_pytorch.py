"""nn.utils, attention and parametrizations: the same program in both frameworks, outputs, gradients and state dicts compared."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pytest

import numtorch

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")]
RANDOM = np.random.default_rng(3)
X = RANDOM.normal(size=(5, 4)).astype("float32")


def fill(module: Any, torch: Any) -> Any:
    """The same parameters in both frameworks."""
    random = np.random.default_rng(0)
    for p in module.parameters():
        p.data.copy_(torch.from_numpy(random.uniform(-0.5, 0.5, tuple(p.shape)).astype("float32")))
    return module


def state(module: Any) -> dict[str, Any]:
    return dict(module.state_dict())


def train(torch: Any, module: Any, steps: int = 3) -> list[Any]:
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    y = None
    for _ in range(steps):
        optimizer.zero_grad()
        y = module(torch.tensor(X))
        y.square().sum().backward()
        optimizer.step()
    return [y, state(module)]


def leaves(tree: Any) -> list[Any]:
    """Names, numbers and arrays of a result in order."""
    if isinstance(tree, dict):
        return [leaf for key, value in tree.items() for leaf in (key, *leaves(value))]
    if isinstance(tree, (list, tuple)):
        return [leaf for value in tree for leaf in leaves(value)]
    return [tree.detach().numpy() if hasattr(tree, "detach") else tree]


def check(program: Any) -> None:
    """A program gives the same in both frameworks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch

        ours, theirs = leaves(program(numtorch)), leaves(program(torch))
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        if isinstance(a, np.ndarray):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=3e-5)
        else:
            assert a == b


def spectral(torch: Any, new: bool) -> list[Any]:
    layer = fill(torch.nn.Linear(4, 3), torch)
    utils = torch.nn.utils
    layer = (utils.parametrizations.spectral_norm if new else utils.spectral_norm)(layer, n_power_iterations=3)
    u, v = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([1.0, 0.0, 0.0, 0.0])
    with torch.no_grad():
        rule = layer.parametrizations.weight[0] if new else layer
        (rule._u if new else rule.weight_u).copy_(u)
        (rule._v if new else rule.weight_v).copy_(v)
    return train(torch, layer)


def symmetric(torch: Any) -> list[Any]:
    class Symmetric(torch.nn.Module):
        def forward(self, x):
            return x.triu() + x.triu(1).transpose(-1, -2)

        def right_inverse(self, a):
            return a.triu()

    parametrize = torch.nn.utils.parametrize
    layer = fill(torch.nn.Linear(4, 4), torch)
    parametrize.register_parametrization(layer, "weight", Symmetric())
    with parametrize.cached():
        same = layer.weight is layer.weight
    found = [same, *train(torch, layer), parametrize.is_parametrized(layer)]
    layer.weight = torch.eye(4)
    parametrize.remove_parametrizations(layer, "weight")
    return [*found, state(layer), type(layer).__name__]


def packing(torch: Any) -> list[Any]:
    rnn = torch.nn.utils.rnn
    parts = [torch.tensor(X[:n]) for n in (2, 5, 3)]
    packed = rnn.pack_sequence(parts, enforce_sorted=False)
    padded, lengths = rnn.pad_packed_sequence(packed, batch_first=True, padding_value=-1.0, total_length=6)
    gru = fill(torch.nn.GRU(4, 3, 2, bidirectional=True), torch)
    out, hidden = gru(rnn.pack_padded_sequence(rnn.pad_sequence(parts), [2, 5, 3], enforce_sorted=False))
    return [packed.data, packed.batch_sizes, packed.sorted_indices, padded, lengths, out.data, out.batch_sizes, hidden,
            rnn.unpad_sequence(padded, lengths, batch_first=True), rnn.pad_sequence(parts, True, 9.0, "left")]  # fmt: skip


def fusing(torch: Any) -> list[Any]:
    conv, norm = fill(torch.nn.Conv2d(2, 3, 3), torch).eval(), fill(torch.nn.BatchNorm2d(3), torch).eval()
    norm.running_mean.fill_(0.3)
    linear, flat = fill(torch.nn.Linear(4, 3), torch).eval(), fill(torch.nn.BatchNorm1d(3), torch).eval()
    return [state(torch.nn.utils.fuse_conv_bn_eval(conv, norm)), state(torch.nn.utils.fuse_linear_bn_eval(linear, flat))]


def clipping(torch: Any) -> list[Any]:
    utils, found = torch.nn.utils, []
    ps = [torch.nn.Parameter(torch.tensor(X)), torch.nn.Parameter(torch.tensor(X[0]))]
    for order in (2.0, 1.0, float("inf")):
        for p in ps:
            p.grad = torch.tensor(X if p.dim() == 2 else X[0]) * 10
        found += [utils.clip_grad_norm_(ps, 1.5, order), [p.grad.clone() for p in ps], utils.get_total_norm([p.grad for p in ps], order)]
    utils.clip_grad_value_(ps, 0.1)
    vector = utils.parameters_to_vector(ps)
    utils.vector_to_parameters(vector * 2, ps)
    return [*found, [p.grad for p in ps], vector, ps]


def averaging(torch: Any) -> list[Any]:
    swa = torch.optim.swa_utils
    net = fill(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3)), torch)
    models = [swa.AveragedModel(net), swa.AveragedModel(net, multi_avg_fn=swa.get_ema_multi_avg_fn(0.9), use_buffers=True),
              swa.AveragedModel(net, avg_fn=lambda average, value, count: 0.5 * average + 0.5 * value)]  # fmt: skip
    for _ in range(3):
        train(torch, net, 1)
        for m in models:
            m.update_parameters(net)
    swa.update_bn([torch.tensor(X), torch.tensor(X * 2)], models[0])
    return [state(m) for m in models]


PROGRAMS = {
    "weight_norm": lambda t: train(t, fill(t.nn.utils.parametrizations.weight_norm(t.nn.Linear(4, 3)), t)),
    "weight_norm of columns": lambda t: train(t, fill(t.nn.utils.parametrizations.weight_norm(t.nn.Linear(4, 3), dim=1), t)),
    "older weight_norm": lambda t: train(t, fill(t.nn.utils.weight_norm(t.nn.Linear(4, 3), dim=None), t)),
    "removed weight_norm": lambda t: train(t, t.nn.utils.remove_weight_norm(fill(t.nn.utils.weight_norm(t.nn.Linear(4, 3)), t))),
    "spectral_norm": lambda t: spectral(t, True), "older spectral_norm": lambda t: spectral(t, False), "parametrize": symmetric,
    "packing": packing, "fusing": fusing, "clipping": clipping, "averaging": averaging,
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_nn_utils(name):
    check(PROGRAMS[name])


@pytest.mark.parametrize("trivialization", [True, False])
@pytest.mark.parametrize("kind", ["matrix_exp", "cayley", "householder", None])
@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (2, 3, 4)])
def test_orthogonal(shape, kind, trivialization):
    reflected = kind == "householder" or (kind is None and shape[-1] != shape[-2])
    values, other = (np.random.default_rng(k).normal(size=shape).astype("float32") for k in (0, 1))

    def program(torch):
        holder = torch.nn.Module()
        holder.weight = torch.nn.Parameter(torch.tensor(values))
        torch.nn.utils.parametrizations.orthogonal(holder, "weight", kind, use_trivialization=trivialization)
        rule, n = holder.parametrizations.weight, max(shape[-2:])
        with torch.no_grad():
            if trivialization:
                rule[0].base = torch.eye(n).expand(*shape[:-2], n, n).clone()  # completed at random otherwise
            rule.original.add_(torch.tensor(other), alpha=0.1)
            if reflected:
                diagonal = rule.original.diagonal(dim1=-2, dim2=-1)
                diagonal.copy_(diagonal.sign())
        (holder.weight * torch.tensor(other)).sum().backward()
        return [holder.weight, rule.original.grad, rule.original]

    if not trivialization and not reflected:
        holder = numtorch.nn.utils.parametrizations.orthogonal(numtorch.nn.Linear(4, 4), "weight", kind, use_trivialization=False)
        with pytest.raises(NotImplementedError, match="use_trivialization=False"):
            holder.weight = numtorch.eye(4)
        return
    check(program)


OPTIONS = list(itertools.product((True, False), (False, True), (False, True), (False, True), (None, "bool", "float", "3d"), (None, "bool", "float")))


@pytest.mark.parametrize("options", OPTIONS[::13])
def test_multihead_attention(options):
    extra, batch_first, widths, averaged, mask, padding = options
    random = np.random.default_rng(1)
    arrays = [random.normal(size=(n, 2, width)).astype("float32") for n, width in ((3, 8), (5, 6 if widths else 8), (5, 4 if widths else 8))]

    def program(torch):
        layer = fill(torch.nn.MultiheadAttention(8, 2, batch_first=batch_first, add_bias_kv=extra, add_zero_attn=extra,
                                                 kdim=6 if widths else None, vdim=4 if widths else None), torch)  # fmt: skip
        given = [torch.tensor(a.transpose(1, 0, 2).copy() if batch_first else a, requires_grad=True) for a in arrays]
        masks = {None: None, "bool": torch.tensor(np.triu(np.ones((3, 5)), 2) > 0), "3d": torch.tensor(np.arange(60).reshape(4, 3, 5) % 4 == 3),
                 "float": torch.tensor(np.triu(np.full((3, 5), -2.0), 1).astype("float32"))}  # fmt: skip
        pads = {None: None, "bool": torch.tensor([[False] * 4 + [True], [False] * 5]), "float": torch.tensor([[0.0] * 4 + [-3.0], [0.0] * 5])}
        out, weights = layer(*given, attn_mask=masks[mask], key_padding_mask=pads[padding], average_attn_weights=averaged)
        out.square().sum().backward()
        return [out, weights, [g.grad for g in given], layer.out_proj.weight.grad]

    check(program)


@pytest.mark.parametrize(("norm_first", "activation", "batch_first", "masked"), [(False, "relu", True, True), (True, "gelu", False, False), (True, "relu", True, True)])
def test_transformer_layers(norm_first, activation, batch_first, masked):
    random = np.random.default_rng(1)
    source, target = (random.normal(size=(2, n, 8) if batch_first else (n, 2, 8)).astype("float32") for n in (5, 3))

    def program(torch):
        nn = torch.nn
        options = {"batch_first": batch_first, "norm_first": norm_first}
        encoder = fill(nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, 0.0, activation, **options), 2, nn.LayerNorm(8)), torch)
        decoder = fill(nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, 0.0, activation, **options), 2), torch)
        pad = torch.tensor([[False] * 4 + [True], [False] * 5]) if masked else None
        causal = nn.Transformer.generate_square_subsequent_mask
        memory = encoder(torch.tensor(source), mask=causal(5) if masked else None, src_key_padding_mask=pad)
        out = decoder(torch.tensor(target), memory, tgt_mask=causal(3) if masked else None, memory_key_padding_mask=pad)
        out.square().sum().backward()
        return [out, encoder.layers[0].linear1.weight.grad]

    check(program)
