"""CUDA matrix products against NumPy: both tiles, every layout, batches, epilogues, split sums, edges."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import check
from plans import run_plan
from twins import check_close, check_twins, empty, randoms

from numtorch.kernels.cuda import matmul, tile
from numtorch.kernels.cuda.launch import find, kernels
from numtorch.kernels.cuda.matmul import matmul_plan
from numtorch.kernels.interpret import Pointer

pytestmark = pytest.mark.simulator


def check_product(
    M: int, N: int, K: int, layout: str = "NN", dtype: str = "float32", schedule: int = 0, **options
) -> None:
    """One product of random matrices, with operands stored as `layout` says (T: transposed), against NumPy."""
    a, b = randoms(0, M, K, dtype=dtype), randoms(1, K, N, dtype=dtype)
    stored_a, stored_b = (a.T.copy() if layout[0] == "T" else a), (b.T.copy() if layout[1] == "T" else b)
    a_steps, b_steps = ((1, M) if layout[0] == "T" else (K, 1)), ((1, K) if layout[1] == "T" else (N, 1))
    c = randoms(2, M, N, dtype=dtype) if options.get("beta") else empty(M, N, dtype=dtype)
    bias = randoms(3, max(M, N), dtype=dtype)
    wanted = options.get("alpha", 1.0) * (a.astype("f8") @ b) + options.get("beta", 0.0) * np.nan_to_num(c)
    if options.get("bias"):
        wanted = wanted + (bias[:N] if options["bias"] == (0, 1) else bias[:M, None])
    wanted = np.maximum(wanted, 0) if options.get("relu") else wanted
    matmul_plan.cache_clear()
    plan = matmul_plan(M, N, K, a_steps, b_steps, dtype, **options)
    run_plan(plan, schedule, c=c, a=stored_a, b=stored_b, bias=bias if options.get("bias") else 0)
    check_close(f"{layout} {M}x{N}x{K}", c, wanted.astype(dtype), 3e-6 if dtype == "float32" else 1e-14)


@pytest.mark.parametrize("layout", ["NN", "NT", "TN", "TT"])
def test_layouts(layout: str) -> None:
    check_product(66, 5, 18, layout)
    check_product(5, 66, 18, layout)


@pytest.mark.parametrize("M, N, K", [(1, 1, 1), (1, 5, 100), (3, 2, 0), (64, 64, 16), (65, 1, 17)])
def test_shapes(M: int, N: int, K: int) -> None:
    check_product(M, N, K, schedule=1)
    check_product(M, N, K, "TT", dtype="float64")


@pytest.mark.parametrize("layout, shift", [("NN", 0), ("NT", 0), ("TN", 0), ("TT", 0), ("NT", 1), ("TN", 1)])
def test_four_at_once(layout: str, shift: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes of whole fours; matrices that begin one element off are read one by one."""
    monkeypatch.setattr(matmul, "tile_of", lambda *sizes: (tile.LARGE, 1))
    M, N, K = (132, 4, 12) if layout[0] == "N" else (4, 132, 12)
    a, b, c = randoms(0, M, K), randoms(1, K, N), empty(M * N + shift)
    held = [np.concatenate((np.full(shift, np.nan, "f4"), (x.T if t == "T" else x).ravel())) for x, t in zip((a, b), layout)]
    matmul_plan.cache_clear()
    steps = (1, M) if layout[0] == "T" else (K, 1), (1, K) if layout[1] == "T" else (N, 1)
    plan = matmul_plan(M, N, K, *steps)
    assert plan.launches[0].kernel.name == f"gemm_large_{layout.lower()}"
    run_plan(plan, **{name: Pointer(x, shift) for name, x in zip("cab", (c, *held))})
    check_close(layout, c[shift:].reshape(M, N), a @ b, 3e-6)


def test_the_large_tile_of_any_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "tile_of", lambda *sizes: (tile.LARGE, 1))
    check_product(130, 3, 9, "NT")


def test_bits_do_not_depend_on_the_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, found = randoms(0, 8, 24), randoms(1, 24, 8), set()
    for shape in (tile.LARGE, tile.MEDIUM):
        monkeypatch.setattr(matmul, "tile_of", lambda *sizes, shape=shape: (shape, 1))
        for turned in (False, True):
            matmul_plan.cache_clear()
            c, held, steps = empty(8, 8), (b.T.copy() if turned else b), ((1, 24) if turned else (8, 1))
            run_plan(matmul_plan(8, 8, 24, (24, 1), steps), c=c, a=a, b=held)
            found.add(c.tobytes())
    assert len(found) == 1


@pytest.mark.parametrize("M, N", [(2, 130), (130, 2)])
def test_few_lines(M: int, N: int) -> None:
    assert matmul.tile_of(M, N, 16, 1, "float32")[0] is (tile.FLAT if M < N else tile.TALL)
    check_product(M, N, 17, "NT")


@pytest.mark.parametrize("parts", [1, 3])
def test_epilogues(parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "tile_of", lambda *sizes: (tile.MEDIUM, parts))
    check_product(9, 7, 40, alpha=0.5, beta=-2.0, bias=(0, 1), relu=True)
    check_product(9, 7, 40, bias=(1, 0))
    check_product(9, 7, 40, relu=True)


def test_split_sums_repeat() -> None:
    matmul_plan.cache_clear()
    plan = matmul_plan(6, 5, 256, (256, 1), (5, 1))
    assert len(plan.launches) == 2 and plan.launches[0].words[-4] == 2
    a, b, first, second = randoms(0, 6, 256), randoms(1, 256, 5), empty(6, 5), empty(6, 5)
    run_plan(plan, c=first, a=a, b=b)
    run_plan(plan, 1, c=second, a=a, b=b)
    assert first.tobytes() == second.tobytes()


def test_batches() -> None:
    a, b, c = randoms(0, 2, 3, 4, 5), randoms(1, 3, 5, 6), empty(2, 3, 4, 6)
    plan = matmul_plan(4, 6, 5, (5, 1), (6, 1), batch=(2, 3), a_batch=(60, 20), b_batch=(0, 30))
    run_plan(plan, c=c, a=a, b=b)
    check_close("batches", c, a @ b, 3e-6)


def test_nan_passes_the_clamp() -> None:
    a, c = np.array([[1.0, np.nan], [-1.0, 0.0]], np.float32), empty(2, 1)
    run_plan(matmul_plan(2, 1, 2, (2, 1), (1, 1), relu=True), c=c, a=a, b=np.ones((2, 1), np.float32))
    assert np.isnan(c[0, 0]) and c[1, 0] == 0


def test_integers_wrap_around() -> None:
    a, b = (np.random.default_rng(k).integers(-(2**62), 2**62, s) for k, s in enumerate(((2, 3, 4), (4, 5))))
    c = empty(2, 3, 5, dtype="int64")
    args = (3, 5, 4, 5, 4, 1, 5, 1, 2, 1, 15, 12, 0, 0, 0)
    check_twins("matmul", "matmul_plain", c, a, b, *args)
    with pytest.raises(TypeError, match="float dtype"):
        matmul_plan(3, 5, 4, (4, 1), (5, 1), "int64", relu=True)


def test_sizes_beyond_32_bits() -> None:
    with pytest.raises(ValueError, match="fewer than 2\\*\\*31 rows"):
        matmul_plan(1 << 31, 1, 1, (1, 1), (1, 1))


def test_plans_fill_the_gpu() -> None:
    for M, N, K, large in ((4096, 4096, 4096, True), (64, 128, 784, False), (256, 256, 1024, False)):
        shape, parts = matmul.tile_of(M, N, K, 1, "float32")
        tiles = -(-M // shape.height) * -(-N // shape.width)
        assert (shape is tile.LARGE) == large and (tiles * parts >= 100 or parts == K // 128)


@pytest.mark.cuda_compile
def test_code_of_float64() -> None:
    find("matmul", "gemm_medium")
    for (module, name), kernel in kernels().items():
        if module == "matmul" and "large" not in name:
            check(kernel, T="float64")
