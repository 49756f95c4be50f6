"""Whole numbers as GPUs like them (32 bits), and which tile of which product a block makes.

Blocks that run at the same time should read the same rows and columns, which then come from the cache of the GPU: they
are numbered down bands of BAND tiles, band after band, matrix after matrix.

    0 3 6   tiles of a product with BAND = 3; the next band begins below
    1 4 7
    2 5 8
    9 ..
"""

from numpy import int32, int64, uint32, uint64

from ..jit import device
from ..loops import quotient
from ..memory import offset
from .gpu import block

BAND = 8


@device
def plus(a, b):
    """a + b in int32."""
    return int32(int32(a) + int32(b))


@device
def minus(a, b):
    """a - b in int32."""
    return int32(int32(a) - int32(b))


@device
def times(a, b):
    """a * b in int32."""
    return int32(int32(a) * int32(b))


@device
def over(a, b):
    """a // b in int32, for 0 <= a and 0 < b: a division of 32 bits."""
    return int32(quotient(int64(uint32(a)), int64(uint32(b))))


@device
def divide(i, multiplier, shift):
    """i // d for 0 <= i < 2**31, and the d of elementwise.divisor."""
    high = uint32((uint64(uint32(i)) * uint64(multiplier)) >> uint64(32))
    return int32(uint32(uint32(high + uint32(i)) >> uint32(shift)))


@device
def within(v, size):
    """0 <= v < size, for int32."""
    return uint32(v) < uint32(size)


@device
def tile_of_block(rows, columns, height, width):
    """(first row, first column, number of the matrix) of this block's tile of matrices with `rows` and `columns`."""
    down, across = over(plus(rows, height - 1), height), over(plus(columns, width - 1), width)
    matrix = over(block(), times(down, across))
    number = minus(block(), times(matrix, times(down, across)))
    band = over(number, times(across, BAND))
    number = minus(number, times(band, times(across, BAND)))
    first = times(band, BAND)
    tall = int32(min(minus(down, first), int32(BAND)))
    column = over(number, tall)
    row = plus(first, minus(number, times(column, tall)))
    return times(row, height), times(column, width), matrix


@device
def operand_of(p, matrix, inner, outer_step, inner_step):
    """`p` at matrix number `matrix` of a batch of two levels."""
    outside = quotient(int64(matrix), inner)
    return offset(p, outside * outer_step + (int64(matrix) - outside * inner) * inner_step)
