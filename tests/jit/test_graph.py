"""``traced.graph``: the listing and the picture of what was recorded."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from test_drawing import check

import numtorch as torch
from numtorch import jit, nn
from numtorch.drawing import embedded
from numtorch.jit.picture import drawing


def training():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3))
    optimizer = torch.optim.Adam(net.parameters())

    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return jit.trace(step, (torch.randn(2, 1, 6, 6), torch.tensor([0, 2])))


def test_names_shapes_lines_and_effects():
    text = str(training().graph)
    assert "step(input0: float32[2, 1, 6, 6], input1: int64[2])" in text
    assert "convolution(input0, 0.weight, 0.bias, stride=(1, 1)" in text and "# test_graph.py:" in text
    assert "exp_avg of 4.weight" in text and "1.running_mean" in text
    assert "check " in text and "between 0 and 2" in text  # the targets' range
    assert "changes " in text and "sets .grad" in text and "kernel calls" in text


def test_fused_groups_are_shown_together():
    graph = jit.trace(lambda x: torch.tanh(x * 2 + 1).sum(), torch.ones(3)).graph
    fused = [g for g in graph.groups if len(g.entries) > 1]
    assert [e.name for e in fused[0].entries] == ["mul", "add", "tanh"] and fused[0].kernels == 1
    text = str(graph)
    assert "one kernel: mul+add+tanh" in text and "| %0: float32[3] = mul(input0, 2)" in text
    boxes = drawing(graph).boxes
    assert [b.kind for b in boxes] == ["input", "fused", "op", "output"]
    assert boxes[1].lines[:4] == ["mul+add+tanh", "  mul", "  add", "  tanh"]


def test_what_is_not_run_is_said():
    def f(x):
        x.exp()
        return x * 2

    text = str(jit.trace(f, torch.ones(3)).graph)
    line = next(row for row in text.splitlines() if "exp(" in row)
    assert "optimised away" in line and "1 optimised away" in text


def test_values_that_were_read_are_checks():
    traced = jit.trace(lambda x: x * x.max().item(), torch.ones(3) * 4)
    assert "check %0: == 4.0" in str(traced.graph)


def test_backward_of_a_traced_forward():
    net = nn.Linear(3, 2)
    graph = jit.trace(net, (torch.ones(4, 3),)).graph
    assert "backward(gradient0: float32[4, 2])" in str(graph)
    lines = [line for b in drawing(graph).boxes for line in b.lines]
    assert "  gradient of weight" in lines and "  gradient of bias" in lines


@pytest.mark.parametrize("make", [training, lambda: transformer(3)], ids=["training", "large"])
def test_the_picture(make):
    traced = make()
    bundle = traced._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "image/svg+xml", "text/html"}
    picture = ET.fromstring(bundle["image/svg+xml"])
    assert float(picture.get("width")) < 3000 and embedded(bundle["image/svg+xml"]) in bundle["text/html"]
    check(drawing(traced.graph))


def transformer(layers):
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.1)
    net = nn.TransformerEncoder(layer, layers)
    traced = jit.trace(net, (torch.randn(2, 5, 16, requires_grad=True),))
    assert len(traced.graph) > 150
    return traced


def test_a_fused_box_shows_what_others_read():
    w = torch.ones(3, 3, requires_grad=True)

    def step(x, y):
        loss = torch.nn.functional.cross_entropy(x @ w, y)
        (w.grad,) = torch.autograd.grad(loss, w)
        return loss

    traced = torch.jit.trace(step, (torch.ones(2, 3), torch.tensor([0, 1])))
    boxes = traced._repr_mimebundle_()["image/svg+xml"].split("cross_entropy+cross_entropy_backward")[1]
    assert boxes.index("float32[]") < boxes.index("float32[2, 3]")


def test_nothing_recorded():
    traced = jit.trace(lambda x: x)
    with pytest.raises(RuntimeError, match="recorded nothing"):
        _ = traced.graph
    assert "text/plain" in traced._repr_mimebundle_()
