"""Whether memory holds anything but finite numbers: one pass at the speed of reading."""

from __future__ import annotations

import math

from .jit import T, T_ptr, f64_ptr, i64, kernel
from .memory import split


@kernel(fastmath={"contract", "reassoc"})
def not_finite(out: f64_ptr, x: T_ptr, n: i64, chunk: i64, nchunks: i64):
    """`out[0]` becomes 0 if all of x[0:n] is finite, else NaN (v - v is 0 for a finite v). Run with one chunk."""
    total = T(0)
    for i in range(n):
        total += x[i] - x[i]
    out[0] = total


@kernel(fastmath={"contract", "reassoc"})
def nan_or_inf(nan: f64_ptr, inf: f64_ptr, x: T_ptr, n: i64, chunk: i64, nchunks: i64):
    """For each chunk: `nan` becomes above 0 if its part of x[0:n] holds one, `inf` becomes NaN if it is not all finite; else 0."""
    lo, hi = split(n, chunk, nchunks)
    nans, total = T(0), T(0)
    for i in range(lo, hi):
        v = x[i]
        nans += T(0) if v == v else T(1)
        total += v - v
    nan[chunk] = nans
    inf[chunk] = total


@kernel
def nan_or_inf_half(nan: f64_ptr, inf: f64_ptr, x: T_ptr, n: i64, infinity: i64, chunk: i64, nchunks: i64):
    """The same for the bits of numbers of 16 bits (T is int16): those of ``infinity``, 0x7c00 or 0x7f80, and NaN above them."""
    lo, hi = split(n, chunk, nchunks)
    largest = T(0)
    for i in range(lo, hi):
        largest = max(largest, x[i] & T(0x7FFF))
    nan[chunk] = 1 if largest > T(infinity) else 0
    inf[chunk] = math.nan if largest >= T(infinity) else 0.0
