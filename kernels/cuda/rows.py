"""Who works on what when every row or column of an array is one piece: softmax, losses, normalisation.

    short rows    n <= 256     a warp a row, eight rows a block; a lane holds 8 values in registers
    medium rows   n <= 4096    a block a row; a thread holds 16 values in registers
    long rows     beyond       a block a row, which every pass reads again
    columns                    a block a tile of up to 32 columns; the threads of a column share its rows

Short and medium rows are read once and written once. A formula for held values takes `team` and `per`, the
threads of the team and the values of each, as constants: a kernel calls it as `(..., 32, 8)` or
`(..., 256, 16)`, and the compiler unrolls its loops.
"""

from numpy import int32, int64

from ..jit import T, device
from ..loops import quotient
from .gpu import block, thread
from .launch import ceil_div
from .team import block_max, block_sum, lane, tile_width, warp, warp_max, warp_sum

THREADS, WARPS = 256, 8
SHORT, MEDIUM = 256, 4096  # longest row for a warp's registers, and for a block's
HELD = 16  # room for the held values of either


def rows_grid(rows: int, n: int) -> int:
    """A warp for each short row, a block for each other one; nothing for empty rows."""
    return 0 if n == 0 else ceil_div(rows, WARPS) if n <= SHORT else rows


@device
def row_of(n):
    """The row this thread's team works on; it may lie past the last one."""
    if n <= SHORT:
        return int64(block()) * WARPS + int64(warp())
    return int64(block())


@device
def place(team):
    """Index of this thread in its team."""
    return lane() if team == 32 else thread()


@device
def team_sum(v, room, team):
    return warp_sum(v) if team == 32 else block_sum(v, room)


@device
def team_max(v, room, team):
    return warp_max(v) if team == 32 else block_max(v, room)


@device
def hold(held, x, n, filler, team, per):
    """held[k] = this thread's k-th value of the row x[n], `filler` past its end."""
    for k in range(per):
        i = int32(place(team) + int32(k * team))
        held[k] = filler
        if i < n:
            held[k] = x[i]


@device
def held_max(held, room, team, per):
    """The largest value that the team holds."""
    m = held[0]
    for k in range(1, per):
        m = T(m if m > held[k] or m != m else held[k])
    return team_max(m, room, team)


@device
def held_sum(held, room, team, per):
    """The sum of the values that the team holds; values past the end must be 0."""
    total = T(0)
    for k in range(per):
        total += held[k]
    return team_sum(total, room, team)


def columns_grid(outer: int, inner: int) -> int:
    """A block for each tile of columns."""
    return outer * ceil_div(inner, int(tile_width.py(inner)))


@device
def column_of(inner):
    """This thread's (outer index, column, first row, step between rows, width of the tile)."""
    wide = tile_width(inner)
    tiles = quotient(inner + wide - 1, wide)
    o = quotient(int64(block()), tiles)
    line = quotient(int64(thread()), int64(wide))
    column = (int64(block()) - o * tiles) * wide + int64(thread()) - line * wide
    return o, column, line, quotient(int64(THREADS), int64(wide)), wide
