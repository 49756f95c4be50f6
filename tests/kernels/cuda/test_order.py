"""CUDA running sums, sorting, selection, search and the most frequent value against their CPU twins."""

from __future__ import annotations

import numpy as np
import pytest
from twins import check_twins, empty, randoms

pytestmark = pytest.mark.simulator
SCHEDULES = (0, 1)


@pytest.mark.parametrize("outer, n, inner", [(1, 600, 1), (2, 30, 3), (1, 3, 4100), (2, 0, 3)])
def test_running(outer: int, n: int, inner: int) -> None:
    x, y, sizes = randoms(0, outer, n, inner), empty(outer, n, inner), (outer, n, inner)
    few = inner < 100
    for name in ("cumsum", "cumprod", "logcumsumexp")[: 3 if few else 1]:
        for reverse in (0, 1):
            check_twins(
                "scan", name, y, 1 + x / 10, *sizes, reverse, tolerance=1e-5, schedules=SCHEDULES[: 1 + few]
            )
    rounded = np.round(x * 2)
    if n > 10:
        rounded[0, 9, 0] = np.nan
    for name in ("cummax", "cummin")[: 1 + few]:
        check_twins(
            "scan", name, y, empty(*sizes, dtype="int64"), rounded, *sizes, schedules=SCHEDULES[: 1 + few]
        )


@pytest.mark.parametrize("outer, n, inner", [(1, 600, 1), (2, 30, 3), (1, 3, 4100)])
@pytest.mark.parametrize("reverse", [0, 1])
def test_recurrence(outer: int, n: int, inner: int, reverse: int) -> None:
    x, a = randoms(0, outer, n, inner), randoms(1, outer, n, inner) / 2
    a[0, 0] = np.nan  # never read
    args = (empty(outer, n, inner), x, a, outer, n, inner, reverse)
    check_twins("recurrence", "linear_scan", *args, tolerance=1e-5)


def test_running_sums_of_integers() -> None:
    x = np.random.default_rng(0).integers(0, 99, (2, 300)).astype(np.int32)
    check_twins("scan", "cumsum", empty(2, 300, dtype="int64"), x, 2, 300, 1, 0)


def rows_with_ties(rows: int, n: int) -> np.ndarray:
    x = np.round(randoms(0, rows, n) * 2)
    if n > 8:
        x[0, 3] = x[0, 7] = np.nan
    return x


@pytest.mark.parametrize("n", [1, 2, 40, 300])
def test_sort_and_select(n: int) -> None:
    x = rows_with_ties(2, n)
    values, index = empty(2, n), empty(2, n, dtype="int64")
    for descending in (0, 1):
        args = (values, index, values.copy(), index.copy(), x, 2, n, descending)
        v, i, *_ = check_twins("sort", "sort", *args, schedules=SCHEDULES, scratch=(2, 3))
        np.testing.assert_array_equal(np.take_along_axis(x, i, 1), v)
        k = min(5, n)
        out = empty(2, k), empty(2, k, dtype="int64")
        check_twins("sort", "topk", *out, x, 2, n, k, descending, schedules=SCHEDULES)
    check_twins("mode", "mode", empty(2), empty(2, dtype="int64"), np.sort(x), index * 0 + np.arange(n), 2, n)


@pytest.mark.parametrize("n, k", [(1, 1), (40, 1), (40, 20), (300, 299)])
@pytest.mark.parametrize("nan_first", [0, 1])
def test_kth(n: int, k: int, nan_first: int) -> None:
    x, out = rows_with_ties(2, n), (empty(2), empty(2, dtype="int64"))
    order = empty(2, n, dtype="int64")
    check_twins("sort", "kth", *out, order, x, 2, n, k, nan_first, schedules=SCHEDULES, scratch=(2,))


@pytest.mark.parametrize("right", [0, 1])
def test_search(right: int) -> None:
    edges, x = np.sort(rows_with_ties(2, 20), 1), rows_with_ties(2, 30)
    check_twins("sort", "searchsorted", empty(2, 30, dtype="int64"), edges, x, 2, 20, 30, 1, right)
    check_twins("sort", "searchsorted", empty(2, 30, dtype="int64"), edges[1:], x, 2, 20, 30, 0, right)


@pytest.mark.parametrize("n", [0, 1, 700])
def test_unique(n: int) -> None:
    x = np.sort(np.round(randoms(0, n) * 40))
    out = (np.zeros(n, np.float32), np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(1, np.int64))
    check_twins("sort", "unique_runs", *out, x, n, schedules=SCHEDULES)
