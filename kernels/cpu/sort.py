"""Sorting, selection and search in the rows of contiguous x[rows, n]; each row is one unit.

NaN counts as larger than every number, as in PyTorch. Equal elements keep their order (sort), or the first of
them comes first (topk, kth).
"""

from ..jit import T_ptr, device, i64, i64_ptr, kernel
from ..memory import offset, split

RUN = 16  # elements sorted by insertion before runs are merged


@device
def before(a, b, descending):
    """Does a come strictly before b?"""
    if descending != 0:
        return a > b or (a != a and b == b)
    return a < b or (b != b and a == a)


@device
def insertion(values, index, start, end, descending):
    for i in range(start + 1, end):
        value, at = values[i], index[i]
        j = i
        while j > start and before(value, values[j - 1], descending):
            values[j], index[j] = values[j - 1], index[j - 1]
            j -= 1
        values[j], index[j] = value, at


@device
def merge(to, to_index, values, index, start, middle, end, descending):
    """Merge the sorted start..middle and middle..end of values into `to`; ties go to the left one."""
    i, j = start, middle
    for k in range(start, end):
        if i < middle and (j >= end or not before(values[j], values[i], descending)):
            to[k], to_index[k] = values[i], index[i]
            i += 1
        else:
            to[k], to_index[k] = values[j], index[j]
            j += 1


@kernel
def sort(
    values: T_ptr, index: i64_ptr, spare: T_ptr, spare_index: i64_ptr, x: T_ptr, rows: i64, n: i64,
    descending: i64, chunk: i64, nchunks: i64,
):  # fmt: skip
    """values, index [rows, n] = each row of x in stable order, and where it was; spares alike."""
    lo, hi = split(rows, chunk, nchunks)
    for r in range(lo, hi):
        a, ai, b, bi = (
            offset(values, r * n),
            offset(index, r * n),
            offset(spare, r * n),
            offset(spare_index, r * n),
        )
        for i in range(n):
            a[i], ai[i] = x[r * n + i], i
        start = 0
        while start < n:
            insertion(a, ai, start, n if n - start < RUN else start + RUN, descending)
            start += RUN
        width = RUN
        while width < n:
            start = 0
            while start < n:
                middle = n if n - start < width else start + width
                end = n if n - start < 2 * width else start + 2 * width
                merge(b, bi, a, ai, start, middle, end, descending)
                start += 2 * width
            for i in range(n):
                a[i], ai[i] = b[i], bi[i]
            width *= 2


@device
def ahead(value, at, other, other_at, descending):
    """Order of (value, position) pairs without ties."""
    if before(value, other, descending):
        return True
    return at < other_at and not before(other, value, descending)


@device
def sift(values, index, start, size, descending):
    """Restore the heap whose root is the pair that comes last in the order."""
    value, at = values[start], index[start]
    i = start
    while 2 * i + 1 < size:
        j = 2 * i + 1
        if j + 1 < size and ahead(values[j], index[j], values[j + 1], index[j + 1], descending):
            j += 1
        if not ahead(value, at, values[j], index[j], descending):
            break
        values[i], index[i] = values[j], index[j]
        i = j
    values[i], index[i] = value, at


@kernel
def topk(
    values: T_ptr, index: i64_ptr, x: T_ptr, rows: i64, n: i64, k: i64, largest: i64, chunk: i64, nchunks: i64
):
    """values, index [rows, k] = the k <= n largest (or smallest) of each row, best first (by a heap)."""
    lo, hi = split(rows if k > 0 else 0, chunk, nchunks)
    for r in range(lo, hi):
        row, v, at = offset(x, r * n), offset(values, r * k), offset(index, r * k)
        for i in range(k):
            v[i], at[i] = row[i], i
        for i in range(k // 2):
            sift(v, at, k // 2 - 1 - i, k, largest)
        for i in range(k, n):
            if before(row[i], v[0], largest):
                v[0], at[0] = row[i], i
                sift(v, at, 0, k, largest)
        size = k - 1
        while size > 0:
            value, where = v[size], at[size]
            v[size], at[size] = v[0], at[0]
            v[0], at[0] = value, where
            sift(v, at, 0, size, largest)
            size -= 1


@kernel
def kth(
    values: T_ptr, index: i64_ptr, order: i64_ptr, x: T_ptr, rows: i64, n: i64, k: i64, nan_first: i64,
    chunk: i64, nchunks: i64,
):  # fmt: skip
    """values, index [rows] = the k-th smallest (k = 1..n) of each row; scratch: order[rows, n].

    Quickselect. With `nan_first` a row that holds a NaN yields its first NaN, as the median does.
    """
    lo, hi = split(rows, chunk, nchunks)
    for r in range(lo, hi):
        row, p = offset(x, r * n), offset(order, r * n)
        found = -1
        for i in range(n):
            p[i] = i
            if found < 0 and nan_first != 0 and row[i] != row[i]:
                found = i
        left, right = 0, n - 1
        while found < 0 and left < right:
            # the middle of three as pivot, moved to the end
            middle = (left + right) // 2
            if ahead(row[p[middle]], p[middle], row[p[left]], p[left], 0):
                p[middle], p[left] = p[left], p[middle]
            if ahead(row[p[right]], p[right], row[p[left]], p[left], 0):
                p[right], p[left] = p[left], p[right]
            if ahead(row[p[middle]], p[middle], row[p[right]], p[right], 0):
                p[middle], p[right] = p[right], p[middle]
            pivot = p[right]
            store = left
            for i in range(left, right):
                at = p[i]
                if ahead(row[at], at, row[pivot], pivot, 0):
                    p[i] = p[store]
                    p[store] = at
                    store += 1
            p[right] = p[store]
            p[store] = pivot
            if store == k - 1:
                left = right = store
            elif store < k - 1:
                left = store + 1
            else:
                right = store - 1
        at = found if found >= 0 else p[k - 1]
        values[r], index[r] = row[at], at


@kernel
def searchsorted(
    out: i64_ptr, edges: T_ptr, x: T_ptr, rows: i64, n: i64, m: i64, edge_step: i64, right: i64,
    chunk: i64, nchunks: i64,
):  # fmt: skip
    """out[rows, m] = where x goes into sorted edges[rows, n] (edges[n] if edge_step is 0); units: rows * m.

    The first place whose edge is >= x, or > x if `right`.
    """
    lo, hi = split(rows * m, chunk, nchunks)
    for i in range(lo, hi):
        row = offset(edges, i // m * edge_step * n)
        value = x[i]
        start, end = 0, n
        while start < end:
            middle = (start + end) // 2
            stop = row[middle] > value if right != 0 else row[middle] >= value
            if stop:
                end = middle
            else:
                start = middle + 1
        out[i] = start


@kernel
def unique_runs(
    values: T_ptr, group: i64_ptr, counts: i64_ptr, total: i64_ptr, x: T_ptr, n: i64, chunk: i64, nchunks: i64
):
    """Runs of equal neighbours in x[n]: values, counts, their number total[0], each element's group[n].

    Run as one chunk. On sorted data these are the unique values. Every NaN is a run of its own.
    """
    if chunk == 0:
        runs = 0
        for i in range(n):
            if i == 0 or x[i] != x[i - 1]:
                values[runs] = x[i]
                counts[runs] = 0
                runs += 1
            counts[runs - 1] += 1
            group[i] = runs - 1
        total[0] = runs
