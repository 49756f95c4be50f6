"""The builtin of a trace: where fields are found, and that everything unknown goes to Python."""

from __future__ import annotations

import gc
import weakref

import pytest

from numtorch.kernels import caller, tables

pytestmark = pytest.mark.skipif(not caller.IS_AVAILABLE, reason="needs the native driver")


class Slotted:
    __slots__ = ("first", "second")


class Result:
    __slots__ = ("__weakref__", "_base", "_grad", "_layout", "_node", "_offset", "_rg", "_storage")


class Memory:
    __slots__ = ("ptr", "version")


def filled(thing):
    for name in type(thing).__slots__:
        if not name.startswith("__"):
            setattr(thing, name, None)
    return thing


def make(fallback):
    return caller.Caller(fallback, caller.field_words(filled(Result()), filled(Memory())))


def test_fields_are_found_and_left_as_they_were():
    thing = filled(Slotted())
    thing.second = "kept"
    assert caller.field_of(thing, "first") != caller.field_of(thing, "second")
    assert thing.second == "kept"


def test_fields_that_are_no_slots_are_refused():
    class Plain:
        field = 1

    with pytest.raises(TypeError, match="slots"):
        caller.field_of(Plain(), "field")


def test_calls_without_tables_go_to_python():
    seen = make(lambda *args, **kwargs: (args, kwargs)).function
    assert seen(1, "a", key=2) == ((1, "a"), {"key": 2})
    assert seen() == ((), {})


def test_tables_for_other_numbers_of_arguments_are_passed_over():
    made = make(lambda *args: len(args))
    several = [caller.threads.aligned_words(tables.TABLE_WORDS) for _ in range(3)]
    for table in several:
        table[tables.NARGS] = 7
    made.publish(several)
    assert made.function(1, 2) == 2
    assert several[0][tables.NEXT] == several[1].ctypes.data and several[2][tables.NEXT] == 0


def test_errors_of_python_rise():
    def fail():
        raise KeyError("mine")

    made = make(fail)
    made.publish([])
    with pytest.raises(KeyError, match="mine"):
        made.function()


def test_builtins_die():
    class Holder:
        pass

    holder = Holder()
    holder.caller = make(lambda holder=holder: holder)
    reference = weakref.ref(holder)
    del holder
    gc.collect()
    assert reference() is None
