"""The profiler: events nested as the program is, averages, a Chrome trace, and nothing left behind."""

from __future__ import annotations

import json

import pytest

import numtorch as torch
from numtorch import nn
from numtorch.profiler import ProfilerActivity, profile, record_function


def step(net, optimizer, x):
    optimizer.zero_grad()
    net(x).pow(2).mean().backward()
    optimizer.step()


def test_a_training_step():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True, with_stack=True) as p:
        step(net, optimizer, torch.ones(2, 3))
    kinds = {e.kind for e in p.events()}
    assert {"op", "module", "backward", "optimizer"} <= kinds
    names = [e.name for e in p.events()]
    assert "matmul" in names and "ReluBackward0" in names and "SGD.step" in names and "" not in names
    matmul = next(e for e in p.events() if e.name == "matmul")
    assert matmul.shapes.startswith("[2, 3], [3, 4]") and matmul.module == "Sequential.0" and "test_profiler.py:" in matmul.line
    assert matmul.bytes == 2 * 4 * 4 and matmul.depth == 2
    assert torch.autograd.mode.state.anomaly is None and not torch.is_anomaly_enabled()


def test_own_time_is_what_is_not_inside():
    with profile() as p, record_function("outer"):
        for _ in range(3):
            torch.ones(100).exp()
    outer = p.events()[0]
    inside = [e for e in p.events() if e.depth == 1]
    assert outer.name == "outer" and outer.own == outer.duration - sum(e.duration for e in inside)
    averages = {a.key: a for a in p.key_averages()}
    assert averages["exp"].count == 3 and averages["exp"].bytes == 3 * 400
    table = p.key_averages().table(sort_by="count", row_limit=2)
    assert "exp" in table and "outer" not in table
    with pytest.raises(ValueError, match="no column"):
        p.key_averages().table(sort_by="colour")


def test_chrome_trace(tmp_path):
    found = []
    with profile(on_trace_ready=found.append) as p:
        torch.ones(3).mul(2)
        p.step()
    p.export_chrome_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert [e["name"] for e in events] == ["fill", "mul", "ProfilerStep"] and found == [p]
    assert all(e["ph"] == "X" and e["dur"] >= 0 for e in events)
    assert "mul" in str(p) and p._repr_html_().startswith("<table>")


def test_traces_are_one_event():
    traced = torch.jit.trace(lambda x: (x * 2).exp(), torch.ones(3))
    with profile() as p:
        out = traced(torch.ones(3))
    assert [(e.name, e.kind) for e in p.events() if e.kind != "op"] == [("replay of <lambda>", "replay")]
    assert torch.equal(out, (torch.ones(3) * 2).exp())


def test_anomalies_are_found_under_a_profile():
    with torch.autograd.detect_anomaly(), profile() as p:
        assert torch.is_anomaly_enabled()
        with pytest.raises(torch.autograd.AnomalyError, match="'log'"):
            torch.log(torch.tensor([-1.0]))
    assert "log" in [e.name for e in p.events()]


def test_custom_functions_errors_and_shapes():
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

    x = torch.ones(2, requires_grad=True)
    with profile(record_shapes=True) as p:
        Twice.apply(x).sum().backward()
        with pytest.raises(RuntimeError):
            torch.ones(2) + torch.ones(3)
        torch.ones(2, 2).exp()
        torch.ones(3).exp()
    assert "TwiceBackward" in [e.name for e in p.events()]
    assert [a.shapes for a in p.key_averages(group_by_input_shape=True) if a.key == "exp"] == ["[2, 2]", "[3]"]
    with pytest.raises(RuntimeError, match="without start"):
        profile().stop()


@pytest.mark.parametrize("asked", [{}, {"repeat": 2}, {"repeat": 1, "skip_first": 2}, {"skip_first_wait": 1}, {"warmup": 2, "wait": 0}])
@pytest.mark.oracle
def test_schedules_are_those_of_pytorch(asked):
    profiler = pytest.importorskip("torch").profiler
    steps = {"wait": 1, "warmup": 1, "active": 2, **asked}
    want, have = profiler.schedule(**steps), torch.profiler.schedule(**steps)
    assert [have(k).name for k in range(14)] == [want(k).name for k in range(14)]


def test_a_schedule_records_cycles():
    found = []
    plan = torch.profiler.schedule(wait=1, warmup=1, active=2, repeat=2)
    with torch.profiler.profile(schedule=plan, on_trace_ready=lambda p: found.append((p.step_num, [e.name for e in p.events()]))) as p:
        for k in range(10):
            torch.full((2,), float(k)).exp() if k % 2 else torch.full((2,), float(k)).sin()
            p.step()
    assert found == [(4, ["fill", "sin", "ProfilerStep", "fill", "exp", "ProfilerStep"]), (8, ["fill", "sin", "ProfilerStep", "fill", "exp", "ProfilerStep"])]
    with pytest.raises(AssertionError, match="Invalid profiler schedule arguments. Got wait=1"):
        torch.profiler.schedule(wait=1, warmup=1, active=0)
    with pytest.warns(UserWarning, match="won't be using warmup"):
        torch.profiler.schedule(wait=1, warmup=0, active=1)
    with pytest.raises(RuntimeError, match="stop.. without start"):
        p.stop()


def test_traces_for_tensorboard(tmp_path):
    with torch.profiler.profile(on_trace_ready=torch.profiler.tensorboard_trace_handler(str(tmp_path / "log"), "me")):
        torch.ones(2).exp()
    (path,) = (tmp_path / "log").iterdir()
    assert path.name.startswith("me.") and path.name.endswith(".pt.trace.json") and '"exp"' in path.read_text()
