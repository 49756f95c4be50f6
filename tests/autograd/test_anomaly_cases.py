"""Planted NaNs and infinities: each is blamed on the right op, line and module.

A case is a function with a comment ``# culprit`` on the line to be named; the table says which op, in which phase.
"""

from __future__ import annotations

import inspect
import warnings

import pytest

import numtorch as torch
from numtorch import nn
from numtorch.autograd.blame import AnomalyError

F = nn.functional
INF, NAN = float("inf"), float("nan")


def leaf(*values):
    return torch.tensor(values, requires_grad=True)


# -- forward


def log_of_negative():
    x = torch.tensor([1.0, -2.0])
    return torch.log(x)  # culprit


def root_of_negative():
    return (torch.tensor([4.0, -1.0, -2.0]) * 2).sqrt()  # culprit


def zero_by_zero():
    x = torch.tensor([1.0, 0.0])
    return x / x  # culprit


def masked_row():
    scores = torch.randn(2, 3)
    scores[1] = -INF
    return scores.softmax(-1)  # culprit


def infinity_minus_infinity():
    x = torch.tensor([INF, 1.0])
    return x - x  # culprit


def negative_base():
    return torch.tensor([-8.0]) ** (1 / 3)  # culprit


def in_place():
    x = torch.tensor([1.0, -1.0])
    x.log_()  # culprit
    return x


def in_a_view():
    x = torch.zeros(3, 4)
    x[1] = -1.0
    return x.t()[1:].sqrt()  # culprit


def variance_of_one():
    return torch.ones(1, 3).var(0)  # culprit


def zero_times_infinity():
    return torch.matmul(torch.tensor([[0.0, 1.0]]), torch.tensor([[INF], [1.0]]))  # culprit


def custom_forward():
    class Log(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return torch.log(x)  # culprit

        @staticmethod
        def backward(ctx, g):
            return g

    return Log.apply(leaf(-1.0))


def custom_forward_through_numpy():
    class Opaque(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return torch.from_numpy(x.detach().numpy() * NAN)

        @staticmethod
        def backward(ctx, g):
            return g

    return Opaque.apply(leaf(-1.0))  # culprit


# -- backward


def root_at_zero():
    x = leaf(0.0, 1.0)
    y = x.sqrt()  # culprit
    (y * 0.0).sum().backward()




def masked_division():
    x = leaf(0.0, 2.0)
    with torch.autograd.detect_anomaly(check_forward=False):
        ratio = x / x  # culprit
        torch.where(x == 0, 1.0, ratio).sum().backward()


def norm_at_zero():
    x = leaf(0.0, 0.0)
    square = (x * x).sum()
    distance = square.sqrt()  # culprit
    distance.backward()


def power_at_zero():
    x = leaf(0.0, 1.0)
    y = x**0.5  # culprit
    (y * 0.0).sum().backward()


def deviation_of_one():
    x = leaf(3.0)
    return x.std()  # culprit


def arc_cosine_at_one():
    x = leaf(1.0, 0.0)
    y = torch.acos(x)  # culprit
    (y * 0.0).sum().backward()


def angle_of_the_origin():
    x = leaf(0.0)
    y = torch.atan2(x, torch.zeros(1))  # culprit
    y.sum().backward()


def custom_backward():
    class Bad(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return (g - 2).log()  # culprit

    Bad.apply(leaf(1.0)).sum().backward()


def custom_backward_without_ops():
    class Bad(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return torch.tensor([NAN])

    Bad.apply(leaf(1.0)).sum().backward()  # culprit


def a_hook():
    x = leaf(1.0)
    y = x * 2
    y.register_hook(lambda g: (g - 2).log())  # culprit
    y.sum().backward()


def gradient_given_by_hand():
    x = leaf(1.0, 2.0)
    y = x * 2  # culprit
    y.backward(torch.tensor([NAN, 1.0]))


# -- double backward


def second_derivative_of_root():
    x = leaf(1.0)
    y = (x - 1).pow(1.5)  # culprit
    (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (g * 0.0).sum().backward()


def second_derivative_in_a_penalty():
    x = leaf(0.0, 0.0)
    y = (x**2).sum()
    (g,) = torch.autograd.grad(y, x, create_graph=True)
    length = g.pow(2).sum().sqrt()  # culprit
    length.backward()


# -- modules


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = Norm()

    def forward(self, x):
        return self.norm(x)


class Norm(nn.Module):
    def forward(self, x):
        return x / x.sum(-1, keepdim=True)  # culprit


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Identity(), Block()])

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def module_at_depth():
    Net()(torch.zeros(2, 3))


class Roots(nn.Module):
    def forward(self, x):
        return x.sqrt()  # culprit


def module_in_backward():
    net = nn.Sequential(nn.Identity(), nn.Sequential(Roots()))
    (net(leaf(0.0, 1.0)) * 0.0).sum().backward()


# -- data and optimizer


def data_through_a_module():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    x = torch.tensor([[1.0, NAN]])
    net(x)  # culprit


def data_found_in_backward():
    w = leaf(1.0, 2.0)
    x = torch.tensor([1.0, NAN])
    loss = (w * x).sum()  # culprit
    loss.backward()


def parameter_that_was_bad():
    net = nn.Linear(2, 2)
    with torch.no_grad():
        net.weight[0, 1] = NAN
    net(torch.ones(1, 2))


def step_too_long():
    p = leaf(1e30, 1.0)
    optimizer = torch.optim.SGD([p], lr=INF)
    p.grad = torch.tensor([0.0, 1.0])
    optimizer.step()  # culprit


def step_with_a_bad_gradient():
    p = leaf(1.0, 1.0)
    optimizer = torch.optim.Adam([p])
    p.grad = torch.tensor([NAN, 1.0])
    optimizer.step()  # culprit


# -- traced


def traced_forward():
    def f(x):
        y = x * 2 + 1
        return torch.log(y) * 3  # culprit

    traced = torch.jit.trace(f, torch.ones(2))
    traced(torch.tensor([-1.0, 1.0]))


def traced_step():
    p = leaf(4.0, 1.0)
    optimizer = torch.optim.SGD([p], lr=1.0)

    def step(x):
        optimizer.zero_grad()
        loss = (p - x).sqrt().sum()  # culprit
        loss.backward()
        optimizer.step()

    traced = torch.jit.trace(step, torch.zeros(2))
    traced(torch.tensor([4.0, 2.0]))


def traced_backward():
    traced = torch.jit.trace(lambda x: x.sqrt(), leaf(1.0, 4.0))  # culprit
    (traced(leaf(0.0, 1.0)) * 0.0).sum().backward()


# -- mixed


def right_dtype_and_thread():
    x = torch.tensor([1.0, -1.0], dtype=torch.float64)
    torch.ones(2).mul(2)
    return torch.asin(x * 2)  # culprit


def checkpointed():
    from numtorch.utils.checkpoint import checkpoint

    x = leaf(0.0, 1.0)
    y = checkpoint(lambda t: t.sqrt(), x, use_reentrant=False)  # culprit
    (y * 0.0).sum().backward()


CASES = [  # function, op, phase, module
    (log_of_negative, "log", "forward", ""), (root_of_negative, "sqrt", "forward", ""), (zero_by_zero, "div", "forward", ""),
    (masked_row, "softmax", "forward", ""), (infinity_minus_infinity, "sub", "forward", ""),
    (negative_base, "pow", "forward", ""), (in_place, "log", "forward", ""), (in_a_view, "sqrt", "forward", ""),
    (variance_of_one, "var", "forward", ""), (zero_times_infinity, "matmul", "forward", ""),
    (custom_forward, "log", "forward", ""), (custom_forward_through_numpy, "Opaque", "forward", ""),
    (root_at_zero, "sqrt", "backward", ""), (norm_at_zero, "sqrt", "backward", ""),
    (power_at_zero, "sqrt", "backward", ""), (deviation_of_one, None, "forward", ""),
    (arc_cosine_at_one, "acos", "backward", ""), (angle_of_the_origin, "atan2", "backward", ""),
    (custom_backward, "log", "backward", ""), (custom_backward_without_ops, "BadBackward", "backward", ""),
    (a_hook, "log", "backward", ""), (gradient_given_by_hand, "mul", "backward", ""),
    (second_derivative_of_root, None, "backward", ""), (second_derivative_in_a_penalty, "sqrt", "backward", ""),
    (module_at_depth, "div", "forward", "Net.blocks.1.norm"), (module_in_backward, "sqrt", "backward", "Sequential.1.0"),
    (data_through_a_module, None, "data", "Sequential"), (data_found_in_backward, None, "data", ""),
    (parameter_that_was_bad, None, "data", "Linear"), (step_too_long, None, "optimizer", "parameter 0 of group 0"),
    (step_with_a_bad_gradient, None, "optimizer", None), (traced_forward, "log", "forward", ""),
    (traced_step, "sqrt", "forward", ""), (traced_backward, "sqrt", "backward", ""),
    (right_dtype_and_thread, "asin", "forward", ""), (checkpointed, "sqrt", "backward", ""),
]  # fmt: skip
LINES = inspect.getsource(inspect.getmodule(inspect.currentframe())).splitlines()


def culprit(function):
    """The number of the line marked in a function, or in the class that it uses."""
    lines, first = inspect.getsourcelines(function)
    for k, text in enumerate(lines):
        if "# culprit" in text:
            return first + k
    for cls in {"module_at_depth": Norm, "module_in_backward": Roots}.get(function.__name__, ()), :
        if cls:
            return culprit(cls)
    return None


def caught(function):
    """The error of a case under anomaly detection."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.autograd.detect_anomaly(), pytest.raises(AnomalyError) as error:
            function()
    return error.value


@pytest.mark.parametrize("function, op, phase, module", CASES, ids=[c[0].__name__ for c in CASES])
def test_a_planted_nan_is_blamed_on_its_place(function, op, phase, module):
    error = caught(function)
    assert error.what == "nan" and error.phase == phase, str(error)
    if op is not None:
        assert error.op == op, str(error)
    if module is not None:
        assert error.module == module, str(error)
    line = culprit(function)
    if line is not None:
        assert error.line == f"{__file__}:{line}", str(error)
    assert error.count >= 1 and f"first at {error.index}" in str(error)


def test_there_are_enough_cases():
    assert len(CASES) >= 25


def test_infinities_on_request():
    def overflow():
        return torch.exp(torch.tensor([1.0, 1000.0]))

    with torch.autograd.detect_anomaly():
        overflow()
        torch.tensor([0.0, 1.0]).masked_fill(torch.tensor([True, False]), -INF)
    with torch.autograd.detect_anomaly(check_inf=True), pytest.raises(AnomalyError, match="'exp'.*inf") as error:
        overflow()
    assert error.value.what == "inf" and "overflows" in str(error.value) and "input 0 there: 1000.0" in str(error.value)
    x = leaf(0.0)
    with torch.autograd.detect_anomaly(check_inf=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(AnomalyError, match="SqrtBackward0.*inf"):
            x.sqrt().sum().backward()


def test_the_report_holds_everything():
    error = caught(module_at_depth)
    text = str(error)
    assert "Op 'div' returned nan values in forward" in text and "in module Net.blocks.1.norm" in text
    assert "numtorch.float32[2, 3], 6 of 6 elements, first at (0, 0)" in text
    assert "input 0 there: 0.0" in text and "input 1 there: 0.0" in text
    assert "Hint: 0/0" in text and "return x / x.sum(-1, keepdim=True)" in text and "Net()(torch.zeros(2, 3))" in text


def test_where_an_infinity_was_born():
    def overflow(x):
        y = x.exp()  # the first infinity
        return y - y

    with torch.autograd.detect_anomaly(), pytest.raises(AnomalyError) as error:
        overflow(torch.tensor([1000.0]))
    assert "'sub'" in str(error.value) and "input 0 there: inf (infinite since op 'exp'" in str(error.value)
    text = str(caught(norm_at_zero))
    assert "'MulBackward0' returned nan" in text and "It was born in 'SqrtBackward0'" in text


def test_values_before_an_in_place_op_are_told():
    assert "input 0 there: -1.0" in str(caught(in_place))


def test_the_chain_of_a_double_backward():
    text = str(caught(second_derivative_of_root))
    assert "Made in the backward of 'PowBackward0'" in text and "create_graph=True" in text
    assert "(x - 1).pow(1.5)" in text


def test_where_data_came_from():
    text = str(caught(data_through_a_module))
    assert "that no op made" in text and "brought it in with the data" in text
    assert "parameter 'Linear.weight' held it" in str(caught(parameter_that_was_bad))
    assert "held it, as it came with the data" in str(caught(data_found_in_backward)) or "brought it in" in str(
        caught(data_found_in_backward)
    )


def test_optimizer_steps_name_the_parameter():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with torch.autograd.detect_anomaly(check_inf=False), pytest.raises(AnomalyError) as error:
        net(torch.ones(1, 2)).sum().backward()
        net[1].weight.grad[0, 1] = NAN
        optimizer.step()
    assert error.value.phase == "optimizer" and error.value.module == "Sequential.1.weight"
    assert "The step of SGD" in str(error.value) and "its gradient held them already" in str(error.value)


def test_masked_division_under_where():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(AnomalyError) as error:
            masked_division()
    assert error.value.op == "div" and error.value.line.endswith(f":{culprit(masked_division)}")
    assert "under a where()" in str(error.value)


def test_nothing_is_raised_for_handled_data():
    x = torch.tensor([NAN, 1.0])
    with torch.autograd.detect_anomaly():
        assert torch.isnan(x * 2).tolist() == [True, False]
        net = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
        net(x.nan_to_num()[1:].reshape(1, 1)).sum().backward()
        torch.where(torch.isnan(x), 0.0, x).sum()


def test_data_loader_workers():
    from numtorch.utils.data import DataLoader, TensorDataset

    data = TensorDataset(torch.tensor([[1.0], [NAN], [3.0]]))
    net = nn.Linear(1, 1)
    with torch.autograd.detect_anomaly(), pytest.raises(AnomalyError, match="brought it in with the data"):
        for (x,) in DataLoader(data, batch_size=1, num_workers=2):
            net(x)


def test_a_loaded_trace_names_the_original_line(tmp_path):
    def f(x):
        return torch.log(x) + 1  # culprit of f

    torch.jit.trace(f, torch.ones(2)).save(tmp_path / "f")
    loaded = torch.jit.load(tmp_path / "f")
    with torch.autograd.detect_anomaly(), pytest.raises(AnomalyError) as error:
        loaded(torch.tensor([-1.0, 1.0]))
    number = next(k for k, text in enumerate(LINES, 1) if "# culprit of f" in text and "LINES" not in text)
    assert error.value.op == "log" and error.value.line == f"{__file__}:{number}"


def test_backward_of_a_trace_that_ran_before():
    """The forward was replayed without anomaly detection; the backward program's op is still named."""
    traced = torch.jit.trace(lambda x: x.sqrt() * 0.0, leaf(1.0, 4.0))
    out = traced(leaf(0.0, 1.0))
    with torch.autograd.detect_anomaly(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(AnomalyError) as error:
            out.sum().backward()
    assert "sqrt" in error.value.op and error.value.line.startswith(__file__)


def test_off_costs_nothing_and_leaves_nothing():
    torch.log(torch.tensor([-1.0]))
    assert not torch.is_anomaly_enabled() and not torch.autograd.mode.state.watched
