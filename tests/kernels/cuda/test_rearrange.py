"""CUDA masks, flips, triangles, counts and windows against their CPU twins."""

from __future__ import annotations

import numpy as np
import pytest
from twins import check_twins, empty, randoms

pytestmark = pytest.mark.simulator


@pytest.mark.parametrize("n", [1, 300, 5000])
def test_masks(n: int) -> None:
    x, mask = randoms(0, n), (randoms(1, n) > 0.3).astype(np.uint8)
    starts = np.concatenate([[0], np.add.reduceat(mask, np.arange(0, n, 4096), dtype=np.int64)]).cumsum()
    check_twins("rearrange", "masked_select", empty(int(starts[-1])), x, mask, starts, n)
    check_twins("rearrange", "masked_scatter", x, randoms(2, max(1, int(starts[-1]))), mask, starts, n)
    check_twins("rearrange", "masked_fill", empty(n), x, mask, 7.5, n)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_places(dtype: str) -> None:
    x = (randoms(0, 3, 5, 4) * 10).astype(dtype)
    y = np.zeros_like(x)
    check_twins("rearrange", "flip", y, x, 3, 5, 4)
    for shift in (0, 2, 4):
        check_twins("rearrange", "roll", y, x, 3, 5, 4, shift)
    for diagonal in (-9, -1, 0, 2, 9):
        for upper in (0, 1):
            check_twins("rearrange", "triangle", y, x, 3, 5, 4, diagonal, upper)


def test_counts() -> None:
    index = np.random.default_rng(0).integers(0, 70, 200)
    check_twins("rearrange", "one_hot", empty(200, 70, dtype="int64"), index, 200, 70)
    check_twins("rearrange", "bincount", empty(70, dtype="int64"), index, index, 200, 70, 0)
    check_twins("rearrange", "bincount", empty(70), index, randoms(1, 200), 200, 70, 1, schedules=(0, 1))
    ends = np.array([3, 3, 80, 81]).astype(np.int64)
    check_twins("rearrange", "repeat_index", empty(81, dtype="int64"), ends, 4)


def test_windows() -> None:
    # x, y, kernel, stride, padding, dilation
    sizes = (7, 6, (7 + 2 - 4 - 1) // 2 + 1, 6 - 2, 3, 2, 2, 1, 1, 0, 2, 2)
    x, taps = randoms(0, 2, 7, 6), randoms(1, 2, 3, 2, sizes[2], sizes[3])
    check_twins("rearrange", "unfold_windows", np.full_like(taps, np.nan), x, 2, *sizes)
    check_twins("rearrange", "fold_windows", np.full_like(x, np.nan), taps, 2, *sizes)
