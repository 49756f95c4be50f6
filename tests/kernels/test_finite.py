"""Looking for NaN and infinity: any length, any number of chunks, float16 by its bits."""

import numpy as np
import pytest
from harness import run

from numtorch.kernels import finite


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("n, nchunks", [(1, 1), (37, 1), (1000, 3)])
@pytest.mark.parametrize("interpreted", [False, True])
def test_what_each_chunk_holds(dtype, n, nchunks, interpreted):
    if interpreted and n > 100:
        return
    for value, is_nan, is_finite in [(1.0, False, True), (np.nan, True, False), (np.inf, False, False), (-np.inf, False, False)]:
        x = np.full(n, np.finfo(dtype).max)  # sums of such numbers overflow: only each by itself is looked at
        x[n // 2] = value
        nan, inf = np.full(nchunks, 7.0), np.full(nchunks, 7.0)
        kernel, given = (finite.nan_or_inf_half, x.view(np.int16)) if dtype == "float16" else (finite.nan_or_inf, x)
        with np.errstate(invalid="ignore"):
            run(kernel, nan, inf, given, n, nchunks=nchunks, interpreted=interpreted)
        assert bool(nan.any()) == is_nan and bool(inf.any()) != is_finite, value
        assert np.count_nonzero(inf) == (not is_finite)


def test_not_finite():
    for value in (0.0, np.nan, np.inf):
        x, out = np.ones(50, np.float32), np.zeros(1)
        x[49] = value
        run(finite.not_finite, out, x, 50)
        assert (out[0] == 0) == np.isfinite(value)
