"""Normal distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .._tensor import Tensor
from ..ops import elementwise as E
from ..ops.random import randn
from . import constraints
from .distribution import Distribution, LocationScale, register_kl

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


class Normal(LocationScale):
    """The normal distribution with mean ``loc`` and standard deviation ``scale``.

    Example:
        >>> Normal(0.0, 1.0).log_prob(torch.tensor(0.0))
        tensor(-0.9189)
    """

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return self.scale * self.scale

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        noise = randn(self._extended(sample_shape), dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + noise * self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        z = (value - self.loc) / self.scale
        return -0.5 * z * z - self.scale.log() - HALF_LOG_TWO_PI

    def cdf(self, value: Tensor) -> Tensor:
        return 0.5 * (1 + E.erf((value - self.loc) / self.scale * math.sqrt(0.5)))

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which a share ``value`` lies."""
        return self.loc + self.scale * E.erfinv(2 * value - 1) * math.sqrt(2)

    def entropy(self) -> Tensor:
        return 0.5 + HALF_LOG_TWO_PI + self.scale.log()


class LogNormal(Distribution):
    """The distribution of exp(x) for normal x."""

    support = constraints.positive

    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None):
        self.base_dist = Normal(loc, scale, validate_args)
        super().__init__(self.base_dist.batch_shape, (), validate_args)

    @property
    def mean(self) -> Tensor:
        return (self.base_dist.loc + self.base_dist.variance / 2).exp()

    @property
    def variance(self) -> Tensor:
        v = self.base_dist.variance
        return v.expm1() * (2 * self.base_dist.loc + v).exp()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.base_dist.rsample(sample_shape).exp()

    def log_prob(self, value: Tensor) -> Tensor:
        return self.base_dist.log_prob(value.log()) - value.log()

    def entropy(self) -> Tensor:
        return self.base_dist.entropy() + self.base_dist.loc


class MultivariateNormal(Distribution):
    """The normal distribution of vectors, by its covariance matrix or the Cholesky factor of it."""

    support = constraints.real_vector

    has_rsample = True

    def __init__(self, loc: Tensor, covariance_matrix: Tensor | None = None, precision_matrix: Tensor | None = None,
                 scale_tril: Tensor | None = None, validate_args: bool | None = None):  # fmt: skip
        from .. import linalg

        given = [m is not None for m in (covariance_matrix, precision_matrix, scale_tril)]
        if sum(given) != 1:
            raise ValueError("Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified.")
        if scale_tril is None:
            covariance = covariance_matrix if covariance_matrix is not None else linalg.inv(precision_matrix)  # type: ignore[arg-type]
            scale_tril = linalg.cholesky(covariance)
        self.loc, self.scale_tril = loc, scale_tril
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def covariance_matrix(self) -> Tensor:
        """The covariance."""
        return self.scale_tril @ self.scale_tril.transpose(-1, -2)

    @property
    def variance(self) -> Tensor:
        return (self.scale_tril * self.scale_tril).sum(-1)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        noise = randn(self._extended(sample_shape), dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + (self.scale_tril @ noise.unsqueeze(-1)).squeeze(-1)

    def _half_log_det(self) -> Tensor:
        return self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        from ..linalg import solve_triangular

        away = (value - self.loc).unsqueeze(-1)
        z = solve_triangular(self.scale_tril.expand(*away.shape[:-2], *self.scale_tril.shape[-2:]), away, upper=False)
        n = self.loc.shape[-1]
        return -0.5 * (z * z).sum((-2, -1)) - self._half_log_det() - n * HALF_LOG_TWO_PI

    def entropy(self) -> Tensor:
        return self.loc.shape[-1] * (0.5 + HALF_LOG_TWO_PI) + self._half_log_det()


@register_kl(Normal, Normal)
def _(p: Normal, q: Normal) -> Tensor:
    ratio, away = (p.scale / q.scale).pow(2), ((p.loc - q.loc) / q.scale).pow(2)
    return 0.5 * (ratio + away - 1 - ratio.log())


@register_kl(LogNormal, LogNormal)
def _(p: LogNormal, q: LogNormal) -> Tensor:
    from .distribution import kl_divergence

    return kl_divergence(p.base_dist, q.base_dist)


@register_kl(MultivariateNormal, MultivariateNormal)
def _(p: MultivariateNormal, q: MultivariateNormal) -> Tensor:
    from ..linalg import solve_triangular

    factors = solve_triangular(q.scale_tril, p.scale_tril, upper=False)
    away = solve_triangular(q.scale_tril, (q.loc - p.loc).unsqueeze(-1), upper=False)
    spread = (factors * factors).sum((-2, -1)) + (away * away).sum((-2, -1))
    return q._half_log_det() - p._half_log_det() + 0.5 * (spread - p.loc.shape[-1])
