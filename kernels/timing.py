"""Time in native code, and what is learned from it: whether threads pay, and when to leave the cores to others."""

from __future__ import annotations

import numpy as np

from .jit import device
from .memory import address_of, call, ldi, stack, sti

# Words of the pool block (threads.py has the others): the C library's clock, and until when the pool rests after a stall.
CLOCK, CLOCK_ID, RESUME, PATIENCE, OWN_CLOCK_ID = range(7, 12)
# Written by each program, so on the line of the caller's words: ns of programs without a stall since the last one, and ns
# of programs for which the thread's own time is still to be read (a system call, which costs short programs too much).
GOOD, WATCHED = 104, 105

STALL = 200_000  # ns of waiting for others after which the machine may count as busy
SHORT, LONG = 5_000_000, 640_000_000  # most ns for which the pool is left alone: after one stall, after many
WORTH = 2  # a stall is forgiven when programs have run for so many times its length since the last one
WATCH = 20_000_000  # ns of programs for which own time is read after one that took longer than a stall

# Words of a tuner: two estimates (ns), how often each way was timed, when to try the slower way again.
SERIAL_TIME, PARALLEL_TIME, SERIAL_RUNS, PARALLEL_RUNS, TRIAL = range(5)
FIRST_RUNS = 8  # of each way in a row, before one is preferred: the first in parallel may have to wake threads
TRIAL_SHARE = 64  # the slower way is tried again when it has cost a 64th of the time


@device
def read_clock(pool, clock):
    """Nanoseconds of a clock of the C library; 0 where there is none."""
    if ldi(pool, CLOCK) == 0:
        return 0
    spec = address_of(stack(2, np.int64))
    call(ldi(pool, CLOCK), ldi(pool, clock), spec)
    return ldi(spec, 0) * 1_000_000_000 + ldi(spec, 1)


@device
def now(pool):
    """Nanoseconds of a clock that never goes back; 0 where there is none."""
    return read_clock(pool, CLOCK_ID)


@device
def own_time(pool):
    """Nanoseconds for which this thread has had a core."""
    return read_clock(pool, OWN_CLOCK_ID)


@device
def note_wait(pool, waited, start, own_start):
    """Leave the pool alone for a while if other processes want its cores.

    Either this thread waited most of the time since `start` for another one, whose core was taken (uneven chunks make
    nobody wait three quarters of the time), or it had no core itself: waking a worker may cost the waker its own. A
    single stall, as every machine has them, is followed by a rest of its own length; the rest doubles each time that
    stalls follow each other, for then somebody else computes. `own_start` is own_time at the start, 0 if it was not read.
    """
    taken = now(pool) - start
    lost = 0
    if own_start != 0:
        lost = taken - (own_time(pool) - own_start)
        sti(pool, WATCHED, ldi(pool, WATCHED) - taken)
    elif taken > STALL:
        sti(pool, WATCHED, WATCH)
    if (waited > STALL and 4 * waited > 3 * taken) or (lost > STALL and 4 * lost > taken):
        patience = min(taken, SHORT)
        if ldi(pool, GOOD) < WORTH * taken:
            patience = min(max(2 * ldi(pool, PATIENCE), patience), LONG)
        sti(pool, GOOD, 0)
        sti(pool, PATIENCE, patience)
        sti(pool, RESUME, now(pool) + patience)
    else:
        sti(pool, GOOD, ldi(pool, GOOD) + taken)


@device
def choose_way(pool, tuner, at):
    """1 if a program should run in parallel now, 0 if serially: as timed, each way tried again from time to time."""
    if at < ldi(pool, RESUME):
        return 0
    if ldi(tuner, PARALLEL_RUNS) < FIRST_RUNS or ldi(tuner, SERIAL_RUNS) < FIRST_RUNS:
        return 1 if ldi(tuner, PARALLEL_RUNS) <= ldi(tuner, SERIAL_RUNS) else 0
    best = 1 if ldi(tuner, PARALLEL_TIME) < ldi(tuner, SERIAL_TIME) else 0
    if at < ldi(tuner, TRIAL):
        return best
    sti(tuner, SERIAL_RUNS + 1 - best, 0)
    return 1 - best


@device
def note_time(tuner, way, at, taken):
    """Learn from one timed run that started at `at`.

    The estimate of the quicker way goes after the median in small steps, so that a run during which another process had
    the core does not count for more than one.
    """
    runs = ldi(tuner, SERIAL_RUNS + way)
    known = ldi(tuner, SERIAL_TIME + way)
    other = ldi(tuner, SERIAL_TIME + 1 - way)
    if runs < FIRST_RUNS:
        sti(tuner, SERIAL_RUNS + way, runs + 1)
        known = taken if runs == 0 else min(known, taken)
        cost = FIRST_RUNS * max(abs(known - other), min(known, other))
        sti(tuner, TRIAL, at + taken + TRIAL_SHARE * cost)
    elif known <= other:
        step = (known >> 4) + 1
        known += max(-step, min(step, taken - known))
    else:  # the quicker way could not be gone
        known = (known + min(taken, 2 * known)) >> 1
    sti(tuner, SERIAL_TIME + way, known)
