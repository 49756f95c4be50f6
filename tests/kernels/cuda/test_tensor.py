"""Products on tensor cores against NumPy on the same rounded factors: layouts, edges, alignment, parts, batches, epilogues."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compiling import check
from plans import run_plan
from tensor_cores import bfloat, rounded, wide
from twins import check_close, empty, randoms

from numtorch.kernels.cuda import tensor
from numtorch.kernels.cuda.launch import find

pytestmark = pytest.mark.simulator


def factors(seed: int, *shape: int, dtype: str) -> np.ndarray:
    """Random numbers that the tensor cores read without rounding them further."""
    x = randoms(seed, *shape)
    if dtype != "float32":
        return stored(x, dtype)
    return np.array([rounded(v) for v in x.ravel()], np.uint32).view(np.float32).reshape(shape)


def stored(x: np.ndarray, dtype: str) -> np.ndarray:
    """Numbers of 16 bits as kernels see them."""
    return bfloat(x.astype(np.float32)) if dtype == "bfloat16" else x.astype(np.float16).view(np.uint16)


def values(x: np.ndarray) -> np.ndarray:
    """The numbers that an array of a kernel holds, in float64."""
    return (x if x.dtype == np.float32 else wide(x)).astype(np.float64)


def check_product(
    M: int, N: int, K: int, layout: str, dtype: str, skew: int = 0, bias: bool = False, relu: bool = False, schedule: int = 0
) -> None:
    """One product against NumPy; `skew` more elements lie between lines, so that they are not aligned."""
    a, b, row = factors(0, M, K, dtype=dtype), factors(1, K, N, dtype=dtype), factors(2, N, dtype=dtype)
    wanted = values(a) @ values(b) + (values(row) if bias else 0)
    wanted = np.maximum(wanted, 0) if relu else wanted
    held, steps = [], []
    for x, turned in ((a, layout[0] == "T"), (b, layout[1] == "T")):
        lines = x.T if turned else x
        room = np.zeros((lines.shape[0], lines.shape[1] + skew), x.dtype)
        room[:, : lines.shape[1]] = lines
        held.append(room)
        steps.append((1, room.shape[1]) if turned else (room.shape[1], 1))
    c = np.zeros((M, N), a.dtype)
    plan = tensor.tensor_plan(M, N, K, steps[0], steps[1], dtype, bias=bias, relu=relu)
    work = np.full(plan.work_bytes // 4, np.nan, np.float32)
    run_plan(plan, schedule, c=c, a=held[0], b=held[1], bias=row if bias else 0, work=work)
    if dtype != "float32":
        near = 1e-3 if dtype == "float16" else 8e-3
        np.testing.assert_allclose(values(c), wanted, rtol=near, atol=near)
    else:
        check_close(f"{layout} {M}x{N}x{K}", c, wanted.astype(np.float32), 2e-6)


@pytest.mark.parametrize("layout, dtype", [("NN", "float32"), ("NT", "float16"), ("TN", "bfloat16"), ("TT", "float32")])
def test_layouts(layout: str, dtype: str) -> None:
    check_product(20, 36, 36, layout, dtype)


@pytest.mark.parametrize("dtype, M, N, layout", [("float32", 130, 3, "NN"), ("float16", 3, 5, "TT"), ("bfloat16", 3, 5, "NN")])
def test_edges_and_unaligned_lines(dtype: str, M: int, N: int, layout: str) -> None:
    check_product(M, N, 7, layout, dtype, skew=1, schedule=1)


def test_no_k() -> None:
    check_product(2, 3, 0, "NN", "float32", bias=True)


def test_parts_are_added_in_order() -> None:
    check_product(2, 3, 260, "NN", "float16", bias=True, relu=True)
    plan = tensor.tensor_plan(2, 3, 260, (260, 1), (3, 1), "float16")
    assert len(plan.launches) == 2 and plan.launches[0].words[-1] % 32 == 0, "parts begin at a whole piece"


def test_batches() -> None:
    a, b, c = factors(0, 2, 2, 4, 8, dtype="float32"), factors(1, 2, 8, 5, dtype="float32"), empty(2, 2, 4, 5)
    plan = tensor.tensor_plan(4, 5, 8, (8, 1), (5, 1), batch=(2, 2), a_batch=(64, 32), b_batch=(0, 40), bias=True, relu=True)
    bias = factors(2, 5, dtype="float32")
    run_plan(plan, c=c, a=a, b=b, bias=bias)
    check_close("batches", c, np.maximum(a.astype(np.float64) @ b + bias, 0).astype(np.float32), 2e-6)


def test_what_is_rounded() -> None:
    a, c = np.array([[1.0 + 2.0**-10 + 2.0**-12]], np.float32), empty(1, 1)
    run_plan(tensor.tensor_plan(1, 1, 1, (1, 1), (1, 1)), c=c, a=a, b=np.ones((1, 1), np.float32))
    assert c[0, 0] == np.float32(1.0 + 2.0**-10), "a tf32 number has 10 digits after the point"
    a[0, 0] = np.nan
    run_plan(tensor.tensor_plan(1, 1, 1, (1, 1), (1, 1), relu=True), c=c, a=a, b=np.ones((1, 1), np.float32))
    assert np.isnan(c[0, 0])


@pytest.mark.cuda_compile
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["tensor_nt", "tensor_tn", "tensor_sum"])  # both ways of both operands
def test_code_of_16_bits(name: str, dtype: str) -> None:
    made: Any = check(find("tensor", name), T=dtype)
    assert all(code.shared <= 49 * 1024 for code in made), "48 KiB, and what the driver takes"
