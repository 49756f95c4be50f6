"""Tables of native calls: their words, and what `caller.py` does with one, step by step.

A table says what a call must look like for a path to be right (types, layouts and flags of the arguments, modes, captured
objects, gradients), where addresses go, which programs run, and which objects are the results. Objects that carry
results are used again when nobody but their table holds them: the reference counts of the object and of its memory are
read. All offsets of Python-level fields are words of the gate, so that this file knows objects only as addresses.
"""

from __future__ import annotations

import numpy as np

from .driver import PARALLEL
from .jit import device
from .memory import address_of, call, copy, ldi, pointer, stack, sti
from .threads import LIMIT, run_pool, run_serial
from .timing import choose_way, note_time, now

# Words of a gate (the payload of the bytes object that is the builtin's `self`).
(ROOT, POOL, CALL, AS_INT64, FROM_INT64, INCREF, DECREF, NEW_TUPLE, SET_ITEM, THREAD_DICT, DICT_ITEM, CALL_ONE, SAVE,
 RESTORE, DICT_NEXT, CALL_NONE, NEW_LIST, NEW_BYTES, GET_ATTR, SET_ATTR, GC_OFF, GC_ON, GET_DICT, OBJECT_NEW) = range(24)  # fmt: skip
(NONE, STORAGE, OFFSET, LAYOUT, RG, NODE, GRAD, BASE, WEAK, POINTER, VERSION, TRUE) = range(24, 36)
(FALSE, ZERO, NO_ARGS, STORAGE_TYPE, TENSOR_TYPE, NODE_TYPE, NEXT_NUMBER, NUMBER_NAME, CPU, NBYTES, BLOCK, DEVICE, EDGES,
 METAS, OUT_METAS, SEQ, BOUND, SAVED, AGAIN, BEFORE, FREED) = range(36, 57)  # fmt: skip

# Words of a root: the first table, and who is running one of its programs.
FIRST, IN_PYTHON, IN_NATIVE = range(3)

# Words of a table; sections are pairs (count, address).
NEXT, NARGS, ARGS, THREAD, LOCALS, MODES, COUNTED, COUNTER, REPAIR, PARALLEL_MODE, ALIASES, MASK = range(12)
(CAPTURED, GRADS, LIVES, RINGS, SLOTS, CELLS, COPIES, UNDO, WRITTEN, RUNS, CHECKS, OUTPUTS, NAMES) = range(12, 38, 2)
RESULT, NEW_VERSION = 38, 39
TUNER = 40  # 8 words
KEYWORDS, FRESH_MEMORY = 48, 50  # sections: the names; memory that is new at each call (fresh.py)
STOCK, HISTORY = 52, 53  # the list of that memory; the words of what gives results a history, or 0
CONTAINERS = 54  # a section: lists, tuples, dicts and objects among the arguments (arguments.py)
THINGS, BUILD = 56, 57  # how many arguments there are with what is in containers; what makes the result of a tuple, or 0
TABLE_WORDS = 64

# Words of the records of each section.
ARG_WORDS, CAPTURED_WORDS, GRAD_WORDS, LIVE_WORDS, SLOT_WORDS, CELL_WORDS = 6, 4, 5, 3, 3, 2
RING_WORDS, ENTRIES, ENTRY_WORDS = 20, 3, 4
RING_HEAD = 56  # bytes before the first entry
COPY_WORDS, CHECK_WORDS, OUTPUT_WORDS, NAME_WORDS = 3, 7, 2, 4

# Words of Python's objects: a closure's cell, a dict, a list.
CELL_VALUE, DICT_USED, SIZE, LIST_ITEMS, TUPLE_ITEMS = 2, 2, 2, 3, 3

# Kinds of records.
IS_CONSTANT, IS_TENSOR, IS_CONTAINER = range(3)
ANY_GRAD, NO_GRAD, SOME_GRAD, THIS_GRAD = range(4)  # what .grad must be before a call
LEFT, CLEARED, FRESH = range(3)  # what becomes of it
FROM_ARGUMENT, FIXED, FROM_RING, FROM_HISTORY = range(4)  # where an output comes from
AS_NONE, AS_ONE, AS_TUPLE = range(3)  # how outputs become the result
SAME_BYTES, IN_RANGE = 0, 1
IN_CELL, IN_DICT, IN_KEYS, IN_ENTRIES, IN_LIST, IN_ARRAY, IN_WORD = range(7)  # places around the function

MADE = 0  # word of a history (fresh.py): where the call's results are until they are given back

MOST_ARGS = 64  # with what is in containers


# ---- native side -------------------------------------------------------------------------------------------


@device
def count_of(thing):
    """The reference count of an object."""
    return ldi(thing, 0) & 0xFFFFFFFF


@device
def is_mode(gate, table):
    """Whether this thread is the table's and has the table's modes."""
    if call(ldi(gate, THREAD_DICT)) != ldi(table, THREAD):
        return 0
    modes = ldi(table, MODES)
    while ldi(modes, 0) != 0:
        value = call(ldi(gate, DICT_ITEM), ldi(table, LOCALS), ldi(modes, 0))
        if value == 0:
            value = ldi(modes, 2)
        if value != ldi(modes, 1):
            return 0
        modes += 24
    return 1


@device
def is_same(dst, src, nbytes):
    a = pointer(dst, np.uint8)
    b = pointer(src, np.uint8)
    for i in range(nbytes):
        if a[i] != b[i]:
            return 0
    return 1


@device
def is_captured(gate, table):
    """Whether captured tensors have the memory and the history they had."""
    for i in range(ldi(table, CAPTURED)):
        record = ldi(table, CAPTURED + 1) + 8 * CAPTURED_WORDS * i
        thing = ldi(record, 0)
        if (
            ldi(thing, ldi(gate, STORAGE)) != ldi(record, 1)
            or ldi(thing, ldi(gate, RG)) != ldi(record, 2)
            or ldi(thing, ldi(gate, NODE)) != ldi(record, 3)
        ):
            return 0
    return 1


@device
def is_free(gate, ring, entry, holder):
    """Whether nobody can see that a result's object and memory are used again; `holder`: whose .grad it may be."""
    thing = ldi(entry, 0)
    holders = 1
    if holder != 0 and ldi(holder, ldi(gate, GRAD)) == thing:
        holders = 2
    attributes = ldi(entry, 1)
    storage = ldi(entry, 2)
    none = ldi(gate, NONE)
    return (
        count_of(thing) == holders
        and count_of(storage) == 2
        and count_of(attributes) == 2
        and ldi(attributes, 2) == 0
        and ldi(thing, ldi(gate, STORAGE)) == storage
        and ldi(thing, ldi(gate, LAYOUT)) == ldi(ring, 3)
        and ldi(thing, ldi(gate, OFFSET)) == ldi(ring, 4)
        and ldi(thing, ldi(gate, RG)) == ldi(ring, 5)
        and ldi(thing, ldi(gate, NODE)) == ldi(ring, 6)
        and ldi(thing, ldi(gate, BASE)) == none
        and ldi(thing, ldi(gate, GRAD)) == none
        and ldi(thing, ldi(gate, WEAK)) == 0
    )


@device
def choose_entries(gate, table):
    """An entry for each result that is made at each call; -1, or the number of a ring that has none left."""
    for i in range(ldi(table, RINGS)):
        ring = ldi(table, RINGS + 1) + 8 * RING_WORDS * i
        at = ldi(ring, 2)
        left = ENTRIES
        while left > 0:
            if is_free(gate, ring, ring + RING_HEAD + 8 * ENTRY_WORDS * at, ldi(ring, 1)):
                break
            at = at + 1 if at + 1 < ENTRIES else 0
            left -= 1
        if left == 0:
            return i
        sti(ring, 2, at)
    return -1


@device
def patch_slot(table, slot, address):
    """Tell the programs a new address of a slot."""
    record = ldi(table, SLOTS + 1) + 8 * SLOT_WORDS * slot
    if ldi(record, 0) != address:
        sti(record, 0, address)
        first = ldi(record, 1)
        for i in range(first, first + ldi(record, 2)):
            cell = ldi(table, CELLS + 1) + 8 * CELL_WORDS * i
            sti(ldi(cell, 0), 0, address + ldi(cell, 1))


@device
def copy_all(table, section, back):
    """Copy memory as listed in a section."""
    for i in range(ldi(table, section)):
        record = ldi(table, section + 1) + 8 * COPY_WORDS * i
        dst = pointer(ldi(record, back), np.uint8)
        copy(dst, pointer(ldi(record, 1 - back), np.uint8), ldi(record, 2))


@device
def values_hold(table, run):
    """Whether the values that Python had read after program number `run` are right."""
    for i in range(ldi(table, CHECKS)):
        record = ldi(table, CHECKS + 1) + 8 * CHECK_WORDS * i
        if ldi(record, 0) == run:
            address = ldi(record, 3)
            slot = ldi(record, 2)
            if slot >= 0:
                address += ldi(ldi(table, SLOTS + 1) + 8 * SLOT_WORDS * slot, 0)
            if ldi(record, 1) == SAME_BYTES:
                if is_same(address, ldi(record, 4), ldi(record, 5)) == 0:
                    return 0
            elif ldi(address, 0) < ldi(record, 4) or ldi(address, 1) > ldi(record, 5):
                return 0
    return 1


@device
def run_programs(gate, table, parallel):
    """Run all programs; 0 if a value that was read is another one (then all effects are undone)."""
    copy_all(table, COPIES, 0)
    copy_all(table, UNDO, 0)
    for run in range(ldi(table, RUNS)):
        header = ldi(ldi(table, RUNS + 1), run)
        if header != 0:
            if parallel != 0:
                run_pool(ldi(gate, POOL), ldi(header, 0), ldi(header, 1), ldi(header, 2), ldi(header, 3))
            else:
                run_serial(ldi(header, 0), ldi(header, 1))
        if values_hold(table, run) == 0:
            copy_all(table, UNDO, 1)
            return 0
    return 1


@device
def run_alone(gate, root, table):
    """The programs without the GIL, timed, if they are worth threads; with it otherwise."""
    pool = ldi(gate, POOL)
    if ldi(table, PARALLEL_MODE) != PARALLEL or ldi(pool, LIMIT) == 1:
        return run_programs(gate, table, 0)
    sti(root, IN_NATIVE, 1)
    state = call(ldi(gate, SAVE))
    start = now(pool)
    way = choose_way(pool, table + 8 * TUNER, start)
    done = run_programs(gate, table, way)
    note_time(table + 8 * TUNER, way, start, now(pool) - start)
    call(ldi(gate, RESTORE), state)
    sti(root, IN_NATIVE, 0)
    return done


@device
def put(gate, cell, index, value):
    """Store a reference in a field."""
    old = ldi(cell, index)
    call(ldi(gate, INCREF), value)
    sti(cell, index, value)
    call(ldi(gate, DECREF), old)


@device
def raise_versions(gate, table, storages):
    """Count a change of all memory that was written; 0 if there is no memory for a number."""
    version = ldi(gate, VERSION)
    seen = 0
    number = 0
    for i in range(ldi(table, WRITTEN)):
        thing = ldi(ldi(table, WRITTEN + 1), i)
        if thing < MOST_ARGS:
            thing = ldi(storages, thing)
        old = ldi(thing, version)
        if old != seen:  # memory that is always written together shares its number
            if number != 0:
                call(ldi(gate, DECREF), number)
            number = call(ldi(gate, FROM_INT64), call(ldi(gate, AS_INT64), old) + 1)
            if number == 0:
                return 0
            seen = old
        put(gate, thing, version, number)
    if number != 0:
        call(ldi(gate, DECREF), number)
    return 1


@device
def ring_object(gate, table, number):
    """The object of the chosen entry of a ring, its memory as new."""
    ring = ldi(table, RINGS + 1) + 8 * RING_WORDS * number
    entry = ring + RING_HEAD + 8 * ENTRY_WORDS * ldi(ring, 2)
    storage = ldi(entry, 2)
    if ldi(storage, ldi(gate, VERSION)) != ldi(table, NEW_VERSION):
        put(gate, storage, ldi(gate, VERSION), ldi(table, NEW_VERSION))
    return ldi(entry, 0)


@device
def grads_fit(gate, table):
    """Whether the gradients from before the call are what the path wants, and ours where they are replaced."""
    none = ldi(gate, NONE)
    for i in range(ldi(table, GRADS)):
        record = ldi(table, GRADS + 1) + 8 * GRAD_WORDS * i
        held = ldi(ldi(record, 0), ldi(gate, GRAD))
        wanted = ldi(record, 1)
        if wanted == NO_GRAD:
            if held != none:
                return 0
        elif wanted == SOME_GRAD:
            if held == none:
                return 0
        elif wanted == THIS_GRAD and held != ldi(record, 4):
            return 0
        if ldi(record, 2) != LEFT and held != none and count_of(held) == 1:
            return 0  # dropping it could run anything: left to Python
    return 1


@device
def set_grads(gate, table):
    """The effects on .grad."""
    for i in range(ldi(table, GRADS)):
        record = ldi(table, GRADS + 1) + 8 * GRAD_WORDS * i
        who = ldi(record, 0)
        value = ldi(gate, NONE)
        if ldi(record, 2) == FRESH:
            value = ring_object(gate, table, ldi(record, 3))
        if ldi(record, 2) != LEFT and ldi(who, ldi(gate, GRAD)) != value:
            put(gate, who, ldi(gate, GRAD), value)


@device
def value_made(table, number):
    """The reference to result `number` of those that have a history of this call."""
    made = ldi(ldi(table, HISTORY), MADE)
    value = ldi(made, number)
    sti(made, number, 0)
    return value


@device
def output(gate, table, argv, number):
    """A new reference to output `number`."""
    record = ldi(table, OUTPUTS + 1) + 8 * OUTPUT_WORDS * number
    value = ldi(record, 1)
    if ldi(record, 0) == FROM_ARGUMENT:
        value = ldi(argv, value)
    elif ldi(record, 0) == FROM_RING:
        value = ring_object(gate, table, value)
    elif ldi(record, 0) == FROM_HISTORY:
        return value_made(table, value)
    call(ldi(gate, INCREF), value)
    return value


@device
def result(gate, table, argv):
    """The outputs as the function returned them."""
    kind = ldi(table, RESULT)
    if kind == AS_ONE:
        return output(gate, table, argv, 0)
    if kind == AS_TUPLE:
        count = ldi(table, OUTPUTS)
        outputs = address_of(stack(MOST_ARGS, np.int64))
        for i in range(count):  # all are taken before a tuple is made, which may run finalizers and so another call
            sti(outputs, i, output(gate, table, argv, i))
        found = call(ldi(gate, NEW_TUPLE), count)
        if found != 0:
            for i in range(count):
                call(ldi(gate, SET_ITEM), found, i, ldi(outputs, i))
        if found == 0 or ldi(table, BUILD) == 0:
            return found
        built = call(ldi(gate, CALL_ONE), ldi(table, BUILD), found)
        call(ldi(gate, DECREF), found)
        return built
    call(ldi(gate, INCREF), ldi(gate, NONE))
    return ldi(gate, NONE)
