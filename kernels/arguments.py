"""The arguments of a native call: whether they are what a table was made for, and where they are in memory."""

from __future__ import annotations

import numpy as np

from .jit import device
from .memory import address_of, call, ldi, stack, sti
from .tables import (
    ALIASES,
    ARG_WORDS,
    ARGS,
    AS_INT64,
    BASE,
    CONTAINERS,
    DECREF,
    DICT_NEXT,
    DICT_USED,
    GET_DICT,
    IS_CONSTANT,
    IS_TENSOR,
    KEYWORDS,
    LAYOUT,
    LIST_ITEMS,
    MASK,
    NARGS,
    NONE,
    OFFSET,
    POINTER,
    RG,
    SIZE,
    STORAGE,
    THINGS,
    TRUE,
    TUPLE_ITEMS,
)

A_LIST, A_TUPLE, A_DICT, AN_OBJECT = range(4)  # kinds of containers
CONTAINER_WORDS = 6  # kind, which argument, class, number of items, number of the first item, keys


@device
def has_keywords(table, names):
    """Whether a call has the keywords of the table, in its order; they come after the other arguments."""
    count = ldi(table, KEYWORDS)
    if names == 0:
        return 1 if count == 0 else 0
    if ldi(names, SIZE) != count:
        return 0
    known = ldi(table, KEYWORDS + 1)
    for i in range(count):
        if ldi(names, TUPLE_ITEMS + i) != ldi(known, i):
            return 0
    return 1


@device
def is_known(table, storage):
    """Whether memory is among what the path has captured (a small hash table of addresses)."""
    mask = ldi(table, MASK)
    at = (storage >> 4) & mask
    known = ldi(table, ALIASES)
    while ldi(known, at) != 0:
        if ldi(known, at) == storage:
            return 1
        at = (at + 1) & mask
    return 0


@device
def read_arguments(gate, table, things, addresses, storages):
    """Check the arguments, and note their addresses and storages."""
    for i in range(ldi(table, THINGS)):
        record = ldi(table, ARGS) + 8 * ARG_WORDS * i
        thing = ldi(things, i)
        sti(storages, i, 0)
        if ldi(record, 0) == IS_CONSTANT:
            if thing != ldi(record, 1):
                return 0
        elif ldi(record, 0) == IS_TENSOR:
            if ldi(thing, 1) != ldi(record, 1) or ldi(thing, ldi(gate, LAYOUT)) != ldi(record, 2):
                return 0
            base = ldi(thing, ldi(gate, BASE))
            if ldi(thing, ldi(gate, RG)) != ldi(record, 3) or (
                base != ldi(gate, NONE) and ldi(base, ldi(gate, RG)) == ldi(gate, TRUE)
            ):
                return 0
            storage = ldi(thing, ldi(gate, STORAGE))
            for j in range(i):
                if ldi(storages, j) == storage:
                    return 0
            if is_known(table, storage) != 0:
                return 0
            sti(storages, i, storage)
            start = call(ldi(gate, AS_INT64), ldi(storage, ldi(gate, POINTER)))
            offset = call(ldi(gate, AS_INT64), ldi(thing, ldi(gate, OFFSET)))
            sti(addresses, i, start + offset * ldi(record, 4) - ldi(record, 5))
    return 1


@device
def is_twice(table, things, number):
    """Whether a list, dict or object is an argument twice: a change of one would be a change of the other."""
    records = ldi(table, CONTAINERS + 1)
    thing = ldi(things, ldi(records + 8 * CONTAINER_WORDS * number, 1))
    for i in range(number):
        record = records + 8 * CONTAINER_WORDS * i
        if ldi(record, 0) != A_TUPLE and ldi(things, ldi(record, 1)) == thing:
            return 1
    return 0


@device
def take_items(items, record, things):
    """Note the items of a list or tuple."""
    for i in range(ldi(record, 3)):
        sti(things, ldi(record, 4) + i, ldi(items, i))


@device
def take_values(gate, thing, record, things):
    """Note the values of a dict; 0 if its keys are others, or in another order."""
    count = ldi(record, 3)
    if ldi(thing, DICT_USED) != count:
        return 0
    found = address_of(stack(3, np.int64))  # where PyDict_Next is, key, value
    sti(found, 0, 0)
    for i in range(count):
        if (
            call(ldi(gate, DICT_NEXT), thing, found, found + 8, found + 16) == 0
            or ldi(found, 1) != ldi(ldi(record, 5), i)
        ):
            return 0
        sti(things, ldi(record, 4) + i, ldi(found, 2))
    return 1


@device
def gather(gate, table, argv, things):
    """Note the arguments and, after them, what their containers hold; 0 if a container is not as it was."""
    for i in range(ldi(table, NARGS)):
        sti(things, i, ldi(argv, i))
    for i in range(ldi(table, CONTAINERS)):
        record = ldi(table, CONTAINERS + 1) + 8 * CONTAINER_WORDS * i
        thing, kind = ldi(things, ldi(record, 1)), ldi(record, 0)
        if ldi(thing, 1) != ldi(record, 2) or is_twice(table, things, i) != 0:
            return 0
        if kind == A_DICT:
            if take_values(gate, thing, record, things) == 0:
                return 0
        elif kind == AN_OBJECT:
            own = call(ldi(gate, GET_DICT), thing, 0)
            is_same = take_values(gate, own, record, things)
            call(ldi(gate, DECREF), own)
            if is_same == 0:
                return 0
        else:
            if ldi(thing, SIZE) != ldi(record, 3):
                return 0
            if kind == A_LIST:
                take_items(ldi(thing, LIST_ITEMS), record, things)
            else:
                take_items(thing + 8 * TUPLE_ITEMS, record, things)
    return 1
