"""What a user may do to a traced function between and in its calls: values, aliasing, exceptions and effects equal eager."""

from __future__ import annotations

import collections
import copy
import dataclasses
import pickle
import random
import types
import warnings

import numpy as np
import pytest

import numtorch as torch
from numtorch import nn
from numtorch.utils.checkpoint import checkpoint

CALLS = 4


@dataclasses.dataclass
class Data:
    y: object
    k: float = 2.0


class Holder:
    def __init__(self, y):
        self.y = y


def vec(*values):
    return torch.tensor([float(v) for v in values])


def seen(value):
    """A value as something that can be compared."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), str(value.dtype), value.detach().tolist(), value.requires_grad
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return type(value).__name__, [(k, seen(v)) for k, v in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [seen(v) for v in value]
    if isinstance(value, (Data, Holder)):
        return seen(vars(value))
    return type(value).__name__ if isinstance(value, Exception) else repr(value)


def mutate(value):
    """What a caller may do to a result."""
    if isinstance(value, torch.Tensor):
        value.detach().add_(1)
    elif isinstance(value, (list, tuple)):
        for v in value:
            mutate(v)
        if isinstance(value, list):
            value.append(7)
    elif isinstance(value, dict):
        for v in list(value.values()):
            mutate(v)
        value["more"] = 7


def grown(x, kept=None):
    kept = [] if kept is None else kept
    kept.append(x * 2)
    return kept


def default_of(x):
    d = collections.defaultdict(list)
    d["a"] = x * 2
    return d


def twice(x):
    y = x * 2
    return y, y


RESULTS = {
    "dataclass": lambda x: Data(x * 2), "object": lambda x: Holder(x * 2), "defaultdict": default_of, "list": grown,
    "ordered": lambda x: collections.OrderedDict(b=x + 1, a=x * 2), "one twice": twice, "detached": lambda x: x.detach(),
    "array": lambda x: x.numpy(), "nested": lambda x: {"a": x * 2, "c": [1, {"e": x + 1}], "n": None}, "set": lambda x: {1, 2},
    "views": lambda x: (x[1:], x.reshape(2, 1)), "tuple's class": lambda x: type("T", (tuple,), {})((x, x * 2)),
    "keyword": lambda *, x: x * 2,
}  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.filterwarnings("ignore:numtorch.jit.trace")
def test_results_are_new_each_time(name):
    f = RESULTS[name]
    runs = []
    for g in (f, torch.jit.trace(f)):
        found = []
        for k in range(CALLS):
            x = vec(k, 2)
            y = g(x=x) if name == "keyword" else g(x)
            found.append(seen(y))
            mutate(y)
            found.append(seen((x, y)))
        runs.append(found)
    assert runs[0] == runs[1]


def pop_it(d, x):
    return d.pop("k") * x


def keep_it(held, x):
    held.append(x * 2)
    return x + 1


def turn_it(held, x):
    held.reverse()
    return held[0] * x


ARGUMENTS = {  # function, two arguments to use in turn, what is done to the first between two calls
    "dataclass": (lambda c, x: x * c.k, Data(None), Data(None, 3.0), lambda c: setattr(c, "k", 5.0)),
    "dataclass with a tensor": (lambda c, x: x * c.y, Data(vec(1, 2)), Data(vec(3, 4)), lambda c: setattr(c, "y", vec(5, 5))),
    "object": (lambda c, x: x * c.y, Holder(2.0), Holder(3.0), lambda c: setattr(c, "y", 5.0)),
    "namespace": (lambda c, x: x * c.y, types.SimpleNamespace(y=2.0), types.SimpleNamespace(y=3.0), lambda c: setattr(c, "y", 5.0)),
    "function": (lambda g, x: g(x), torch.sin, lambda x, held=[2.0]: x * held[0], lambda g: None),
    "set": (lambda s, x: x * len(s), {1}, {1, 2, 3}, lambda s: s.add(9)),
    "array": (lambda a, x: x * float(a[0]), np.ones(2), np.zeros(2), lambda a: a.fill(5)),
    "negative zero": (lambda k, x: x / k, 0.0, -0.0, lambda k: None),
    "numbers": (lambda k, x: x * k, 1, True, lambda k: None),
    "popped": (pop_it, {"k": vec(1, 2)}, {"k": vec(3, 4)}, lambda d: d.update(k=vec(5, 5))),
    "kept": (keep_it, [], [], lambda held: held.clear()),
    "turned": (turn_it, [vec(1, 2), vec(3, 4)], [vec(1, 1), vec(2, 2)], lambda held: None),
    "parameter": (lambda p, x: x * (2 if isinstance(p, nn.Parameter) else 3), nn.Parameter(vec(1, 2)), vec(1, 2), lambda p: None),
}  # fmt: skip


@pytest.mark.parametrize("name", ARGUMENTS)
@pytest.mark.filterwarnings("ignore:numtorch.jit.trace")
def test_arguments_are_looked_into(name):
    f, first, second, change = ARGUMENTS[name]
    runs = []
    for g in (f, torch.jit.trace(f)):
        a, b = (v if callable(v) and not isinstance(v, nn.Parameter) else copy.deepcopy(v) for v in (first, second))
        found = []
        for k in range(3 * CALLS):
            if k == 2 * CALLS:
                change(a)
            try:
                y = g(a if k // 2 % 2 == 0 else b, vec(k + 1, 2))
            except KeyError as e:
                y = e
            found.append((seen(y), seen(a), seen(b)))
        runs.append(found)
    assert runs[0] == runs[1]


def effects():
    """Functions that do more than compute, and how to look at what they did."""
    count, history, shelf, w = [0], [], {}, vec(0, 0)
    p = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([p], lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2)
    rng = np.random.default_rng(0)

    class Net(nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            self.last = x * 3
            return x * 2

    net = Net()

    def counted(x):
        count[0] += 1
        return x * 2

    def remembered(x):
        history.append(x * 2)
        return x + 1

    def stored(x):
        if x.shape[0] not in shelf:
            shelf[x.shape[0]] = torch.arange(float(x.shape[0]))
        return x + shelf[x.shape[0]]

    def stepped(x):
        optimizer.zero_grad()
        (p * x).sum().backward()
        optimizer.step()
        scheduler.step()
        return p.detach() * 1

    def scaled(x):
        optimizer.zero_grad()
        scaler.scale((p * x).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        return p.detach() * 1

    def raising(x):
        w.add_(1)
        if x.sum() > 3:
            raise KeyError("big")
        return x + w

    def switching(x):
        torch.set_grad_enabled(False)
        return x * 2

    return {
        "a counter": (counted, lambda: count[0]), "a list that grows": (remembered, lambda: history),
        "a store": (stored, lambda: shelf), "attributes": (net, lambda: (net.calls, getattr(net, "last", None))),
        "a scheduler": (stepped, lambda: (optimizer.param_groups[0]["lr"], scheduler.last_epoch)),
        "a scaler": (scaled, scaler.state_dict), "an exception": (raising, lambda: w), "a mode": (switching, torch.is_grad_enabled),
        "Python's random": (lambda x: x * 0 + int(random.random() * 0 + 1), random.random),
        "NumPy's random": (lambda x: x * 0 + int(rng.random() * 0 + 1), rng.random),
    }  # fmt: skip


@pytest.mark.parametrize("name", effects())
def test_effects_happen_at_each_call_and_not_when_recording(name):
    runs = []
    for use_trace in (False, True):
        random.seed(0)
        f, look = effects()[name]
        found = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            f = torch.jit.trace(f) if use_trace else f
            for k in range(CALLS + 2):
                try:
                    found.append(seen(f(vec(k, 0))))
                except KeyError as e:
                    found.append(seen(e))
                found.append(seen(look()))
                torch.set_grad_enabled(True)
        runs.append(found)
    assert runs[0] == runs[1]


def changed_input(f, x):
    y = f(x)
    with torch.no_grad():
        x.mul_(3)
    return y


def changed_output(f, x):
    y = f(x)
    y.detach().mul_(3)
    return y


@pytest.mark.parametrize("f, use", [(lambda x: (x * x).sum(), changed_input), (lambda x: x.exp(), changed_output)])
def test_a_backward_notices_changes_of_what_it_reads(f, use):
    traced = torch.jit.trace(f, vec(1, 2).requires_grad_())
    for g in (f, traced, traced, traced):
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            use(g, vec(1, 2).requires_grad_()).sum().backward()


def a_list(layers):
    layers.append(nn.Sigmoid())


CHANGES = {
    "appended": a_list, "inserted": lambda s: s.insert(0, nn.Tanh()), "deleted": lambda s: s.__delitem__(1),
    "hook": lambda s: s[0].register_forward_hook(lambda m, i, o: o * 2),
    "forward of the class": lambda s: setattr(type(s[0]), "forward", lambda self, x: x * 9),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_a_module_is_seen(name):
    kind = type("Layer", (nn.Linear,), {"forward": lambda self, x: x @ self.weight.t()})
    net = nn.Sequential(kind(2, 2), nn.ReLU())
    traced = torch.jit.trace(net, vec(1, 2))
    for _ in range(CALLS):
        assert traced(vec(1, 2)).equal(net(vec(1, 2)))
    before = net(vec(1, 2))
    CHANGES[name](net)
    for _ in range(CALLS):
        assert traced(vec(1, 2)).equal(net(vec(1, 2)))
    assert name == "deleted" or not before.equal(net(vec(1, 2)))


def test_an_optimizer_that_lost_its_state_or_got_another_group_is_seen():
    runs = []
    for use_trace in (False, True):
        p = torch.ones(2, requires_grad=True)
        optimizer = torch.optim.Adam([p], lr=0.1)

        def step(x, p=p, optimizer=optimizer):
            optimizer.zero_grad()
            (p * x).sum().backward()
            optimizer.step()

        step = torch.jit.trace(step, vec(1, 2)) if use_trace else step
        changes = [lambda: None, optimizer.state.clear,
                   lambda o=optimizer: o.param_groups.__setitem__(0, dict(o.param_groups[0], lr=0.7)),
                   lambda o=optimizer: o.param_groups[0].update(lr=0.3)]  # fmt: skip
        found = []
        for change in changes:
            change()
            for _ in range(CALLS):
                step(vec(1, 2))
                found.append(p.tolist())
        runs.append(found)
    assert runs[0] == runs[1]


# -- whole scenarios: each takes ``trace`` (for eager: the function as it is) and ``see``, to which it shows what it finds


def a_checkpoint(trace, see):
    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 1))
    f = trace(lambda x: (checkpoint(net, nn.functional.dropout(x, 0.5)) + torch.rand(1)).sum())
    for k in range(CALLS):
        net.zero_grad()
        y = f(torch.ones(2, 4) * k)
        see(torch.rand(1))
        y.backward()
        see(y, [p.grad + 0.0 for p in net.parameters()], torch.rand(1))


def a_seed_inside(trace, see):
    def f(x, seed):
        g = torch.manual_seed(seed)
        return x * torch.rand(2) + torch.rand(2, generator=g.manual_seed(torch.initial_seed() + 1))

    f = trace(f)
    for seed in (3, 3, 3, 3, 4, 4, 3):
        see(f(vec(1, 2), seed), torch.rand(1))


def a_generator_inside(trace, see):
    def f(x):
        with torch.random.fork_rng():
            torch.manual_seed(4)
            a = torch.rand(2)
        return a + x * torch.rand(2) + torch.rand(2, generator=torch.Generator().manual_seed(int(x[0])))

    f = trace(f)
    for k in (1, 1, 1, 2, 2, 1):
        see(f(vec(k, 2)), torch.rand(1))


def another_default_dtype(trace, see):
    f = trace(lambda x: x + torch.ones(2) + torch.tensor([1.5, 2.5]))
    x = vec(1, 2)
    for d in (torch.float32, torch.float64, torch.float32):
        torch.set_default_dtype(d)
        for _ in range(CALLS):
            see(f(x))


def a_default_dtype_that_stays(trace, see):
    def f(x):
        torch.set_default_dtype(torch.float64)
        return torch.ones(2) * x

    f = trace(f)
    for _ in range(CALLS):
        see(f(vec(1, 2)), torch.ones(1))
        torch.set_default_dtype(torch.float32)


def shapes_and_memory_changed_in_place(trace, see):
    w, small, p = vec(1, 2), torch.empty(0), nn.Parameter(vec(1, 2))
    see(small, w)

    def own(x):
        y, v = x * 2, x[:1]
        return y.unsqueeze_(0) + v.squeeze_()

    def renewed(x):
        p.data = p.data - 0.1 * x
        return p * 1

    functions = [lambda x: x.unsqueeze_(0) * 2, lambda x: torch.mul(x, 2, out=torch.empty(0)), own, renewed,
                 lambda x: torch.mul(x, 2, out=small) + 1, lambda x: w.set_(w * x) * 1, lambda x: w.unsqueeze_(0) * x]  # fmt: skip
    for f in functions:
        f = trace(f)
        for k in range(CALLS):
            x = vec(k, 2)
            see(f(x), x, small, w, p)
    f, out = trace(lambda x, out: torch.mul(x, 2, out=out)), torch.empty(0)
    for k in range(CALLS):
        x = torch.arange(float(k // 2))
        see(f(x, out), out)


def state_that_a_backward_reads(trace, see):
    held, w, net = [2.0], nn.Parameter(vec(1, 2)), nn.Linear(2, 2)
    net.register_full_backward_hook(lambda m, given, out: (given[0] * held[0],))

    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.kept = held
            y = x * held[0]
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, g):
            return g * ctx.kept[0] * 10 + ctx.saved_tensors[0] * held[0]

    def hooked(x):
        y = w * x
        y.register_hook(lambda g: g * held[0])
        return y * y

    functions = [Scaled.apply, hooked, net,
                 lambda x: checkpoint(lambda v: (v * held[0]).exp(), x, preserve_rng_state=False)]  # fmt: skip
    for f in functions:
        f = trace(f)
        for k in range(2 * CALLS):
            x = vec(k, 2).requires_grad_()
            y = f(x)
            held[0] = float(k // 2)
            y.sum().backward()
            see(y, x.grad, w.grad)


def hooks_of_leaves(trace, see):
    w, held, seen_by_hook = nn.Parameter(vec(1, 2)), [3.0], []
    w.register_hook(lambda g: g * held[0])
    w.register_hook(lambda g: seen_by_hook.append(g.tolist()))
    optimizer = torch.optim.SGD([w], lr=0.1)

    def step(x):
        optimizer.zero_grad()
        (w * w * x).sum().backward()
        optimizer.step()
        return w * 1

    f, g = trace(lambda x: (w * w * x).sum()), trace(step)
    for k in range(2 * CALLS):
        x = vec(k, 2).requires_grad_()
        x.register_hook(lambda g: g * 5)
        y = f(x)
        held[0] = float(k // 2)
        y.backward(create_graph=k % 2 == 0)
        see(x.grad, w.grad, seen_by_hook)
    for k in range(CALLS):
        see(g(vec(k, 2)))


def attributes_of_tensors(trace, see):
    w, net = vec(1, 2), nn.Linear(2, 2)
    w.k, w.more, net.weight.scale = 2.0, [3.0], 4.0

    def asked(x):
        try:
            return x * x.k
        except AttributeError:
            return x

    def noted(x):
        y = x * 2
        y.note = 3
        return y

    f = trace(lambda x: net(x) * w * w.k * w.more[0] * net.weight.scale + (1 if hasattr(w, "late") else 0))
    changes = [lambda: setattr(w, "k", 5.0), lambda: w.more.append(w.more.pop() + 1), lambda: setattr(net.weight, "scale", 9.0),
               lambda: setattr(w, "late", 1), lambda: delattr(w, "late")]  # fmt: skip
    for change in changes:
        for k in range(CALLS):
            see(f(vec(k, 2)))
        change()
    for f in (lambda x: x * x.k, lambda x: x * getattr(x, "k", 7.0), lambda x: x * x.__dict__.get("k", 7.0), asked):
        f = trace(f)
        for k in (2.0, 2.0, 2.0, None, None, None, 2.0, 5.0, 5.0, 5.0, vec(1, 2), vec(3, 4)):
            x = vec(1, 2)
            if k is not None:
                x.k = k
            try:
                see(f(x))
            except AttributeError as e:
                see(e)
    f = trace(noted)
    for k in range(CALLS):
        see(f(vec(k, 2)).note)


def classes_and_dicts(trace, see):
    class Twice(nn.Module):
        k = 2.0

        def __init__(self):
            super().__init__()
            self.by = 1.0

        def forward(self, x):
            return x * self.k * self.by

    class Thrice(Twice):
        k = 3.0

    class Plain:
        def __call__(self, x):
            return x * 2

    other = type("Other", (Plain,), {"__call__": lambda self, x: x * 5})
    net, plain = nn.Sequential(Twice(), nn.ReLU()), Plain()
    f = trace(lambda x: plain(net(x)))
    changes = [lambda: setattr(net[0], "__class__", Thrice), lambda: setattr(net[1], "__class__", nn.Tanh),
               lambda: setattr(plain, "__class__", other), lambda: net[0].__dict__.update(by=7.0), lambda: None]  # fmt: skip
    for change in changes:
        for k in range(CALLS):
            see(f(vec(k, 2)))
        change()


def gradients_that_are_returned(trace, see):
    w = nn.Parameter(vec(1, 2))

    def f(x):
        x.grad = w.grad = None
        (x * x * w).sum().backward()
        return x.grad, w.grad

    f = trace(f)
    for k in range(CALLS):
        x = vec(k, 2).requires_grad_()
        a, b = f(x)
        see(a is x.grad, b is w.grad, a, b)
        b.add_(1)
        see(w.grad)


def copies(trace, see):
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.Tanh())
    f = trace(net)
    see(f(vec(1, 2)))
    for c in (copy.deepcopy(f), pickle.loads(pickle.dumps(f)), copy.copy(f)):
        for change in (lambda: None, lambda: net[0].weight.detach().mul_(0.3), lambda: net.train(not net.training)):
            change()
            for k in range(CALLS):
                see(c(vec(k, 2)), f(vec(k, 2)))
    model = nn.ModuleList([net])
    model.inner = f
    c = copy.deepcopy(model)
    net[0].weight.detach().zero_()
    see(c.inner is model.inner, c.inner(vec(1, 2)), model.inner(vec(1, 2)), c[0](vec(1, 2)))


SCENARIOS = [attributes_of_tensors, classes_and_dicts, copies, gradients_that_are_returned, a_checkpoint, a_seed_inside, a_generator_inside,
             another_default_dtype, a_default_dtype_that_stays, hooks_of_leaves,
             shapes_and_memory_changed_in_place, state_that_a_backward_reads]  # fmt: skip


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("examples", [False, True])
@pytest.mark.filterwarnings("ignore:numtorch.jit.trace")
def test_a_trace_gives_what_eager_gives(scenario, examples):
    def from_examples(f):
        traced = torch.jit.trace(f)
        if isinstance(f, nn.Module):
            return traced
        return lambda *a: traced(*a) if traced.paths() else traced.prepare(a, {}) or traced(*a)

    runs = []
    for trace in (lambda f: f, from_examples if examples else torch.jit.trace):
        torch.manual_seed(1)
        found = []
        try:
            scenario(trace, lambda *values, found=found: found.extend(map(seen, values)))
        finally:
            torch.set_default_dtype(torch.float32)
        runs.append(found)
    assert runs[0] == runs[1]


Pair = collections.namedtuple("Pair", "y k")
HELD = {"list": [1, 2], "with tensors": [vec(1, 2)], "data": Data(None)}


class Changing(Pair):
    """A tuple that its class makes another one of, with attributes besides."""

    def __new__(cls, y, k):
        return super().__new__(cls, y, k + 1)


def noted(x):
    made = Changing(x * 2, 1)
    made.note = x
    return made


def one_list(x):
    made = [x * 2]
    return made, {"again": made}


def in_itself(x):
    made = [x * 2]
    made.append(made)
    return made


CONTAINERS = {  # functions and what is to be the same object in their results
    "list twice": (one_list, lambda x, y: y[0] is y[1]["again"]),
    "list in itself": (in_itself, lambda x, y: y[1] is y),
    "kept list": (lambda x: (x * 2, HELD["list"]), lambda x, y: y[1] is HELD["list"]),
    "kept list with tensors": (lambda x: HELD["with tensors"], lambda x, y: y is HELD["with tensors"]),
    "kept object": (lambda x: (x * 2, HELD["data"]), lambda x, y: y[1] is HELD["data"]),
    "tuple of its own kind": (lambda x: Changing(x * 2, 1), lambda x, y: y.k),
    "tuple with attributes": (noted, lambda x, y: y.note is x),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.filterwarnings("ignore:numtorch.jit.trace")
def test_containers_in_results_are_the_objects_that_eager_mode_gives(name):
    f, look = CONTAINERS[name]
    traced = torch.jit.trace(f, vec(1, 2))
    for _ in range(CALLS):
        x = vec(1, 2)
        assert look(x, traced(x)) == look(x, f(x))


@pytest.mark.filterwarnings("ignore:numtorch.jit.trace")
def test_arguments_that_are_returned_are_the_same_objects():
    traced = torch.jit.trace(lambda held, x: (x * 2, held), ({"a": vec(1, 2)}, vec(1, 2)))
    for held in ({"a": vec(1, 2)}, [vec(1)], Data(vec(1, 2))):
        for _ in range(CALLS):
            assert traced(held, vec(1, 2))[1] is held
    around = [vec(1, 2)]
    around.append(around)
    assert torch.jit.trace(lambda held: held[1][0] * 2)(around).tolist() == [2, 4]


@pytest.mark.filterwarnings("ignore:numtorch.jit.trace")
def test_arguments_in_the_memory_of_one_array():
    def f(x, y):
        x.mul_(y)
        y.add_(x)
        return x + y

    runs = []
    for g in (f, torch.jit.trace(f)):
        array = np.arange(4, dtype=np.float32)
        runs.append([g(torch.from_numpy(array[:3]), torch.from_numpy(array[1:])).tolist() for _ in range(CALLS)])
    assert runs[0] == runs[1]
