"""The policy of the pool, stepped through in Python: which way a program runs, and when the pool rests."""

from __future__ import annotations

import ctypes
import time

from numtorch.kernels import timing
from numtorch.kernels.threads import POOL, aligned_words
from numtorch.kernels.timing import FIRST_RUNS, LONG, PATIENCE, RESUME, SHORT, STALL


def clocked():
    """A pool block with the clock of this machine; a thread's own time is that clock, too, so that a test has a core."""
    pool = aligned_words(128)
    clock, number = (ctypes.c_int64 * 2).from_address(POOL + 8 * timing.CLOCK)
    pool[timing.CLOCK], pool[timing.CLOCK_ID], pool[timing.OWN_CLOCK_ID] = clock, number, number
    return pool


class Machine:
    """A program that takes `serial` or `parallel` ns, run again and again."""

    def __init__(self, serial, parallel):
        self.times, self.at = [serial, parallel], 1
        self.tuner, self.pool = aligned_words(8), aligned_words(128)

    def run(self, times):
        """How often it ran in parallel."""
        count = 0
        for _ in range(times):
            way = timing.choose_way(self.pool.ctypes.data, self.tuner.ctypes.data, self.at)
            timing.note_time(self.tuner.ctypes.data, way, self.at, self.times[way])
            self.at += self.times[way]
            count += way
        return count


def test_both_ways_are_timed_first():
    assert Machine(1000, 10).run(2 * FIRST_RUNS) == FIRST_RUNS


def test_the_quicker_way_is_kept_and_the_other_tried_now_and_then():
    for serial, parallel, low, high in ((100, 1000, 8, 100), (1000, 100, 19_900, 19_992)):
        machine = Machine(serial, parallel)
        machine.run(2 * FIRST_RUNS)
        assert low <= machine.run(20_000) <= high


def test_tries_come_in_a_row_for_the_first_may_have_to_wake_threads():
    machine = Machine(1000, 5000)
    machine.run(2 * FIRST_RUNS)
    ways = []
    for _ in range(20_000):
        machine.times[1] = 300 if ways and ways[-1] else 5000
        ways.append(machine.run(1))
    assert sum(ways) > 15_000


def test_a_very_slow_try_is_seldom_repeated():
    machine = Machine(100, 1_000_000)
    machine.run(2 * FIRST_RUNS)
    assert machine.run(10_000) <= 1


def test_the_way_changes_with_the_machine():
    machine = Machine(1000, 500)
    machine.run(100)
    machine.times[1] = 50_000  # another process has taken a core
    assert machine.run(1000) < 50
    machine.times[1] = 500
    machine.run(40_000)
    assert machine.run(1000) > 900


def test_while_the_pool_rests_programs_run_serially():
    machine = Machine(1000, 10)
    machine.pool[RESUME] = 1 << 62
    assert machine.run(50) == 0


def note(pool, waited=0, taken=0, lost=None):
    """A program of so many ns, part of them spent waiting or (if own time was read) without a core, ends now."""
    at = time.monotonic_ns()
    timing.note_wait(pool.ctypes.data, waited, at - taken, 0 if lost is None else at - taken + lost)


def test_rest_doubles_while_stalls_follow_each_other():
    pool = clocked()
    for expected in (SHORT, 2 * SHORT, 4 * SHORT):
        note(pool, waited=LONG, taken=LONG)
        assert pool[PATIENCE] == expected and pool[RESUME] > time.monotonic_ns()
    for _ in range(100):
        note(pool)  # too little work to forget it
    note(pool, waited=LONG, taken=LONG)
    assert pool[PATIENCE] == 8 * SHORT
    for _ in range(10):
        note(pool, waited=LONG, taken=LONG)
    assert pool[PATIENCE] == LONG


def test_a_single_stall_is_followed_by_a_rest_of_its_length():
    pool = clocked()
    for _ in range(3):
        for _ in range(6):
            note(pool, taken=SHORT // 4)
        note(pool, waited=SHORT // 4, taken=SHORT // 4)
        assert SHORT // 4 <= pool[PATIENCE] < SHORT // 3
        assert pool[RESUME] < time.monotonic_ns() + SHORT // 3


def test_runs_that_lost_the_core_do_not_change_the_way():
    machine = Machine(1000, 500)
    machine.run(100)
    count = 0
    for _ in range(50):
        machine.times[1] = 20_000
        machine.run(1)
        machine.times[1] = 500
        count += machine.run(10)
    assert count > 450


def test_who_has_no_core_leaves_the_pool_alone():
    pool = clocked()
    note(pool, taken=LONG, lost=LONG // 8)
    assert pool[RESUME] == 0
    note(pool, taken=LONG, lost=LONG // 2)
    assert pool[RESUME] > 0


def test_own_time_is_read_after_a_long_program_only():
    pool = clocked()
    note(pool, taken=-LONG)  # whatever the test itself takes
    assert pool[timing.WATCHED] == 0
    note(pool, taken=2 * STALL)
    assert pool[timing.WATCHED] == timing.WATCH
    for _ in range(timing.WATCH // STALL):
        note(pool, taken=STALL, lost=0)
    assert pool[timing.WATCHED] <= 0 and pool[RESUME] == 0


def test_uneven_chunks_are_no_stall():
    pool = clocked()
    note(pool, waited=LONG // 2, taken=LONG)
    note(pool, waited=STALL - 1, taken=STALL)
    assert pool[RESUME] == 0


def test_clock_is_that_of_python():
    before = time.monotonic_ns()
    assert before <= timing.now(POOL) <= time.monotonic_ns()
