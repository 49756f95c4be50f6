"""Matrix product: every form against NumPy in float64, in any number of chunks, within its buffers."""

import time

import numpy as np
import pytest
from harness import run
from hypothesis import given, settings
from hypothesis import strategies as st

from numtorch.kernels.cpu.matmul import matmul_plan

GUARD = 64
FORMS = ["NN", "NT", "TN", "TT"]


def guarded(array):
    """A copy of `array` between NaN elements (integers: 77), and a check that they are untouched."""
    fill = np.nan if array.dtype.kind == "f" else 77
    whole = np.full(array.size + 2 * GUARD, fill, array.dtype)
    inside = whole[GUARD : GUARD + array.size]
    inside[:] = array.ravel()
    border = np.r_[0:GUARD, GUARD + array.size : whole.size]
    before = whole[border].copy()

    def check():
        np.testing.assert_array_equal(whole[border], before, err_msg="wrote outside of the buffer")

    return inside, check


def execute(launch, buffers, nchunks=1, interpreted=False):
    """Run a planned launch on arrays by name, with scratch of exactly the promised size."""
    nchunks = min(nchunks, launch.units)
    dtype = np.dtype(launch.T)
    scratch, check = guarded(np.full(nchunks * launch.chunk_scratch // dtype.itemsize, np.nan, dtype))
    pointers = [scratch if name == "scratch" else buffers[name] for name in launch.pointers]
    run(launch.kernel, *pointers, *launch.words, T=launch.T, nchunks=nchunks, interpreted=interpreted)
    check()


def product(m, n, k, form, T="float32", nchunks=1, interpreted=False, bias=None, **options):
    """(result, float64 reference) of one product of random matrices."""
    rng = np.random.default_rng(m * 10007 + n * 101 + k)
    a, b = rng.standard_normal((m, k)).astype(T), rng.standard_normal((k, n)).astype(T)
    row = rng.standard_normal(n if bias == (0, 1) else max(m, 1)).astype(T)
    c = rng.standard_normal((m, n)).astype(T)
    beta = options.get("beta", 0.0)
    want = options.get("alpha", 1.0) * (a.astype(np.float64) @ b) + (beta * c if beta else 0)
    want = want + (row if bias == (0, 1) else row[:m, None]) if bias else want
    if options.get("relu"):
        want = np.maximum(want, 0)
    strides = (k, 1) if form[0] == "N" else (1, m), (n, 1) if form[1] == "N" else (1, k)
    buffers = {"a": (a if form[0] == "N" else a.T).ravel(), "b": (b if form[1] == "N" else b.T).ravel()}
    buffers["c"], check = guarded(c if beta else np.full_like(c, np.nan))
    buffers["bias"] = row if bias else 0
    launch = matmul_plan(m, n, k, *strides, T, bias=bias, **options)
    if interpreted and not bias:
        buffers["bias"] = np.zeros(1, T)
    execute(launch, buffers, nchunks, interpreted)
    check()
    return buffers["c"].reshape(m, n).copy(), want


def assert_near(got, want, k):
    eps = np.finfo(got.dtype).eps
    np.testing.assert_allclose(got, want, rtol=0, atol=8 * eps * (k + 16) ** 0.5 * 6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("T", ["float32", "float64"])
@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.data())
def test_any_shape(form, T, data):
    sizes = st.one_of(st.integers(0, 40), st.sampled_from([47, 48, 64, 97, 130, 200]))
    m, n, k = (data.draw(sizes) for _ in range(3))
    options = data.draw(
        st.sampled_from([
            {}, {"bias": (0, 1), "relu": True}, {"bias": (1, 0)}, {"beta": 1.0}, {"alpha": -0.5, "beta": 0.25, "bias": (0, 1)},
        ])
    )  # fmt: skip
    got, want = product(m, n, k, form, T, data.draw(st.integers(1, 5)), **options)
    assert_near(got, want, k)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 9, 0), (1, 300, 70), (300, 1, 70), (37, 50, 1100), (260, 300, 530), (1, 2085, 520)])
def test_edges_and_blocks(form, shape):
    for options in ({}, {"bias": (0, 1), "relu": True}, {"beta": 1.0}):
        got, want = product(*shape, form, nchunks=3, **options)
        assert_near(got, want, shape[2])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(1, 200, 300), (1, 2085, 520), (20, 130, 90), (64, 500, 70), (300, 290, 600)])
def test_bits_do_not_depend_on_the_number_of_chunks(form, shape):
    one, _ = product(*shape, form)
    for nchunks in (2, 3, 8):
        np.testing.assert_array_equal(product(*shape, form, nchunks=nchunks)[0], one)


@pytest.mark.parametrize("k", [70, 1300])
@pytest.mark.parametrize("options", [{"bias": (0, 1), "relu": True}, {"beta": 1.0}, {}])
def test_bits_of_a_row_do_not_depend_on_the_number_of_rows(k, options):
    rng = np.random.default_rng(0)
    a, b, c, row = (rng.standard_normal(s).astype("f4") for s in ((97, k), (k, 50), (97, 50), (50,)))
    found = []
    for rows in (97, 16, 15, 6, 2):
        out = c[:rows].copy().ravel()
        launch = matmul_plan(rows, 50, k, (k, 1), (50, 1), **options)
        execute(launch, {"a": a[:rows].ravel(), "b": b.ravel(), "c": out, "bias": row})
        found.append(out[: 2 * 50].tobytes())
    assert len(set(found)) == 1


@pytest.mark.parametrize("form", ["NN", "NT", "TN"])
@pytest.mark.parametrize("shape", [(1, 40, 5), (3, 9, 20), (13, 21, 6)])
def test_interpreted_source_stays_inside_its_buffers(form, shape):
    got, want = product(*shape, form, nchunks=2, interpreted=True)
    assert_near(got, want, shape[2])


def test_relu_keeps_nan_and_infinity():
    a, b = np.ones((8, 4), np.float32), np.ones((4, 40), np.float32)
    a[1, 2], a[2, 0] = np.nan, -np.inf
    c = np.zeros(320, np.float32)
    execute(matmul_plan(8, 40, 4, (4, 1), (40, 1), relu=True), {"a": a, "b": b, "c": c, "bias": 0})
    c = c.reshape(8, 40)
    assert np.isnan(c[1]).all() and (c[2] == 0).all() and (c[0] == 4).all()


@pytest.mark.parametrize("T", ["float32", "int64"])
def test_batches_with_broadcast_and_two_levels(T):
    rng = np.random.default_rng(0)
    a = rng.integers(-5, 5, (2, 3, 4, 5)).astype(T)  # used as (outer, inner) with the axes exchanged: strides, no copy
    b = rng.integers(-5, 5, (2, 5, 6)).astype(T)  # broadcast over the outer level
    c = np.zeros((3, 2, 4, 6), T)
    launch = matmul_plan(4, 6, 5, (5, 1), (6, 1), T, batch=(3, 2), a_batch=(20, 60), b_batch=(0, 30))
    execute(launch, {"a": a, "b": b, "c": c, "bias": 0}, 2)
    np.testing.assert_array_equal(c, a.swapaxes(0, 1) @ b)


def test_any_stride_of_both_operands():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20, 60)).astype("f"), rng.standard_normal((60, 90)).astype("f")
    a, b, c = x[:, ::2], y[::2, ::3], np.zeros((20, 30), "f")
    execute(matmul_plan(20, 30, 30, (60, 2), (180, 3)), {"a": x, "b": y, "c": c, "bias": 0})
    assert_near(c, a.astype(np.float64) @ b, 30)


def test_integers_wrap_around():
    a = np.full((1, 2), 2**62, np.int64)
    c = np.zeros((1, 1), np.int64)
    execute(matmul_plan(1, 1, 2, (2, 1), (1, 1), "int64"), {"a": a, "b": np.full((2, 1), 2, np.int64), "c": c})
    assert c[0, 0] == 0
    with pytest.raises(TypeError, match=r"matmul: .* need a float dtype, got int64"):
        matmul_plan(1, 1, 1, (1, 1), (1, 1), "int64", relu=True)


def test_a_plan_costs_little():
    matmul_plan(33, 65, 17, (17, 1), (65, 1))
    start = time.perf_counter()
    for _ in range(1000):
        matmul_plan(33, 65, 17, (17, 1), (65, 1))
    assert time.perf_counter() - start < 0.1


@pytest.mark.parametrize("M, N, K", [(128, 784, 256), (256, 128, 784), (32, 128, 64), (256, 10, 64), (1024, 1024, 1024)])
def test_two_threads_get_equal_shares(M, N, K):
    launch = matmul_plan(M, N, K, (1, M), (N, 1))
    word = dict(zip([*launch.kernel.params][5:], launch.words))
    rows, cols = -(-M // word["MB"]), -(-N // word["NB"])
    sizes = [min(word["MB"], M - i * word["MB"]) * min(word["NB"], N - j * word["NB"]) for j in range(cols) for i in range(rows)]
    assert launch.units > 1 and sum(sizes[: -(-len(sizes) // 2)]) <= 0.56 * M * N


def test_short_inner_dimensions_take_the_outer_form_from_sixteen_rows():
    for M, K, name in ((8, 128, "gemm_by_dot"), (16, 128, "gemm_outer"), (32, 784, "gemm_by_dot"), (48, 784, "gemm_outer")):
        assert matmul_plan(M, 64, K, (K, 1), (1, K)).kernel.name == name
