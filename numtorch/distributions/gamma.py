"""The gamma distribution and what is made of it: beta, Dirichlet, chi-squared, Student's t, F, inverse gamma."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .._tensor import Tensor
from ..autograd.function import Function, once_differentiable
from ..ops import elementwise as E
from ..ops.arithmetic import where
from ..ops.elementwise_more import digamma, lgamma, xlogy
from ..ops.gamma import igamma
from ..ops.joining import stack
from ..ops.random import rand, randn
from . import constraints
from .distribution import Distribution, parameters, register_kl

_STEP = 1e-4  # of the difference quotient in float64, relative to the scale on which a distribution function changes


class StandardGamma(Function):
    """Samples of the gamma distribution of rate 1, and their derivative with respect to its shape (implicit reparametrisation,
    Figurnov et al., arXiv:1805.08498)."""

    @staticmethod
    def forward(ctx: Any, alpha: Tensor) -> Tensor:
        sample = marsaglia_tsang(alpha)
        ctx.save_for_backward(alpha, sample)
        return sample

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        alpha, sample = (t.double() for t in ctx.saved_tensors)
        h = _STEP * where(alpha < 1, alpha, alpha.sqrt())
        slope = (igamma(alpha + h, sample) - igamma(alpha - h, sample)) / (2 * h)
        density = ((alpha - 1) * sample.log() - sample - lgamma(alpha)).exp()
        return g * (-slope / density).to(g.dtype)


def marsaglia_tsang(alpha: Tensor) -> Tensor:
    """Samples of the gamma distribution of rate 1. G. Marsaglia and W. W. Tsang, ACM Trans. Math. Softw. 26 (2000) 363-372."""
    boosted = where(alpha < 1, alpha + 1, alpha)
    d = boosted - 1 / 3
    c = 1 / (9 * d).sqrt()
    found = d.clone()
    left = found == found
    while bool(left.any()):
        x = randn(tuple(alpha.shape), dtype=alpha.dtype, device=alpha.device)
        v = (1 + c * x) ** 3
        u = 1 - rand(tuple(alpha.shape), dtype=alpha.dtype, device=alpha.device)
        good = (v > 0) & (u.log() < 0.5 * x * x + d * (1 - v + v.clamp(min=1e-30).log()))
        found = where(left & good, d * v, found)
        left = left & ~good
    u = 1 - rand(tuple(alpha.shape), dtype=alpha.dtype, device=alpha.device)
    from ..dtype import finfo

    return (found * where(alpha < 1, (u.log() / alpha).exp(), 1.0)).clamp(min=finfo(alpha.dtype).tiny)


def standard_gamma(alpha: Tensor) -> Tensor:
    """Gamma samples of rate 1 that carry gradients."""
    return StandardGamma.apply(alpha.contiguous())


class Gamma(Distribution):
    """The gamma distribution with shape ``concentration`` and ``rate``."""

    has_rsample = True
    support = constraints.nonnegative

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None):
        self.concentration, self.rate = parameters(concentration, rate)
        super().__init__(self.concentration.shape, (), validate_args)
        self._require("parameter concentration", self.concentration, self.concentration > 0, "GreaterThan(lower_bound=0.0)")
        self._require("parameter rate", self.rate, self.rate > 0, "GreaterThan(lower_bound=0.0)")

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.rate

    @property
    def mode(self) -> Tensor:
        """The likeliest value."""
        return ((self.concentration - 1) / self.rate).clamp(min=0)

    @property
    def variance(self) -> Tensor:
        return self.concentration / self.rate.square()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return standard_gamma(self.concentration.expand(self._extended(sample_shape))) / self.rate

    def log_prob(self, value: Tensor) -> Tensor:
        self._require("value argument", value, self.support.check(value), repr(self.support))
        return xlogy(self.concentration, self.rate) + xlogy(self.concentration - 1, value) - self.rate * value - lgamma(self.concentration)

    def cdf(self, value: Tensor) -> Tensor:
        return igamma(self.concentration, self.rate * value)

    def entropy(self) -> Tensor:
        a = self.concentration
        return a - self.rate.log() + lgamma(a) + (1 - a) * digamma(a)


class Chi2(Gamma):
    """The distribution of the sum of ``df`` squared normal values."""

    def __init__(self, df: Any, validate_args: bool | None = None):
        (df,) = parameters(df)
        super().__init__(0.5 * df, 0.5, validate_args)

    @property
    def df(self) -> Tensor:
        """Degrees of freedom."""
        return self.concentration * 2


class InverseGamma(Distribution):
    """The distribution of 1/x for gamma-distributed x."""

    has_rsample = True
    support = constraints.positive

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None):
        self.base_dist = Gamma(concentration, rate, validate_args)
        super().__init__(self.base_dist.batch_shape, (), validate_args)

    concentration = property(lambda self: self.base_dist.concentration)
    rate = property(lambda self: self.base_dist.rate)

    @property
    def mean(self) -> Tensor:
        return where(self.concentration > 1, self.rate / (self.concentration - 1), math.inf)

    @property
    def variance(self) -> Tensor:
        a = self.concentration
        return where(a > 2, self.rate.square() / ((a - 1).square() * (a - 2)), math.inf)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return 1 / self.base_dist.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.base_dist.log_prob(1 / value) - 2 * value.log()

    def entropy(self) -> Tensor:
        a = self.concentration
        return a + self.rate.log() + lgamma(a) - (1 + a) * digamma(a)


class Dirichlet(Distribution):
    """The distribution over probability vectors with ``concentration`` in the last dimension."""

    has_rsample = True
    support = constraints.simplex

    def __init__(self, concentration: Tensor, validate_args: bool | None = None):
        if concentration.dim() < 1:
            raise ValueError("`concentration` parameter must be at least one-dimensional.")
        self.concentration = concentration
        super().__init__(concentration.shape[:-1], concentration.shape[-1:], validate_args)
        self._require("parameter concentration", concentration, concentration > 0, "IndependentConstraint(GreaterThan(lower_bound=0.0), 1)")

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.concentration.sum(-1, keepdim=True)

    @property
    def variance(self) -> Tensor:
        total = self.concentration.sum(-1, keepdim=True)
        return self.concentration * (total - self.concentration) / (total.square() * (total + 1))

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        g = standard_gamma(self.concentration.expand(self._extended(sample_shape)))
        return g / g.sum(-1, keepdim=True)

    def log_prob(self, value: Tensor) -> Tensor:
        self._require("value argument", value, self.support.check(value), repr(self.support))
        a = self.concentration
        return xlogy(a - 1, value).sum(-1) + lgamma(a.sum(-1)) - lgamma(a).sum(-1)

    def entropy(self) -> Tensor:
        a = self.concentration
        k, total = a.shape[-1], a.sum(-1)
        return lgamma(a).sum(-1) - lgamma(total) - (k - total) * digamma(total) - ((a - 1) * digamma(a)).sum(-1)


class Beta(Distribution):
    """The beta distribution on (0, 1).

    Example:
        >>> Beta(2.0, 2.0).mean
        tensor(0.5000)
    """

    has_rsample = True
    support = constraints.unit_interval

    def __init__(self, concentration1: Any, concentration0: Any, validate_args: bool | None = None):
        one, zero = parameters(concentration1, concentration0)
        self._dirichlet = Dirichlet(stack([one, zero], -1), validate_args)
        super().__init__(one.shape, (), validate_args)

    concentration1 = property(lambda self: self._dirichlet.concentration[..., 0])
    concentration0 = property(lambda self: self._dirichlet.concentration[..., 1])

    @property
    def mean(self) -> Tensor:
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def variance(self) -> Tensor:
        total = self.concentration1 + self.concentration0
        return self.concentration1 * self.concentration0 / (total.square() * (total + 1))

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self._dirichlet.rsample(sample_shape)[..., 0]

    def log_prob(self, value: Tensor) -> Tensor:
        self._require("value argument", value, self.support.check(value), repr(self.support))
        return self._dirichlet.log_prob(stack([value, 1 - value], -1))

    def entropy(self) -> Tensor:
        return self._dirichlet.entropy()


class StudentT(Distribution):
    """Student's t distribution with ``df`` degrees of freedom."""

    has_rsample = True
    support = constraints.real

    def __init__(self, df: Any, loc: Any = 0.0, scale: Any = 1.0, validate_args: bool | None = None):
        self.df, self.loc, self.scale = parameters(df, loc, scale)
        super().__init__(self.df.shape, (), validate_args)
        self._require("parameter df", self.df, self.df > 0, "GreaterThan(lower_bound=0.0)")
        self._require("parameter scale", self.scale, self.scale > 0, "GreaterThan(lower_bound=0.0)")

    @property
    def mean(self) -> Tensor:
        return where(self.df <= 1, math.nan, self.loc)

    @property
    def variance(self) -> Tensor:
        finite = self.scale.square() * self.df / (self.df - 2)
        return where(self.df > 2, finite, where(self.df > 1, math.inf, math.nan))

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = self._extended(sample_shape)
        noise = randn(shape, dtype=self.df.dtype, device=self.df.device)
        z = 2 * standard_gamma((0.5 * self.df).expand(shape))
        return self.loc + self.scale * noise * E.rsqrt(z / self.df)

    def _normalizer(self) -> Tensor:
        return 0.5 * self.df.log() + 0.5 * math.log(math.pi) + lgamma(0.5 * self.df) - lgamma(0.5 * (self.df + 1))

    def log_prob(self, value: Tensor) -> Tensor:
        y = (value - self.loc) / self.scale
        return -0.5 * (self.df + 1) * E.log1p(y.square() / self.df) - self.scale.log() - self._normalizer()

    def entropy(self) -> Tensor:
        half = 0.5 * (self.df + 1)
        beta = lgamma(0.5 * self.df) + math.log(math.sqrt(math.pi)) - lgamma(half)
        return self.scale.log() + half * (digamma(half) - digamma(0.5 * self.df)) + 0.5 * self.df.log() + beta


class FisherSnedecor(Distribution):
    """The F distribution of the ratio of two mean squares."""

    has_rsample = True
    support = constraints.positive

    def __init__(self, df1: Any, df2: Any, validate_args: bool | None = None):
        self.df1, self.df2 = parameters(df1, df2)
        super().__init__(self.df1.shape, (), validate_args)

    @property
    def mean(self) -> Tensor:
        return where(self.df2 > 2, self.df2 / (self.df2 - 2), math.nan)

    @property
    def variance(self) -> Tensor:
        a, b = self.df1, self.df2
        return where(b > 4, 2 * b.square() * (a + b - 2) / (a * (b - 2).square() * (b - 4)), math.nan)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = self._extended(sample_shape)
        above, below = (standard_gamma((df / 2).expand(shape)) / df for df in (self.df1, self.df2))
        return above / below

    def log_prob(self, value: Tensor) -> Tensor:
        a, b = self.df1 / 2, self.df2 / 2
        ratio = self.df1 / self.df2
        beta = lgamma(a + b) - lgamma(a) - lgamma(b)
        return beta + a * ratio.log() + (a - 1) * value.log() - (a + b) * E.log1p(ratio * value)


@register_kl(Gamma, Gamma)
def _(p: Gamma, q: Gamma) -> Tensor:
    a, b = p.concentration, q.concentration
    return b * (p.rate / q.rate).log() + lgamma(b) - lgamma(a) + (a - b) * digamma(a) + (q.rate - p.rate) * a / p.rate


@register_kl(Dirichlet, Dirichlet)
def _(p: Dirichlet, q: Dirichlet) -> Tensor:
    a, b = p.concentration, q.concentration
    total = a.sum(-1)
    parts = (a - b) * (digamma(a) - digamma(total).unsqueeze(-1))
    return lgamma(total) - lgamma(b.sum(-1)) - (lgamma(a) - lgamma(b)).sum(-1) + parts.sum(-1)


@register_kl(Beta, Beta)
def _(p: Beta, q: Beta) -> Tensor:
    from .distribution import kl_divergence

    return kl_divergence(p._dirichlet, q._dirichlet)


