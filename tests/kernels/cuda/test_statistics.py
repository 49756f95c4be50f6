"""CUDA argmax and argmin, mean and variance, nonzero, against their CPU twins."""

from __future__ import annotations

import numpy as np
import pytest
from twins import check_twins, empty, randoms

pytestmark = pytest.mark.simulator
SCHEDULES = (0, 1)


@pytest.mark.parametrize("outer, n, block", [(1, 1, 1), (9, 40, 40), (1, 2500, 1100)])
@pytest.mark.parametrize("name", ["argmax_rows", "argmin_rows"])
def test_arg_rows(name: str, outer: int, n: int, block: int) -> None:
    blocks = -(-n // block)
    x = np.round(randoms(0, outer, n) * 3)  # many equal values
    if n > 1:
        x[0, 17] = x[0, 30] = np.nan
    args = (empty(outer, blocks), empty(outer, blocks, dtype="int64"), x, outer, n, block, blocks)
    check_twins("argreduce", name, *args, 1, schedules=SCHEDULES)
    check_twins("argreduce", name, *args, 0)
    check_twins(
        "argreduce",
        name,
        empty(outer, blocks, dtype="int32"),
        args[1],
        np.nan_to_num(x).astype("int32"),
        *args[3:],
        1,
    )


@pytest.mark.parametrize("outer, n, inner, block", [(2, 7, 3, 7), (1, 60, 40, 25)])
@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_arg_columns(name: str, outer: int, n: int, inner: int, block: int) -> None:
    blocks = -(-n // block)
    x = np.round(randoms(0, outer, n, inner) * 3)
    x[0, 4, 1] = x[0, 6, 1] = np.nan
    shape = (outer, blocks, inner)
    args = (empty(*shape), empty(*shape, dtype="int64"), x, outer, n, inner, block, blocks, 1)
    _, part, _ = check_twins("argreduce", f"{name}_cols", *args, schedules=SCHEDULES)
    values, index = empty(outer, inner), empty(outer, inner, dtype="int64")
    check_twins("argreduce", f"{name}_merge", values, index, part, x, outer, blocks, n, inner, 1)


@pytest.mark.parametrize("root", [0, 1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_variance(root: int, dtype: str) -> None:
    for outer, n, block in ((9, 40, 40), (1, 2500, 1100), (2, 1, 1)):
        blocks, x = -(-n // block), randoms(0, outer, n, dtype=dtype) + 100
        out = empty(outer, blocks, dtype=dtype), empty(outer, blocks, dtype=dtype)
        sizes = (outer, n, block, blocks)
        check_twins(
            "moments", "var_rows", *out, x, *sizes, n - 1.0, root, 1, 0, schedules=SCHEDULES, tolerance=1e-5
        )
    outer, n, inner, block = 2, 60, 40, 25
    blocks, x = -(-n // block), randoms(0, outer, n, inner, dtype=dtype) + 100
    pairs = empty(outer, blocks, 2, inner, dtype=dtype)
    sizes = (outer, n, inner, block, blocks)
    check_twins(
        "moments", "var_cols", pairs, pairs, x, *sizes, 1.0, 0, 2, 1, schedules=SCHEDULES, tolerance=1e-5
    )


def test_variance_in_two_stages() -> None:
    part = np.abs(randoms(0, 2, 3, 2, 5))
    args = (empty(2, 5), empty(2, 5), part, 2, 3, 5, 70, 25, 69.0, 1)
    check_twins("moments", "var_merge", *args)


@pytest.mark.parametrize("shape", [(1,), (5000,), (3, 7, 250)])
def test_nonzero(shape: tuple[int, ...]) -> None:
    x = (randoms(0, *shape) > 0.3).astype(np.float32)
    n, blocks = x.size, -(-x.size // 4096)
    (starts, _) = check_twins("nonzero", "count_blocks", np.zeros(blocks + 1, np.int64), x, n)
    (starts,) = check_twins("nonzero", "add_up", starts, blocks)
    sizes = np.array(shape, np.int64)
    out = empty(int(starts[-1]), len(shape), dtype="int64")
    found, *_ = check_twins(
        "nonzero", "write_places", out, x, starts, sizes, n, len(shape), schedules=SCHEDULES
    )
    np.testing.assert_array_equal(found, np.argwhere(x))


def test_many_running_totals() -> None:
    counts = np.arange(600, dtype=np.int64)
    check_twins("nonzero", "add_up", counts, 599)
