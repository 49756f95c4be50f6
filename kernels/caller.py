"""A whole call of a trace as native code: `Caller` makes the builtin, `native_call` is what it runs.

A path that has been replayed leaves a table (tables.py). The native code checks the table against the call, runs, and
returns the result; if anything differs it has had no effect, and the Python function behind the builtin decides.
"""

from __future__ import annotations

import ctypes
import itertools
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from . import threads
from .arguments import gather, has_keywords, read_arguments
from .around import names_hold
from .builtin import Builtin, Gate, c_api, method_def, new_builtin
from .driver import DRIVER, PARALLEL, pool_is_ready
from .fresh import (
    FRESH_WORDS,
    RAN_PYTHON,
    READY,
    are_leaves_or_results,
    as_before,
    dropped,
    fill_stock,
    make_history,
    start_of,
)
from .jit import device, load_native
from .memory import address_of, call, ldi, stack
from .tables import (
    CALL,
    CALL_ONE,
    CONTAINERS,
    COUNTED,
    COUNTER,
    DECREF,
    ENTRY_WORDS,
    FIRST,
    FRESH_MEMORY,
    FROM_INT64,
    IN_NATIVE,
    IN_PYTHON,
    INCREF,
    KEYWORDS,
    LIST_ITEMS,
    LIVE_WORDS,
    LIVES,
    MOST_ARGS,
    NARGS,
    NEXT,
    PARALLEL_MODE,
    POOL,
    REPAIR,
    RING_HEAD,
    RING_WORDS,
    RINGS,
    ROOT,
    STOCK,
    THINGS,
    choose_entries,
    grads_fit,
    is_captured,
    is_mode,
    patch_slot,
    raise_versions,
    result,
    run_alone,
    set_grads,
)

_OTHER, _AGAIN, _SLOW = 1, 2, 3  # answers of attempt() that are no objects
_PAYLOAD = Builtin.PAYLOAD


# ---- native side -------------------------------------------------------------------------------------------


@device
def repair(gate, table, what):
    """Have Python bring the table up to date (a ring's objects, or -1: numbers); 0 if that raised."""
    number = call(ldi(gate, FROM_INT64), what)
    if number == 0:
        return 0
    answer = call(ldi(gate, CALL_ONE), ldi(table, REPAIR), number)
    call(ldi(gate, DECREF), number)
    if answer == 0:
        return 0
    call(ldi(gate, DECREF), answer)
    return _AGAIN


@device
def lives_hold(gate, table):
    """Whether no option was set since its number was read."""
    for i in range(ldi(table, LIVES)):
        record = ldi(table, LIVES + 1) + 8 * LIVE_WORDS * i
        if ldi(ldi(record, 0), ldi(record, 1)) != ldi(record, 2):
            return 0
    return 1


@device
def fits(gate, table, argv, nargs, names, things, addresses, storages):
    """Whether the table is for this call: _OTHER or _SLOW if not, else 0."""
    if nargs + ldi(table, KEYWORDS) != ldi(table, NARGS) or is_mode(gate, table) == 0:
        return _OTHER
    if has_keywords(table, names) == 0 or (things != argv and gather(gate, table, argv, things) == 0):
        return _OTHER
    if (
        read_arguments(gate, table, things, addresses, storages) == 0
        or are_leaves_or_results(gate, table, things) == 0
    ):
        return _OTHER
    if ldi(ldi(ldi(table, COUNTED), 3), 0) != ldi(table, COUNTER) or is_captured(gate, table) == 0:
        return _SLOW
    if names_hold(gate, table) == 0:
        return _OTHER
    if grads_fit(gate, table) == 0:
        return _OTHER
    return 0


@device
def replay(gate, root, table, things, addresses, storages):
    """The replay of a call that fits: the result, 0 with an exception set, or _OTHER without any effect."""
    before = as_before(gate, table)
    if before == 0:
        return 0
    for i in range(ldi(table, THINGS)):
        if ldi(storages, i) != 0:
            patch_slot(table, i, ldi(addresses, i))
    for i in range(ldi(table, RINGS)):
        ring = ldi(table, RINGS + 1) + 8 * RING_WORDS * i
        patch_slot(table, ldi(ring, 0), ldi(ring + RING_HEAD + 8 * ENTRY_WORDS * ldi(ring, 2), 3))
    for i in range(ldi(table, FRESH_MEMORY)):
        place = ldi(ldi(table, FRESH_MEMORY + 1) + 8 * FRESH_WORDS * i, 0)
        patch_slot(table, place, start_of(gate, ldi(ldi(ldi(table, STOCK), LIST_ITEMS), i)))
    if run_alone(gate, root, table) == 0:
        call(ldi(gate, DECREF), before)
        return _OTHER
    if raise_versions(gate, table, storages) == 0:
        return dropped(gate, before)
    set_grads(gate, table)
    if make_history(gate, table, things, addresses, storages, before) == 0:
        return 0
    return result(gate, table, things)


@device
def attempt(gate, root, table, argv, nargs, names):
    """One table's try at a call: the result, 0 with an exception set, or _OTHER, _AGAIN or _SLOW without any effect."""
    addresses = address_of(stack(MOST_ARGS, np.int64))
    storages = address_of(stack(MOST_ARGS, np.int64))
    room = address_of(stack(MOST_ARGS, np.int64))
    is_flat = ldi(table, CONTAINERS) == 0
    things = argv if is_flat else room
    answer = fits(gate, table, argv, nargs, names, things, addresses, storages)
    if answer != 0:
        return answer
    if lives_hold(gate, table) == 0:
        return repair(gate, table, -1)
    empty = choose_entries(gate, table)
    if empty >= 0:
        return repair(gate, table, empty)
    if ldi(table, PARALLEL_MODE) == PARALLEL and not pool_is_ready(ldi(gate, POOL)):
        return _SLOW
    stock = fill_stock(gate, table)
    if stock != READY:
        return _AGAIN if stock == RAN_PYTHON else 0
    if is_flat:
        return replay(gate, root, table, things, addresses, storages)
    count = ldi(table, THINGS)
    for i in range(count):  # nobody may take them out of their containers meanwhile
        call(ldi(gate, INCREF), ldi(things, i))
    answer = replay(gate, root, table, things, addresses, storages)
    for i in range(count):
        call(ldi(gate, DECREF), ldi(things, i))
    return answer


def native_call(self, argv, nargs, names):
    """METH_FASTCALL | METH_KEYWORDS: a call of a trace."""
    gate = self + _PAYLOAD
    root = ldi(gate, ROOT)
    table = ldi(root, FIRST)
    repairs = 0
    while table != 0 and ldi(root, IN_PYTHON) + ldi(root, IN_NATIVE) == 0 and repairs < 256:
        answer = attempt(gate, root, table, argv, nargs, names)
        if answer == _OTHER:
            table = ldi(table, NEXT)
        elif answer == _AGAIN:
            repairs += 1
            table = ldi(root, FIRST)
        elif answer == _SLOW:
            table = 0
        else:
            return answer
    return call(ldi(gate, CALL), self, argv, nargs, names)


# ---- Python side -------------------------------------------------------------------------------------------

_METHOD = method_def("__call__", "A call of a trace.")
_FUNCTIONS = ("PyObject_Vectorcall", "PyLong_AsLongLong", "PyLong_FromLongLong", "Py_IncRef", "Py_DecRef", "PyTuple_New",
              "PyTuple_SetItem", "PyThreadState_GetDict", "PyDict_GetItemWithError", "PyObject_CallOneArg",
              "PyEval_SaveThread", "PyEval_RestoreThread", "PyDict_Next", "PyObject_CallNoArgs", "PyList_New",
              "PyBytes_FromStringAndSize", "PyObject_GetAttr", "PyObject_SetAttr", "PyGC_Disable", "PyGC_Enable",
              "PyObject_GenericGetDict")  # fmt: skip
_TP_NEW = 65  # the number of a class's `tp_new` in CPython's stable ABI
_KEPT: list[Any] = []  # objects that gates know by their address
IS_AVAILABLE = DRIVER == "native" and sys.byteorder == "little"


def field_of(thing: Any, name: str) -> int:
    """Which word of an object holds a field that its class declares in `__slots__`."""
    size = type(thing).__basicsize__ // 8
    words = (ctypes.c_int64 * size).from_address(id(thing))
    before, mark = getattr(thing, name), object()
    setattr(thing, name, mark)
    found = [i for i in range(size) if words[i] == id(mark)]
    setattr(thing, name, before)
    if len(found) != 1:
        raise TypeError(f"{type(thing).__name__}.{name} is not declared in __slots__.")
    return found[0]


def object_new() -> int:
    """The address of CPython's `object.__new__` as a C function of (class, arguments, keywords)."""
    get = ctypes.pythonapi.PyType_GetSlot
    get.restype, get.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_int)
    return get(object, _TP_NEW)


def making_words(storage: Any, node: Any, kinds: tuple[type, ...], next_number: Any) -> list[int]:
    """The words of a gate after `field_words`: what new objects are made with, from an example of memory and of a node.

    `kinds`: the classes of memory, tensors and nodes; `next_number()`: the number of a new node.
    """
    keep = [False, 0, (), *kinds, next_number, sys.intern("_nr"), storage.device]
    _KEPT.append(keep)
    own = [field_of(storage, name) for name in ("nbytes", "_block", "device")]
    names = ("edges", "metas", "out_metas", "seq", "bound", "saved", "again", "before", "freed")
    return [*map(id, keep), *own, *[field_of(node, name) for name in names]]


def field_words(tensor: Any, storage: Any) -> list[int]:
    """The words of a gate from NONE on, found in an example of the results and one of their memory."""
    names = ("_storage", "_offset", "_layout", "_rg", "_node", "_grad", "_base")
    weak = type(tensor).__weakrefoffset__ // 8
    own = [field_of(storage, name) for name in ("ptr", "version")]
    return [id(None), *[field_of(tensor, name) for name in names], weak, *own, id(True)]


def new_gate(fallback: Callable[..., Any], fields: list[int]) -> Gate:
    """The `self` of a builtin that runs tables; `fields` are its words from NONE on."""
    root = threads.aligned_words(16)
    words = [root.ctypes.data, threads.POOL, *map(c_api, _FUNCTIONS), object_new(), *fields]
    gate = Gate(struct.pack(f"={len(words)}q", *words))
    gate.fallback, gate.root = fallback, root
    return gate


class Caller:
    """Makes `function`, a builtin that answers calls by its tables, else calls `fallback`."""

    def __init__(self, fallback: Callable[..., Any], fields: list[int]):
        self.gate = new_gate(fallback, fields)
        self.root = self.gate.root
        self.function: Callable[..., Any] = new_builtin(_METHOD, self.gate, __name__)

    def enter(self) -> int:
        """Keep native calls out, wait for the one that is running; returns what `leave` wants."""
        before = int(self.root[IN_PYTHON])
        self.root[IN_PYTHON] = 1
        while self.root[IN_NATIVE]:
            time.sleep(0)
        return before

    def leave(self, before: int) -> None:
        """The end of what `enter` began."""
        self.root[IN_PYTHON] = before

    def free(self) -> None:
        """Nobody is running anything: in a forked child."""
        self.root[IN_PYTHON] = self.root[IN_NATIVE] = 0

    def publish(self, tables: list[np.ndarray]) -> None:
        """Try these tables, in this order; the caller keeps them alive."""
        chain: list[Any] = [*tables, None]
        for table, following in itertools.pairwise(chain):
            table[NEXT] = 0 if following is None else following.ctypes.data
        self.root[FIRST] = tables[0].ctypes.data if tables else 0
        if _METHOD.code == c_api("PyObject_Vectorcall"):
            _METHOD.code = load_native(native_call)
