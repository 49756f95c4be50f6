"""Every kernel, every elementwise op and every gradient of one, in float32, compiled for GPUs that need not be there.

No exceptions: none spills, uses local memory, or computes in float64.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest
from compiling import check
from test_twins import cuda_kernels

import numtorch.nn.functional  # noqa: F401 - declares the terms of losses
from numtorch import ops
from numtorch.kernels import scalar
from numtorch.kernels.codegen import BodyError, Program, Step
from numtorch.kernels.cuda import elementwise
from numtorch.kernels.cuda.launch import bound, kernel
from numtorch.kernels.jit import T_ptr
from numtorch.ops.pointwise import Elementwise

pytestmark = pytest.mark.cuda_compile
PARTS = 24  # of the table of ops: a test each
# float64's sine, cosine and tangent are libdevice's, which keeps the digits of 2/pi for huge arguments in local memory.
WIDE_ON_STACK = {"sin", "cos", "tan", "digamma"}


@pytest.mark.parametrize("module, name", sorted(cuda_kernels()))
def test_every_kernel(module: str, name: str) -> None:
    what = cuda_kernels()[module, name]
    try:
        check(what, T="float32")
    except TypeError as error:  # it has a second dtype, such as that of sums
        assert "without S=" in str(error)
        check(what, T="float32", S="uint8" if name.startswith(("all_", "any_")) else "float32")


def elementwise_ops() -> Iterator[tuple[str, Elementwise]]:
    """Every elementwise op, and the components of its gradient that are kernels of their own."""
    for found in pkgutil.iter_modules(ops.__path__):
        importlib.import_module(f"{ops.__name__}.{found.name}")
    for name, op in sorted(ops.TABLE.items()):
        if isinstance(op, Elementwise):
            yield name, op
            for k in range(len(op.params) if op.grad_body is not None else 0):
                op.grad_uses(k)
                if isinstance(op._grads[k], Elementwise):
                    yield f"{name}, gradient {k}", op._grads[k]


def program_of(op: Elementwise) -> Program:
    """The program of an op on float32 tensors."""
    inputs = ["bool" if n == "condition" else "float32" for n in op.params]
    names, outs = tuple(f"x{k}" for k in range(len(inputs))), tuple(f"y{k}" for k in range(op.count))
    step = Step(op.body, op._full_args(names), outs, "float32", op.component)
    return Program(inputs, [], ["bool" if op.result == "bool" else "float32"] * op.count, [step])


@functools.cache
def programs() -> dict[Any, tuple[str, Program]]:
    """Distinct float32 programs of the table; ops of bits and integers have none."""
    found: dict[Any, tuple[str, Program]] = {}
    for name, op in elementwise_ops():
        program = program_of(op)
        try:
            assert program.written.lines
        except BodyError as error:
            assert "float" in str(error), name
            continue
        found.setdefault(program.key, (name, program))
    return found


@pytest.mark.parametrize("part", range(PARTS))
def test_every_op(part: int) -> None:
    wrong = []
    for name, program in list(programs().values())[part::PARTS]:
        try:
            check(elementwise.contiguous(program), **program.written.env)
        except AssertionError as error:
            wrong.append(f"{name}: {error}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "inputs, output",
    [
        (["float16", "float16"], "float16"), (["float16"], "int64"), (["float64"], "float16"),
        (["bfloat16", "bfloat16"], "bfloat16"), (["bfloat16"], "float16"), (["float64"], "bfloat16"),
    ],
)  # fmt: skip
def test_16_bits(inputs: list[str], output: str) -> None:
    """float16 and bfloat16 are read and written as their bits; a sum, and casts both ways."""
    op = ops.TABLE["add"] if len(inputs) == 2 else ops.TABLE["clone_values"]
    wide = inputs[0]
    step = Step(op.body, op._full_args(("x0", "x1")[: len(inputs)]), ("y0",), wide)
    program = Program(inputs, [], [output], [step])
    check(elementwise.contiguous(program), **program.written.env)


def test_the_table_was_seen() -> None:
    names = {name for name, _ in programs().values()}
    assert len(names) > 250 and {"add", "sin", "tanh, gradient 0", "lgamma"} <= names


@pytest.mark.parametrize("name", sorted(n for n in scalar.FUNCTIONS if not n.endswith("_int")))
def test_every_scalar_function(name: str) -> None:
    count = scalar.FUNCTIONS[name].py.__code__.co_argcount
    plain = bound((one_argument, two_arguments)[count - 1], f"calls_{name}", function=scalar.FUNCTIONS[name])
    plain.__annotations__ = dict.fromkeys(("y", "a", "b")[: count + 1], T_ptr)
    made = kernel(grid=lambda: 1, threads=32)(plain)
    check(made, T="float32")
    check(made, allowed=("uses",) if name in WIDE_ON_STACK else (), T="float64")


def one_argument(y, a):
    y[0] = function(a[0])  # noqa: F821 - bound by the test


def two_arguments(y, a, b):
    y[0] = function(a[0], b[0])  # noqa: F821 - bound by the test
