"""The short way of elementwise ops keeps all of autograd's promises, also once it is known."""

from __future__ import annotations

import threading

import pytest

import numtorch as torch
from numtorch import jit
from numtorch.ops import quick


def leaf(*values):
    return torch.tensor(list(values), requires_grad=True)


def known(f):
    """Calls a function until its ops know their short ways, then once more."""
    for _ in range(2):
        f()
    return f()


def test_gradients_of_each_kind():
    def f():
        x, w = leaf(0.5, -1.0), leaf(2.0, 3.0)
        (((x * w) + x).relu().exp() * 0.5 - w).sum().backward()
        return x.grad.tolist(), w.grad.tolist()

    first = f()
    assert known(f) == first
    e = 0.5 * torch.exp(torch.tensor(1.5)).item()
    assert first[0] == pytest.approx([3 * e, 0.0]) and first[1] == pytest.approx([0.5 * e - 1, -1.0])


def test_nodes_are_of_the_short_kind_and_named_as_in_pytorch():
    y = known(lambda: leaf(1.0) * leaf(2.0))
    assert type(y.grad_fn) is quick.QuickNode and y.grad_fn.name() == "MulBackward0"
    assert [type(n).__name__ for n, _ in y.grad_fn.next_functions] == ["AccumulateGrad"] * 2


@pytest.mark.parametrize("change", ["input", "output"])
def test_saved_memory_changed_in_place_is_noticed(change):
    def f():
        y = leaf(1.0, 2.0) * 1.0
        z = y * y if change == "input" else y.exp()
        (y if change == "input" else z).detach().add_(1.0)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            z.sum().backward()

    def through():
        y = leaf(1.0, 2.0) * 1.0
        (y * y + y.exp()).sum().backward()

    known(through)
    f()


def test_freed_graph_is_noticed_and_a_retained_one_runs_again():
    def f():
        x = leaf(3.0)
        y = x * x
        y.backward(retain_graph=True)
        y.backward()
        assert x.grad.item() == 12.0
        with pytest.raises(RuntimeError, match="second time"):
            y.backward()

    known(f)


def test_second_derivatives():
    def f():
        x = leaf(2.0)
        (g,) = torch.autograd.grad((x * x * x).tanh(), x, create_graph=True)
        return torch.autograd.grad(g, x)[0].item()

    x = torch.tensor(8.0, dtype=torch.float64)
    t = torch.tanh(x).item()
    assert known(f) == pytest.approx((1 - t * t) * (12.0 - 2 * t * 144.0), abs=1e-4)


def test_hooks_on_saved_tensors_see_what_known_ops_save():
    x = leaf(1.0, 2.0)
    known(lambda: (x * x).sum().backward())
    x.grad = None
    seen = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: seen.append(t) or t, lambda t: t):
        y = x * x
    assert len(seen) == 2
    y.sum().backward()
    assert x.grad.tolist() == [2, 4]


def test_anomalies_are_found_in_known_ops():
    x = leaf(0.0, 1.0)
    known(lambda: (x.sqrt() * x).sum().backward())
    with (
        torch.autograd.detect_anomaly(check_forward=False),
        pytest.warns(UserWarning, match="SqrtBackward0"),
        pytest.raises(RuntimeError, match="SqrtBackward0"),
    ):
        (x.sqrt() * 0.0).sum().backward()


def test_known_ops_are_traced():
    x = torch.ones(3)
    known(lambda: (x + x) * 2.0)
    traced = jit.trace(lambda t: (t + t) * 2.0, x)
    assert traced(torch.arange(3.0)).tolist() == [0, 4, 8]


def test_inference_tensors_are_refused_by_known_ops_that_save():
    x = leaf(1.0, 2.0)
    known(lambda: x * torch.ones(2))
    with torch.inference_mode():
        c = torch.ones(2)
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved"):
        x * c


def test_recording_is_a_matter_of_the_thread():
    x = leaf(1.0, 2.0)
    known(lambda: x * x)
    found = []

    def other():
        with torch.no_grad():
            found.append((x * x).requires_grad)

    with torch.autograd.detect_anomaly():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert (x * x).requires_grad
    assert found == [False] and (x * x).requires_grad


def test_gradients_in_other_strides():
    def f(g):
        x = leaf(1.0, 2.0, 3.0)
        (x * x).backward(g)
        return x.grad.tolist()

    for g in (torch.ones(3), torch.ones(1).expand(3), torch.ones(6)[::2]):
        assert known(lambda g=g: f(g)) == [2, 4, 6]


def test_a_result_of_many_elements_takes_the_short_way_as_well():
    n = 5000
    x = torch.arange(float(n), requires_grad=True)

    def f():
        x.grad = None
        y = (x * x).relu()
        y.sum().backward()
        return y, x.grad

    y, g = known(f)
    assert type(y.grad_fn) is quick.QuickNode
    assert g[-1].item() == 2.0 * (n - 1) and y[3].item() == 9.0
