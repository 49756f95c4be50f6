"""Fused elementwise programs on CUDA: every layout against the CPU's kernel, every scalar function, exact fusion."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from compiling import check
from simulator import run
from twins import check_close, empty, randoms

from numtorch.kernels import scalar
from numtorch.kernels.codegen import Program, Step
from numtorch.kernels.cuda import elementwise
from numtorch.kernels.cuda.scalar import LIBDEVICE, OWN
from numtorch.kernels.interpret import Pointer

pytestmark = pytest.mark.simulator


def gelu(x):
    return 0.5 * x * (1.0 + math.tanh(0.7978845608 * (x + 0.044715 * x * x * x)))


def scaled_add(x, y, alpha):
    return x + alpha * y


def greater(x, y):
    return x > y


def choose(c, a, b):
    return a if c else b


def numbered(index, step):
    return index * step


def collatz(x):
    count = 0
    while x > 1.5:
        x = x / 2.0
        count = count + 1
    return x + count


GELU_AND_FLAG = Program(
    ["float32", "float32"], [("alpha", "real")], ["float32", "bool"],
    [
        Step(scaled_add, ("x0", "x1", "alpha"), ("t",), "float32"), Step(gelu, ("t",), ("y0",), "float32"),
        Step(greater, ("x0", "x1"), ("y1",), "float32"),
    ],
)  # fmt: skip


def launch(program: Program, shape: tuple[int, ...], operands: list[Any], *numbers: float) -> None:
    """Run a program on arrays given as (flat memory, start, strides), outputs first."""
    for call in elementwise.plan(program, shape, tuple(strides for _, _, strides in operands)):
        places = [Pointer(memory, start + s) for (memory, start, _), s in zip(operands, call.starts)]
        run(call.kernel, *places, *call.words, *numbers, **program.written.env)


def whole(array: np.ndarray) -> tuple[np.ndarray, int, tuple[int, ...]]:
    """An operand that is all of a contiguous array."""
    return array.reshape(-1), 0, tuple(s // array.itemsize for s in array.strides)


def wanted(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    t = x.astype("f8") + 0.5 * y
    return (0.5 * t * (1 + np.tanh(0.7978845608 * (t + 0.044715 * t**3)))).astype("f4"), x > y


@pytest.mark.parametrize("n", [1, 3, 2048, 4099])
@pytest.mark.parametrize("start", [0, 1])
def test_contiguous(n: int, start: int) -> None:
    x, y = randoms(0, n + 4), randoms(1, n)
    out, flag = empty(n), np.zeros(n, bool)
    operands = [whole(out), whole(flag), (x, start, (1,)), whole(y)]
    launch(GELU_AND_FLAG, (n,), operands, 0.5)
    value, is_greater = wanted(x[start : start + n], y)
    check_close("gelu", out, value)
    assert (flag == is_greater).all()


def test_strides() -> None:
    x, y = randoms(0, 7, 5, 3), randoms(1, 5, 1)
    out, flag = empty(7, 5, 3), np.zeros((7, 5, 3), bool)
    launch(GELU_AND_FLAG, (7, 5, 3), [whole(out), whole(flag), whole(x), (y.reshape(-1), 0, (0, 1, 0))], 0.5)
    value, is_greater = wanted(x, np.broadcast_to(y, x.shape))
    check_close("broadcast", out, value)
    assert (flag == is_greater).all()
    turned = empty(3, 5, 7)
    operands = [(turned.reshape(-1), 0, (1, 7, 35)), whole(flag), whole(x), whole(x)]
    launch(GELU_AND_FLAG, (7, 5, 3), operands, 0.5)
    check_close("transposed output", turned.transpose(2, 1, 0), wanted(x, x)[0])
    launch(
        GELU_AND_FLAG,
        (0, 3),
        [whole(empty(0, 3)), whole(np.zeros((0, 3), bool)), *[whole(empty(0, 3))] * 2],
        0.5,
    )


def test_in_place() -> None:
    program = Program(["float32"], [], ["float32"], [Step(gelu, ("x0",), ("y0",), "float32")])
    x = randoms(0, 4100)
    value = wanted(x, 0 * x)[0]
    launch(program, (4100,), [whole(x), whole(x)])
    check_close("in place", x, value)


@pytest.mark.parametrize("shape, strides", [((3000,), ((1,),)), ((6, 5), ((1, 6),))])
def test_the_index(shape: tuple[int, ...], strides: tuple[tuple[int, ...], ...]) -> None:
    program = Program([], [("step", "i64")], ["int64"], [Step(numbered, ("index", "step"), ("y0",), "int64")])
    out = empty(math.prod(shape), dtype="int64")
    launch(program, shape, [(out, 0, strides[0])], 3)
    numbers = np.arange(math.prod(shape)).reshape(shape) * 3
    found = np.lib.stride_tricks.as_strided(out, shape, [s * 8 for s in strides[0]])
    np.testing.assert_array_equal(found, numbers)


@pytest.mark.parametrize(
    "dtypes", [("bool", "float64", "float64"), ("bool", "int16", "int16"), ("uint8", "int64", "float32")]
)
def test_dtypes(dtypes: tuple[str, str, str]) -> None:
    condition, a, b = (np.round(randoms(k, 70) * 3).astype(d) for k, d in enumerate(dtypes))
    kind = "float32" if "float32" in dtypes else dtypes[1]
    program = Program(dtypes, [], [kind], [Step(choose, ("x0", "x1", "x2"), ("y0",), kind)])
    out = empty(70, dtype=kind)
    launch(program, (70,), [whole(v) for v in (out, condition, a, b)])
    np.testing.assert_array_equal(out, np.where(condition, a, b).astype(kind))


def test_bodies_with_loops() -> None:
    program = Program(["float32"], [], ["float32"], [Step(collatz, ("x0",), ("y0",), "float32")])
    x, out = np.array([1, 2, 8, 5], np.float32), empty(4)
    launch(program, (4,), [whole(out), whole(x)])
    assert out.tolist() == [1.0, 2.0, 4.0, 3.25]


def test_many_elements_are_dealt_to_several_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elementwise, "MOST", 20)
    x, y = randoms(0, 7, 5, 3), randoms(1, 5, 3)
    out, flag = empty(7, 5, 3), np.zeros((7, 5, 3), bool)
    operands = [whole(out), whole(flag), whole(x), (y.reshape(-1), 0, (0, 3, 1))]
    calls = elementwise.plan(GELU_AND_FLAG, (7, 5, 3), tuple(o[2] for o in operands))
    assert len(calls) == 7
    launch(GELU_AND_FLAG, (7, 5, 3), operands, 0.5)
    check_close("slabs", out, wanted(x, np.broadcast_to(y, x.shape))[0])


@pytest.mark.parametrize("d", [1, 2, 3, 7, 10, 64, 641, 65537, 2**31 - 1])
def test_division_by_multiplication(d: int) -> None:
    multiplier, shift = elementwise.divisor(d)
    assert multiplier < 1 << 32
    for i in (0, 1, d - 1, d, d + 1, 12345678, 2**31 - 1, (2**31 - 1) // d * d, (2**31 - 1) // d * d - 1):
        if 0 <= i < 2**31:
            high = (i * multiplier) >> 32
            assert high + i < 1 << 32 and (high + i) >> shift == i // d


@pytest.mark.cuda_compile
@pytest.mark.parametrize("T", ["float32", "float64"])
def test_code(T: str) -> None:
    for kernel in (elementwise.contiguous(GELU_AND_FLAG), elementwise.strided(GELU_AND_FLAG, 3)):
        check(kernel, **({"T": "float32"} if T == "float32" else GELU_AND_FLAG.written.env))
    square = Program([T], [], [T], [Step(gelu, ("x0",), ("y0",), T)])
    check(elementwise.contiguous(square), **square.written.env)


def test_replaced_functions_exist_on_the_cpu() -> None:
    own = LIBDEVICE | OWN.keys()
    assert own <= set(scalar.FUNCTIONS), sorted(own - set(scalar.FUNCTIONS))
