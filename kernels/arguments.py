"""The arguments of a native call: whether they are what a table was made for, and where they are in memory."""

from __future__ import annotations

from .jit import device
from .memory import call, ldi, sti
from .tables import (
    ALIASES,
    ARG_WORDS,
    ARGS,
    AS_INT64,
    BASE,
    IS_CONSTANT,
    KEYWORDS,
    LAYOUT,
    MASK,
    NARGS,
    NONE,
    OFFSET,
    POINTER,
    RG,
    SIZE,
    STORAGE,
    TRUE,
    TUPLE_ITEMS,
)


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
def read_arguments(gate, table, argv, addresses, storages):
    """Check the arguments, and note their addresses and storages."""
    for i in range(ldi(table, NARGS)):
        record = ldi(table, ARGS) + 8 * ARG_WORDS * i
        thing = ldi(argv, i)
        sti(storages, i, 0)
        if ldi(record, 0) == IS_CONSTANT:
            if thing != ldi(record, 1):
                return 0
        else:
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
