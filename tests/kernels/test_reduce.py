"""Reductions through their launch plans against NumPy in float64; the same bits for any number of chunks."""

import warnings

import numpy as np
import pytest
from harness import run

from numtorch.kernels.cpu import reduce as R
from numtorch.kernels.cpu import reduce_plan as P
from numtorch.kernels.jit import S, device

RNG = np.random.default_rng(4)
SHAPES = [
    (1, 1, 1), (3, 7, 1), (2, 127, 1), (5, 1000, 1), (1, 70001, 1), (2, 9000, 1), (70, 3, 1),
    (2, 5, 3), (4, 300, 10), (1, 30001, 3), (2, 70, 600), (1, 150, 1000), (3, 2, 64), (0, 3, 2), (2, 3, 0),
]  # fmt: skip
EMPTY = [(3, 0, 1), (3, 0, 4)]
FLOATS = ["float32", "float64"]
KINDS = [(shape, "float32") for shape in SHAPES] + [(shape, "float64") for shape in SHAPES[1::3]]
INTEGERS = [(shape, dtype) for dtype in ("int64", "uint8", "int8") for shape in SHAPES[1::4]]


def execute(plan, **arrays):
    """Run a plan with 1, 2 and 8 chunks; returns the outputs, which must agree in every bit."""
    launches, nbytes = plan
    results = []
    for nchunks in (1, 2, 8):
        scratch = np.full(nbytes + 64, 0x55, np.uint8)
        outputs = {name: array.copy() for name, array in arrays.items() if name != "x"}
        buffers = {"x": arrays["x"], "scratch": scratch, **outputs}
        for kernel, env, names, words, _units in launches:
            pointers = [as_parameter(buffers[name], kernel, i, env) for i, name in enumerate(names)]
            run(kernel, *pointers, *words, **env, nchunks=nchunks)
        assert (scratch[nbytes:] == 0x55).all(), "a launch wrote beyond its scratch"
        results.append(outputs)
    for other in results[1:]:
        assert all(other[name].tobytes() == results[0][name].tobytes() for name in other)
    return results[0]


def as_parameter(array, kernel, position, env):
    """Scratch is bytes: see it as the dtype that the kernel's parameter points to."""
    dtype = list(kernel.params.values())[position].dtype
    dtype = dtype if isinstance(dtype, str) else env[dtype.name]
    return array.view(np.dtype(dtype)) if array.dtype == np.uint8 else array


def data(shape, dtype):
    return (
        (RNG.normal(size=shape) * 3).astype(dtype) if dtype != "uint8" else RNG.integers(0, 3, shape, dtype)
    )


def reduced(planner, x, dtype, *args):
    y = np.zeros((x.shape[0], x.shape[2]), dtype)
    return execute(planner(*x.shape, x.dtype.name, *args), x=x, y=y)["y"]


def check_close(actual, expected, scale, factor=4.0):
    """Error at most `factor` rounding steps of `scale` (the size of the terms, not of the result)."""
    eps = np.finfo(actual.dtype).eps if actual.dtype.kind == "f" else 0
    assert (abs(actual - expected) <= factor * eps * scale).all() or actual.size == 0


@pytest.mark.parametrize("shape, dtype", [*KINDS, *INTEGERS, *((shape, "float32") for shape in EMPTY)])
def test_sum_and_prod(shape, dtype):
    x = data(shape, dtype)
    total = np.longdouble if dtype in FLOATS else np.int64
    y = reduced(P.sum_plan, x, P.accumulate_dtype(dtype))
    check_close(y, x.sum(1, dtype=total), abs(x).sum(1, dtype=total), 8)
    x = (x % 2 + 1).astype(dtype) if dtype not in FLOATS else (1 + x / 1000).astype(dtype)
    y = reduced(P.prod_plan, x, P.accumulate_dtype(dtype))
    expected = x.prod(1, dtype=total)
    check_close(y, expected, abs(expected) * (shape[1] + 1), 1)
    if dtype in FLOATS and shape[1]:
        check_close(reduced(P.mean_plan, x, dtype), x.mean(1, dtype=total), abs(x).mean(1, dtype=total), 8)


@pytest.mark.parametrize("shape, dtype", KINDS + INTEGERS)
def test_extremes(shape, dtype):
    x = data(shape, dtype)
    if dtype in FLOATS and x.size > 10:
        x.ravel()[RNG.integers(0, x.size, 2)] = np.nan
        x.ravel()[RNG.integers(0, x.size, 4)] = np.inf, -np.inf, np.inf, -np.inf
    np.testing.assert_array_equal(reduced(P.max_plan, x, dtype), x.max(1))
    np.testing.assert_array_equal(reduced(P.min_plan, x, dtype), x.min(1))
    for planner, reference in ((P.argmax_plan, np.argmax), (P.argmin_plan, np.argmin)):
        outputs = {
            "y": np.zeros((shape[0], shape[2]), np.int64),
            "values": np.zeros((shape[0], shape[2]), dtype),
        }
        found = execute(planner(*shape, dtype, True), x=x, **outputs)
        where = reference(x, 1)
        np.testing.assert_array_equal(found["y"], where)
        np.testing.assert_array_equal(found["values"], np.take_along_axis(x, where[:, None], 1)[:, 0])
        np.testing.assert_array_equal(reduced(planner, x, np.int64), where)


@pytest.mark.parametrize("shape, dtype", [*KINDS, *INTEGERS, *((shape, "float32") for shape in EMPTY)])
def test_logical(shape, dtype):
    x = data(shape, dtype) * (RNG.random(shape) < 0.02).astype(dtype)
    np.testing.assert_array_equal(reduced(P.any_plan, x, np.uint8), x.any(1))
    np.testing.assert_array_equal(reduced(P.count_nonzero_plan, x, np.int64), (x != 0).sum(1))
    x = x + 1
    np.testing.assert_array_equal(reduced(P.all_plan, x.astype(dtype), np.uint8), x.astype(dtype).all(1))


@pytest.mark.parametrize("shape, dtype", KINDS)
def test_norms(shape, dtype):
    x = data(shape, dtype)
    for p in (0.0, 1.0, 2.0, 3.0, 0.5, np.inf, -np.inf):
        expected = np.linalg.norm(x.astype(np.float64), p, axis=1)
        np.testing.assert_allclose(
            reduced(P.norm_plan, x, dtype, p), expected, rtol=2e-5 if dtype == "float32" else 1e-12
        )


@pytest.mark.parametrize("shape, dtype", [*KINDS, *((shape, "float32") for shape in EMPTY)])
def test_var(shape, dtype):
    x = data(shape, dtype) + np.array(1000, dtype)
    eps = np.finfo(dtype).eps
    for correction, root in ((1.0, False), (0.0, True)):
        outputs = {name: np.zeros((shape[0], shape[2]), dtype) for name in ("y", "mean")}
        found = execute(P.var_plan(*shape, dtype, correction, root), x=x, **outputs)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            mean = x.mean(1, dtype=np.longdouble)
            expected = x.astype(np.longdouble).var(1, ddof=int(correction))
        expected = np.sqrt(expected) if root else expected
        np.testing.assert_allclose(found["mean"], mean, rtol=4 * eps)
        np.testing.assert_allclose(found["y"], expected, rtol=60 * eps, atol=6000 * eps)


@pytest.mark.parametrize("shape, dtype", [*KINDS, *((shape, "float32") for shape in EMPTY)])
def test_logsumexp(shape, dtype):
    x = data(shape, dtype) * np.array(10, dtype)
    expected = np.logaddexp.reduce(x.astype(np.float64), 1)
    check_close(
        reduced(P.logsumexp_plan, x, dtype), expected, 10 + abs(np.nan_to_num(expected, neginf=0))
    ) if shape[1] else None
    if shape[1] == 0:
        assert (reduced(P.logsumexp_plan, x, dtype) == -np.inf).all()
    if shape[0] > 1 and shape[1] > 2 and shape[2]:
        x[0, 1], x[1] = np.inf, -np.inf
        y = reduced(P.logsumexp_plan, x, dtype)
        assert (y[0] == np.inf).all() and (y[1] == -np.inf).all()
        x[0, 0] = np.nan
        assert np.isnan(reduced(P.logsumexp_plan, x, dtype)[0]).all()


def test_int64_keeps_every_bit():
    big = np.array([2**62, 2**62 - 1, -(2**62), 5, -(2**63), 2**63 - 1]).reshape(1, 6, 1)
    assert reduced(P.sum_plan, big, np.int64)[0, 0] == 2**62 - 1 + 5 - 1
    assert reduced(P.max_plan, big, np.int64)[0, 0] == 2**63 - 1
    assert reduced(P.min_plan, big, np.int64)[0, 0] == -(2**63)
    high = np.full((1, 3, 1), 2**63 - 1)
    assert reduced(P.min_plan, high, np.int64)[0, 0] == 2**63 - 1


def test_float32_sum_of_many_is_accurate():
    x = RNG.random((1, 3_000_000, 1)).astype(np.float32)
    exact = x.sum(dtype=np.float64)
    assert abs(reduced(P.sum_plan, x, "float32")[0, 0] - exact) / exact < 2e-7


@device
def start(a):
    return S(1)


@device
def step(acc, x, a):
    return S(acc + S(x) * S(x) * S(a))


@device
def join(p, q):
    return S(p + q - S(1))


@device
def finish(acc, a):
    return S(acc * S(2))


def test_own_reduction():
    own = R.reduction("own", start, step, join, finish)
    for shape in [(2, 5, 1), (1, 70001, 1), (1, 30001, 3)]:
        x = data(shape, "float64")
        y = np.zeros((shape[0], shape[2]))
        found = execute(P.reduce_plan(own, *shape, "float64", a=0.5), x=x, y=y)["y"]
        np.testing.assert_allclose(found, 2 * (1 + 0.5 * (x * x).sum(1)), rtol=1e-12)


def test_interpreted():
    for shape in [(2, 5, 1), (2, 300, 1), (2, 40, 3)]:
        x, y = data(shape, "float32"), np.zeros((shape[0], shape[2]), np.float32)
        for kernel, env, _, words, _ in P.sum_plan(*shape, "float32")[0]:
            run(kernel, y, x, *words, **env, interpreted=True)
        check_close(y, x.sum(1, dtype=np.float64), abs(x).sum(1, dtype=np.float64))
