"""A linear recurrence along the middle axis of contiguous (outer, n, inner) arrays, in either direction.

The coefficient between neighbours k - 1 and k is a[k] (a[0] is not read), so that the two directions are each
other's transpose: the gradient of one is the other with the same coefficients.
"""

from ..jit import T, T_ptr, i64, kernel
from ..memory import split


@kernel
def linear_scan(
    y: T_ptr, x: T_ptr, a: T_ptr, outer: i64, n: i64, inner: i64, reverse: i64, chunk: i64, nchunks: i64
):
    """y[k] = x[k] + a[k] y[k - 1], or x[k] + a[k + 1] y[k + 1] if `reverse`; units: outer * inner lines."""
    lo, hi = split(outer * inner, chunk, nchunks)
    for line in range(lo, hi):
        first = line // inner * n * inner + line % inner
        total = T(0)
        for r in range(n):
            at = first + (n - 1 - r if reverse != 0 else r) * inner
            if r == 0:
                total = x[at]
            else:
                total = x[at] + a[at + inner if reverse != 0 else at] * total
            y[at] = total
