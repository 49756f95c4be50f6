"""Convolutions on tensor cores against sums written out, on factors that are tf32 numbers already."""

from __future__ import annotations

import numpy as np
import pytest
from conv_sums import CASES as SUMS
from conv_sums import close, reference
from conv_sums import operands as randoms_of
from plans import run_plan
from tensor_cores import all_rounded
from twins import empty, randoms

from numtorch.kernels.cuda import conv_tensor_plan as plans
from numtorch.kernels.cuda.conv_plan import Conv

pytestmark = pytest.mark.simulator
CASES = {
    "strided, dilated, groups": SUMS["strided"],
    "3d": SUMS["3d"],
    "1d, whole fours": Conv(2, 4, 3, (1, 1, 16), (1, 1, 1)),
    "many rows": Conv(1, 65, 66, (1, 1, 3), (1, 1, 2)),
}


def operands(conv: Conv) -> list[np.ndarray]:
    """x, w, dy of numbers that need no rounding."""
    return [all_rounded(v.view(np.uint32)).view(np.float32) for v in randoms_of(conv)]


@pytest.fixture(autouse=True)
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weight gradients of few pixels are split too."""
    plans.weight_grad_plan.cache_clear()
    monkeypatch.setattr(plans, "SHORT", 16)


@pytest.mark.parametrize("name", CASES)
def test_forward_and_both_gradients(name: str) -> None:
    conv = CASES[name]
    x, w, dy = operands(conv)
    y, dx, dw = reference(conv, x, w, dy)
    bias, out = randoms(3, conv.OC), empty(*dy.shape)
    run_plan(plans.forward_plan(conv, bias=True, relu=True), 1, out=out, weight=w, x=x, bias=bias)
    close("forward", out, np.maximum(y.reshape(out.shape) + bias[:, None, None, None], 0))
    start = randoms(4, *x.shape)
    out = start.copy()
    run_plan(plans.input_grad_plan(conv, accumulate=True), out=out, weight=w, x=dy)
    close("input gradient", out, start + dx.reshape(x.shape))
    out = empty(*w.shape)
    run_plan(plans.weight_grad_plan(conv), 1, dw=out, x=x, dy=dy)
    close("weight gradient", out, dw)


def test_a_nan_stays_where_it_belongs() -> None:
    conv = Conv(1, 2, 3, (1, 1, 5), (1, 1, 3), padding=(0, 0, 1))
    x, w, dy = operands(conv)
    x[0, 0, 0, 0, 4] = np.nan
    out = empty(*dy.shape)
    run_plan(plans.forward_plan(conv), out=out, weight=w, x=x)
    assert np.isnan(out[..., 3:]).all() and np.isfinite(out[..., :3]).all()


def test_which_convolutions_are_taken() -> None:
    assert plans.suits(Conv(64, 64, 64, (1, 56, 56), (1, 3, 3)))
    assert not plans.suits(Conv(1, 3, 64, (1, 56, 56), (1, 7, 7))), "three channels leave most of a tile empty"
    assert not plans.suits(Conv(1, 64, 64, (1, 1, 99), (1, 1, 40))), "a mask has 31 bits"


def test_parts_fill_the_gpu() -> None:
    plan = plans.weight_grad_plan(Conv(64, 64, 64, (1, 56, 56), (1, 3, 3), padding=(0, 1, 1)))
    kernel, words = plan.launches[0].kernel, plan.launches[0].words
    assert kernel.threads == 128 and words[-3] % 16 == 0 and words[-4] * words[-3] >= 64 * 56 * 56
