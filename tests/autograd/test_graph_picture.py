"""``autograd.graph.graph``: what is behind a tensor, as text and as a picture."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from test_drawing import check

import numtorch as torch
from numtorch import nn
from numtorch.drawing import embedded


def test_nodes_leaves_and_names():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    loss = net(torch.ones(2, 3)).pow(2).mean()
    found = torch.autograd.graph.graph(loss, params=net)
    text = str(found)
    assert len(found.leaves) == 4 and "0.weight: float32[4, 3]" in text and "ReluBackward0" in text
    assert found.nodes == sorted(found.nodes, key=lambda n: n.seq) and found.nodes[-1] is loss.grad_fn
    boxes = found.drawing().boxes
    assert [b.kind for b in boxes].count("leaf") == 4 and boxes[-1].lines == ["result", "float32[]"]
    assert any("keeps" in line for b in boxes for line in b.lines)


def test_the_picture_is_sound():
    x = torch.ones(3, requires_grad=True)
    y = x.sin()
    for _ in range(30):
        y = y * x + y.cos()
    bundle = torch.autograd.graph.graph(y.sum())._repr_mimebundle_()
    ET.fromstring(bundle["image/svg+xml"])
    check(torch.autograd.graph.graph(y.sum()).drawing())
    assert "nodes" in bundle["text/plain"] and embedded(bundle["image/svg+xml"]) in bundle["text/html"]


def test_lines_and_modules_under_anomaly_detection():
    net = nn.Sequential(nn.Linear(2, 2))
    with torch.autograd.detect_anomaly():
        out = net(torch.ones(1, 2)).sum()
    text = str(torch.autograd.graph.graph(out))
    assert "in Sequential.0" in text and "test_graph_picture.py:" in text


def test_freed_graphs_and_nothing_to_show():
    x = torch.ones(2, requires_grad=True)
    loss = (x * x).sum()
    loss.backward()
    assert "freed" in str(torch.autograd.graph.graph(loss))
    assert len(torch.autograd.graph.graph(x).leaves) == 1
    with pytest.raises(RuntimeError, match="requires grad"):
        torch.autograd.graph.graph(torch.ones(2))
