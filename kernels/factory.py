"""Tensors made by one native call: memory, storage and tensor are allocated, and the kernel that fills them is run.

The framework says where its classes keep their fields (`field_places` finds that out on a live object), and
describes a call by a `Recipe`. Where CPython is not as expected (another driver, a build without the GIL, a
field that cannot be found) `factory` returns the Python function that does the same.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .builtin import Builtin, c_api
from .driver import DRIVER, MAX_WORDS
from .jit import device, load_native
from .memory import address_of, call, call_kernel, ldi, stack, sti

_ROOM = MAX_WORDS + 2
_PAYLOAD = Builtin.PAYLOAD
_TYPE_WORD = object.__basicsize__ // 8 - 1
_FLOAT_WORD = object.__basicsize__ // 8

# Words of the gate: C functions, classes, constants, and byte offsets of fields.
_CALL, _AS_INT64, _FROM_INT64, _ERROR_SET, _ERROR_CLEAR, _INCREF, _DECREF, _ALLOC, _BYTES = range(9)
_INT, _FLOAT, _NONE, _FALSE, _ZERO, _CPU = range(9, 15)
_RECIPE, _TENSOR, _PARAMETER, _STORAGE = range(15, 19)
_T_STORAGE, _T_OFFSET, _T_LAYOUT, _T_FLAG, _T_NODE, _T_GRAD, _T_BASE = range(19, 26)
_S_BLOCK, _S_PTR, _S_NBYTES, _S_VERSION, _S_DEVICE = range(26, 31)

TENSOR_FIELDS = ("_storage", "_offset", "_layout", "_rg", "_node", "_grad", "_base")
STORAGE_FIELDS = ("_block", "ptr", "nbytes", "version", "device")

# Words of a recipe: header, three words per argument, the block of words for the kernel.
_COUNT, _ADDRESS, _LAYOUT, _NBYTES, _SIZE, _WORDS = range(6)
_HEADER = 6
ALIGNMENT = 64


class Recipe(bytes):
    """How to make a result: kernel (0: none), layout, and where the arguments' words go; attributes say it in Python.

    `arguments`: per argument a triple (layout, or None for a number; bytes per element; place in the block);
    `layout`: of the result, whose address becomes word 0, or None where nothing is made; `nbytes` of it.
    """

    address: int
    layout: Any
    nbytes: int
    arguments: Sequence[tuple[Any, int, int]]
    image: Sequence[int | float]
    plan: Any  # of the framework: what must live as long


def recipe(
    address: int, layout: Any, nbytes: int, arguments: Sequence[tuple[Any, int, int]], image: Sequence[int | float]
) -> Recipe:  # fmt: skip
    """A recipe; ValueError if the block has more words than a launch may have."""
    if len(image) > MAX_WORDS:
        raise ValueError(f"recipe() takes at most {MAX_WORDS} words, got {len(image)}.")
    count = nbytes if layout is not None else 0
    size = ((nbytes + 63) & ~63) + ALIGNMENT
    words: list[int] = [len(arguments), address, 0 if layout is None else id(layout), id(count), size, len(image)]
    for la, itemsize, place in arguments:
        words += [0 if la is None else id(la), itemsize, place]
    packed = struct.pack(f"={len(words)}q", *words)
    packed += b"".join(struct.pack("=d" if type(w) is float else "=q", w) for w in image)
    made = Recipe(packed)
    made.address, made.layout, made.nbytes = address, layout, count
    made.arguments, made.image = tuple(arguments), tuple(image)
    return made


# ---- native side -------------------------------------------------------------------------------------------


@device
def integer(gate, item):
    """The value of a Python int known to be small."""
    if item == ldi(gate, _ZERO):
        return 0
    return call(ldi(gate, _AS_INT64), item)


@device
def read_argument(gate, item, plan, room):
    """Put the word of one argument into the block; 1 if it is not what the recipe says."""
    kind = ldi(item, _TYPE_WORD)
    layout, place = ldi(plan, 0), ldi(plan, 2)
    if layout != 0:
        if kind == ldi(gate, _TENSOR) or kind == ldi(gate, _PARAMETER):
            if ldi(item + ldi(gate, _T_LAYOUT), 0) != layout:
                return 1
            storage = ldi(item + ldi(gate, _T_STORAGE), 0)
            start = integer(gate, ldi(item + ldi(gate, _T_OFFSET), 0)) * ldi(plan, 1)
        elif kind == ldi(gate, _STORAGE):
            storage = item
            start = 0
        else:
            return 1
        sti(room, place, integer(gate, ldi(storage + ldi(gate, _S_PTR), 0)) + start)
        return 0
    if kind == ldi(gate, _FLOAT):
        sti(room, place, ldi(item, _FLOAT_WORD))
        return 0
    if kind != ldi(gate, _INT):
        return 1
    word = call(ldi(gate, _AS_INT64), item)
    if word == -1 and call(ldi(gate, _ERROR_SET)) != 0:
        call(ldi(gate, _ERROR_CLEAR))
        return 1
    sti(room, place, word)
    return 0


@device
def put(gate, object, field, value):
    """Set a field of a new object to a value, of which a reference is taken."""
    call(ldi(gate, _INCREF), value)
    sti(object + ldi(gate, field), 0, value)


@device
def new_storage(gate, plan, room):
    """A new storage with its memory, whose address becomes word 0 of the block; 0 where memory is out."""
    block = call(ldi(gate, _BYTES), 0, ldi(plan, _SIZE))
    if block == 0:
        return 0
    address = (block + _PAYLOAD + 63) & -64
    pointer = call(ldi(gate, _FROM_INT64), address)
    storage = call(ldi(gate, _ALLOC), ldi(gate, _STORAGE), 0)
    if pointer == 0 or storage == 0:
        return 0
    sti(storage + ldi(gate, _S_BLOCK), 0, block)
    sti(storage + ldi(gate, _S_PTR), 0, pointer)
    put(gate, storage, _S_NBYTES, ldi(plan, _NBYTES))
    put(gate, storage, _S_VERSION, ldi(gate, _ZERO))
    put(gate, storage, _S_DEVICE, ldi(gate, _CPU))
    sti(room, 0, address)
    return storage


@device
def new_tensor(gate, plan, room):
    """A new tensor over new memory; 0 where memory is out."""
    storage = new_storage(gate, plan, room)
    if storage == 0:
        return 0
    tensor = call(ldi(gate, _ALLOC), ldi(gate, _TENSOR), 0)
    if tensor == 0:
        return 0
    sti(tensor + ldi(gate, _T_STORAGE), 0, storage)
    put(gate, tensor, _T_OFFSET, ldi(gate, _ZERO))
    put(gate, tensor, _T_LAYOUT, ldi(plan, _LAYOUT))
    put(gate, tensor, _T_FLAG, ldi(gate, _FALSE))
    none = ldi(gate, _NONE)
    put(gate, tensor, _T_NODE, none)
    put(gate, tensor, _T_GRAD, none)
    put(gate, tensor, _T_BASE, none)
    return tensor


def native_make(self, argv, nargs, names):
    """METH_FASTCALL | METH_KEYWORDS: make(recipe, *arguments)."""
    gate = self + _PAYLOAD
    if names != 0 or nargs < 1 or ldi(ldi(argv, 0), _TYPE_WORD) != ldi(gate, _RECIPE):
        return call(ldi(gate, _CALL), self, argv, nargs, names)
    plan = ldi(argv, 0) + _PAYLOAD
    count = ldi(plan, _COUNT)
    if count != nargs - 1:
        return call(ldi(gate, _CALL), self, argv, nargs, names)
    room = address_of(stack(_ROOM, np.int64))
    image = plan + 8 * (_HEADER + 3 * count)
    for i in range(ldi(plan, _WORDS)):
        sti(room, i, ldi(image, i))
    for i in range(count):
        if read_argument(gate, ldi(argv, i + 1), plan + 8 * (_HEADER + 3 * i), room) != 0:
            return call(ldi(gate, _CALL), self, argv, nargs, names)
    if ldi(plan, _LAYOUT) == 0:
        made = ldi(gate, _NONE)
        call(ldi(gate, _INCREF), made)
    else:
        made = new_tensor(gate, plan, room)
        if made == 0:
            return 0
    if ldi(plan, _ADDRESS) != 0:
        call_kernel(ldi(plan, _ADDRESS), room, 0, 1)
    return made


# ---- Python side -------------------------------------------------------------------------------------------


def field_places(cls: type, names: Sequence[str]) -> list[int] | None:
    """Byte offsets of the slots of a class's objects, found by looking for a marker; None if one is not found."""
    found = []
    for name in names:
        probe = object.__new__(cls)
        words = (ctypes.c_size_t * (cls.__basicsize__ // 8)).from_address(id(probe))
        marker = object()
        before = list(words)
        setattr(probe, name, marker)
        changed = [i for i, (a, b) in enumerate(zip(before, words)) if a != b]
        if len(changed) != 1 or before[changed[0]] != 0 or words[changed[0]] != id(marker):
            return None
        found.append(8 * changed[0])
    return found


def _ordinary() -> bool:
    """Whether objects are shared by one thread at a time, and the native driver is in use."""
    return DRIVER == "native" and getattr(sys, "_is_gil_enabled", lambda: True)()


def factory(tensor: type, parameter: type, storage: type, device: str, fallback: Callable[..., Any]) -> Any:
    """`make(recipe, *arguments)` for these classes: native if possible, else `fallback`, which does the same."""
    places = [field_places(tensor, TENSOR_FIELDS), field_places(storage, STORAGE_FIELDS)]
    if not _ordinary() or places[0] is None or places[1] is None:
        return fallback
    functions = ("PyObject_Vectorcall", "PyLong_AsLongLong", "PyLong_FromLongLong", "PyErr_Occurred", "PyErr_Clear",
                 "Py_IncRef", "Py_DecRef", "PyType_GenericAlloc", "PyBytes_FromStringAndSize")  # fmt: skip
    zero = 0
    objects = (int, float, None, False, zero, device, Recipe, tensor, parameter, storage)
    words = [*map(c_api, functions), *map(id, objects), *places[0], *places[1]]

    def load(*arguments: Any) -> Any:
        if not made.is_native:
            made.point(load_native(native_make))
        return fallback(*arguments)

    load.__doc__ = fallback.__doc__
    made = Builtin("make", load, words)
    made.gate.root = objects
    return made.function
