"""Looking for NaN and infinity: any length, any number of chunks, float16 and bfloat16 by their bits."""

import numpy as np
import pytest
from harness import run

from numtorch.kernels import finite


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("n, nchunks", [(1, 1), (37, 1), (1000, 3)])
@pytest.mark.parametrize("interpreted", [False, True])
def test_what_each_chunk_holds(dtype, n, nchunks, interpreted):
    if interpreted and n > 100:
        return
    for value, is_nan, is_finite in [(1.0, False, True), (np.nan, True, False), (np.inf, False, False), (-np.inf, False, False)]:
        wide = "float32" if dtype == "bfloat16" else dtype
        x = np.full(n, np.finfo(wide).max)  # sums of such numbers overflow: only each by itself is looked at
        x[n // 2] = value
        nan, inf = np.full(nchunks, 7.0), np.full(nchunks, 7.0)
        kernel, given, words = finite.nan_or_inf, x, (n,)
        if "float16" in dtype:
            bits = x.view(np.int16) if dtype == "float16" else (x.view(np.int32) >> 16).astype(np.int16)
            kernel, given, words = finite.nan_or_inf_half, bits, (n, 0x7C00 if dtype == "float16" else 0x7F80)
        with np.errstate(invalid="ignore"):
            run(kernel, nan, inf, given, *words, nchunks=nchunks, interpreted=interpreted)
        assert bool(nan.any()) == is_nan and bool(inf.any()) != is_finite, value
        assert np.count_nonzero(inf) == (not is_finite)


def test_not_finite():
    for value in (0.0, np.nan, np.inf):
        x, out = np.ones(50, np.float32), np.zeros(1)
        x[49] = value
        run(finite.not_finite, out, x, 50)
        assert (out[0] == 0) == np.isfinite(value)
