"""CUDA pooling against its CPU twins.

Overlapping, padded, dilated and adaptive windows, one to three axes.
"""

from __future__ import annotations

import numpy as np
import pytest
from twins import check_twins, empty, randoms

from numtorch.kernels.cpu.pool import shape_words

pytestmark = pytest.mark.simulator

# input, kernel, stride, padding, dilation
WINDOWS = [
    ((8, 8), (2, 2), (2, 2), (0, 0), (1, 1)),
    ((9, 7), (3, 3), (2, 1), (1, 1), (1, 1)),
    ((11,), (3,), (2,), (1,), (2,)),
    ((5, 6, 4), (2, 3, 2), (1, 2, 2), (1, 1, 0), (1, 1, 1)),
]
ADAPTIVE = [((7, 5), (3, 2)), ((6,), (4,)), ((4, 5, 6), (2, 5, 1)), ((3, 3), (5, 4))]


def output(size, taps, stride, padding, dilation) -> tuple[int, ...]:
    return tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(size, taps, stride, padding, dilation)
    )


@pytest.mark.parametrize("size, taps, stride, padding, dilation", WINDOWS)
def test_max_pool(size, taps, stride, padding, dilation) -> None:
    out = output(size, taps, stride, padding, dilation)
    x = np.round(randoms(0, 3, *size) * 2)
    x.reshape(3, -1)[1, 5] = np.nan
    words = shape_words(size, out, taps, stride, padding, dilation)
    y, index = empty(3, *out), empty(3, *out, dtype="int64")
    _, index, _ = check_twins("pool", "max_pool", y, index, x, 3, *words)
    sizes = (3, int(np.prod(size)), int(np.prod(out)))
    g = randoms(1, 3, *out)
    check_twins(
        "pool", "max_pool_backward", empty(3, *size), g, index, *sizes, schedules=(0, 1), tolerance=1e-30
    )
    check_twins("pool", "max_pool_pick", y, x, index, *sizes)


def test_max_pool_2x2() -> None:
    x = randoms(0, 3, 7, 9)
    check_twins("pool", "max_pool_2x2", empty(3, 3, 4), empty(3, 3, 4, dtype="int64"), x, 3, 7, 9)


@pytest.mark.parametrize("size, taps, stride, padding, dilation", WINDOWS)
@pytest.mark.parametrize("include, divisor", [(1, 0), (0, 0), (1, 5)])
def test_avg_pool(size, taps, stride, padding, dilation, include: int, divisor: int) -> None:
    out = output(size, taps, stride, padding, (1,) * len(size))
    words = (*shape_words(size, out, taps, stride, padding), include, divisor)
    check_twins("pool", "avg_pool", empty(3, *out), randoms(0, 3, *size), 3, *words)
    check_twins("pool", "avg_pool_backward", empty(3, *size), randoms(0, 3, *out), 3, *words)


@pytest.mark.parametrize("size, out", ADAPTIVE)
def test_adaptive(size, out) -> None:
    words, x = shape_words(size, out), randoms(0, 3, *size)
    check_twins("pool", "adaptive_max_pool", empty(3, *out), empty(3, *out, dtype="int64"), x, 3, *words)
    check_twins("pool", "adaptive_avg_pool", empty(3, *out), x, 3, *words)
    check_twins("pool", "adaptive_avg_pool_backward", empty(3, *size), randoms(1, 3, *out), 3, *words)
