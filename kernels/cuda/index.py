"""Reading and writing at indices: gather, scatter, index_select, index_add, embedding. Twin of cpu/index.py.

Arrays are contiguous (outer, n, inner); indices are checked and not negative. Where several indices may name
one destination, a warp owns a range of destinations and applies their updates in index order:

    indices   i0 i1 .. i31 | i32 ..     each lane reads one, the warp votes which of them lie in its range
    updates   first vote, second ..     applied in order, so the result is that of one thread, to the last bit
"""

from numpy import int32, int64, uint32

from ..cpu.index import reduced
from ..jit import T, T_ptr, device, i64, i64_ptr, real
from ..loops import quotient
from .gpu import ballot, barrier, block, first_bit, shared, shuffle, thread, warp_barrier
from .launch import ceil_div, kernel
from .team import lane, warp

THREADS, WARPS = 256, 8
MANY = 8192  # threads (or warps) that are enough to fill a GPU
COLUMNS = 256  # columns of a row for one warp
REPLACE = 4  # one more mode beside those of cpu/index.py


@device
def element():
    """Number of this thread in the grid."""
    return int64(block()) * int64(THREADS) + int64(thread())


@device
def extreme(room, v, sign):
    """The largest v * sign of the block, times sign; `room` holds an int64 a thread."""
    t = thread()
    barrier()
    room[t] = v
    half = int32(THREADS // 2)
    while half > 0:
        barrier()
        if t < half:
            other = room[int32(t + half)]
            if (sign > 0 and other > room[t]) or (sign < 0 and other < room[t]):
                room[t] = other
        half = int32(half >> int32(1))
    barrier()
    return room[0]


@device
def write_range(out, index, n, skip, has_skip):
    """out = (smallest, largest) index; (0, -1) where there is none. The work of one block."""
    room = shared(THREADS, int64)
    low, high = int64(9223372036854775807), int64(-9223372036854775807)
    i = int64(thread())
    while i < n:
        v = index[i]
        if has_skip == 0 or v != skip:
            low, high = min(low, v), max(high, v)
        i += THREADS
    low, high = extreme(room, low, -1), extreme(room, high, 1)
    if thread() == 0:
        out[0] = low if low <= high else int64(0)
        out[1] = high if low <= high else int64(-1)


@kernel(grid=lambda: 1, threads=THREADS)
def index_range(out: i64_ptr, index: i64_ptr, n: i64):
    """out = (smallest, largest) of index[n]; (0, -1) if n is 0."""
    write_range(out, index, n, 0, 0)


@kernel(grid=lambda: 1, threads=THREADS)
def index_range_except(out: i64_ptr, index: i64_ptr, n: i64, skip: i64):
    """index_range of the elements that are not `skip`; (0, -1) if there are none."""
    write_range(out, index, n, skip, 1)


@kernel(grid=lambda n: ceil_div(n, THREADS), threads=THREADS)
def wrap_index(out: i64_ptr, index: i64_ptr, n: i64, size: i64):
    """out[n] = index, with `size` added to negative ones; out may be index."""
    i = element()
    if i < n:
        v = index[i]
        out[i] = v + (size if v < 0 else int64(0))


# ------------------------------------------------------------ index of the whole shape: gather and scatter
def elements_grid(outer: int, n: int, inner: int) -> int:
    """A thread for each element of (outer, n, inner)."""
    return ceil_div(outer * n * inner, THREADS)


@kernel(grid=elements_grid, threads=THREADS)
def gather(y: T_ptr, x: T_ptr, index: i64_ptr, outer: i64, n: i64, inner: i64, size: i64):
    """y[o, k, i] = x[o, index[o, k, i], i]; y and index are [outer, n, inner], x is [outer, size, inner]."""
    at = element()
    if at < outer * n * inner:
        row = quotient(at, inner)
        o = quotient(row, n)
        y[at] = x[(o * size + index[at]) * inner + at - row * inner]


@device
def parts(outer, n, inner, size):
    """How many warps share one column (o, i), each with a range of destinations; 0: a thread is enough."""
    columns = outer * inner
    if columns >= MANY:
        return int64(0)
    wanted = min(size, min((n + 255) // 256, (MANY + columns - 1) // max(columns, 1)))
    return int64(max(wanted, 1))


def scatter_grid(outer: int, n: int, inner: int, size: int) -> int:
    """A thread or `parts` warps for each column."""
    shared_by = int(parts.py(outer, n, inner, size))
    return ceil_div(outer * inner * shared_by, WARPS) if shared_by else ceil_div(outer * inner, THREADS)


@device
def combined(a, b, mode):
    """What `b` makes of the destination `a`."""
    return T(b) if mode == REPLACE else reduced(a, b, mode)


@device
def scatter_part(y, src, index, from_base, to_base, n, inner, low, high, src_step, mode):
    """A warp applies the updates of one column to its destinations low..high, in order."""
    k = int64(0)
    while k < n:
        at = from_base + (k + lane()) * inner
        mine, value, result = int64(-1), T(0), T(0)
        if k + lane() < n:
            d = index[at]
            if low <= d < high:
                mine, value, result = d, src[at * src_step], y[to_base + d * inner]
        votes = ballot(mine >= 0)
        is_last = mine >= 0
        while votes != 0:
            r = first_bit(votes)
            votes = uint32(votes & uint32(votes - uint32(1)))
            d, v = shuffle(mine, r), shuffle(value, r)
            if d == mine:
                result = combined(result, v, mode)
                is_last = is_last and r <= lane()
        warp_barrier()  # all have read before any writes, and the next reads find what was written
        if is_last:
            y[to_base + mine * inner] = result
        warp_barrier()
        k += 32


@device
def scatter_all(y, src, index, outer, n, inner, size, src_step, mode):
    """y[o, index[o, k, i], i] is combined with src[o, k, i] in the order of k."""
    shares = parts(outer, n, inner, size)
    if shares == 0:
        column = element()
        if column < outer * inner:
            o = quotient(column, inner)
            from_base, to_base = (o * n - o) * inner + column, (o * size - o) * inner + column
            for k in range(n):
                to = to_base + index[from_base + k * inner] * inner
                y[to] = combined(y[to], src[(from_base + k * inner) * src_step], mode)
    else:
        unit = int64(block()) * WARPS + int64(warp())
        column = quotient(unit, shares)
        if column < outer * inner:
            o = quotient(column, inner)
            from_base, to_base = (o * n - o) * inner + column, (o * size - o) * inner + column
            span = (size + shares - 1) // shares
            low = (unit - column * shares) * span
            scatter_part(y, src, index, from_base, to_base, n, inner, low, low + span, src_step, mode)


@kernel(grid=scatter_grid, threads=THREADS)
def scatter(y: T_ptr, src: T_ptr, index: i64_ptr, outer: i64, n: i64, inner: i64, size: i64, src_step: i64):
    """y[o, index[o, k, i], i] = src[o, k, i] (src_step 1) or src[0] (0); the last k wins."""
    scatter_all(y, src, index, outer, n, inner, size, src_step, REPLACE)


@kernel(grid=scatter_grid, threads=THREADS)
def scatter_add(
    y: T_ptr, src: T_ptr, index: i64_ptr, outer: i64, n: i64, inner: i64, size: i64, src_step: i64
):
    """y[o, index[o, k, i], i] += src[o, k, i] (src_step 1) or src[0] (0)."""
    scatter_all(y, src, index, outer, n, inner, size, src_step, 0)


@kernel(grid=scatter_grid, threads=THREADS)
def scatter_reduce(
    y: T_ptr, src: T_ptr, index: i64_ptr, outer: i64, n: i64, inner: i64, size: i64, mode: i64
):
    """y[o, index[o, k, i], i] is combined with src[o, k, i] by mode ADD, MULTIPLY, MAXIMUM or MINIMUM."""
    scatter_all(y, src, index, outer, n, inner, size, 1, mode)


# ---------------------------------------------------------------- index of one axis: whole slices
@kernel(grid=elements_grid, threads=THREADS)
def index_select(y: T_ptr, x: T_ptr, index: i64_ptr, outer: i64, n: i64, inner: i64, size: i64):
    """y[o, k, :] = x[o, index[k], :]; y is [outer, n, inner], x [outer, size, inner]. Embedding: outer 1."""
    at = element()
    if at < outer * n * inner:
        row = quotient(at, inner)
        o = quotient(row, n)
        y[at] = x[(o * size + index[row - o * n]) * inner + at - row * inner]


@device
def ranges(outer, inner, size):
    """Into how many ranges of destinations the rows are dealt."""
    tiles = (inner + COLUMNS - 1) // COLUMNS
    return int64(max(1, min(size, MANY // max(1, outer * tiles))))


def slices_grid(outer: int, inner: int, size: int) -> int:
    """A warp for each range of destinations of each tile of columns."""
    return ceil_div(outer * int(ranges.py(outer, inner, size)) * ceil_div(inner, COLUMNS), WARPS)


@device
def my_slice(outer, inner, size):
    """(o, first and end of destinations, first and end of columns) of this warp; o may be `outer`."""
    shares, tiles = ranges(outer, inner, size), (inner + COLUMNS - 1) // COLUMNS
    unit = int64(block()) * WARPS + int64(warp())
    rest = quotient(unit, tiles)
    o = quotient(rest, shares)
    span = (size + shares - 1) // shares
    low, first = (rest - o * shares) * span, (unit - rest * tiles) * COLUMNS
    return o, low, min(size, low + span), first, min(inner, first + COLUMNS)


@device
def my_votes(index, n, k, low, high, skip):
    """(this lane's destination or -1, which lanes have one) among indices k..k + 31."""
    mine = int64(-1)
    if k + lane() < n:
        d = index[k + lane()]
        if low <= d < high and d != skip:
            mine = d
    return mine, ballot(mine >= 0)


@device
def add_slices(y, src, index, o, n, inner, size, low, high, first, end, alpha, skip):
    """y[o, index[k], first:end] += alpha * src[o, k, first:end] for destinations low..high, in order of k."""
    k = int64(0)
    while k < n:
        mine, votes = my_votes(index, n, k, low, high, skip)
        while votes != 0:
            r = first_bit(votes)
            votes = uint32(votes & uint32(votes - uint32(1)))
            to, source = (o * size + shuffle(mine, r)) * inner, (o * n + k + r) * inner
            c = first + lane()
            while c < end:
                y[to + c] = T(y[to + c] + src[source + c] * alpha)
                c += 32
        k += 32


@kernel(grid=slices_grid, threads=THREADS)
def index_add(y: T_ptr, src: T_ptr, index: i64_ptr, outer: i64, n: i64, inner: i64, size: i64, alpha: real):
    """y[o, index[k], :] += alpha * src[o, k, :], in order of k."""
    o, low, high, first, end = my_slice(outer, inner, size)
    if o < outer:
        add_slices(y, src, index, o, n, inner, size, low, high, first, end, alpha, -1)


@kernel(grid=slices_grid, threads=THREADS)
def index_copy(
    y: T_ptr, src: T_ptr, index: i64_ptr, outer: i64, n: i64, inner: i64, size: i64, src_step: i64
):
    """y[o, index[k], :] = src[o, k, :], or src[0] everywhere if src_step is 0; the last k wins."""
    o, low, high, first, end = my_slice(outer, inner, size)
    k = int64(0)
    while k < n and o < outer:
        mine, votes = my_votes(index, n, k, low, high, -1)
        while votes != 0:
            r = first_bit(votes)
            votes = uint32(votes & uint32(votes - uint32(1)))
            to, source = (o * size + shuffle(mine, r)) * inner, (o * n + k + r) * inner
            c = first + lane()
            while c < end:
                y[to + c] = src[(source + c) * src_step]
                c += 32
        k += 32


def embedding_grid(size: int, inner: int) -> int:
    """slices_grid of one outer index."""
    return slices_grid(1, inner, size)


@kernel(grid=embedding_grid, threads=THREADS)
def embedding_backward(dw: T_ptr, g: T_ptr, index: i64_ptr, n: i64, size: i64, inner: i64, padding: i64):
    """dw[size, inner] = 0, then dw[index[k]] += g[k] for index[k] != padding (-1 for none)."""
    o, low, high, first, end = my_slice(int64(1), inner, size)
    if o < 1:
        row = low
        while row < high:
            c = first + lane()
            while c < end:
                dw[row * inner + c] = T(0)
                c += 32
            row += 1
        add_slices(dw, g, index, o, n, inner, size, low, high, first, end, T(1), padding)
