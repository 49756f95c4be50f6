"""Reductions over the middle axis of a contiguous (outer, reduce, inner) array: the CUDA twin of
cpu/reduce.py.

    rows, long    x: [t0 t0 t0 t0 t1 t1 ...]   one thread block a unit, four accumulators a thread, then a
    tree rows, short   x: [t0 t1 .. t31]            one warp a unit, eight units a thread block cols
    x: [32 columns x 8 rows]     a thread walks down one column; the rows meet in shared memory

The scalar functions (what is added, compared, counted) are those of the CPU. The order of combination is a
function of the sizes alone, so a run repeats to the last bit.
"""

from typing import NamedTuple

from numpy import int32, int64

from ..cpu import reduce as cpu
from ..cpu.reduce import combine, finish, init, keep, step
from ..jit import S, S_ptr, T_ptr, device, f64, i64
from ..memory import offset
from ..scalar import power
from .gpu import barrier, block, is_aligned, load4, shared, shuffle_xor, thread
from .launch import bound, ceil_div, kernel

THREADS = 256
LONG = 1024  # elements from which a row is worth a thread block
WARPS = 8
WIDE = 32  # columns of a tile


@device
def combine_warp(acc):
    """The combination over the warp, in every lane."""
    acc = combine(acc, shuffle_xor(acc, 16))
    acc = combine(acc, shuffle_xor(acc, 8))
    acc = combine(acc, shuffle_xor(acc, 4))
    acc = combine(acc, shuffle_xor(acc, 2))
    return combine(acc, shuffle_xor(acc, 1))


@device
def combine_block(acc, room, a):
    """The combination over the block, in every thread. `room` holds one element a warp."""
    acc = combine_warp(acc)
    lane = int32(thread() & int32(31))
    if lane == 0:
        room[int32(thread() >> int32(5))] = acc
    barrier()
    acc = init(a)
    if lane < int32(WARPS):
        acc = room[lane]
    return combine_warp(acc)


@device
def reduce_long(x, count, a):
    """What this thread of a block of THREADS combines of `count` elements.

    Four at a time, always the same ones.
    """
    p0, p1, p2, p3 = init(a), init(a), init(a), init(a)
    aligned = is_aligned(x)
    i = int32(thread() * int32(4))
    while i + int32(3) < count:
        if aligned:
            v = load4(x, i)
        else:
            v = (x[i], x[int32(i + 1)], x[int32(i + 2)], x[int32(i + 3)])
        p0, p1, p2, p3 = step(p0, v[0], a), step(p1, v[1], a), step(p2, v[2], a), step(p3, v[3], a)
        i = int32(i + int32(4 * THREADS))
    while i < count:  # at most three elements, of one thread
        p0 = step(p0, x[i], a)
        i = int32(i + int32(1))
    return combine(combine(p0, p1), combine(p2, p3))


@device
def reduce_short(x, count, a):
    """What this lane of a warp combines of `count` elements."""
    acc = init(a)
    i = int32(thread() & int32(31))
    while i < count:
        acc = step(acc, x[i], a)
        i = int32(i + int32(32))
    return acc


def rows_grid(outer, block, blocks):
    """A thread block for each long unit, or for each eight short ones."""
    units = outer * blocks
    return units if block >= LONG else ceil_div(units, WARPS)


def rows_kernel(y: S_ptr, x: T_ptr, outer: i64, n: i64, block: i64, blocks: i64, a: f64):
    """y[outer, blocks] = reduction of each block of each row of x[outer, n]."""
    room = shared(WARPS, S)
    is_long = block >= LONG
    unit = int64(this_block())
    if not is_long:
        unit = unit * WARPS + int64(int32(thread() >> int32(5)))
    row = unit // blocks
    start = (unit - row * blocks) * block
    count = int32(min(block, n - start))
    if is_long:
        acc = combine_block(reduce_long(offset(x, row * n + start), count, a), room, a)
        if thread() == 0:
            y[unit] = finish(acc, a)
    else:
        if unit >= outer * blocks:
            count = int32(0)
        acc = combine_warp(reduce_short(offset(x, row * n + start), count, a))
        if int32(thread() & int32(31)) == 0 and unit < outer * blocks:
            y[unit] = finish(acc, a)


@device
def tile_width(inner):
    """Columns of a tile: the power of two that holds `inner`, at most WIDE."""
    wide = int32(2)
    while wide < inner and wide < int32(WIDE):
        wide = int32(wide * int32(2))
    return wide


def cols_grid(outer, inner, blocks):
    """A thread block for each tile of columns of each block of rows."""
    return outer * blocks * ceil_div(inner, int(tile_width.py(inner)))


def cols_kernel(y: S_ptr, x: T_ptr, outer: i64, n: i64, inner: i64, block: i64, blocks: i64, a: f64):
    """y[outer, blocks, inner] = reduction of each block of the middle axis of x[outer, n, inner]."""
    room = shared(THREADS, S)
    wide = tile_width(inner)
    tall = int32(int32(THREADS) // wide)
    tiles = (inner + wide - 1) // wide
    unit = int64(this_block())
    part = unit // tiles
    row = part // blocks
    start = (part - row * blocks) * block
    count = min(block, n - start)
    line = int32(thread() // wide)
    column = (unit - part * tiles) * wide + int64(int32(thread() - int32(line * wide)))
    acc = init(a)
    if column < inner:
        first = offset(x, (row * n + start) * inner + column)
        r = int64(line)
        while r < count:
            acc = step(acc, first[r * inner], a)
            r += tall
    room[thread()] = acc
    half = int32(int32(THREADS) >> int32(1))
    while half >= wide:
        barrier()
        if thread() < half:
            room[thread()] = combine(room[thread()], room[int32(thread() + half)])
        half = int32(half >> int32(1))
    if thread() < wide and column < inner:
        y[part * inner + column] = finish(room[thread()], a)


this_block = block  # kernels call a parameter `block` as well


class Reduction(NamedTuple):
    """Kernels of one reduction, by rows and by columns: complete, partial (no finish), merge."""

    name: str
    rows: object
    cols: object
    part_rows: object
    part_cols: object
    merge_rows: object
    merge_cols: object


def _device(function, name: str, **names):
    return device(bound(function.py, name, **names))


def _loops(name: str, **names) -> tuple[object, object]:
    """The rows and cols kernels with init, step, combine and finish bound."""
    names["combine_warp"] = _device(combine_warp, f"{name}_warp", **names)
    names["combine_block"] = _device(combine_block, f"{name}_block", **names)
    names["reduce_long"] = _device(reduce_long, f"{name}_long", **names)
    names["reduce_short"] = _device(reduce_short, f"{name}_short", **names)
    rows = kernel(grid=rows_grid, threads=THREADS)(bound(rows_kernel, f"{name}_rows", **names))
    return rows, kernel(grid=cols_grid, threads=THREADS)(bound(cols_kernel, f"{name}_cols", **names))


def reduction(name: str, init, step, combine, finish=keep, part=None, merge=True) -> Reduction:
    """Kernels of a reduction given as four @device functions (see cpu/reduce.py, also for part and merge)."""
    names = {"init": init, "step": step, "combine": combine, "finish": finish}
    complete = _loops(name, **names)
    if part is not None:
        partial = part[1:3]
    else:
        partial = complete if finish is keep else _loops(f"{name}_part", **{**names, "finish": keep})
    if not merge:
        return Reduction(name, *complete, *partial, *complete)
    again = _device(cpu.merge_step, f"{name}_merge_step", combine=combine)
    return Reduction(name, *complete, *partial, *_loops(f"{name}_merge", **{**names, "step": again}))


@device
def root_of_order(acc, a):
    return power(acc, S(1) / S(a))  # in S: the CPU divides in float64


SUM = reduction("sum", init, step, combine, merge=False)
MEAN = reduction("mean", init, step, combine, cpu.divide, part=SUM, merge=False)
PROD = reduction("prod", cpu.one, cpu.times, cpu.product, merge=False)
MAX = reduction("max", cpu.lowest, cpu.take_larger, cpu.larger, merge=False)
MIN = reduction("min", cpu.highest, cpu.take_smaller, cpu.smaller, merge=False)
ANY = reduction("any", init, cpu.or_nonzero, cpu.either, merge=False)
ALL = reduction("all", cpu.one, cpu.and_nonzero, cpu.both, merge=False)
COUNT_NONZERO = reduction("count_nonzero", init, cpu.add_one_if_nonzero, combine)
NORM_ONE = reduction("norm_one", init, cpu.add_absolute, combine, merge=False)
NORM_TWO = reduction("norm_two", init, cpu.add_square, combine, cpu.root)
NORM_POWER = reduction("norm_power", init, cpu.add_power, combine, root_of_order)
NORM_MAX = reduction("norm_max", init, cpu.take_larger_absolute, cpu.larger, merge=False)
NORM_MIN = reduction("norm_min", cpu.highest, cpu.take_smaller_absolute, cpu.smaller, merge=False)
