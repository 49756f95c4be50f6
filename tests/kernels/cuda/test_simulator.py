"""The simulator and the compile check find planted mistakes: each kernel here has one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from compiling import check
from memory_model import RaceError
from numpy import int32
from simulator import DivergenceError, run

from numtorch.kernels.cuda.gpu import (
    atomic_add,
    ballot,
    barrier,
    block,
    load4,
    shared,
    shuffle,
    shuffle_down,
    shuffle_up,
    shuffle_xor,
    thread,
    warp_barrier,
)
from numtorch.kernels.cuda.launch import kernel
from numtorch.kernels.interpret import Pointer
from numtorch.kernels.jit import T, T_ptr, i64, i64_ptr
from numtorch.kernels.memory import stack

pytestmark = pytest.mark.simulator


def one_block():
    return 1


@kernel(grid=one_block, threads=64)
def reversed_block(y: T_ptr, x: T_ptr):
    room = shared(64, T)
    t = thread()
    room[t] = x[t]
    barrier()
    y[t] = room[int32(int32(63) - t)]


@kernel(grid=one_block, threads=64)
def no_barrier(y: T_ptr, x: T_ptr):
    room = shared(64, T)
    t = thread()
    room[t] = x[t]
    warp_barrier()
    y[t] = room[int32(int32(63) - t)]


@kernel(grid=one_block, threads=64)
def no_second_barrier(y: T_ptr, x: T_ptr):
    room = shared(64, T)
    t = thread()
    room[t] = x[t]
    barrier()
    v = room[int32(int32(63) - t)]
    room[t] = v + v
    barrier()
    y[t] = room[t]


@kernel(grid=one_block, threads=32)
def within_a_warp(y: T_ptr, x: T_ptr):
    room = shared(32, T)
    t = thread()
    room[t] = x[t]
    warp_barrier()
    y[t] = room[int32(int32(31) - t)]


@kernel(grid=lambda n: n, threads=32)
def blocks_that_share(y: T_ptr, n: i64):
    y[0] = T(block())


@kernel(grid=one_block, threads=32)
def one_too_far(y: T_ptr, x: T_ptr):
    t = thread()
    y[t] = x[int32(t + int32(1))]


@kernel(grid=one_block, threads=32)
def misaligned(y: T_ptr, x: T_ptr):
    v = load4(x, int32(1))
    y[thread()] = v[0]


@kernel(grid=one_block, threads=64)
def barrier_for_some(y: T_ptr):
    if thread() < 40:
        barrier()
    y[thread()] = T(1)


@kernel(grid=one_block, threads=64)
def half_the_block_leaves(y: T_ptr):
    if thread() < 32:
        barrier()
    y[thread()] = T(1)


@kernel(grid=one_block, threads=32)
def shuffles_for_some(y: T_ptr, x: T_ptr):
    v = x[thread()]
    if thread() < 16:
        v = shuffle_xor(v, 1)
    y[thread()] = v


@kernel(grid=one_block, threads=32)
def unwritten(y: T_ptr):
    room, own = shared(32, T), stack(4, T)
    y[thread()] = room[thread()] + own[0]


@kernel(grid=one_block, threads=32)
def warp_operations(y: T_ptr, x: T_ptr, votes: i64_ptr):
    t = thread()
    v = x[t]
    y[t] = shuffle_xor(v, 1) + T(100) * shuffle_up(v, 3) + T(10000) * shuffle_down(v, 2)
    y[int32(t + int32(32))] = shuffle(v, int32(5))
    vote = ballot(v > T(29))
    if t == 0:
        votes[0] = vote


@kernel(grid=lambda n: n, threads=32)
def counted(y: i64_ptr, n: i64):
    atomic_add(y, 0, 1)


@kernel(grid=one_block, threads=32)
def float_literal(y: T_ptr, x: T_ptr):
    y[thread()] = x[thread()] * 0.1


@kernel(grid=one_block, threads=1024)
def too_many_registers(y: T_ptr, x: T_ptr):
    own = stack(128, T)
    t = thread()
    for k in range(128):
        own[k] = x[int32(t + int32(k * 1024))]
    barrier()
    total = T(0)
    for k in range(128):
        total = own[k] + total * own[127 - k]
    y[t] = total


@kernel(grid=one_block, threads=32)
def indexed_stack(y: T_ptr, x: T_ptr, n: i64):
    own = stack(16, T)
    for k in range(16):
        own[k] = T(0)
    for k in range(16):
        own[int32((thread() * k) & 15)] += x[k]
    y[thread()] = own[int32(n)]


def arrays(n: int = 64) -> tuple[np.ndarray, np.ndarray]:
    return np.full(n, np.nan, np.float32), np.arange(n, dtype=np.float32)


@pytest.mark.parametrize("schedule", [0, 1, 2])
def test_a_correct_exchange(schedule: int) -> None:
    y, x = arrays()
    run(reversed_block, y, x, schedule=schedule)
    assert (y == x[::-1]).all()
    y, x = arrays(32)
    run(within_a_warp, y, x, schedule=schedule)
    assert (y == x[::-1]).all()


@pytest.mark.parametrize("schedule", [0, 1, 2])
@pytest.mark.parametrize("mistake", [no_barrier, no_second_barrier])
def test_a_missing_barrier_is_a_race(mistake, schedule: int) -> None:
    with pytest.raises(RaceError, match=r"shared buffer of .* no barrier between"):
        run(mistake, *arrays(), schedule=schedule)


def test_blocks_must_not_write_the_same_element() -> None:
    with pytest.raises(RaceError, match="writes y"):
        run(blocks_that_share, np.zeros(1, np.float32), 2)


def test_access_is_checked() -> None:
    y, x = arrays(32)
    with pytest.raises(IndexError, match="element 32 of x, which has 32"):
        run(one_too_far, y, x)
    with pytest.raises(IndexError, match="not aligned"):
        run(misaligned, y, x)
    run(misaligned, y, Pointer(arrays(64)[1], 3))
    assert (y == 4).all()


def test_threads_must_meet() -> None:
    with pytest.raises(DivergenceError, match="threads of a warp"):
        run(barrier_for_some, np.zeros(64, np.float32))
    with pytest.raises(DivergenceError, match="others never reach"):
        run(half_the_block_leaves, np.zeros(64, np.float32))
    with pytest.raises(DivergenceError, match="threads of a warp"):
        run(shuffles_for_some, *arrays(32))


def test_unwritten_memory_is_nan() -> None:
    y = np.zeros(32, np.float32)
    run(unwritten, y)
    assert np.isnan(y).all()


def test_warp_operations() -> None:
    x, y, votes = np.arange(32, dtype=np.float64), np.empty(64), np.zeros(1, np.int64)
    run(warp_operations, y, x, votes)
    lanes = np.arange(32)
    up, down = np.where(lanes < 3, lanes, lanes - 3), np.where(lanes > 29, lanes, lanes + 2)
    assert (y[:32] == (lanes ^ 1) + 100 * up + 10000 * down).all()
    assert (y[32:] == 5).all() and votes[0] == 3 << 30


def test_integer_atomics() -> None:
    y = np.zeros(1, np.int64)
    run(counted, y, 3)
    assert y[0] == 96


def test_arguments_are_checked() -> None:
    y, x = arrays()
    with pytest.raises(AssertionError, match="takes"):
        run(reversed_block, y)
    with pytest.raises(AssertionError, match="x points to float32"):
        run(reversed_block, y, x.astype(np.float64))
    with pytest.raises(AssertionError, match="contiguous"):
        run(reversed_block, y, np.zeros(128, np.float32)[::2])


def test_launch_rules_are_checked() -> None:
    with pytest.raises(TypeError, match=r"asks for \['rows'\]"):
        kernel(grid=lambda rows: rows)(no_barrier.py)
    with pytest.raises(ValueError, match="multiple of 32"):
        kernel(grid=one_block, threads=33)(no_barrier.py)
    with pytest.raises(ValueError, match="blocks is beyond"):
        counted.config([None, 2**31])
    assert counted.config([None, 7]) == ((7, 1, 1), 32)
    with pytest.raises(TypeError, match="is a CUDA kernel"):
        counted.address()


@pytest.mark.cuda_compile
def test_the_compile_check_finds_mistakes() -> None:
    with pytest.raises(AssertionError, match="float64 operations"):
        check(float_literal, T="float32")
    check(float_literal, T="float64")
    with pytest.raises(AssertionError, match="spills"):
        check(too_many_registers, T="float32")
    with pytest.raises(AssertionError, match="bytes of stack"):
        check(indexed_stack, T="float32")
    for made in check(reversed_block, T="float32"):
        assert made.registers > 0 and made.shared >= 256 and made.code[:4] == b"\x7fELF"


def test_nan_compares_as_on_the_gpu() -> None:
    from numtorch.kernels.cuda.team import higher

    assert (
        math.isnan(higher.py(math.nan, 1.0))
        and math.isnan(higher.py(1.0, math.nan))
        and higher.py(2.0, 1.0) == 2.0
    )
