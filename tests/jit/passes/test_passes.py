"""Each pass: what it does to a program, that it leaves alone what it must, and that results equal eager ones."""

import numpy as np
import pytest

import numtorch as torch
from numtorch import jit, nn

F = nn.functional


def names(traced):
    return [op.entry.name for op in traced.paths()[0].program.ops]


def notes(traced, name):
    return [note for line in traced.passes if line.name == name for note in line.notes]


def check_equal(function, *inputs, passes=None, tolerance=0.0):
    """Trace, compare with eager on other values, and return the trace."""
    traced = jit.trace(function, inputs, passes=passes)
    other = [torch.randn(*x.shape) if x.is_floating_point() else x for x in inputs]
    with torch.no_grad():
        found, wanted = traced(*other), function(*other)
    found, wanted = (v if isinstance(v, tuple) else (v,) for v in (found, wanted))
    for a, b in zip(found, wanted):
        if tolerance:
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=tolerance, atol=tolerance)
        else:
            assert a.numpy().tobytes() == b.numpy().tobytes()
    return traced


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


# -- choosing passes


def test_every_pass_can_be_left_out():
    x, w = torch.randn(4, 8), torch.randn(8, 3)

    def f(x):
        return ((x @ w).relu() * 2 + 1).clone()

    for name in jit.passes.PASSES:
        check_equal(f, x, passes=[p for p in jit.passes.PASSES if p != name])
    bare = check_equal(f, x, passes=[])
    assert len(names(bare)) == 5 and len(bare.passes) == 0


def test_disable_lasts_until_enable_or_the_end_of_the_block():
    def f(x):
        return x * 2 + 1

    x = torch.ones(3)
    with jit.passes.disable("fuse"):
        assert len(names(jit.trace(f, x))) == 2
    assert len(names(jit.trace(f, x))) == 1
    jit.passes.disable("fuse", "dead")
    try:
        assert len(names(jit.trace(f, x))) == 2
    finally:
        jit.passes.enable("fuse", "dead")
    assert len(names(jit.trace(f, x))) == 1


def test_nested_disable_restores_what_was_there():
    with jit.passes.disable("fuse"):
        with jit.passes.disable("fuse"):
            pass
        assert len(names(jit.trace(lambda x: x * 2 + 1, torch.ones(3)))) == 2


@pytest.mark.parametrize("ask", [lambda: jit.passes.disable("fusion"), lambda: jit.trace(abs, passes=["fusion"])])
def test_unknown_pass(ask):
    with pytest.raises(ValueError, match="no pass 'fusion'; the passes are early"):
        ask()


def test_report_prints_what_was_done_where():
    traced = jit.trace(lambda x: x * 2 + 1, torch.ones(3))
    text = str(traced.passes)
    assert "fuse" in text and "2 ->    1 entries" in text and "mul+add" in text and "test_passes.py" in text
    assert "nothing to do for early, dead, common" in text and "0 entries" not in text  # there is no backward program


def test_report_counts_what_was_done_several_times():
    text = str(jit.passes.Report([jit.passes.Line("copies", 5, 3, ("clone at f.py:2", "clone at f.py:2", "clone at f.py:3"))]))
    assert text.splitlines() == ["copies        5 ->    3 entries", "    2 x clone at f.py:2", "    clone at f.py:3"]


# -- dead


def test_dead_drops_what_nobody_reads():
    def f(x):
        (x + 1).exp()
        return x * 2

    traced = check_equal(f, torch.ones(3))
    assert names(traced) == ["mul"] and len(notes(traced, "dead")) == 2


def test_dead_keeps_changes_of_captured_tensors():
    counter = torch.zeros(1)

    def f(x):
        counter.add_(1)
        return x * 2

    traced = jit.trace(f, torch.ones(3))
    traced(torch.ones(3))
    traced(torch.ones(3))
    assert counter.item() == 2


# -- common


def test_common_computes_once():
    def f(x):
        return torch.tanh(x) + torch.tanh(x) * 3

    traced = check_equal(f, torch.ones(5), passes=["common"])
    assert names(traced).count("tanh") == 1


def test_common_sees_changes_between():
    def f(x):
        y = x.clone()
        a = torch.tanh(y)
        y.mul_(2)
        return a + torch.tanh(y)

    traced = check_equal(f, torch.ones(5), passes=["common"])
    assert names(traced).count("tanh") == 2


def test_common_keeps_two_results_that_are_returned_or_changed():
    def f(x):
        a, b = torch.tanh(x), torch.tanh(x)
        a.add_(1)
        return a, b

    check_equal(f, torch.ones(5))
    traced = jit.trace(lambda x: (torch.tanh(x), torch.tanh(x)), torch.ones(2))
    a, b = traced(torch.ones(2))
    a.zero_()
    assert b.tolist() != [0, 0]


def test_common_does_not_join_random_numbers():
    traced = jit.trace(lambda x: torch.rand_like(x) - torch.rand_like(x), torch.ones(50), check_trace=False)
    assert (traced(torch.ones(50)) != 0).any()


# -- copies


def test_copies_are_computed_in_place():
    traced = check_equal(lambda x: torch.tanh(x).clone(), torch.ones(5), passes=["copies"])
    assert names(traced) == ["tanh"]


def test_copy_of_an_input_that_is_returned_stays():
    traced = check_equal(lambda x: x.clone(), torch.ones(5))
    x = torch.ones(5)
    traced(x).zero_()
    assert x.tolist() == [1] * 5


def test_copy_before_a_change_stays():
    def f(x):
        y = torch.tanh(x)
        z = y.clone()
        y.add_(1)
        return y * z

    check_equal(f, torch.randn(5))


def test_gradients_are_written_where_they_stay():
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(x):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()

    traced = jit.trace(step, torch.randn(5, 4))
    assert not any("clone" in name for name in names(traced))


# -- slices


def gradient_of(cut):
    """A function that cuts a parameter into pieces, and the gradient of it."""
    w = torch.randn(3, 4, 5, requires_grad=True)

    def step(x):
        w.grad = None
        with torch.enable_grad():
            (cut(w) * x).sum().backward()
        return w.grad

    return step


@pytest.mark.parametrize("whole", [True, False])
def test_gradients_of_slices_are_written_in_place(whole):
    def cut(w):
        return w[0] * 2 + w[1].sin() * 3 + (w[2] if whole else 0)

    traced = check_equal(gradient_of(cut), torch.randn(4, 5))
    kernels = "+".join(names(traced))
    assert len(notes(traced, "slices")) == (3 if whole else 1)
    assert ("fill" in kernels) is not whole


def test_overlapping_slices_are_added():
    traced = check_equal(gradient_of(lambda w: w[0:2].sum(0) * 2 + w[1:3].sin().sum(0)), torch.randn(4, 5))
    assert not notes(traced, "slices")


def test_slice_that_is_read_on_its_own_stays_apart():
    def f(x):
        a, b = torch.zeros(4), torch.zeros(4)
        a[:2] = x
        b[2:] = x * 2
        return a + b, a * 3

    traced = check_equal(f, torch.randn(2))
    assert not any("add" in note for note in notes(traced, "slices"))


def test_slices_written_after_the_sum_do_not_count():
    def f(x):
        a, b = torch.zeros(4), torch.zeros(4)
        a[:2] = x
        b[2:] = x * 2
        c = a + b
        a[:2] = 7.0
        return c + a

    check_equal(f, torch.randn(2))


# -- epilogues


@pytest.mark.parametrize("rows", [1, 3, 60])
def test_relu_joins_the_product(rows):
    layer = nn.Linear(20, 17)
    traced = check_equal(lambda x: torch.relu(layer(x)), torch.randn(rows, 20))
    assert names(traced) == ["matmul+relu"]


def test_relu_joins_the_convolution():
    layer = nn.Conv2d(2, 5, 3, padding=1)
    traced = check_equal(lambda x: torch.relu(layer(x)), torch.randn(2, 2, 9, 9))
    assert names(traced) == ["convolution+relu"]


def test_relu_keeps_nan_in_the_epilogue():
    traced = jit.trace(lambda x: torch.relu(x @ torch.ones(2, 2)), torch.ones(3, 2))
    assert traced(torch.tensor([[1.0, float("nan")], [-1, -1], [1, 1]])).isnan().tolist() == [[True] * 2, [False] * 2, [False] * 2]


def test_product_that_is_read_twice_keeps_its_own_result():
    w = torch.randn(4, 4)

    def f(x):
        y = x @ w
        return torch.relu(y) + y

    assert "matmul+relu" not in names(check_equal(f, torch.randn(3, 4)))


def test_integers_keep_their_relu():
    w = torch.ones(2, 2, dtype=torch.int64)
    traced = jit.trace(lambda x: torch.relu(x @ w), w)
    assert traced(-w).tolist() == [[0, 0], [0, 0]]


# -- fuse


def test_chain_through_a_reshape_is_one_kernel():
    traced = check_equal(lambda x: torch.tanh((x * 2).reshape(12)) + 1, torch.randn(3, 4))
    assert len(names(traced)) == 1


def test_broadcast_is_not_mistaken_for_a_reshape():
    b = torch.randn(4)
    check_equal(lambda x: (x.reshape(4, 1) * 2 + b).reshape(16) * 3, torch.randn(4))


@pytest.mark.parametrize("shapes", [((5,), (5, 1)), ((1, 5), (5, 1)), ((5, 1), (1, 5, 1))], ids=str)
def test_one_memory_that_repeats_in_two_ways_is_two_operands(shapes):
    def f(a):
        one, other = (a.view(shape) for shape in shapes)
        return torch.where(one > other, 0.0, 1.0) + torch.where(one > other, 1.0, one) * other

    check_equal(f, torch.randn(5))


def test_causal_masks_of_two_layers_are_one_kernel():
    def attention(q):  # its mask: positions in a row against the same in a column
        places = torch.arange(5)
        scores = (q @ q.transpose(1, 2)).masked_fill(places > places.unsqueeze(1), -torch.inf)
        return scores.softmax(-1) @ q

    q = torch.randn(2, 5, 4, requires_grad=True)
    traced = jit.trace(lambda q: attention(attention(q)), (q,))
    assert notes(traced, "fuse") and torch.equal(traced(q), attention(attention(q)))


def test_chains_join_past_other_work():
    w = torch.randn(4, 4)

    def f(x):
        a = x * 2
        y = x @ w
        return a + 1, y

    assert sorted(names(check_equal(f, torch.randn(4, 4)))) == ["matmul", "mul+add"]


def test_chain_does_not_pass_a_change_of_what_it_reads():
    def f(x):
        buffer = torch.tanh(x)
        a = x * 2
        buffer.copy_((buffer @ buffer).detach())
        return a + buffer

    check_equal(f, torch.randn(4, 4))


def test_nothing_is_fused_across_a_value_that_python_reads():
    def f(x):
        y = x * 2
        if y.sum().item() > 0:
            y = y + 1
        return y * 3

    traced = jit.trace(f, torch.ones(3))
    assert traced(torch.ones(3)).tolist() == [9, 9, 9]
    assert traced(-torch.ones(3)).tolist() == [-6, -6, -6]


# -- outer, prepack, fold


def test_step_on_one_example_updates_with_the_outer_product():
    torch.manual_seed(0)
    models = [nn.Linear(6, 5) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    steps = []
    for model in models:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def step(x, model=model, optimizer=optimizer):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()

        steps.append(step)
    x = torch.randn(1, 6)
    traced = jit.trace(steps[1], x)
    assert "mul+sgd" in names(traced)
    for _ in range(3):
        steps[0](x)
        traced(x)
    assert models[0].weight.tolist() == models[1].weight.tolist()
    assert models[0].weight.grad.tolist() == models[1].weight.grad.tolist()


def test_weight_that_several_products_share_is_packed_once():
    cell = nn.RNNCell(8, 64)
    x = torch.randn(6, 3, 8)

    def f(x):
        h = torch.zeros(3, 64)
        for part in x:
            h = cell(part, h)
        return h

    traced = check_equal(f, x, tolerance=1e-5)
    assert names(traced).count("pack") == 1 and sum(n.startswith("matmul") and "packed" in n for n in names(traced)) == 6
    with torch.no_grad():
        cell.weight_hh.mul_(0.5)
        np.testing.assert_allclose(traced(x).numpy(), f(x).numpy(), rtol=1e-5, atol=1e-6)


def test_recurrent_layer_is_one_op_that_sees_changed_weights():
    lstm = nn.LSTM(8, 32)
    x = torch.randn(6, 3, 8)
    traced = check_equal(lambda x: lstm(x)[0], x, tolerance=0.0)
    assert names(traced).count("recurrent") == 2  # its weight in panels, and all its steps
    with torch.no_grad():
        lstm.weight_hh_l0.mul_(0.5)
        assert traced(x).tolist() == lstm(x)[0].tolist()


def test_matrix_that_changes_between_products_is_packed_anew():
    w = torch.randn(64, 64)

    def f(x):
        own = w.clone()
        y = x
        for _ in range(3):
            y = y @ own
        own.mul_(0.1)
        for _ in range(3):
            y = y @ own
        return y * 1e-3

    traced = check_equal(f, torch.randn(5, 64), tolerance=1e-3)
    assert names(traced).count("pack") == 2


def test_masks_are_computed_when_the_program_is_made():
    def f(x):
        return torch.where(torch.arange(5) % 2 == 0, x, 0.0) * torch.full((5,), 2.0)

    traced = check_equal(f, torch.randn(5))
    assert len(names(traced)) == 1 and len(notes(traced, "fold")) >= 3


def test_constant_that_is_returned_is_fresh_at_each_call():
    traced = jit.trace(lambda x: (torch.zeros(3) + 1, x * 2), torch.ones(3))
    traced(torch.ones(3))[0].zero_()
    assert traced(torch.ones(3))[0].tolist() == [1, 1, 1]


def test_constant_that_is_added_to_starts_anew_at_each_call():
    def f(x):
        total = torch.zeros(3)
        total += x
        total += 1
        return total * 2

    traced = check_equal(f, torch.randn(3))
    assert traced(torch.ones(3)).tolist() == traced(torch.ones(3)).tolist() == [4, 4, 4]


# -- inplace, spread


def test_results_take_the_memory_of_dead_operands():
    w = torch.randn(16, 16)

    def f(x):
        return torch.tanh(x @ w).sum(0)

    x = torch.randn(2048, 16)
    with jit.passes.disable("inplace", "tails"):
        before = jit.trace(f, x).paths()[0].program.peak
    traced = check_equal(f, x)
    assert traced.paths()[0].program.peak < 0.6 * before


def test_operand_that_is_read_later_or_twice_keeps_its_memory():
    w = torch.randn(8, 8)

    def f(x):
        y = x @ w
        z = torch.tanh(y) @ w
        return z + y.t(), y

    check_equal(f, torch.randn(8, 8))
    check_equal(lambda x: ((x @ w) + (x @ w).t()) @ w, torch.randn(8, 8))


def test_inputs_are_not_written_over():
    w = torch.randn(8, 8)
    traced = jit.trace(lambda x: torch.tanh(x) @ w, torch.randn(8, 8))
    x = torch.ones(8, 8)
    traced(x)
    assert x.tolist() == torch.ones(8, 8).tolist()


def test_small_kernels_of_expensive_functions_are_split():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        x = torch.randn(4096)
        traced = check_equal(lambda x: torch.tanh(x).exp().sin(), x)
        cheap = check_equal(lambda x: x * 2, x)
    finally:
        torch.set_num_threads(threads)
    assert traced.paths()[0].program.ops[0].chunks == 2
    assert cheap.paths()[0].program.ops[0].chunks == 1


def test_bits_do_not_depend_on_the_number_of_threads():
    def run(threads):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(2, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 49, 64), nn.GELU(),
                              nn.Linear(64, 10))  # fmt: skip
        lstm = nn.LSTM(10, 32)
        optimizer = torch.optim.Adam([*model.parameters(), *lstm.parameters()], lr=1e-2)
        x, y = torch.randn(48, 2, 16, 16), torch.randint(0, 32, (48,))

        def step(x, y):
            optimizer.zero_grad()
            loss = F.cross_entropy(lstm(model(x).reshape(3, 16, 10))[0].reshape(48, 32), y)
            loss.backward()
            optimizer.step()
            return loss

        traced = jit.trace(step, (x, y))
        losses = [traced(x, y).item() for _ in range(3)]
        frozen = jit.freeze(model.eval())
        return losses, model[0].weight.tolist(), frozen(x).tolist()

    threads = torch.get_num_threads()
    try:
        found = [run(n) for n in (1, 2, 8)]
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1] == found[2]
