"""CUDA softmax kernels against their CPU twins: short, medium and long rows, columns, special values."""

from __future__ import annotations

import numpy as np
import pytest
from twins import check_twins, empty, randoms

pytestmark = pytest.mark.simulator
ROWS = ("softmax_rows", "log_softmax_rows")
COLS = ("softmax_cols", "log_softmax_cols")
BACKWARD_ROWS = ("softmax_backward_rows", "log_softmax_backward_rows")
LOGSUMEXP = ("logsumexp_rows", "logsumexp_cols", "logsumexp_merge")
BACKWARD_COLS = ("softmax_backward_cols", "log_softmax_backward_cols")


@pytest.mark.parametrize("rows, n", [(1, 1), (9, 10), (2, 256), (2, 300), (1, 4100)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows(rows: int, n: int, dtype: str) -> None:
    x = randoms(0, rows, n, dtype=dtype) * 3
    for name in ROWS:
        check_twins("softmax", name, empty(rows, n, dtype=dtype), x, rows, n, schedules=(0, 1))


@pytest.mark.parametrize("name", ROWS)
def test_special_values_and_in_place(name: str) -> None:
    x = randoms(0, 6, 40)
    x[0, 3], x[1, 5], x[2, 7], x[3] = -np.inf, np.inf, np.nan, -np.inf
    x[4] *= 1e30
    check_twins("softmax", name, empty(6, 40), x, 6, 40)
    check_twins("softmax", name, x, x, 6, 40)
    check_twins("softmax", name, empty(0, 40), empty(0, 40), 0, 40)
    check_twins("softmax", name, empty(3, 0), empty(3, 0), 3, 0)


@pytest.mark.parametrize("outer, n, inner", [(1, 1, 2), (2, 10, 3), (2, 7, 40), (1, 300, 5)])
def test_columns(outer: int, n: int, inner: int) -> None:
    x = randoms(0, outer, n, inner)
    x[0, 0, 0] = -np.inf
    for name in COLS:
        check_twins("softmax", name, empty(outer, n, inner), x, outer, n, inner, schedules=(0, 1))


@pytest.mark.parametrize("rows, n", [(9, 10), (2, 300), (1, 4100)])
def test_backward_rows(rows: int, n: int) -> None:
    g, y = randoms(1, rows, n), randoms(2, rows, n) / 10
    for name in BACKWARD_ROWS:
        check_twins("softmax", name, empty(rows, n), g, y, rows, n, schedules=(0, 1))
        check_twins("softmax", name, g, g, y, rows, n)


@pytest.mark.parametrize("outer, n, inner", [(2, 10, 3), (2, 7, 40)])
def test_backward_columns(outer: int, n: int, inner: int) -> None:
    g, y = randoms(1, outer, n, inner), randoms(2, outer, n, inner) / 10
    for name in BACKWARD_COLS:
        check_twins("softmax", name, empty(outer, n, inner), g, y, outer, n, inner, schedules=(0, 1))


@pytest.mark.parametrize(
    "outer, n, inner, block", [(3, 40, 1, 25), (2, 60, 5, 25), (1, 7, 40, 7), (2, 0, 1, 1)]
)
def test_logsumexp(outer: int, n: int, inner: int, block: int) -> None:
    x, blocks = randoms(0, outer, n, inner) * 3, max(1, -(-n // block))
    if n:
        x[0, 0], x[0, :block, 0] = np.inf, -np.inf
    name = "logsumexp_rows" if inner == 1 else "logsumexp_cols"
    sizes = (outer, n) if inner == 1 else (outer, n, inner)
    check_twins("softmax", name, empty(outer, inner), x, *sizes, max(n, 1), 1, 1, schedules=(0, 1))
    part, _ = check_twins("softmax", name, empty(outer, blocks, 2, inner), x, *sizes, block, blocks, 0)
    check_twins("softmax", "logsumexp_merge", empty(outer, inner), part, outer, blocks, inner)
