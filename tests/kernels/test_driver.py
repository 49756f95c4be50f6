"""Replayed programs: serial and parallel give the same, words are patched in, one caller at a time."""

from __future__ import annotations

import gc
import random
import sys
import threading

import numpy as np
import pytest

from numtorch.kernels import threads
from numtorch.kernels.driver import PARALLEL, SERIAL, SERIAL_WITHOUT_GIL, Program, launch, replay
from numtorch.kernels.jit import T, T_ptr, i64, kernel, real
from numtorch.kernels.memory import split

MODES = [SERIAL, SERIAL_WITHOUT_GIL, PARALLEL]
N = 1000


@kernel
def axpy(y: T_ptr, x: T_ptr, n: i64, alpha: real, chunk: i64, nchunks: i64):
    lo, hi = split(n, chunk, nchunks)
    for i in range(lo, hi):
        y[i] = y[i] * T(0.5) + x[i] * alpha


@kernel
def mirror(y: T_ptr, x: T_ptr, n: i64, chunk: i64, nchunks: i64):
    lo, hi = split(n, chunk, nchunks)
    for i in range(lo, hi):
        y[i] = x[n - 1 - i]


@pytest.fixture(autouse=True)
def two_threads():
    before = threads.get_num_threads()
    threads.set_num_threads(2)
    yield
    threads.set_num_threads(before)


def block(*words):
    made = np.zeros(len(words), np.int64)
    for i, word in enumerate(words):
        made[i : i + 1].view(np.float64 if isinstance(word, float) else np.int64)[0] = word
    return made


def chain(sizes):
    """Ops on two buffers, each reading all of what the one before wrote, so that a missing barrier shows."""
    a, b, out = (np.zeros(N, np.float32) for _ in range(3))
    blocks, ops = [], []
    for i, nchunks in enumerate(sizes):
        if i % 2 == 0:
            blocks.append(block(b.ctypes.data, a.ctypes.data, N))
            ops.append((mirror.address(), blocks[-1].ctypes.data, nchunks))
        else:
            blocks.append(block(a.ctypes.data, b.ctypes.data, N, 0.25))
            ops.append((axpy.address(), blocks[-1].ctypes.data, nchunks))
    first = block(a.ctypes.data, 0, N)
    last = block(0, a.ctypes.data, N)
    ops = [(mirror.address(), first.ctypes.data, 1), *ops, (mirror.address(), last.ctypes.data, 2)]
    patches = [(0, last.ctypes.data), (1, first.ctypes.data + 8)]
    return Program(ops, patches, keep=(a, b, out, blocks, first, last))


def test_modes_agree_on_random_programs():
    choose = random.Random(1)
    x = np.random.default_rng(0).normal(size=N).astype(np.float32)
    for _ in range(20):
        program = chain([choose.choice([1, 1, 2, 3, 7, 70]) for _ in range(choose.randrange(1, 30))])
        results = set()
        for mode in MODES * 3:
            y = np.zeros_like(x)
            program.run(mode, y.ctypes.data, x.ctypes.data)
            results.add(y.tobytes())
        assert len(results) == 1


def test_every_thread_count_agrees():
    x, results = np.arange(N, dtype=np.float32), set()
    program = chain([2, 1, 3, 1, 1, 70, 2])
    for count in (1, 2, 3, 5):
        threads.set_num_threads(count)
        for _ in range(50):
            y = np.zeros_like(x)
            replay(program.address, PARALLEL, y.ctypes.data, x.ctypes.data)
            results.add(y.tobytes())
    assert len(results) == 1


@pytest.mark.parametrize("mode", MODES)
def test_program_shared_by_python_threads(mode):
    program, x = chain([2, 1, 3, 2]), np.arange(N, dtype=np.float32)
    expected = np.zeros_like(x)
    program.run(SERIAL, expected.ctypes.data, x.ctypes.data)
    wrong = []

    def caller():
        y = np.zeros_like(x)
        for _ in range(200):
            program.run(mode, y.ctypes.data, x.ctypes.data)
            if (y != expected).any():
                wrong.append(y)

    callers = [threading.Thread(target=caller) for _ in range(3)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert not wrong


def test_program_owns_its_tables():
    program, x = chain([2, 3]), np.ones(N, np.float32)
    gc.collect()
    y = np.zeros_like(x)
    program.run(PARALLEL, y.ctypes.data, x.ctypes.data)
    assert (y != 0).all()


def test_float_words_are_patched_as_bits():
    x, y = np.ones(4, np.float32), np.zeros(4, np.float32)
    args = block(y.ctypes.data, x.ctypes.data, 4, 0.0)
    program = Program([(axpy.address(), args.ctypes.data, 1)], [(0, args.ctypes.data + 24)])
    program.run(SERIAL, 3.0)
    assert (y == 3).all()


def test_replay_checks_its_arguments():
    program = chain([2])
    with pytest.raises(TypeError, match="takes 2 words, got 1"):
        program.run(SERIAL, 1)
    with pytest.raises(ValueError, match="mode must be SERIAL"):
        program.run(7, 1, 2)
    with pytest.raises(TypeError, match="word 1 must be a Python int or float, got str"):
        program.run(SERIAL, 1, "x")
    with pytest.raises(TypeError, match="needs the address of a Program, got 0"):
        replay(0, SERIAL)
    with pytest.raises(ValueError, match="1 to 4096 chunks"):
        Program([(axpy.address(), 0, 0)])


def test_empty_program_does_nothing():
    for mode in MODES:
        Program([]).run(mode)


def test_launch_keeps_reference_counts():
    y = np.zeros(1 << 12, np.float32)
    args = (y.ctypes.data, y.ctypes.data, y.size, 1.5)
    launch(axpy.address(), 1, *args)
    before = [sys.getrefcount(a) for a in args]
    for _ in range(1000):
        assert launch(axpy.address(), 1, *args) is None
    assert [sys.getrefcount(a) for a in args] == before
