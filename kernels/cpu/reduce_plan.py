"""Launch plans of reductions: pure Python, functions of sizes and dtypes only (so results are repeatable).

A plan is `(launches, scratch bytes)`; a launch is `(kernel, dtypes, pointer names, other words, units)`. The
pointers named are `x`, `y`, other outputs (`values`, `mean`), and `scratch`, which the caller allocates.

    launches, nbytes = sum_plan(1, 1_000_000, 1, "float32")
    # [(sum_rows, {"T": "float32", "S": "float32"}, ("scratch", "x"), (1, 1000000, 32768, 31, 1.0), 31),
    #  (sum_merge_rows, ..., ("y", "scratch"), (1, 31, 31, 1, 1.0), 1)], 124
"""

from .argreduce import ARGMAX, ARGMIN
from .argreduce import TILE as ARG_TILE
from .moments import TILE as VAR_TILE
from .moments import var_cols, var_merge, var_rows
from .reduce import (
    ALL,
    ANY,
    COUNT_NONZERO,
    MAX,
    MEAN,
    MIN,
    NORM_MAX,
    NORM_MIN,
    NORM_ONE,
    NORM_POWER,
    NORM_TWO,
    PROD,
    SUM,
    WIDTH,
    Reduction,
)
from .softmax import TILE as EXP_TILE
from .softmax import logsumexp_cols, logsumexp_merge, logsumexp_rows

Launch = tuple[object, dict[str, str], tuple[str, ...], tuple[float, ...], int]
Plan = tuple[list[Launch], int]

SPLIT = 32768  # elements of a block when one output is computed from several blocks
MANY = 64  # outputs from which no split is needed to occupy the threads

ITEMSIZE = {"float32": 4, "float64": 8, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1}
LOWEST = {
    "float32": float("-inf"), "float64": float("-inf"), "int64": -(2.0**63), "int32": -(2.0**31),
    "int16": -(2.0**15), "int8": -128.0, "uint8": 0.0, "bool": 0.0,
}  # fmt: skip


def row_blocks(outer: int, n: int) -> tuple[int, int]:
    """(block, blocks): how rows of n elements are cut."""
    block = SPLIT if outer < MANY and n >= 2 * SPLIT else max(n, 1)
    return block, max(1, -(-n // block))


def column_blocks(outer: int, n: int, inner: int, width: int = WIDTH) -> tuple[int, int, int]:
    """(block, blocks, tiles): how n rows of `inner` columns are cut; tiles are `width` columns."""
    tiles, columns = -(-inner // width), max(1, min(inner, width))
    split = outer * tiles < MANY and n * columns >= 2 * SPLIT
    block = max(1, SPLIT // columns) if split else max(n, 1)
    return block, max(1, -(-n // block)), tiles


def reduce_plan(
    what: Reduction, outer: int, n: int, inner: int, T: str, S: str | None = None, a: float = 1.0
) -> Plan:
    """Launches that reduce x[outer, n, inner] of dtype T into y[outer, inner] of dtype S."""
    S = S or T
    env, merged = {"T": T, "S": S}, {"T": S, "S": S}
    if inner == 1:
        block, blocks = row_blocks(outer, n)
        if blocks == 1:
            return [(what.rows, env, ("y", "x"), (outer, n, block, 1, a), outer)], 0
        first = (outer, n, block, blocks, a)
        second = (outer, blocks, blocks, 1, a)
        launches = [
            (what.part_rows, env, ("scratch", "x"), first, outer * blocks),
            (what.merge_rows, merged, ("y", "scratch"), second, outer),
        ]
    else:
        block, blocks, tiles = column_blocks(outer, n, inner)
        if blocks == 1:
            return [(what.cols, env, ("y", "x"), (outer, n, inner, block, 1, a), outer * tiles)], 0
        first = (outer, n, inner, block, blocks, a)
        second = (outer, blocks, inner, blocks, 1, a)
        launches = [
            (what.part_cols, env, ("scratch", "x"), first, outer * blocks * tiles),
            (what.merge_cols, merged, ("y", "scratch"), second, outer * tiles),
        ]
    return launches, outer * blocks * inner * ITEMSIZE[S]


def accumulate_dtype(T: str) -> str:
    """The dtype of a sum or product, as in PyTorch: integers and bool add up in int64."""
    return T if T.startswith("float") else "int64"


def sum_plan(outer: int, reduce: int, inner: int, T: str) -> Plan:
    """Sum: y has dtype accumulate_dtype(T)."""
    return reduce_plan(SUM, outer, reduce, inner, T, accumulate_dtype(T))


def mean_plan(outer: int, reduce: int, inner: int, T: str) -> Plan:
    """Mean of a floating dtype; an empty axis gives NaN."""
    return reduce_plan(MEAN, outer, reduce, inner, T, T, float(reduce))


def prod_plan(outer: int, reduce: int, inner: int, T: str) -> Plan:
    """Product: y has dtype accumulate_dtype(T)."""
    return reduce_plan(PROD, outer, reduce, inner, T, accumulate_dtype(T))


def max_plan(outer: int, reduce: int, inner: int, T: str) -> Plan:
    """Largest value, NaN wins (amax)."""
    return reduce_plan(MAX, outer, reduce, inner, T, T, LOWEST[T])


def min_plan(outer: int, reduce: int, inner: int, T: str) -> Plan:
    """Smallest value, NaN wins (amin)."""
    return reduce_plan(MIN, outer, reduce, inner, T, T, LOWEST[T])


def any_plan(outer: int, reduce: int, inner: int, T: str) -> Plan:
    """Is any element nonzero: y is bool (one byte)."""
    return reduce_plan(ANY, outer, reduce, inner, T, "uint8")


def all_plan(outer: int, reduce: int, inner: int, T: str) -> Plan:
    """Are all elements nonzero: y is bool (one byte)."""
    return reduce_plan(ALL, outer, reduce, inner, T, "uint8")


def count_nonzero_plan(outer: int, reduce: int, inner: int, T: str) -> Plan:
    """Number of nonzero elements, int64."""
    return reduce_plan(COUNT_NONZERO, outer, reduce, inner, T, "int64")


def norm_plan(outer: int, reduce: int, inner: int, T: str, p: float) -> Plan:
    """The p-norm (p may be 0, inf, -inf) of a floating dtype."""
    named = {1.0: NORM_ONE, 2.0: NORM_TWO, float("inf"): NORM_MAX, 0.0: COUNT_NONZERO}
    if p == float("-inf"):
        return reduce_plan(NORM_MIN, outer, reduce, inner, T, T, LOWEST[T])
    return reduce_plan(named.get(p, NORM_POWER), outer, reduce, inner, T, T, p)


def _arg_plan(kernels, outer: int, n: int, inner: int, T: str, values: bool) -> Plan:
    rows, cols, merge = kernels
    env, keep = {"T": T}, int(values)
    target = "values" if values else "x"  # the pointer is not used without values
    if inner == 1:
        block, blocks = row_blocks(outer, n)
        tiles, first = 1, (rows, (outer, n, block, blocks))
    else:
        block, blocks, tiles = column_blocks(outer, n, inner, ARG_TILE)
        first = (cols, (outer, n, inner, block, blocks))
    kernel, words = first
    if blocks == 1:
        return [(kernel, env, (target, "y", "x"), (*words, keep), outer * tiles)], 0
    launches = [
        (kernel, env, ("x", "scratch", "x"), (*words, 0), outer * blocks * tiles),
        (merge, env, (target, "y", "scratch", "x"), (outer, blocks, n, inner, keep), outer * inner),
    ]
    return launches, outer * blocks * inner * 8


def argmax_plan(outer: int, reduce: int, inner: int, T: str, values: bool = False) -> Plan:
    """Position y (int64) of the largest element, and `values` of it if wanted; reduce >= 1."""
    return _arg_plan(ARGMAX, outer, reduce, inner, T, values)


def argmin_plan(outer: int, reduce: int, inner: int, T: str, values: bool = False) -> Plan:
    """Position y (int64) of the smallest element, and `values` of it if wanted; reduce >= 1."""
    return _arg_plan(ARGMIN, outer, reduce, inner, T, values)


def var_plan(
    outer: int, reduce: int, inner: int, T: str, correction: float = 1.0, root: bool = False
) -> Plan:
    """Variance y (its root if `root`) and `mean`, both written; divides by max(0, reduce - correction)."""
    env = {"T": T}
    last = (max(0.0, reduce - correction), int(root))
    if inner == 1:
        block, blocks = row_blocks(outer, reduce)
        kernel, words, tiles = var_rows, (outer, reduce, block, blocks), 1
    else:
        block, blocks, tiles = column_blocks(outer, reduce, inner, VAR_TILE)
        kernel, words = var_cols, (outer, reduce, inner, block, blocks)
    if blocks == 1:
        return [(kernel, env, ("mean", "y", "x"), (*words, *last, 1, 0), outer * tiles)], 0
    merge = (outer, blocks, inner, reduce, block, *last)
    launches = [
        (kernel, env, ("scratch", "scratch", "x"), (*words, 1.0, 0, 2, 1), outer * blocks * tiles),
        (var_merge, env, ("mean", "y", "scratch"), merge, outer * inner),
    ]
    return launches, 2 * outer * blocks * inner * ITEMSIZE[T]


def logsumexp_plan(outer: int, reduce: int, inner: int, T: str) -> Plan:
    """log(sum(exp(x))) of a floating dtype; an empty axis gives -inf."""
    env = {"T": T}
    if inner == 1:
        block, blocks = row_blocks(outer, reduce)
        kernel, words, tiles = logsumexp_rows, (outer, reduce, block, blocks), 1
    else:
        block, blocks, tiles = column_blocks(outer, reduce, inner, EXP_TILE)
        kernel, words = logsumexp_cols, (outer, reduce, inner, block, blocks)
    if blocks == 1:
        return [(kernel, env, ("y", "x"), (*words, 1), outer * tiles)], 0
    launches = [
        (kernel, env, ("scratch", "x"), (*words, 0), outer * blocks * tiles),
        (logsumexp_merge, env, ("y", "scratch"), (outer, blocks, inner), outer * inner),
    ]
    return launches, 2 * outer * blocks * inner * ITEMSIZE[T]
