"""Replays use objects and memory again: nobody who holds anything may notice, and nothing that changed may be overlooked."""

from __future__ import annotations

import gc
import os
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

import numtorch as torch
from numtorch import jit, nn, storage

CALLS = 8  # enough for Python, for native calls, and for every object of a ring


def array(t):
    return t.detach().numpy().copy()


def doubled(example=None):
    traced = jit.trace(lambda x: x * 2, torch.ones(3) if example is None else example)
    for _ in range(CALLS):
        traced(torch.ones(3))
    return traced


def training(optimizer=None, zero=True):
    """A traced step on one weight, warm; the weight, and the step."""
    w = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    o = torch.optim.SGD([w], lr=0.5) if optimizer is None else optimizer(w)

    def step(x):
        if zero:
            o.zero_grad()
        loss = (x * w).sum()
        loss.backward()
        o.step()
        return loss

    traced = jit.trace(step, torch.zeros(3))
    for _ in range(CALLS):
        traced(torch.zeros(3))
    return w, traced, o


def is_native(traced):
    """Whether calls are answered by native code: Python is not entered."""
    before = traced._kinds
    traced._kinds = None
    try:
        traced(torch.ones(3))
    except AttributeError:
        return False
    finally:
        traced._kinds = before
    return True


def test_warm_calls_do_not_enter_python():
    assert is_native(doubled())
    assert is_native(training()[1])


# -- what is kept


def test_kept_outputs_keep_their_values():
    traced = doubled()
    kept = [traced(torch.full((3,), float(k))) for k in range(2 * CALLS)]
    assert [t.tolist() for t in kept] == [[2.0 * k] * 3 for k in range(2 * CALLS)]


def test_kept_views_of_outputs_keep_their_values():
    traced = doubled()
    kept = [traced(torch.full((3,), float(k)))[1:] for k in range(CALLS)]
    assert [t.tolist() for t in kept] == [[2.0 * k] * 2 for k in range(CALLS)]


def test_kept_arrays_of_outputs_keep_their_values():
    traced = doubled()
    kept = [traced(torch.full((3,), float(k))).numpy() for k in range(CALLS)]
    assert [a.tolist() for a in kept] == [[2.0 * k] * 3 for k in range(CALLS)]


def test_changed_outputs_do_not_change_later_ones():
    traced = doubled()
    for k in range(CALLS):
        out = traced(torch.full((3,), float(k)))
        assert out.tolist() == [2.0 * k] * 3 and out._version == 0 and not out.requires_grad
        out.add_(100.0)


def test_marks_on_outputs_are_gone():
    traced = doubled()
    for _ in range(CALLS):
        out = traced(torch.ones(3))
        assert not hasattr(out, "mark") and out.grad is None and out.is_leaf and not out.requires_grad
        out.mark = 1
        out.requires_grad_()
        out.grad = torch.ones(3)


def test_weak_references_to_outputs_die():
    traced = doubled()
    references = [weakref.ref(traced(torch.ones(3))) for _ in range(CALLS)]
    new = traced(torch.ones(3))
    assert all(r() is not new for r in references)


def test_output_as_the_next_input():
    traced = doubled()
    x = torch.ones(3)
    for k in range(CALLS):
        x = traced(x)
        assert x.tolist() == [2.0 ** (k + 1)] * 3


def test_kept_gradients_keep_their_values():
    w, traced, _ = training()
    kept = []
    for k in range(CALLS):
        traced(torch.full((3,), float(k)))
        kept.append(w.grad)
    assert [g.tolist() for g in kept] == [[float(k)] * 3 for k in range(CALLS)]


def test_kept_views_and_arrays_of_gradients_keep_their_values():
    w, traced, _ = training()
    views, arrays = [], []
    for k in range(CALLS):
        traced(torch.full((3,), float(k)))
        (arrays if k % 2 else views).append(w.grad.numpy() if k % 2 else w.grad[:2])
    assert [v.tolist() for v in views] == [[float(k)] * 2 for k in range(0, CALLS, 2)]
    assert [a.tolist() for a in arrays] == [[float(k)] * 3 for k in range(1, CALLS, 2)]


def test_gradients_changed_or_removed_between_calls():
    w, traced, _ = training()
    for k in range(4 * CALLS):
        if k % 4 == 1:
            w.grad.mul_(7.0)
        elif k % 4 == 2:
            w.grad = None
        elif k % 4 == 3:
            w.grad = torch.full((3,), 9.0)
        traced(torch.full((3,), float(k)))
        assert w.grad.tolist() == [float(k)] * 3 and w.grad._version == 0


def test_gradients_that_are_not_zeroed_add_up():
    w, traced, _ = training(zero=False)
    w.grad = None
    for k in range(1, CALLS):
        traced(torch.ones(3))
        assert w.grad.tolist() == [float(k)] * 3
    w.grad.zero_()
    traced(torch.ones(3))
    assert w.grad.tolist() == [1.0] * 3
    w.grad = torch.full((3,), 5.0)
    traced(torch.ones(3))
    assert w.grad.tolist() == [6.0] * 3


def test_losses_kept_in_a_list():
    w, traced, _ = training()
    start = array(w)
    losses = [traced(torch.ones(3)) for _ in range(2 * CALLS)]
    want = [np.float32(start.sum() - 1.5 * k) for k in range(2 * CALLS)]
    assert [loss.item() for loss in losses] == want
    with pytest.raises(RuntimeError, match="second time"):
        losses[0].backward()


# -- what changes between calls


def test_versions_tell_autograd_of_replays():
    w, traced, _ = training()
    before = w._version
    y = (w * w).sum()
    traced(torch.ones(3))
    assert w._version > before
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_learning_rate_set_between_calls():
    w, traced, o = training()
    for lr in (0.5, 0.25, 0.25, 1000.0, 0.125):
        start = array(w)
        o.param_groups[0]["lr"] = lr
        traced(torch.ones(3))
        np.testing.assert_array_equal(array(w), start - np.float32(lr))


def test_learning_rate_in_a_tensor():
    lr = torch.tensor(0.5)
    w, traced, _ = training(lambda w: torch.optim.SGD([w], lr=lr))
    for value in (0.5, 0.25, 2.0):
        start = array(w)
        lr.fill_(value)
        traced(torch.ones(3))
        np.testing.assert_array_equal(array(w), start - np.float32(value))


def test_weights_given_other_memory():
    w, traced, _ = training()
    w.data = torch.tensor([10.0, 20.0, 30.0])
    assert traced(torch.ones(3)).item() == 60.0
    assert w.tolist() == [9.5, 19.5, 29.5]


def test_flag_of_a_captured_tensor():
    w = torch.ones(3, requires_grad=True)
    traced = jit.trace(lambda x: x * w, torch.ones(3))
    for k in range(3 * CALLS):
        w.requires_grad_(k % 3 == 0)
        assert traced(torch.ones(3)).requires_grad == (k % 3 == 0)


def test_history_of_a_captured_tensor():
    w, p = torch.ones(3), torch.full((3,), 2.0, requires_grad=True)
    traced = jit.trace(lambda x: x * w, torch.ones(3))
    for _ in range(CALLS):
        assert not traced(torch.ones(3)).requires_grad
    w.mul_(p)
    with pytest.warns(UserWarning, match="computed from others"):
        out = traced(torch.ones(3))
    assert out.requires_grad and out.tolist() == [2.0] * 3
    out.sum().backward()
    assert p.grad.tolist() == [1.0] * 3


def test_hook_added_and_removed_later():
    w, traced, _ = training()
    handle = w.register_hook(lambda g: g * 10)
    traced(torch.ones(3))
    assert w.grad.tolist() == [10.0] * 3
    handle.remove()
    traced(torch.ones(3))
    assert w.grad.tolist() == [1.0] * 3


def test_hook_of_a_module_added_later():
    net = torch.nn.Linear(3, 3)
    traced = jit.trace(net, torch.ones(1, 3))
    for _ in range(CALLS):
        traced(torch.ones(1, 3))
    handle = net.register_forward_hook(lambda m, args, out: out * 0 + 7)
    assert traced(torch.ones(1, 3)).tolist() == [[7.0] * 3]
    handle.remove()
    np.testing.assert_array_equal(array(traced(torch.ones(1, 3))), array(net(torch.ones(1, 3))))


def test_modes_in_turns():
    w = torch.ones(3, requires_grad=True)
    traced = jit.trace(lambda x: x * w, torch.ones(3))
    for k in range(2 * CALLS):
        with torch.set_grad_enabled(k % 2 == 0):
            assert traced(torch.ones(3)).requires_grad == (k % 2 == 0)
    with torch.inference_mode():
        for _ in range(CALLS):
            assert traced(torch.ones(3)).is_inference()
    assert not traced(torch.ones(3)).is_inference()


def test_argument_that_is_a_captured_tensor():
    w = torch.ones(3)

    def f(x):
        w.add_(1.0)
        return x * 2

    traced = jit.trace(f, torch.zeros(3))
    for _ in range(CALLS):
        assert traced(torch.ones(3)).tolist() == [2.0] * 3
    w.fill_(1.0)
    assert traced(w).tolist() == [4.0] * 3 and w.tolist() == [2.0] * 3
    assert traced(torch.ones(3)).tolist() == [2.0] * 3 and w.tolist() == [3.0] * 3


def test_example_that_is_a_captured_tensor():
    w = torch.full((3,), 3.0)
    traced = jit.trace(lambda x: x * w, w)
    for k in range(CALLS):
        assert traced(w).tolist() == [9.0] * 3
        assert traced(torch.full((3,), float(k))).tolist() == [3.0 * k] * 3


def test_argument_twice_after_warm_calls():
    def f(a, b):
        a.add_(1.0)
        return a + b

    traced = jit.trace(f, (torch.zeros(3), torch.zeros(3)))
    for _ in range(CALLS):
        assert traced(torch.zeros(3), torch.zeros(3)).tolist() == [1.0] * 3
    x = torch.zeros(3)
    assert traced(x, x).tolist() == [2.0] * 3


def test_constants_of_a_call():
    traced = jit.trace(lambda x, k: x * k, (torch.ones(3), 2))
    for k in (2, 2, 2, 2, 3, 2, 3.0, True, 2):
        out = traced(torch.ones(3), k)
        assert out.tolist() == [float(k)] * 3


def test_branches_in_turns():
    traced = jit.trace(lambda x: x * 2 if x.sum() > 0 else x - 1, torch.ones(3))
    for k in range(3 * CALLS):
        sign = -1.0 if k % 3 == 0 else 1.0
        want = -2.0 if k % 3 == 0 else 2.0
        assert traced(torch.full((3,), sign)).tolist() == [want] * 3
    assert len(traced.paths()) == 2


def test_failed_check_has_no_effect():
    w = torch.zeros(4)

    def f(i):
        w.add_(1.0)
        return w[i] * 2

    traced = jit.trace(f, torch.tensor([0, 1]))
    for _ in range(CALLS):
        traced(torch.tensor([3, -1]))
    assert w.tolist() == [float(CALLS)] * 4
    with pytest.raises(IndexError, match="out of bounds"):
        traced(torch.tensor([1, 4]))
    traced(torch.tensor([1, 2]))
    assert len(traced.paths()) == 1


def test_tuples_and_none():
    traced = jit.trace(lambda a, b: (a + b, a, a - b), (torch.ones(3), torch.ones(3)))
    for k in range(CALLS):
        a, b = torch.full((3,), float(k)), torch.ones(3)
        total, same, difference = traced(a, b)
        assert same is a and total.tolist() == [k + 1.0] * 3 and difference.tolist() == [k - 1.0] * 3


# -- threads, processes, memory


@pytest.mark.parametrize("size", [3, 300_000])
def test_threads_replay_one_trace(size):
    traced = jit.trace(lambda x: (x * 2 + 1).exp(), torch.ones(size))
    xs = [torch.full((size,), 0.1 * k) for k in range(4)]
    want = [array((x * 2 + 1).exp()) for x in xs]
    wrong = []

    def run(k):
        wrong.extend(k for _ in range(30) if not np.array_equal(array(traced(xs[k])), want[k]))

    threads = [threading.Thread(target=run, args=(k,)) for k in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not wrong


def test_threads_count_all_their_steps():
    w, traced, _ = training()
    start = array(w)

    def run():
        for _ in range(50):
            traced(torch.ones(3))

    threads = [threading.Thread(target=run) for _ in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    np.testing.assert_array_equal(array(w), start - 100)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_goes_on():
    traced = jit.trace(lambda x: (x * 2 + 1).exp(), torch.ones(300_000))
    x = torch.full((300_000,), 0.5)
    want = [array(traced(x)) for _ in range(CALLS)].pop()
    child = os.fork()
    if child == 0:
        ok = all(np.array_equal(array(traced(x)), want) for _ in range(CALLS))
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(array(traced(x)), want)


def test_same_bits_for_any_number_of_threads():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 64))
    x, y = torch.randn(128, 64), torch.randn(128, 64)
    state = {k: v.clone() for k, v in net.state_dict().items()}
    threads, results = torch.get_num_threads(), []
    try:
        for n in (1, 2, 8):
            torch.set_num_threads(n)
            net.load_state_dict(state)
            o = torch.optim.SGD(net.parameters(), lr=0.1)

            def step(x, y, o=o):
                o.zero_grad()
                loss = torch.nn.functional.mse_loss(net(x), y)
                loss.backward()
                o.step()
                return loss

            traced = jit.trace(step, (x, y))
            results.append(
                [traced(x, y).item() for _ in range(2 * CALLS)] + [p.tolist() for p in net.parameters()]
            )
    finally:
        torch.set_num_threads(threads)
    assert results[0] == results[1] == results[2]


def test_memory_stays_flat():
    _, traced, _ = training()
    forward, x = doubled(), torch.ones(3)

    def run(n):
        for _ in range(n):
            traced(x)
            forward(x)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        run(200)
        before = run(200)
        after = run(5000)
    finally:
        tracemalloc.stop()
    assert after - before < 2000


def test_traces_are_collected():
    reference = weakref.ref(doubled())
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize("by_module", [False, True])
def test_a_step_that_drops_its_gradients_is_recorded_once(by_module: bool) -> None:
    """Whether there are gradients yet makes no difference to it."""
    net = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)

    def step(x):
        (net if by_module else optimizer).zero_grad()
        loss = net(x).square().sum()
        loss.backward()
        optimizer.step()
        return loss

    x = torch.randn(4, 3)
    traced = jit.trace(step, x)
    losses = [traced(x).item() for _ in range(4)]
    assert len(traced.paths()) == 1 and losses == sorted(losses, reverse=True) and net.weight.grad is not None


def test_a_trace_holds_no_more_memory_than_it_needs():
    net = torch.nn.Sequential(*[torch.nn.Linear(512, 512) for _ in range(6)])
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    x = torch.ones(4096, 512)

    def step(x):
        optimizer.zero_grad()
        loss = net(x).sum()
        loss.backward()
        optimizer.step()
        return loss

    storage.empty_cache()
    step(x)
    eager = storage.cached_bytes()
    traced = torch.jit.trace(step, x)
    for _ in range(4):
        traced(x)
    assert storage.cached_bytes() < 1 << 24 < eager
    (bound,) = traced.paths()
    assert bound.program.peak < eager and not bound.path.recorder.undo
    large = [ring for table in traced._tables for ring in table.rings if ring.nbytes > storage.SMALL]
    assert large and all(len({id(t) for t, _, _ in ring.entries}) <= 2 for ring in large)
