"""CUDA convolutions against sums written out in NumPy: one to three axes, strides, padding, dilation, groups."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from compiling import check
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

CASES = {
    "2d": Conv(2, 3, 4, (1, 6, 5), (1, 3, 2)),
    "strided": Conv(1, 4, 6, (1, 7, 8), (1, 3, 3), (1, 2, 3), (0, 1, 2), (1, 1, 2), 2),
    "3d": Conv(1, 2, 3, (4, 3, 4), (2, 2, 3), (2, 1, 1), (1, 0, 1)),
    "1x1": Conv(2, 3, 70, (1, 1, 9), (1, 1, 1)),
}


def patches(conv: Conv, x: np.ndarray):
    """For each output position and tap inside of the image: (output index, tap index, input index)."""
    for o in itertools.product(*map(range, conv.output)):
        for t in itertools.product(*map(range, conv.kernel)):
            i = tuple(
                a * s - p + b * d for a, b, s, p, d in zip(o, t, conv.stride, conv.padding, conv.dilation)
            )
            if all(0 <= v < n for v, n in zip(i, conv.input)):
                yield o, t, i


def reference(conv: Conv, x, w, dy) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(y, dx, dw) in float64."""
    G, M, Q = conv.groups, conv.OC // conv.groups, conv.C // conv.groups
    x, dy = (
        x.astype("f8").reshape(conv.N, G, Q, *conv.input),
        dy.astype("f8").reshape(conv.N, G, M, *conv.output),
    )
    w = w.astype("f8").reshape(G, M, Q, *conv.kernel)
    y, dx, dw = np.zeros_like(dy), np.zeros_like(x), np.zeros_like(w)
    for o, t, i in patches(conv, x):
        o, t, i = (..., *o), (..., *t), (..., *i)
        y[o] += np.einsum("ngq,gmq->ngm", x[i], w[t])
        dx[i] += np.einsum("ngm,gmq->ngq", dy[o], w[t])
        dw[t] += np.einsum("ngm,ngq->gmq", dy[o], x[i])
    return y, dx, dw


def operands(conv: Conv, dtype: str = "float32"):
    x = randoms(0, conv.N, conv.C, *conv.input, dtype=dtype)
    w = randoms(1, conv.OC, conv.C // conv.groups, *conv.kernel, dtype=dtype)
    return x, w, randoms(2, conv.N, conv.OC, *conv.output, dtype=dtype)


def close(what: str, found: np.ndarray, wanted: np.ndarray) -> None:
    tolerance = 3e-6 if found.dtype == np.float32 else 1e-14
    check_close(what, found, wanted.reshape(found.shape).astype(found.dtype), tolerance)


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
def test_medium_tiles(name: str) -> None:
    run_all(CASES[name], "float64" if name == "3d" else "float32", schedule=name == "2d")


def test_large_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    for plan in (forward_plan, input_grad_plan, weight_grad_plan):
        plan.cache_clear()
    monkeypatch.setattr(conv_plan, "_shape", lambda *sizes: tile.LARGE)
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


def test_refused_dtypes() -> None:
    with pytest.raises(TypeError, match="expected float32 or float64"):
        forward_plan(CASES["2d"], "int64")


@pytest.mark.cuda_compile
def test_code_of_float64() -> None:
    find("conv", "forward_medium")
    find("conv_weight", "bias_grad")
    for (module, name), kernel in kernels().items():
        if module in ("conv", "conv_weight") and "large" not in name:
            check(kernel, T="float64")
