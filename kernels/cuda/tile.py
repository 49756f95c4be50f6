"""The tile of a matrix product on ordinary cores: what matmul.py and conv.py have in common.

A block makes HEIGHT x WIDTH sums over k, a thread 8 rows of COLS of them, in registers. Both operands pass through
shared memory in pieces of 8 k, in two buffers, so that the next piece comes from memory while this one is used:

    gather(k + 8) -> registers     product(k): a thread adds the outer products of the 8 rows and COLS columns
    put -> the other buffer        that it reads, 8 times; barrier

A warp is 4 x 8 threads, whose rows and columns are four and four, 16 rows (32 columns) apart; lanes are numbered so that
its reads of 16 bytes meet no bank of shared memory twice. Each sum is one chain over k.

How an operand comes is a Loader: `start` says where this thread begins (a tuple: its pointer, how far that moves from
piece to piece, and more), `gather` fetches its EACH elements of a piece, `put` stores them as [k][line], PITCH = EXTENT + 4
apart. Here are those of matrices:

    strided   element by element, any steps; lanes run along k or along the lines, where the step is 1
    along     four at once along k, for a step of 1 there; sizes and steps are of whole fours
    across    four at once along the lines (rows of A, columns of B)
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy import int32, int64, uint32

from ..jit import T, device
from ..memory import offset, stack
from .gpu import barrier, fma_outer, is_aligned, load4, store4, thread, zeros
from .launch import bound
from .place import minus, operand_of, over, plus, times
from .team import lane, warp

THREADS, DEPTH = 256, 8
HEIGHT, WIDTH, COLS, SUMS, DOWN, DOWN_SHIFT = 128, 128, 8, 64, 4, 2  # a Shape binds these: DOWN warps below each other
PITCH_A, PITCH_B, ROOM_A, ROOM_B = 132, 132, 2 * 8 * 132, 2 * 8 * 132
EXTENT, PITCH, EACH = 128, 132, 4  # a Loader's functions see those of its operand


# ---- loaders of matrices: `room` is how many lines there are from this thread's first on


@device
def start_strided(p, first, lines, line_step, k_step):
    """(.., room, k, elements to the next, lines and k to the next, place in a buffer, from one to the next)."""
    t = uint32(thread())
    if k_step == 1:
        line, k, aside, ahead = int32(t >> uint32(3)), int32(t & uint32(7)), int32(THREADS // 8), int32(0)
    else:
        line, k, aside, ahead = int32(t % uint32(EXTENT)), int32(t // uint32(EXTENT)), int32(0), int32(THREADS // EXTENT)
    q = offset(p, int64(plus(first, line)) * line_step + int64(k) * k_step)
    step = int64(aside) * line_step + int64(ahead) * k_step
    place = plus(times(k, PITCH), line)
    room = minus(minus(lines, first), line)
    return q, k_step * DEPTH, room, k, step, aside, ahead, place, plus(times(ahead, PITCH), aside)


@device
def gather_strided(values, piece, operand, k, last):
    """The elements of piece k.., from `piece` on; 0 past the lines and past `last`."""
    _, _, room, deep, step, aside, ahead, _, _ = operand
    left = minus(minus(last, k), deep)
    for j in range(EACH):
        values[j] = T(0)
        if times(j, aside) < room and times(j, ahead) < left:
            values[j] = piece[j * step]


@device
def put_strided(room, values, operand, buffer):
    at = plus(times(buffer, DEPTH * PITCH), operand[7])
    for j in range(EACH):
        room[plus(at, times(j, operand[8]))] = values[j]


@device
def fetch_four(values, at, p, i, on, quick):
    """values[at..] = p[i..], four elements, or zeros; in one access if it is aligned."""
    for e in range(4):
        values[at + e] = T(0)
    if on:
        if quick:
            values[at], values[at + 1], values[at + 2], values[at + 3] = load4(p, i)
        else:
            for e in range(4):
                values[at + e] = p[i + e]


@device
def start_along(p, first, lines, line_step, k_step):
    """(.., room, k, elements to the next four, place in a buffer, whether fours are aligned)."""
    t = uint32(thread())
    line, k = int32(t >> uint32(1)), times(t & uint32(1), 4)
    q = offset(p, int64(plus(first, line)) * line_step + int64(k))
    step = int64(THREADS // 2) * line_step
    return q, int64(DEPTH), minus(minus(lines, first), line), k, step, plus(times(k, PITCH), line), is_aligned(p)


@device
def gather_along(values, piece, operand, k, last):
    _, _, room, deep, step, _, quick = operand
    on = plus(k, deep) < last
    for v in range(EACH // 4):
        fetch_four(values, 4 * v, piece, v * step, on and int32(v * (THREADS // 2)) < room, quick)


@device
def put_along(room, values, operand, buffer):
    at = plus(times(buffer, DEPTH * PITCH), operand[5])
    for v in range(EACH // 4):
        for e in range(4):
            room[plus(at, v * (THREADS // 2) + e * PITCH)] = values[4 * v + e]


@device
def start_across(p, first, lines, line_step, k_step):
    """(.., whether its four lines exist, k, k step, place in a buffer, whether fours are aligned)."""
    t = uint32(thread())
    line, k = times(t % uint32(EXTENT // 4), 4), int32(t // uint32(EXTENT // 4))
    q = offset(p, int64(plus(first, line)) + int64(k) * k_step)
    return q, k_step * DEPTH, plus(first, line) < lines, k, k_step, plus(times(k, PITCH), line), is_aligned(p)


@device
def gather_across(values, piece, operand, k, last):
    _, _, on, deep, k_step, _, quick = operand
    left = minus(minus(last, k), deep)
    for v in range(EACH // 4):
        ahead = v * (4 * THREADS // EXTENT)
        fetch_four(values, 4 * v, piece, int64(ahead) * k_step, on and int32(ahead) < left, quick)


@device
def put_across(room, values, operand, buffer):
    at = plus(times(buffer, DEPTH * PITCH), operand[5])
    for v in range(EACH // 4):
        where = plus(at, v * (4 * THREADS // EXTENT) * PITCH)
        store4(room, where, values[4 * v], values[4 * v + 1], values[4 * v + 2], values[4 * v + 3])


@device
def lanes_along():
    """(line, k, place in a buffer, from one to the next) of a thread whose elements are THREADS / 8 lines apart."""
    line, k = int32(uint32(thread()) >> uint32(3)), int32(thread() & int32(7))
    return line, k, plus(times(k, PITCH), line), int32(THREADS // 8)


class Loader(NamedTuple):
    """How an operand comes from memory; see above."""

    start: Any
    gather: Any
    put: Any


STRIDED = Loader(start_strided, gather_strided, put_strided)
ALONG = Loader(start_along, gather_along, put_along)
ACROSS = Loader(start_across, gather_across, put_across)
start_a, gather_a, put_a = STRIDED  # a Shape with loaders binds others
start_b, gather_b, put_b = STRIDED
EACH_A, EACH_B = 4, 4


@device
def sides(a, b, i0, j0, matrix, M, N, K, a_steps, b_steps, batch, inner, span):
    """(rows of A, columns of B, how many k) of a tile of matrix number `matrix`: part `matrix` // batch of a product.

    Steps of an operand: of its rows, of its columns, of the outer and of the inner level of the batch.
    """
    part = over(matrix, batch)
    t, first = int64(matrix) - int64(part) * batch, int64(part) * span
    pa = offset(operand_of(a, t, inner, a_steps[2], a_steps[3]), first * a_steps[1])
    pb = offset(operand_of(b, t, inner, b_steps[2], b_steps[3]), first * b_steps[0])
    left, right = start_a(pa, i0, M, a_steps[0], a_steps[1]), start_b(pb, j0, N, b_steps[1], b_steps[0])
    return left, right, int32(min(K - first, span))


# ---- the product


@device
def first_row():
    down = times(warp() & int32(DOWN - 1), 32)
    return plus(down, times(int32(lane() & int32(1)) | int32(int32(lane() >> int32(4)) << int32(1)), 4))


@device
def first_col():
    return plus(times(warp() >> int32(DOWN_SHIFT), 8 * COLS), times(int32(lane() >> int32(1)) & int32(7), 4))


@device
def eight(room, at):
    return load4(room, at) + load4(room, plus(at, 32))


@device
def four(room, at):
    return load4(room, at)


part_b = eight


@device
def step(sums, room_a, room_b, at_a, at_b, k):
    """`sums` with the outer product of one k added."""
    at = plus(at_a, k * PITCH_A)
    a = load4(room_a, at) + load4(room_a, plus(at, 16))
    return fma_outer(sums, a, part_b(room_b, plus(at_b, k * PITCH_B)))


@device
def product(sums, room_a, room_b, buffer):
    """`sums` with the outer products of one piece added; written out, because the compiler keeps a loop of such steps."""
    at_a = plus(times(buffer, DEPTH * PITCH_A), first_row())
    at_b = plus(times(buffer, DEPTH * PITCH_B), first_col())
    sums = step(sums, room_a, room_b, at_a, at_b, 0)
    sums = step(sums, room_a, room_b, at_a, at_b, 1)
    sums = step(sums, room_a, room_b, at_a, at_b, 2)
    sums = step(sums, room_a, room_b, at_a, at_b, 3)
    sums = step(sums, room_a, room_b, at_a, at_b, 4)
    sums = step(sums, room_a, room_b, at_a, at_b, 5)
    sums = step(sums, room_a, room_b, at_a, at_b, 6)
    return step(sums, room_a, room_b, at_a, at_b, 7)


@device
def multiply(left, right, last, room_a, room_b):
    """This thread's sums over k in 0..last (int32), as a tuple of 8 rows of COLS columns."""
    a, b = stack(EACH_A, T), stack(EACH_B, T)
    sums = zeros(SUMS, T)
    at_a, at_b, k = left[0], right[0], int32(0)
    gather_a(a, at_a, left, k, last)
    gather_b(b, at_b, right, k, last)
    put_a(room_a, a, left, int32(0))
    put_b(room_b, b, right, int32(0))
    barrier()
    buffer, k = int32(0), int32(DEPTH)
    while k < last:
        at_a, at_b = offset(at_a, left[1]), offset(at_b, right[1])
        gather_a(a, at_a, left, k, last)
        gather_b(b, at_b, right, k, last)
        sums = product(sums, room_a, room_b, buffer)
        buffer = int32(buffer ^ int32(1))
        put_a(room_a, a, left, buffer)
        put_b(room_b, b, right, buffer)
        barrier()
        k = plus(k, DEPTH)
    return product(sums, room_a, room_b, buffer)


@device
def row_of(i):
    """Row of the tile of this thread's sums i * COLS .. i * COLS + COLS - 1."""
    return plus(first_row(), int32(i) + int32(int32(int32(i) >> int32(2)) * int32(12)))


@device
def col_of(j):
    """Column of the tile of this thread's sums j, j + COLS, .."""
    return plus(first_col(), int32(j) + int32(int32(int32(j) >> int32(2)) * int32(28)))


# ---- shapes


class Shape(NamedTuple):
    """Rows and columns of a tile, and of them a thread's columns."""

    name: str
    height: int
    width: int
    cols: int

    @property
    def threads(self) -> int:
        """Threads of a block: 32 for each 32 rows and 8 * cols columns."""
        return self.height * self.width // (8 * self.cols)

    @property
    def min_blocks(self) -> int:
        """Blocks that a multiprocessor should hold: so that a thread has 128 registers, in smaller blocks 168."""
        return 2 if self.threads == 256 else 3


LARGE = Shape("large", 128, 128, 8)
WIDE = Shape("wide", 64, 128, 8)
MEDIUM = Shape("medium", 64, 64, 4)
FLAT = Shape("flat", 32, 128, 4)
TALL = Shape("tall", 128, 32, 4)


def shaped(shape: Shape, name: str, left: Loader, right: Loader) -> dict[str, Any]:
    """The names that a kernel of this shape with these loaders sees; `name` tells them from those of others."""
    height, width, cols, threads, down = *shape[1:], shape.threads, shape.height // 32
    known: dict[str, Any] = {
        "THREADS": threads, "HEIGHT": height, "WIDTH": width, "COLS": cols, "SUMS": 8 * cols, "DOWN": down,
        "DOWN_SHIFT": down.bit_length() - 1, "PITCH_A": height + 4, "PITCH_B": width + 4, "ROOM_A": 16 * (height + 4),
        "ROOM_B": 16 * (width + 4), "EACH_A": height * 8 // threads, "EACH_B": width * 8 // threads,
        "part_b": eight if cols == 8 else four,
    }  # fmt: skip

    def specialised(function: Any, role: str = "", **names: Any) -> Any:
        return device(bound(function.py, f"{name}_{function.name}{role}", **known, **names))

    for role, loader, extent, each in (("_a", left, height, "EACH_A"), ("_b", right, width, "EACH_B")):
        operand: dict[str, Any] = {"EXTENT": extent, "PITCH": extent + 4, "EACH": known[each]}
        operand["lanes_along"] = specialised(lanes_along, role, **operand)
        for part, function in zip(loader._fields, loader):
            known[part + role] = specialised(function, role, **operand)
    for function in (sides, first_row, first_col, step, product, multiply, row_of, col_of):
        known[function.name] = specialised(function)
    return known
