"""Elements moved to other places: masks, flips, triangles, one-hot rows, counts, repeats, image windows."""

from ..jit import T, T_ptr, i64, i64_ptr, kernel, real, u8_ptr
from ..memory import offset, split
from .nonzero import BLOCK


@kernel
def masked_select(y: T_ptr, x: T_ptr, mask: u8_ptr, starts: i64_ptr, n: i64, chunk: i64, nchunks: i64):
    """y = the elements of x[n] where mask[n]; `starts` as in nonzero.py; units: blocks."""
    lo, hi = split((n + BLOCK - 1) // BLOCK, chunk, nchunks)
    for b in range(lo, hi):
        at = starts[b]
        for i in range(b * BLOCK, n if n < (b + 1) * BLOCK else (b + 1) * BLOCK):
            if mask[i] != 0:
                y[at] = x[i]
                at += 1


@kernel
def masked_scatter(y: T_ptr, src: T_ptr, mask: u8_ptr, starts: i64_ptr, n: i64, chunk: i64, nchunks: i64):
    """y[n] takes the elements of src in order where mask[n]; `starts` as in nonzero.py; units: blocks."""
    lo, hi = split((n + BLOCK - 1) // BLOCK, chunk, nchunks)
    for b in range(lo, hi):
        at = starts[b]
        for i in range(b * BLOCK, n if n < (b + 1) * BLOCK else (b + 1) * BLOCK):
            if mask[i] != 0:
                y[i] = src[at]
                at += 1


@kernel
def masked_fill(y: T_ptr, x: T_ptr, mask: u8_ptr, value: real, n: i64, chunk: i64, nchunks: i64):
    """y[n] = value where mask[n], else x[n]."""
    lo, hi = split(n, chunk, nchunks)
    for i in range(lo, hi):
        y[i] = value if mask[i] != 0 else x[i]


@kernel
def flip(y: T_ptr, x: T_ptr, outer: i64, n: i64, inner: i64, chunk: i64, nchunks: i64):
    """y[o, k, :] = x[o, n - 1 - k, :]; units: outer * n."""
    lo, hi = split(outer * n, chunk, nchunks)
    for row in range(lo, hi):
        o = row // n
        source = offset(x, ((o + o + 1) * n - 1 - row) * inner)
        for i in range(inner):
            y[row * inner + i] = source[i]


@kernel
def roll(y: T_ptr, x: T_ptr, outer: i64, n: i64, inner: i64, shift: i64, chunk: i64, nchunks: i64):
    """y[o, (k + shift) % n, :] = x[o, k, :] with 0 <= shift < n; units: outer * n."""
    lo, hi = split(outer * n, chunk, nchunks)
    for row in range(lo, hi):
        k = row - row // n * n
        source = offset(x, (row - shift if k >= shift else row - shift + n) * inner)
        for i in range(inner):
            y[row * inner + i] = source[i]


@kernel
def triangle(
    y: T_ptr, x: T_ptr, batch: i64, rows: i64, cols: i64, diagonal: i64, upper: i64, chunk: i64, nchunks: i64
):
    """tril (or triu if `upper`) of x[batch, rows, cols]: the rest becomes 0."""
    lo, hi = split(batch * rows, chunk, nchunks)
    for row in range(lo, hi):
        edge = row - row // rows * rows + diagonal + (0 if upper != 0 else 1)
        edge = 0 if edge < 0 else edge
        edge = cols if edge > cols else edge
        for c in range(cols):
            keep = c >= edge if upper != 0 else c < edge
            y[row * cols + c] = x[row * cols + c] if keep else T(0)


@kernel
def one_hot(y: i64_ptr, index: i64_ptr, n: i64, classes: i64, chunk: i64, nchunks: i64):
    """y[n, classes] = 1 at index[n], else 0; units: n."""
    lo, hi = split(n, chunk, nchunks)
    for i in range(lo * classes, hi * classes):
        y[i] = 0
    for i in range(lo, hi):
        y[i * classes + index[i]] = 1


@kernel
def bincount(
    y: T_ptr, index: i64_ptr, weight: T_ptr, n: i64, bins: i64, weighted: i64, chunk: i64, nchunks: i64
):
    """y[bins] = how often each bin occurs in index[n], or the sum of its weights; units: bins."""
    lo, hi = split(bins, chunk, nchunks)
    for b in range(lo, hi):
        y[b] = T(0)
    for i in range(n):
        b = index[i]
        if lo <= b < hi:
            y[b] = T(y[b] + (weight[i] if weighted != 0 else T(1)))


@kernel
def repeat_index(y: i64_ptr, ends: i64_ptr, n: i64, chunk: i64, nchunks: i64):
    """y = 0, 0, .., 1, .. with element k up to place ends[k] (running totals of the repeats); units: n."""
    lo, hi = split(n, chunk, nchunks)
    for k in range(lo, hi):
        for i in range(ends[k - 1] if k > 0 else 0, ends[k]):
            y[i] = k


@kernel
def unfold_windows(
    y: T_ptr, x: T_ptr, planes: i64, xh: i64, xw: i64, yh: i64, yw: i64, kh: i64, kw: i64, sh: i64, sw: i64,
    ph: i64, pw: i64, lh: i64, lw: i64, chunk: i64, nchunks: i64,
):  # fmt: skip
    """y[planes, kh, kw, yh, yw] = x[planes, xh, xw] at every tap (im2col, nn.Unfold), 0 in the padding.

    s, p, l: stride, padding, dilation; units: planes * kh * kw.
    """
    lo, hi = split(planes * kh * kw, chunk, nchunks)
    for unit in range(lo, hi):
        plane = unit // (kh * kw)
        tap = unit - plane * kh * kw
        v = tap // kw * lh - ph
        u = (tap - tap // kw * kw) * lw - pw
        for oy in range(yh):
            row = oy * sh + v
            out = offset(y, (unit * yh + oy) * yw)
            inside = 0 <= row < xh
            source = offset(x, (plane * xh + (row if inside else 0)) * xw)
            for ox in range(yw):
                at = ox * sw + u
                out[ox] = source[at] if inside and 0 <= at < xw else T(0)


@kernel
def fold_windows(
    x: T_ptr, y: T_ptr, planes: i64, xh: i64, xw: i64, yh: i64, yw: i64, kh: i64, kw: i64, sh: i64, sw: i64,
    ph: i64, pw: i64, lh: i64, lw: i64, chunk: i64, nchunks: i64,
):  # fmt: skip
    """x[planes, xh, xw] = sum of y[planes, kh, kw, yh, yw] over the taps that fall there (col2im)."""
    lo, hi = split(planes, chunk, nchunks)
    for plane in range(lo, hi):
        image = offset(x, plane * xh * xw)
        for i in range(xh * xw):
            image[i] = T(0)
        for tap in range(kh * kw):
            v = tap // kw * lh - ph
            u = (tap - tap // kw * kw) * lw - pw
            for oy in range(yh):
                row = oy * sh + v
                source = offset(y, ((plane * kh * kw + tap) * yh + oy) * yw)
                if 0 <= row < xh:
                    for ox in range(yw):
                        at = ox * sw + u
                        if 0 <= at < xw:
                            image[row * xw + at] += source[ox]
