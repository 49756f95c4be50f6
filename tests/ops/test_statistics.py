"""Quantiles, histograms, masked reductions, windows and Fourier helpers against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import numtorch as torch

X = np.random.default_rng(0).standard_normal((4, 7))


@pytest.mark.parametrize("interpolation", ["linear", "lower", "higher", "midpoint", "nearest"])
@pytest.mark.parametrize("dim", [None, 0, 1])
def test_quantile(interpolation, dim):
    q = np.array([0.0, 0.3, 0.91, 1.0])
    want = np.quantile(X, q, axis=dim, method=interpolation)
    have = torch.quantile(torch.tensor(X), torch.tensor(q), dim, interpolation=interpolation)
    np.testing.assert_allclose(have.numpy(), want, rtol=1e-12)


def test_quantile_with_nan():
    x = X.copy()
    x[1, 2] = np.nan
    np.testing.assert_allclose(torch.nanquantile(torch.tensor(x), 0.4, 1).numpy(), np.nanquantile(x, 0.4, axis=1), rtol=1e-12)
    assert torch.quantile(torch.tensor(x), 0.4, 1).isnan().tolist() == [False, True, False, False]


def test_quantile_derivatives():
    x = torch.tensor(X, requires_grad=True)
    q = torch.tensor([0.21, 0.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: torch.quantile(a, b, 1), (x, q))


def test_quantile_refuses():
    with pytest.raises(RuntimeError, match=r"\[0, 1\]"):
        torch.quantile(torch.ones(2), 1.5)
    with pytest.raises(RuntimeError, match="non-empty"):
        torch.quantile(torch.ones(0), 0.5)


@pytest.mark.parametrize("density", [False, True])
def test_histogram(density):
    weights = np.abs(X)
    want, edges = np.histogram(X, 5, weights=weights, density=density)
    have = torch.histogram(torch.tensor(X), 5, weight=torch.tensor(weights), density=density)
    np.testing.assert_allclose(have.hist.numpy(), want, rtol=1e-12)
    np.testing.assert_allclose(have.bin_edges.numpy(), edges, rtol=1e-12)


def test_histogramdd():
    points = X.reshape(14, 2)
    want, _ = np.histogramdd(points, (3, 4))
    have = torch.histogramdd(torch.tensor(points), (3, 4))
    np.testing.assert_array_equal(have.hist.numpy(), want)


@pytest.mark.parametrize("name", ["sum", "prod", "mean", "var", "std"])
def test_masked_reductions(name):
    mask = X > -0.5
    want = [getattr(np, name)(row[keep], **({"ddof": 1} if name in ("var", "std") else {})) for row, keep in zip(X, mask)]
    have = getattr(torch.masked, name)(torch.tensor(X), 1, mask=torch.tensor(mask))
    np.testing.assert_allclose(have.numpy(), want, rtol=1e-12)


def test_masked_rows_without_elements():
    x, mask = torch.tensor(X), torch.zeros(4, 7, dtype=torch.bool)
    assert torch.masked.amax(x, 1, mask=mask).tolist() == [-np.inf] * 4
    assert torch.masked.mean(x, 1, mask=mask).isnan().all()


@pytest.mark.parametrize("name", ["bartlett", "blackman", "hamming"])
@pytest.mark.parametrize("n", [0, 1, 8])
def test_windows(name, n):
    have = getattr(torch.signal.windows, name)(n, dtype=torch.float64).numpy()
    np.testing.assert_allclose(have, getattr(np, name)(n), atol=1e-12)
    periodic = getattr(torch, f"{name}_window")(max(n, 2), dtype=torch.float64)
    np.testing.assert_allclose(periodic.numpy(), getattr(np, name)(max(n, 2) + 1)[:-1], atol=1e-12)


@pytest.mark.parametrize("n", [1, 4, 5])
def test_fourier_helpers(n):
    np.testing.assert_allclose(torch.fft.fftfreq(n, 0.5).numpy(), np.fft.fftfreq(n, 0.5), rtol=1e-6)
    np.testing.assert_allclose(torch.fft.rfftfreq(n).numpy(), np.fft.rfftfreq(n), rtol=1e-6)
    np.testing.assert_array_equal(torch.fft.fftshift(torch.arange(n)).numpy(), np.fft.fftshift(np.arange(n)))
    np.testing.assert_array_equal(torch.fft.ifftshift(torch.arange(n)).numpy(), np.fft.ifftshift(np.arange(n)))


def test_static_nonzero():
    assert torch.nonzero_static(torch.tensor([0, 3, 5]), size=3).tolist() == [[1], [2], [-1]]


def test_meshgrid_of_columns_first():
    x, y = torch.meshgrid(torch.arange(3), torch.arange(2), indexing="xy")
    assert x.tolist() == [[0, 1, 2]] * 2 and y.tolist() == [[0, 0, 0], [1, 1, 1]]
