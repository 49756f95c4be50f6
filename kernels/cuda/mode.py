"""The most frequent value of each row, from sorted rows and where their elements were: the twin of cpu/mode.py."""

from numpy import int64

from ..jit import T_ptr, device, i64, i64_ptr
from ..memory import offset
from .gpu import block, shared, thread
from .index import extreme
from .launch import kernel

THREADS = 256


@device
def run_before(row, i):
    """How many neighbours before sorted row[i] are equal to it."""
    low, high = int64(0), i
    while low < high:
        middle = (low + high) >> int64(1)
        if row[middle] < row[i]:
            low = middle + 1
        else:
            high = middle
    return i - low if row[i] == row[i] else int64(0)


@kernel(grid=lambda rows: rows, threads=THREADS)
def mode(values: T_ptr, index: i64_ptr, x: T_ptr, order: i64_ptr, rows: i64, n: i64):
    """values, index [rows] = the smallest of the most frequent values of sorted x[rows, n], its last place."""
    room, r = shared(THREADS, int64), int64(block())
    row, found, i = offset(x, r * n), int64(-1), int64(thread())
    while i < n:  # the longest run wins, of equally long ones that which ends first
        found = max(found, run_before(row, i) * n + n - 1 - i)
        i += THREADS
    found = extreme(room, found, 1)
    at = n - 1 - (found - found // n * n)
    if thread() == 0:
        values[r], index[r] = row[at], order[r * n + at]
