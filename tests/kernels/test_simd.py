"""The SIMD layer: each operation compiled, against its own Python body."""

import numpy as np
import pytest
from harness import run

from numtorch.kernels.jit import VL, T, T_ptr, i64, kernel
from numtorch.kernels.simd import (
    vadd,
    vevens,
    vfirsts,
    vfma,
    vload,
    vloadn,
    vmaxn,
    vmul,
    vpairs,
    vpairs_high,
    vseconds,
    vsplat,
    vstore,
    vstoren,
    vsub,
    vsum,
    vsumall,
    vzero,
)  # fmt: skip
from numtorch.kernels.target import target

DTYPES = [np.float32, np.float64]


@kernel
def arithmetic(y: T_ptr, x: T_ptr, s: T_ptr, chunk: i64, nchunks: i64):
    a, b = vload(x, 0), vload(x, VL)
    vstore(y, 0, vadd(a, b))
    vstore(y, VL, vmul(a, vsplat(x[1])))
    vstore(y, 2 * VL, vfma(a, b, vsplat(T(0.5))))
    vstore(y, 3 * VL, vmaxn(a, vzero(T)))
    s[0] = vsum(a)


@kernel
def tails(y: T_ptr, x: T_ptr, n: i64, chunk: i64, nchunks: i64):
    vstoren(y, 0, vloadn(x, 0, n), n)
    vstore(y, VL, vloadn(x, 0, n))


@kernel
def evens(y: T_ptr, x: T_ptr, n: i64, chunk: i64, nchunks: i64):
    vstore(y, 0, vevens(x, 0, n))


@kernel
def interleaved(y: T_ptr, x: T_ptr, chunk: i64, nchunks: i64):
    a, b = vload(x, 0), vload(x, VL)
    vstore(y, 0, vpairs(a, b))
    vstore(y, VL, vpairs_high(a, b))
    vstore(y, 2 * VL, vsub(a, b))
    vstore(y, 3 * VL, vfirsts(a, b))
    vstore(y, 4 * VL, vseconds(a, b))


@kernel
def sums(y: T_ptr, x: T_ptr, chunk: i64, nchunks: i64):
    vstore(y, 0, vsumall(vload(x, 0)))
    vstore(y, VL, vsumall(vload(x, 0), vload(x, VL)))


@kernel
def sums_of_four(y: T_ptr, x: T_ptr, chunk: i64, nchunks: i64):
    vstore(y, 0, vsumall(vload(x, 0), vload(x, VL), vload(x, 2 * VL), vload(x, 3 * VL)))


def _lanes(dtype):
    return target().lanes(np.dtype(dtype).name)


@pytest.mark.parametrize("interpreted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_arithmetic(dtype, interpreted):
    lanes = _lanes(dtype)
    x = (np.arange(2 * lanes) - 2.5).astype(dtype)
    a, b = x[:lanes], x[lanes:]
    y, s = np.zeros(4 * lanes, dtype), np.zeros(1, dtype)
    run(arithmetic, y, x, s, interpreted=interpreted)
    np.testing.assert_array_equal(y, np.concatenate([a + b, a * x[1], a * b + dtype(0.5), np.maximum(a, 0)]))
    assert s[0] == a.sum()


@pytest.mark.parametrize("interpreted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_interleaving(dtype, interpreted):
    lanes = _lanes(dtype)
    x = (np.arange(2 * lanes) ** 2).astype(dtype)
    y = np.zeros(5 * lanes, dtype)
    run(interleaved, y, x, interpreted=interpreted)
    a, b = x[:lanes], x[lanes:]
    np.testing.assert_array_equal(y, np.concatenate([np.stack([a, b], 1).ravel(), a - b, x[::2], x[1::2]]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_relu_keeps_nan_and_inf(dtype):
    lanes = _lanes(dtype)
    x = np.zeros(2 * lanes, dtype)
    x[0], x[1] = np.nan, -np.inf
    y = np.zeros(4 * lanes, dtype)
    run(arithmetic, y, x, np.zeros(1, dtype))
    assert np.isnan(y[3 * lanes]) and y[3 * lanes + 1] == 0


@pytest.mark.parametrize("interpreted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_masked_loads_and_stores_touch_only_their_elements(dtype, interpreted):
    lanes = _lanes(dtype)
    for n in [*range(-1, lanes + 1), lanes + 3]:
        used = min(max(n, 0), lanes)
        x = np.full(max(used, 1), 3, dtype)  # exactly as long as may be read; the interpreter checks that
        y = np.full(2 * lanes, 7, dtype)
        run(tails, y, x, n, interpreted=interpreted)
        mask = np.arange(lanes) < used
        np.testing.assert_array_equal(y, np.concatenate([np.where(mask, 3, 7), np.where(mask, 3, 0)]))


@pytest.mark.parametrize("interpreted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_second_element(dtype, interpreted):
    lanes = _lanes(dtype)
    for n in range(lanes + 1):
        x, y = np.arange(1, max(2 * n, 2), dtype=dtype), np.full(lanes, 7, dtype)
        run(evens, y, x, n, interpreted=interpreted)
        np.testing.assert_array_equal(y, np.pad(x[::2][:n], (0, lanes - n)))


@pytest.mark.parametrize("interpreted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_of_several_vectors(dtype, interpreted):
    lanes = _lanes(dtype)
    x = np.random.default_rng(0).integers(0, 100, (4, lanes)).astype(dtype)
    y = np.zeros(2 * lanes, dtype)
    run(sums, y, x.ravel(), interpreted=interpreted)
    assert y[0] == x[0].sum()
    np.testing.assert_array_equal(y[lanes : lanes + 2], x[:2].sum(1))
    if lanes >= 4:
        run(sums_of_four, y, x.ravel(), interpreted=interpreted)
        np.testing.assert_array_equal(y[:4], x.sum(1))
