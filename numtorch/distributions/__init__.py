"""Probability distributions: sampling, log-probabilities and entropies, differentiable in their parameters."""

from __future__ import annotations

from ..absent import hints as _hints
from .discrete import Bernoulli, Categorical, Geometric, Poisson
from .distribution import Distribution, Independent, kl_divergence, register_kl
from .normal import LogNormal, MultivariateNormal, Normal
from .positive import Exponential, Laplace, Uniform

__all__ = [
    "Bernoulli", "Categorical", "Distribution", "Exponential", "Geometric", "Independent", "Laplace", "LogNormal",
    "MultivariateNormal", "Normal", "Poisson", "Uniform", "kl_divergence", "register_kl",
]  # fmt: skip

__getattr__ = _hints(__name__)
