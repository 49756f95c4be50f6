"""NaNs planted where they are hard to find, each in eager mode and in a trace: the same op, line and module are named.

A case returns a function, arguments for which it is clean, arguments for which it is not, and what else has to change in
between. The comment ``# culprit: <case>`` is on the line to be named.
"""

from __future__ import annotations

import linecache
import warnings

import pytest

import numtorch as torch
from numtorch import nn
from numtorch.autograd import AnomalyError
from numtorch.utils.checkpoint import checkpoint
from numtorch.utils.data import DataLoader

INF, NAN = float("inf"), float("nan")


def leaf(*values):
    return torch.tensor(values, requires_grad=True)


def nothing():
    pass


# -- own ops, loops and submodules


@torch.elementwise
def shifted_root(x):
    return (x - 1.0) ** 0.5


class Cell(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(2, 2)
        nn.init.eye_(self.lin.weight)
        nn.init.zeros_(self.lin.bias)

    def forward(self, h):
        return shifted_root(self.lin(h))  # culprit: custom_op_in_a_loop


class Loop(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells = nn.ModuleList([nn.Identity(), Cell()])

    def forward(self, h):
        for _ in range(3):
            for cell in self.cells:
                h = cell(h)
        return h


def custom_op_in_a_loop():
    return Loop(), (torch.full((1, 2), 50.0),), (torch.full((1, 2), 2.5),), nothing


def custom_op_backward():
    def f(x):
        y = shifted_root(x)  # culprit: custom_op_backward
        (y * 0.0).sum().backward()

    return f, (leaf(2.0, 3.0),), (leaf(1.0, 3.0),), nothing


# -- memory that is shared or changed


def in_place_on_a_view():
    def f(x):
        y = x * 2
        y[1:].log_()  # culprit: in_place_on_a_view
        return y.sum()

    return f, (torch.ones(3),), (torch.tensor([-1.0, 1.0, -1.0]),), nothing


def put_twice():
    def f(x, v):
        y = x.clone()
        y.index_put_((torch.tensor([0, 0]),), v, accumulate=True)  # culprit: put_twice
        return y

    return f, (torch.ones(3), torch.ones(2)), (torch.ones(3), torch.tensor([INF, -INF])), nothing


def hidden_by_where():
    def f(x):
        y = torch.log(x) * 2  # culprit: hidden_by_where
        return torch.where(x > 0, y, torch.zeros_like(y)) + 1

    return f, (torch.ones(3),), (torch.tensor([1.0, -1.0, 2.0]),), nothing


def never_used():
    def f(x):
        _ = torch.log(x)  # culprit: never_used
        return x + 1

    return f, (torch.ones(3),), (torch.tensor([1.0, -1.0, 2.0]),), nothing


def in_the_middle_of_a_chain():
    def f(x):
        y = (x * 2 + 1).exp()
        y = torch.acos(y)  # culprit: in_the_middle_of_a_chain
        return (y.cos() * 3 - 1).tanh()

    return f, (torch.full((3,), -1.0),), (torch.tensor([-1.0, 0.5, -1.0]),), nothing


def half_precision():
    def f(x):
        y = x * 60000.0
        return y - y  # culprit: half_precision

    return f, (torch.ones(2).half(),), (torch.full((2,), 100.0).half(),), nothing


def a_trace_in_a_trace():
    inner = torch.jit.trace(lambda x: x.sqrt(), torch.ones(2))  # culprit: a_trace_in_a_trace
    return (lambda x: inner(x - 1) + 1), (torch.full((2,), 2.0),), (torch.zeros(2),), nothing


# -- gradients


class Half(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0].pow(1.5)  # culprit: double_backward_through_a_function


def double_backward_through_a_function():
    def f(x):
        (g,) = torch.autograd.grad(Half.apply(x).sum(), x, create_graph=True)
        (g2,) = torch.autograd.grad(g.sum(), x, create_graph=True)
        (g2 * 0).sum().backward()

    return f, (leaf(1.0, 2.0),), (leaf(0.0, 2.0),), nothing


class Forward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.log()  # culprit: function_forward

    @staticmethod
    def backward(ctx, g):
        return g


def function_forward():
    return (lambda x: Forward.apply(x * 2) + 1), (leaf(1.0),), (leaf(-1.0),), nothing


class Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * 1

    @staticmethod
    def backward(ctx, g):
        return g * (ctx.saved_tensors[0] - 1).log()  # culprit: function_backward


def function_backward():
    return (lambda x: Backward.apply(x * 2)), (leaf(3.0),), (leaf(0.0),), nothing


def gradients_added():
    def f(x):
        a, b = x * 2, x * 3
        a.register_hook(lambda g: g * x.detach())
        b.register_hook(lambda g: -g * x.detach())
        (a.sum() * 1e30 + b.sum() * 1e30).backward()  # culprit: gradients_added

    return f, (leaf(1.0),), (torch.tensor([1e30], requires_grad=True),), nothing


def behind_dropout():
    """The backward is taken again to find the op: with the mask of the forward, not a new one."""
    drop = nn.Dropout(0.5)

    def f(x):
        kept = drop(x)
        return torch.where(kept > 0, kept - 2, kept).sqrt()  # culprit: behind_dropout

    return f, (leaf(3.0, 3.0, 3.0, 3.0),), (leaf(1.0, 1.0, 1.0, 1.0),), nothing


class Roots(nn.Module):
    def forward(self, x):
        return x.relu().sqrt()  # culprit: module_at_depth_in_backward


def module_at_depth_in_backward():
    net = nn.Sequential(nn.Identity(), nn.Sequential(Roots()))
    return net, (leaf(1.0, 2.0),), (leaf(-1.0, 2.0),), nothing


# -- hooks


def forward_hook():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    net[0].register_forward_hook(lambda m, i, o: (o - o) / (i[0].sum() - 2))  # culprit: forward_hook
    return (lambda x: net(x)), (torch.zeros(1, 2),), (torch.ones(1, 2),), nothing


def gradient_hook():
    def f(x):
        y = x * 2
        y.register_hook(lambda g: (g * x.detach() - 2).sqrt())  # culprit: gradient_hook
        y.sum().backward()

    return f, (leaf(3.0),), (leaf(1.0),), nothing


def module_backward_hook():
    lin = nn.Linear(2, 1)
    lin.register_full_backward_hook(lambda m, given, out: (given[0] + (out[0] - 2).log(),))  # culprit: module_backward_hook

    def f(x):
        lin.zero_grad()
        (lin(x).sum() * x.detach().sum()).backward()

    return f, (torch.full((1, 2), 2.0, requires_grad=True),), (torch.full((1, 2), 0.5, requires_grad=True),), nothing


# -- checkpoints


def checkpointed_forward():
    def block(t):
        return t.log() * 2  # culprit: checkpointed_forward

    return (lambda x: checkpoint(block, x, use_reentrant=False)), (leaf(1.0, 2.0),), (leaf(-1.0, 2.0),), nothing


def checkpointed_backward():
    def block(t):
        return t.sqrt()  # culprit: checkpointed_backward

    def f(x):
        (checkpoint(block, x, use_reentrant=False) * 0.0).sum().backward()

    return f, (leaf(1.0, 2.0),), (leaf(0.0, 2.0),), nothing


def reentrant_checkpoint():
    def block(t):
        return t.sqrt()  # culprit: reentrant_checkpoint

    def f(x):
        (checkpoint(block, x, use_reentrant=True) * 0.0).sum().backward()

    return f, (leaf(1.0, 2.0),), (leaf(0.0, 2.0),), nothing


# -- optimizers and buffers


def rate_of_a_scheduler():
    p = leaf(1.0, 2.0)
    optimizer = torch.optim.SGD([p], lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: NAN if k else 1.0)

    def f(x):
        optimizer.zero_grad()
        (p * x).sum().backward()
        optimizer.step()  # culprit: rate_of_a_scheduler

    return f, (torch.ones(2),), (torch.ones(2),), scheduler.step


def adam_without_eps():
    p = leaf(1.0, 2.0)
    optimizer = torch.optim.Adam([p], lr=0.1, eps=0.0)

    def f(x):
        optimizer.zero_grad()
        (p * x).sum().backward()
        optimizer.step()  # culprit: adam_without_eps

    def forget():
        for state in optimizer.state.values():
            state["exp_avg"].zero_()
            state["exp_avg_sq"].zero_()

    return f, (torch.ones(2),), (torch.zeros(2),), forget


def clipped_gradients():
    p = leaf(1.0, 2.0)

    def f(x):
        p.grad = None
        (p * x).sum().backward()
        torch.nn.utils.clip_grad_norm_([p], 1.0)  # culprit: clipped_gradients

    return f, (torch.ones(2),), (torch.tensor([INF, 0.0]),), nothing


def negative_running_variance():
    norm = nn.BatchNorm1d(2).eval()

    def f(x):
        return norm(x)  # culprit: negative_running_variance

    return f, (torch.ones(3, 2),), (torch.ones(3, 2),), lambda: norm.running_var.fill_(-1.0)


def buffer_that_was_bad():
    net = nn.Sequential(nn.BatchNorm1d(2)).eval()

    def f(x):
        return net(x)  # culprit: buffer_that_was_bad

    return f, (torch.ones(3, 2),), (torch.ones(3, 2),), lambda: net[0].running_mean.fill_(NAN)


def number_that_was_bad():
    net = nn.Linear(2, 2)

    class Scaled(nn.Module):
        scale = 1.0

        def forward(self, x):
            return net(x * self.scale)  # culprit: number_that_was_bad

    scaled = Scaled()
    return scaled, (torch.ones(1, 2),), (torch.ones(1, 2),), lambda: setattr(scaled, "scale", NAN)


CASES = [  # case, op, phase, module; "later": the gradient is taken by the caller
    (custom_op_in_a_loop, "shifted_root", "forward", "Loop.cells.1"), (custom_op_backward, "shifted_root", "backward", ""),
    (in_place_on_a_view, "log", "forward", ""), (put_twice, "index_add", "forward", ""),
    (hidden_by_where, "log", "forward", ""), (never_used, "log", "forward", ""),
    (in_the_middle_of_a_chain, "acos", "forward", ""), (half_precision, "sub", "forward", ""),
    (a_trace_in_a_trace, "sqrt", "forward", ""), (double_backward_through_a_function, None, "backward", ""),
    (function_forward, "log", "forward", ""), (function_backward, "log", "later", ""),
    (gradients_added, "add", "backward", ""), (behind_dropout, "sqrt", "later", ""),
    (module_at_depth_in_backward, "sqrt", "later", "Sequential.1.0"), (forward_hook, "div", "forward", "Sequential.0"),
    (gradient_hook, "sqrt", "backward", ""), (module_backward_hook, "log", "backward", "Linear"),
    (checkpointed_forward, "log", "forward", ""), (checkpointed_backward, "sqrt", "backward", ""),
    (reentrant_checkpoint, "sqrt", "backward", ""), (rate_of_a_scheduler, "sgd", "optimizer", "parameter 0 of group 0"),
    (adam_without_eps, "adam", "optimizer", "parameter 0 of group 0"), (clipped_gradients, "mul", "forward", ""),
    (negative_running_variance, "batch_norm", "forward", "BatchNorm1d"), (buffer_that_was_bad, None, "data", "Sequential"),
    (number_that_was_bad, None, "data", "Scaled"),
]  # fmt: skip


def report(case, traced, later):
    """What a case raises, after calls with nothing to find."""
    torch.manual_seed(0)
    function, clean, bad, between = case()
    if traced:
        function = torch.jit.trace(function, clean)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.autograd.detect_anomaly():
            for _ in range(4):
                out = function(*clean)
                if later:
                    out.sum().backward()
        between()
        with torch.autograd.detect_anomaly(), pytest.raises(AnomalyError) as error:
            out = function(*bad)
            if later:
                (out * 0.0).sum().backward()
    return error.value


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "traced"])
@pytest.mark.parametrize("case, op, phase, module", CASES, ids=[c[0].__name__ for c in CASES])
def test_the_culprit_is_named(case, op, phase, module, traced):
    error = report(case, traced, phase == "later")
    text = str(error)
    file, _, number = error.line.rpartition(":")
    assert file == __file__ and f"# culprit: {case.__name__}" in linecache.getline(file, int(number)), text
    assert error.phase == ("backward" if phase == "later" else phase) and error.module == module, text
    assert op is None or error.op == op, text
    assert error.what == "nan" and error.count >= 1 and f"first at {error.index}" in text


@pytest.mark.parametrize("case, says", [
    (rate_of_a_scheduler, ["(lr): nan", "look at the learning rate"]), (adam_without_eps, ["(eps): 0.0", "eps is 0"]),
    (buffer_that_was_bad, ["buffer 'Sequential.0.running_mean' held it"]),
    (number_that_was_bad, ["the number nan was given to op 'mul'"]),
    (double_backward_through_a_function, ["Made in the backward of 'HalfBackward'", "The forward call of HalfBackward"]),
    (gradients_added, ["where gradients were added up in backward"]),
])  # fmt: skip
def test_what_the_reports_say(case, says):
    text = str(report(case, True, False))
    assert all(part in text for part in says), text


class Logs:
    def __len__(self):
        return 4

    def __getitem__(self, i):
        return torch.tensor(2.0 - i).log()  # culprit: item


def quotient(items):
    x = torch.stack(items) - torch.stack(items)
    return x / x  # culprit: collate


class Numbers(Logs):
    def __getitem__(self, i):
        return torch.tensor(float(i))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("data, collate, op, place", [(Logs(), None, "log", "item"), (Numbers(), quotient, "div", "collate")])
def test_data_loader_workers_name_the_line_as_well(workers, data, collate, op, place):
    loader = DataLoader(data, batch_size=2, num_workers=workers, collate_fn=collate)
    with torch.autograd.detect_anomaly(), pytest.raises(AnomalyError) as error:
        list(loader)
    file, _, number = error.value.line.rpartition(":")
    assert error.value.op == op and f"# culprit: {place}" in linecache.getline(file, int(number))
    assert f"returned nan values in forward, from inputs that had none: output numtorch.float32{[2] if collate else []}" in str(error.value)


def test_workers_look_as_long_as_the_main_process_does():
    loader = DataLoader(Logs(), batch_size=2, num_workers=1, persistent_workers=True)
    assert torch.isnan(torch.cat(list(loader))).any()
    with torch.autograd.detect_anomaly(), pytest.raises(AnomalyError, match="'log'"):
        list(loader)
    assert torch.isnan(torch.cat(list(loader))).any()
