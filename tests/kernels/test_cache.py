"""The object-code cache: hits without numba, honest keys, damage, read-only places, many processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest

from numtorch.kernels import binding, cache, jit
from numtorch.kernels.driver import launch
from numtorch.kernels.jit import T, T_ptr, device, from_source, i64, kernel

SCRIPT = """
import sys, time
import numpy as np
from numtorch.kernels.driver import launch
from numtorch.kernels.jit import from_source
k = from_source('''
from numtorch.kernels.jit import T, T_ptr, device, i64, kernel
@device
def twice(v):
    return v * T({factor})
@kernel
def doubling(y: T_ptr, n: i64, chunk: i64, nchunks: i64):
    for i in range(n):
        y[i] = twice(y[i])
''', "doubling")
y = np.arange(5.0)
launch(k.address(T="float64"), 1, y.ctypes.data, 5)
print(y.sum(), "numba" in sys.modules)
{more}
"""


def start(folder, factor=2, more=""):
    return subprocess.Popen(
        [sys.executable, "-W", "always", "-c", SCRIPT.format(factor=factor, more=more)],
        env={**os.environ, "NUMTORCH_CACHE_DIR": str(folder)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def primed(tmp_path_factory):
    """A cache that holds what SCRIPT needs."""
    folder = tmp_path_factory.mktemp("primed")
    assert output(start(folder))[0] == "20.0 True"
    return folder


def output(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out.strip(), err


def objects(folder):
    return sorted(folder.glob("*.o"))


def test_second_process_needs_no_numba_and_changed_device_function_is_noticed(primed):
    assert output(start(primed))[0] == "20.0 False"
    count = len(objects(primed))
    assert output(start(primed, factor=3))[0] == "30.0 True"
    assert len(objects(primed)) == count + 1


def test_numba_imported_after_loaded_kernels_still_works(primed):
    more = """
import numba
@numba.njit
def fails(n):
    if n > 3:
        raise ValueError(n)
    return n
assert fails(3) == 3
try:
    fails(4)
except ValueError:
    print("raised")
@numba.cfunc("int64(int64)")
def negative(n):
    if n < 0:
        raise ValueError("ignored by a C callback")
    return -n
assert negative.ctypes(4) == -4
launch(k.address(T="float64"), 1, y.ctypes.data, 5)
assert y.sum() == 40
"""
    assert output(start(primed, more=more))[0] == "20.0 False\nraised"


@pytest.mark.parametrize("damage", ["truncated", "garbage", "flipped", "empty"])
def test_damaged_entry_is_a_miss(tmp_path, monkeypatch, damage):
    monkeypatch.setenv("NUMTORCH_CACHE_DIR", str(tmp_path))
    code = cache.ObjectCode("entry", bytes(range(256)) * 8)
    cache.write("name", code)
    assert cache.read("name") == code
    (path,) = objects(tmp_path)
    data = path.read_bytes()
    broken = {
        "truncated": data[: len(data) // 2],
        "garbage": b"garbage",
        "flipped": data[:-7] + bytes([data[-7] ^ 1]) + data[-6:],
        "empty": b"",
    }
    path.write_bytes(broken[damage])
    assert cache.read("name") is None
    cache.write("name", code)
    assert cache.read("name") == code


def test_damaged_object_is_compiled_again(tmp_path, primed):
    shutil.copytree(primed, tmp_path, dirs_exist_ok=True)
    for path in objects(tmp_path):
        path.write_bytes(path.read_bytes()[:100])
    assert output(start(tmp_path))[0] == "20.0 True"
    assert output(start(tmp_path))[0] == "20.0 False"


def test_directory_that_cannot_be_written_gives_one_warning(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    out, err = output(start(tmp_path / "file" / "cache"))
    assert out == "20.0 True"
    assert err.count("compiled kernels cannot be stored") == 1
    assert "NUMTORCH_CACHE_DIR" in err


def test_in_memory_entries_are_found_again(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a directory")
    monkeypatch.setenv("NUMTORCH_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        cache.write("in memory", cache.ObjectCode("entry", b"code"))
        text = "from numtorch.kernels.jit import i64, kernel\n@kernel\ndef f(chunk: i64, nchunks: i64): ...\n"
        made = from_source(text, "f")
    assert cache.read("in memory") == cache.ObjectCode("entry", b"code")
    assert made.py.__code__.co_filename.startswith("<f_")


def test_processes_that_start_together_agree(tmp_path):
    running = [start(tmp_path) for _ in range(3)]
    assert all(output(process)[0].startswith("20.0") for process in running)
    assert output(start(tmp_path))[0] == "20.0 False"
    assert not list(tmp_path.rglob(".new-*"))


def test_key_depends_on_code_and_constants_but_not_on_place():
    def fingerprint(body, **env):
        scope = {"T": T, "device": device, "N": 4}
        exec(compile(body, "<test>", "exec"), scope)
        return binding.fingerprint(scope["f"], env)

    base = fingerprint("def f(x):\n    return x + N\n")
    assert fingerprint("# a comment\n\ndef f(x):\n    # another\n    return x + N\n") == base
    assert fingerprint("def f(x):\n    return x - N\n") != base
    assert fingerprint("def f(x):\n    return x + N\n", N=5) != base
    assert fingerprint("N = 5\ndef f(x):\n    return x + N\n") != base
    helper = "@device\ndef g(x):\n    return x * {}\ndef f(x):\n    return g(x)\n"
    assert fingerprint(helper.format(2)) == fingerprint(helper.format(2))
    assert fingerprint(helper.format(2)) != fingerprint(helper.format(3))
    flags = helper.replace("@device", "@device(fastmath={{'reassoc'}})")
    assert fingerprint(flags.format(2)) != fingerprint(helper.format(2))


@kernel
def count_up(y: T_ptr, n: i64, chunk: i64, nchunks: i64):
    for i in range(n):
        y[i] += T(1)


def test_generated_file_is_restored_when_damaged(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMTORCH_CACHE_DIR", str(tmp_path))
    path = cache.source_file("x = 1\n", "x")
    with open(path, "w") as file:
        file.write("x = 2\n")
    assert cache.source_file("x = 1\n", "x") == path
    with open(path) as file:
        assert file.read() == "x = 1\n"


def test_loading_twice_gives_independent_code():
    env = jit.complete({"T": "float32", "S": None})
    first, second = jit.load(count_up, env), jit.load(count_up, env)
    assert first != second
    y = np.zeros(3, np.float32)
    launch(first, 1, y.ctypes.data, 3)
    launch(second, 1, y.ctypes.data, 3)
    assert y.tolist() == [2, 2, 2]
