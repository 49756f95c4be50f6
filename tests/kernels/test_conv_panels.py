"""Convolutions as products with packed panels: against the reference, in any number of chunks, in bounds."""

import numpy as np
import pytest
from test_conv import arrays, execute, fresh, reference

from numtorch.kernels.cpu import conv_panels_plan
from numtorch.kernels.cpu.conv_panels_plan import panels_launches
from numtorch.kernels.cpu.conv_plan import Conv, Plan, forward_plan, input_grad_plan

SAME = (0, 1, 1)
CASES = [
    Conv(17, 5, 7, (1, 6, 7), (1, 3, 3), padding=SAME),  # panels across rows and images, the last unit with one image
    Conv(2, 70, 9, (1, 11, 13), (1, 3, 3), (1, 2, 2), SAME),  # several blocks of channels; a stride
    Conv(1, 40, 130, (1, 40, 30), (1, 3, 3), padding=(0, 2, 2), dilation=(1, 2, 2)),  # bands of one image, blocks of rows
    Conv(3, 4, 6, (1, 9, 9), (1, 2, 3), (1, 2, 3), (0, 1, 2), (1, 2, 1)),  # phases with different taps
    Conv(2, 6, 5, (1, 8, 9), (1, 1, 1), (1, 2, 2)),  # phases without taps
    Conv(2, 3, 4, (1, 4, 4), (1, 2, 2), (1, 3, 3), (0, 5, 6)),  # pixels that see padding only
    Conv(1, 1, 1, (1, 1, 1), (1, 1, 1), (1, 2, 2)),
]


def compute(conv, T, nchunks):
    """(y, dx)."""
    x, w, dy = arrays(conv, T)
    found = []
    for grad, source, result in ((False, x, dy), (True, dy, x)):
        out, check = fresh(result.shape, T)
        assert conv_panels_plan.suits(conv, 0)
        plan = Plan(*panels_launches(conv, T, grad, 0, False))
        execute(plan, {"out": out, "weight": w, "x": source, "bias": np.zeros(1, T)}, nchunks)
        check()
        found.append(out.reshape(result.shape))
    return found


@pytest.mark.parametrize("conv", CASES, ids=str)
@pytest.mark.parametrize("T", ["float32", "float64"])
def test_forward_and_input_gradient(conv, T):
    one = compute(conv, T, 1)
    for got, want in zip(one, reference(conv, *arrays(conv, T))):
        bound = 100 * np.finfo(T).eps * max(1.0, np.abs(want).max(initial=0))
        np.testing.assert_allclose(got, want, rtol=0, atol=bound)
    for nchunks in (2, 8):
        assert all(a.tobytes() == b.tobytes() for a, b in zip(one, compute(conv, T, nchunks)))


@pytest.mark.parametrize("grad", [False, True])
def test_bias_and_relu(grad):
    conv = CASES[3]
    x, w, dy = arrays(conv, "float32")
    source, like = (dy, x) if grad else (x, dy)
    bias = np.linspace(-3, 3, like.shape[1]).astype(np.float32)
    out, check = fresh(like.shape, "float32")
    plan = Plan(*panels_launches(conv, "float32", grad, conv_panels_plan.BIAS, True))
    execute(plan, {"out": out, "weight": w, "x": source, "bias": bias}, 2)
    check()
    wanted = np.maximum(reference(conv, x, w, dy)[int(grad)] + bias.reshape(-1, 1, 1, 1), 0)
    np.testing.assert_allclose(out.reshape(like.shape), wanted, rtol=0, atol=1e-4)


def test_the_same_bits_however_many_images_and_pixels_there_are():
    one, many = (Conv(n, 70, 9, (1, 7, 7), (1, 3, 3), padding=SAME) for n in (1, 16))
    x, w, dy = arrays(many, "float32")
    results = []
    for conv, source in ((many, x), (one, x[:1])):
        out, _ = fresh((conv.N, *dy.shape[1:]), "float32")
        plan = Plan(*panels_launches(conv, "float32", False, 0, False))
        execute(plan, {"out": out, "weight": w, "x": np.ascontiguousarray(source), "bias": np.zeros(1, np.float32)})
        results.append(out.reshape(conv.N, -1))
    assert results[0][0].tobytes() == results[1][0].tobytes()


def test_strided_convolutions_of_many_channels_go_this_way():
    conv = Conv(16, 64, 128, (1, 56, 56), (1, 3, 3), (1, 2, 2), SAME)
    for plan in (forward_plan(conv, "float32"), input_grad_plan(conv, "float32")):
        assert "conv_panels" in repr(plan.launches[-1].kernel)
