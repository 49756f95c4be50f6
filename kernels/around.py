"""Places around a traced function, as native calls look at them: variables, dicts, lists, arrays (jit/places.py writes them)."""

from __future__ import annotations

import numpy as np

from .jit import device
from .memory import address_of, call, ldi, stack, sti
from .tables import (
    CELL_VALUE,
    DICT_ITEM,
    DICT_NEXT,
    DICT_USED,
    IN_ARRAY,
    IN_CELL,
    IN_DICT,
    IN_ENTRIES,
    IN_KEYS,
    IN_LIST,
    LIST_ITEMS,
    NAME_WORDS,
    NAMES,
    SIZE,
    is_same,
)


@device
def has_items(thing, known, count):
    """Whether a list has the objects that it had."""
    if ldi(thing, SIZE) != count:
        return 0
    items = ldi(thing, LIST_ITEMS)
    for i in range(count):
        if ldi(items, i) != ldi(known, i):
            return 0
    return 1


@device
def has_keys(gate, thing, known, count):
    """Whether a dict has the keys that it had, in this order."""
    if ldi(thing, DICT_USED) != count:
        return 0
    found = address_of(stack(3, np.int64))  # where PyDict_Next is, key, value
    sti(found, 0, 0)
    for i in range(count):
        if call(ldi(gate, DICT_NEXT), thing, found, found + 8, found + 16) == 0 or ldi(found, 1) != ldi(known, i):
            return 0
    return 1


@device
def has_entries(gate, thing, known, count):
    """Whether a dict has the keys and values that it had, in this order."""
    if ldi(thing, DICT_USED) != count:
        return 0
    found = address_of(stack(3, np.int64))
    sti(found, 0, 0)
    for i in range(count):
        if call(ldi(gate, DICT_NEXT), thing, found, found + 8, found + 16) == 0:
            return 0
        if ldi(found, 1) != ldi(known, 2 * i) or ldi(found, 2) != ldi(known, 2 * i + 1):
            return 0
    return 1


@device
def names_hold(gate, table):
    """Whether the places around the function hold what they held."""
    for i in range(ldi(table, NAMES)):
        record = ldi(table, NAMES + 1) + 8 * NAME_WORDS * i
        kind, place, known, value = ldi(record, 0), ldi(record, 1), ldi(record, 2), ldi(record, 3)
        if kind == IN_LIST:
            if has_items(place, known, value) == 0:
                return 0
        elif kind == IN_KEYS:
            if has_keys(gate, place, known, value) == 0:
                return 0
        elif kind == IN_ENTRIES:
            if has_entries(gate, place, known, value) == 0:
                return 0
        elif kind == IN_ARRAY:
            if is_same(place, known, value) == 0:
                return 0
        else:
            if kind == IN_DICT:
                now = call(ldi(gate, DICT_ITEM), place, known)
            elif kind == IN_CELL:
                now = ldi(place, CELL_VALUE)
            else:
                now = ldi(place, 0)
            if now != value:
                return 0
    return 1
