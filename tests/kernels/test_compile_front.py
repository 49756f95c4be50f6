"""The short way from a kernel to LLVM against numba's front end and against Python."""

from __future__ import annotations

import importlib
import pathlib

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from numtorch.kernels import cache, compile_cpu, compile_front, engine, jit
from numtorch.kernels.driver import launch
from numtorch.kernels.jit import T, T_ptr, device, f64, i64, i64_ptr, kernel, real
from numtorch.kernels.memory import offset, select
from numtorch.kernels.syntax import Unsupported, tree_of

WIDTH = 3


def by_the_short_way(what, **env) -> int | None:
    """Address of `what` by the short way, not from the cache; None if it does not support it."""
    env = jit.complete({"T": "float32", "S": None, **env})
    with compile_cpu.lean():
        library = compile_front.kernel_library(what, env, compile_cpu._Specialiser(env, what.fastmath).static)
    if library is None:
        return None
    return engine.load(cache.ObjectCode(compile_front.symbol(what.name), compile_cpu.emit(library)))


def by_numba(what, **env) -> int:
    """Address of `what` through numba's front end."""
    made = compile_cpu._by_numba(what, jit.complete({"T": "float32", "S": None, **env}))
    return engine.load(compile_cpu._of_dispatcher(made, what.name))


@kernel
def digits(out: i64_ptr, a: i64, b: i64, c: i64, chunk: i64, nchunks: i64):
    out[0], out[1] = a // b, a % b
    out[2], out[3], out[4] = a << 3 | 5, a >> 2, (a ^ b) & ~c
    out[5], out[6] = min(a, b, c), max(a, 7)
    out[7] = -a if a < b else +b
    out[8] = 0 < a < c
    out[9] = not a


@kernel
def jumps(out: i64_ptr, a: i64, b: i64, c: i64, chunk: i64, nchunks: i64):
    total = 0
    for i in range(a):
        if i == b:
            continue
        if i * i > c:
            break
        j = i
        while True:
            j -= 1
            if j < 0 or j % 3 == 2:
                break
            total += j
        total = total * 3 + i
    out[0] = total
    while a > 0 and (b > 0 or c > 0):
        a -= 1
        b, c = c - 1, b
    out[1], out[2], out[3] = a, b, c


@kernel
def ranges(out: i64_ptr, a: i64, b: i64, c: i64, chunk: i64, nchunks: i64):
    at = 0
    for i in range(a, b, WIDTH):
        at = at * 5 + i
    for i in range(b, a, -2):
        at = at * 5 + i
    for i in range(a, b, c):
        at = at * 7 + i
    i = 0
    for i in range(b - a):
        i += 10
    out[0], out[1] = at, i


@device
def parts(a, b):
    """A device function of two results, with two ways out."""
    if a > b:
        return a - b, 1
    return b - a, 0


@device
def kept(out, at, value):
    out[at] = value


@kernel
def calls(out: i64_ptr, a: i64, b: i64, c: i64, chunk: i64, nchunks: i64):
    gap, bigger = parts(a, b)
    kept(out, 0, gap)
    kept(offset(out, 1), bigger, select(a > c, gap, a if a > b or c > b else b))
    for i in range(3, 6):
        out[i], out[i + 3] = out[i + 3] + i, out[i] - c
        out[i] += gap


@kernel
def floats(y: T_ptr, x: T_ptr, a: real, b: f64, n: i64, chunk: i64, nchunks: i64):
    for i in range(n):
        v = x[i] * a + T(0.1)
        y[i] = v / T(3) - x[i] * b if i % 3 else max(v, T(0)) - min(a, v, x[i])
        if v != v or v > T(10):
            y[i] = T(i)


INTEGERS = [
    (7, 3, 20),
    (-7, 3, 2),
    (7, -3, -5),
    (0, 5, 1),
    (12, 4, 100),
    (-9, -2, -1),
    (3, 17, 4),
    (100, 1, 3),
]


def python_way(what, a: int, b: int, c: int) -> np.ndarray:
    out = np.zeros(16, np.int64)
    what.py(out, a, b, c, 0, 1)
    return out


def integers(address: int | None, a: int, b: int, c: int) -> np.ndarray:
    out = np.zeros(16, np.int64)
    assert address is not None
    launch(address, 1, out.ctypes.data, a, b, c)
    return out


@pytest.mark.parametrize("what", [digits, jumps, ranges], ids=lambda k: k.name)
def test_integers_and_jumps_as_in_python(what):
    short = by_the_short_way(what)
    for numbers in INTEGERS:
        assert_array_equal(integers(short, *numbers), python_way(what, *numbers), err_msg=str(numbers))


@pytest.mark.parametrize("what", [digits, jumps, calls], ids=lambda k: k.name)
def test_integers_and_jumps_as_in_numba(what):
    short, long = by_the_short_way(what), by_numba(what)
    for numbers in INTEGERS:
        assert_array_equal(integers(short, *numbers), integers(long, *numbers), err_msg=str(numbers))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_have_the_bits_of_numbas_way(dtype):
    x = np.random.default_rng(0).normal(size=999).astype(dtype) * 10
    x[::50], x[1::50] = np.nan, np.inf
    found, numbas = np.zeros_like(x), np.zeros_like(x)
    for address, y in ((by_the_short_way(floats, T=dtype), found), (by_numba(floats, T=dtype), numbas)):
        launch(address, 1, y.ctypes.data, x.ctypes.data, 0.7, 0.3, len(x))
    assert_array_equal(found, numbas)


def test_a_step_of_zero_makes_no_steps():
    assert integers(by_the_short_way(ranges), 2, 4, 0)[0] == 2 * 5 + 4  # only the first two loops ran


@kernel
def changing(y: T_ptr, n: i64, chunk: i64, nchunks: i64):
    for i in range(n):
        v = i
        v = v * 0.5
        y[i] = T(v)


def test_what_the_short_way_does_not_know_goes_through_numba():
    assert by_the_short_way(changing) is None
    y = np.zeros(4, np.float32)
    launch(changing.address(), 1, y.ctypes.data, 4)
    assert y.tolist() == [0, 0.5, 1, 1.5]


def test_a_function_whose_source_changed_is_not_read_again(tmp_path):
    path = tmp_path / "edited.py"
    text = "def double(x):\n    return x * {}\n"
    path.write_text(text.format(2))
    scope: dict = {}
    exec(compile(path.read_text(), str(path), "exec"), scope)
    assert tree_of(scope["double"]).name == "double"
    path.write_text(text.format(3))
    importlib.import_module("linecache").checkcache(str(path))
    with pytest.raises(Unsupported, match="the source has changed"):
        tree_of(scope["double"])
    with pytest.raises(Unsupported):
        tree_of(eval("lambda x: x"))


def every_kernel() -> dict[str, jit.Kernel]:
    folder = pathlib.Path(jit.__file__).parent / "cpu"
    found = {}
    for path in sorted(folder.glob("*.py")):
        for value in vars(importlib.import_module(f"numtorch.kernels.cpu.{path.stem}")).values():
            if isinstance(value, jit.Kernel):
                found[f"{path.stem}.{value.name}"] = value
    return found


@pytest.mark.parametrize("name", every_kernel())
def test_every_kernel_goes_the_short_way(name):
    what = every_kernel()[name]
    second = "float32" if name == "scan.logcumsumexp" else "int64"  # an accumulator or an index
    env = jit.complete({"T": "float32", "S": second})
    with compile_cpu.lean():
        assert compile_front.kernel_library(what, env, compile_cpu._Specialiser(env, what.fastmath).static)
