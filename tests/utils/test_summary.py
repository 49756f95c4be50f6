"""``summary`` and ``watch``: numbers that can be checked by hand, and no effect on the model."""

from __future__ import annotations

import sys

import pytest

import numtorch as torch
from numtorch import nn


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 10, 5), nn.Conv2d(10, 20, 5)
        self.norm = nn.BatchNorm2d(20)
        self.head = nn.Sequential(nn.Linear(320, 50), nn.ReLU(), nn.Dropout(0.5), nn.Linear(50, 10))

    def forward(self, x):
        x = torch.max_pool2d(self.first(x), 2).relu()
        return self.head(torch.max_pool2d(self.norm(self.second(x)), 2).flatten(1))


def test_layers_shapes_parameters_and_operations():
    net = LeNet()
    state = torch.get_rng_state()
    found = torch.utils.summary(net, (2, 1, 28, 28))
    assert torch.equal(state, torch.get_rng_state()) and int(net.norm.num_batches_tracked) == 0
    layers = {layer.name: layer for layer in found.layers}
    assert [layer.name for layer in found.layers][:3] == ["LeNet", "first", "second"]
    assert layers["first"].inputs == "[2, 1, 28, 28]" and layers["first"].outputs == "[2, 10, 24, 24]"
    assert layers["first"].parameters == 260 and layers["first"].flops == 2 * (2 * 10 * 24 * 24) * 25
    linear = next(layer for layer in found.layers if layer.kind == "Linear")
    assert linear.flops == 2 * 50 * (2 * 320 + 1) and linear.depth == 2
    assert found.parameters == found.trainable == sum(p.numel() for p in net.parameters())
    assert found.parameter_bytes == 4 * found.parameters and found.input_bytes == 2 * 784 * 4
    text = str(found)
    assert f"{found.parameters:,} parameters" in text and "FLOPs" in text and "<table>" in found._repr_html_()


def test_several_inputs_and_data():
    class Two(nn.Module):
        def forward(self, a, b):
            return a + b, {"b": b}

    found = torch.utils.summary(Two(), [(2, 3), (3,)])
    assert found.layers[0].inputs == "[2, 3], [3]" and found.layers[0].outputs == "[2, 3], [3]" and found.flops == 6
    table = nn.Embedding(5, 2)
    assert torch.utils.summary(table, (4,), dtypes=[torch.int64]).layers[0].outputs == "[4, 2]"
    assert torch.utils.summary(table, input_data=torch.tensor([1])).layers[0].outputs == "[1, 2]"
    with pytest.raises(ValueError, match="input_size"):
        torch.utils.summary(table)
    with pytest.raises(ValueError, match="dtype"):
        torch.utils.summary(table, (4,), dtypes=[torch.int64] * 2)


def test_hooks_are_removed_after_an_error():
    net = nn.Linear(3, 2)
    with pytest.raises(RuntimeError):
        torch.utils.summary(net, (2, 7))
    assert not net._forward_hooks and not net._forward_pre_hooks and torch.autograd.mode.state.recorder is None


def test_statistics_of_a_step():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        net[0].bias.fill_(-100.0)  # every unit dies
    with torch.utils.watch(net) as seen:
        net(torch.ones(3, 4)).sum().backward()
        net(torch.ones(3, 4)).sum().backward()
    assert seen.activations["1"].zeros == 1 and seen.gradients["0.weight"].zeros == 1
    assert seen.gradients["2.bias"].mean == 3 and len(seen.history) == 2 * (3 + 2 * 4)
    text = str(seen)
    assert "dead" in text and "all zero" in text and "<table>" in seen._repr_html_()
    assert not net[0]._forward_hooks


def test_statistics_tell_what_is_wrong():
    net = nn.Linear(2, 1)
    seen = torch.utils.watch(net, activations=False, every=2)
    for scale in (1e9, 1.0, 1e-12, 1.0, float("nan")):
        (net(torch.ones(1, 2)) * scale).sum().backward()
    remarks = [seen._remark("gradient", name, v) for kind, name, v in seen.history if kind == "gradient" and name == "weight"]
    assert remarks == ["explodes", "vanishes", "2 not finite"] and not seen.activations
    seen.close()
    with pytest.raises(ValueError, match="every"):
        torch.utils.watch(net, every=0)


def test_watching_sees_each_call_of_a_trace():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    def step(x):
        optimizer.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    x = torch.ones(2, 4)
    traced = torch.jit.trace(step, x)
    for _ in range(3):
        traced(x)
    with torch.utils.watch(net) as seen:
        for _ in range(3):
            traced(x)
    readings = [v.mean for kind, name, v in seen.history if (kind, name) == ("activation", "2")]
    assert len(readings) == 3 and len(set(readings)) == 3
    assert len([1 for kind, name, _ in seen.history if (kind, name) == ("gradient", "0.weight")]) == 3
    traced(x)
    called = []
    sys.setprofile(lambda frame, event, arg: called.append(frame.f_code))
    try:
        for _ in range(3):
            traced(x)
    finally:
        sys.setprofile(None)
    assert step.__code__ not in called, "it is replayed again"
