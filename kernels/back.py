"""The way back through a traced forward as native code: `Back` makes the builtin, `native_back` is what it runs.

A table (those of tables.py, with the words below) says which gradients are given, where addresses go, and which gradients are
made. `kept` is the tuple that the forward has left (fresh.py makes it, jit/gradients.py describes it). Where anything is
not as the table wants it, nothing has happened and the answer is None: Python then does the same, or raises the error.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .builtin import Builtin, Gate, c_api, method_def, new_builtin
from .caller import new_gate
from .driver import PARALLEL, pool_is_ready
from .fresh import FRESH_WORDS, dropped, fill, new_tensor, start_of
from .jit import device, load_native
from .memory import call, ldi, sti
from .tables import (
    AS_INT64,
    CALL,
    DECREF,
    FALSE,
    FIRST,
    FRESH_MEMORY,
    FROM_INT64,
    GC_OFF,
    GC_ON,
    INCREF,
    LAYOUT,
    LIST_ITEMS,
    NEW_LIST,
    NONE,
    OFFSET,
    PARALLEL_MODE,
    POOL,
    ROOT,
    SIZE,
    STORAGE,
    TABLE_WORDS,
    TENSOR_TYPE,
    TUPLE_ITEMS,
    VERSION,
    patch_slot,
    run_alone,
)

# Words of a table after those of calls: sections, how much memory must not have changed, the version of memory without versions.
GIVEN, SAVED_SLOTS, INPUT_SLOTS, GRADIENTS = range(TABLE_WORDS, TABLE_WORDS + 8, 2)
WATCHED_COUNT, UNWATCHED = TABLE_WORDS + 8, TABLE_WORDS + 9
BACK_WORDS = TABLE_WORDS + 16

# Words of the records of each section.
GIVEN_WORDS, GRADIENT_WORDS = 3, 4
NO_GRADIENT, IN_FRESH, IN_GIVEN = range(3)  # where the gradient of a leaf is

_PAYLOAD = Builtin.PAYLOAD
_METHOD = method_def("go_back", "The gradients of a traced forward's leaves.")


# ---- native side -------------------------------------------------------------------------------------------


@device
def are_given(gate, table, grads):
    """Whether the gradients are a list of tensors as they were recorded."""
    count = ldi(table, GIVEN)
    if ldi(grads, SIZE) != count:
        return 0
    for i in range(count):
        g = ldi(ldi(grads, LIST_ITEMS), i)
        record = ldi(table, GIVEN + 1) + 8 * GIVEN_WORDS * i
        if ldi(g, 1) != ldi(gate, TENSOR_TYPE) or ldi(g, ldi(gate, LAYOUT)) != ldi(record, 1):
            return 0
    return 1


@device
def is_unchanged(gate, table, kept):
    """Whether the memory that the forward has used is what it was."""
    count = ldi(table, WATCHED_COUNT)
    first = TUPLE_ITEMS + ldi(kept, SIZE) - 2 * count
    for i in range(count):
        before = ldi(kept, first + count + i)
        now = ldi(ldi(kept, first + i), ldi(gate, VERSION))
        if now != before:
            number = call(ldi(gate, AS_INT64), before)
            if number != call(ldi(gate, AS_INT64), now) and number != ldi(table, UNWATCHED):
                return 0
    return 1


@device
def patch_all(gate, table, grads, kept, found):
    """Tell the program where everything is."""
    for i in range(ldi(table, GIVEN)):
        g = ldi(ldi(grads, LIST_ITEMS), i)
        record = ldi(table, GIVEN + 1) + 8 * GIVEN_WORDS * i
        offset = call(ldi(gate, AS_INT64), ldi(g, ldi(gate, OFFSET)))
        patch_slot(table, ldi(record, 0), start_of(gate, ldi(g, ldi(gate, STORAGE))) + offset * ldi(record, 2))
    at = TUPLE_ITEMS
    for i in range(ldi(table, SAVED_SLOTS)):
        patch_slot(table, ldi(ldi(table, SAVED_SLOTS + 1), i), start_of(gate, ldi(kept, at + i)))
    inputs = ldi(table, INPUT_SLOTS)
    at += ldi(table, SAVED_SLOTS) + inputs
    for i in range(inputs):
        patch_slot(table, ldi(ldi(table, INPUT_SLOTS + 1), i), call(ldi(gate, AS_INT64), ldi(kept, at + i)))
    for i in range(ldi(table, FRESH_MEMORY)):
        record = ldi(table, FRESH_MEMORY + 1) + 8 * FRESH_WORDS * i
        patch_slot(table, ldi(record, 0), start_of(gate, ldi(ldi(found, LIST_ITEMS), i)))


@device
def new_memories(gate, table):
    """A list of the memory for the gradients; 0 with an exception set if there is none."""
    count = ldi(table, FRESH_MEMORY)
    found = call(ldi(gate, NEW_LIST), count)
    if found == 0:
        return 0
    for i in range(count):
        call(ldi(gate, INCREF), ldi(gate, NONE))
        sti(ldi(found, LIST_ITEMS), i, ldi(gate, NONE))
    if fill(gate, ldi(table, FRESH_MEMORY + 1), count, ldi(found, LIST_ITEMS)) == 0:
        return dropped(gate, found)
    return found


@device
def given_again(gate, record, g):
    """A given gradient that only passes through, maybe in another shape."""
    if ldi(g, ldi(gate, LAYOUT)) == ldi(record, 2):
        call(ldi(gate, INCREF), g)
        return g
    number = call(ldi(gate, AS_INT64), ldi(g, ldi(gate, OFFSET))) + ldi(record, 3)
    offset = call(ldi(gate, FROM_INT64), number)
    if offset == 0:
        return 0
    made = new_tensor(gate, ldi(g, ldi(gate, STORAGE)), offset, ldi(record, 2), ldi(gate, FALSE), ldi(gate, NONE))
    call(ldi(gate, DECREF), offset)
    return made


@device
def new_gradients(gate, table, grads, memories):
    """The list of the leaves' gradients, tensors and None; 0 with an exception set if there is no memory for it."""
    count = ldi(table, GRADIENTS)
    collects = call(ldi(gate, GC_OFF)) & 1
    found = call(ldi(gate, NEW_LIST), count)
    for i in range(count if found != 0 else 0):
        record = ldi(table, GRADIENTS + 1) + 8 * GRADIENT_WORDS * i
        made = ldi(gate, NONE)
        if ldi(record, 0) == NO_GRADIENT:
            call(ldi(gate, INCREF), made)
        elif ldi(record, 0) == IN_GIVEN:
            made = given_again(gate, record, ldi(ldi(grads, LIST_ITEMS), ldi(record, 1)))
        else:
            storage = ldi(ldi(memories, LIST_ITEMS), ldi(record, 1))
            made = new_tensor(gate, storage, ldi(record, 3), ldi(record, 2), ldi(gate, FALSE), ldi(gate, NONE))
        if made == 0:
            found = dropped(gate, found)
            break
        sti(ldi(found, LIST_ITEMS), i, made)
    if collects != 0:
        call(ldi(gate, GC_ON))
    return found


@device
def go_back(gate, table, grads, kept):
    """The gradients of the leaves, None if the table does not fit, or 0 with an exception set."""
    is_ready = ldi(table, PARALLEL_MODE) != PARALLEL or pool_is_ready(ldi(gate, POOL))
    if not is_ready or are_given(gate, table, grads) == 0 or is_unchanged(gate, table, kept) == 0:
        call(ldi(gate, INCREF), ldi(gate, NONE))
        return ldi(gate, NONE)
    memories = new_memories(gate, table)
    if memories == 0:
        return 0
    patch_all(gate, table, grads, kept, memories)
    run_alone(gate, ldi(gate, ROOT), table)
    found = new_gradients(gate, table, grads, memories)
    call(ldi(gate, DECREF), memories)
    return found


def native_back(self, argv, nargs, names):
    """METH_FASTCALL | METH_KEYWORDS: go_back(grads, kept)."""
    gate = self + _PAYLOAD
    if names != 0 or nargs != 2:
        return call(ldi(gate, CALL), self, argv, nargs, names)
    return go_back(gate, ldi(ldi(gate, ROOT), FIRST), ldi(argv, 0), ldi(argv, 1))


# ---- Python side -------------------------------------------------------------------------------------------


def _refused(*args: Any, **kwargs: Any) -> Any:
    raise TypeError(f"go_back() takes a list of gradients and what was kept, got {len(args) + len(kwargs)} arguments.")


class Back:
    """Makes `function(grads, kept)`, a builtin that goes back by a table; the caller sees to it that one thread at a time does."""

    def __init__(self, table: np.ndarray, fields: list[int]):
        self.table = table
        self.gate: Gate = new_gate(_refused, fields)
        self.gate.root[FIRST] = table.ctypes.data
        if _METHOD.code == c_api("PyObject_Vectorcall"):
            _METHOD.code = load_native(native_back)
        self.function: Any = new_builtin(_METHOD, self.gate, __name__)
