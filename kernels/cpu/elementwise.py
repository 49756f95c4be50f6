"""Elementwise kernels over any strides: one walker for all programs.

A generated kernel (codegen.py) only knows contiguous memory. For other layouts the walker goes through the operands tile
by tile; it copies the tiles of operands that are strided or broadcast into stack buffers, calls the contiguous kernel on
each tile, and copies strided outputs back. So a program compiles one kernel, whatever the layouts that it meets.

                     in0  (step 1)      ────────────────────┐
    tile of  512     in1  (step 0 or s) ── move ── buffer ──┤ contiguous kernel ┌──────────── out0 (step 1)
                     in2  (transposed)  ── move ── buffer ──┘                   └─ buffer ─ move ─ out1 (step s)

The block of a strided call holds the pointers (outputs, inputs), the address of the walk's table, and the scalars.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import cache

import numpy as np

from ..jit import load_native
from ..loops import independent, quotient
from ..memory import address_of, call, call_kernel, ldi, pointer, split, stack, sti

MOST = 32  # operands of one program
ROOM = 536  # words of one operand's buffer: 512, and some so that buffers do not fall on the same cache sets
ROOMS = MOST * ROOM
HEAD = 11  # words of the table before the operands' parts (see `walk`)


def walk(args, table, chunk, nchunks):
    """All tiles of one chunk.

    `table`: 0 this function, 1 the contiguous kernel, 2 outputs, 3 operands, 4 words behind the pointers that the kernel
    takes besides its scalars (1: n; 3: n, first index, index step), 5 scalars, 6 columns, 7 rows, 8 tile width, 9 tile
    height, 10 outer dimensions; then per operand its mover, its item size, its column step, its row step; the same steps
    of the index; then for each outer dimension its size and the steps (of the operands, of the index).
    """
    outputs, operands, extra = ldi(table, 2), ldi(table, 3), ldi(table, 4)
    columns, rows, wide, tall = ldi(table, 6), ldi(table, 7), ldi(table, 8), ldi(table, 9)
    block = address_of(stack(96, np.int64))
    here = address_of(stack(64, np.int64))
    room = address_of(stack(ROOMS, np.int64))
    for j in range(ldi(table, 5)):
        sti(block, operands + extra + j, ldi(args, operands + 1 + j))
    across = quotient(columns + wide - 1, wide)
    down = quotient(rows + tall - 1, tall)
    count = across * down
    dims = table + 8 * (11 + 4 * (operands + 1))
    for d in range(ldi(table, 10)):
        count *= ldi(dims, d * (operands + 2))
    lo, hi = split(count, chunk, nchunks)
    for tile in range(lo, hi):
        rest = quotient(tile, across)
        column = (tile - rest * across) * wide
        outer = quotient(rest, down)
        row = (rest - outer * down) * tall
        width, height = columns - column, rows - row
        width = wide if wide < width else width  # min() would bring exceptions into a native function
        height = tall if tall < height else height
        for k in range(operands + 1):
            part = table + 8 * (11 + 4 * k)
            sti(here, k, column * ldi(part, 2) + row * ldi(part, 3))
        dim = dims
        for _ in range(ldi(table, 10)):
            above = quotient(outer, ldi(dim, 0))
            at = outer - above * ldi(dim, 0)
            outer = above
            for k in range(operands + 1):
                sti(here, k, ldi(here, k) + at * ldi(dim, 1 + k))
            dim += 8 * (operands + 2)
        for k in range(operands):
            part = table + 8 * (11 + 4 * k)
            size, step, row_step = ldi(part, 1), ldi(part, 2), ldi(part, 3)
            place = ldi(args, k) + ldi(here, k) * size
            sti(here, k, place)
            sti(block, k, place)
            if height > 1 or step != 1:
                buffer = room + 8 * 536 * k
                sti(block, k, buffer)
                if k >= outputs:
                    call(ldi(part, 0), buffer, place, height, width, width, 1, row_step, step)
        sti(block, operands, width * height)
        if extra > 1:
            sti(block, operands + 1, ldi(here, operands))
            sti(block, operands + 2, ldi(table, 11 + 4 * operands + 2))
        call_kernel(ldi(table, 1), block, 0, 1)
        for k in range(outputs):
            part = table + 8 * (11 + 4 * k)
            step, row_step = ldi(part, 2), ldi(part, 3)
            if height > 1 or step != 1:
                call(ldi(part, 0), ldi(here, k), room + 8 * 536 * k, height, width, row_step, step, width, 1)
    return 0


def _mover(dtype: type) -> types.FunctionType:
    """The function that copies `rows` x `columns` elements as wide as `dtype` between two strided places."""

    def move(target, source, rows, columns, target_row, target_step, source_row, source_step):
        p, q = pointer(target, dtype), pointer(source, dtype)
        if target_step == 1 and source_step == 1:
            for r in range(rows):
                for c in range(columns):
                    p[r * target_row + c] = q[r * source_row + c]
        elif source_row == 1 or target_row == 1:  # transposed: the inner loop runs along memory
            for c in range(columns):
                for r in range(rows):
                    p[r * target_row + c * target_step] = q[r * source_row + c * source_step]
        else:
            for r in range(rows):
                for c in range(columns):
                    p[r * target_row + c * target_step] = q[r * source_row + c * source_step]
        independent()
        return 0

    return move


def _door(operands: int) -> types.FunctionType:
    """The entry of strided kernels with this many operands: it finds the table, which names the walker."""

    def strided(args, chunk, nchunks):
        table = ldi(args, operands)
        return call(ldi(table, 0), args, table, chunk, nchunks)

    return strided


_WORD: dict[int, type] = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


@cache
def walker() -> int:
    """Address of `walk`."""
    return load_native(walk)


@cache
def mover(itemsize: int) -> int:
    """Address of the mover for elements of 1, 2, 4 or 8 bytes."""
    return load_native(_mover(_WORD[itemsize]))


@cache
def entry(operands: int) -> int:
    """Address to launch for a strided program with this many operands. Raises ValueError for more than it can hold."""
    if operands > MOST:
        raise ValueError(
            f"an elementwise program has at most {MOST} inputs and outputs, got {operands}; split it."
        )
    return load_native(_door(operands))


def head(
    kernel: Callable[[], int], outputs: int, operands: int, uses_index: bool, scalars: int
) -> tuple[int, ...]:
    """The table's words before the geometry, for a program whose contiguous kernel has the address `kernel()`."""
    return (walker(), kernel(), outputs, operands, 3 if uses_index else 1, scalars)
