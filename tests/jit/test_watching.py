"""Traces under anomaly detection: replayed natively while nothing is found, taken op by op with eager effects when something is."""

from __future__ import annotations

import ctypes
import linecache
import threading
import warnings

import numpy as np
import pytest

import numtorch as torch
from numtorch import nn
from numtorch.autograd import AnomalyError, detect_anomaly

F = nn.functional
INF, NAN = float("inf"), float("nan")


class Counting:
    """A function and how often Python has run it."""

    def __init__(self, function):
        self.function, self.count = function, ctypes.pointer(ctypes.c_long(0))  # a trace does not follow pointers

    def __call__(self, *args):
        self.count.contents.value += 1
        return self.function(*args)

    @property
    def calls(self):
        return self.count.contents.value


def training(trace):
    """A step with dropout, batch norm and Adam, and all that it changes."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Linear(4, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)

    def step(x):
        optimizer.zero_grad()
        loss = torch.log(net(x).square().mean() + x.min())
        loss.backward()
        optimizer.step()
        return loss

    counted = Counting(step)
    function = torch.jit.trace(counted, (torch.ones(5, 3) + torch.arange(5.0)[:, None],)) if trace else counted
    torch.manual_seed(3)

    def held():
        tensors = [*net.state_dict().values(), *[v for s in optimizer.state.values() for v in s.values() if hasattr(v, "numpy")]]
        grads = [p.grad for p in net.parameters() if p.grad is not None]
        return [t.numpy().copy() for t in (*tensors, *grads, torch.get_rng_state())]

    return function, counted, held


def same(a, b):
    return len(a) == len(b) and all(np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b))


def batches():
    generator = torch.Generator().manual_seed(5)
    return [torch.rand(5, 3, generator=generator) for _ in range(6)]


def test_a_clean_step_is_replayed_natively_with_eager_results():
    eager, _, held = training(False)
    with detect_anomaly():
        losses = [float(eager(x).detach()) for x in batches()]
    want = held()
    traced, counted, held = training(True)
    recorded = None
    with detect_anomaly():
        for k, x in enumerate(batches()):
            assert float(traced(x).detach()) == losses[k]
            recorded = counted.calls if k == 1 else recorded  # the second call finds gradients: a path of its own
    assert counted.calls == recorded and same(want, held())
    assert any(d.bound.looks is not None for d in traced._tables)


def test_what_raises_leaves_what_eager_mode_leaves():
    found = []
    for trace in (False, True):
        step, counted, held = training(trace)
        with detect_anomaly():
            for x in batches()[:4]:
                step(x)
            before, calls = held(), counted.calls
            with pytest.raises(AnomalyError) as error:
                step(-10.0 - batches()[4])
            assert error.value.op == "log" and counted.calls == calls + 1
        after = held()
        assert not same(before, after)  # the running statistics and the random numbers have moved on
        step(batches()[5])
        found += [(str(error.value).split("The call")[0], after, held())]
    (text, after, last), (text2, after2, last2) = found
    assert text == text2 and same(after, after2) and same(last, last2)


def test_it_switches_with_the_mode():
    function = Counting(lambda x: torch.where(x > 0, torch.log(x), x) * 2)
    traced = torch.jit.trace(function, torch.ones(2))
    x = torch.tensor([-1.0, 1.0])
    for _ in range(3):
        traced(torch.ones(2))
        assert traced(x).tolist() == [-2.0, 0.0]
        calls = function.calls
        with detect_anomaly():
            for _ in range(3):
                traced(torch.ones(2))
            assert function.calls == calls
            with pytest.raises(AnomalyError, match="'log'"):
                traced(x)
    assert traced(x).tolist() == [-2.0, 0.0]


def test_masks_are_legal_and_replayed():
    function = Counting(lambda x: x.masked_fill(x < 0, -INF).softmax(-1))
    traced = torch.jit.trace(function, torch.ones(2, 3))
    x = torch.tensor([[1.0, -1.0, 2.0], [0.0, -2.0, 0.0]])
    calls = function.calls
    with detect_anomaly():
        results = [traced(x) for _ in range(4)]
    assert function.calls == calls and all(torch.equal(r, traced(x)) for r in results)
    overflow = torch.jit.trace(torch.exp, torch.ones(1))
    with detect_anomaly(check_inf=True), pytest.raises(AnomalyError, match="'exp' returned inf"):
        overflow(torch.tensor([1000.0]))


def test_data_that_is_dealt_with_passes():
    traced = torch.jit.trace(lambda x: torch.where(torch.isnan(x), 0.0, x).sum() + x.nan_to_num().sum(), torch.ones(3))
    with detect_anomaly():
        for _ in range(3):
            assert traced(torch.tensor([1.0, NAN, 2.0])).item() == 6.0


def test_data_that_reaches_the_end_is_told():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    traced = torch.jit.trace(net, torch.ones(1, 2))
    with detect_anomaly():
        traced(torch.ones(1, 2))
        with pytest.raises(AnomalyError, match="brought it in with the data"):
            traced(torch.tensor([[NAN, 1.0]]))


def test_an_infinity_of_a_replay_is_traced_back():
    traced = torch.jit.trace(lambda x: (x * 2).exp() + 1, torch.ones(1))
    with detect_anomaly():
        for _ in range(4):
            traced(torch.ones(1))
        y = traced(torch.tensor([1000.0]))
        with pytest.raises(AnomalyError, match="infinite since op 'exp'"):
            _ = y - y


def test_other_threads_are_not_watched():
    traced = torch.jit.trace(lambda x: torch.log(x) * 2, torch.ones(2))
    x, found = torch.tensor([-1.0, 1.0]), []

    def run():
        found.extend(bool(torch.isnan(traced(x)).any()) for _ in range(4))

    with detect_anomaly():
        for _ in range(4):
            traced(torch.ones(2))
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        with pytest.raises(AnomalyError, match="'log'"):
            traced(x)
    assert found == [True] * 4


def test_gradients_through_a_trace():
    """The forward replays; the backward program is looked at, and taken again where a NaN was born in it."""
    net = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.Tanh())
    forward = Counting(lambda x: net(x).square().sum(-1).sqrt())
    traced = torch.jit.trace(forward, torch.ones(2, 3))
    x = torch.ones(2, 3)
    with detect_anomaly(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(3):
            (traced(x) + 1).log().sum().backward()
        calls = forward.calls
        with torch.no_grad():
            for p in net.parameters():
                p.zero_()
        before = torch.get_rng_state()
        y = traced(x)
        drawn = torch.get_rng_state()
        with pytest.raises(AnomalyError) as error:
            (y * 0.0).sum().backward()
    assert forward.calls == calls + 1 and error.value.op == "sqrt" and not torch.equal(before, drawn)
    assert torch.equal(torch.get_rng_state(), drawn), "taking the forward again has no effect"
    assert "forward = Counting" in str(error.value) and "y = traced(x)" in str(error.value)


def test_the_second_derivative_of_a_trace():
    def cube(x):
        return (x - 1).pow(1.5)  # the line

    traced = torch.jit.trace(cube, torch.tensor([4.0], requires_grad=True))
    x = torch.tensor([1.0], requires_grad=True)
    with detect_anomaly(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (g,) = torch.autograd.grad(traced(x).sum(), x, create_graph=True)
        with pytest.raises(AnomalyError) as error:
            (g * 0.0).sum().backward()
    assert "# the line" in str(error.value) and "Made in the backward of 'PowBackward0'" in str(error.value)


def test_a_function_that_fails_for_a_nan_names_the_nan():
    def f(x):
        y = torch.log(x)
        if not bool((y > -5).all()):
            raise ValueError("out of range")
        return y

    traced = torch.jit.trace(f, torch.ones(2))
    with detect_anomaly(), pytest.raises(AnomalyError, match="'log'"):
        traced(torch.tensor([-1.0, 1.0]))
    with pytest.raises(ValueError, match="out of range"):
        traced(torch.tensor([-1.0, 1.0]))


def test_new_paths_are_recorded_without_being_watched():
    traced = torch.jit.trace(lambda x: torch.log(x))
    with detect_anomaly():
        assert traced(torch.ones(2)).tolist() == [0.0, 0.0]
        assert traced(torch.ones(3)).tolist() == [0.0] * 3
        with pytest.raises(AnomalyError, match="'log'"):
            traced(torch.tensor([[-1.0]]))
    assert len(traced.paths()) == 3


def test_a_profile_and_anomaly_detection_at_once():
    traced = torch.jit.trace(lambda x: torch.log(x) * 2, torch.ones(2))
    with detect_anomaly(), torch.profiler.profile() as p:
        traced(torch.ones(2))
        with pytest.raises(AnomalyError, match="'log'"):
            traced(torch.tensor([-1.0, 1.0]))
    assert [e.name for e in p.events() if e.kind == "replay"]


def test_a_fused_backward_of_a_replay_from_before():
    """The forward ran unwatched and drew numbers, so it can't be taken again: the fused kernel's parts are run one by one."""
    drop = nn.Dropout(0.5)

    def f(x):
        z = drop(x) * 2 - 4
        z = z * z
        a = z.sin()
        b = (a * 0 + z).sqrt()  # the line
        return (b * 3).tanh() * a

    x = torch.tensor([1.0, 1.0, 1.0, 1.0], requires_grad=True)
    traced = torch.jit.trace(f, (x,))
    y = traced(x)
    kernels = [op.entry.name for op in traced.paths()[0].backward.ops]
    assert any("tanh_grad+sqrt_grad" in name for name in kernels)
    with detect_anomaly(), warnings.catch_warnings(), pytest.raises(AnomalyError, match="in the kernel .*tanh_grad") as error:
        warnings.simplefilter("ignore")
        (y * 0.0).sum().backward()
    assert error.value.op == "sqrt" and "# the line" in linecache.getline(__file__, int(error.value.line.rpartition(":")[2]))


def test_the_backward_of_a_loaded_trace(tmp_path):
    def f(x):
        y = x * 2
        return y.sqrt()  # the root

    torch.jit.trace(f, torch.ones(2, requires_grad=True)).save(tmp_path / "f")
    loaded = torch.jit.load(tmp_path / "f")
    x = torch.tensor([0.0, 1.0], requires_grad=True)
    with detect_anomaly(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded(torch.ones(2, requires_grad=True)).sum().backward()
        with pytest.raises(AnomalyError, match="'sqrt_grad'") as error:
            (loaded(x) * 0.0).sum().backward()
        assert "# the root" in linecache.getline(__file__, int(error.value.line.rpartition(":")[2]))
        with pytest.raises(AnomalyError) as error:
            torch.log(x - 1)  # another line
        assert "# another line" in linecache.getline(__file__, int(error.value.line.rpartition(":")[2]))
