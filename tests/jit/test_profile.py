"""``traced.profile``: every kernel has a time and its work, and profiling leaves no trace."""

from __future__ import annotations

import pytest

import numtorch as torch
from numtorch import jit, nn
from numtorch.jit.machine import SIZES, machine


def step_of():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(32, 3))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return net, step, torch.randn(2, 1, 6, 6), torch.tensor([0, 2])


def test_a_training_step_is_timed_without_effect():
    net, step, x, y = step_of()
    traced = jit.trace(step, (x, y))
    before = [p.detach().clone() for p in net.parameters()], torch.get_rng_state()
    found = traced.profile(x, y, repeat=2)
    assert all(torch.equal(a, b) for a, b in zip(before[0], net.parameters()))
    assert torch.equal(before[1], torch.get_rng_state()) and all(p.grad is None for p in net.parameters())
    assert found.total > 0 and all(r.seconds > 0 for r in found.rows)
    names = " ".join(r.name for r in found.rows)
    assert "convolution" in names and "matmul" in names
    text = str(found)
    assert "GFLOP/s" in text and "test_profile.py:" in text and "this machine" in text
    assert "<table>" in found._repr_html_()


def test_work_of_known_ops():
    a, w = torch.randn(8, 16, requires_grad=True), torch.randn(16, 4)
    found = jit.trace(lambda a, w: a @ w, (a, w)).profile(a, w, repeat=1)
    forward = next(r for r in found.rows if r.name == "matmul" and not r.backward)
    assert forward.flops == 2 * 8 * 16 * 4 and forward.bytes == 4 * (8 * 16 + 16 * 4 + 8 * 4)
    back = [r for r in found.rows if r.backward]
    assert sum(r.flops for r in back) == 2 * 8 * 16 * 4  # w needs no gradient
    x = torch.randn(2, 3, 8, 8)
    conv = nn.Conv2d(3, 5, 3, bias=False)
    with torch.no_grad():
        (row,) = jit.trace(conv, (x,)).profile(x, repeat=1).rows
    assert row.flops == 2 * (2 * 5 * 6 * 6) * (3 * 3 * 3)


def test_other_inputs_are_recorded_for_the_profile():
    traced = jit.trace(lambda x: x * 2 + 1)
    found = traced.profile(torch.ones(5), repeat=1)
    assert len(found.rows) == 1 and found.rows[0].flops == 10 and found.rows[0].bytes == 40
    with pytest.raises(ValueError, match="repeat"):
        traced.profile(torch.ones(5), repeat=0)


def test_the_machine_is_measured_once():
    m = machine()
    assert m is machine() and m.flops > m.flops64 > 1e8 and m.bandwidth() > 1e8
    assert m.bandwidth(10) == m.bandwidths[0] and m.bandwidth(SIZES[-1] * 2) == m.bandwidths[-1]
