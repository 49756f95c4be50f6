"""Whole training steps, and what programs do to a model and its optimizer between two of them: traced as eager."""

from __future__ import annotations

import functools
import warnings

import pytest

import numtorch as torch
from numtorch import nn
from numtorch.nn import functional as F
from numtorch.optim import lr_scheduler, swa_utils

CALLS = 4


def seen(value):
    """A value as something that can be compared."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), str(value.dtype), value.detach().tolist(), value.requires_grad, value.is_leaf
    if isinstance(value, dict):
        return [(seen(k) if isinstance(k, torch.Tensor) else str(k), seen(v)) for k, v in value.items()]
    if isinstance(value, (list, tuple)):
        return [seen(v) for v in value]
    return type(value).__name__ if isinstance(value, Exception) else value


def same(a, b):
    """Whether two such values are equal, up to what fused kernels round."""
    if isinstance(a, float) and isinstance(b, float):
        return a == pytest.approx(b, rel=1e-5, abs=1e-6, nan_ok=True)
    if isinstance(a, (list, tuple)) and type(a) is type(b):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


class Net(nn.Module):
    def __init__(self, norm=False):
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)
        self.n = nn.BatchNorm1d(4) if norm else nn.Identity()

    def forward(self, x):
        return self.b(torch.tanh(self.n(self.a(x))))


class Steps:
    """A model, an optimizer, and a step to trace; shows what a call leaves behind."""

    def __init__(self, trace, see, make=None, net=None):
        self.net = Net() if net is None else net
        self.optimizer = (make or (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)))(self.net.parameters())
        self.x, self.y, self.see = torch.randn(5, 3), torch.randn(5, 2), see
        self.trace = trace
        self.use(self.plain)

    def plain(self, x, y):
        self.optimizer.zero_grad()
        loss = F.mse_loss(self.net(x), y)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def use(self, step):
        self.step = self.trace(step)

    def go(self, times=CALLS):
        for _ in range(times):
            try:
                self.see(self.step(self.x, self.y))
            except KeyError as e:
                self.see(e)
        for p in self.net.parameters():
            self.see(p, p.grad)
        self.see(list(self.net.buffers()), list(self.optimizer.state.values()))


def optimizer_state_replaced(trace, see):
    for kind in (torch.optim.Adam, torch.optim.Adagrad, torch.optim.Rprop):
        s = Steps(trace, see, lambda p, kind=kind: kind(p, lr=0.1))
        s.go()
        for held in s.optimizer.state.values():
            held.update({k: v.clone() for k, v in held.items()})
        s.go()
        first = next(iter(s.optimizer.state))
        s.optimizer.state[first] = {k: v.clone() * 0.5 for k, v in s.optimizer.state[first].items()}
        s.go()
        del s.optimizer.state[first]
        s.go()


def option_set_inside(trace, see):
    s = Steps(trace, see)

    def step(x, lr):
        s.optimizer.param_groups[0]["lr"] = lr
        return s.plain(x, s.y)

    f = trace(step)
    for lr in (0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 0.1, 0.2, 0.1):
        see(f(s.x, lr), s.optimizer.param_groups[0]["lr"])


def options_removed(trace, see):
    s = Steps(trace, see)
    group = s.optimizer.param_groups[0]
    s.go()
    for change in (lambda: group.pop("momentum"), lambda: group.setdefault("momentum", 0.5), lambda: group.__delitem__("lr"),
                   lambda: group.setdefault("lr", 0.2), lambda: group.popitem(), group.clear):  # fmt: skip
        change()
        s.go()


def rate_in_a_tensor_that_the_step_changes(trace, see):
    rate = torch.tensor(0.1)
    s = Steps(trace, see, lambda p: torch.optim.SGD(p, lr=rate))

    def step(x, y):
        rate.mul_(0.9)
        return s.plain(x, y)

    s.use(step)
    s.go()


def hooks_and_attributes_of_an_optimizer(trace, see):
    class Scaled(torch.optim.Adam):
        scale = 1.0

        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    p.grad.mul_(self.scale)
            return super().step(closure)

    s, factor = Steps(trace, see, lambda p: Scaled(p, lr=0.1)), [2.0]

    def hook(optimizer, args, kwargs):
        s.net.a.weight.grad.mul_(factor[0])

    s.optimizer.register_step_pre_hook(hook)
    s.go()
    factor[0] = 5.0
    s.go()
    s.optimizer.scale = -1.0
    s.go()
    Scaled.scale = 3.0
    del s.optimizer.scale
    s.go()


def schedulers_inside(trace, see):
    def in_sequence(o):
        return lr_scheduler.SequentialLR(o, [lr_scheduler.ConstantLR(o, 0.5, 2), lr_scheduler.ExponentialLR(o, 0.9)], [2])

    for make in (lambda o: lr_scheduler.StepLR(o, 2), in_sequence):
        s = Steps(trace, see)
        scheduler = make(s.optimizer)

        def step(x, y, s=s, scheduler=scheduler):
            loss = s.plain(x, y)
            scheduler.step()
            return loss, scheduler.get_last_lr()

        s.use(step)
        s.go(2 * CALLS)


def optimizers_that_count_in_python(trace, see):
    class Own(torch.optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {"lr": 0.1})

        @torch.no_grad()
        def step(self):
            for group in self.param_groups:
                for p in group["params"]:
                    held = self.state[p]
                    held["step"] = held.get("step", 0) + 1
                    p.add_(p.grad, alpha=-group["lr"] / held["step"])

    s = Steps(trace, see, Own)
    s.go()
    s = Steps(trace, see, lambda p: torch.optim.LBFGS(p, lr=0.5, max_iter=4, line_search_fn="strong_wolfe"))

    def step(x, y):
        def closure():
            s.optimizer.zero_grad()
            loss = F.mse_loss(s.net(x), y)
            loss.backward()
            return loss

        return s.optimizer.step(closure).detach()

    s.use(step)
    s.go()
    s.x, s.y = s.x[:3], s.y[:3]
    s.go()


def averages_updated_alone(trace, see):
    s = Steps(trace, see, net=Net(norm=True))
    average = swa_utils.AveragedModel(s.net)
    f = trace(lambda: average.update_parameters(s.net))
    for _ in range(CALLS + 1):
        s.go(1)
        f()
        see(list(average.parameters()), average.n_averaged)


def tensors_and_modules_put_into_dicts(trace, see):
    net = Net(norm=True)
    f = trace(net)
    x = torch.randn(5, 3)
    other = nn.Linear(3, 4)
    changes = [lambda: net.n._buffers.update(running_mean=torch.ones(4)), lambda: net.n._parameters.update(weight=nn.Parameter(torch.ones(4) * 3)),
               lambda: net._modules.update(a=other), net.eval, lambda: net.n._buffers.update(running_var=torch.ones(4) * 9)]  # fmt: skip
    for change in changes:
        for _ in range(CALLS):
            see(f(x))
        see(net.n.running_mean)
        change()
    see(f(x), f(x))


def scaled_steps(trace, see):
    s, scaler = Steps(trace, see), torch.amp.GradScaler("cpu", init_scale=16.0, growth_interval=2)
    other = torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1)
    p = other.param_groups[0]["params"][0]

    def forward(x, y):
        s.optimizer.zero_grad()
        scaler.scale(F.mse_loss(s.net(x), y)).backward()

    def step(x, y):
        forward(x, y)
        scaler.step(s.optimizer)
        scaler.update()

    s.use(step)
    f = trace(forward)
    for factor in (1.0, 1.0, 1.0, float("inf"), 1.0, float("nan"), 1.0, 1.0, 1.0):
        x, s.x = s.x, s.x * factor
        s.go(1)
        see(scaler.get_scale(), scaler.state_dict())
        f(s.x, s.y)
        p.grad = torch.ones(2)
        scaler.step(s.optimizer)
        scaler.step(other)
        scaler.update()
        see(scaler.get_scale(), p)
        s.x = x


def parametrized_tensors_kept_for_a_while(trace, see):
    net = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    f = trace(lambda x: (net(x) + net(x)).sum())
    for k in range(3 * CALLS):
        y = f(torch.ones(2, 3))
        y.backward()
        see(y, [p.grad for p in net.parameters()])
        if k // CALLS == 1:
            with nn.utils.parametrize.cached():
                a = f(torch.ones(2, 3))
                net.parametrizations.weight.original1.detach().mul_(2)
                see(a, f(torch.ones(2, 3)))


def what_happens_once_or_every_second_time(trace, see):
    w, done, turn, kept = torch.ones(2), [], [False], {}

    def once(x):
        if not done:
            done.append(1)
            w.mul_(5)
        return x * w

    def turning(x):
        turn[0] = not turn[0]
        return x * 2 if turn[0] else x * 3

    def keeping(x):
        if "first" not in kept:
            kept["first"] = x * 1
        return x + kept["first"]

    for f in (once, turning, keeping):
        f = trace(f)
        for k in range(2 * CALLS):
            see(f(torch.full((2,), float(k))), w, turn, done)


def a_cache_that_is_cleared(trace, see):
    factor = [2.0]
    for size in (None, 2):

        @functools.lru_cache(size)
        def scale(n):
            return n * factor[0]

        @functools.lru_cache(size)
        def mask(n):
            return torch.arange(float(n)) + factor[0]

        f = trace(lambda x, scale=scale, mask=mask: x * scale(3) + mask(len(x)))
        for change in (lambda: None, lambda: factor.__setitem__(0, factor[0] + 1), scale.cache_clear, mask.cache_clear):
            change()
            for n in (2, 2, 2, 2, 3, 4, 2):
                see(f(torch.ones(n)))


SCENARIOS = [
    a_cache_that_is_cleared,
    tensors_and_modules_put_into_dicts, scaled_steps, parametrized_tensors_kept_for_a_while, what_happens_once_or_every_second_time,
    optimizer_state_replaced, option_set_inside, options_removed, rate_in_a_tensor_that_the_step_changes,
    hooks_and_attributes_of_an_optimizer, schedulers_inside, optimizers_that_count_in_python, averages_updated_alone,
]  # fmt: skip


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_traced_step_leaves_what_an_eager_one_leaves(scenario):
    runs = []
    for trace in (lambda f: f, torch.jit.trace):
        torch.manual_seed(1)
        found = []
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "numtorch.jit.trace")
            scenario(trace, lambda *values, found=found: found.extend(map(seen, values)))
        runs.append(found)
    assert len(runs[0]) == len(runs[1])
    for k, (eager, traced) in enumerate(zip(*runs)):
        assert same(eager, traced), (k, eager, traced)


def test_tracing_with_examples_leaves_an_optimizer_without_state():
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)

    def step(x, y):
        optimizer.zero_grad()
        F.mse_loss(net(x), y).backward()
        optimizer.step()

    x, y = torch.ones(2, 3), torch.ones(2, 2)
    traced = torch.jit.trace(step, (x, y))
    assert not optimizer.state and "exp_avg of a.weight" in str(traced.graph)
    for _ in range(CALLS):
        traced(x, y)
    assert len(traced.paths()) == 1
    assert {held["step"].item() for held in optimizer.state.values()} == {CALLS}
