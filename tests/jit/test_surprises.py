"""Known ways in which a tracer goes wrong, silent ones first: each comes out equal to eager."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest

import numtorch as torch
from numtorch import jit


def array(t):
    return t.detach().numpy().copy()


def check_both(function, examples, *calls):
    """Every call gives in a trace what it gives eagerly."""
    traced = jit.trace(function, examples)
    for args in calls:
        want = function(*args)
        have = traced(*args)
        assert want.shape == have.shape and want.dtype is have.dtype
        np.testing.assert_array_equal(array(want), array(have))
    return traced


# -- silent elsewhere


def test_other_batch_size():
    check_both(
        lambda x: x.sum(0) / x.shape[0],
        (torch.ones(3, 2),),
        (torch.ones(3, 2),),
        (torch.ones(5, 2),),
        (torch.ones(1, 2),),
    )


def test_loop_over_a_shape():
    def f(x):
        total = x[0] * 0
        for i in range(x.shape[0]):
            total = total + x[i] * i
        return total

    check_both(f, (torch.ones(3, 2),), (torch.ones(3, 2),), (torch.arange(8.0).reshape(4, 2),))


def test_branch_on_a_value():
    def f(x):
        return x * 2 if x.sum() > 0 else x - 1

    traced = check_both(
        f, (torch.ones(3),), (torch.ones(3),), (-torch.ones(3),), (torch.ones(3),), (-torch.ones(3) * 5,)
    )
    assert len(traced.paths()) == 2


def test_branches_taken_in_turn_by_native_calls():
    def f(x):
        if x.sum() > 0:
            return x * 2
        return x - 1 if (x < -5).any() else x.abs()

    values = [torch.tensor(v) for v in ([1.0, 2.0], [-1.0, -2.0], [-9.0, 0.0], [0.0, 0.0])]
    check_both(f, (values[0],), *[(v,) for v in values * 5])


def test_item_as_a_scale():
    check_both(
        lambda x: x * x.max().item(),
        (torch.ones(3),),
        (torch.ones(3),),
        (torch.arange(3.0),),
        (torch.arange(3.0) * 2,),
    )


def test_python_loop_until_small():
    def f(x):
        while float(x.abs().max()) > 1.0:
            x = x / 2
        return x

    check_both(
        f,
        (torch.ones(2),),
        (torch.ones(2) * 5,),
        (torch.ones(2) * 0.5,),
        (torch.ones(2) * 40,),
        (torch.ones(2) * 5,),
    )


def test_captured_tensor_changed_in_place():
    w = torch.ones(3)
    traced = jit.trace(lambda x: x * w, torch.ones(3))
    w.mul_(3.0)
    np.testing.assert_array_equal(array(traced(torch.ones(3))), [3, 3, 3])


def test_captured_tensor_given_other_data():
    w = torch.ones(3)
    traced = jit.trace(lambda x: x * w, torch.ones(3))
    w.data = torch.full((3,), 7.0)
    np.testing.assert_array_equal(array(traced(torch.ones(3))), [7, 7, 7])


def test_module_mode_switch():
    class Net(torch.nn.Module):
        def forward(self, x):
            return x * 2 if self.training else x * 3

    net = Net()
    traced = jit.trace(net, torch.ones(2))
    assert array(traced(torch.ones(2))).tolist() == [2, 2]
    net.eval()
    assert array(traced(torch.ones(2))).tolist() == [3, 3]
    net.train()
    assert array(traced(torch.ones(2))).tolist() == [2, 2]


def test_plain_attribute_of_a_module_changed():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = 2.0

        def forward(self, x):
            return x * self.scale

    net = Net()
    traced = jit.trace(net, torch.ones(2))
    net.scale = 5.0
    assert array(traced(torch.ones(2))).tolist() == [5, 5]


def test_parameter_replaced():
    net = torch.nn.Linear(2, 2, bias=False)
    traced = jit.trace(net, torch.ones(1, 2))
    net.weight = torch.nn.Parameter(torch.eye(2))
    np.testing.assert_array_equal(array(traced(torch.ones(1, 2))), [[1, 1]])


def test_state_dict_loaded():
    net, other = torch.nn.Linear(2, 3), torch.nn.Linear(2, 3)
    traced = jit.trace(net, torch.ones(1, 2))
    net.load_state_dict(other.state_dict())
    np.testing.assert_array_equal(array(traced(torch.ones(1, 2))), array(other(torch.ones(1, 2))))


def test_input_changed_in_place():
    def f(x):
        x.add_(1.0)
        return x * 2

    traced = jit.trace(f, torch.zeros(3))
    x = torch.zeros(3)
    assert array(traced(x)).tolist() == [2, 2, 2]
    assert array(x).tolist() == [1, 1, 1]
    assert array(traced(x)).tolist() == [4, 4, 4]


def test_output_is_a_view_of_the_input():
    traced = jit.trace(lambda x: x.reshape(2, 2), torch.zeros(4))
    x = torch.zeros(4)
    y = traced(x)
    y[0, 0] = 5.0
    assert x[0].item() == 5.0


def test_output_is_the_input():
    traced = jit.trace(lambda x: x, torch.zeros(4))
    x = torch.ones(4)
    assert traced(x) is x


def test_outputs_survive_the_next_call():
    traced = jit.trace(lambda x: x * 2, torch.zeros(2))
    first = traced(torch.ones(2))
    traced(torch.ones(2) * 5)
    assert array(first).tolist() == [2, 2]


def test_same_tensor_as_two_arguments():
    def f(a, b):
        a.add_(1.0)
        return a + b

    traced = jit.trace(f, (torch.zeros(2), torch.zeros(2)))
    x = torch.zeros(2)
    assert array(traced(x, x)).tolist() == [2, 2]
    assert array(traced(torch.zeros(2), torch.zeros(2))).tolist() == [1, 1]


def test_dtype_rank_and_broadcast_changes():
    check_both(
        lambda a, b: a + b, (torch.ones(3), torch.ones(3)),
        (torch.ones(3), torch.ones(3)), (torch.ones(3).double(), torch.ones(3)), (torch.ones(2, 3), torch.ones(3)),
        (torch.ones(3), torch.tensor(2)), (torch.arange(3), torch.arange(3)),
    )  # fmt: skip


def test_not_contiguous_inputs():
    x = torch.arange(12.0).reshape(3, 4)
    check_both(lambda a: a * 2 + 1, (x,), (x,), (x.t(),), (x[:, ::2],), (x[1:],))


def test_offset_views_as_inputs():
    x = torch.arange(10.0)
    check_both(lambda a: a * 2, (x[:3],), (x[:3],), (x[3:6],), (x[7:],))


def test_empty_batches():
    check_both(lambda x: x.sum(0) + 1, (torch.ones(2, 3),), (torch.ones(0, 3),), (torch.ones(2, 3),))


def test_nan_is_kept():
    traced = jit.trace(lambda x: x * 2, torch.ones(2))
    assert np.isnan(array(traced(torch.tensor([float("nan"), 1.0])))).tolist() == [True, False]


def test_nested_traces():
    inner = jit.trace(lambda x: x + 1, torch.ones(2))
    check_both(lambda x: inner(x) * 2, (torch.ones(2),), (torch.ones(2),), (torch.ones(3),))


def test_keyword_dict_and_none():
    def f(x, scale=None, extra=None):
        y = x if scale is None else x * scale
        return {"y": y, "pair": (y + 1, None), "n": 3}

    traced = jit.trace(f, torch.ones(2))
    out = traced(torch.ones(2), scale=torch.tensor(4.0))
    assert array(out["y"]).tolist() == [4, 4] and out["pair"][1] is None and out["n"] == 3
    assert array(traced(torch.ones(2))["pair"][0]).tolist() == [2, 2]


def test_numbers_as_arguments_are_guarded():
    traced = jit.trace(lambda x, k: x * k, (torch.ones(2), 2))
    assert array(traced(torch.ones(2), 2)).tolist() == [2, 2]
    assert array(traced(torch.ones(2), 3)).tolist() == [3, 3]


# -- gradients and steps


def test_gradients_through_a_traced_forward():
    w = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    traced = jit.trace(lambda x: (x @ w).relu().sum(), torch.ones(3, 2))
    x = torch.ones(3, 2, requires_grad=True)
    traced(x).backward()
    have = array(w.grad), array(x.grad)
    w.grad = x.grad = None
    (x @ w).relu().sum().backward()
    np.testing.assert_array_equal(have[0], array(w.grad))
    np.testing.assert_array_equal(have[1], array(x.grad))


def test_two_forwards_before_the_backwards():
    traced = jit.trace(lambda x: (x * x).sum(), torch.ones(2, requires_grad=True))
    a, b = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([3.0, 4.0], requires_grad=True)
    ya, yb = traced(a), traced(b)
    yb.backward()
    ya.backward()
    assert array(a.grad).tolist() == [2, 4] and array(b.grad).tolist() == [6, 8]


def test_second_derivative():
    traced = jit.trace(lambda x: (x * x * x).sum(), torch.ones(2, requires_grad=True))
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (g,) = torch.autograd.grad(traced(x), x, create_graph=True)
    (h,) = torch.autograd.grad(g.sum(), x)
    assert array(h).tolist() == [6, 12]


def test_no_grad_and_grad_calls():
    w = torch.ones(2, requires_grad=True)
    traced = jit.trace(lambda x: x * w, torch.ones(2))
    assert traced(torch.ones(2)).requires_grad
    with torch.no_grad():
        assert not traced(torch.ones(2)).requires_grad


def step_of(w, optimizer, scale=1.0):
    def step(x):
        optimizer.zero_grad()
        loss = ((x @ w) ** 2).mean() * scale
        loss.backward()
        optimizer.step()
        return loss

    return step


@pytest.mark.parametrize("make", [
    lambda p: torch.optim.SGD(p, lr=0.1), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    lambda p: torch.optim.Adam(p, lr=0.1), lambda p: torch.optim.AdamW(p, lr=0.1), lambda p: torch.optim.RMSprop(p, lr=0.1),
    lambda p: torch.optim.Adagrad(p, lr=0.1),
])  # fmt: skip
def test_training_step(make):
    start = np.arange(6.0, dtype=np.float32).reshape(3, 2)
    x = torch.tensor(np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3))
    runs = []
    for use_trace in (False, True):
        w = torch.tensor(start, requires_grad=True)
        step = step_of(w, make([w]))
        if use_trace:
            step = jit.trace(step, x)
            np.testing.assert_array_equal(array(w), start)
            assert w.grad is None
        losses = [step(x).item() for _ in range(6)]
        runs.append((losses, array(w), array(w.grad)))
    assert runs[0][0] == runs[1][0]
    np.testing.assert_array_equal(runs[0][1], runs[1][1])
    np.testing.assert_array_equal(runs[0][2], runs[1][2])


def test_learning_rate_changed_by_a_scheduler():
    x = torch.ones(4, 3)
    results = []
    for use_trace in (False, True):
        w = torch.ones(3, 2, requires_grad=True)
        optimizer = torch.optim.SGD([w], lr=0.1)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        step = step_of(w, optimizer)
        step = jit.trace(step, x) if use_trace else step
        for _ in range(4):
            step(x)
            schedule.step()
        results.append(array(w))
    np.testing.assert_array_equal(*results)


def test_gradients_accumulate_when_not_zeroed():
    w = torch.ones(2, requires_grad=True)

    def f(x):
        (x * w).sum().backward()

    traced = jit.trace(f, torch.ones(2))
    for k in range(1, 4):
        traced(torch.ones(2))
        assert array(w.grad).tolist() == [k, k]


def test_kept_gradient_is_not_overwritten():
    w = torch.ones(2, requires_grad=True)

    def f(x):
        w.grad = None
        (x * w).sum().backward()

    traced = jit.trace(f, torch.ones(2))
    traced(torch.ones(2))
    held = w.grad
    traced(torch.ones(2) * 5)
    assert array(held).tolist() == [1, 1] and array(w.grad).tolist() == [5, 5]


# -- errors and threads


def test_exceptions_of_the_function_rise():
    def f(x):
        if x.sum() > 10:
            raise KeyError("too big")
        return x

    traced = jit.trace(f, torch.ones(2))
    traced(torch.ones(2))
    with pytest.raises(KeyError, match="too big"):
        traced(torch.ones(2) * 100)
    assert array(traced(torch.ones(2))).tolist() == [1, 1]


def test_concurrent_calls():
    traced = jit.trace(lambda x: (x * 2 + 1).exp().sum(1), torch.ones(64, 8))
    xs = [torch.full((64, 8), 0.1 * k) for k in range(4)]
    want = [array((x * 2 + 1).exp().sum(1)) for x in xs]
    wrong = []

    def run(k):
        wrong.extend(k for _ in range(200) if not np.array_equal(array(traced(xs[k])), want[k]))

    threads = [threading.Thread(target=run, args=(k,)) for k in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not wrong


def test_hidden_python_state_is_reported():
    calls = []

    def f(x):
        calls.append(1)
        return x * len(calls)

    with pytest.warns(UserWarning, match="runs eagerly: it changes a list at each call.* changes between runs"):
        traced = jit.trace(f, torch.ones(2))
    assert [traced(torch.ones(2)).tolist() for _ in range(3)] == [[1, 1], [2, 2], [3, 3]]


def test_step_traced_after_eager_steps_keeps_one_path():
    """Gradients left by earlier steps are looked at by zero_grad, but don't make each replay another way through."""
    w = torch.ones(3, 2, requires_grad=True)
    step = step_of(w, torch.optim.SGD([w], lr=0.1))
    x = torch.ones(4, 3)
    step(x)
    traced = jit.trace(step, x)
    for _ in range(4):
        traced(x)
    assert len(traced.paths()) == 1


def test_index_out_of_range_is_found_at_each_replay():
    table = torch.arange(12.0).reshape(4, 3)
    traced = jit.trace(lambda i: table[i] * 2, torch.tensor([0, 1]))
    assert traced(torch.tensor([3, -1])).tolist() == [[18, 20, 22], [18, 20, 22]]
    with pytest.raises(IndexError, match="out of bounds"):
        traced(torch.tensor([1, 4]))
    assert len(traced.paths()) == 1


def test_graph_lists_ops_with_shapes_and_lines():
    def f(x):
        return (x * 2.0).exp()  # the line that is named

    text = str(jit.trace(f, torch.ones(3, 2)).graph)
    assert "float32[3, 2]" in text and "mul(input0, 2.0)" in text and "exp(" in text and "test_surprises.py:" in text
    with pytest.raises(RuntimeError, match="recorded nothing"):
        _ = jit.trace(f).graph


def test_sine_and_cosine_of_one_argument_fuse():
    """LLVM makes one library call of the two."""
    for dtype in (torch.float32, torch.float64):
        x = torch.arange(5.0, dtype=dtype)
        check_both(lambda x: torch.sin(x) * torch.cos(x), (x,), (x * 0.3,))


# -- variables bound to something else

_weight = torch.ones(3)
_factor = 2.0


def _scaled(x):
    return x * _factor


def test_captured_variable_bound_to_another_tensor():
    w = torch.ones(3)

    def f(x):
        return x * w

    traced = jit.trace(f, torch.ones(3))
    for k in range(1, 20):
        assert array(traced(torch.ones(3))).tolist() == [w[0].item()] * 3
        if k % 4 == 0:
            w = torch.full((3,), float(k))


def test_global_tensor_number_and_function_bound_anew():
    global _weight, _factor, _scaled
    first = _scaled

    def f(x):
        return _scaled(x) + _weight

    traced = jit.trace(f, torch.ones(3))
    try:
        for _ in range(6):
            assert array(traced(torch.ones(3))).tolist() == [3, 3, 3]
        _weight = torch.full((3,), 10.0)
        assert array(traced(torch.ones(3))).tolist() == [12, 12, 12]
        _factor = 5.0
        assert array(traced(torch.ones(3))).tolist() == [15, 15, 15]
        _scaled = torch.neg
        assert array(traced(torch.ones(3))).tolist() == [9, 9, 9]
    finally:
        _scaled, _factor, _weight = first, 2.0, torch.ones(3)
    assert array(traced(torch.ones(3))).tolist() == [3, 3, 3]


def test_result_made_from_python_data_is_new_at_each_call():
    def f(x):
        c = torch.tensor([1.0, 2.0, 3.0])
        return x + c, c

    traced = jit.trace(f, torch.ones(3))
    for _ in range(6):
        total, c = traced(torch.ones(3))
        assert array(total).tolist() == [2, 3, 4] and array(c).tolist() == [1, 2, 3]
        c.add_(5.0)


def test_gradient_through_a_view_has_the_inputs_shape():
    traced = jit.trace(lambda x: x.flatten(1), torch.ones(2, 3, 4, requires_grad=True))
    x = torch.ones(2, 3, 4, requires_grad=True)
    (traced(x) * torch.arange(12.0)).sum().backward()
    assert x.grad.shape == x.shape and x.grad[1].flatten().tolist() == list(range(12))


def test_shapes_mixed_with_strides_in_one_group():
    """A flat group of several shapes must not take an op on strided memory."""

    def f(x, wide):
        y = x * 2  # (2, 4)
        z = y.view(1, 2, 4) + 1  # the same elements in another shape
        return wide[:, :4] * y + z.view(2, 4)

    check_both(f, (torch.ones(2, 4), torch.arange(24.0).reshape(2, 12)), (torch.ones(2, 4), torch.arange(24.0).reshape(2, 12)))


def test_second_derivatives_use_the_random_numbers_and_statistics_of_the_forward():
    layer, norm = torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4)

    def f(x):
        return torch.nn.functional.dropout(norm(layer(x)).tanh(), 0.5)

    def run(function):
        torch.manual_seed(3)
        norm.reset_running_stats()
        y = function(x)
        (g,) = torch.autograd.grad((y**2).sum(), x, create_graph=True)
        (h,) = torch.autograd.grad((g**2).sum(), x)
        return [y, g, h, norm.running_mean.clone(), norm.running_var.clone(), norm.num_batches_tracked.clone(), torch.rand(1)]

    x = torch.randn(8, 4, requires_grad=True)
    traced = jit.trace(f, torch.randn(8, 4, requires_grad=True))
    expected = run(f)
    for _ in range(4):
        for got, want in zip(run(traced), expected):
            torch.testing.assert_close(got, want)


def test_values_that_are_read_together_are_in_memory_until_then():
    def choose(x):
        first, second = x.sum(), (x * x).sum()
        return x * 2 if first.item() > 0 and second.item() > 0 else x * 3

    twos = (torch.full((3,), 2.0),)
    traced = check_both(choose, twos, twos, twos, (-twos[0],), twos)
    assert len(traced.paths()) == 2


def test_power_iteration_of_spectral_norm_is_replayed():
    def layer():
        torch.manual_seed(0)
        return torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(4, 3))

    eager, replayed, x = layer(), layer(), torch.arange(8.0).reshape(2, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # "runs eagerly"
        traced = torch.jit.trace(replayed, x)
    for _ in range(4):
        np.testing.assert_array_equal(traced(x).detach().numpy(), eager(x).detach().numpy())
    u, same = (m.parametrizations["weight"][0]._u for m in (eager, replayed))
    np.testing.assert_array_equal(same.numpy(), u.numpy())
