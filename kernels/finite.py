"""Whether memory holds anything but finite numbers: one pass at the speed of reading."""

from __future__ import annotations

from .jit import T, T_ptr, f64_ptr, i64, kernel


@kernel(fastmath={"contract", "reassoc"})
def not_finite(out: f64_ptr, x: T_ptr, n: i64, chunk: i64, nchunks: i64):
    """`out[0]` becomes 0 if all of x[0:n] is finite, else NaN (v - v is 0 for a finite v). Run with one chunk."""
    total = T(0)
    for i in range(n):
        total += x[i] - x[i]
    out[0] = total
