"""Probability distributions: sampling, log-probabilities and entropies, differentiable in their parameters."""

from __future__ import annotations

import sys as _sys

from ..absent import hints as _hints
from . import constraints, transforms
from .counts import (
    Binomial,
    MixtureSameFamily,
    Multinomial,
    NegativeBinomial,
    OneHotCategorical,
    OneHotCategoricalStraightThrough,
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
)
from .discrete import Bernoulli, Categorical, Geometric, Poisson
from .distribution import Distribution, Independent, kl_divergence, register_kl
from .gamma import Beta, Chi2, Dirichlet, FisherSnedecor, Gamma, InverseGamma, StudentT
from .matrices import LKJCholesky, Wishart
from .normal import LogNormal, MultivariateNormal, Normal
from .positive import Exponential, Laplace, Uniform
from .tails import Cauchy, Gumbel, HalfCauchy, HalfNormal, Kumaraswamy, Pareto, VonMises, Weibull
from .transforms import (
    AbsTransform,
    AffineTransform,
    ComposeTransform,
    ExpTransform,
    PowerTransform,
    SigmoidTransform,
    SoftmaxTransform,
    SoftplusTransform,
    TanhTransform,
    Transform,
    TransformedDistribution,
    identity_transform,
)

__all__ = [
    "AbsTransform", "AffineTransform", "Bernoulli", "Beta", "Binomial", "Categorical", "Cauchy", "Chi2", "ComposeTransform", "Dirichlet",
    "Distribution", "ExpTransform", "Exponential", "FisherSnedecor", "Gamma", "Geometric", "Gumbel", "HalfCauchy", "HalfNormal",
    "Independent", "InverseGamma", "Kumaraswamy", "LKJCholesky", "Laplace", "LogNormal", "MixtureSameFamily", "Multinomial", "MultivariateNormal",
    "NegativeBinomial", "Normal", "OneHotCategorical", "OneHotCategoricalStraightThrough", "Pareto", "Poisson", "PowerTransform",
    "RelaxedBernoulli", "RelaxedOneHotCategorical", "SigmoidTransform", "SoftmaxTransform", "SoftplusTransform", "StudentT",
    "TanhTransform", "Transform", "TransformedDistribution", "Uniform", "VonMises", "Weibull", "Wishart", "constraints", "identity_transform",
    "kl_divergence", "register_kl", "transforms",
]  # fmt: skip

# PyTorch has a file for each: ``from torch.distributions.beta import Beta``.
for _name in """bernoulli beta binomial categorical cauchy chi2 dirichlet exponential fishersnedecor geometric gumbel half_cauchy half_normal
        independent inverse_gamma kl kumaraswamy laplace lkj_cholesky log_normal mixture_same_family multinomial multivariate_normal negative_binomial
        one_hot_categorical pareto poisson relaxed_bernoulli relaxed_categorical studentT transformed_distribution uniform von_mises
        weibull wishart""".split():
    _sys.modules[f"{__name__}.{_name}"] = _sys.modules[__name__]

__getattr__ = _hints(__name__)
