"""Convolution: forward and gradients against a plain NumPy reference in float64, in any number of chunks."""

import numpy as np
import pytest
from harness import run
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_matmul import guarded

from numtorch.kernels.cpu.conv_plan import (
    Conv,
    bias_grad_plan,
    forward_plan,
    input_grad_plan,
    weight_grad_plan,
)


def execute(plan, buffers, nchunks=1, interpreted=False):
    """Run a plan's launches on arrays by name, with work memory and scratch of exactly the promised size."""
    dtype = np.dtype(plan.launches[0].T)
    work, check_work = guarded(np.full(plan.work_bytes // dtype.itemsize, np.nan, dtype))
    for launch in plan.launches:
        chunks = min(nchunks, launch.units)
        scratch, check = guarded(np.full(chunks * launch.chunk_scratch // dtype.itemsize, np.nan, dtype))
        named = {**buffers, "work": work, "scratch": scratch, "table": launch.table}
        pointers = [named[name] for name in launch.pointers]
        run(launch.kernel, *pointers, *launch.words, T=launch.T, nchunks=chunks, interpreted=interpreted)
        check()
    check_work()


def patches(conv, x):
    """Views (kernel position, padded input at that position for every output pixel) of x (N, C, D, H, W)."""
    padded = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in conv.padding)])
    for k in np.ndindex(conv.kernel):
        at = [i * d for i, d in zip(k, conv.dilation)]
        cut = tuple(slice(a, a + s * (o - 1) + 1, s) for a, s, o in zip(at, conv.stride, conv.output))
        yield k, cut, padded[(slice(None), slice(None), *cut)]


def reference(conv, x, w, dy):
    """(y, dx, dw) in float64."""
    x, w, dy = (v.astype(np.float64) for v in (x, w, dy))
    groups, size = conv.groups, [i + 2 * p for i, p in zip(conv.input, conv.padding)]
    y, dw = np.zeros((conv.N, conv.OC, *conv.output)), np.zeros_like(w)
    dx = np.zeros((conv.N, conv.C, *size))
    for k, cut, patch in patches(conv, x):
        for g in range(groups):
            i, o = (slice(g * n // groups, (g + 1) * n // groups) for n in (conv.C, conv.OC))
            at = w[(o, slice(None), *k)]
            y[:, o] += np.einsum("oc,nc...->no...", at, patch[:, i])
            dx[(slice(None), i, *cut)] += np.einsum("oc,no...->nc...", at, dy[:, o])
            dw[(o, slice(None), *k)] = np.einsum("ncdhw,nodhw->oc", patch[:, i], dy[:, o])
    inside = tuple(slice(p, p + i) for p, i in zip(conv.padding, conv.input))
    return y, dx[(slice(None), slice(None), *inside)], dw


def arrays(conv, T):
    rng = np.random.default_rng(conv.N + 10 * conv.C + 100 * conv.OC)
    shapes = (conv.N, conv.C, *conv.input), (conv.OC, conv.C // conv.groups, *conv.kernel), (conv.N, conv.OC, *conv.output)
    return [rng.standard_normal(shape).astype(T) for shape in shapes]


def fresh(shape, T):
    return guarded(np.full(shape, np.nan, T))


def compute(conv, T="float32", nchunks=1, interpreted=False):
    """(y, dx, dw) by the kernels."""
    x, w, dy = arrays(conv, T)
    none = np.zeros(1, T)
    (y, check_y), (dx, check_dx), (dw, check_dw) = fresh(dy.shape, T), fresh(x.shape, T), fresh(w.shape, T)
    execute(forward_plan(conv, T), {"out": y, "weight": w, "x": x, "bias": none}, nchunks, interpreted)
    execute(input_grad_plan(conv, T), {"out": dx, "weight": w, "x": dy, "bias": none}, nchunks, interpreted)
    execute(weight_grad_plan(conv, T), {"dw": dw, "x": x, "dy": dy}, nchunks, interpreted)
    for check in (check_y, check_dx, check_dw):
        check()
    return y.reshape(dy.shape), dx.reshape(x.shape), dw.reshape(w.shape)


def assert_right(conv, T="float32", nchunks=1, interpreted=False):
    for what, got, want in zip("y dx dw".split(), compute(conv, T, nchunks, interpreted), reference(conv, *arrays(conv, T))):
        bound = 100 * np.finfo(T).eps * max(1.0, np.abs(want).max(initial=0))
        np.testing.assert_allclose(got, want, rtol=0, atol=bound, err_msg=f"{what} of {conv}")


CASES = [
    Conv(2, 1, 10, (1, 28, 28), (1, 5, 5)),
    Conv(3, 10, 20, (1, 12, 12), (1, 5, 5)),
    Conv(2, 16, 16, (1, 14, 14), (1, 3, 3), padding=(0, 1, 1)),
    Conv(1, 3, 8, (1, 37, 41), (1, 7, 7), (1, 2, 2), (0, 3, 3)),
    Conv(2, 4, 6, (1, 9, 9), (1, 3, 3), (1, 2, 1), (0, 1, 2), (1, 2, 1), 2),
    Conv(2, 8, 8, (1, 19, 9), (1, 3, 3), padding=(0, 1, 1), groups=8),
    Conv(2, 4, 8, (1, 9, 9), (1, 3, 3), (1, 2, 2), (0, 1, 1), groups=4),
    Conv(2, 4, 6, (1, 1, 700), (1, 1, 5), padding=(0, 0, 2)),
    Conv(1, 4, 6, (1, 1, 700), (1, 1, 5), (1, 1, 3), (0, 0, 2)),
    Conv(2, 4, 6, (5, 6, 7), (3, 3, 3), (2, 1, 2), (1, 1, 1)),
    Conv(1, 2, 3, (4, 5, 6), (2, 2, 3), (1, 2, 3), (1, 0, 1), (2, 1, 2)),
    Conv(2, 40, 70, (1, 7, 7), (1, 3, 3), padding=(0, 1, 1)),
    Conv(2, 96, 30, (1, 60, 60), (1, 3, 3), padding=(0, 1, 1)),
    Conv(2, 3, 4, (1, 4, 4), (1, 2, 2), (1, 3, 3), (0, 5, 6)),
    Conv(3, 40, 70, (1, 7, 9), (1, 1, 1)),
    Conv(2, 8, 16, (1, 9, 9), (1, 1, 1), (1, 2, 2)),
    Conv(2, 96, 100, (1, 9, 9), (1, 3, 3), padding=(0, 1, 1)),
    Conv(2, 64, 64, (1, 9, 9), (1, 3, 3), padding=(0, 1, 1), groups=2),
    Conv(24, 6, 5, (1, 7, 7), (1, 3, 3), padding=(0, 1, 1)),
    Conv(16, 3, 70, (1, 4, 5), (1, 3, 3), (1, 2, 2), (0, 1, 1)),
    Conv(1, 1, 1, (1, 1, 1), (1, 1, 1), (1, 2, 2)),
    Conv(1, 10, 20, (1, 12, 12), (1, 5, 5)),  # gradients of x by rows of dy
    Conv(2, 6, 8, (1, 7, 9), (1, 4, 6), padding=(0, 1, 2), groups=2),
    Conv(1, 16, 16, (1, 32, 32), (1, 3, 3), padding=(0, 1, 1)),
    Conv(1, 64, 61, (1, 8, 8), (1, 3, 3), padding=(0, 1, 1)),
    Conv(1, 32, 75, (1, 16, 17), (1, 3, 3), (1, 2, 2), (0, 1, 1)),
]
SPLIT = CASES[-3:]  # one image, in bands of rows or blocks of channels
BY_ROWS = CASES[-5:-3]


WHOLE = Conv(2, 4, 8, (1, 16, 64), (1, 3, 3), padding=(0, 1, 1))  # all vectors full on every target


@pytest.mark.parametrize("conv", [*CASES, WHOLE], ids=str)
@pytest.mark.parametrize("T", ["float32", "float64"])
def test_forward_and_gradients(conv, T):
    assert_right(conv, T, nchunks=3)


@st.composite
def convolutions(draw):
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    three = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(3))  # noqa: E731
    flat = draw(st.integers(0, 2))  # how many leading dimensions are 1
    front = lambda values, fill: (fill,) * flat + values[flat:]  # noqa: E731
    conv = Conv(
        draw(st.integers(1, 5)), groups * draw(st.integers(1, 5)), groups * draw(st.integers(1, 9)),
        front(three(1, 13), 1), front(three(1, 4), 1), front(three(1, 3), 1), front(three(0, 3), 0), front(three(1, 3), 1), groups,
    )  # fmt: skip
    assume(all(i + 2 * p > d * (k - 1) for i, p, d, k in zip(conv.input, conv.padding, conv.dilation, conv.kernel)))
    return conv


@settings(deadline=None, max_examples=60, derandomize=True)
@given(convolutions(), st.sampled_from(["float32", "float64"]), st.integers(1, 4))
def test_any_convolution(conv, T, nchunks):
    assert_right(conv, T, nchunks)


@pytest.mark.parametrize("conv", CASES[:6] + CASES[10:13] + BY_ROWS + SPLIT, ids=str)
def test_bits_do_not_depend_on_the_number_of_chunks(conv):
    one = compute(conv)
    for nchunks in (2, 5, 8):
        for got, want in zip(compute(conv, nchunks=nchunks), one):
            np.testing.assert_array_equal(got, want)


def test_one_image_makes_several_units():
    for conv in SPLIT:
        for plan in (forward_plan(conv, "float32"), input_grad_plan(conv, "float32")):
            assert plan.launches[-1].units > 3


def test_rows_of_small_outputs_fill_vectors():
    for conv in BY_ROWS:
        (launch,) = input_grad_plan(conv, "float32").launches
        assert launch.kernel.name == "input_rows"


@pytest.mark.parametrize(
    "conv",
    [
        Conv(1, 2, 3, (1, 5, 6), (1, 3, 3), padding=(0, 1, 1)),
        Conv(2, 2, 2, (1, 5, 4), (1, 2, 3), (1, 2, 1), (0, 1, 0), groups=2),
        Conv(1, 1, 2, (2, 3, 9), (2, 2, 2), (1, 1, 2), (1, 0, 1)),
        Conv(2, 2, 3, (1, 7, 9), (1, 4, 5), padding=(0, 1, 0)),
    ],
    ids=str,
)
def test_interpreted_source_stays_inside_its_buffers(conv):
    assert_right(conv, nchunks=2, interpreted=True)


@pytest.mark.parametrize("conv", [CASES[0], CASES[2], CASES[8], CASES[14], WHOLE, *BY_ROWS, *SPLIT], ids=str)
def test_bias_relu_and_accumulation(conv):
    x, w, dy = arrays(conv, "float32")
    y, dx, dw = reference(conv, x, w, dy)
    bias, back = np.linspace(-1, 1, conv.OC, dtype="f"), np.linspace(-1, 1, conv.C, dtype="f")
    out = np.full(dy.shape, np.nan, "f")
    execute(forward_plan(conv, "float32", True, True), {"out": out, "weight": w, "x": x, "bias": bias}, 2)
    np.testing.assert_allclose(out, np.maximum(y + bias[:, None, None, None], 0), rtol=0, atol=1e-3)
    transposed = np.full(x.shape, np.nan, "f")  # the forward pass of a transposed convolution
    plan = input_grad_plan(conv, "float32", bias=True, relu=True)
    execute(plan, {"out": transposed, "weight": w, "x": dy, "bias": back}, 2)
    np.testing.assert_allclose(transposed, np.maximum(dx + back[:, None, None, None], 0), rtol=0, atol=1e-3)
    added, more = np.ones_like(x), np.ones_like(w)
    execute(input_grad_plan(conv, "float32", True), {"out": added, "weight": w, "x": dy, "bias": back}, 2)
    np.testing.assert_allclose(added, dx + 1, rtol=0, atol=1e-3)
    execute(weight_grad_plan(conv, "float32", True), {"dw": more, "x": x, "dy": dy}, 2)
    np.testing.assert_allclose(more, dw + 1, rtol=0, atol=2e-6 * np.abs(dw).max() * 50)


@pytest.mark.parametrize("T", ["float32", "float64"])
def test_bias_gradient(T):
    dy = np.random.default_rng(0).standard_normal((3, 5, 19)).astype(T)
    db, check = fresh(5, T)
    execute(bias_grad_plan(3, 5, 19, T), {"db": db, "dy": dy}, 2)
    check()
    np.testing.assert_allclose(db, dy.sum((0, 2), dtype=np.float64), rtol=0, atol=100 * np.finfo(T).eps)


def test_padding_never_meets_infinity():
    conv = Conv(1, 1, 4, (1, 6, 9), (1, 3, 3), padding=(0, 1, 1))
    x, w, _ = arrays(conv, "float32")
    x[0, 0, 0, 0, 8] = np.inf  # the last of a row: vectors that reach over the row's end must not spread it
    out = np.zeros((1, 4, 1, 6, 9), "f")
    execute(forward_plan(conv, "float32"), {"out": out, "weight": w, "x": x, "bias": np.zeros(1, "f")})
    assert np.isinf(out[..., 0:2, 7:9]).all() and np.isfinite(out[..., 2:, :]).all() and np.isfinite(out[..., :7]).all()


def test_no_images():
    conv = Conv(0, 2, 3, (1, 5, 5), (1, 3, 3))
    y, dx, dw = compute(conv)
    assert y.size == dx.size == 0 and (dw == 0).all()


def test_errors():
    with pytest.raises(ValueError, match="is larger than the padded input"):
        forward_plan(Conv(1, 1, 1, (1, 2, 2), (1, 3, 3)), "float32")
    with pytest.raises(TypeError, match="conv: no kernel for int64"):
        weight_grad_plan(Conv(1, 1, 1, (1, 2, 2), (1, 1, 1)), "int64")
