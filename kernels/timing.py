"""Time in native code, and what is learned from it: whether threads pay, and when to leave the cores to others."""

from __future__ import annotations

import numpy as np

from .jit import device
from .memory import address_of, call, ldi, stack, sti

# Words of the pool block (threads.py has the others): the C library's clock, and until when the pool rests after a stall.
CLOCK, CLOCK_ID, RESUME, PATIENCE = range(7, 11)

STALL = 200_000  # ns of waiting for others after which the machine may count as busy
SHORT, LONG = 5_000_000, 640_000_000  # ns for which the pool is left alone after a stall: at first, at most

# Words of a tuner: two estimates (ns), how often each way was timed, when to try the slower way again.
SERIAL_TIME, PARALLEL_TIME, SERIAL_RUNS, PARALLEL_RUNS, TRIAL = range(5)
FIRST_RUNS = 4  # of each way, before one is preferred
TRIAL_SHARE = 64  # the slower way is tried again when it has cost a 64th of the time


@device
def now(pool):
    """Nanoseconds of a clock that never goes back; 0 where there is none."""
    if ldi(pool, CLOCK) == 0:
        return 0
    spec = address_of(stack(2, np.int64))
    call(ldi(pool, CLOCK), ldi(pool, CLOCK_ID), spec)
    return ldi(spec, 0) * 1_000_000_000 + ldi(spec, 1)


@device
def note_wait(pool, waited, start):
    """Leave the pool alone for a while if most of the time since `start` was spent waiting for other threads.

    A thread whose core another process has taken comes back after milliseconds; uneven chunks make nobody wait three
    quarters of the time. The pause doubles each time.
    """
    if waited > STALL and 4 * waited > 3 * (now(pool) - start):
        patience = min(max(2 * ldi(pool, PATIENCE), SHORT), LONG)
        sti(pool, PATIENCE, patience)
        sti(pool, RESUME, now(pool) + patience)
    elif ldi(pool, RESUME) != 0:
        patience = ldi(pool, PATIENCE) >> 1
        sti(pool, PATIENCE, patience)
        if patience < SHORT:
            sti(pool, RESUME, 0)


@device
def choose_way(pool, tuner, at):
    """1 if a program should run in parallel now, 0 if serially: as timed, each way tried again from time to time."""
    if at < ldi(pool, RESUME):
        return 0
    if ldi(tuner, PARALLEL_RUNS) < FIRST_RUNS or ldi(tuner, SERIAL_RUNS) < FIRST_RUNS:
        return 1 if ldi(tuner, PARALLEL_RUNS) <= ldi(tuner, SERIAL_RUNS) else 0
    best = 1 if ldi(tuner, PARALLEL_TIME) < ldi(tuner, SERIAL_TIME) else 0
    return 1 - best if at >= ldi(tuner, TRIAL) else best


@device
def note_time(tuner, way, at, taken):
    """Learn from one timed run that started at `at`."""
    runs = ldi(tuner, SERIAL_RUNS + way)
    known = ldi(tuner, SERIAL_TIME + way)
    other = ldi(tuner, SERIAL_TIME + 1 - way)
    if runs < FIRST_RUNS:
        sti(tuner, SERIAL_RUNS + way, runs + 1)
        known = taken if runs == 0 else min(known, taken)
    elif known <= other:
        known += (taken - known) >> 3
    else:
        known = (known + taken) >> 1
        sti(tuner, TRIAL, at + taken + TRIAL_SHARE * max(taken - other, other))
    sti(tuner, SERIAL_TIME + way, known)
