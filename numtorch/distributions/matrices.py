"""Distributions of matrices: Wishart's, and that of Lewandowski, Kurowicka and Joe over Cholesky factors of correlations."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

from .._tensor import Tensor
from ..creation import arange, zeros
from ..dtype import finfo
from ..ops.diagonals import diag_embed
from ..ops.elementwise_more import digamma, lgamma
from ..ops.mathematics import mvlgamma
from ..ops.random import randn
from . import constraints
from .distribution import Distribution, parameters, register_kl
from .gamma import Beta, Chi2

LOG_TWO = math.log(2.0)


def _mvdigamma(a: Tensor, p: int) -> Tensor:
    """The derivative of ``mvlgamma``."""
    return digamma(a.unsqueeze(-1) - arange(p, dtype=a.dtype, device=a.device) / 2).sum(-1)


class Wishart(Distribution):
    """The Wishart distribution of scatter matrices with ``df`` degrees of freedom, by its scale matrix or the Cholesky factor of it.

    Example:
        >>> import numtorch
        >>> numtorch.distributions.Wishart(3.0, covariance_matrix=numtorch.eye(2)).mean
        tensor([[3., 0.],
                [0., 3.]])
    """

    has_rsample = True
    support = constraints.positive_definite

    def __init__(self, df: Any, covariance_matrix: Tensor | None = None, precision_matrix: Tensor | None = None,
                 scale_tril: Tensor | None = None, validate_args: bool | None = None):  # fmt: skip
        from .. import linalg

        given = [m for m in (covariance_matrix, precision_matrix, scale_tril) if m is not None]
        if len(given) != 1:
            raise AssertionError("Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified.")
        if given[0].ndim < 2:
            raise ValueError("scale_tril must be at least two-dimensional, with optional leading batch dimensions")
        factor, n = scale_tril, given[0].shape[-1]
        if factor is None:
            factor = linalg.cholesky(linalg.inv(precision_matrix) if covariance_matrix is None else covariance_matrix)
        (self.df, _) = parameters(df, zeros(given[0].shape[:-2], dtype=factor.dtype, device=factor.device))
        if bool((self.df <= n - 1).any()):
            raise ValueError(f"Value of df={df} expected to be greater than ndim - 1 = {n - 1}.")
        if bool((self.df < n).any()):
            warnings.warn("Low df values detected. Singular samples are highly likely to occur for ndim - 1 < df < ndim.", stacklevel=2)
        self.scale_tril = factor.expand(*self.df.shape, n, n)
        super().__init__(self.df.shape, (n, n), validate_args)
        if scale_tril is None:
            self._require("parameter matrix", given[0], constraints.positive_definite.check(given[0]), "PositiveDefinite()")
        else:
            self._require("parameter scale_tril", factor, constraints.lower_cholesky.check(factor), "LowerCholesky()")

    @property
    def covariance_matrix(self) -> Tensor:
        """The scale matrix."""
        return self.scale_tril @ self.scale_tril.transpose(-1, -2)

    @property
    def precision_matrix(self) -> Tensor:
        """The inverse of the scale matrix."""
        from .. import linalg

        return linalg.inv(self.covariance_matrix)

    @property
    def mean(self) -> Tensor:
        return self.df[..., None, None] * self.covariance_matrix

    @property
    def mode(self) -> Tensor:
        """The most likely matrix, NaN where there is none."""
        factor = self.df - self._event_shape[-1] - 1
        return factor.masked_fill(factor <= 0, math.nan)[..., None, None] * self.covariance_matrix

    @property
    def variance(self) -> Tensor:
        v = self.covariance_matrix
        diagonal = v.diagonal(dim1=-2, dim2=-1)
        return self.df[..., None, None] * (v.square() + diagonal.unsqueeze(-1) * diagonal.unsqueeze(-2))

    def _half_log_det(self) -> Tensor:
        """Half of the logarithm of the determinant of twice the scale matrix."""
        return self._event_shape[-1] * LOG_TWO / 2 + self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def rsample(self, sample_shape: Sequence[int] = (), max_try_correction: int | None = None) -> Tensor:
        """Samples by Bartlett's decomposition; those that are singular are drawn again, at most ``max_try_correction`` (10) times."""
        sample = self._bartlett(sample_shape)
        for k in range(10 if max_try_correction is None else max_try_correction):
            singular = ~self.support.check(sample.detach())
            if not bool(singular.any()):
                break
            if k == 0:
                warnings.warn("Singular sample detected.", stacklevel=2)
            sample = self._bartlett(sample_shape).where(singular[..., None, None], sample)
        return sample

    def _bartlett(self, sample_shape: Sequence[int]) -> Tensor:
        n = self._event_shape[-1]
        d, device = self.scale_tril.dtype, self.scale_tril.device
        chi2 = Chi2(self.df.unsqueeze(-1) - arange(n, dtype=d, device=device)).rsample(sample_shape)
        noise = randn(self._extended(sample_shape), dtype=d, device=device).tril(-1)
        factor = self.scale_tril @ (noise + diag_embed(chi2.sqrt().clamp(min=finfo(d).tiny)))
        return factor @ factor.transpose(-1, -2)

    def log_prob(self, value: Tensor) -> Tensor:
        from .. import linalg

        self._require("value argument", value, self.support.check(value.detach()), "PositiveDefinite()")
        n = self._event_shape[-1]
        inside = linalg.solve(self.covariance_matrix, value).diagonal(dim1=-2, dim2=-1).sum(-1)
        spread = (self.df - n - 1) / 2 * linalg.slogdet(value)[1] - inside / 2
        return spread - self.df * self._half_log_det() - mvlgamma(self.df / 2, n)

    def entropy(self) -> Tensor:
        n, half = self._event_shape[-1], self.df / 2
        rest = mvlgamma(half, n) - (self.df - n - 1) / 2 * _mvdigamma(half, n) + half * n
        return (n + 1) * self._half_log_det() + rest


@register_kl(Wishart, Wishart)
def _(p: Wishart, q: Wishart) -> Tensor:
    from .. import linalg

    n = p.event_shape[-1]
    factors = linalg.solve_triangular(q.scale_tril, p.scale_tril, upper=False)
    spread = p.df * (0.5 * factors.square().sum((-2, -1)) - 0.5 * n)
    scale = q.df * (q._half_log_det() - p._half_log_det())
    return scale + spread + mvlgamma(q.df / 2, n) - mvlgamma(p.df / 2, n) + (p.df - q.df) / 2 * _mvdigamma(p.df / 2, n)


class LKJCholesky(Distribution):
    """Cholesky factors L of correlation matrices of size ``dim``, with density proportional to det(L L.T)**(concentration - 1).

    D. Lewandowski, D. Kurowicka and H. Joe, Journal of Multivariate Analysis 100 (2009) 1989-2001.

    Example:
        >>> import numtorch
        >>> L = numtorch.distributions.LKJCholesky(3, 0.5).sample()
        >>> numtorch.allclose((L @ L.T).diagonal(), numtorch.ones(3))
        True
    """

    support = constraints.corr_cholesky

    def __init__(self, dim: int, concentration: Any = 1.0, validate_args: bool | None = None):
        if dim < 2:
            raise ValueError(f"Expected dim to be an integer greater than or equal to 2. Found dim={dim}.")
        self.dim = dim
        (self.concentration,) = parameters(concentration)
        super().__init__(self.concentration.shape, (dim, dim), validate_args)
        self._require("parameter concentration", self.concentration, self.concentration > 0, "GreaterThan(lower_bound=0.0)")

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Factors row by row, each a direction times a length (the onion method): the square of the length of row k has the
        distribution Beta(k / 2, concentration + (dim - 1 - k) / 2). PyTorch 2.13 takes k - 1 / 2 for k / 2."""
        eta = self.concentration.detach()
        half = 0.5 * arange(self.dim, dtype=eta.dtype, device=eta.device).clamp(min=1)  # row 0 has no direction
        square = Beta(half, (eta + 0.5 * (self.dim - 1)).unsqueeze(-1) - half).sample(sample_shape)
        noise = randn(self._extended(sample_shape), dtype=eta.dtype, device=eta.device).tril(-1)
        length = noise.norm(dim=-1, keepdim=True)
        rows = square.unsqueeze(-1).sqrt() * noise / length.masked_fill(length == 0, 1.0)
        return rows + diag_embed((1 - rows.square().sum(-1)).clamp(min=finfo(eta.dtype).tiny).sqrt())

    def log_prob(self, value: Tensor) -> Tensor:
        self._require("value argument", value, self.support.check(value.detach()), "CorrCholesky()")
        places = arange(2, self.dim + 1, dtype=self.concentration.dtype, device=self.concentration.device)
        order = 2 * (self.concentration - 1).unsqueeze(-1) + self.dim - places
        density = (order * value.diagonal(dim1=-2, dim2=-1)[..., 1:].log()).sum(-1)
        n = self.dim - 1
        alpha = self.concentration + 0.5 * n
        return density - (0.5 * n * math.log(math.pi) + mvlgamma(alpha - 0.5, n) - lgamma(alpha) * n)
