"""3x3 convolutions with fewer multiplications: against the reference, any number of chunks, in bounds, and NaN in its place."""

import numpy as np
import pytest
from test_conv import arrays, assert_right, compute, execute, fresh, reference

from numtorch.kernels.cpu import winograd
from numtorch.kernels.cpu.conv_plan import Conv, forward_plan, packed_plan

SAME = (0, 1, 1)
CASES = [
    Conv(9, 5, 7, (1, 8, 8), (1, 3, 3), padding=SAME),  # several images a unit
    Conv(1, 17, 18, (1, 13, 37), (1, 3, 3), padding=(0, 0, 2)),  # odd sizes; more tiles in a row than lanes
    Conv(3, 4, 3, (1, 3, 3), (1, 3, 3), padding=SAME),
    Conv(2, 3, 4, (1, 9, 5), (1, 3, 3), padding=SAME),
    Conv(2, 3, 4, (1, 5, 3), (1, 3, 3)),  # one column of output
    Conv(1, 130, 5, (1, 20, 64), (1, 3, 3), padding=SAME),  # in bands of rows
    Conv(1, 5, 50, (1, 8, 7), (1, 3, 3), padding=SAME),  # in blocks of output channels
]


@pytest.fixture(autouse=True)
def always(monkeypatch):
    for name in ("LEAST_TILES", "LEAST_CHANNELS", "LEAST_CHANNELS_NARROW"):
        monkeypatch.setattr(winograd, name, 1)


@pytest.mark.parametrize("conv", CASES, ids=str)
@pytest.mark.parametrize("T", ["float32", "float64"])
def test_forward_and_gradients(conv, T):
    assert "winograd" in repr(forward_plan(conv, T).launches[0].kernel)
    assert_right(conv, T, nchunks=3)
    whole = compute(conv, T)
    for nchunks in (2, 8):
        assert all(a.tobytes() == b.tobytes() for a, b in zip(whole, compute(conv, T, nchunks)))


def test_bias_and_relu():
    conv = CASES[1]
    x, w, dy = arrays(conv, "float32")
    bias = np.linspace(-3, 3, conv.OC).astype(np.float32)
    out, check = fresh(dy.shape, "float32")
    execute(forward_plan(conv, "float32", bias=True, relu=True), {"out": out, "weight": w, "x": x, "bias": bias}, 2)
    check()
    wanted = np.maximum(reference(conv, x, w, dy)[0] + bias.reshape(-1, 1, 1, 1), 0)
    np.testing.assert_allclose(out.reshape(dy.shape), wanted, rtol=0, atol=1e-4)


def test_nan_reaches_the_pixels_that_see_it_and_no_others():
    conv = Conv(1, 2, 2, (1, 8, 9), (1, 3, 3), padding=SAME)
    _, w, dy = arrays(conv, "float32")
    for at in [(3, 4), (4, 5), (0, 0), (7, 8)]:
        x = np.ones((1, 2, 1, 8, 9), np.float32)
        x[0, 1, 0, at[0], at[1]] = np.nan
        out, _ = fresh(dy.shape, "float32")
        execute(forward_plan(conv, "float32"), {"out": out, "weight": w, "x": x, "bias": np.zeros(1, np.float32)})
        assert np.array_equal(np.isnan(out.reshape(dy.shape)), np.isnan(reference(conv, x, w, dy)[0]))


def test_whole_numbers_are_exact():
    conv = Conv(1, 16, 16, (1, 8, 8), (1, 3, 3), padding=SAME)
    x, w, dy = (np.rint(v * 3) for v in arrays(conv, "float32"))
    out, _ = fresh(dy.shape, "float32")
    execute(forward_plan(conv, "float32"), {"out": out, "weight": w, "x": x, "bias": np.zeros(1, np.float32)})
    assert np.array_equal(out.reshape(dy.shape), reference(conv, x, w, dy)[0])


def test_in_bounds():
    assert_right(Conv(2, 3, 5, (1, 5, 6), (1, 3, 3), padding=SAME), nchunks=2, interpreted=True)


def test_chosen_where_it_pays(monkeypatch):
    monkeypatch.undo()
    for conv, chosen in [
        (Conv(32, 64, 64, (1, 8, 8), (1, 3, 3), padding=SAME), True),
        (Conv(32, 8, 16, (1, 32, 32), (1, 3, 3), padding=SAME), False),  # few channels
        (Conv(1, 64, 64, (1, 8, 8), (1, 3, 3), padding=SAME), False),  # few pixels for the weights
        (Conv(32, 64, 64, (1, 8, 8), (1, 3, 3), (1, 2, 2), SAME), False),
        (Conv(32, 64, 64, (1, 8, 8), (1, 3, 3), padding=SAME, groups=2), False),
    ]:
        assert ("winograd" in repr(forward_plan(conv, "float32").launches[0].kernel)) == chosen


def test_packed_once_it_pays_for_one_image(monkeypatch):
    monkeypatch.undo()
    for conv, chosen in [
        (Conv(1, 64, 64, (1, 8, 8), (1, 3, 3), padding=SAME), True),
        (Conv(1, 64, 64, (1, 4, 4), (1, 3, 3), padding=SAME), False),
        (Conv(1, 8, 64, (1, 8, 8), (1, 3, 3), padding=SAME), False),
    ]:
        plan = packed_plan(conv, "float32", bias=True)
        assert ("winograd" in repr(plan and plan.launches[1].kernel)) == chosen
        assert plan is None or plan.launches[0].pointers[:2] == ("work", "weight")
