"""The most frequent value of each row, from sorted rows and where their elements were."""

from ..jit import T_ptr, i64, i64_ptr, kernel
from ..memory import split


@kernel
def mode(
    values: T_ptr, index: i64_ptr, x: T_ptr, order: i64_ptr, rows: i64, n: i64, chunk: i64, nchunks: i64
):
    """values, index [rows] = the smallest of the most frequent values of sorted x[rows, n], its last place.

    `order` comes from a stable sort. Every NaN counts as a value of its own. Units: rows; n >= 1.
    """
    lo, hi = split(rows, chunk, nchunks)
    for r in range(lo, hi):
        best, length, run = r * n, 0, 0
        for i in range(r * n, r * n + n):
            run = run + 1 if i > r * n and x[i] == x[i - 1] else 1
            if run > length:
                best, length = i, run
        values[r], index[r] = x[best], order[best]
