"""Calls of compiled code from Python: `launch` one kernel, `replay` a whole program.

Both are C-level builtins whose code is made by numba (METH_FASTCALL), about 0.1 us per call. They are created
before that code exists: until it is loaded, and whenever something is unusual, the builtin calls the Python
function behind it, which loads the code, starts the pool, or raises the error. `NUMTORCH_DRIVER=ctypes`
selects a driver made of ctypes calls instead, which is also taken where CPython's C-API is not available.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from . import threads
from .builtin import Builtin, c_api
from .jit import device, load_native
from .memory import address_of, atomic_store, atomic_swap_if, call, call_kernel, ldi, stack, sti
from .threads import LIMIT, MAX_CHUNKS, OWN_COUNTERS, STARTED, YIELD, run_pool, run_serial

MAX_WORDS = 64
_ROOM = MAX_WORDS + 2

# How replay() runs a program.
SERIAL, SERIAL_WITHOUT_GIL, PARALLEL = 0, 1, 2

# Words of a program's header.
_TABLE, _OPS, _COUNTERS, _COUNTER_WORDS, _WORDS, _PATCHES, _PATCH_TABLE, _IN_USE = range(8)

# Words of the gate: addresses that native code needs, in the payload of the bytes object that is the
# builtin's `self`.
_POOL, _INT, _FLOAT, _BOOL, _NONE = range(5)
_AS_INT64, _ERROR_SET, _ERROR_CLEAR, _INCREF, _SAVE, _RESTORE, _CALL = range(5, 12)
_PAYLOAD = Builtin.PAYLOAD
_TYPE_WORD = object.__basicsize__ // 8 - 1
_FLOAT_WORD = object.__basicsize__ // 8


# ---- native side -------------------------------------------------------------------------------------------


@device
def read_words(gate, argv, nargs, block):
    """Convert Python ints, bools and floats to words; 1 if an argument is not one or is too big, else 0."""
    for i in range(nargs):
        item = ldi(argv, i)
        kind = ldi(item, _TYPE_WORD)
        if kind == ldi(gate, _FLOAT) and i >= 2:
            sti(block, i, ldi(item, _FLOAT_WORD))
        elif kind == ldi(gate, _INT) or kind == ldi(gate, _BOOL):
            word = call(ldi(gate, _AS_INT64), item)
            if word == -1 and call(ldi(gate, _ERROR_SET)) != 0:
                call(ldi(gate, _ERROR_CLEAR))
                return 1
            sti(block, i, word)
        else:
            return 1
    return 0


@device
def none(gate):
    """A new reference to None."""
    call(ldi(gate, _INCREF), ldi(gate, _NONE))
    return ldi(gate, _NONE)


@device
def pool_is_ready(pool):
    return ldi(pool, STARTED) >= ldi(pool, LIMIT)


@device
def launch_released(pool, fn, block, chunks):
    """All chunks of one kernel, without the GIL; a negative number of chunks keeps them on this thread."""
    if chunks < 0 or ldi(pool, LIMIT) == 1:
        chunks = abs(chunks)
        for chunk in range(chunks):
            call_kernel(fn, block, chunk, chunks)
        return
    table = address_of(stack(3, np.int64))
    sti(table, 0, fn)
    sti(table, 1, block)
    sti(table, 2, chunks)
    run_pool(pool, table, 1, pool + 8 * OWN_COUNTERS, 8 + 8 * ((chunks + 511) >> 9))


def native_launch(self, argv, nargs, names):
    """METH_FASTCALL | METH_KEYWORDS: launch(address, nchunks, *words)."""
    gate = self + _PAYLOAD
    room = address_of(stack(_ROOM, np.int64))
    if names != 0 or nargs < 2 or nargs > _ROOM or read_words(gate, argv, nargs, room) != 0:
        return call(ldi(gate, _CALL), self, argv, nargs, names)
    fn, chunks, block = ldi(room, 0), ldi(room, 1), room + 16
    if fn == 0 or chunks > MAX_CHUNKS or (chunks > 1 and not pool_is_ready(ldi(gate, _POOL))):
        return call(ldi(gate, _CALL), self, argv, nargs, names)
    if chunks == 1:
        call_kernel(fn, block, 0, 1)
    elif chunks != 0:
        state = call(ldi(gate, _SAVE))
        launch_released(ldi(gate, _POOL), fn, block, chunks)
        call(ldi(gate, _RESTORE), state)
    return none(gate)


@device
def patch(header, words):
    """Write the words of this call to the cells in the argument blocks that want them."""
    cells = ldi(header, _PATCH_TABLE)
    for i in range(ldi(header, _PATCHES)):
        sti(ldi(cells, 2 * i + 1), 0, ldi(words, ldi(cells, 2 * i)))


@device
def replay_released(pool, header, mode):
    if mode == PARALLEL and ldi(pool, LIMIT) > 1:
        run_pool(
            pool, ldi(header, _TABLE), ldi(header, _OPS), ldi(header, _COUNTERS), ldi(header, _COUNTER_WORDS)
        )
    else:
        run_serial(ldi(header, _TABLE), ldi(header, _OPS))


@device
def take(pool, cell):
    """Wait (without the GIL) until the program is free, then mark it as in use."""
    while atomic_swap_if(cell, 0, 1) == 0:
        call(ldi(pool, YIELD))


def native_replay(self, argv, nargs, names):
    """METH_FASTCALL | METH_KEYWORDS: replay(header, mode, *words)."""
    gate = self + _PAYLOAD
    room = address_of(stack(_ROOM, np.int64))
    if names != 0 or nargs < 2 or nargs > _ROOM or read_words(gate, argv, nargs, room) != 0:
        return call(ldi(gate, _CALL), self, argv, nargs, names)
    header, mode, pool = ldi(room, 0), ldi(room, 1), ldi(gate, _POOL)
    if header == 0 or ldi(header, _WORDS) != nargs - 2 or mode < SERIAL or mode > PARALLEL:
        return call(ldi(gate, _CALL), self, argv, nargs, names)
    if mode == PARALLEL and not pool_is_ready(pool):
        return call(ldi(gate, _CALL), self, argv, nargs, names)
    in_use = header + 8 * _IN_USE
    if mode == SERIAL and atomic_swap_if(in_use, 0, 1) != 0:
        patch(header, room + 16)
        run_serial(ldi(header, _TABLE), ldi(header, _OPS))
        atomic_store(in_use, 0)
    else:
        state = call(ldi(gate, _SAVE))
        take(pool, in_use)
        patch(header, room + 16)
        replay_released(pool, header, mode)
        atomic_store(in_use, 0)
        call(ldi(gate, _RESTORE), state)
    return none(gate)


def plain_launch(pool, fn, block, chunks):
    """The part of launch() without the GIL as a plain function, for ctypes."""
    launch_released(pool, fn, block, chunks)
    return 0


def plain_replay(pool, header, mode, words):
    """The part of replay() without the GIL as a plain function, for ctypes."""
    in_use = header + 8 * _IN_USE
    take(pool, in_use)
    patch(header, words)
    replay_released(pool, header, mode)
    atomic_store(in_use, 0)
    return 0


# ---- Python side: checks, and what the builtins call when they cannot go on alone --------------------------


def _check_words(what: str, words: tuple[Any, ...]) -> None:
    """Raise TypeError or OverflowError for words that cannot be passed."""
    if len(words) > MAX_WORDS:
        raise TypeError(
            f"{what}() takes at most {MAX_WORDS} words, got {len(words)}; put the rest in memory."
        )
    for i, word in enumerate(words):
        if type(word) is int or type(word) is bool:
            if not -(1 << 63) <= word < 1 << 63:
                raise OverflowError(f"{what}() word {i} does not fit in 64 bits: {word}.")
        elif type(word) is not float:
            raise TypeError(f"{what}() word {i} must be a Python int or float, got {type(word).__name__}.")


def _check_launch(address: Any, nchunks: Any, words: tuple[Any, ...]) -> None:
    for name, value in (("address", address), ("nchunks", nchunks)):
        if type(value) not in (int, bool):
            raise TypeError(f"launch() argument {name!r} must be an int, got {type(value).__name__}.")
    if address == 0 or not -(1 << 62) < nchunks <= MAX_CHUNKS:
        raise ValueError(
            f"launch() needs a kernel address and at most {MAX_CHUNKS} chunks, got {address}, {nchunks}."
        )
    _check_words("launch", words)


def _check_replay(program: Any, mode: Any, words: tuple[Any, ...]) -> None:
    if type(program) is not int or program == 0:
        raise TypeError(f"replay() needs the address of a Program, got {program!r}.")
    if type(mode) is not int or not SERIAL <= mode <= PARALLEL:
        raise ValueError(f"replay() mode must be SERIAL, SERIAL_WITHOUT_GIL or PARALLEL, got {mode!r}.")
    _check_words("replay", words)
    wanted = ctypes.c_int64.from_address(program + 8 * _WORDS).value
    if len(words) != wanted:
        raise TypeError(f"replay() of this program takes {wanted} words, got {len(words)}.")


def _slow_launch(address: int, nchunks: int, /, *words: int | float) -> None:
    """launch(address, nchunks, *words): run a compiled kernel on the block `words` (Python ints and floats).

    1 chunk runs here and now, holding the GIL. More chunks run on the thread pool without the GIL; -n runs n
    chunks on this thread without the GIL; 0 does nothing. Raises TypeError, ValueError or OverflowError for
    arguments that do not fit.
    """
    _check_launch(address, nchunks, words)
    if nchunks > 1:
        threads.ensure_started()
    if not _LAUNCH.is_native:
        _LAUNCH.point(load_native(native_launch))
    _LAUNCH.function(address, nchunks, *words)


def _slow_replay(program: int, mode: int, /, *words: int | float) -> None:
    """replay(program.address, mode, *words): patch `words` into a Program's blocks and run all its ops.

    `mode` is SERIAL (holding the GIL), SERIAL_WITHOUT_GIL or PARALLEL (on the pool, without the GIL). A
    program that another thread is running is waited for. Raises TypeError, ValueError or OverflowError for
    arguments that do not fit.
    """
    _check_replay(program, mode, words)
    if mode == PARALLEL:
        threads.ensure_started()
    if not _REPLAY.is_native:
        _REPLAY.point(load_native(native_replay))
    _REPLAY.function(program, mode, *words)


# ---- the driver without the C-API: ctypes ------------------------------------------------------------------

_INT64 = ctypes.c_int64
_ENTRY_WITH_GIL = ctypes.PYFUNCTYPE(None, _INT64, _INT64, _INT64)
_FOUR_WORDS = ctypes.CFUNCTYPE(_INT64, _INT64, _INT64, _INT64, _INT64)


def _block(words: tuple[Any, ...]) -> ctypes.Array[_INT64]:
    bits = (struct.unpack("=q", struct.pack("=d", w))[0] if type(w) is float else w for w in words)
    return (_INT64 * (len(words) + 1))(*bits)


def _ctypes_launch(address: int, nchunks: int, /, *words: int | float) -> None:
    """`launch` through ctypes."""
    _check_launch(address, nchunks, words)
    block = _block(words)
    if nchunks == 1:
        _ENTRY_WITH_GIL(address)(ctypes.addressof(block), 0, 1)
    elif nchunks != 0:
        if nchunks > 1:
            threads.ensure_started()
        _FOUR_WORDS(load_native(plain_launch))(threads.POOL, address, ctypes.addressof(block), nchunks)


def _ctypes_replay(program: int, mode: int, /, *words: int | float) -> None:
    """`replay` through ctypes; SERIAL releases the GIL too."""
    _check_replay(program, mode, words)
    if mode == PARALLEL:
        threads.ensure_started()
    block = _block(words)
    _FOUR_WORDS(load_native(plain_replay))(threads.POOL, program, mode, ctypes.addressof(block))


def _chosen_driver() -> str:
    chosen = os.environ.get("NUMTORCH_DRIVER", "")
    if chosen not in ("", "native", "ctypes"):
        raise ValueError(f"NUMTORCH_DRIVER must be native or ctypes, got {chosen!r}.")
    ordinary = (
        sys.implementation.name == "cpython"
        and sys.maxsize > 1 << 32
        and not hasattr(sys, "gettotalrefcount")
    )
    return chosen or ("native" if ordinary else "ctypes")


def _gate_words() -> list[int]:
    functions = ("PyLong_AsLongLong", "PyErr_Occurred", "PyErr_Clear", "Py_IncRef",
                 "PyEval_SaveThread", "PyEval_RestoreThread", "PyObject_Vectorcall")  # fmt: skip
    return [threads.POOL, id(int), id(float), id(bool), id(None), *map(c_api, functions)]


for _function in (_slow_launch, _ctypes_launch):
    _function.__name__ = _function.__qualname__ = "launch"
for _function in (_slow_replay, _ctypes_replay):
    _function.__name__ = _function.__qualname__ = "replay"
launch: Callable[..., None] = _ctypes_launch
replay: Callable[..., None] = _ctypes_replay
DRIVER = _chosen_driver()
if DRIVER == "native":
    _LAUNCH = Builtin("launch", _slow_launch, _gate_words())
    _REPLAY = Builtin("replay", _slow_replay, _gate_words())
    launch, replay = _LAUNCH.function, _REPLAY.function


class Program:
    """A replayable list of ops: `(kernel address, address of its argument block, nchunks)`.

    `patches` are pairs `(i, cell)`: word `i` of each `run` call is written to the address `cell` (a word in
    some block) first. The caller keeps blocks and tensors alive, e.g. in `keep`; tables and counters belong
    to the program.

    Example: `Program([(scale.address(), block.ctypes.data, 1)], [(0, block.ctypes.data)]).run(SERIAL,
    y.ctypes.data)`
    """

    def __init__(
        self, ops: Iterable[tuple[int, int, int]], patches: Iterable[tuple[int, int]] = (), keep: Any = None
    ):
        ops, patches = list(ops), list(patches)
        if any(not address or not 1 <= n <= MAX_CHUNKS for address, _, n in ops):
            raise ValueError(f"every op of a Program needs a kernel address and 1 to {MAX_CHUNKS} chunks.")
        self.keep, self.nwords = keep, 1 + max((i for i, _ in patches), default=-1)
        self._table = np.array(ops, np.int64).reshape(-1)
        self._patches = np.array(patches, np.int64).reshape(-1)
        count = threads.counter_words([n for _, _, n in ops])
        self._counters = threads.aligned_words(count)
        self._header = threads.aligned_words(_IN_USE + 1)
        self._header[:] = (self._table.ctypes.data, len(ops), self._counters.ctypes.data, count,
                           self.nwords, len(patches), self._patches.ctypes.data, 0)  # fmt: skip
        self.address: int = self._header.ctypes.data
        threads.on_fork(self)

    def run(self, mode: int, *words: int | float) -> None:
        """Patch `words` in and run all ops; hot paths call `replay(program.address, mode, *words)`."""
        replay(self.address, mode, *words)

    def after_fork(self) -> None:
        """In a forked child nobody is running this program."""
        self._header[_IN_USE] = 0
