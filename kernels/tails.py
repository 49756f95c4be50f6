"""Tails: elementwise work that a product or convolution has done on each piece of its result, while its core's cache holds it.

    tile, tile, ... of C   --run_tail-->   a fused elementwise kernel of those rows and columns   -->   next piece

The kernel is one of codegen.py's, of the layout "rows": compiled once for a chain of ops, whatever product it follows. A tail
is a list of words in memory, whose address the product gets as its last argument, 0 without:

    kernel, number of operands P, number of scalars S, inner, flat (columns of whole rows that follow each other in every
    operand, 0 if they don't)
    for each operand, outputs first: address, its steps (bytes) between outer and inner matrices, rows and columns, and between
    rows in elements
    scalars
"""

from __future__ import annotations

from collections.abc import Sequence

from numpy import int64

from .apart import apart
from .jit import device
from .loops import quotient
from .memory import address_of, call_kernel, ldi, stack, sti

KERNEL, OPERANDS, SCALARS, INNER, FLAT, PARTS = range(6)
PART = 6  # words of an operand
MOST_WORDS = 40  # operands and scalars
PIECE = 65536  # elements of a piece at most, if its rows are not too short then: what a product has just written is in L2
WIDE = 256  # columns of a piece at least: each row costs a call, in which a long polynomial loads its constants


@device(inline=False)
def run_tail(tail, t, i, rows, j, cols):
    """The tail of rows i.. and columns j.. of matrix t of the result."""
    apart()
    block = address_of(stack(128, int64))
    operands, scalars = ldi(tail, OPERANDS), ldi(tail, SCALARS)
    outer = quotient(t, ldi(tail, INNER))
    inner = t - outer * ldi(tail, INNER)
    for k in range(operands):
        part = tail + 8 * (PARTS + PART * k)
        shift = outer * ldi(part, 1) + inner * ldi(part, 2) + i * ldi(part, 3) + j * ldi(part, 4)
        sti(block, k, ldi(part, 0) + shift)
        sti(block, operands + 2 + k, ldi(part, 5))
    joined = cols == ldi(tail, FLAT)
    sti(block, operands, 1 if joined else rows)
    sti(block, operands + 1, rows * cols if joined else cols)
    for k in range(scalars):
        sti(block, 2 * operands + 2 + k, ldi(tail, PARTS + PART * operands + k))
    call_kernel(ldi(tail, KERNEL), block, 0, 1)


@device
def tail_of_band(tail, n, images, m, count, width, first, y, high, x, wide):
    """The tail of some channels of some images: `high` rows of `width` pixels from `y`, of them `wide` from `x`, of the plane
    of pixels that starts at `first`. A matrix is an image, its rows are channels. Nothing to do without a tail."""
    for i in range(images if tail != 0 else 0):
        if wide == width:
            run_tail(tail, n + i, m, count, first + y * width, high * width)
        else:
            for r in range(high):
                run_tail(tail, n + i, m, count, first + (y + r) * width + x, wide)


def words(
    kernel: int, addresses: Sequence, steps: Sequence[tuple[int, ...]], sizes: Sequence[int], inner: int, flat: int,
    scalars: Sequence,
) -> list:  # fmt: skip
    """The words of a tail. `steps`: of each operand between outer and inner matrices, rows and columns, in elements of
    `sizes` bytes.

    Example:
        >>> from numtorch.kernels.tails import words
        >>> words(1000, [64], [(0, 0, 16, 1)], [4], 1, 16, [2.0])
        [1000, 1, 1, 1, 16, 64, 0, 0, 64, 4, 16, 2.0]
    """
    found = [kernel, len(addresses), len(scalars), inner, flat]
    for address, (outer, within, row, column), size in zip(addresses, steps, sizes):
        found += [address, outer * size, within * size, row * size, column * size, row]
    return [*found, *scalars]
