"""Traced forwards called with gradients on: nodes, what they keep, and their way back, by Python and by native calls."""

from __future__ import annotations

import gc
import sys
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

import numtorch as torch
from numtorch import jit
from numtorch.kernels import caller

CALLS = 6  # enough for Python and for native calls, there and back

only_native = pytest.mark.skipif(not caller.IS_AVAILABLE, reason="needs the native driver")


@pytest.fixture
def switching():
    """Threads take turns as often as Python can make them."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def array(t):
    return None if t is None else t.detach().numpy().copy()


def f(x, w):
    return (x @ w).tanh() * w.sum()


def leaf(*shape):
    return torch.randn(*shape, requires_grad=True)


def warm(function, *args):
    """A trace of a function that has gone there and back by Python and natively."""
    traced = jit.trace(function, args)
    for _ in range(CALLS):
        out = traced(*args)
        out = out if isinstance(out, tuple) else (out,)
        torch.autograd.grad([o.sum() for o in out], [t for t in args if t.requires_grad] or [captured(traced)[0]])
    return traced


def captured(traced):
    return [t for t in traced.paths()[0].path.leaves if type(t) is not tuple]


def model():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    traced = jit.trace(net, torch.ones(2, 6))
    for _ in range(CALLS):
        traced(torch.ones(2, 6)).sum().backward()
    net.zero_grad()
    return net, traced


def is_native(traced, *args):
    """Whether a call, and the way back from it, are answered by native code: Python's way is not entered."""
    before = traced._kinds
    traced._kinds = None
    try:
        out = traced(*args)
    except AttributeError:
        return False
    finally:
        traced._kinds = before
    back = out.grad_fn.bound.way_back
    count = back.runs
    torch.autograd.grad(out.sum(), captured(traced) or [t for t in args if t.requires_grad])
    return back.runs == count


def check_gradients(net, traced, x):
    """Compare a forward and its gradients with eager's."""
    net.zero_grad()
    out = traced(x)
    (out * out).sum().backward()
    found = [array(p.grad) for p in net.parameters()]
    net.zero_grad()
    want = net(x)
    (want * want).sum().backward()
    np.testing.assert_allclose(array(out), array(want), rtol=1e-5, atol=1e-6)
    for a, p in zip(found, net.parameters()):
        np.testing.assert_allclose(a, array(p.grad), rtol=1e-4, atol=1e-5)
    net.zero_grad()


# -- silent first: gradients that could be wrong without anybody noticing


def test_threads_go_back_through_one_trace(switching):
    traced, wrong = jit.trace(f, (leaf(64, 64), leaf(64, 64))), []

    def run(k):
        generator = torch.Generator().manual_seed(k)
        for _ in range(60):
            a, b = (torch.randn(64, 64, generator=generator, requires_grad=True) for _ in range(2))
            x, w = a.detach().requires_grad_(), b.detach().requires_grad_()
            f(a, b).sum().backward()
            traced(x, w).sum().backward()
            wrong.extend(k for t, s in ((x, a), (w, b)) if not np.allclose(t.grad.numpy(), s.grad.numpy(), rtol=1e-3, atol=1e-2))

    threads = [threading.Thread(target=run, args=(k,)) for k in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not wrong


@only_native
def test_there_and_back_are_native():
    net, traced = model()
    assert is_native(traced, torch.randn(2, 6))
    check_gradients(net, traced, torch.randn(2, 6))
    x, w, y = leaf(3, 4), leaf(4, 2), leaf(3, 4)
    traced = warm(f, x, w)
    assert is_native(traced, y, w) and is_native(traced, y.exp(), w)


@only_native
def test_gradients_that_pass_through_are_native():
    def g(x, w):
        return x.reshape(4) + w, w * 2

    x, w = leaf(2, 2), leaf(4)
    traced = warm(g, x, w)
    count = traced.paths()[0].way_back.runs
    a, _ = traced(x, w)
    seed = torch.arange(4.0)
    a.backward(seed)
    assert x.grad.tolist() == [[0, 1], [2, 3]] and w.grad.tolist() == [0, 1, 2, 3]
    x.grad += 1  # nobody else's memory
    assert w.grad.tolist() == seed.tolist() == [0, 1, 2, 3]
    assert traced.paths()[0].way_back.runs == count


def test_saved_memory_that_changes_is_noticed():
    x, w = leaf(3, 4), leaf(4, 2)
    traced = warm(f, x, w)
    for changed in (x, w):
        out = traced(x, w)
        with torch.no_grad():
            changed.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace"):
            out.sum().backward()
    out = traced(x, w).exp()
    out.sum().backward()


def test_result_that_is_saved_and_changes_is_noticed():
    x = leaf(5)
    traced = warm(lambda t: t.exp(), x)
    out = traced(x)
    with torch.no_grad():
        out.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        out.sum().backward()


def test_parameters_that_change_before_the_way_back_are_noticed():
    net, traced = model()
    out = traced(torch.ones(2, 6))
    with torch.no_grad():
        net[2].weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        out.sum().backward()
    check_gradients(net, traced, torch.randn(2, 6))


def test_calls_before_the_way_back_keep_their_own_memory():
    x, w = leaf(3, 4), leaf(4, 2)
    traced = warm(f, x, w)
    inputs = [(leaf(3, 4), leaf(4, 2)) for _ in range(5)]
    outputs = [traced(*pair) for pair in inputs]
    for pair, out in reversed(list(zip(inputs, outputs))):
        want = torch.autograd.grad(f(*pair).sum(), pair)
        found = torch.autograd.grad(out.sum(), pair)
        for a, b in zip(found, want):
            np.testing.assert_allclose(array(a), array(b), rtol=1e-5, atol=1e-5)


def test_gradients_accumulate_and_belong_to_nobody_else():
    net, traced = model()
    x = torch.ones(2, 6)
    traced(x).sum().backward()
    once = [array(p.grad) for p in net.parameters()]
    kept = [p.grad for p in net.parameters()]
    traced(x).sum().backward()
    for p, g, k in zip(net.parameters(), once, kept):
        assert p.grad is k
        np.testing.assert_allclose(array(p.grad), 2 * g, rtol=1e-5)
    net.zero_grad()
    traced(x * 3).sum().backward()
    for g, k in zip(once, kept):
        np.testing.assert_allclose(array(k), 2 * g, rtol=1e-5)


def test_only_some_results_are_used():
    def g(x, w):
        return x * w, (x + w).exp(), x.detach() * 2

    x, w = leaf(4), leaf(4)
    traced = warm(lambda a, b: g(a, b)[:2], x, w)
    for k in range(2):
        for _ in range(3):
            found = torch.autograd.grad(traced(x, w)[k].sum(), (x, w))
            want = torch.autograd.grad(g(x, w)[k].sum(), (x, w))
            for a, b in zip(found, want):
                np.testing.assert_allclose(array(a), array(b), rtol=1e-6)
    three = jit.trace(g, (x, w))
    for _ in range(CALLS):
        a, b, c = three(x, w)
        assert a.grad_fn is b.grad_fn and (a.output_nr, b.output_nr) == (0, 1) and not c.requires_grad
        np.testing.assert_array_equal(array(c), array(x) * 2)


def test_arguments_with_a_history_of_their_own():
    w = leaf(4, 2)
    traced = warm(f, leaf(3, 4), w)
    a = leaf(3, 4)
    for _ in range(CALLS):  # number 1 of a node's results is part of the argument's history
        first, second = (a * 2).exp().split([1, 3], 1), a.sin()
        h = torch.cat(first, 1) * second
        (found,) = torch.autograd.grad(traced(h, w).sum(), a, retain_graph=True)
        (want,) = torch.autograd.grad(f(h, w).sum(), a)
        np.testing.assert_allclose(array(found), array(want), rtol=1e-5, atol=1e-5)
    parts = a.unbind(0)
    two = warm(lambda t: t.exp(), leaf(4))
    for part in (parts[1], torch.max(a, 0)[0], a[0], a.view(12)[:4]):
        np.testing.assert_allclose(
            *(array(torch.autograd.grad(g(part).sum(), a, retain_graph=True)[0]) for g in (two, torch.exp)), rtol=1e-6
        )


def test_in_place_changes_of_an_argument_after_the_call():
    traced = warm(lambda t: t * 3, leaf(4))
    a = leaf(4)
    for _ in range(CALLS):
        h = a * 2
        out = traced(h)
        h.mul_(5)
        (g,) = torch.autograd.grad(out.sum(), a)
        assert g.tolist() == [6.0] * 4


def test_requires_grad_that_changes_between_calls():
    net, traced = model()
    x = torch.randn(2, 6)
    net[0].weight.requires_grad = False
    for _ in range(CALLS):
        traced(x).sum().backward()
        assert net[0].weight.grad is None and net[2].weight.grad is not None
    net[0].weight.requires_grad = True
    for _ in range(CALLS):
        check_gradients(net, traced, x)
    w, data = leaf(4, 2), torch.randn(3, 4)
    both = warm(f, leaf(3, 4), w)
    for _ in range(CALLS):
        out = both(data, w)
        assert len(out.grad_fn.next_functions) == 1
        out.sum().backward()
        both(data, w.detach())
        assert not both(data, w.detach()).requires_grad


def test_modes_between_calls():
    net, traced = model()
    x = torch.randn(2, 6)
    want = array(net(x))
    for _ in range(CALLS):
        with torch.no_grad():
            out = traced(x)
            assert not out.requires_grad and out.grad_fn is None
        with torch.inference_mode():
            inside = traced(x)
            assert inside.is_inference() and not inside.requires_grad
        with torch.set_grad_enabled(False), torch.enable_grad():
            again = traced(x)
            assert again.requires_grad and not again.is_inference()
        for t in (out, inside, again, traced(x)):
            np.testing.assert_allclose(array(t), want, rtol=1e-6, atol=1e-7)


def test_models_that_move_statistics_and_draw_numbers():
    def net():
        torch.manual_seed(1)
        return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 2))

    a, b = net(), net()
    traced = jit.trace(a, torch.ones(5, 4))
    for k in range(CALLS):
        x, results = torch.randn(5, 4), []
        for call, m in ((traced, a), (b, b)):
            torch.manual_seed(k)
            out = call(x)
            out.square().sum().backward()
            results.append([array(out), *[array(p.grad) for p in m.parameters()], *[array(s) for s in m.buffers()]])
            m.zero_grad()
        for one, two in zip(*results):
            np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)
    out = traced(torch.ones(5, 4))
    before = [array(s) for s in a.buffers()]
    grads = torch.autograd.grad(out.square().sum(), list(a.parameters()), create_graph=True)  # runs the function again
    sum(g.sum() for g in grads).backward()
    for s, old in zip(a.buffers(), before):
        np.testing.assert_array_equal(array(s), old)


# -- the graph


def test_second_derivatives():
    def g(x, w):
        return (x * w).sin() * w

    x, w = leaf(4), leaf(4)
    traced = warm(g, x, w)
    results = []
    for call in (traced, g):
        first = torch.autograd.grad(call(x, w).sum(), (x, w), create_graph=True)
        second = torch.autograd.grad((first[0] * first[1]).sum(), (x, w))
        results.append([array(t) for t in (*first, *second)])
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_second_way_back_needs_the_graph():
    x, w = leaf(3, 4), leaf(4, 2)
    traced = warm(f, x, w)
    out = traced(x, w).sum()
    out.backward(retain_graph=True)
    once = array(w.grad)
    out.backward()
    np.testing.assert_allclose(array(w.grad), 2 * once, rtol=1e-5)
    with pytest.raises(RuntimeError, match="second time"):
        out.backward()


def test_hooks_on_results_nodes_and_parameters():
    net, traced = model()
    seen = []
    handles = [net[0].weight.register_hook(lambda g: seen.append("weight") or g * 2)]
    handles.append(net[2].bias.register_post_accumulate_grad_hook(lambda p: seen.append("bias")))
    for _ in range(3):
        seen.clear()
        net.zero_grad()
        out = traced(torch.ones(2, 6))
        out.register_hook(lambda g: seen.append("result") or g * 3)
        out.grad_fn.register_hook(lambda given, got: seen.append("node"))
        out.retain_grad()
        out.sum().backward()
        assert sorted(seen) == ["bias", "node", "result", "weight"] and out.grad.tolist() == [[3.0] * 3] * 2
        found = array(net[0].weight.grad)
        [h.remove() for h in handles]
        net.zero_grad()
        (net(torch.ones(2, 6)) * 3).sum().backward()
        np.testing.assert_allclose(found, 2 * array(net[0].weight.grad), rtol=1e-5)
        handles = [net[0].weight.register_hook(lambda g: seen.append("weight") or g * 2)]
        handles.append(net[2].bias.register_post_accumulate_grad_hook(lambda p: seen.append("bias")))


def test_results_are_changed_in_place():
    x, w = leaf(3, 4), leaf(4, 2)
    traced = warm(lambda a, b: (a @ b) + 1, x, w)
    for _ in range(CALLS):
        out = traced(x, w)
        out.mul_(2)
        (g,) = torch.autograd.grad(out.sum(), w)
        np.testing.assert_allclose(array(g), 2 * array(x).sum(0)[:, None].repeat(2, 1), rtol=1e-5)


def test_results_that_are_arguments_or_views_of_them():
    x = leaf(2, 3)
    traced = jit.trace(lambda t: (t, t.view(6), t * 2), x)
    for _ in range(CALLS):
        same, view, double = traced(x)
        assert same is x and view.data_ptr() == x.data_ptr()
        (g,) = torch.autograd.grad((view * view).sum() + double.sum(), x)
        np.testing.assert_allclose(array(g), 2 * array(x) + 2, rtol=1e-6)


def test_node_looks_like_a_node():
    net, traced = model()
    nodes = [traced(torch.ones(2, 6)).grad_fn for _ in range(CALLS)]
    assert len({id(n) for n in nodes}) == CALLS and {n.name() for n in nodes} == {"TracedBackward0"}
    assert [n.seq for n in nodes] == sorted({n.seq for n in nodes})
    leaves = {id(n.variable) for n, _ in nodes[0].next_functions}
    assert leaves == {id(p) for p in net.parameters()}
    nodes[0].metadata["note"] = 1
    assert "note" not in nodes[1].metadata
    assert torch.autograd.grad(traced(torch.ones(2, 6)).sum(), net[0].bias)[0].shape == (5,)


def test_exceptions_leave_the_trace_as_it_was():
    def g(x, i):
        return torch.nn.functional.embedding(i, x).exp()

    table, good, bad = leaf(4, 2), torch.tensor([0, 3]), torch.tensor([0, 9])
    traced = jit.trace(g, (table, good))
    for _ in range(CALLS):
        with pytest.raises(IndexError):
            traced(table, bad)
        (found,) = torch.autograd.grad(traced(table, good).sum(), table)
        (want,) = torch.autograd.grad(g(table, good).sum(), table)
        np.testing.assert_allclose(array(found), array(want), rtol=1e-6)
    with pytest.raises(RuntimeError, match="scalar outputs"):
        traced(table, good).backward()


def test_shapes_dtypes_and_large_memory():
    net, traced = model()
    for rows in (1, 7, 0, 3000):
        for _ in range(CALLS):
            check_gradients(net, traced, torch.randn(rows, 6))
    net.double()
    for _ in range(CALLS):
        check_gradients(net, traced, torch.randn(4, 6, dtype=torch.float64))


def test_given_gradients_of_other_layouts():
    traced, a, b = warm(f, x := leaf(3, 4), w := leaf(4, 2)), leaf(2, 3), torch.ones(())
    for _ in range(3):
        for given in (a.detach().t(), b.expand(3, 2), torch.ones(3, 2)):
            found = torch.autograd.grad(traced(x, w), (x, w), given)
            want = torch.autograd.grad(f(x, w), (x, w), given)
            for p, q in zip(found, want):
                np.testing.assert_allclose(array(p), array(q), rtol=1e-4, atol=1e-5)


@only_native
def test_native_way_back_refuses_other_calls():
    _, traced = model()
    back = traced.paths()[0].way_back.native
    with pytest.raises(TypeError, match="takes a list of gradients"):
        back([torch.ones(2, 3)])
    with pytest.raises(TypeError, match="takes a list of gradients"):
        back(grads=[torch.ones(2, 3)], kept=())


# -- memory


@only_native
def test_memory_is_given_back_and_stays_flat():
    net, traced = model()
    x = torch.ones(2, 6)
    traced(x).sum().backward()
    node, memory = weakref.ref(traced(x).grad_fn), weakref.ref(traced(x)._storage)
    gc.collect()
    assert node() is None and memory() is None  # nothing of a call stays when its results are dropped
    data = torch.ones(2, 6)
    held = weakref.ref(data._storage)
    out = traced(data)
    del data
    assert held() is not None  # for the way back
    out.sum().backward()
    assert held() is None and out.grad_fn is not None
    counts = [sys.getrefcount(t) for t in (None, True, False)]
    tracemalloc.start()
    for turn in range(2):
        for _ in range(500):
            traced(x).sum().backward()
            net.zero_grad()
        gc.collect()
        size = tracemalloc.get_traced_memory()[0]
        first = size if turn == 0 else first  # noqa: F821 - set in the first turn
    tracemalloc.stop()
    assert size - first < 20_000
    assert max(abs(sys.getrefcount(t) - n) for t, n in zip((None, True, False), counts)) < 500


def test_traces_are_collected_with_their_nodes():
    _, traced = model()
    out = traced(torch.ones(2, 6))
    bound = weakref.ref(traced.paths()[0])
    del traced
    gc.collect()
    assert bound() is not None
    out.sum().backward()
    del out
    gc.collect()
    assert bound() is None
