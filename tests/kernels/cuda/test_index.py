"""CUDA index kernels against their CPU twins: repeated indices, all launch shapes; equal to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import check
from twins import check_twins, empty, randoms

from numtorch.kernels.cuda.launch import find

pytestmark = pytest.mark.simulator
SCHEDULES = (0, 1)


def places(n: int, size: int) -> np.ndarray:
    """Indices in which many repeat."""
    return np.random.default_rng(7).integers(0, size, n)


def check_exact(name: str, *args, **options) -> list[np.ndarray]:
    """check_twins() without tolerance."""
    return check_twins("index", name, *args, tolerance=1e-30, schedules=SCHEDULES, **options)


def test_ranges() -> None:
    for values in ([5, -3, 9, 2], [], [7], list(range(-300, 400))):
        index = np.array(values, np.int64)
        check_exact("index_range", empty(2, dtype="int64"), index, len(index))
        check_exact("index_range_except", empty(2, dtype="int64"), index, len(index), 9)
    check_exact("index_range_except", empty(2, dtype="int64"), np.full(5, 9), 5, 9)
    check_exact("wrap_index", empty(600, dtype="int64"), np.arange(-300, 300), 600, 300)


@pytest.mark.parametrize("dtype", ["float32", "int8", "float64", "bool"])
def test_gather_and_select(dtype: str) -> None:
    outer, n, inner, size = 3, 5, 7, 4
    x = (randoms(0, outer, size, inner) * 50).astype(dtype)
    y = np.zeros((outer, n, inner), dtype)
    check_exact("gather", y, x, places(outer * n * inner, size), outer, n, inner, size)
    check_exact("index_select", y, x, places(n, size), outer, n, inner, size)


@pytest.mark.parametrize(
    "outer, n, inner, size", [(1, 300, 1, 7), (2, 40, 3, 90), (1, 2, 8192, 3), (2, 0, 3, 4)]
)
def test_scatter(outer: int, n: int, inner: int, size: int) -> None:
    y, src, index = (
        randoms(0, outer, size, inner),
        randoms(1, outer, n, inner),
        places(outer * n * inner, size),
    )
    sizes = (outer, n, inner, size)
    for step in (0, 1):
        check_exact("scatter", y, src if n else randoms(1, 1), index, *sizes, step)
        check_exact("scatter_add", y, src if n else randoms(1, 1), index, *sizes, step)
    for mode in range(4) if inner < 9 else ():
        check_exact("scatter_reduce", y, src, index, *sizes, mode)


@pytest.mark.parametrize("outer, n, inner, size", [(1, 70, 1, 9), (2, 40, 5, 6), (1, 35, 300, 4)])
def test_slices(outer: int, n: int, inner: int, size: int) -> None:
    y, src, index = randoms(0, outer, size, inner), randoms(1, outer, n, inner), places(n, size)
    check_twins("index", "index_add", y, src, index, outer, n, inner, size, 0.5, schedules=SCHEDULES)
    for step in (0, 1):
        check_exact("index_copy", y, src, index, outer, n, inner, size, step)


@pytest.mark.parametrize("padding", [-1, 2])
def test_embedding(padding: int) -> None:
    g, index = randoms(0, 50, 40), places(50, 6)
    check_exact("embedding_backward", empty(6, 40), g, index, 50, 6, 40, padding)


@pytest.mark.cuda_compile
def test_code_of_bytes() -> None:
    for name in ("scatter_add", "index_add", "gather"):
        check(find("index", name), T="uint8")
