"""One elementwise program on many tensors in one launch: what optimizers do to all parameters at once.

    block    0 | 1 | 2 | 3 | 4 | 5 | ...      a block finds its tensor by its number: those of tensor k begin at first_k
    tensor   0   0   0   1   2   2

The operands of up to GROUP tensors are parameters of the launch, so that nothing is uploaded and a graph can change them;
a block comes to its tensor's by halving. An operand is as long as its tensor, or a number in memory that all its elements
read (a `cell`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

from ..geometry import walk_of
from .elementwise import MOST, THREADS, Same, call_of, module
from .launch import CudaKernel

GROUP = 32  # tensors of a launch, where their operands have room
EACH = 8  # elements of a thread
PARAMETERS = 3840  # bytes of the parameters of a launch, of 4096, which leaves room for the program's numbers
NEVER = 1 << 62  # where the blocks of tensors that are not there begin


def cells_of(program: Any, shape: tuple[int, ...], strides: tuple[tuple[int, ...], ...]) -> tuple[bool, ...] | None:
    """Which operands (outputs, then inputs) of a call are cells; None where the call is of another kind."""
    if program.uses_index or 0 in shape or math.prod(shape) > MOST:
        return None
    walk = walk_of(shape, strides)
    if len(walk.sizes) > 1 or any(step not in (0, 1) for step in walk.steps[0]):
        return None
    return tuple([step == 0 and walk.sizes[0] > 1 for step in walk.steps[0]])


def room(operands: int) -> int:
    """How many tensors a launch takes that have so many operands each."""
    return min(GROUP, PARAMETERS // (8 * (operands + 2)))


def grouped(program: Any, cells: tuple[bool, ...]) -> CudaKernel:
    """The kernel of a program for up to room(operands) tensors.

    Words: the pointers of each tensor (outputs, then inputs), n and first block of each, blocks, then the numbers.
    """
    return _grouped(program.key, Same(program), cells)


def words(tensors: Sequence[Sequence[Any]], sizes: Sequence[int]) -> list[Any]:
    """The words of a launch but the program's numbers: `tensors` holds the pointers of each, `sizes` their elements."""
    missing = room(len(tensors[0])) - len(tensors)
    found = [w for pointers in tensors for w in pointers] + [0] * (missing * len(tensors[0]))
    first = 0
    for n in sizes:
        found += [n, first]
        first += -(-n // (EACH * THREADS))
    return [*found, *[0, NEVER] * missing, first]


@cache
def _grouped(key: tuple, same: Same, cells: tuple[bool, ...]) -> CudaKernel:
    program = same.program
    operands = [(f"out{k}", d) for k, d in enumerate(program.outputs)]
    operands += [(f"in{k}", d) for k, d in enumerate(program.inputs)]
    names = [name for name, _ in operands]
    count = room(len(operands))
    params = [f"{name}_{t}: {d}_ptr" for t in range(count) for name, d in operands]
    params += [f"{w}_{t}: i64" for t in range(count) for w in ("n", "first")] + ["blocks: i64"]
    body = ["b = int64(block())", *_choice([*names, "n", "first"], 0, count)]
    at = {name: "0" if cell else "i" for name, cell in zip(names, cells)}
    results = ", ".join(f"out{k}[{at[f'out{k}']}]" for k in range(len(program.outputs)))
    # call_of's pattern knows the operand's number alone; which of them are cells is put in afterwards.
    call = call_of(program, "in{k}[at{k}]", "0")
    for k in reversed(range(len(program.inputs))):
        call = call.replace(f"in{k}[at{k}]", f"in{k}[{at[f'in{k}']}]")
    body += [f"i = (b - first) * int64({EACH * THREADS}) + int64(thread())", f"for _ in range({EACH}):"]
    body += ["    if i < n:", f"        {results} = {call}", f"    i += int64({THREADS})"]
    cell_marks = "".join("c" if c else "v" for c in cells)
    return module(program, f"_grouped_{cell_marks}", params, "lambda blocks: blocks", body)


def _choice(names: Sequence[str], first: int, count: int) -> list[str]:
    """Lines that give each name its value for the tensor of block b, one of `count` from `first` on."""
    if count == 1:
        return [f"{', '.join(names)} = {', '.join(f'{name}_{first}' for name in names)}"]
    half = count // 2
    low, high = _choice(names, first, half), _choice(names, first + half, count - half)
    indented = [[f"    {line}" for line in lines] for lines in (low, high)]
    return [f"if b < first_{first + half}:", *indented[0], "else:", *indented[1]]
