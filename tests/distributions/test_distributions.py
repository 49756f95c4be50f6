"""Distributions against PyTorch's formulas and the moments of their own samples."""

from __future__ import annotations

import pytest

import numtorch
from numtorch import distributions as D

MAKE = {
    "Normal": lambda t, D: D.Normal(t.tensor([0.5, -1.0]), t.tensor([1.5, 0.3])),
    "LogNormal": lambda t, D: D.LogNormal(t.tensor([0.1, 0.2]), t.tensor([0.5, 0.3])),
    "Laplace": lambda t, D: D.Laplace(t.tensor([0.5, -1.0]), t.tensor([1.5, 0.3])),
    "Uniform": lambda t, D: D.Uniform(t.tensor([0.0, -1.0]), t.tensor([2.0, 3.0])),
    "Exponential": lambda t, D: D.Exponential(t.tensor([0.5, 2.0])),
    "Bernoulli": lambda t, D: D.Bernoulli(t.tensor([0.25, 0.6])),
    "Bernoulli_logits": lambda t, D: D.Bernoulli(logits=t.tensor([0.25, -1.6])),
    "Geometric": lambda t, D: D.Geometric(t.tensor([0.25, 0.6])),
    "Poisson": lambda t, D: D.Poisson(t.tensor([0.5, 3.0])),
    "Categorical": lambda t, D: D.Categorical(t.tensor([[0.2, 0.3, 0.5], [1.0, 2.0, 3.0]])),
    "Categorical_logits": lambda t, D: D.Categorical(logits=t.tensor([[0.2, 0.3, 0.5], [1.0, 2.0, 3.0]])),
    "Independent": lambda t, D: D.Independent(D.Normal(t.zeros(3, 2), t.ones(3, 2) * 2), 1),
    "MultivariateNormal": lambda t, D: D.MultivariateNormal(t.tensor([0.5, -1.0]), t.tensor([[2.0, 0.5], [0.5, 1.0]])),
}
WHOLE = {"Bernoulli", "Bernoulli_logits", "Geometric", "Poisson", "Categorical", "Categorical_logits"}


@pytest.mark.oracle
@pytest.mark.parametrize("name", MAKE)
def test_formulas_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    ours, theirs = MAKE[name](numtorch, D), MAKE[name](torch, torch.distributions)
    assert tuple(ours.batch_shape) == tuple(theirs.batch_shape) and tuple(ours.event_shape) == tuple(theirs.event_shape)
    shape = (4, *theirs.batch_shape, *theirs.event_shape)
    torch.manual_seed(0)
    value = torch.randint(0, 2, shape).float() if name in WHOLE else torch.rand(shape) * 0.9 + 0.05
    torch.testing.assert_close(torch.from_numpy(ours.log_prob(numtorch.tensor(value.numpy())).numpy()), theirs.log_prob(value))
    for what in ("mean", "variance", "stddev"):
        if not name.startswith("Categorical"):
            torch.testing.assert_close(torch.from_numpy(getattr(ours, what).numpy().copy()), getattr(theirs, what))
    if name != "Poisson":
        torch.testing.assert_close(torch.from_numpy(ours.entropy().numpy()), theirs.entropy())


@pytest.mark.parametrize("name", [n for n in MAKE if n != "Poisson"])
def test_samples_have_the_moments(name):
    numtorch.manual_seed(0)
    d = MAKE[name](numtorch, D)
    drawn = d.sample((20_000,))
    assert tuple(drawn.shape) == (20_000, *d.batch_shape, *d.event_shape) and not drawn.requires_grad
    want = (d.probs * numtorch.arange(3.0)).sum(-1) if name.startswith("Categorical") else d.mean
    assert numtorch.allclose(drawn.float().mean(0), want, atol=0.1)


def test_samples_carry_gradients():
    loc, scale = numtorch.zeros(3, requires_grad=True), numtorch.ones(3, requires_grad=True)
    sample = D.Normal(loc, scale).rsample((5,))
    sample.sum().backward()
    assert loc.grad.tolist() == [5.0, 5.0, 5.0]
    assert numtorch.allclose(scale.grad, sample.detach().sum(0))


def test_policy_gradient():
    logits = numtorch.zeros(2, requires_grad=True)
    m = D.Categorical(logits=logits)
    (-m.log_prob(numtorch.tensor(1)) * 2.0).backward()
    assert numtorch.allclose(logits.grad, numtorch.tensor([1.0, -1.0]))


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["Normal", "Uniform", "Exponential", "Bernoulli", "Categorical", "Independent"])
def test_divergences_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    other = {
        "Normal": lambda t, D: D.Normal(0.0, 2.0), "Uniform": lambda t, D: D.Uniform(t.tensor([-1.0, 0.0]), t.tensor([4.0, 4.0])),
        "Exponential": lambda t, D: D.Exponential(t.tensor([1.5, 0.2])), "Bernoulli": lambda t, D: D.Bernoulli(t.tensor([0.5, 0.1])),
        "Categorical": lambda t, D: D.Categorical(t.tensor([0.1, 0.1, 0.8])),
        "Independent": lambda t, D: D.Independent(D.Normal(t.ones(3, 2), t.ones(3, 2)), 1),
    }[name]  # fmt: skip
    ours = D.kl_divergence(MAKE[name](numtorch, D), other(numtorch, D))
    theirs = torch.distributions.kl_divergence(MAKE[name](torch, torch.distributions), other(torch, torch.distributions))
    torch.testing.assert_close(torch.from_numpy(ours.numpy()), theirs)


def test_mistakes_get_a_sentence():
    with pytest.raises(ValueError, match="Expected parameter scale .* of distribution Normal to satisfy the constraint GreaterThan"):
        D.Normal(0.0, -1.0)
    with pytest.raises(ValueError, match="Either `probs` or `logits` must be specified, but not both"):
        D.Categorical()
    with pytest.raises(NotImplementedError, match="no formula for Normal and Uniform"):
        D.kl_divergence(D.Normal(0.0, 1.0), D.Uniform(0.0, 1.0))
    with pytest.raises(NotImplementedError, match="Bernoulli has no reparametrised samples"):
        D.Bernoulli(0.5).rsample()
    D.Normal(0.0, -1.0, validate_args=False)
