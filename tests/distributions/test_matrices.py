"""Distributions of matrices against PyTorch's formulas, and the moments of their own samples."""

from __future__ import annotations

import pytest

import numtorch
from numtorch import distributions as D

SCALE = [[[2.0, 0.5], [0.5, 1.0]], [[1.0, -0.2], [-0.2, 3.0]]]
MAKE = {
    "covariance": lambda t, D: D.Wishart(t.tensor([3.5, 5.0]), covariance_matrix=t.tensor(SCALE)),
    "precision": lambda t, D: D.Wishart(4.0, precision_matrix=t.tensor(SCALE[0])),
    "factor": lambda t, D: D.Wishart(t.tensor([3.0, 4.0]), scale_tril=t.tensor([[1.5, 0.0], [0.3, 0.7]])),
    "LKJ": lambda t, D: D.LKJCholesky(3, t.tensor([0.5, 1.0, 4.0])),
    "LKJ of 2": lambda t, D: D.LKJCholesky(2),
    "expanded": lambda t, D: D.LKJCholesky(3, t.tensor([2.0])).expand((2,)),
}


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore:Singular sample detected")  # PyTorch says so of regular ones
@pytest.mark.parametrize("name", MAKE)
def test_formulas_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    ours, theirs = MAKE[name](numtorch, D), MAKE[name](torch, torch.distributions)
    assert tuple(ours.batch_shape) == tuple(theirs.batch_shape) and tuple(ours.event_shape) == tuple(theirs.event_shape)
    value = theirs.sample((3,))

    def same(a, b):
        torch.testing.assert_close(torch.from_numpy(a.numpy().copy()), b, rtol=1e-4, atol=1e-4, equal_nan=True)

    same(ours.log_prob(numtorch.tensor(value.numpy())), theirs.log_prob(value))
    assert ours.sample((2,)).shape == (2, *theirs.batch_shape, *theirs.event_shape)
    if "LKJ" not in name and name != "expanded":
        for what in ("mean", "variance", "mode", "covariance_matrix", "precision_matrix"):
            same(getattr(ours, what), getattr(theirs, what))
        same(ours.entropy(), theirs.entropy())


@pytest.mark.oracle
def test_the_divergence_of_two_wisharts():
    torch = pytest.importorskip("torch")
    ours, theirs = (
        d.kl_divergence(d.Wishart(t.tensor(3.0), t.tensor(SCALE[0])), d.Wishart(t.tensor(4.5), t.tensor(SCALE[1])))
        for t, d in ((numtorch, D), (torch, torch.distributions))
    )
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-4)


def test_wishart_samples_have_the_mean_and_carry_gradients():
    numtorch.manual_seed(0)
    factor = numtorch.tensor([[1.5, 0.0], [0.3, 0.7]], requires_grad=True)
    d = D.Wishart(numtorch.tensor(4.0), scale_tril=factor)
    drawn = d.rsample((4_000,))
    away = (drawn.detach().mean(0) - d.mean.detach()).abs()
    assert bool((away <= 5 * d.stddev.detach() / 4_000**0.5).all()) and bool(d.support.check(drawn.detach()).all())
    (gradient,) = numtorch.autograd.grad(drawn.mean(0)[0, 0], factor)
    assert gradient[0, 0].item() == pytest.approx(2 * 4.0 * 1.5, rel=0.1)  # of the mean 4 * 1.5**2


def test_correlations_of_lkj_samples():
    """With concentration 1 the correlations of 3 x 3 matrices have the density of Beta(1.5, 1.5) on (-1, 1): variance 1/4."""
    numtorch.manual_seed(0)
    factors = D.LKJCholesky(3, 1.0).sample((4_000,))
    found = (factors @ factors.transpose(-1, -2))[:, 2, 1]
    assert abs(found.mean().item()) < 0.05 and found.var().item() == pytest.approx(0.25, abs=0.03)
    assert bool(D.constraints.corr_cholesky.check(factors).all())


@pytest.mark.parametrize(
    ("kind", "call", "message"),
    [
        (ValueError, lambda: D.LKJCholesky(1), "greater than or equal to 2. Found dim=1"),
        (ValueError, lambda: D.LKJCholesky(2, -1.0), "parameter concentration"),
        (ValueError, lambda: D.Wishart(1.0, numtorch.eye(2)), "greater than ndim - 1 = 1"),
        (ValueError, lambda: D.Wishart(3.0, numtorch.ones(2)), "at least two-dimensional"),
        (AssertionError, lambda: D.Wishart(3.0), "Exactly one of covariance_matrix"),
        (ValueError, lambda: D.Wishart(3.0, scale_tril=-numtorch.eye(2)), "LowerCholesky"),
        (ValueError, lambda: D.Wishart(3.0, numtorch.eye(2)).log_prob(-numtorch.eye(2)), "PositiveDefinite"),
    ],
)
def test_bad_arguments(kind, call, message):
    with pytest.raises(kind, match=message):
        call()
