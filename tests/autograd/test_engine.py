"""The reverse pass: order, accumulation, hooks, errors, views changed in place."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import numtorch as torch


def leaf(*values):
    return torch.tensor(list(values), requires_grad=True)


def test_a_tensor_used_twice_gets_the_sum():
    x = leaf(3.0)
    (x * x + x).backward()
    assert x.grad.item() == 7.0


def test_gradients_accumulate_over_passes():
    x = leaf(1.0, 2.0)
    (x * 3).sum().backward()
    first = x.grad
    (x * 3).sum().backward()
    assert x.grad is first and x.grad.tolist() == [6, 6]


def test_gradients_of_one_node_are_not_shared_memory():
    a, b = leaf(1.0, 1.0), leaf(2.0, 2.0)
    (a + b).sum().backward()
    a.grad.mul_(10.0)
    assert b.grad.tolist() == [1, 1]


def test_second_derivatives_through_a_saved_mask():
    x = leaf(1.0, 2.0, 3.0)
    y = torch.nn.functional.dropout(x * x, 0.5)
    (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(g.sum(), x)
    assert second.tolist() == [2.0 * s for s in (y / (x * x)).tolist()]  # each kept element was doubled


def test_a_chain_of_100_000_ops():
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = y + 0.0
    y.backward()
    assert x.grad.item() == 1.0
    del y
    gc.collect()


def test_backward_of_a_vector_needs_a_gradient():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="only for scalar outputs"):
        (x * 2).backward()
    (x * 2).backward(torch.tensor([1.0, 10.0]))
    assert x.grad.tolist() == [2, 20]
    with pytest.raises(RuntimeError, match="Mismatch in shape"):
        (x * 2).backward(torch.ones(3))


def test_second_backward_needs_retain_graph():
    x = leaf(2.0)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 8.0
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_tensor_without_history():
    with pytest.raises(RuntimeError, match="does not require grad"):
        torch.ones(1).sum().backward()


def test_saved_tensor_changed_in_place():
    x = leaf(1.0, 2.0)
    y = x * 1.0
    z = (y * y).sum()
    y.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()


def test_leaf_changed_in_place():
    x = leaf(1.0)
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        x.add_(1.0)
    with pytest.raises(RuntimeError, match="view of a leaf"):
        x[0:1].mul_(2.0)
    with torch.no_grad():
        x.add_(1.0)
    assert x.item() == 2.0 and x.requires_grad


def test_unneeded_saved_tensor_may_change():
    w, x = leaf(2.0), torch.tensor([3.0])
    y = w * x
    with torch.no_grad():
        w.add_(1.0)  # only x is needed for the gradient of w
    y.sum().backward()
    assert w.grad.item() == 3.0


def test_in_place_on_a_view_reaches_the_base():
    x = leaf(1.0, 2.0, 3.0)
    y = x * 2
    y[:2].mul_(10.0)
    (y * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad.tolist() == [20, 40, 6]


def test_setitem_with_a_tensor_that_requires_grad():
    v, y = leaf(5.0), torch.zeros(3)
    y[1] = v[0] * 2
    assert y.requires_grad and y.tolist() == [0, 10, 0]
    (y * y).sum().backward()
    assert v.grad.item() == 40.0


def test_older_view_sees_the_new_history_of_its_base():
    x = leaf(1.0, 2.0)
    y = x * 1.0
    view = y[0:1]
    y.mul_(3.0)
    view.sum().backward()
    assert x.grad.tolist() == [3, 0]


def test_create_graph_gives_any_order():
    x = leaf(2.0)
    value = x**4
    found = []
    for _ in range(4):
        (value,) = torch.autograd.grad(value.sum(), x, create_graph=True)
        found.append(value.item())
    assert found == pytest.approx([32.0, 48.0, 48.0, 24.0])


def test_grad_leaves_grad_alone_and_reports_unused():
    x, y = leaf(1.0), leaf(2.0)
    (g,) = torch.autograd.grad((x * 3).sum(), x)
    assert g.item() == 3.0 and x.grad is None
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad((x * 3).sum(), (x, y))
    assert torch.autograd.grad((x * 3).sum(), (x, y), allow_unused=True)[1] is None
    assert torch.autograd.grad((x * 3).sum(), (x, y), materialize_grads=True)[1].item() == 0.0


def test_grad_of_an_intermediate_tensor():
    x = leaf(2.0)
    y = x * 3
    (g,) = torch.autograd.grad((y * y).sum(), y)
    assert g.item() == 12.0


def test_backward_with_inputs_touches_only_them():
    x, y = leaf(1.0), leaf(2.0)
    (x * y).sum().backward(inputs=[x])
    assert x.grad.item() == 2.0 and y.grad is None


def test_tensor_hooks_and_retain_grad():
    x = leaf(1.0)
    y = x * 2
    y.retain_grad()
    seen = []
    handle = y.register_hook(lambda g: seen.append(g.item()) or g * 10)
    (y * 3).sum().backward()
    assert seen == [3.0] and x.grad.item() == 60.0 and y.grad.item() == 30.0
    handle.remove()
    x.grad = None
    (x * 2 * 3).sum().backward()
    assert x.grad.item() == 6.0


def test_leaf_hook_changes_what_is_accumulated():
    x = leaf(1.0)
    x.register_hook(lambda g: g * 2)
    (x * 3).sum().backward()
    assert x.grad.item() == 6.0


def test_node_hooks():
    x = leaf(1.0)
    y = x * 2
    seen = []
    y.grad_fn.register_prehook(lambda grads: (grads[0] * 5,))
    y.grad_fn.register_hook(lambda inputs, outputs: seen.append((inputs[0].item(), outputs[0].item())))
    y.sum().backward()
    assert x.grad.item() == 10.0 and seen == [(10.0, 5.0)]


def test_switches_as_context_managers_and_decorators():
    x = leaf(1.0)
    with torch.no_grad():
        assert not (x * 2).requires_grad
        with torch.enable_grad():
            assert (x * 2).requires_grad

    @torch.no_grad()
    def f():
        return x * 2

    @torch.no_grad
    def g():
        return x * 2

    assert not f().requires_grad and not g().requires_grad and torch.is_grad_enabled()
    with torch.set_grad_enabled(False):
        assert not torch.is_grad_enabled()
    with pytest.raises(ZeroDivisionError), torch.no_grad():
        1 / 0  # noqa: B018
    assert torch.is_grad_enabled()
    with torch.inference_mode():
        assert torch.is_inference_mode_enabled() and not (x * 2).requires_grad


def test_next_functions_and_names():
    x = leaf(1.0)
    y = (x * 2).sum()
    assert y.grad_fn.name() == "SumBackward0"
    node = y.grad_fn.next_functions[0][0]
    assert node.name() == "MulBackward0" and node.next_functions[0][0].variable is x


def test_requires_grad_rules():
    with pytest.raises(RuntimeError, match="floating point"):
        torch.ones(2, dtype=torch.int64).requires_grad_()
    y = leaf(1.0) * 2
    with pytest.raises(RuntimeError, match="leaf variables"):
        y.requires_grad = False
    assert not y.detach().requires_grad and y.detach().data_ptr() == y.data_ptr()


def test_saved_tensor_hooks():
    x = leaf(1.0, 2.0)
    packed = []

    def pack(t):
        packed.append(t)
        return t.numpy(force=True).copy()

    with torch.autograd.graph.saved_tensors_hooks(pack, torch.from_numpy):
        y = (x * x).sum()
    y.backward()
    assert x.grad.tolist() == [2, 4] and packed


def test_broadcast_gradients_are_summed_once():
    a, b = torch.ones(3, 1, requires_grad=True), torch.ones(4, requires_grad=True)
    (a * b).sum().backward()
    assert a.grad.tolist() == [[4], [4], [4]] and b.grad.tolist() == [3] * 4


def test_mixed_dtypes_give_gradients_in_the_leaf_dtype():
    a, b = torch.ones(2, requires_grad=True), torch.ones(2, dtype=torch.float64, requires_grad=True)
    (a * b).sum().backward()
    assert a.grad.dtype is torch.float32 and b.grad.dtype is torch.float64


def test_graph_is_freed_without_cycles():
    import weakref

    gc.collect()
    gc.disable()
    try:
        x = leaf(1.0)
        y = x.exp()
        node = weakref.ref(y.grad_fn)
        del y
        assert node() is None
    finally:
        gc.enable()


def test_training_leaves_memory_flat():
    from numtorch import storage

    w = torch.ones(64, 64, requires_grad=True)

    def step():
        w.grad = None
        ((w @ w).relu().sum()).backward()
        with torch.no_grad():
            w.sub_(w.grad, alpha=1e-6)

    for _ in range(5):
        step()
    before = storage.cached_bytes(), len(gc.get_objects())
    for _ in range(200):
        step()
    assert storage.cached_bytes() <= before[0] + 4096 and len(gc.get_objects()) < before[1] + 200


def test_threads_have_their_own_grad_mode():
    import threading

    seen = []
    with torch.no_grad():
        t = threading.Thread(target=lambda: seen.append(torch.is_grad_enabled()))
        t.start()
        t.join()
    assert seen == [True]


def test_jacobian_and_hessian():
    from numtorch.autograd import functional

    x = torch.tensor([1.0, 2.0])
    assert functional.jacobian(lambda x: x * x, x).tolist() == [[2, 0], [0, 4]]
    assert functional.hessian(lambda x: (x * x * x).sum(), x).tolist() == [[6, 0], [0, 12]]
    out, product = functional.vjp(lambda x: x * x, x, torch.tensor([1.0, 10.0]))
    np.testing.assert_array_equal(product.numpy(), [2, 40])
    assert functional.jvp(lambda x: x * x, x, torch.tensor([1.0, 10.0]))[1].tolist() == [2, 40]
    assert functional.vhp(lambda x: (x**3).sum(), x, torch.tensor([1.0, 1.0]))[1].tolist() == pytest.approx(
        [6, 12]
    )
    assert out.tolist() == [1, 4]


def test_one_class_of_handles_for_all_hooks():
    from numtorch.utils.hooks import RemovableHandle

    x, layer = leaf(1.0), torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    y = x * 2
    handles = [
        x.register_hook(print), y.register_hook(print), y.grad_fn.register_hook(print), layer.register_forward_hook(print, with_kwargs=True),
        layer.register_full_backward_hook(print), optimizer.register_step_post_hook(print), x.register_post_accumulate_grad_hook(print),
    ]  # fmt: skip
    assert all(type(h) is RemovableHandle for h in handles) and len({h.id for h in handles}) == len(handles)
    for h in handles:
        with h:
            pass
        h.remove()
    layer(torch.ones(1)).backward()  # no hook is left that would print
    assert not layer._forward_hooks and not layer._forward_hooks_with_kwargs
