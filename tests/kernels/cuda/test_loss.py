"""CUDA loss kernels against their CPU twins."""

from __future__ import annotations

import numpy as np
import pytest
from twins import check_twins, empty, randoms

pytestmark = pytest.mark.simulator
KERNELS = (
    "cross_entropy_rows",
    "cross_entropy_backward_rows",
    "cross_entropy_train_rows",
    "weighted_mean",
    "nll_loss",
    "nll_loss_backward",
)


def targets(rows: int, classes: int) -> np.ndarray:
    """Class indices, some of them ignored."""
    found = np.random.default_rng(5).integers(0, classes, rows)
    found[::4] = -100
    return found


@pytest.mark.parametrize("rows, classes", [(9, 10), (3, 300), (2, 4100)])
@pytest.mark.parametrize("weighted", [0, 1])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy(rows: int, classes: int, weighted: int, smoothing: float) -> None:
    x, t, w = randoms(0, rows, classes), targets(rows, classes), np.abs(randoms(1, classes))
    options = (rows, classes, -100, smoothing, weighted)
    _, row_weight, stats, *_ = check_twins(
        "loss", "cross_entropy_rows", empty(rows), empty(rows), empty(rows, 2), x, t, w, *options
    )
    total = np.array([row_weight.sum()])
    for g, step, mean in ((randoms(2, rows), 1, 0), (randoms(2, 1), 0, 1)):
        check_twins(
            "loss", "cross_entropy_backward_rows",
            empty(rows, classes), g, total, x, stats, t, w, *options, step, mean,
        )  # fmt: skip


@pytest.mark.parametrize("rows, classes", [(9, 10), (2, 300), (1, 4100)])
def test_cross_entropy_in_training(rows: int, classes: int) -> None:
    x, t = randoms(0, rows, classes), targets(rows, classes)
    args = (empty(rows), empty(rows, classes), x, t, rows, classes, -100, 0.25)
    check_twins("loss", "cross_entropy_train_rows", *args, schedules=(0, 1))
    t[:] = -100
    check_twins("loss", "cross_entropy_train_rows", *args)


def test_weighted_mean() -> None:
    loss, weight = randoms(0, 700), np.abs(randoms(1, 700))
    check_twins("loss", "weighted_mean", empty(1), empty(1), loss, weight, 700)
    check_twins("loss", "weighted_mean", empty(1), empty(1), loss[:0], weight[:0], 0)


@pytest.mark.parametrize("weighted", [0, 1])
def test_nll_loss(weighted: int) -> None:
    outer, classes, inner = 3, 5, 7
    x, t, w = randoms(0, outer, classes, inner), targets(outer * inner, classes), np.abs(randoms(1, classes))
    sizes = (outer, classes, inner, -100, weighted)
    check_twins("loss", "nll_loss", empty(outer, inner), empty(outer, inner), x, t, w, *sizes)
    for g, step, mean in ((randoms(2, outer, inner), 1, 0), (randoms(2, 1), 0, 1)):
        dx, total = empty(outer, classes, inner), np.array([3.5], np.float32)
        check_twins("loss", "nll_loss_backward", dx, g, total, t, w, *sizes, step, mean)
