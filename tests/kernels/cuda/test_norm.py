"""CUDA layer, RMS, group and batch normalisation against their CPU twins."""

from __future__ import annotations

import numpy as np
import pytest
from twins import check_twins, empty, randoms

pytestmark = pytest.mark.simulator


@pytest.mark.parametrize("rows, n", [(9, 10), (2, 300)])
@pytest.mark.parametrize("scaled, shifted", [(1, 1), (1, 0), (0, 0)])
def test_layer_and_rms(rows: int, n: int, scaled: int, shifted: int) -> None:
    x, g, w, b = randoms(0, rows, n), randoms(1, rows, n), randoms(2, n), randoms(3, n)
    y, m, s = empty(rows, n), empty(rows), empty(rows)
    _, m, s, *_ = check_twins(
        "norm", "layer_norm", y, m, s, x, w, b, rows, n, 1e-5, scaled, shifted, schedules=(0, 1)
    )
    check_twins("norm", "layer_norm_backward", y, g, x, m, s, w, rows, n, scaled, schedules=(0, 1))
    check_twins("norm", "rms_norm", y, empty(rows), x, w, rows, n, 1e-5, scaled)
    check_twins("norm", "rms_norm_backward", y, g, x, s, w, rows, n, scaled)


@pytest.mark.parametrize("rows", [0, 9, 70])
def test_layer_sums(rows: int) -> None:
    x, g, m, s = randoms(0, rows, 10), randoms(1, rows, 10), randoms(2, rows), randoms(3, rows)
    part = empty(max(1, -(-rows // 64)), 2, 10)
    check_twins("norm", "layer_norm_backward_sums", part, g, x, m, s, rows, 10)


@pytest.mark.parametrize("sizes", [(3, 2, 3, 5), (1, 2, 2, 150)])
@pytest.mark.parametrize("scaled", [0, 1])
def test_group(sizes: tuple[int, ...], scaled: int) -> None:
    batch, groups, channels, _ = sizes
    x, g, w, b = (
        randoms(0, *sizes),
        randoms(1, *sizes),
        randoms(2, groups * channels),
        randoms(3, groups * channels),
    )
    m, s = empty(batch, groups), empty(batch, groups)
    args = (empty(*sizes), m, s, x, w, b, *sizes, 1e-5, scaled, scaled)
    _, m, s, *_ = check_twins("norm", "group_norm", *args)
    part = empty(batch, 2, groups * channels)
    part, *_ = check_twins("norm", "group_norm_backward_sums", part, g, x, m, s, *sizes)
    check_twins("norm", "group_norm_backward", empty(*sizes), g, x, m, s, part, w, *sizes, scaled)


@pytest.mark.parametrize("sizes", [(4, 3, 7), (2, 5, 150)])
def test_batch(sizes: tuple[int, int, int]) -> None:
    channels = sizes[1]
    x, g, w, b = randoms(0, *sizes), randoms(1, *sizes), randoms(2, channels), randoms(3, channels)
    m, v, *_ = check_twins("batch_norm", "batch_norm_stats", empty(channels), empty(channels), x, *sizes)
    running = (randoms(4, channels), np.abs(randoms(5, channels)))
    s, *_ = check_twins(
        "batch_norm", "batch_norm_update", empty(channels), *running, m, v, channels, 1e-5, 0.1, 1.2, 1
    )
    check_twins("batch_norm", "batch_norm_rstd", empty(channels), v, channels, 1e-5)
    check_twins("batch_norm", "batch_norm_apply", empty(*sizes), x, m, s, w, b, *sizes, 1, 1)
    sums = check_twins(
        "batch_norm", "batch_norm_backward_sums", empty(channels), empty(channels), g, x, m, s, *sizes
    )
    for scaled, training in ((0, 1), (1, 0)):
        args = (empty(*sizes), g, x, m, s, w, sums[0], sums[1], *sizes, scaled, training)
        check_twins("batch_norm", "batch_norm_backward", *args)


@pytest.mark.parametrize("batch, channels", [(9, 3), (20, 40)])
def test_batch_columns(batch: int, channels: int) -> None:
    sizes = (batch, channels)
    x, g, m, s, w, b = (randoms(k, *shape) for k, shape in enumerate([sizes, sizes, *[(channels,)] * 4]))
    check_twins("batch_norm", "batch_norm_apply_cols", empty(*sizes), x, m, s, w, b, *sizes, 1, 0)
    out = empty(channels), empty(channels)
    sums = check_twins(
        "batch_norm", "batch_norm_backward_sums_cols", *out, g, x, m, s, *sizes, schedules=(0, 1)
    )
    args = (empty(*sizes), g, x, m, s, w, sums[0], sums[1], *sizes, 1, 1)
    check_twins("batch_norm", "batch_norm_backward_cols", *args)
