"""Python's state around a traced function: changed after tracing, it makes another path, and results equal eager.

PyTorch's tracer bakes all of this in without a word.
"""

from __future__ import annotations

import array
import ctypes
import dataclasses
import functools
import logging
import operator
import sys
import threading
import types

import numpy as np
import pytest

import numtorch as torch
from numtorch import nn

FACTOR = 2.0
SETTINGS = {"factor": 2.0}


class Config:
    factor = 2.0


@dataclasses.dataclass
class Data:
    factor: float = 2.0


class Slotted:
    __slots__ = ("factor",)

    def __init__(self):
        self.factor = 2.0


class Holder(nn.Module):
    """Keeps everything that a module may keep besides parameters."""

    def __init__(self):
        super().__init__()
        self.settings = {"factor": 2.0, "deep": {"list": [2.0]}}
        self.values = [1.0, 2.0]
        self.space = types.SimpleNamespace(factor=3.0)
        self.array = np.array([1, 2, 3], np.float32)
        self.pair = (1.0, 2.0)
        self.chosen = {"a"}
        self.name = b"a"


def of_module(forward, change):
    """A module with this forward, and what changes it."""

    def make():
        m = type("Module", (Holder,), {"forward": forward})()
        return m, lambda: change(m)

    return make


def in_closure(held, use, change):
    """A function with `held` in its closure, and what changes it."""

    def make():
        value = held()
        return lambda x: use(x, value), lambda: change(value)

    return make


def of_a_global(function, change):
    def make():
        return function, change

    return make


def use_settings(x):
    return x * SETTINGS["factor"]


def use_helper(x):
    return use_settings(x) + 1


class Callable_:
    def __init__(self):
        self.factor = 2.0
        self.settings = {"factor": 2.0}

    def __call__(self, x):
        return x * self.factor

    def method(self, x):
        return self.other(x)

    def other(self, x):
        return x * self.settings["factor"]


def callable_object():
    c = Callable_()
    return c, lambda: setattr(c, "factor", 5.0)


def bound_method():
    c = Callable_()
    return c.method, lambda: c.settings.update(factor=5.0)


def partial():
    held = {"factor": 2.0}
    return functools.partial(lambda x, held: x * held["factor"], held=held), lambda: held.update(factor=4.0)


def default_argument():
    def f(x, held=[2.0]):  # noqa: B006
        return x * held[0]

    return f, lambda: f.__defaults__[0].__setitem__(0, 5.0)


def in_module_dict(name, new):
    def make():
        net = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
        return net, lambda: getattr(net[0] if name != "_modules" else net, name).update(new())

    return make


def list_of_a_library_layer():
    m = nn.Unflatten(0, [3, 1])
    return m, lambda: m.unflattened_size.reverse()


def sign_of_a_zero():
    m = nn.LeakyReLU(0.0)
    return (lambda x: 1 / m(-x)), lambda: setattr(m, "negative_slope", -0.0)


def replaced_function_of_a_library():
    space = types.ModuleType("numpy.made")
    space.__file__, space.scale = np.__file__, lambda x: x * 2
    return eval("lambda x: space.scale(x)", {"space": space}), lambda: setattr(space, "scale", lambda x: x * 3)


def attribute_of_a_function():
    def f(x):
        return x * f.factor

    f.factor = 2.0
    return f, lambda: setattr(f, "factor", 5.0)


def metaclass():
    meta = type("Meta", (type,), {"factor": property(lambda kind: kind.held)})
    kind = meta("Kind", (), {"held": 2.0})
    return (lambda x: x * kind.factor), lambda: setattr(kind, "held", 5.0)


def cleared_level():
    logger = logging.getLogger("numtorch.tests.level")
    logger.setLevel(logging.ERROR)
    return (lambda x: x * (2 if logger.isEnabledFor(logging.INFO) else 3)), lambda: logger.setLevel(logging.INFO)


def nested(depth):
    value = [2.0]
    for _ in range(depth):
        value = [value]
    return value


def deepest(value):
    while type(value) is list:
        value, held = value[0], value
    return held


def first_of(v):
    return v[0][0][0][0][0][0][0][0][0][0][0][0]


def module_list():
    layers = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])

    def f(x):
        for layer in layers:
            x = layer(x)
        return x

    return f, lambda: layers.append(nn.Linear(3, 3))


def replaced_forward():
    m = nn.Linear(3, 3)
    return m, lambda: setattr(m, "forward", lambda x: x * 0)


def library_attribute():
    m = nn.Sequential(nn.Conv1d(3, 3, 1), nn.MaxPool1d(1))
    return (lambda x: m(x.reshape(1, 3, 1))), lambda: setattr(m[0], "padding", (1,))


def attribute_on_object():
    config = Config()
    return (lambda x: x * config.factor), lambda: setattr(config, "factor", 7.0)


def attribute_of_class():
    kind = type("Kind", (), {"factor": 2.0})
    return (lambda x: x * kind.factor), lambda: setattr(kind, "factor", 7.0)


def attribute_by_getattr():
    kind = type("Kind", (), {})
    return (lambda x: x * getattr(kind, "factor", 1.0)), lambda: setattr(kind, "factor", 7.0)


CASES = {
    "dict of a module": of_module(
        lambda s, x: x * s.settings["factor"], lambda m: m.settings.update(factor=5.0)
    ),
    "list in a dict in a dict": of_module(
        lambda s, x: x * s.settings["deep"]["list"][0],
        lambda m: m.settings["deep"]["list"].append(m.settings["deep"]["list"].pop() + 1),
    ),
    "list of a module": of_module(lambda s, x: x * s.values[0], lambda m: m.values.__setitem__(0, 7.0)),
    "longer list": of_module(lambda s, x: sum((x * v for v in s.values), x), lambda m: m.values.append(4.0)),
    "longer dict": of_module(lambda s, x: x * len(s.settings), lambda m: m.settings.update(new=1)),
    "namespace": of_module(lambda s, x: x * s.space.factor, lambda m: setattr(m.space, "factor", 9.0)),
    "tuple": of_module(lambda s, x: x * s.pair[1], lambda m: setattr(m, "pair", (1.0, 9.0))),
    "bytes": of_module(lambda s, x: x * len(s.name), lambda m: setattr(m, "name", b"abc")),
    "set": of_module(lambda s, x: x * ("b" in s.chosen), lambda m: (m.chosen.clear(), m.chosen.add("b"))),
    "NumPy array, shared": of_module(lambda s, x: x * torch.from_numpy(s.array), lambda m: m.array.fill(9)),
    "NumPy array, copied": of_module(lambda s, x: x * torch.tensor(s.array), lambda m: m.array.fill(9)),
    "number of a NumPy array": of_module(lambda s, x: x * float(s.array[0]), lambda m: m.array.fill(9)),
    "new attribute": of_module(
        lambda s, x: x * (2 if hasattr(s, "new") else 1), lambda m: setattr(m, "new", 1)
    ),
    "list in a closure": in_closure(lambda: [2.0], lambda x, v: x * v[0], lambda v: v.__setitem__(0, 5.0)),
    "tensors in a list": in_closure(
        lambda: [torch.ones(3)], lambda x, v: x * v[0], lambda v: v.__setitem__(0, torch.zeros(3))
    ),
    "tensors in a dict": in_closure(
        lambda: {"w": torch.ones(3)}, lambda x, v: x * v["w"], lambda v: v.update(w=torch.zeros(3))
    ),
    "dataclass": in_closure(Data, lambda x, v: x * v.factor, lambda v: setattr(v, "factor", 5.0)),
    "slots": in_closure(Slotted, lambda x, v: x * v.factor, lambda v: setattr(v, "factor", 5.0)),
    "global dict": of_a_global(use_settings, lambda: SETTINGS.update(factor=SETTINGS["factor"] + 1)),
    "global dict of a helper": of_a_global(
        use_helper, lambda: SETTINGS.update(factor=SETTINGS["factor"] + 1)
    ),
    "callable object": callable_object,
    "bound method and another": bound_method,
    "partial": partial,
    "default argument": default_argument,
    "ModuleList": module_list,
    "parameters by name": in_module_dict("_parameters", lambda: {"weight": nn.Parameter(torch.zeros(3, 3))}),
    "modules by name": in_module_dict("_modules", lambda: {"1": nn.Tanh()}),
    "a module's dict": of_module(lambda s, x: x * len(s._buffers), lambda m: m._buffers.update(late=torch.ones(1))),
    "list of a library's layer": list_of_a_library_layer,
    "sign of a zero": sign_of_a_zero,
    "function of a library": replaced_function_of_a_library,
    "attribute of the function": attribute_of_a_function,
    "metaclass": metaclass,
    "level of a logger": cleared_level,
    "large list": in_closure(lambda: [2.0] * 5000, lambda x, v: x * v[7], lambda v: v.__setitem__(7, 5.0)),
    "large dict": in_closure(lambda: dict.fromkeys(range(5000), 2.0), lambda x, v: x * v[7], lambda v: v.update({7: 5.0})),
    "large set": in_closure(lambda: set(range(5000)), lambda x, v: x * (7 in v), lambda v: v.discard(7)),
    "large NumPy array": in_closure(lambda: np.full(20000, 2.0), lambda x, v: x * float(v[7]), lambda v: v.fill(5)),
    "deep lists": in_closure(lambda: nested(11), lambda x, v: x * first_of(v), lambda v: deepest(v).__setitem__(0, 5.0)),
    "bytearray": in_closure(lambda: bytearray(b"ab"), lambda x, v: x * v[0], lambda v: v.reverse()),
    "array": in_closure(lambda: array.array("d", [2.0]), lambda x, v: x * v[0], lambda v: v.__setitem__(0, 5.0)),
    "ctypes": in_closure(lambda: ctypes.c_double(2.0), lambda x, v: x * v.value, lambda v: setattr(v, "value", 5.0)),
    "proxy of a dict": in_closure(lambda: types.MappingProxyType({"k": [2.0]}), lambda x, v: x * v["k"][0], lambda v: v["k"].insert(0, 5.0)),
    "set of other numbers": in_closure(lambda: {1, 2}, lambda x, v: x * len(type(min(v)).__name__), lambda v: (v.clear(), v.update({1.0, 2.0}))),
    "computed name": in_closure(
        lambda: types.SimpleNamespace(p_3=2.0), lambda x, v: x * getattr(v, f"p_{len(x)}"), lambda v: setattr(v, "p_3", 5.0)
    ),
    "vars": in_closure(lambda: types.SimpleNamespace(a=2.0), lambda x, v: x * sum(vars(v).values()), lambda v: setattr(v, "b", 5.0)),
    "attrgetter": in_closure(
        lambda: types.SimpleNamespace(a=types.SimpleNamespace(b=2.0)), lambda x, v: x * operator.attrgetter("a.b")(v),
        lambda v: setattr(v.a, "b", 5.0)
    ),
    "replaced forward": replaced_forward,
    "attribute of a library's layer": library_attribute,
    "class attribute, then the object's own": attribute_on_object,
    "class attribute": attribute_of_class,
    "attribute by getattr": attribute_by_getattr,
}


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
@pytest.mark.parametrize("calls", [0, 3])  # answered by Python, by native code
def test_a_change_is_seen(make, calls):
    function, change = make()
    x = torch.ones(3)
    traced = torch.jit.trace(function, (x,))
    before = function(x)
    for _ in range(calls):
        assert traced(x).equal(before)
    change()
    expected = function(x)
    assert expected.shape != before.shape or not expected.equal(before)
    assert traced(x).equal(expected)
    assert traced(x).equal(expected)


def test_what_code_does_not_mention_may_change():
    class Trainer:
        def __init__(self):
            self.factor, self.count, self.history = 2.0, 0, []

        def step(self, x):
            return x * self.factor

    trainer = Trainer()
    traced = torch.jit.trace(trainer.step, (torch.ones(3),))
    for _ in range(5):
        trainer.count += 1
        trainer.history.append(float(traced(torch.ones(3)).sum()))
    assert trainer.history == [6.0] * 5 and len(traced.paths()) == 1


def test_what_the_function_keeps_at_each_call_makes_it_run_eagerly():
    class Net(nn.Module):
        def forward(self, x):
            self.seen = []
            for k in range(2):
                x = x * 2 + k
                self.seen.append(x)
            return self.seen[-1]

    net = Net()
    with pytest.warns(UserWarning, match="Net runs eagerly: it changes Net.seen at each call"):
        traced = torch.jit.trace(net, (torch.ones(3),))
    assert not hasattr(net, "seen")
    for n in (3, 3, 3):
        assert traced(torch.ones(n)).tolist() == [5.0] * n and net.seen[0].tolist() == [2.0] * n


def test_each_thread_has_its_own_attributes():
    local, found = threading.local(), []
    local.factor = 2.0
    traced = torch.jit.trace(lambda x: x * local.factor, torch.ones(2))

    def other():
        local.factor = 5.0
        found.extend(traced(torch.ones(2)).tolist() for _ in range(3))

    for _ in range(3):
        assert traced(torch.ones(2)).tolist() == [2, 2]
    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert found == [[5, 5]] * 3 and traced(torch.ones(2)).tolist() == [2, 2]


def test_a_module_that_is_imported_where_it_is_used_is_looked_at():
    module = types.ModuleType("numtorch_test_settings")
    module.FACTOR = 2.0
    sys.modules[module.__name__] = module

    def f(x):
        import numtorch_test_settings

        return x * numtorch_test_settings.FACTOR

    try:
        traced = torch.jit.trace(f, torch.ones(2))
        assert traced(torch.ones(2)).tolist() == [2, 2]
        module.FACTOR = 5.0
        assert traced(torch.ones(2)).tolist() == [5, 5]
    finally:
        del sys.modules[module.__name__]


@pytest.mark.parametrize("held", [np.zeros(1 << 18), [0.0] * (1 << 17), [[0.0]] * 5000, np.array([None])])
def test_what_is_too_large_to_be_looked_at_makes_a_function_run_eagerly(held):
    with pytest.warns(UserWarning, match="runs eagerly: it may (look into|read) a"):
        traced = torch.jit.trace(lambda x: x + len(held), torch.ones(2))
    assert traced(torch.ones(2)).tolist() == [1 + len(held)] * 2 and not traced.paths()


@pytest.mark.filterwarnings("ignore:numtorch.jit.trace")
def test_arguments_are_compared_by_identity():
    w = torch.ones(2)
    traced = torch.jit.trace(lambda x: x * (2 if x is w else 3), torch.ones(2))
    same = torch.jit.trace(lambda x, y: x * (2 if x is y else 3))
    for _ in range(4):
        assert traced(torch.ones(2)).tolist() == [3, 3] and same(w, torch.ones(2)).tolist() == [3, 3]
    assert traced._tables and same._tables  # calls are native, and ask which tensors they are given
    for _ in range(4):
        assert traced(w).tolist() == [2, 2] and same(w, w).tolist() == [2, 2]
        assert traced(torch.ones(2)).tolist() == [3, 3]


def test_names_asked_of_globals_and_parts_of_self_leave_calls_native():
    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.config = types.SimpleNamespace(act="relu")

        def forward(self, x):
            act = getattr(torch, getattr(self.config, "act", "tanh"))
            return act(x) * getattr(self.config, "scale", 2.0)

    model = Scaled()
    traced = torch.jit.trace(model, torch.ones(2))
    for _ in range(4):
        assert traced(torch.ones(2)).tolist() == [2.0, 2.0]
    assert traced._tables
    model.config.scale = 3.0
    assert traced(torch.ones(2)).tolist() == [3.0, 3.0]


def test_names_asked_of_arguments_are_looked_at():
    traced = torch.jit.trace(lambda x, other: x * getattr(x if other is None else other, "scale", 2.0))
    x = torch.ones(2)
    for _ in range(4):
        assert traced(x, None).tolist() == [2.0, 2.0]
    x.scale = 3.0
    assert traced(x, None).tolist() == [3.0, 3.0] and traced(torch.ones(2), x).tolist() == [3.0, 3.0]
