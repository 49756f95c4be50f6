"""What a function does to the world, and asks it: traces run such functions eagerly, and the recording does none of it."""

from __future__ import annotations

import contextlib
import csv
import datetime
import io
import logging
import os
import queue
import sys
import threading
import time
import warnings

import pytest

import numtorch as torch
from numtorch import nn

CALLS = 4


def outside(folder):
    """Functions, and how to look at what they did; each is made anew."""
    written, log, rows, waiting, event = io.StringIO(), io.StringIO(), io.StringIO(), queue.Queue(), threading.Event()
    logger = logging.getLogger(f"outside.{id(log)}")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(logging.StreamHandler(log))
    file = folder / "file"
    file.write_text("2")

    def appended(x):
        with open(file, "a") as f:
            f.write("1")
        return x * 2

    def kept(x):
        kept.calls = getattr(kept, "calls", 0) + 1
        return x * 2

    def caught(x):
        try:
            print("caught", file=written)
        except Exception:
            return x * 3
        return x * 2

    counts = {}

    def counted(x):
        counts[x.shape[0]] = counts.get(x.shape[0], 0) + 1
        return x * 2

    return {
        "print": (lambda x: (print("x", file=written), x * 2)[1], written.getvalue),
        "print in a try": (caught, written.getvalue),
        "write": (lambda x: (written.write("x"), x * 2)[1], written.getvalue),
        "log": (lambda x: (logger.info("x %s", x.shape), x * 2)[1], log.getvalue),
        "csv": (lambda x: (csv.writer(rows).writerow([1]), x * 2)[1], rows.getvalue),
        "append to a file": (appended, file.read_text), "read a file": (lambda x: x * float(file.read_text()), lambda: None),
        "queue": (lambda x: (waiting.put(1), x * 2)[1], waiting.qsize), "event": (lambda x: (event.set(), x * 2)[1], event.is_set),
        "attribute of the function": (kept, lambda: kept.calls), "dict that counts": (counted, lambda: dict(counts)),
        "whether a file exists": (lambda x: x * (2 if os.path.exists(folder / "late") else 3), (folder / "late").touch),
    }  # fmt: skip


def values_of(results):
    return [(y.tolist(), what) for y, what in results]


NAMES = [
    "print", "print in a try", "write", "log", "csv", "append to a file", "read a file", "queue", "event", "attribute of the function",
    "dict that counts", "whether a file exists",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_what_is_done_to_the_world_is_done_once_at_each_call(name, tmp_path):
    runs = []
    for use_trace in (False, True):
        folder = tmp_path / str(use_trace)
        folder.mkdir()
        f, look = outside(folder)[name]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if use_trace:
                f = torch.jit.trace(f, torch.ones(2))
            runs.append(values_of([(f(torch.ones(2)), look()) for _ in range(CALLS)]))
    assert runs[0] == runs[1]


ASKED = {
    "time": lambda x: x * time.perf_counter(), "today": lambda x: (x, datetime.datetime.now()),
    "thread": lambda x: x * len(threading.current_thread().name), "threads": lambda x: x * torch.get_num_threads(),
    "folder": lambda x: (x, os.getcwd()), "address": lambda x: (x, x.data_ptr()), "identity": lambda x: (x, id(x)),
    "offset": lambda x: x * x.storage_offset(), "bytes": lambda x: x * int(x.untyped_storage().nbytes), "version": lambda x: x * x._version,
    "leaf": lambda x: x * (2 if x.is_leaf else 3), "history": lambda x: x * (2 if x.grad_fn is None else 3),
    "eval": lambda x: eval("x * 2"), "globals": lambda x: x * globals()["CALLS"], "seed": lambda x: x * torch.initial_seed(),
}  # fmt: skip


@pytest.mark.parametrize("name", ASKED)
def test_what_only_python_can_tell_is_asked_at_each_call(name):
    f = ASKED[name]
    with pytest.warns(UserWarning, match="runs eagerly: it .* at .*test_outside.py:[0-9]+, which no replay repeats"):
        traced = torch.jit.trace(f, torch.ones(2))
        traced(torch.ones(2))
    big = torch.arange(6.0)
    for x in (torch.ones(2), big[2:4], big[4:], torch.ones(2, requires_grad=True) * 1, torch.ones(2).add_(1)):
        want, got = f(x), traced(x)
        if name in ("time", "today"):
            continue
        assert str(want) == str(got)
    assert not traced.paths()


def test_a_file_that_is_read_at_the_first_call_only_is_replayed(tmp_path):
    (tmp_path / "scale").write_text("3")

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = None

        def forward(self, x):
            if self.scale is None:
                self.scale = float((tmp_path / "scale").read_text())
            return x * self.scale

    traced = torch.jit.trace(Net())
    for _ in range(CALLS):
        assert traced(torch.ones(2)).tolist() == [3, 3]
    assert len(traced.paths()) == 1


def test_a_profiler_keeps_its_place():
    seen = []
    before = sys.getprofile()
    sys.setprofile(lambda *a: seen.append(1))
    try:
        torch.jit.trace(lambda x: x * 2, torch.ones(2))
        assert seen and sys.getprofile() is not None
    finally:
        sys.setprofile(before)


def test_what_numtorch_does_for_itself_does_not_count():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

        def step(x):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(net(x), torch.tensor([0, 2]))
            loss.backward()
            optimizer.step()
            return loss

        with contextlib.redirect_stdout(io.StringIO()):
            assert len(torch.jit.trace(step, torch.ones(2, 3)).paths()) == 1


BAD = torch.tensor([1.5, 0.5])
CHECKED = {
    "bce": (lambda x: nn.functional.binary_cross_entropy(x, torch.ones(2)), torch.tensor([0.5, 0.5]), BAD),
    "bce of a NaN": (lambda x: nn.functional.binary_cross_entropy(x, torch.ones(2)), torch.tensor([0.5, 0.5]), BAD * torch.nan),
    "bernoulli": (lambda x: torch.bernoulli(x) * 0, torch.tensor([0.5, 0.5]), BAD),
    "one_hot": (lambda x: nn.functional.one_hot(x, 3), torch.tensor([0, 2]), torch.tensor([0, 3])),
    "one_hot, negative": (lambda x: nn.functional.one_hot(x, 3), torch.tensor([0, 2]), torch.tensor([0, -1])),
    "gaussian_nll": (lambda x: nn.functional.gaussian_nll_loss(BAD, BAD, x), torch.tensor([1.0, 2.0]), -BAD),
    "max_unpool": (lambda i: nn.functional.max_unpool1d(BAD.reshape(1, 1, 2), i, 2), torch.tensor([[[0, 2]]]), torch.tensor([[[0, 9]]])),
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKED)
def test_values_that_eager_mode_refuses_are_refused_at_each_replay(name):
    f, good, bad = CHECKED[name]
    with pytest.raises((RuntimeError, ValueError)) as eager:
        f(bad)
    traced = torch.jit.trace(f, good)
    for _ in range(3):
        assert traced(good).equal(f(good))
        with pytest.raises(eager.type) as found:
            traced(bad)
        assert str(found.value) == str(eager.value)
    assert len(traced.paths()) == 1


@pytest.mark.parametrize(
    "file, module, does", [("numba", "numba", "importlib.import_module('math')"), ("cache", "numtorch.kernels.generated.add", "_thread.get_ident()")]
)  # fmt: skip
def test_what_compiling_does_is_not_the_function(monkeypatch, file, module, does):
    """Kernels may be compiled while a function is recorded: the compiler imports its parts by name, kernels what they use."""
    from numtorch.ops import pointwise

    text = f"import importlib, _thread\ndef compiling(*args):\n    {does}\n    return plain(*args)"
    names = {"plain": pointwise.empty_like_layout, "__name__": module}
    exec(compile(text, os.path.join(os.sep, file, "code.py"), "exec"), names)
    monkeypatch.setattr(pointwise, "empty_like_layout", names["compiling"])
    traced = torch.jit.trace(lambda x: x * 3, torch.ones(2), check_trace=False)
    assert len(traced.paths()) == 1 and traced(torch.ones(2)).tolist() == [3.0, 3.0]
