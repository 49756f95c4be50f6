"""Sorting, selection and search in the rows of contiguous x[rows, n]: the CUDA twin of cpu/sort.py.

A block works on a row.

    sort    runs of 1, 2, 4 .. are merged; an element's place is its own, plus how many of the other run come first
    topk    k times: the best of the elements behind the last one chosen
    kth     an element is guessed and those before it counted, until the count is k - 1
"""

from numpy import int32, int64

from ..cpu.sort import ahead, before
from ..jit import T, T_ptr, device, i64, i64_ptr
from ..loops import quotient
from ..memory import offset
from .gpu import barrier, block, shared, thread
from .index import element, extreme
from .launch import ceil_div, kernel

THREADS = 256


def row_grid(rows: int, n: int) -> int:
    """A block for each row."""
    return rows if n > 0 else 0


# ---------------------------------------------------------------- sorting
@device
def how_many_first(values, start, end, v, descending, also_equal):
    """How many of the sorted values[start:end] come before v (or are equal to it, if `also_equal`)."""
    low, high = start, end
    while low < high:
        middle = (low + high) >> int64(1)
        if before(values[middle], v, descending) or (
            also_equal != 0 and not before(v, values[middle], descending)
        ):
            low = middle + 1
        else:
            high = middle
    return low - start


@device
def merge_runs(to, to_index, values, index, n, width, descending):
    """Merge neighbouring sorted runs of `width`; ties go to the left one."""
    i = int64(thread())
    while i < n:
        start = quotient(i, 2 * width) * 2 * width
        middle, end = min(start + width, n), min(start + 2 * width, n)
        v = values[i]
        if i < middle:
            place = i + how_many_first(values, middle, end, v, descending, 0)
        else:
            place = i - (middle - start) + how_many_first(values, start, middle, v, descending, 1)
        to[place] = v
        to_index[place] = index[i]
        i += THREADS


@kernel(grid=row_grid, threads=THREADS)
def sort(
    values: T_ptr,
    index: i64_ptr,
    spare: T_ptr,
    spare_index: i64_ptr,
    x: T_ptr,
    rows: i64,
    n: i64,
    descending: i64,
):
    """values, index [rows, n] = each row of x in stable order, and where it was; spares alike."""
    at = int64(block()) * n
    a, ai = offset(values, at), offset(index, at)
    b, bi = offset(spare, at), offset(spare_index, at)
    i = int64(thread())
    while i < n:
        a[i], ai[i] = x[at + i], i
        i += THREADS
    width = int64(1)
    while width < n:
        barrier()
        merge_runs(b, bi, a, ai, n, width, descending)
        barrier()
        if 2 * width < n:
            merge_runs(a, ai, b, bi, n, 2 * width, descending)
        else:
            i = int64(thread())
            while i < n:
                a[i], ai[i] = b[i], bi[i]
                i += THREADS
        width *= 4


# ---------------------------------------------------------------- selection
@device
def first_of_block(v, i, values, places, descending):
    """The element of the block that comes first in the order, as (value, position); position -1: none."""
    t = thread()
    barrier()
    values[t], places[t] = v, i
    half = int32(THREADS // 2)
    while half > 0:
        barrier()
        if t < half:
            w, j = values[int32(t + half)], places[int32(t + half)]
            if j >= 0 and (places[t] < 0 or ahead(w, j, values[t], places[t], descending)):
                values[t], places[t] = w, j
        half = int32(half >> int32(1))
    barrier()
    return values[0], places[0]


@kernel(grid=lambda rows, k: rows if k > 0 else 0, threads=THREADS)
def topk(values: T_ptr, index: i64_ptr, x: T_ptr, rows: i64, n: i64, k: i64, largest: i64):
    """values, index [rows, k] = the k <= n largest (or smallest) of each row, best first."""
    room, places = shared(THREADS, T), shared(THREADS, int64)
    r = int64(block())
    row, last, last_at = offset(x, r * n), T(0), int64(-1)
    for j in range(k):
        best, best_at, i = T(0), int64(-1), int64(thread())
        while i < n:
            v = row[i]
            if last_at < 0 or ahead(last, last_at, v, i, largest):
                if best_at < 0 or ahead(v, i, best, best_at, largest):
                    best, best_at = v, i
            i += THREADS
        last, last_at = first_of_block(best, best_at, room, places, largest)
        if thread() == 0:
            values[r * k + j] = last
            index[r * k + j] = last_at


@device
def guess(row, n, low, high, offset_of_round, room):
    """Position of an element between those at low and high (-1: no bound), a different one each round."""
    found, i = int64(-1), int64(thread())
    while i < n:
        inside = low < 0 or ahead(row[low], low, row[i], i, 0)
        if inside and high >= 0:
            inside = ahead(row[i], i, row[high], high, 0)
        if inside:
            away = i - offset_of_round
            found = max(found, n - (away + n if away < 0 else away))
        i += THREADS
    at = n - extreme(room, found, 1) + offset_of_round
    return at - n if at >= n else at


@device
def count_ahead(row, n, at, room):
    """How many elements come before the one at `at`, in every thread; `room` holds an int64 a thread."""
    count, i, t = int64(0), int64(thread()), thread()
    while i < n:
        if ahead(row[i], i, row[at], at, 0):
            count += 1
        i += THREADS
    barrier()
    room[t] = count
    half = int32(THREADS // 2)
    while half > 0:
        barrier()
        if t < half:
            room[t] += room[int32(t + half)]
        half = int32(half >> int32(1))
    barrier()
    return room[0]


@kernel(grid=row_grid, threads=THREADS)
def kth(values: T_ptr, index: i64_ptr, order: i64_ptr, x: T_ptr, rows: i64, n: i64, k: i64, nan_first: i64):
    """values, index [rows] = the k-th smallest (k = 1..n) of each row; the first NaN of a row if `nan_first`."""
    room, r = shared(THREADS, int64), int64(block())
    row, first_nan, i = offset(x, r * n), int64(-1), int64(thread())
    while i < n and nan_first != 0:
        if row[i] != row[i]:
            first_nan = max(first_nan, n - i)
        i += THREADS
    first_nan = extreme(room, first_nan, 1)
    at, low, high, turn = n - first_nan, int64(-1), int64(-1), int64(0)
    searching = first_nan < 0
    while searching:
        start = (turn * 7919 + k) * 31
        at = guess(row, n, low, high, start - quotient(start, n) * n, room)
        count = count_ahead(row, n, at, room)
        if count < k - 1:
            low = at
        elif count > k - 1:
            high = at
        searching = count != k - 1
        turn += 1
    if thread() == 0:
        values[r], index[r] = row[at], at


# ---------------------------------------------------------------- search
@kernel(grid=lambda rows, m: ceil_div(rows * m, THREADS), threads=THREADS)
def searchsorted(out: i64_ptr, edges: T_ptr, x: T_ptr, rows: i64, n: i64, m: i64, edge_step: i64, right: i64):
    """out[rows, m] = where x goes into sorted edges[rows, n] (edges[n] if edge_step is 0)."""
    i = element()
    if i < rows * m:
        row, v = offset(edges, quotient(i, m) * edge_step * n), x[i]
        start, end = int64(0), n
        while start < end:
            middle = (start + end) >> int64(1)
            stop = row[middle] > v if right != 0 else row[middle] >= v
            if stop:
                end = middle
            else:
                start = middle + 1
        out[i] = start


@kernel(grid=lambda: 1, threads=THREADS)
def unique_runs(values: T_ptr, group: i64_ptr, counts: i64_ptr, total: i64_ptr, x: T_ptr, n: i64):
    """Runs of equal neighbours in x[n]: values, counts, their number total[0], each element's group[n]."""
    room, t = shared(THREADS, int64), thread()
    runs, base = int64(0), int64(0)
    while base < n:
        i = base + t
        starts = i < n and (i == 0 or x[i] != x[max(i - 1, 0)])
        barrier()
        room[t] = 1 if starts else 0
        step = int32(1)
        while step < int32(THREADS):
            barrier()
            mine = room[t] + (room[int32(t - step)] if t >= step else int64(0))
            barrier()
            room[t] = mine
            step = int32(step * int32(2))
        barrier()
        if i < n:
            group[i] = runs + room[t] - 1
            if starts:
                values[runs + room[t] - 1] = x[i]
                counts[runs + room[t] - 1] = i  # where the run begins; its length follows
        runs += room[THREADS - 1]
        base += THREADS
    base = int64(0)
    while base < runs:
        barrier()
        r = base + t
        begin, end = int64(0), n
        if r < runs:
            begin = counts[r]
            if r + 1 < runs:
                end = counts[r + 1]
        barrier()
        if r < runs:
            counts[r] = end - begin
        base += THREADS
    if t == 0:
        total[0] = runs
