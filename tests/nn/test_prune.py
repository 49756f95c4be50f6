"""Pruning: masks, what is trained, one on top of another, PyTorch's masks and state dicts."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

import numtorch
from numtorch.nn.utils import prune


def layers(torch: Any) -> Any:
    """Two layers of the same weights in both frameworks."""
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    with torch.no_grad():
        for k, p in enumerate(net.parameters()):
            p.copy_(torch.from_numpy(np.random.default_rng(k).normal(size=tuple(p.shape)).astype(np.float32)))
    return net


def pruned(torch: Any) -> dict[str, Any]:
    """State dicts after many ways of pruning."""
    p, found = importlib.import_module(f"{torch.__name__}.nn.utils.prune"), {}

    def keep(name, net):
        found[name] = {k: v.detach().numpy() for k, v in net.state_dict().items()}

    net = layers(torch)
    p.l1_unstructured(net[0], "weight", 5)
    keep("l1", net)
    p.ln_structured(net[0], "weight", 0.34, n=2, dim=0)
    keep("then rows", net)
    p.l1_unstructured(net[0], "weight", 0.5)
    keep("then a share of the rest", net)
    net(torch.ones(1, 4)).sum().backward()
    found["grad"] = {"w": net[0].weight_orig.grad.numpy()}
    p.remove(net[0], "weight")
    keep("removed", net)
    p.global_unstructured([(net[0], "bias"), (net[1], "weight"), (net[1], "bias")], p.L1Unstructured, amount=4)
    keep("global", net)
    p.custom_from_mask(net[0], "weight", torch.eye(3, 4))
    p.l1_unstructured(net[1], "weight", 2, importance_scores=torch.arange(6.0).reshape(2, 3))
    keep("mask and scores", net)
    return found


def test_what_is_left():
    found = pruned(numtorch)
    assert (found["l1"]["0.weight_mask"] == 0).sum() == 5 and "0.weight" not in found["l1"]
    assert (found["then rows"]["0.weight_mask"].sum(1) == 0).any()
    assert (found["grad"]["w"][found["then a share of the rest"]["0.weight_mask"] == 0] == 0).all()
    assert "0.weight_mask" not in found["removed"] and (found["removed"]["0.weight"] == 0).sum() >= 5


@pytest.mark.oracle
def test_pytorchs_masks():
    import torch

    for (name, ours), theirs in zip(pruned(numtorch).items(), pruned(torch).values()):
        assert list(ours) == list(theirs), name
        for key in ours:
            np.testing.assert_allclose(ours[key], theirs[key], rtol=1e-6, err_msg=f"{name} {key}")


def test_at_random():
    net = layers(numtorch)
    prune.random_unstructured(net[0], "weight", 0.25)
    prune.random_structured(net[1], "weight", 1, dim=1)
    assert net[0].weight_mask.sum() == 9 and sorted(net[1].weight_mask.sum(0).tolist()) == [0, 2, 2]
    assert prune.is_pruned(net) and not prune.is_pruned(layers(numtorch))
    prune.identity(net[0], "bias")
    assert net[0].bias_mask.tolist() == [1, 1, 1]


def test_training_leaves_zeros_at_zero():
    net = layers(numtorch)
    prune.l1_unstructured(net[0], "weight", 0.5)
    optimizer = numtorch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        net(numtorch.ones(2, 4)).square().sum().backward()
        optimizer.step()
    net(numtorch.ones(2, 4))
    assert (net[0].weight == 0).sum() == 6


@pytest.mark.parametrize(("call", "kind", "message"), [
    (lambda m: prune.l1_unstructured(m, "weight", 1.5), ValueError, "either be a float in the range"),
    (lambda m: prune.l1_unstructured(m, "weight", 99), ValueError, "smaller than the number of parameters to prune=12"),
    (lambda m: prune.l1_unstructured(m, "weight", "all"), TypeError, "Invalid type for amount"),
    (lambda m: prune.remove(m, "weight"), ValueError, "has to be pruned before"),
    (lambda m: prune.ln_structured(m, "bias", 1, 2, 0), ValueError, "multidimensional"),
    (lambda m: prune.random_structured(m, "weight", 1, 5), IndexError, "Invalid index 5"),
    (lambda m: prune.global_unstructured([(m, "weight")], prune.LnStructured, amount=1), TypeError, 'Only "unstructured"'),
    (lambda m: prune.l1_unstructured(m, "weight", 1, numtorch.ones(2)), ValueError, "expected \\(3, 4\\), got \\(2,\\)"),
])  # fmt: skip
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call(layers(numtorch)[0])
