"""The thread pool: affine claiming of chunks, one wake-up per program.

A program is an int64 table of (kernel address, block address, nchunks). Its ops are done in stages: a run of
one-chunk ops is one stage, done by thread 0; an op with many chunks is a stage of its own. In a parallel
stage every thread first claims the chunks nearest to its own share (so that it meets the same memory each
time), then any chunk left. A stage ends when all chunks are done, not when all threads have arrived: a thread
that never got a core is never waited for.

Workers are daemon Python threads that stay inside one native call without the GIL: they spin for a while,
then sleep on a futex (elsewhere: in short sleeps). They start with the first launch of more than one chunk; a
forked child starts its own. `NUMTORCH_NUM_THREADS` or `set_num_threads` choose the number; the default is the
number of CPUs this process may use.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import platform
import sys
import threading
import time
import warnings
import weakref
from typing import Any

import numpy as np

from .jit import device, load_native
from .memory import (
    atomic_add,
    atomic_exchange,
    atomic_load,
    atomic_or,
    atomic_store,
    atomic_swap_if,
    call,
    call_kernel,
    call_variadic,
    ldi,
    pause,
    sti,
)
from .timing import CLOCK, CLOCK_ID, OWN_CLOCK_ID, RESUME, WATCHED, note_wait, now, own_time

MAX_CHUNKS = 4096
MAX_THREADS = 512
_LINE = (
    16  # words between words that different threads write: two cache lines, as CPUs prefetch them in pairs
)

# Words of the pool block. Read-mostly ones share the first lines; the others have lines of their own.
LIMIT, STARTED, STOP, YIELD, SYSCALL, FUTEX, SLEEP = range(7)  # and those of timing.py
TICKET, OPEN, ACTIVE, SLEEPERS, BUSY, JOB = (_LINE * i for i in range(1, 7))  # JOB: table, ops, counters
OWN_COUNTERS = _LINE * 7  # counters for a program of one op

SPINS_FOR_WORK = 20_000
SPINS_FOR_STAGE = 2_000
_FUTEX_NUMBERS = {"x86_64": 202, "amd64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221}
_FUTEX_WAIT_PRIVATE, _FUTEX_WAKE_PRIVATE = 128, 129


# ---- native side -------------------------------------------------------------------------------------------


@device
def wait_for(pool, cell, value):
    """Wait until the word at `cell` is `value`: spin shortly, then give the core away at every turn.

    Returns the nanoseconds spent giving it away.
    """
    spins = 0
    start = 0
    while atomic_load(cell) != value:
        if spins < SPINS_FOR_STAGE:
            pause()
            spins += 1
        else:
            if start == 0:
                start = now(pool)
            call(ldi(pool, YIELD))
    if start == 0:
        return 0
    return now(pool) - start


@device
def run_serial(table, ops):
    """Run a program on the calling thread."""
    for i in range(ops):
        chunks = ldi(table, 3 * i + 2)
        for chunk in range(chunks):
            call_kernel(ldi(table, 3 * i), ldi(table, 3 * i + 1), chunk, chunks)


@device
def claim_chunks(fn, block, chunks, cell, first):
    """Run the chunks that this thread can claim, from chunk `first` on; counts them at `cell`."""
    chunk = first
    done = 0
    for _ in range(chunks):
        word = cell + 64 + 8 * (chunk >> 6)
        bit = 1 << (chunk & 63)
        if atomic_load(word) & bit == 0 and atomic_or(word, bit) & bit == 0:
            call_kernel(fn, block, chunk, chunks)
            done += 1
        chunk = chunk + 1 if chunk + 1 < chunks else 0
    if done > 0:
        atomic_add(cell, done)


@device
def run_stages(pool, table, ops, counters, thread, threads):
    """The part of thread number `thread` in a program; thread 0 returns when all of it is done.

    Returns the nanoseconds that this thread has waited in vain.
    """
    i = 0
    cell = counters
    waited = 0
    while i < ops:
        chunks = ldi(table, 3 * i + 2)
        if chunks == 1:
            while i < ops and ldi(table, 3 * i + 2) == 1:
                if thread == 0:
                    call_kernel(ldi(table, 3 * i), ldi(table, 3 * i + 1), 0, 1)
                i += 1
            if thread == 0:
                atomic_store(cell, 1)
            elif i >= ops:
                return waited
            else:
                waited += wait_for(pool, cell, 1)
            cell += 128
        else:
            first = thread * chunks // threads if thread < threads else 0
            claim_chunks(ldi(table, 3 * i), ldi(table, 3 * i + 1), chunks, cell, first)
            i += 1
            if thread > 0 and i >= ops:
                return waited
            waited += wait_for(pool, cell, chunks)
            cell += 64 + 64 * ((chunks + 511) >> 9)
    return waited


@device
def run_pool(pool, table, ops, counters, counter_words):
    """Run a program on the pool, or here alone if another thread has the pool or others have the cores.

    Called without the GIL.
    """
    if counter_words == 16 and ldi(table, 2) == 1:  # one stage of serial ops: nobody is woken for it
        run_serial(table, ops)
        return
    resume = ldi(pool, RESUME)
    if resume != 0 and now(pool) < resume:
        run_serial(table, ops)
        return
    if atomic_swap_if(pool + 8 * BUSY, 0, 1) == 0:
        run_serial(table, ops)
        return
    start = now(pool)
    own_start = own_time(pool) if ldi(pool, WATCHED) > 0 else 0
    for i in range(counter_words):
        sti(counters, i, 0)
    sti(pool, JOB, table)
    sti(pool, JOB + 1, ops)
    sti(pool, JOB + 2, counters)
    ticket = ldi(pool, TICKET) + 1
    atomic_store(pool + 8 * OPEN, ticket)
    atomic_store(pool + 8 * TICKET, ticket)
    if ldi(pool, SYSCALL) != 0 and atomic_load(pool + 8 * SLEEPERS) > 0:
        call_variadic(
            ldi(pool, SYSCALL), ldi(pool, FUTEX), pool + 8 * TICKET, _FUTEX_WAKE_PRIVATE, MAX_THREADS, 0, 0, 0
        )
    waited = run_stages(pool, table, ops, counters, 0, ldi(pool, LIMIT))
    # An exchange, because a plain store could pass the load of ACTIVE and let a late worker into the next
    # program.
    atomic_exchange(pool + 8 * OPEN, 0)
    waited += wait_for(pool, pool + 8 * ACTIVE, 0)
    note_wait(pool, waited, start, own_start)
    atomic_store(pool + 8 * BUSY, 0)


@device
def await_ticket(pool, seen, thread):
    """Wait until the ticket differs from `seen`; returns it, or -1 when the pool stops."""
    spins = 0
    while True:
        ticket = atomic_load(pool + 8 * TICKET)
        if atomic_load(pool + 8 * STOP) != 0:
            return -1
        if ticket != seen:
            return ticket
        if spins < SPINS_FOR_WORK and thread < ldi(pool, LIMIT):
            pause()
            spins += 1
        elif ldi(pool, SYSCALL) != 0:
            atomic_add(pool + 8 * SLEEPERS, 1)
            call_variadic(
                ldi(pool, SYSCALL),
                ldi(pool, FUTEX),
                pool + 8 * TICKET,
                _FUTEX_WAIT_PRIVATE,
                seen & 0xFFFFFFFF,
                0,
                0,
                0,
            )
            atomic_add(pool + 8 * SLEEPERS, -1)
        else:
            call(ldi(pool, SLEEP), 100)


def worker(pool, thread):
    """A worker's whole life; native code, entered from a daemon thread without the GIL."""
    seen = 0
    while True:
        ticket = await_ticket(pool, seen, thread)
        if ticket < 0:
            return 0
        seen = ticket
        if thread >= ldi(pool, LIMIT):
            continue
        atomic_add(pool + 8 * ACTIVE, 1)
        if atomic_load(pool + 8 * OPEN) == ticket:
            run_stages(pool, ldi(pool, JOB), ldi(pool, JOB + 1), ldi(pool, JOB + 2), thread, ldi(pool, LIMIT))
        atomic_add(pool + 8 * ACTIVE, -1)


def counter_words(chunks: list[int]) -> int:
    """Words of counters for a program whose ops have these numbers of chunks."""
    total, serial = 0, False
    for n in chunks:
        if n != 1:
            total += 8 + 8 * ((n + 511) // 512)
        elif not serial:
            total += 16
        serial = n == 1
    return total


# ---- Python side -------------------------------------------------------------------------------------------


def aligned_words(count: int) -> np.ndarray:
    """`count` zeroed int64 words that start on a cache line."""
    raw = np.zeros(count + 15, np.int64)
    skip = -raw.ctypes.data % 128 // 8
    return raw[skip : skip + count]


def symbol(*names: str) -> int:
    """Address of the first of these C functions that the process has; 0 if there is none."""
    for name in names:
        found = getattr(_LIBC, name, None)
        if found is not None:
            return ctypes.cast(found, ctypes.c_void_p).value or 0
    return 0


def _default_threads() -> int:
    text = os.environ.get("NUMTORCH_NUM_THREADS")
    if text is None:
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(available, MAX_THREADS)
    if not text.strip().isdigit() or not 1 <= int(text) <= MAX_THREADS:
        raise ValueError(f"NUMTORCH_NUM_THREADS must be a number from 1 to {MAX_THREADS}, got {text!r}.")
    return int(text)


_LIBC: Any = ctypes.WinDLL("kernel32") if sys.platform == "win32" else ctypes.CDLL(None)
_BLOCK = aligned_words(OWN_COUNTERS + 8 + MAX_CHUNKS // 64)
POOL = _BLOCK.ctypes.data  # address of the pool block; the block lives as long as the process
_STARTING = threading.Lock()
_WORKERS: list[threading.Thread] = []
_AFTER_FORK: weakref.WeakSet[Any] = weakref.WeakSet()  # objects with after_fork(), called in a forked child


def _set_up() -> None:
    _BLOCK[LIMIT], _BLOCK[STARTED] = _default_threads(), 1
    _BLOCK[YIELD] = symbol("sched_yield", "SwitchToThread")
    _BLOCK[SLEEP] = symbol("usleep", "Sleep")
    if hasattr(time, "CLOCK_MONOTONIC"):
        _BLOCK[CLOCK], _BLOCK[CLOCK_ID] = symbol("clock_gettime"), time.CLOCK_MONOTONIC
        _BLOCK[OWN_CLOCK_ID] = time.CLOCK_THREAD_CPUTIME_ID
    number = _FUTEX_NUMBERS.get(platform.machine().lower())
    if sys.platform == "linux" and number is not None and sys.byteorder == "little":
        _BLOCK[FUTEX], _BLOCK[SYSCALL] = number, symbol("syscall")


def get_num_threads() -> int:
    """Number of threads, the caller's included, that a parallel launch may use."""
    return int(_BLOCK[LIMIT])


def set_num_threads(count: int) -> None:
    """Let parallel launches use `count` threads, the caller included. ValueError unless 1 <= count <= 512."""
    if type(count) is not int or not 1 <= count <= MAX_THREADS:
        raise ValueError(f"set_num_threads() expects an int from 1 to {MAX_THREADS}, got {count!r}.")
    _BLOCK[LIMIT] = count


def ensure_started() -> None:
    """Start missing workers. If the system refuses threads, go on with those there are, and warn."""
    with _STARTING:
        _BLOCK[STOP] = 0
        native = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(load_native(worker))
        while _BLOCK[STARTED] < _BLOCK[LIMIT]:
            number = int(_BLOCK[STARTED])
            thread = threading.Thread(
                target=native, args=(POOL, number), name=f"numtorch-{number}", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as error:
                _BLOCK[LIMIT] = number
                warnings.warn(f"numtorch runs on {number} threads: {error}", RuntimeWarning, stacklevel=2)
                return
            _WORKERS.append(thread)
            _BLOCK[STARTED] = number + 1


def stop() -> None:
    """End the workers; the next parallel launch starts them again. Must not be called during a launch."""
    with _STARTING:
        _BLOCK[STOP] = 1
        _BLOCK[TICKET] += 1
        if _BLOCK[SYSCALL]:
            wake = _LIBC.syscall
            wake(
                ctypes.c_long(int(_BLOCK[FUTEX])), ctypes.c_void_p(POOL + 8 * TICKET),
                ctypes.c_long(_FUTEX_WAKE_PRIVATE), ctypes.c_long(MAX_THREADS),
            )  # fmt: skip
        for thread in _WORKERS:
            thread.join(timeout=2)
        _WORKERS.clear()
        _BLOCK[STARTED] = 1


def on_fork(owner: Any) -> None:
    """Have `owner.after_fork()` called in every forked child, as long as `owner` lives."""
    _AFTER_FORK.add(owner)


def _in_forked_child() -> None:
    """A child has no workers, and nobody in it holds the pool: forget both."""
    global _STARTING
    _STARTING = threading.Lock()
    _WORKERS.clear()
    _BLOCK[STARTED] = 1
    for word in (OPEN, ACTIVE, SLEEPERS, BUSY):
        _BLOCK[word] = 0
    for owner in list(_AFTER_FORK):
        owner.after_fork()


_set_up()
atexit.register(stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)
