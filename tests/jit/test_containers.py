"""Arguments and results in lists, tuples, dicts and objects: native calls notice whatever is not as it was."""

from __future__ import annotations

import collections
import dataclasses
import gc
import sys
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

import numtorch as torch
from numtorch import jit
from numtorch.jit import tree
from numtorch.jit.building import builder
from numtorch.kernels import caller

CALLS = 6  # enough for Python and for native calls

only_native = pytest.mark.skipif(not caller.IS_AVAILABLE, reason="needs the native driver")

Pair = collections.namedtuple("Pair", "a b")


@dataclasses.dataclass
class Batch:
    a: object
    b: object
    scale: float = 2.0


class Renamed(dict):
    """A dict whose items are not what it answers."""

    def __getitem__(self, key):
        return super().__getitem__({"a": "b", "b": "a"}.get(key, key))


def t(*values):
    return torch.tensor(values)


def array(x):
    return x.detach().numpy().copy()


def warm(function, *args, **kwargs):
    traced = jit.trace(function)
    for _ in range(CALLS):
        traced(*args, **kwargs)
    return traced


def is_native(traced, *args, **kwargs):
    """Whether a call is answered by native code: Python's way is not entered."""
    before = traced._kinds
    traced._kinds = None
    try:
        traced(*args, **kwargs)
    except AttributeError:
        return False
    finally:
        traced._kinds = before
    return True


def difference(d):
    return d["a"] * 2 - d["b"]


A, B, C = t(1.0, 2.0), t(5.0, 7.0), t(-1.0, 3.0)


# -- silent first: another structure that might be taken for the recorded one


def test_keys_in_another_order():
    traced = warm(lambda d: next(iter(d.values())) * 2 - d["b"], {"a": A, "b": B})
    for _ in range(CALLS):
        assert traced({"a": A, "b": B}).tolist() == [-3, -3]
        assert traced({"b": B, "a": A}).tolist() == [5, 7]


def test_more_fewer_and_other_keys():
    def f(d):
        return sum(d.values()) * len(d)

    traced = warm(f, {"a": A, "b": B})
    for d in ({"a": A, "b": B, "c": C}, {"a": A}, {"a": A, "c": C}, {"a": A, 1: B}, {"a": A, "b": B}):
        for _ in range(CALLS):
            assert traced(d).tolist() == f(d).tolist()
    d = {"x": C, "a": A, "b": B}
    del d["x"]  # leaves a hole
    assert traced(d).tolist() == f(d).tolist()


def test_keys_that_are_equal_and_not_the_same_object():
    traced = warm(difference, {"a": A, "b": B})
    for _ in range(CALLS):
        d = {"".join(["a"]): A, "".join(["b", ""]): B}
        assert traced(d).tolist() == [-3, -3]
    traced = warm(lambda d: d[1] * 2 if type(next(iter(d))) is int else d[1], {1: A})
    for _ in range(3):
        assert traced({1: A}).tolist() == [2, 4] and traced({True: A}).tolist() == [1, 2] == traced({1.0: A}).tolist()


def test_subclasses_of_dicts_lists_and_tuples():
    traced = warm(difference, {"a": A, "b": B})
    for d in (Renamed(a=A, b=B), collections.OrderedDict(a=A, b=B), collections.defaultdict(list, a=A, b=B)):
        for _ in range(CALLS):
            assert traced(d).tolist() == difference(d).tolist()
    ordered = collections.OrderedDict(a=A, b=B)
    first = warm(lambda d: next(iter(d.values())), ordered)
    ordered.move_to_end("a")
    assert first(ordered).tolist() == B.tolist()

    def g(x):
        return x[0] - x[1] * (2 if type(x) is list else 3 if type(x) is tuple else 4)

    both = warm(g, [A, B])
    for x in ((A, B), Pair(A, B), [A, B], Pair(B, A), type("Own", (list,), {})([A, B])):
        for _ in range(CALLS):
            assert both(x).tolist() == g(x).tolist()


def test_none_numbers_and_other_tensors_in_place_of_a_tensor():
    def f(d):
        return d["a"] * (1 if d["b"] is None else d["b"])

    traced = warm(f, {"a": A, "b": B})
    for b in (None, 3, 3.0, True, B.double(), t(2.0), B.requires_grad_(False), torch.tensor([2, 3]), torch.nn.Parameter(C)):
        for _ in range(CALLS):
            out = traced({"a": A, "b": b})
            want = f({"a": A, "b": b})
            assert out.tolist() == want.tolist() and out.dtype is want.dtype and out.requires_grad == want.requires_grad


def test_values_beside_tensors():
    traced = warm(lambda d: d["x"] * d["scale"], {"x": A, "scale": 2})
    for scale in (2, 3, 2.0, True, 2):
        for _ in range(CALLS):
            out = traced({"x": A, "scale": scale})
            assert out.tolist() == (A * scale).tolist() and out.dtype is (A * scale).dtype


def test_lists_of_other_lengths_and_nesting():
    def f(x):
        return sum(y if isinstance(y, torch.Tensor) else 10 * f(y) for y in x)

    traced = warm(f, [A, [B, C]])
    for x in ([A, [B, C, A]], [A, [B]], [A, B, C], [[A, B], C], [A, (B, C)], [A, [B, [C]]], [A, [B, C]]):
        for _ in range(CALLS):
            assert traced(x).tolist() == f(x).tolist()


def test_one_container_or_tensor_twice():
    traced = warm(lambda p, q: p[0] * 2 + q[0], [A], [B])
    x = [C]
    for _ in range(CALLS):
        assert traced(x, x).tolist() == [-3, 9] and traced([C], [C]).tolist() == [-3, 9]
        assert traced([A], [B]).tolist() == [7, 11]


def test_containers_that_change_between_calls():
    d, x = {"a": A, "b": B}, [A, B]
    traced, other = warm(difference, d), warm(lambda y: y[0] - y[-1], x)
    d["a"], x[1] = C, C
    assert traced(d).tolist() == [-7, -1] and other(x).tolist() == (A - C).tolist()
    x.append(B)
    assert other(x).tolist() == (A - B).tolist()
    d.clear()
    with pytest.raises(KeyError):
        traced(d)


def test_results_are_new_containers_each_time():
    traced = warm(lambda x: {"double": [x * 2, None], "pair": Pair(x + 1, (x,)), 3: "text"}, A)
    first = traced(A)
    first["double"].append(1)
    first.clear()
    for _ in range(CALLS):
        found = traced(A)
        assert list(found) == ["double", "pair", 3] and found["double"][0].tolist() == [2, 4] and len(found["double"]) == 2
        assert type(found["pair"]) is Pair and found["pair"].b == (A,) and found["pair"].b[0] is A and found[3] == "text"
    kept = [traced(t(float(k), 0.0)) for k in range(CALLS)]
    assert [d["double"][0].tolist() for d in kept] == [[2.0 * k, 0.0] for k in range(CALLS)]


@pytest.mark.parametrize(
    "value",
    [
        [A, (B, None), {"k": C, 3: [A]}],
        Pair((), [Pair(A, 2.5)]),
        collections.OrderedDict(z=A, a=(B,)),
        Renamed(a=A, b=[B]),
        {"batch": Batch(A, [B], 3.0), "text": "it's"},
        (1, "two", None),
    ],
    ids=["list", "named", "ordered", "own", "object", "constants"],
)
def test_builders_make_what_unflatten_makes(value):
    leaves = []
    structure = tree.flatten(value, leaves)
    found, want = builder(structure)(tuple(leaves)), tree.unflatten(structure, leaves)
    assert type(found) is type(want)
    again, others = [], []
    assert tree.same(tree.flatten(found, again), tree.flatten(want, others)) and list(map(id, again)) == list(map(id, leaves))


def test_objects_of_dataclasses():
    def f(x):
        return Batch(x.a * x.scale, [x.b])

    traced = warm(f, Batch(A, B))
    more = Batch(A, B)
    more.extra = C
    child = dataclasses.make_dataclass("Child", [], bases=(Batch,))(A, B)
    slotted = dataclasses.make_dataclass("Slotted", ["a", "b", ("scale", float, 2.0)], slots=True)(A, B)
    for x in (Batch(A, B), Batch(A, B, 3.0), Batch(B, A), more, child, slotted, Batch(A, None), Batch(A, B)):
        for _ in range(CALLS):
            found, want = traced(x), f(x)
            assert type(found) is Batch and found.a.tolist() == want.a.tolist() and found.scale == want.scale
            assert found.b[0] is want.b[0]


# -- native


def parts(x, y):
    return {"total": x * 2 + y, "parts": [x * 3, (y + 1, None)]}


@only_native
@pytest.mark.parametrize(
    ("function", "args"),
    [
        (lambda d: parts(d["a"], d["b"]), ({"a": A, "b": B, "c": C},)),
        (lambda x: parts(x[0], x[1][1]["k"]), ([A, (B, {"k": C})],)),
        (lambda p: parts(p.a, p.b[0]), (Pair(A, [B]),)),
        (lambda x: parts(x.a, x.b * x.scale), (Batch(A, B),)),
        (lambda x, d: parts(x[1], d["a"]), ((A, B), {"a": C})),
        (lambda x, y, d: parts(y, y + len(x)), ([], A, {})),
    ],
    ids=["dict", "nested", "named", "object", "two", "empty"],
)
def test_containers_are_native(function, args):
    traced = warm(function, *args)
    assert is_native(traced, *args)
    found, want = traced(*args), function(*args)
    assert found["total"].tolist() == want["total"].tolist() and found["parts"][0].tolist() == want["parts"][0].tolist()
    assert found["parts"][1][0].tolist() == want["parts"][1][0].tolist() and found["parts"][1][1] is None


@only_native
def test_gradients_through_containers_are_native():
    w, v = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)

    def f(d):
        return {"y": d["x"] * d["w"][0], "z": (d["w"][1].exp(),)}

    args = {"x": A, "w": [w, v]}
    traced = warm(f, args)
    assert is_native(traced, args)
    found = traced(args)
    (found["y"].sum() + found["z"][0].sum()).backward()
    assert w.grad.tolist() == A.tolist()
    np.testing.assert_allclose(array(v.grad), np.exp(array(v)), rtol=1e-6)


@only_native
def test_keyword_arguments_in_containers():
    traced = warm(lambda x, *, extra: x + extra["a"][0], A, extra={"a": [B]})
    assert is_native(traced, A, extra={"a": [C]})
    assert traced(A, extra={"a": [C]}).tolist() == (A + C).tolist()


def test_arguments_in_containers_are_changed_in_place():
    def f(d):
        d["x"].add_(1)
        return d["x"]

    x = torch.zeros(2)
    traced = warm(f, {"x": x})
    assert x.tolist() == [CALLS] * 2
    y = torch.zeros(2)
    assert traced({"x": y}) is y and y.tolist() == [1, 1] and y._version == 1


# -- threads and memory


def test_threads_change_containers_while_they_are_arguments():
    data = [torch.full((300_000,), float(k)) for k in range(4)]
    holder = {"x": data[0]}
    traced, wrong, ended = warm(lambda d: d["x"] * 2 + 1, holder), [], []

    def change():
        while not ended:
            for x in data:
                holder["x"] = x.clone()

    thread = threading.Thread(target=change)
    thread.start()
    for _ in range(40):
        out = traced(holder)
        if out[0].item() not in (1, 3, 5, 7) or not bool((out == out[0]).all()):
            wrong.append(out)
    ended.append(1)
    thread.join()
    assert not wrong


@only_native
def test_references_are_given_back():
    traced = warm(lambda d: {"y": d["x"] + d["p"][0], "l": [d["x"]]}, {"x": A, "p": (B,)})
    x = t(1.0, 1.0)
    d = {"x": x, "p": (B,)}
    traced(d)
    counts = [sys.getrefcount(y) for y in (x, d, d["p"], B, None)]
    for _ in range(1000):
        traced(d)
    assert [sys.getrefcount(y) for y in (x, d, d["p"], B)] == counts[:4]
    assert abs(sys.getrefcount(None) - counts[4]) < 200
    gone, memory = weakref.ref(x), weakref.ref(x._storage)
    del x, d
    gc.collect()
    assert gone() is None and memory() is None
    tracemalloc.start()
    sizes = []
    for _ in range(2):
        for _ in range(1000):
            traced({"x": A, "p": (B,)})
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sizes[1] - sizes[0] < 10_000
