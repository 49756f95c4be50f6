"""Running sums, products, extremes and log-sums along the middle axis of contiguous (outer, n, inner) arrays.

Each line is one serial chain; chunks share the outer * inner lines. `reverse` runs from the end
(the gradient of a running sum). Sums and products of integers are in dtype S = int64, as in PyTorch.
"""

from ..jit import S, S_ptr, T_ptr, device, i64, i64_ptr, kernel
from ..memory import offset, split
from ..scalar import exp, log
from .reduce import bind


@device
def plus(a, x):
    return S(a + S(x))


@device
def times(a, x):
    return S(a * S(x))


@device
def add_exp(a, x):
    """log(exp(a) + exp(x)) without overflow; two equal infinities stay what they are."""
    v = S(x)
    larger = a if a > v or a != a else v
    smaller = v if a > v or a != a else a
    return a if a == v and a - v != S(0) else larger + log(S(1) + exp(smaller - larger))


combine = plus


def scan_loop(y: S_ptr, x: T_ptr, outer: i64, n: i64, inner: i64, reverse: i64, chunk: i64, nchunks: i64):
    """y[o, r, i] = combination of x[o, 0..r, i] (x[o, r.., i] if `reverse`); units: outer * inner lines."""
    step = -inner if reverse != 0 else inner
    lo, hi = split(outer * inner if n > 0 else 0, chunk, nchunks)
    while lo < hi:
        o = lo // inner
        count = hi - lo if hi < (o + 1) * inner else (o + 1) * inner - lo
        first = o * n * inner + lo - o * inner + ((n - 1) * inner if reverse != 0 else 0)
        p, q = offset(x, first), offset(y, first)
        if count == 1:
            total = S(p[0])
            q[0] = total
            for r in range(1, n):
                total = combine(total, p[r * step])
                q[r * step] = total
        else:
            for c in range(count):
                q[c] = S(p[c])
            for r in range(1, n):
                for c in range(count):
                    q[r * step + c] = combine(q[r * step - step + c], p[r * step + c])
        lo += count


cumsum = kernel(bind(scan_loop, "cumsum", combine=plus))
cumprod = kernel(bind(scan_loop, "cumprod", combine=times))
logcumsumexp = kernel(bind(scan_loop, "logcumsumexp", combine=add_exp))


@device
def not_below(x, best):
    """Does x replace the largest so far? The last of equal values counts, and a NaN stays."""
    return x >= best or x != x


@device
def not_above(x, best):
    return x <= best or x != x


replaces = not_below


def extreme_loop(
    y: T_ptr, index: i64_ptr, x: T_ptr, outer: i64, n: i64, inner: i64, chunk: i64, nchunks: i64
):
    """y = best of x[o, 0..r, i], index = where; units: outer * inner lines."""
    lo, hi = split(outer * inner if n > 0 else 0, chunk, nchunks)
    for line in range(lo, hi):
        o = line // inner
        first = o * n * inner + line - o * inner
        best = x[first]
        at = 0
        for r in range(n):
            value = x[first + r * inner]
            if replaces(value, best):
                best = value
                at = r
            y[first + r * inner] = best
            index[first + r * inner] = at


cummax = kernel(bind(extreme_loop, "cummax", replaces=not_below))
cummin = kernel(bind(extreme_loop, "cummin", replaces=not_above))
