"""Elementwise kernels over any strides: one walker for all programs.

A generated kernel (codegen.py) only knows contiguous memory. For other layouts the walker goes through the
operands tile by tile; it copies the tiles of operands that are strided or broadcast into stack buffers, calls
the contiguous kernel on each tile, and copies strided outputs back. So a program compiles one kernel,
whatever the layouts that it meets.

    a tile:   in0 (unbroken)     ───────────────────┐
              in1 (step 0 or s)  ── move ── buffer ─┤ contiguous kernel ┌─ out0 (unbroken)
              in2 (transposed)   ── move ── buffer ─┘                   └─ buffer ── move ── out1 (step s)

The block of a strided call holds the pointers (outputs, inputs), the address of the walk's table, and the
scalars.
"""

from __future__ import annotations

import types
from functools import cache

import numpy as np

from ..geometry import ROOM
from ..jit import device, load_native
from ..loops import independent, quotient, transpose_block
from ..memory import address_of, call, call_kernel, ldi, offset, pointer, split, stack, sti

MOST = 32  # operands of one program
ROOMS = ROOM + 64 * MOST  # words of all buffers

# Words of the table. At PARTS follow, per operand, its mover, item size, column step, row step and the place
# of its buffer, then the same for the index (only its steps count); then for each outer dimension its size
# and the steps of operands and index.
WALKER, KERNEL, OUTPUTS, OPERANDS, EXTRA, SCALARS, COLUMNS, ROWS, WIDE, TALL, OUTER, PARTS = range(12)
PART = 40  # bytes


def walk(args, table, chunk, nchunks):
    """All tiles of one chunk. KERNEL is 0 for a plain copy; EXTRA counts the words that the kernel takes
    between its
    pointers and scalars (n; and the first index, the index step)."""
    operands, extra = ldi(table, OPERANDS), ldi(table, EXTRA)
    block = address_of(stack(96, np.int64))
    here = address_of(stack(40, np.int64))
    seen = address_of(stack(80, np.int64))
    room = address_of(stack(ROOMS, np.int64))
    for j in range(ldi(table, SCALARS)):
        sti(block, operands + extra + j, ldi(args, operands + 1 + j))
    for k in range(operands):
        sti(seen, 2 * k, 0)
    dims = table + 8 * PARTS + PART * (operands + 1)
    across = quotient(ldi(table, COLUMNS) + ldi(table, WIDE) - 1, ldi(table, WIDE))
    down = quotient(ldi(table, ROWS) + ldi(table, TALL) - 1, ldi(table, TALL))
    lo, hi = split(across * down * outer_size(table, dims, operands), chunk, nchunks)
    for tile in range(lo, hi):
        rest = quotient(tile, across)
        outer = quotient(rest, down)
        column, row = (tile - rest * across) * ldi(table, WIDE), (rest - outer * down) * ldi(table, TALL)
        width = smaller(ldi(table, WIDE), ldi(table, COLUMNS) - column)
        height = smaller(ldi(table, TALL), ldi(table, ROWS) - row)
        locate(here, table, dims, operands, column, row, outer)
        if ldi(table, KERNEL) == 0:
            copy_tile(args, table, here, width, height)
            continue
        fetch(args, table, here, block, seen, room, operands, width, height)
        sti(block, operands, width * height)
        if extra > 1:
            sti(block, operands + 1, ldi(here, operands))
            sti(block, operands + 2, ldi(table + 8 * PARTS + PART * operands, 2))
        call_kernel(ldi(table, KERNEL), block, 0, 1)
        deliver(table, here, block, width, height)
    return 0


@device
def smaller(a, b):
    """min(a, b), which numba's own would make able to raise in a function without an entry of its own."""
    if a < b:
        return a
    return b


@device
def outer_size(table, dims, operands):
    """The number of steps of all outer dimensions together."""
    count = 1
    for d in range(ldi(table, OUTER)):
        count *= ldi(dims, d * (operands + 2))
    return count


@device
def locate(here, table, dims, operands, column, row, outer):
    """Write to `here` the offset, in elements, at which each operand's (and the index's) tile starts."""
    for k in range(operands + 1):
        part = table + 8 * PARTS + PART * k
        sti(here, k, column * ldi(part, 2) + row * ldi(part, 3))
    dim = dims
    for _ in range(ldi(table, OUTER)):
        above = quotient(outer, ldi(dim, 0))
        at = outer - above * ldi(dim, 0)
        outer = above
        for k in range(operands + 1):
            sti(here, k, ldi(here, k) + at * ldi(dim, 1 + k))
        dim += 8 * (operands + 2)


@device
def unbroken(part, width, height):
    """Whether an operand's tile is one run of memory."""
    return ldi(part, 2) == 1 and (height == 1 or ldi(part, 3) == width)


@device
def fetch(args, table, here, block, seen, room, operands, width, height):
    """Give the kernel its pointers: to operands whose tile is one run, else to a buffer with a copy of the
    tile.

    `here` becomes the tile's addresses. A tile that its buffer already holds (a broadcast one) is not copied
    again.
    """
    for k in range(operands):
        part = table + 8 * PARTS + PART * k
        place = ldi(args, k) + ldi(here, k) * ldi(part, 1)
        sti(here, k, place)
        sti(block, k, place)
        if not unbroken(part, width, height):
            buffer = room + 8 * ldi(part, 4)
            sti(block, k, buffer)
            size = (height << 32) + width
            if k >= ldi(table, OUTPUTS) and (ldi(seen, 2 * k) != place or ldi(seen, 2 * k + 1) != size):
                sti(seen, 2 * k, place)
                sti(seen, 2 * k + 1, size)
                call(ldi(part, 0), buffer, place, height, width, width, 1, ldi(part, 3), ldi(part, 2))


@device
def deliver(table, here, block, width, height):
    """Copy the outputs that were written to buffers to their places."""
    for k in range(ldi(table, OUTPUTS)):
        part = table + 8 * PARTS + PART * k
        if not unbroken(part, width, height):
            call(
                ldi(part, 0), ldi(here, k), ldi(block, k), height, width, ldi(part, 3), ldi(part, 2), width, 1
            )


@device
def copy_tile(args, table, here, width, height):
    """Operand 1's tile to operand 0, without a buffer."""
    p, q = table + 8 * PARTS, table + 8 * PARTS + PART
    target = ldi(args, 0) + ldi(here, 0) * ldi(p, 1)
    source = ldi(args, 1) + ldi(here, 1) * ldi(q, 1)
    call(ldi(p, 0), target, source, height, width, ldi(p, 3), ldi(p, 2), ldi(q, 3), ldi(q, 2))


# ---- movers: rows x columns elements between two strided places
# ------------------------------------------------------------------------------------------------------------


@device
def copy_rows(p, q, rows, columns, p_row, q_row):
    """Both along their memory."""
    for r in range(rows):
        for c in range(columns):
            p[r * p_row + c] = q[r * q_row + c]
    independent()


@device
def fill_rows(p, q, rows, columns, p_row, q_row):
    """Each row with one element of the source."""
    for r in range(rows):
        value = q[r * q_row]
        for c in range(columns):
            p[r * p_row + c] = value
    independent()


@device
def transpose(p, q, rows, columns, p_row, q_column, side):
    """p[r * p_row + c] = q[c * q_column + r], in squares that pass through registers, then the edges."""
    whole_rows, whole_columns = rows - rows % side, columns - columns % side
    for c in range(0, whole_columns, side):
        for r in range(0, whole_rows, side):
            transpose_block(offset(p, r * p_row + c), p_row, offset(q, c * q_column + r), q_column)
    for c in range(columns):
        for r in range(whole_rows if c < whole_columns else 0, rows):
            p[r * p_row + c] = q[c * q_column + r]


@device
def copy_steps(p, q, rows, columns, p_row, p_step, q_row, q_step):
    """Any steps."""
    for r in range(rows):
        for c in range(columns):
            p[r * p_row + c * p_step] = q[r * q_row + c * q_step]


def _mover(dtype: type, side: int) -> types.FunctionType:
    """The mover of elements as wide as `dtype`, transposing in squares of `side`."""

    def move(target, source, rows, columns, target_row, target_step, source_row, source_step):
        p, q = pointer(target, dtype), pointer(source, dtype)
        if target_step == 1 and source_step == 1:
            copy_rows(p, q, rows, columns, target_row, source_row)
        elif target_step == 1 and source_step == 0:
            fill_rows(p, q, rows, columns, target_row, source_row)
        elif target_step == 1 and source_row == 1:
            transpose(p, q, rows, columns, target_row, source_step, side)
        elif target_row == 1 and source_step == 1:
            transpose(p, q, columns, rows, target_step, source_row, side)
        else:
            copy_steps(p, q, rows, columns, target_row, target_step, source_row, source_step)
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
    return load_native(_mover(_WORD[itemsize], 4 if itemsize == 8 else 8))


@cache
def entry(operands: int) -> int:
    """Address to launch for a strided program with this many operands. Raises ValueError for more than it can
    hold."""
    if operands > MOST:
        raise ValueError(
            f"an elementwise program has at most {MOST} inputs and outputs, got {operands}; split it."
        )
    return load_native(_door(operands))


def head(kernel: int, outputs: int, operands: int, uses_index: bool, scalars: int) -> tuple[int, ...]:
    """The table's words before the geometry; `kernel`: address of the program's contiguous kernel, 0 to
    copy."""
    return (walker(), kernel, outputs, operands, 3 if uses_index else 1, scalars)
