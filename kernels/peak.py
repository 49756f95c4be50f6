"""What a processor can do at most: a kernel of nothing but independent fused multiply-adds, to measure against."""

from __future__ import annotations

from .jit import T, T_ptr, i64, kernel
from .simd import vadd, vfma, vsplat, vstore

CHAINS = 12  # as many as two units of latency 4 to 6 need, and as fit beside the operands in 16 registers


@kernel
def multiply_add(out: T_ptr, times: i64, chunk: i64, nchunks: i64):
    """`times` rounds of CHAINS vector multiply-adds in each chunk; `out` holds 64 bytes for each chunk."""
    x = vsplat(T(0.999))
    y = vsplat(T(0.001))
    a = b = c = d = e = f = x
    g = h = i = j = k = m = y
    for _ in range(times):
        a = vfma(a, x, y)
        b = vfma(b, x, y)
        c = vfma(c, x, y)
        d = vfma(d, x, y)
        e = vfma(e, x, y)
        f = vfma(f, x, y)
        g = vfma(g, x, y)
        h = vfma(h, x, y)
        i = vfma(i, x, y)
        j = vfma(j, x, y)
        k = vfma(k, x, y)
        m = vfma(m, x, y)
    first = vadd(vadd(vadd(a, b), vadd(c, d)), vadd(e, f))
    second = vadd(vadd(vadd(g, h), vadd(i, j)), vadd(k, m))
    vstore(out, chunk * 16, vadd(first, second))
