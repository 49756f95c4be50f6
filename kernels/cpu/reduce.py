"""Reductions over the middle axis of a contiguous (outer, reduce, inner) array.

Two loop shapes serve every one-value reduction; what is combined is bound to them by `reduction()`:

    rows (inner == 1)   x: [--------reduce--------]   LANES accumulators walk along the row, then fold to one
    cols (inner > 1)    x: [inner] [inner] [inner]    one accumulator per column walks down the rows

A reduction is four scalar functions: init(a), step(acc, x, a), combine(p, q), finish(acc, a), where `a` is
one run-time float (the count of a mean, the order of a norm). Accumulators have dtype S, elements dtype T.
The order of combination is a function of the sizes alone, so that any number of chunks gives the same bits.
Long reductions with few outputs run as two launches, partial results of fixed blocks and a merge: see
reduce_plan.py.
"""

from math import sqrt
from types import FunctionType
from typing import NamedTuple

from ..jit import S, S_ptr, T, T_ptr, device, f64, i64, kernel
from ..loops import independent
from ..memory import offset, select, split, stack
from ..scalar import power

LANES = 64  # accumulators of a row: four or more vectors in flight on every target
EIGHTH = LANES // 8
STEPS = 64  # LANES-wide steps (or rows of a column tile) before the accumulators fold: bounds rounding error
WIDTH = 512  # columns of a tile
SHORT = 32  # rows shorter than this are added one by one


# ------------------------------------------------------------ the two loop shapes
# init, step, combine and finish below are names that reduction() binds; these defaults are a plain sum.
@device
def init(a):
    return S(0)


@device
def step(acc, x, a):
    return S(acc + S(x))


@device
def combine(p, q):
    return S(p + q)


@device
def finish(acc, a):
    return acc


keep = finish


# One long function each: numba spends about 50 ms on every further device function.
def rows_loop(
    y: S_ptr, x: T_ptr, outer: i64, n: i64, block: i64, blocks: i64, a: f64, chunk: i64, nchunks: i64
):
    """y[outer, blocks] = reduction of each block of each row of x[outer, n]; units: outer * blocks."""
    acc = stack(LANES, S)
    lo, hi = split(outer * blocks, chunk, nchunks)
    for unit in range(lo, hi):
        row = unit // blocks
        start = (unit - row * blocks) * block
        count = n - start if n - start < block else block
        p = offset(x, row * n + start)
        total = init(a)
        begin = 0
        if count < SHORT:
            while begin < count:
                total = step(total, p[begin], a)
                begin += 1
        while begin < count:
            for lane in range(LANES):
                acc[lane] = init(a)
            end = count if count - begin < STEPS * LANES else begin + STEPS * LANES
            while begin + 4 * LANES <= end:  # four steps for one load and store of the accumulators
                q = offset(p, begin)
                for lane in range(LANES):
                    two = step(step(acc[lane], q[lane], a), q[LANES + lane], a)
                    acc[lane] = step(step(two, q[2 * LANES + lane], a), q[3 * LANES + lane], a)
                begin += 4 * LANES
            while begin < end:
                width = min(LANES, end - begin)
                for lane in range(width):
                    acc[lane] = step(acc[lane], p[begin + lane], a)
                begin += width
            # Halves are added to halves: eighths first, in one loop that LLVM vectorises, then what is left of them.
            for lane in range(EIGHTH):
                p0 = combine(acc[lane], acc[lane + 4 * EIGHTH])
                p1 = combine(acc[lane + 2 * EIGHTH], acc[lane + 6 * EIGHTH])
                p2 = combine(acc[lane + EIGHTH], acc[lane + 5 * EIGHTH])
                p3 = combine(acc[lane + 3 * EIGHTH], acc[lane + 7 * EIGHTH])
                acc[lane] = combine(combine(p0, p1), combine(p2, p3))
            width = EIGHTH // 2
            while width > 0:
                for lane in range(width):
                    acc[lane] = combine(acc[lane], acc[lane + width])
                width = width // 2
            total = combine(total, acc[0])
        y[unit] = finish(total, a)
    independent()


def cols_loop(
    y: S_ptr, x: T_ptr, outer: i64, n: i64, inner: i64, block: i64, blocks: i64, a: f64,
    chunk: i64, nchunks: i64,
):  # fmt: skip
    """y[outer, blocks, inner] = reduction of each block of the middle axis of x[outer, n, inner].

    Units: outer * blocks * tiles, tiles of WIDTH columns. Rows of few columns are walked `period` at a time.
    """
    acc, top = stack(WIDTH, S), stack(WIDTH, S)
    tiles = (inner + WIDTH - 1) // WIDTH
    lo, hi = split(outer * blocks * tiles, chunk, nchunks)
    for unit in range(lo, hi):
        part = unit // tiles
        c0 = (unit - part * tiles) * WIDTH
        width = inner - c0 if inner - c0 < WIDTH else WIDTH
        row = part // blocks
        start = (part - row * blocks) * block
        count = n - start if n - start < block else block
        p = offset(x, (row * n + start) * inner + c0)
        period = LANES // width if tiles == 1 and 2 * width <= LANES and count * width >= 2 * LANES else 1
        for c in range(width):
            top[c] = init(a)
        r = 0
        while r < count:
            end = count if count - r < STEPS * period else r + STEPS * period
            for lane in range(period * width):
                acc[lane] = init(a)
            while r + 4 * period <= end:  # as above: four rows for one load and store of the accumulators
                q, pitch = offset(p, r * inner), period * inner
                for lane in range(period * width):
                    two = step(step(acc[lane], q[lane], a), q[pitch + lane], a)
                    acc[lane] = step(step(two, q[2 * pitch + lane], a), q[3 * pitch + lane], a)
                r += 4 * period
            while r + period <= end:
                for lane in range(period * width):
                    acc[lane] = step(acc[lane], p[r * inner + lane], a)
                r += period
            for lane in range((end - r) * width):
                acc[lane] = step(acc[lane], p[r * inner + lane], a)
            r = end
            left = period
            while left > 1:
                half = (left + 1) // 2
                for lane in range((left - half) * width):
                    acc[lane] = combine(acc[lane], acc[lane + half * width])
                left = half
            for c in range(width):
                top[c] = combine(top[c], acc[c])
        out = offset(y, part * inner + c0)
        for c in range(width):
            out[c] = finish(top[c], a)


# ------------------------------------------------------------ binding a reduction to the loops
class Reduction(NamedTuple):
    """Kernels of one reduction, by rows and by columns: complete, partial (no finish), merge."""

    name: str
    rows: object
    cols: object
    part_rows: object
    part_cols: object
    merge_rows: object
    merge_cols: object


@device
def merge_step(acc, x, a):
    return combine(acc, x)


def bind(function, name: str, **bound) -> FunctionType:
    """A copy, called `name`, of a module-level function that sees `bound` in place of its globals."""
    code = function.__code__.replace(co_name=name, co_qualname=name)
    copy = FunctionType(code, {**function.__globals__, **bound}, name, function.__defaults__)
    copy.__annotations__, copy.__doc__ = function.__annotations__, function.__doc__
    copy.__module__ = function.__module__
    return copy


def _loops(name: str, **bound) -> tuple[object, object]:
    """The rows and cols kernels with init, step, combine and finish bound."""
    return kernel(bind(rows_loop, f"{name}_rows", **bound)), kernel(bind(cols_loop, f"{name}_cols", **bound))


def reduction(name: str, init, step, combine, finish=finish, part=None, merge=True) -> Reduction:
    """Kernels of a reduction given as four @device functions (see the top of the file).

    `part`: a Reduction whose kernels make the partial results, if one has the same init, step and combine.
    `merge` False says that step(acc, partial, a) equals combine(acc, partial), so that no kernel of its own is
    needed to merge.
    """
    bound = {"init": init, "step": step, "combine": combine, "finish": finish}
    complete = _loops(name, **bound)
    if part is not None:
        partial = part[1:3]
    else:
        partial = complete if finish is keep else _loops(f"{name}_part", **{**bound, "finish": keep})
    if not merge:
        return Reduction(name, *complete, *partial, *complete)
    again = device(bind(merge_step.py, f"{name}_merge_step", combine=combine))
    return Reduction(name, *complete, *partial, *_loops(f"{name}_merge", **{**bound, "step": again}))


# ------------------------------------------------------------ the reductions
@device
def one(a):
    return S(1)


@device
def lowest(a):
    return S(a)


@device
def highest(a):
    return S(S(-1) - S(a))  # a is the lowest value: -1 - min is max for integers, -1 + inf is inf


@device
def add_absolute(acc, x, a):
    return S(acc + S(abs(x)))


@device
def add_square(acc, x, a):
    return S(acc + S(x) * S(x))


@device
def add_power(acc, x, a):
    return S(acc + power(S(abs(x)), S(a)))


@device
def add_one_if_nonzero(acc, x, a):
    return S(acc + S(1 if x != T(0) else 0))


@device
def times(acc, x, a):
    return S(acc * S(x))


@device
def product(p, q):
    return S(p * q)


# A NaN wins: a NaN p stays because no q is larger; a NaN q is taken. Written as q + q, because a choice
# between q and the loaded p becomes a masked store to p, which is 5 times slower on AMD.
@device
def larger(p, q):
    return select(q != q, S(q + q), select(q > p, q, p))


@device
def smaller(p, q):
    return select(q != q, S(q + q), select(q < p, q, p))


@device
def take_larger(acc, x, a):
    return larger(acc, S(x))


@device
def take_smaller(acc, x, a):
    return smaller(acc, S(x))


@device
def take_larger_absolute(acc, x, a):
    return larger(acc, S(abs(x)))


@device
def take_smaller_absolute(acc, x, a):
    return smaller(acc, S(abs(x)))


@device
def either(p, q):
    return S(p | q)


@device
def both(p, q):
    return S(p & q)


@device
def or_nonzero(acc, x, a):
    return S(acc | S(1 if x != T(0) else 0))


@device
def and_nonzero(acc, x, a):
    return S(acc & S(1 if x != T(0) else 0))


@device
def divide(acc, a):
    return acc / S(a)


@device
def root(acc, a):
    return S(sqrt(acc))


@device
def root_of_order(acc, a):
    return power(acc, S(1.0 / a))


SUM = reduction("sum", init, step, combine, merge=False)
MEAN = reduction("mean", init, step, combine, divide, part=SUM, merge=False)
PROD = reduction("prod", one, times, product, merge=False)
MAX = reduction("max", lowest, take_larger, larger, merge=False)
MIN = reduction("min", highest, take_smaller, smaller, merge=False)
ANY = reduction("any", init, or_nonzero, either, merge=False)
ALL = reduction("all", one, and_nonzero, both, merge=False)
COUNT_NONZERO = reduction("count_nonzero", init, add_one_if_nonzero, combine)
NORM_ONE = reduction("norm_one", init, add_absolute, combine, merge=False)
NORM_TWO = reduction("norm_two", init, add_square, combine, root)
NORM_POWER = reduction("norm_power", init, add_power, combine, root_of_order)
NORM_MAX = reduction("norm_max", init, take_larger_absolute, larger, merge=False)
NORM_MIN = reduction("norm_min", highest, take_smaller_absolute, smaller, merge=False)
