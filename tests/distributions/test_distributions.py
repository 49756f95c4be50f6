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
    "Gamma": lambda t, D: D.Gamma(t.tensor([0.7, 3.0]), t.tensor([1.5, 2.0])),
    "Beta": lambda t, D: D.Beta(t.tensor([0.7, 3.0]), t.tensor([1.5, 2.0])),
    "Dirichlet": lambda t, D: D.Dirichlet(t.tensor([[0.7, 3.0, 1.0], [2.0, 2.0, 2.0]])),
    "Chi2": lambda t, D: D.Chi2(t.tensor([3.0, 5.0])),
    "InverseGamma": lambda t, D: D.InverseGamma(t.tensor([4.0, 6.0]), t.tensor([1.5, 2.0])),
    "StudentT": lambda t, D: D.StudentT(t.tensor([5.0, 9.0]), t.tensor([0.5, -1.0]), t.tensor([1.5, 0.3])),
    "FisherSnedecor": lambda t, D: D.FisherSnedecor(t.tensor([3.0, 5.0]), t.tensor([12.0, 18.0])),
    "Cauchy": lambda t, D: D.Cauchy(t.tensor([0.5, -1.0]), t.tensor([1.5, 0.3])),
    "Gumbel": lambda t, D: D.Gumbel(t.tensor([0.5, -1.0]), t.tensor([1.5, 0.3])),
    "Weibull": lambda t, D: D.Weibull(t.tensor([0.5, 1.0]), t.tensor([1.5, 2.3])),
    "Pareto": lambda t, D: D.Pareto(t.tensor([0.01, 0.04]), t.tensor([5.5, 6.3])),
    "Kumaraswamy": lambda t, D: D.Kumaraswamy(t.tensor([0.5, 1.0]), t.tensor([1.5, 2.3])),
    "HalfNormal": lambda t, D: D.HalfNormal(t.tensor([0.5, 1.0])),
    "HalfCauchy": lambda t, D: D.HalfCauchy(t.tensor([0.5, 1.0])),
    "VonMises": lambda t, D: D.VonMises(t.tensor([0.5, 0.0]), t.tensor([4.0, 9.0])),
    "Binomial": lambda t, D: D.Binomial(t.tensor([4.0, 9.0]), t.tensor([0.3, 0.6])),
    "NegativeBinomial": lambda t, D: D.NegativeBinomial(t.tensor([4.0, 9.0]), t.tensor([0.3, 0.6])),
    "Multinomial": lambda t, D: D.Multinomial(1, t.tensor([0.3, 0.6, 0.1])),
    "OneHotCategorical": lambda t, D: D.OneHotCategorical(t.tensor([[0.3, 0.6, 0.1]])),
    "RelaxedBernoulli": lambda t, D: D.RelaxedBernoulli(t.tensor(0.7), t.tensor([0.25, 0.6])),
    "RelaxedOneHotCategorical": lambda t, D: D.RelaxedOneHotCategorical(t.tensor(0.7), t.tensor([0.25, 0.6, 0.15])),
    "MixtureSameFamily": lambda t, D: D.MixtureSameFamily(D.Categorical(t.tensor([0.3, 0.7])), D.Normal(t.tensor([0.5, -1.0]), t.tensor([1.5, 0.3]))),
    "Transformed": lambda t, D: D.TransformedDistribution(
        D.Normal(t.tensor([0.5, -1.0]), t.tensor([1.5, 0.3])), [D.AffineTransform(0.1, -2.0), D.SigmoidTransform()]),
    "Squashed": lambda t, D: D.TransformedDistribution(D.Independent(D.Normal(t.zeros(3, 2), t.ones(3, 2)), 1), [D.TanhTransform()]),
    "Softplus": lambda t, D: D.TransformedDistribution(D.Laplace(t.tensor([0.5]), t.tensor([1.5])), D.ComposeTransform([D.SoftplusTransform(), D.PowerTransform(2.0)])),
    "Expanded": lambda t, D: D.Normal(t.tensor([0.5]), t.tensor([1.5])).expand((4, 3)),
}  # fmt: skip
WHOLE = {"Binomial", "NegativeBinomial", "Multinomial", "OneHotCategorical", "Bernoulli", "Bernoulli_logits", "Geometric", "Poisson", "Categorical", "Categorical_logits"}


VECTORS = {"Dirichlet", "RelaxedOneHotCategorical", "Multinomial", "OneHotCategorical"}  # values add up to 1
NO_MOMENTS = {"Categorical", "Categorical_logits", "RelaxedBernoulli", "RelaxedOneHotCategorical", "Transformed", "Squashed", "Softplus"}
NO_ENTROPY = {"Poisson", "FisherSnedecor", "VonMises", "Binomial", "NegativeBinomial", "Multinomial", "MixtureSameFamily"}
OTHERWISE_SHOWN = {"MixtureSameFamily", "MultivariateNormal", "Pareto", "RelaxedBernoulli", "RelaxedOneHotCategorical"}  # their parameters
HEAVY = {"Cauchy", "HalfCauchy", "StudentT", "FisherSnedecor"}  # means of samples say little


def values_for(name, shape, torch):
    torch.manual_seed(0)
    if name in WHOLE & VECTORS:
        return torch.nn.functional.one_hot(torch.randint(0, shape[-1], shape[:-1]), shape[-1]).float()
    value = torch.randint(0, 2, shape).float() if name in WHOLE else torch.rand(shape) * 0.9 + 0.05
    return value / value.sum(-1, keepdim=True) if name in VECTORS else value


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", MAKE)
def test_formulas_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    ours, theirs = MAKE[name](numtorch, D), MAKE[name](torch, torch.distributions)
    assert tuple(ours.batch_shape) == tuple(theirs.batch_shape) and tuple(ours.event_shape) == tuple(theirs.event_shape)
    if name not in OTHERWISE_SHOWN:
        assert repr(ours) == repr(theirs)
    value = values_for(name, (4, *theirs.batch_shape, *theirs.event_shape), torch)

    def same(a, b):
        torch.testing.assert_close(torch.from_numpy(a.numpy().copy()), b, rtol=1e-4, atol=1e-5, equal_nan=True)

    same(ours.log_prob(numtorch.tensor(value.numpy())), theirs.log_prob(value))
    for what in ("mean", "variance", "stddev"):
        if name not in NO_MOMENTS:
            same(getattr(ours, what), getattr(theirs, what))
    if name not in NO_ENTROPY | NO_MOMENTS | {"Relaxed"}:
        same(ours.entropy(), theirs.entropy())
    if name in ("Laplace", "Gamma", "Cauchy", "HalfNormal", "HalfCauchy", "Transformed", "MixtureSameFamily"):
        same(ours.cdf(numtorch.tensor(value.numpy())), theirs.cdf(value))


KL = {
    "Normal": "Normal", "LogNormal": "LogNormal", "Laplace": "Laplace", "Exponential": "Exponential", "Bernoulli": "Bernoulli_logits",
    "Geometric": "Geometric", "Poisson": "Poisson", "Categorical": "Categorical_logits", "Gamma": "Gamma", "Beta": "Beta",
    "Dirichlet": "Dirichlet", "Gumbel": "Gumbel", "HalfNormal": "HalfNormal", "Cauchy": "Cauchy", "OneHotCategorical": "OneHotCategorical",
    "MultivariateNormal": "MultivariateNormal", "Independent": "Independent",
}  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize("name", KL)
def test_divergences_of_one_kind(name):
    torch = pytest.importorskip("torch")

    def divergence(t, D):
        p, q = MAKE[name](t, D), MAKE[KL[name]](t, D)
        for key, x in vars(q).items():  # another distribution of the same kind
            if key in ("loc", "scale", "rate", "concentration"):
                setattr(q, key, x * 1.25)
        return D.kl_divergence(p, q)

    ours, theirs = divergence(numtorch, D), divergence(torch, torch.distributions)
    torch.testing.assert_close(torch.from_numpy(ours.numpy()), theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", MAKE)
def test_samples_have_the_moments(name):
    numtorch.manual_seed(0)
    d = MAKE[name](numtorch, D)
    drawn = d.sample((4_000,))
    assert tuple(drawn.shape) == (4_000, *d.batch_shape, *d.event_shape) and not drawn.requires_grad
    if hasattr(d, "support"):
        assert bool(d.support.check(drawn).all())
    if name in NO_MOMENTS - {"Categorical", "Categorical_logits"} | HEAVY:
        return
    want = (d.probs * numtorch.arange(3.0)).sum(-1) if name.startswith("Categorical") else d.mean
    error = 5 * (numtorch.ones(()) if name.startswith("Categorical") else d.stddev) / 4_000**0.5
    assert bool(((drawn.float().mean(0) - want).abs() <= error + 1e-6).all())


def test_the_distribution_of_samples():
    """Kolmogorov's distance of samples from the distribution function."""
    for d in (D.Gamma(0.3, 1.0), D.Gamma(4.0, 2.0), D.Laplace(0.5, 2.0), D.Cauchy(0.0, 1.0), D.HalfNormal(2.0)):
        drawn = numtorch.sort(d.sample((4_000,)))[0]
        away = (d.cdf(drawn) - numtorch.arange(4_000) / 4_000).abs().max()
        assert away < 2.0 / 4_000**0.5, d


@pytest.mark.parametrize("alpha", [0.05, 0.5, 3.0, 200.0])
def test_gamma_samples_carry_gradients(alpha):
    a = numtorch.full((2_000,), alpha, dtype=numtorch.float64, requires_grad=True)
    x = D.Gamma(a, numtorch.ones_like(a)).rsample()
    x.sum().backward()
    assert abs(a.grad.mean().item() - 1) < 0.15  # d mean / d alpha
    h = 1e-5 * alpha
    up, down = (numtorch.special.gammainc(a.detach() + s * h, x.detach()) for s in (1, -1))
    density = D.Gamma(a.detach(), 1.0).log_prob(x.detach()).exp()
    inside = x.detach() > 1e-30
    assert numtorch.allclose(a.grad[inside], (-(up - down) / (2 * h) / density)[inside], rtol=2e-3, atol=1e-6)


def test_expand_and_errors():
    d = D.MixtureSameFamily(D.Categorical(numtorch.ones(2)), D.Normal(numtorch.zeros(2), 1.0))
    assert d.sample((3,)).shape == (3,)
    assert D.Gamma(numtorch.ones(1), numtorch.ones(1)).expand((5,)).rsample().shape == (5,)
    with pytest.raises(ValueError, match="concentration.*GreaterThan"):
        D.Gamma(-1.0, 1.0)
    with pytest.raises(ValueError, match="value argument.*Simplex"):
        D.Dirichlet(numtorch.ones(3)).log_prob(numtorch.ones(3))
    with pytest.raises(ValueError, match="must be a Transform"):
        D.TransformedDistribution(D.Normal(0.0, 1.0), [3])


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
    with pytest.raises(ValueError, match="Expected parameter scale .* of distribution Normal.* to satisfy the constraint GreaterThan"):
        D.Normal(0.0, -1.0)
    with pytest.raises(ValueError, match="Either `probs` or `logits` must be specified, but not both"):
        D.Categorical()
    with pytest.raises(NotImplementedError, match="no formula for Normal and Uniform"):
        D.kl_divergence(D.Normal(0.0, 1.0), D.Uniform(0.0, 1.0))
    with pytest.raises(NotImplementedError, match="Bernoulli has no reparametrised samples"):
        D.Bernoulli(0.5).rsample()
    D.Normal(0.0, -1.0, validate_args=False)
