"""CUDA reductions against their CPU twins: every reduction, rows and columns, whole and in two stages."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import check
from simulator import run
from twins import check_close, check_twins, empty, randoms

from numtorch.kernels.cpu import reduce as cpu
from numtorch.kernels.cuda import reduce as cuda
from numtorch.kernels.interpret import Pointer

pytestmark = pytest.mark.simulator
NAMES = [name for name, value in vars(cuda).items() if isinstance(value, cuda.Reduction)]
FLOAT_ONLY = ("MEAN", "NORM_ONE", "NORM_TWO", "NORM_POWER", "NORM_MAX", "NORM_MIN")


def dtypes(name: str) -> tuple[str, str]:
    """(T, S) in which a reduction is tested."""
    return {"ANY": ("int32", "uint8"), "ALL": ("int32", "uint8"), "COUNT_NONZERO": ("float32", "int64")}.get(
        name, ("float32", "float32")
    )


def parameter(name: str) -> float:
    """The run-time number of a reduction."""
    return {"MEAN": 7.0, "NORM_POWER": 3.0}.get(name, -np.inf if name in ("MAX", "MIN", "NORM_MIN") else 1.0)


def operand(name: str, T: str, *shape: int) -> np.ndarray:
    x = randoms(3, *shape)
    return (x > (0 if name == "ANY" else -2)).astype(T) if T == "int32" else (x * 0.8).astype(T)


@pytest.mark.parametrize("name", NAMES)
def test_every_reduction(name: str) -> None:
    (T, S), a = dtypes(name), parameter(name)
    ours, theirs = getattr(cuda, name), getattr(cpu, name)
    tolerance = 1e-5 if "POWER" in name else None
    x = operand(name, T, 3, 40)
    for o, c in ((ours.rows, theirs.rows), (ours.part_rows, theirs.part_rows)):
        check_twins("reduce", o.name, empty(3, 2, dtype=S), x, 3, 40, 25, 2, a, cpu=c, tolerance=tolerance)
    x = operand(name, T, 2, 20, 6)
    for o, c in ((ours.cols, theirs.cols), (ours.part_cols, theirs.part_cols)):
        check_twins(
            "reduce", o.name, empty(2, 2, 6, dtype=S), x, 2, 20, 6, 11, 2, a, cpu=c, tolerance=tolerance
        )
    partial = np.abs(operand(name, S, 3, 9)) if S != "uint8" else operand(name, T, 3, 9).astype(S)
    merge = (ours.merge_rows, theirs.merge_rows)
    check_twins(
        "reduce", merge[0].name, empty(3, dtype=S), partial, 3, 9, 9, 1, a, cpu=merge[1], tolerance=1e-5
    )


@pytest.mark.parametrize(
    "outer, n, block", [(1, 1, 1), (2, 5000, 2048), (1, 1030, 1030), (17, 3, 3), (2, 0, 1)]
)
def test_rows(outer: int, n: int, block: int) -> None:
    blocks = max(1, -(-n // block))
    x = randoms(0, outer, n)
    y = empty(outer, blocks)
    check_twins("reduce", "sum_rows", y, x, outer, n, block, blocks, 1.0, cpu=cpu.SUM.rows, schedules=(0, 1))


@pytest.mark.parametrize(
    "outer, n, inner, block", [(2, 3, 2, 3), (1, 70, 33, 40), (2, 9, 70, 9), (2, 0, 3, 1)]
)
def test_columns(outer: int, n: int, inner: int, block: int) -> None:
    blocks = max(1, -(-n // block))
    x = randoms(0, outer, n, inner)
    y = empty(outer, blocks, inner)
    check_twins(
        "reduce", "sum_cols", y, x, outer, n, inner, block, blocks, 1.0, cpu=cpu.SUM.cols, schedules=(0, 1)
    )


@pytest.mark.parametrize("start", [0, 1, 2, 3])
def test_alignment_does_not_change_the_bits(start: int) -> None:
    x = randoms(0, 2100)
    wide, y, z = np.zeros(2104, np.float32), empty(1), empty(1)
    wide[start : start + 2100] = x
    run(cuda.SUM.rows, y, x, 1, 2100, 2100, 1, 1.0)
    run(cuda.SUM.rows, z, Pointer(wide, start), 1, 2100, 2100, 1, 1.0, T="float32")
    assert y.tobytes() == z.tobytes()


@pytest.mark.parametrize("name", ["MAX", "MIN", "NORM_MAX"])
def test_nan_wins(name: str) -> None:
    x = randoms(0, 4, 1100)
    x[0, 1099], x[1, 0], x[2, 500] = np.nan, np.nan, np.inf
    y = empty(4)
    run(getattr(cuda, name).rows, y, x, 4, 1100, 1100, 1, parameter(name))
    reduce = {"MAX": np.max, "MIN": np.min, "NORM_MAX": lambda v, axis: np.abs(v).max(axis)}[name]
    check_close(name, y, reduce(x, axis=1))


@pytest.mark.parametrize(
    "T, S", [("uint8", "int64"), ("int16", "int64"), ("int64", "int64"), ("float64", "float64")]
)
def test_dtypes(T: str, S: str) -> None:
    x = (randoms(0, 3, 50) * 10).astype(T)
    check_twins("reduce", "sum_rows", empty(3, dtype=S), x, 3, 50, 50, 1, 1.0, cpu=cpu.SUM.rows)
    lowest = float(np.iinfo(T).min) if T != "float64" else -np.inf
    check_twins("reduce", "max_rows", empty(3, dtype=T), x, 3, 50, 50, 1, lowest, cpu=cpu.MAX.rows)


@pytest.mark.cuda_compile
@pytest.mark.parametrize(
    "T, S", [("uint8", "uint8"), ("int64", "int64"), ("float64", "float64"), ("int16", "int16")]
)
def test_code_of_other_dtypes(T: str, S: str) -> None:
    for kernel in (cuda.MAX.rows, cuda.MAX.cols):
        check(kernel, T=T, S=S)
