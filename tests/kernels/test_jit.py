"""The door to the compiler: specialisation, argument blocks, generated source, errors."""

from __future__ import annotations

import itertools
import linecache
import os
import subprocess
import sys

import numpy as np
import pytest
from harness import run
from hypothesis import given
from hypothesis import strategies as st

from numtorch.kernels import jit
from numtorch.kernels.binding import Placeholder
from numtorch.kernels.driver import launch
from numtorch.kernels.jit import (
    VL,
    S,
    S_ptr,
    T,
    T_ptr,
    device,
    f64,
    from_source,
    i32_ptr,
    i64,
    i64_ptr,
    kernel,
    real,
    u8_ptr,
)
from numtorch.kernels.memory import bitcast, copy, fma, offset, roundeven, select, split, stack

U = Placeholder("U")
U_ptr = jit.pointer(U)
FACTOR = 3


@device
def half(v):
    return v * T(0.5)


@device
def halved_plus(v, w):
    return half(v) + T(w)


@kernel
def affine(y: T_ptr, x: T_ptr, rows: i64, cols: i64, alpha: real, beta: f64, chunk: i64, nchunks: i64):
    lo, hi = split(rows, chunk, nchunks)
    for i in range(lo * cols, hi * cols):
        y[i] = halved_plus(x[i] * alpha, beta)


@kernel
def convert(y: S_ptr, x: T_ptr, n: i64, chunk: i64, nchunks: i64):
    for i in range(n):
        y[i] = S(x[i])


@kernel
def mixed(y: i64_ptr, a: i32_ptr, b: u8_ptr, c: U_ptr, n: i64, chunk: i64, nchunks: i64):
    for i in range(n):
        y[i] = a[i] * FACTOR + b[i] + U(c[i])


@kernel
def bits_and_stack(y: T_ptr, x: T_ptr, z: i32_ptr, n: i64, chunk: i64, nchunks: i64):
    room = stack(16, T)
    copy(room, x, n)
    for i in range(n):
        v = fma(room[i], T(2), T(0.25))
        y[i] = select(v > T(3), roundeven(v), v)
        z[i] = bitcast(np.float32(room[i]), np.int32)
    y = offset(y, n)
    y[0] = T(VL)


def python(code: str, **env: str) -> str:
    """Output of a fresh Python that runs `code`; fails with its errors."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("nchunks", [1, 2, 5])
def test_kernel_equals_its_plain_python(dtype, nchunks):
    x = np.linspace(-2, 2, 21, dtype=dtype).reshape(7, 3)
    for interpreted in (False, True):
        y = np.zeros_like(x)
        run(affine, y, x, 7, 3, 1.5, 0.125, nchunks=nchunks, interpreted=interpreted)
        np.testing.assert_allclose(y, x * 0.75 + 0.125, rtol=1e-6)


def test_second_dtype():
    x = np.array([1.75, -2.5, 300.0], np.float32)
    for interpreted in (False, True):
        y = np.zeros(3, np.int64)
        run(convert, y, x, 3, interpreted=interpreted)
        assert y.tolist() == [1, -2, 300]


def test_own_placeholder_and_constant_by_name():
    y, a = np.zeros(3, np.int64), np.arange(3, dtype=np.int32)
    b, c = np.array([True, False, True]), np.array([10, 20, 30], np.int16)
    run(mixed, y, a, b, c, 3)
    assert y.tolist() == [11, 23, 37]
    run(mixed, y, a, b, c, 3, FACTOR=100)
    assert y.tolist() == [11, 120, 231]
    run(mixed, y, a, b, c, 3, FACTOR=100, interpreted=True)
    assert y.tolist() == [11, 120, 231]


def test_memory_intrinsics_equal_their_plain_python():
    x = np.array([0.0, 1.0, 1.6, -3.25], np.float32)
    results = []
    for interpreted in (False, True):
        y, z = np.zeros(5, np.float32), np.zeros(4, np.int32)
        run(bits_and_stack, y, x, z, 4, interpreted=interpreted)
        results.append((y.tolist(), z.tolist()))
    assert results[0] == results[1]
    assert results[0][0][:4] == [0.25, 2.25, 3.0 if x[2] * 2 + 0.25 > 3 else 0, -6.25]
    assert results[0][1] == x.view(np.int32).tolist()
    assert results[0][0][4] in (4.0, 8.0, 16.0)


def test_interpreted_kernel_checks_bounds():
    y, x = np.zeros(2, np.float32), np.zeros(3, np.float32)
    with pytest.raises(IndexError, match="element 2 of a buffer, which has 2 elements"):
        run(convert, y, x, 3, S="float32", interpreted=True)


@given(st.integers(0, 10_000), st.integers(1, 70))
def test_split_is_contiguous_and_balanced(units, nchunks):
    parts = [split(units, chunk, nchunks) for chunk in range(nchunks)]
    sizes = [hi - lo for lo, hi in parts]
    assert parts[0][0] == 0
    assert parts[-1][1] == units
    assert all(a[1] == b[0] for a, b in itertools.pairwise(parts))
    assert max(sizes) - min(sizes) <= 1


def test_closures_are_specialised():
    def maker(shift):
        @kernel
        def shifted(y: T_ptr, n: i64, chunk: i64, nchunks: i64):
            for i in range(n):
                y[i] = half(T(shift))

        return shifted

    for shift in (3, 8):
        y = np.zeros(2, np.float64)
        run(maker(shift), y, 2)
        assert y.tolist() == [shift / 2] * 2


def test_address_is_stable_and_decorating_compiles_nothing():
    assert affine.address(T="float32") == affine.address() == affine.address("float32", None)
    assert affine.address(T="float64") != affine.address()
    assert affine.py.__name__ == affine.name == "affine"
    assert list(affine.params) == ["y", "x", "rows", "cols", "alpha", "beta", "chunk", "nchunks"]


def test_generated_source_is_a_real_file():
    text = (
        "from numtorch.kernels.jit import T, T_ptr, i64, kernel\n\n\n@kernel\n"
        "def ramp(y: T_ptr, n: i64, chunk: i64, nchunks: i64):\n    for i in range(n):\n        y[i] = T(i)\n"
    )
    ramp = from_source(text, "ramp")
    assert from_source(text, "ramp") is ramp
    y = np.zeros(4, np.float32)
    run(ramp, y, 4)
    assert y.tolist() == [0, 1, 2, 3]
    path = ramp.py.__code__.co_filename
    assert linecache.getlines(path) == text.splitlines(keepends=True)


def test_manual_example_runs():
    example = jit.__doc__.split("How to write and run a kernel:")[1].split("Rules.")[0]
    code = "\n".join(line[4:] for line in example.splitlines())
    scope = {"__name__": "example"}
    exec(compile(code, "<manual>", "exec"), scope)
    assert scope["y"].tolist() == [[2.5] * 4] * 3


def test_errors_say_what_to_do():
    with pytest.raises(TypeError, match="parameter 'n' needs an annotation"):

        @kernel
        def unannotated(y: T_ptr, n, chunk: i64, nchunks: i64): ...

    with pytest.raises(ValueError, match="fastmath flag nnan would break NaN"):

        @kernel(fastmath={"nnan"})
        def fast(chunk: i64, nchunks: i64): ...

    with pytest.raises(TypeError, match="unknown dtype 'floaty'"):
        affine.address(T="floaty")
    with pytest.raises(TypeError, match="without S="):
        convert.address(T="float32")

    @kernel
    def no_chunks(y: T_ptr, n: i64):
        y[0] = T(n)

    with pytest.raises(TypeError, match="last two parameters must be chunk and nchunks"):
        no_chunks.address()
    with pytest.raises(TypeError, match="only has a meaning inside a specialised kernel"):
        half.py(2.0)


def test_kernels_must_not_allocate_or_call_kernels():
    @kernel
    def allocates(y: T_ptr, n: i64, chunk: i64, nchunks: i64):
        scratch = np.empty(n, T)
        for i in range(n):
            scratch[n - 1 - i] = y[i]
        for i in range(n):
            y[i] = scratch[i]

    with pytest.raises(RuntimeError, match=r"kernel allocates calls .*NRT.*: kernels must not allocate"):
        allocates.address()

    @kernel
    def calls_kernel(y: T_ptr, n: i64, chunk: i64, nchunks: i64):
        allocates(y, n, chunk, nchunks)

    with pytest.raises(TypeError, match="cannot call kernel 'allocates'"):
        calls_kernel.address()


def test_import_of_the_door_does_not_import_numba():
    assert python(
        "import sys, numtorch.kernels.jit, numtorch.kernels.memory, numtorch.kernels.driver\n"
        "print('numba' in sys.modules)"
    ) == "False"  # fmt: skip


NARROW = """
import sys
sys.path.insert(0, {folder!r})
import numpy as np
from numtorch.kernels import compile_cpu, jit
from test_jit import affine, run
text = []
original = compile_cpu._object
def spy(library, symbol, name):
    made = original(library, symbol, name)
    text.append(library._codegen._tm.emit_assembly(library._final_module))
    return made
compile_cpu._object = spy
x = np.ones((64, 8), np.float32)
y = np.zeros_like(x)
run(affine, y, x, 64, 8, 2.0, 1.0)
assert (y == 2).all()
print(jit.complete({{"T": "float32"}})["VL"], any("xmm" in t for t in text), any("ymm" in t for t in text))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads x86 assembly")
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="NUMTORCH_SIMD knows x86 levels")
def test_narrower_cpu_is_really_compiled_for(tmp_path):
    code = NARROW.format(folder=os.path.dirname(__file__))
    assert python(code, NUMTORCH_SIMD="sse", NUMTORCH_CACHE_DIR=str(tmp_path)) == "4 True False"
    done = subprocess.run(
        [sys.executable, "-c", "from numtorch.kernels.target import target; target()"],
        env={**os.environ, "NUMTORCH_SIMD": "mmx"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "NUMTORCH_SIMD must be one of avx512, avx2, sse, got 'mmx'" in done.stderr


def test_launch_checks_its_arguments():
    address, y = affine.address(), np.zeros(4, np.float32)
    for bad, error, text in [
        ((address,), TypeError, "nchunks"),
        ((address, 1, "x"), TypeError, "word 0 must be a Python int or float, got str"),
        ((address, 1, 0, np.float32(1)), TypeError, "word 1 .* got float32"),
        ((address, 1, 1 << 63), OverflowError, "does not fit in 64 bits"),
        ((0, 1), ValueError, "needs a kernel address"),
        ((address, 4097), ValueError, "at most 4096 chunks"),
        ((address, 1.0), TypeError, "'nchunks' must be an int, got float"),
        ((1.0, 1), TypeError, "'address' must be an int, got float"),
        ((address, 1) + (0,) * 65, TypeError, "at most 64 words"),
    ]:
        with pytest.raises(error, match=text):
            launch(*bad)
    with pytest.raises(TypeError, match=r"launch\(\) got some positional-only arguments"):
        launch(address=address, nchunks=1)
    launch(address, 0, y.ctypes.data)
    assert (y == 0).all()


@kernel
def uses_numba_helpers(y: T_ptr, n: i64, chunk: i64, nchunks: i64):
    for i in range(n):
        y[i] = T(i % 3 + max(i, 2) + float(i) ** 2.0 + np.sign(np.floor(i * 0.5)))


def test_other_numba_code_in_the_process_is_not_disturbed():
    """Numba's own helpers that a kernel compiled first must still serve functions that the user compiles."""
    code = f"""
import sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
import numpy as np
from test_jit import uses_numba_helpers, run
import numba
before = numba.njit(lambda n: n + 1)
assert before(1) == 2
y = np.zeros(4, np.float64)
run(uses_numba_helpers, y, 4)
assert y.tolist() == [2, 4, 9, 13]
@numba.njit
def after(n):
    if n < 0:
        raise ValueError("negative")
    names = {{"a": n}}
    values = np.arange(n) ** 2.0
    mathematics = round(float(n) ** 2.0) + n**3 + np.sign(n) + n % 2 + max(n, 1)
    return mathematics + values.sum() + names["a"] + len(str(n)) + sorted([n, 1])[0]
assert after(3) == 9 + 27 + 1 + 1 + 3 + 5 + 3 + 1 + 1
assert before(2.5) == 3.5
try:
    after(-1)
except ValueError as error:
    print(error)
"""
    assert python(code, NUMTORCH_CACHE_DIR=os.devnull, PYTHONWARNINGS="ignore") == "negative"
