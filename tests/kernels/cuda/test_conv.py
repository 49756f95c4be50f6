"""CUDA convolutions against sums written out in NumPy: one to three axes, strides, padding, dilation, groups."""

from __future__ import annotations

import math

import numpy as np
import pytest
from compiling import check
from conv_sums import CASES, close, operands, reference
from plans import run_plan
from twins import check_close, check_twins, empty, randoms

from numtorch.kernels.cuda import conv_plan, tile
from numtorch.kernels.cuda.conv_plan import (
    Conv,
    bias_grad_plan,
    forward_plan,
    input_grad_plan,
    weight_grad_plan,
)
from numtorch.kernels.cuda.launch import find, kernels

pytestmark = pytest.mark.simulator

def run_all(conv: Conv, dtype: str = "float32", schedule: int = 0) -> None:
    """Forward with bias and ReLU, both gradients, accumulated, against the reference."""
    x, w, dy = operands(conv, dtype)
    y, dx, dw = reference(conv, x, w, dy)
    bias = randoms(3, conv.OC, dtype=dtype)
    out = empty(*dy.shape, dtype=dtype)
    run_plan(forward_plan(conv, dtype, bias=True, relu=True), schedule, out=out, weight=w, x=x, bias=bias)
    close("forward", out, np.maximum(y.reshape(out.shape) + bias[:, None, None, None], 0))
    start = randoms(4, *x.shape, dtype=dtype)
    out = start.copy()
    run_plan(input_grad_plan(conv, dtype, accumulate=True), schedule, out=out, weight=w, x=dy)
    close("input gradient", out, start + dx.reshape(x.shape))
    out = empty(*w.shape, dtype=dtype)
    run_plan(weight_grad_plan(conv, dtype), schedule, dw=out, x=x, dy=dy)
    close("weight gradient", out, dw)


@pytest.mark.parametrize("name", CASES)
def test_flat_tiles(name: str) -> None:
    run_all(CASES[name], "float64" if name == "3d" else "float32", schedule=name == "2d")


def test_wide_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    for plan in (forward_plan, input_grad_plan, weight_grad_plan):
        plan.cache_clear()
    monkeypatch.setattr(conv_plan, "_shape", lambda *sizes: tile.WIDE)
    run_all(CASES["strided"])
    for plan in (forward_plan, input_grad_plan, weight_grad_plan):
        plan.cache_clear()


def test_split_weight_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    weight_grad_plan.cache_clear()
    monkeypatch.setattr(conv_plan, "SHORT", 16)
    conv = CASES["2d"]
    plan, (x, w, dy) = weight_grad_plan(conv, "float32", accumulate=True), operands(conv)
    assert plan.launches[0].words[-4] == conv.N * math.prod(conv.output) // 16
    dw = w.copy()
    run_plan(plan, dw=dw, x=x, dy=dy)
    close("weight gradient", dw, w + reference(conv, x, w, dy)[2].reshape(w.shape))
    weight_grad_plan.cache_clear()


def test_bias() -> None:
    dy = randoms(0, 3, 4, 300)
    for accumulate in (0, 1):
        check_twins("conv_weight", "bias_grad", randoms(1, 4), dy, 3, 4, 300, accumulate)
    db = empty(4)
    run_plan(bias_grad_plan(3, 4, 300, "float32"), db=db, dy=dy)
    check_close("bias", db, dy.sum((0, 2)), 1e-5)


def test_sizes_beyond_32_bits() -> None:
    with pytest.raises(ValueError, match="fewer than 2\\*\\*30 elements"):
        forward_plan(Conv(1, 1, 1, (1, 1 << 15, 1 << 15), (1, 1, 1)), "float32")


def test_refused_dtypes() -> None:
    with pytest.raises(TypeError, match="expected float32 or float64"):
        forward_plan(CASES["2d"], "int64")


@pytest.mark.cuda_compile
def test_code_of_float64() -> None:
    find("conv", "forward_flat")
    find("conv_weight", "bias_grad")
    for (module, name), kernel in kernels().items():
        if module in ("conv", "conv_weight") and "wide" not in name:
            check(kernel, T="float64")
