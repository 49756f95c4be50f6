"""The tile of a matrix product: what matmul.py and conv.py have in common.

A block of 256 threads makes HEIGHT x WIDTH sums over k. Both operands pass through shared memory in pieces of
DEPTH k, in two buffers, so that the next piece is fetched while this one is used:

    gather(k + DEPTH) -> registers     product(k): a thread adds the outer products of the SIDE rows and SIDE
    put -> the other buffer, barrier   columns it reads, to the SIDE x SIDE sums in its registers

A thread fetches four elements of each operand a piece. `along` says how: 1, lanes run along k (for an operand
that is contiguous there); 0, lanes run along the rows (of A) or columns (of B). Each sum is one chain over k.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy import int32, int64, uint32

from ..jit import T, device
from ..memory import stack
from .gpu import barrier, fma_outer, load4, thread, zeros
from .launch import bound
from .team import lane, warp

THREADS, FETCHED = 256, 4
HEIGHT, WIDTH, DEPTH, SIDE, SUMS = 64, 64, 16, 4, 16  # a Shape binds these and the four functions below
ROOM_A, ROOM_B = 2 * 16 * 68, 2 * 16 * 68
GAP_A, GAP_B = 4, 4  # from a thread's first four rows (columns) to its next four


@device
def first_row():
    return int32(int32(thread() >> int32(4)) * int32(4))


@device
def first_col():
    return int32(int32(thread() & int32(15)) * int32(4))


@device
def part_a(room, at):
    return load4(room, at)


@device
def part_b(room, at):
    return load4(room, at)


# a warp of the large tile: 4 x 8 threads over 32 x 64 sums, so that its reads meet no bank twice
@device
def wide_row():
    w = int32(int32(warp() & int32(3)) * int32(32))
    return int32(w + int32(int32(lane() >> int32(3)) * int32(4)))


@device
def wide_col():
    w = int32(int32(warp() >> int32(2)) * int32(64))
    return int32(w + int32(int32(lane() & int32(7)) * int32(4)))


@device
def wide_a(room, at):
    return load4(room, at) + load4(room, int32(at + int32(16)))


@device
def wide_b(room, at):
    return load4(room, at) + load4(room, int32(at + int32(32)))


class Shape(NamedTuple):
    """The names that a tile's shape binds."""

    height: int
    width: int
    names: dict[str, Any]


MEDIUM = Shape(64, 64, {})
LARGE = Shape(
    128, 128, {
        "HEIGHT": 128, "WIDTH": 128, "DEPTH": 8, "SIDE": 8, "SUMS": 64, "ROOM_A": 2 * 8 * 132, "ROOM_B": 2 * 8 * 132,
        "GAP_A": 16, "GAP_B": 32, "first_row": wide_row, "first_col": wide_col, "part_a": wide_a, "part_b": wide_b,
    },
)  # fmt: skip


@device
def spot(j, along, extent):
    """(line, k) of this thread's j-th element in a piece of `extent` rows or columns."""
    t = uint32(thread())
    if along != 0:
        return int32(t // uint32(DEPTH) + uint32(j * (THREADS // DEPTH))), int32(t % uint32(DEPTH))
    return int32(t % uint32(extent)), int32(t // uint32(extent) + uint32(j * (THREADS // extent)))


@device
def gather_strided(values, operand, along, extent, k, last):
    """Four elements p[line * line_step + k * k_step] of a matrix; 0 past its lines and past `last`."""
    p, first, lines, line_step, k_step = operand
    for j in range(FETCHED):
        line, depth = spot(j, along, extent)
        values[j] = T(0)
        if first + line < lines and k + depth < last:
            values[j] = p[(first + line) * line_step + (k + depth) * k_step]


gather_a, gather_b = gather_strided, gather_strided  # a convolution binds others


@device
def put(room, values, along, extent, buffer):
    """Store a fetched piece: element (line, k) at k * (extent + 4) + line of buffer 0 or 1."""
    for j in range(FETCHED):
        line, depth = spot(j, along, extent)
        room[int32(int32(int32(buffer * int32(DEPTH)) + depth) * int32(extent + 4) + line)] = values[j]


@device
def product(sums, room_a, room_b, buffer):
    """`sums` with the outer products of one piece added."""
    at_a = int32(int32(buffer * int32(DEPTH * (HEIGHT + 4))) + first_row())
    at_b = int32(int32(buffer * int32(DEPTH * (WIDTH + 4))) + first_col())
    for k in range(DEPTH):
        a = part_a(room_a, int32(at_a + int32(k * (HEIGHT + 4))))
        b = part_b(room_b, int32(at_b + int32(k * (WIDTH + 4))))
        sums = fma_outer(sums, a, b)
    return sums


@device
def multiply(left, right, along_a, along_b, first, last, room_a, room_b):
    """This thread's sums over k in first..last, as a tuple of SIDE rows of SIDE columns."""
    a, b = stack(FETCHED, T), stack(FETCHED, T)
    sums = zeros(SUMS, T)
    gather_a(a, left, along_a, HEIGHT, first, last)
    gather_b(b, right, along_b, WIDTH, first, last)
    put(room_a, a, along_a, HEIGHT, int32(0))
    put(room_b, b, along_b, WIDTH, int32(0))
    barrier()
    buffer, k = int32(0), first + int64(DEPTH)
    while k < last:
        gather_a(a, left, along_a, HEIGHT, k, last)
        gather_b(b, right, along_b, WIDTH, k, last)
        sums = product(sums, room_a, room_b, buffer)
        buffer = int32(buffer ^ int32(1))
        put(room_a, a, along_a, HEIGHT, buffer)
        put(room_b, b, along_b, WIDTH, buffer)
        barrier()
        k += DEPTH
    return product(sums, room_a, room_b, buffer)


@device
def row_of(i):
    """Row of the tile of this thread's sums i * SIDE .. i * SIDE + SIDE - 1."""
    return int32(first_row() + int32(i) + int32(int32(int32(i) >> int32(2)) * int32(GAP_A - 4)))


@device
def col_of(j):
    """Column of the tile of this thread's sums j, j + SIDE, .."""
    return int32(first_col() + int32(j) + int32(int32(int32(j) >> int32(2)) * int32(GAP_B - 4)))


def shaped(shape: Shape, name: str, **names: Any) -> dict[str, Any]:
    """The names that a kernel of this shape sees: constants, `multiply`, `row_of`, `col_of`; `name` tells them apart.

    `names` may bind gather_a and gather_b.
    """
    known = {**shape.names, **names}

    def specialised(function: Any) -> Any:
        return device(bound(function.py, f"{name}_{function.name}", **known))

    for function in (spot, put, product, gather_strided):
        known[function.name] = specialised(function)
    for operand in ("gather_a", "gather_b"):
        known[operand] = specialised(known[operand]) if operand in names else known["gather_strided"]
    for function in (multiply, row_of, col_of):
        known[function.name] = specialised(function)
    return known
