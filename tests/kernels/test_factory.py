"""Tensors made natively are the same as those made in Python, and nothing leaks or crashes on the way."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

import numtorch as torch
from numtorch.kernels.factory import field_places, recipe
from numtorch.ops import ways
from numtorch.storage import Storage


class Slotted:
    __slots__ = ("a", "b")


class Loose:
    pass


def way_of(op, *args):
    """The short way of an op for operands, which it learns from a call."""
    op(*args)
    return op._ways[ways.key_of(args)]


def test_field_places_are_found_where_there_are_slots():
    places = field_places(Slotted, ("a", "b"))
    assert len(set(places)) == 2 and all(p % 8 == 0 and 16 <= p < Slotted.__basicsize__ for p in places)


def test_field_places_refuse_attributes_that_are_no_slots():
    assert field_places(Loose, ("a",)) is None


def test_native_and_python_results_agree():
    x, y = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, -2.0, 8.0])
    way = way_of(torch.ops.elementwise.add, x, y)
    native, plain = ways.make(way.recipe, x, y), ways._plain_make(way.recipe, x, y)
    assert native.tolist() == plain.tolist() == [1.5, 0.0, 11.0]
    for name in ("_offset", "_layout", "_rg", "_node", "_grad", "_base"):
        assert getattr(native, name) is getattr(plain, name)
    for name in ("nbytes", "version", "device"):
        assert getattr(native._storage, name) == getattr(plain._storage, name)
    assert native._storage.ptr % 64 == 0 and type(native._storage) is Storage
    assert gc.is_tracked(native) and gc.is_tracked(native._storage)


def test_numbers_offsets_and_parameters_are_operands():
    x = torch.arange(6.0)
    assert [(x[2:] * 2.0).tolist() for _ in range(3)] == [[4, 6, 8, 10]] * 3
    p = torch.nn.Parameter(torch.ones(6))
    assert [(x - p).tolist() for _ in range(3)] == [[-1, 0, 1, 2, 3, 4]] * 3


def test_operands_that_do_not_fit_the_recipe_are_refused():
    x = torch.ones(3)
    way = way_of(torch.ops.elementwise.add, x, x)
    with pytest.raises(ValueError, match="zip"):
        ways.make(way.recipe, x)
    with pytest.raises(AttributeError):
        ways.make(way.recipe, x, 2.0)


def test_a_recipe_has_room_for_64_words():
    with pytest.raises(ValueError, match="at most 64 words"):
        recipe(1, None, 0, (), [0] * 65)


def test_references_are_balanced():
    x = torch.ones(613)  # a shape that no other test uses
    (x + x), (x * 3.0)  # learnt
    gc.collect()

    def count():
        return [sys.getrefcount(o) for o in (x, x._layout, x._storage)]

    before = count()
    for _ in range(1000):
        x + x, x * 3.0
    assert count() == before
    kept = [x + x for _ in range(100)]
    assert count() == [before[0], before[1] + 100, before[2]]
    del kept
    assert count() == before


def test_without_the_native_driver_python_does_the_same():
    code = (
        "import numtorch as t\nfrom numtorch.ops import ways\n"
        "x = t.tensor([1.0, -2.0], requires_grad=True)\n"
        "for _ in range(3):\n    x.grad = None\n    ((x * 3.0).relu() + x).sum().backward()\n"
        "print(x.grad.tolist(), ways.make is ways._plain_make)"
    )
    import os

    run = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "NUMTORCH_DRIVER": "ctypes"}, capture_output=True, text=True
    )  # fmt: skip
    assert run.stdout.split() == ["[4.0,", "1.0]", "True"], run.stderr
