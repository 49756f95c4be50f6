"""Traces on a simulated GPU: graphs replay what eager does there, with addresses and numbers that change."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numtorch as torch
import numtorch.nn.functional as F
from numtorch import nn
from numtorch.jit import cuda_graph

pytestmark = pytest.mark.simulator


def check_same(found: Any, wanted: Any) -> None:
    assert found.is_cuda
    np.testing.assert_allclose(found.detach().cpu().numpy(), wanted.detach().cpu().numpy(), rtol=1e-5, atol=1e-6)


def traced(gpu: Any, function: Callable, *example: Any) -> Any:
    """The traced function; fails when it would run eagerly."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return torch.jit.trace(function, example)


class Net(nn.Module):
    """Parameters and dropout, without matrix products (which take the simulator seconds)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.scale, self.shift = nn.Parameter(torch.randn(6)), nn.Parameter(torch.zeros(6))

    def forward(self, x: Any) -> Any:
        """Class scores of x (rows, 6)."""
        return F.dropout((x * self.scale + self.shift).tanh(), 0.5, self.training)


def test_forward(gpu: Any) -> None:
    x = torch.randn(4, 6)
    model = Net().eval()
    replay = traced(gpu, copy.deepcopy(model).cuda(), x.cuda())
    for scale in (1.0, -2.0):
        check_same(replay((x * scale).cuda()), model(x * scale))


def test_graphs_are_replayed(gpu: Any) -> None:
    gpu.graphs.clear()
    replay = traced(gpu, lambda x: (x * 2 + 1).relu() - x, torch.ones(8, device="cuda"))
    assert all(len(g.calls) == 1 for g in gpu.graphs), "a chain of elementwise ops is one kernel"
    x = torch.arange(-4.0, 4.0).cuda()
    launches, waits = sum(g.launches for g in gpu.graphs), gpu.waits
    results = [replay(x) for _ in range(3)]
    assert sum(g.launches for g in gpu.graphs) == launches + 3 and gpu.waits == waits, "a replay does not wait"
    for r in results:
        check_same(r, (x.cpu() * 2 + 1).relu() - x.cpu())


def test_addresses_that_come_again_have_graphs_of_their_own(gpu: Any) -> None:
    gpu.graphs.clear()
    replay = traced(gpu, lambda x: x.exp().cumsum(0) * 2, torch.ones(5, device="cuda"))
    inputs = [torch.full((5,), float(k)).cuda() for k in range(6)]
    (program,) = [b.program for b in replay.paths()]
    addresses = [t.data_ptr() for t in inputs]
    program.variants.clear()
    gpu.graphs.clear()
    out = torch.empty(5, device="cuda")
    for k in (0, 1, 0, 1, 2, 3, 1):
        program.run([addresses[k] if s == 0 else out.data_ptr() for s in range(len(program.slots))], None)
        check_same(out, inputs[k].cpu().exp().cumsum(0) * 2)
    assert len(gpu.graphs) == 4 and not any(g.updates for g in gpu.graphs), "one for each set of addresses"
    program.run([addresses[5] if s == 0 else out.data_ptr() for s in range(len(program.slots))], None)
    check_same(out, inputs[5].cpu().exp().cumsum(0) * 2)
    assert len(gpu.graphs) == 4 == len(program.variants) and sum(g.updates for g in gpu.graphs) == 1, "beyond that one is changed"


def test_only_what_changed_is_written_into_the_graph(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graph, "MOST_VARIANTS", 1)
    gpu.graphs.clear()
    w = torch.ones(5, device="cuda")
    replay = traced(gpu, lambda x: w.add_((x * x).sum()), torch.ones(5, 5, device="cuda"))
    (graph,) = gpu.graphs
    x = torch.full((5, 5), 0.5).cuda()
    replay(x)
    updates = graph.updates
    replay(x)
    assert graph.updates == updates and 0 < updates < len(graph.calls)


def test_training_step(gpu: Any) -> None:
    x, target = torch.randn(4, 6), torch.tensor([0, 2, 1, 1])

    def make(model: Any) -> tuple[Callable, Any, Any]:
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)

        def step(x: Any, target: Any) -> Any:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), target)
            loss.backward()
            optimizer.step()
            return loss

        return step, model, scheduler

    eager, mine, slow = make(Net().cuda())
    step, theirs, fast = make(Net().cuda())
    replay = torch.jit.trace(step, (x.cuda(), target.cuda()), check_trace=False)  # compared here
    seeds = []
    for function, scheduler in ((eager, slow), (replay, fast)):
        torch.manual_seed(7)
        losses = []
        for _ in range(2):
            losses.append(function(x.cuda(), target.cuda()))
            scheduler.step()
        seeds.append(losses)
    for a, b in zip(*seeds):
        check_same(b, a)
    for a, b in zip(mine.parameters(), theirs.parameters()):
        check_same(b, a)
        check_same(b.grad, a.grad)


def test_gradients_through_a_trace(gpu: Any) -> None:
    x = torch.randn(3, 4)
    replay = traced(gpu, lambda t: torch.sin(t).exp().sum(1), x.cuda().requires_grad_())
    a, b = x.clone().requires_grad_(), x.cuda().requires_grad_()
    torch.sin(a).exp().sum(1).pow(2).sum().backward()
    replay(b).pow(2).sum().backward()
    check_same(b.grad, a.grad)


def test_branches_on_values(gpu: Any) -> None:
    def function(x: Any) -> Any:
        y = x * 3
        return y.relu() if y.sum() > 0 else -y

    replay = traced(gpu, function, torch.ones(3, device="cuda"))
    for values in ([1.0, 2.0, -1.0], [-5.0, 1.0, 1.0], [2.0, 2.0, 2.0]):
        check_same(replay(torch.tensor(values).cuda()), function(torch.tensor(values)))


def test_two_devices_run_eagerly_and_say_so(gpu: Any) -> None:
    with pytest.warns(UserWarning, match="runs eagerly: a tensor is copied from cuda:0 to cpu"):
        replay = torch.jit.trace(lambda x: (x * 2).cpu() + 1, torch.ones(3, device="cuda"))
    assert replay(torch.zeros(3, device="cuda")).tolist() == [1.0, 1.0, 1.0]


def test_without_graphs(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(calls: Any) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr(gpu, "graph", refuse)
    with pytest.warns(UserWarning, match=r"no CUDA graph could be made \(no room\)"):
        replay = torch.jit.trace(lambda x: x.cumsum(0) * 2, torch.ones(3, device="cuda"))
    assert replay(torch.ones(3).cuda()).tolist() == [2.0, 4.0, 6.0]


def test_a_forward_that_changes_memory_does_not_wait(gpu: Any) -> None:
    norm, x = nn.BatchNorm1d(3).cuda(), torch.randn(4, 3)
    twin = nn.BatchNorm1d(3)
    replay = torch.jit.trace(lambda t: F.dropout(norm(t), 0.5), x.cuda().requires_grad_(), check_trace=False)
    torch.manual_seed(2)
    wanted = [F.dropout(twin(x), 0.5) for _ in range(2)]
    torch.manual_seed(2)
    inputs = [x.cuda().requires_grad_() for _ in range(2)]
    torch.rand(0, device="cuda")
    replay(inputs[0])  # the state of the random numbers goes to the device at its first use
    torch.manual_seed(2)
    norm.load_state_dict(nn.BatchNorm1d(3).state_dict())
    torch.cuda.synchronize()
    first = replay(inputs[0])
    waits = gpu.waits
    second = replay(inputs[1])
    assert gpu.waits == waits, "what the call changes is kept on the GPU"
    for found, one in zip((first, second), wanted):
        check_same(found, one)
    assert not torch.equal(first, second), "dropout is fresh in each replay"
    check_same(norm.running_mean, twin.running_mean)
    check_same(norm.running_var, twin.running_var)


def test_second_derivatives_start_from_memory_as_it_was(gpu: Any) -> None:
    x = torch.linspace(0.5, 1.5, 6)
    replay = torch.jit.trace(lambda t: F.dropout(t * t * t, 0.5).sum(), x.cuda().requires_grad_(), check_trace=False)
    found = []
    for function, device in ((lambda t: F.dropout(t * t * t, 0.5).sum(), "cpu"), (replay, "cuda")):
        t = x.to(device).requires_grad_()
        torch.manual_seed(3)
        (g,) = torch.autograd.grad(function(t), t, create_graph=True)
        (h,) = torch.autograd.grad(g.sum(), t)
        found.append((g, h))
    for a, b in zip(found[1], found[0]):
        check_same(a, b)


def test_a_question_that_fails_undoes_what_was_written(gpu: Any) -> None:
    total = torch.zeros(3, device="cuda")

    def function(x: Any) -> Any:
        total.add_(x)
        return x * 2 if total.sum() > 0 else x * 3

    replay = traced(gpu, function, torch.ones(3, device="cuda"))
    for value, factor in ((1.0, 2.0), (-5.0, 3.0), (9.0, 2.0)):
        assert replay(torch.full((3,), value).cuda()).tolist() == [value * factor] * 3
    assert total.tolist() == [5.0] * 3


def test_shapes_keep_graphs_of_their_own(gpu: Any) -> None:
    replay = traced(gpu, lambda x: x.exp() + 1, torch.ones(3, device="cuda"))
    for n in (3, 5, 3, 5, 7):
        check_same(replay(torch.ones(n).cuda()), torch.ones(n).exp() + 1)
    assert len(replay.paths()) == 3


def test_anomalies_are_found_in_traces(gpu: Any) -> None:
    replay = traced(gpu, lambda x: (x - 1).log().exp() * 0 + x, torch.full((3,), 2.0, device="cuda"))
    x = torch.tensor([2.0, 0.5, 3.0]).cuda()
    assert replay(x).isnan().tolist() == [False, True, False]
    with torch.autograd.detect_anomaly(), pytest.raises(torch.autograd.AnomalyError, match="log"):
        replay(x)
    with torch.autograd.detect_anomaly():
        check_same(replay(torch.full((3,), 2.0).cuda()), torch.full((3,), 2.0))
    y = torch.tensor([1.0, 4.0, 0.0]).cuda().requires_grad_()
    roots = traced(gpu, lambda t: t.sqrt() * 0, y)
    with pytest.warns(), torch.autograd.detect_anomaly(), pytest.raises(torch.autograd.AnomalyError, match="sqrt"):
        roots(y).sum().backward()
