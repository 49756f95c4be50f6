"""Reading and writing at indices: gather, scatter, index_select, index_add, embedding.

Arrays are contiguous (outer, n, inner). Indices are int64, already checked by `index_range` and made
non-negative by `wrap_index`; these kernels trust them. Where several indices may name one destination, every
chunk owns a range of destinations and applies their updates in index order: any number of chunks gives the
same bits.
"""

from ..jit import T, T_ptr, device, i64, i64_ptr, kernel, real
from ..memory import offset, split

ADD, MULTIPLY, MAXIMUM, MINIMUM = 0, 1, 2, 3  # modes of scatter_reduce


@kernel
def index_range(out: i64_ptr, index: i64_ptr, n: i64, chunk: i64, nchunks: i64):
    """out = (smallest, largest) of index[n]; (0, -1) if n is 0; run as one chunk."""
    lowest = 0
    highest = -1
    if n > 0:
        lowest = index[0]
        highest = index[0]
    for i in range(n):
        lowest = index[i] if index[i] < lowest else lowest
        highest = index[i] if index[i] > highest else highest
    if chunk == 0:
        out[0] = lowest
        out[1] = highest


@kernel
def index_range_except(out: i64_ptr, index: i64_ptr, n: i64, skip: i64, chunk: i64, nchunks: i64):
    """index_range of the elements that are not `skip`; (0, -1) if there are none; run as one chunk."""
    lowest = 9223372036854775807
    highest = -9223372036854775807
    for i in range(n):
        lowest = index[i] if index[i] < lowest and index[i] != skip else lowest
        highest = index[i] if index[i] > highest and index[i] != skip else highest
    if chunk == 0:
        out[0] = lowest if lowest <= highest else 0
        out[1] = highest if lowest <= highest else -1


@kernel
def wrap_index(out: i64_ptr, index: i64_ptr, n: i64, size: i64, chunk: i64, nchunks: i64):
    """out[n] = index, with `size` added to negative ones; out may be index."""
    lo, hi = split(n, chunk, nchunks)
    for i in range(lo, hi):
        out[i] = index[i] + (size if index[i] < 0 else 0)


@device
def copy_row(y, x, n):
    for i in range(n):
        y[i] = x[i]


# ------------------------------------------------------------ index of the whole shape: gather and scatter
@kernel
def gather(
    y: T_ptr, x: T_ptr, index: i64_ptr, outer: i64, n: i64, inner: i64, size: i64, chunk: i64, nchunks: i64
):
    """y[o, k, i] = x[o, index[o, k, i], i]; y and index are [outer, n, inner], x is [outer, size, inner]."""
    lo, hi = split(outer * n, chunk, nchunks)
    for row in range(lo, hi):
        base = row // n * size * inner
        for i in range(inner):
            y[row * inner + i] = x[base + index[row * inner + i] * inner + i]


@kernel
def scatter(
    y: T_ptr, src: T_ptr, index: i64_ptr, outer: i64, n: i64, inner: i64, size: i64, src_step: i64,
    chunk: i64, nchunks: i64,
):  # fmt: skip
    """y[o, index[o, k, i], i] = src[o, k, i] (src_step 1) or src[0] (0); the last k wins."""
    lo, hi = split(outer * inner, chunk, nchunks)
    while lo < hi:
        o = lo // inner
        end = hi if hi < (o + 1) * inner else (o + 1) * inner
        for k in range(n):
            for i in range(lo - o * inner, end - o * inner):
                at = (o * n + k) * inner + i
                y[(o * size + index[at]) * inner + i] = src[at * src_step]
        lo = end


@kernel
def scatter_add(
    y: T_ptr, src: T_ptr, index: i64_ptr, outer: i64, n: i64, inner: i64, size: i64, src_step: i64,
    chunk: i64, nchunks: i64,
):  # fmt: skip
    """y[o, index[o, k, i], i] += src[o, k, i] (src_step 1) or src[0] (0); units: outer * inner."""
    lo, hi = split(outer * inner, chunk, nchunks)
    while lo < hi:
        o = lo // inner
        end = hi if hi < (o + 1) * inner else (o + 1) * inner
        for k in range(n):
            for i in range(lo - o * inner, end - o * inner):
                at = (o * n + k) * inner + i
                to = (o * size + index[at]) * inner + i
                y[to] = T(y[to] + src[at * src_step])
        lo = end


@device
def reduced(a, b, mode):
    if mode == ADD:
        return T(a + b)
    if mode == MULTIPLY:
        return T(a * b)
    if mode == MAXIMUM:
        return b if b > a or b != b else a
    return b if b < a or b != b else a


@kernel
def scatter_reduce(
    y: T_ptr, src: T_ptr, index: i64_ptr, outer: i64, n: i64, inner: i64, size: i64, mode: i64,
    chunk: i64, nchunks: i64,
):  # fmt: skip
    """y[o, index[o, k, i], i] is combined with src[o, k, i] by mode ADD, MULTIPLY, MAXIMUM or MINIMUM."""
    lo, hi = split(outer * inner, chunk, nchunks)
    while lo < hi:
        o = lo // inner
        end = hi if hi < (o + 1) * inner else (o + 1) * inner
        for k in range(n):
            for i in range(lo - o * inner, end - o * inner):
                at = (o * n + k) * inner + i
                to = (o * size + index[at]) * inner + i
                y[to] = reduced(y[to], src[at], mode)
        lo = end


# ---------------------------------------------------------------- index of one axis: whole slices
@kernel
def index_select(
    y: T_ptr, x: T_ptr, index: i64_ptr, outer: i64, n: i64, inner: i64, size: i64, chunk: i64, nchunks: i64
):
    """y[o, k, :] = x[o, index[k], :]; y is [outer, n, inner], x [outer, size, inner]. Embedding: outer 1."""
    lo, hi = split(outer * n, chunk, nchunks)
    for row in range(lo, hi):
        o = row // n
        copy_row(offset(y, row * inner), offset(x, (o * size + index[row - o * n]) * inner), inner)


@kernel
def index_add(
    y: T_ptr, src: T_ptr, index: i64_ptr, outer: i64, n: i64, inner: i64, size: i64, alpha: real,
    chunk: i64, nchunks: i64,
):  # fmt: skip
    """y[o, index[k], :] += alpha * src[o, k, :], in order of k; units: outer * size destinations."""
    lo, hi = split(outer * size, chunk, nchunks)
    while lo < hi:
        o = lo // size
        end = hi if hi < (o + 1) * size else (o + 1) * size
        for k in range(n):
            to = o * size + index[k]
            if lo <= to < end:
                out = offset(y, to * inner)
                row = offset(src, (o * n + k) * inner)
                for i in range(inner):
                    out[i] = T(out[i] + row[i] * alpha)
        lo = end


@kernel
def index_copy(
    y: T_ptr, src: T_ptr, index: i64_ptr, outer: i64, n: i64, inner: i64, size: i64, src_step: i64,
    chunk: i64, nchunks: i64,
):  # fmt: skip
    """y[o, index[k], :] = src[o, k, :], or src[0] everywhere if src_step is 0; units: outer * size.

    With outer 1 this is index_put: assignment by a linear index of rows of `inner` elements.
    """
    lo, hi = split(outer * size, chunk, nchunks)
    while lo < hi:
        o = lo // size
        end = hi if hi < (o + 1) * size else (o + 1) * size
        for k in range(n):
            to = o * size + index[k]
            if lo <= to < end:
                if src_step != 0:
                    copy_row(offset(y, to * inner), offset(src, (o * n + k) * inner), inner)
                else:
                    for i in range(inner):
                        y[to * inner + i] = src[0]
        lo = end


@kernel
def embedding_backward(
    dw: T_ptr, g: T_ptr, index: i64_ptr, n: i64, size: i64, inner: i64, padding: i64,
    chunk: i64, nchunks: i64,
):  # fmt: skip
    """dw[size, inner] = 0, then dw[index[k]] += g[k] for index[k] != padding (-1 for none); units: size."""
    lo, hi = split(size, chunk, nchunks)
    for i in range(lo * inner, hi * inner):
        dw[i] = T(0)
    for k in range(n):
        to = index[k]
        if lo <= to < hi and to != padding:
            out = offset(dw, to * inner)
            row = offset(g, k * inner)
            for i in range(inner):
                out[i] += row[i]
