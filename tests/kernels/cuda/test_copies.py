"""The simulator's copies that run beside the arithmetic: what is not waited for is not there, what is not there is 0."""

from __future__ import annotations

import numpy as np
import pytest
from memory_model import RaceError
from numpy import int32, uint32
from simulator import run
from twins import empty, randoms

from numtorch.kernels.cuda.gpu import barrier, commit, copy16, copy_word, shared, thread, wait_copies
from numtorch.kernels.cuda.launch import kernel
from numtorch.kernels.jit import S_ptr, T, T_ptr, i64
from numtorch.kernels.memory import bitcast

pytestmark = pytest.mark.simulator


@kernel(grid=lambda: 1, threads=32)
def copied(y: T_ptr, x: T_ptr, waits: i64, meets: i64, count: i64):
    """Lane k copies word group k and reads that of lane 31 - k."""
    room = shared(128, uint32)
    t = thread()
    copy16(room, int32(4 * t), x, int32(4 * t), int32(count))
    commit()
    if waits != 0:
        wait_copies(0)
    if meets != 0:
        barrier()
    y[t] = bitcast(room[int32(4 * int32(31 - t) + 1)], T)


@kernel(grid=lambda: 1, threads=32)
def copied_words(y: S_ptr, x: T_ptr, count: i64):
    room = shared(32, uint32)
    t = thread()
    copy_word(room, t, x, int32(2 * t), 1, int32(count))
    commit()
    wait_copies(0)
    y[t] = room[t]


def run_copied(*words: int) -> np.ndarray:
    x, y = randoms(0, 128), empty(32)
    run(copied, y, x, *words)
    return y - x[1::4][::-1]


def test_copies_are_there_when_they_were_waited_for() -> None:
    assert not run_copied(1, 1, 16).any()


def test_a_copy_of_fewer_bytes_is_filled_up() -> None:
    np.testing.assert_array_equal(run_copied(1, 1, 4), -randoms(0, 128)[1::4][::-1])


def test_forgotten_waits_and_barriers_show() -> None:
    assert (run_copied(0, 1, 16) != 0).all()
    with pytest.raises(RaceError, match="no barrier between"):
        run_copied(1, 0, 16)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_words_of_two_halves(count: int) -> None:
    x, y = np.arange(64, dtype=np.uint16), np.zeros(32, np.int32)
    run(copied_words, y, x, count, T="float16", S="int32")
    wanted = np.where(np.arange(64) % 2 < count, x, 0).astype(np.uint16).view(np.int32)
    np.testing.assert_array_equal(y, wanted)


def test_words_that_do_not_exist_are_zero() -> None:
    x, y = randoms(0, 64), empty(32, dtype="int32")
    run(copied_words, y, x, 0, T="float32", S="int32")
    assert not y.any()
