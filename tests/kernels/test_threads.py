"""The thread pool: every chunk once, same bits for any number of threads, forks, many callers, endings."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from numtorch.kernels import threads
from numtorch.kernels.driver import MAX_CHUNKS, PARALLEL, launch
from numtorch.kernels.jit import T, T_ptr, i64, i64_ptr, kernel
from numtorch.kernels.memory import split


@kernel
def count(visits: i64_ptr, chunk: i64, nchunks: i64):
    visits[chunk] += 1


@kernel
def smooth(y: T_ptr, x: T_ptr, n: i64, chunk: i64, nchunks: i64):
    lo, hi = split(n, chunk, nchunks)
    for i in range(lo, hi):
        v = x[i]
        for _ in range(20):
            v = v * T(0.999) + T(0.001)
        y[i] = v


@pytest.fixture(autouse=True)
def same_number_of_threads():
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)


def python(code: str, **env: str) -> str:
    """Output of a fresh Python that runs `code` after the usual imports, with this folder on its path."""
    setting = f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\nfrom test_threads import *\n"
    done = subprocess.run(
        [sys.executable, "-c", setting + code], env={**os.environ, **env}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def check_all_sizes() -> None:
    for nchunks in (1, 2, 3, 8, 63, 64, 65, 511, 512, 513, MAX_CHUNKS):
        visits = np.zeros(MAX_CHUNKS, np.int64)
        for _ in range(5):
            launch(count.address(), nchunks, visits.ctypes.data)
        assert (visits[:nchunks] == 5).all()
        assert (visits[nchunks:] == 0).all()


@pytest.mark.parametrize("nthreads", [1, 2, 3, 8])
def test_every_chunk_runs_once(nthreads):
    threads.set_num_threads(nthreads)
    check_all_sizes()


@pytest.mark.parametrize("nchunks", [-1, -7, -5000])
def test_negative_chunks_run_here_without_the_gil(nchunks):
    visits = np.zeros(5000, np.int64)
    launch(count.address(), nchunks, visits.ctypes.data)
    assert visits.sum() == -nchunks
    assert (visits[:-nchunks] == 1).all()


def test_results_do_not_depend_on_threads_or_chunks():
    x = np.random.default_rng(0).normal(size=10_007).astype(np.float32)
    results = set()
    for nthreads in (1, 2, 4):
        threads.set_num_threads(nthreads)
        for nchunks in (1, 2, 5, 33):
            y = np.zeros_like(x)
            launch(smooth.address(), nchunks, y.ctypes.data, x.ctypes.data, x.size)
            results.add(y.tobytes())
    assert len(results) == 1


def test_callers_on_several_python_threads():
    threads.set_num_threads(2)
    wrong = []

    def caller():
        visits = np.zeros(8, np.int64)
        for _ in range(300):
            launch(count.address(), 8, visits.ctypes.data)
        if (visits != 300).any():
            wrong.append(visits)

    callers = [threading.Thread(target=caller) for _ in range(4)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert not wrong


def test_pool_wakes_after_sleep_and_after_stop():
    threads.set_num_threads(2)
    visits = np.zeros(4, np.int64)
    for _ in range(3):
        launch(count.address(), 4, visits.ctypes.data)
        time.sleep(0.02)  # long enough for a worker to go to sleep
    threads.stop()
    assert not [t for t in threading.enumerate() if t.name.startswith("numtorch-")]
    launch(count.address(), 4, visits.ctypes.data)
    assert (visits == 4).all()


def test_more_threads_than_cores_do_not_stall():
    threads.set_num_threads(2)
    visits = np.zeros(2, np.int64)
    launch(count.address(), 2, visits.ctypes.data)
    start = time.perf_counter()
    threads.set_num_threads(6)
    for _ in range(500):
        launch(count.address(), 2, visits.ctypes.data)
    assert time.perf_counter() - start < 30
    assert (visits == 501).all()


def test_set_num_threads_checks():
    threads.set_num_threads(3)
    assert threads.get_num_threads() == 3
    for bad in (0, -1, 513, 2.0, "2", None, True):
        with pytest.raises(ValueError, match="expects an int from 1 to 512"):
            threads.set_num_threads(bad)


def test_environment_variable_sets_the_number():
    assert python("print(threads.get_num_threads())", NUMTORCH_NUM_THREADS="3") == "3"
    code = "import subprocess; print(threads.get_num_threads())"
    with pytest.raises(
        AssertionError, match="NUMTORCH_NUM_THREADS must be a number from 1 to 512, got 'many'"
    ):
        python(code, NUMTORCH_NUM_THREADS="many")


FORK = """
threads.set_num_threads(2)
visits = np.zeros(4, np.int64)
for _ in range(100):
    launch(count.address(), 4, visits.ctypes.data)
for _ in range(3):
    child = os.fork()
    if child == 0:
        assert threads._BLOCK[threads.STARTED] == 1
        for _ in range(100):
            launch(count.address(), 4, visits.ctypes.data)
        os._exit(0 if (visits == 200).all() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    launch(count.address(), 4, visits.ctypes.data)
    visits -= 1
print(visits.tolist())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_starts_its_own_workers():
    assert python(FORK) == "[100, 100, 100, 100]"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_while_another_thread_uses_the_pool():
    code = """
threads.set_num_threads(2)
stop = []
def busy():
    mine = np.zeros(4, np.int64)
    while not stop:
        launch(count.address(), 4, mine.ctypes.data)
visits = np.zeros(4, np.int64)
launch(count.address(), 4, visits.ctypes.data)
other = threading.Thread(target=busy)
other.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        for _ in range(20):
            launch(count.address(), 4, visits.ctypes.data)
        os._exit(0 if (visits == 21).all() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
stop.append(True)
other.join()
print("ok")
"""
    assert python(code) == "ok"


def test_pool_without_futex():
    code = "threads._BLOCK[threads.SYSCALL] = 0\nthreads.set_num_threads(3)\ncheck_all_sizes()\nprint('ok')"
    assert python(code) == "ok"


def test_process_ends_with_sleeping_and_with_spinning_workers():
    code = (
        "threads.set_num_threads(4)\nv = np.zeros(4, np.int64)\nlaunch(count.address(), 4, v.ctypes.data)\n"
    )
    start = time.perf_counter()
    assert python(code + "print(v.sum())") == "4"
    assert python(code + "time.sleep(0.05); print(v.sum())") == "4"
    assert time.perf_counter() - start < 60


def test_ctypes_driver():
    code = """
from numtorch.kernels import driver
assert driver.DRIVER == "ctypes"
threads.set_num_threads(2)
for nchunks in (1, -3, 3, 65):
    visits = np.zeros(65, np.int64)
    launch(count.address(), nchunks, visits.ctypes.data)
    assert visits.sum() == abs(nchunks)
x = np.ones(100, np.float32)
y, block = np.zeros_like(x), np.array([0, x.ctypes.data, 100], np.int64)
program = driver.Program([(smooth.address(), block.ctypes.data, 3)], [(0, block.ctypes.data)])
for mode in (driver.SERIAL, driver.SERIAL_WITHOUT_GIL, driver.PARALLEL):
    y[:] = 0
    program.run(mode, y.ctypes.data)
    assert (y == y[0]).all() and y[0] != 0
try:
    launch(count.address(), 1, "x")
except TypeError as error:
    print(error)
"""
    wanted = "launch() word 0 must be a Python int or float, got str."
    assert python(code, NUMTORCH_DRIVER="ctypes") == wanted


def test_counters_fit_every_program():
    assert threads.counter_words([1, 1, 1]) == 16
    assert threads.counter_words([1, 4, 1, 1, 513]) == 16 + 16 + 16 + 24
    assert PARALLEL == 2
