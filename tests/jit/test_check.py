"""``check_trace``: a replay that is not the function is caught, and the place is named."""

from __future__ import annotations

import ctypes
import itertools
import warnings

import numpy as np
import pytest

import numtorch as torch
from numtorch import jit, nn
from numtorch.jit import bound as bound_module
from numtorch.jit.check import TracerWarning, TracingCheckError
from numtorch.jit.gradients import Backward
from numtorch.jit.record import Recording


def test_a_python_number_that_changes_is_named():
    count = ctypes.pointer(ctypes.c_long(0))  # a trace does not follow pointers

    def f(x):
        y = x + 1
        count.contents.value += 1
        return y * count.contents.value  # the culprit

    with pytest.raises(TracingCheckError, match=r"mul \(test_check.py:\d+\) was given .* Python number that changes"):
        jit.trace(f, torch.ones(3))


def test_numbers_from_outside():
    rng = np.random.default_rng(0)

    def f(x):
        return x + torch.from_numpy(rng.random(3).astype(np.float32))

    with pytest.warns(UserWarning, match=r"draws random numbers from Generator.* differ first in add \(test_check.py"):
        jit.trace(f, torch.ones(3))


def test_ops_that_change_from_run_to_run():
    runs = []

    def f(x):
        runs.append(1)
        return x.exp() if len(runs) % 2 else x.tanh()

    with pytest.warns(UserWarning, match=r"changes a list at each call.* does something else: op 0 was (exp|tanh)"):
        jit.trace(f, torch.ones(3))


def test_hidden_state_without_a_difference_in_the_result_is_reported():
    runs = []

    def f(x):
        runs.append(1)
        y = x * len(runs)
        return x + 1 if y is not None else y

    with pytest.warns(TracerWarning, match="mul .* was given"), pytest.warns(UserWarning, match="it changes a list"):
        jit.trace(f, torch.ones(3))


def test_a_wrong_kernel_is_found(monkeypatch):
    """The program is made wrong on purpose: the op that it gets wrong is named, with its line."""
    real = bound_module.lower

    def broken(entries, *more):
        ops = real(entries, *more)
        for op in ops:
            if "exp" in op.entry.name:
                op.words = [3.0 if w == 2.0 and type(w) is float else w for w in op.words]
        return ops

    monkeypatch.setattr(bound_module, "lower", broken)

    def f(x):
        y = x.sum(1, keepdim=True)
        z = (y * 2.0).exp()  # the culprit
        return (z + 1).sum()

    with pytest.raises(TracingCheckError, match=r"first op that differs is \w+ \(test_check.py:\d+\) in the kernel mul\+exp"):
        jit.trace(f, torch.ones(3, 2))


def test_changed_memory_is_compared(monkeypatch):
    net = nn.BatchNorm1d(2)
    real = bound_module.Bound.run

    def wrong(self, leaves, again):
        out = real(self, leaves, again)
        net.running_mean.add_(1.0)
        return out

    monkeypatch.setattr(bound_module.Bound, "run", wrong)
    with pytest.raises(TracingCheckError, match="running_mean of the replay differs"):
        jit.trace(net, torch.randn(4, 2))


def test_the_check_leaves_no_trace_and_can_be_switched_off():
    p = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([p], lr=0.1, momentum=0.9)
    state = torch.get_rng_state()

    def step(x):
        optimizer.zero_grad()
        torch.nn.functional.dropout(p * x, 0.5).sum().backward()
        optimizer.step()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jit.trace(step, torch.ones(2))
    assert p.tolist() == [1, 1] and p.grad is None and torch.equal(state, torch.get_rng_state())
    count = itertools.count()
    with pytest.warns(UserWarning, match="runs eagerly: it takes from count"):
        jit.trace(lambda x: x * next(count), torch.ones(3), check_trace=False)
    assert next(count) == 0  # it is not run for the recording


@pytest.mark.parametrize(("momentum", "count"), [(0.0, 2), (0.9, 3)])
def test_the_run_before_the_recording_is_compared(monkeypatch, momentum, count):
    """Unless it did something else than the recorded one: here it made the buffers of the momentum."""
    p = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([p], lr=0.1, momentum=momentum)
    runs = []
    enter = Recording.__enter__
    monkeypatch.setattr(Recording, "__enter__", lambda self: (runs.append(1), enter(self))[1])

    def step(x):
        optimizer.zero_grad()
        (p * x).sum().backward()
        optimizer.step()

    traced = jit.trace(step, torch.ones(2))
    assert len(runs) == count and p.tolist() == [1, 1]
    traced(torch.ones(2))
    assert p.tolist() == pytest.approx([0.9, 0.9])


def test_a_replay_that_differs_from_the_run_before_is_found(monkeypatch):
    real = bound_module.Bound.run

    def wrong(self, leaves, again):
        return [t + 1 for t in real(self, leaves, again)]

    monkeypatch.setattr(bound_module.Bound, "run", wrong)
    with pytest.raises(TracingCheckError, match="output 0 of the replay differs"):
        jit.trace(lambda x: x * 2, torch.ones(3))


def test_the_backward_is_checked_too(monkeypatch):
    real = Backward.run

    def wrong(self, grads, kept, node):
        return [None if g is None else g * 1.01 for g in real(self, grads, kept, node)]

    monkeypatch.setattr(Backward, "run", wrong)
    with pytest.raises(TracingCheckError, match="the gradient of (weight|bias|input 0) of the replay differs"):
        jit.trace(nn.Linear(3, 2), torch.ones(4, 3, requires_grad=True))
