"""Distributions by the inverse of their distribution function: Cauchy, Gumbel, Weibull, Pareto, Kumaraswamy; halves; von Mises."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .._tensor import Tensor
from ..autograd.mode import no_grad
from ..ops import elementwise as E
from ..ops.arithmetic import where
from ..ops.elementwise_more import digamma, i0e, i1e, lgamma
from ..ops.random import rand
from . import constraints
from .distribution import Distribution, LocationScale, parameters, register_kl
from .normal import Normal

EULER = 0.57721566490153286060


def uniform(shape: Sequence[int], like: Tensor) -> Tensor:
    """Uniform numbers in (0, 1), neither end included."""
    from ..dtype import finfo

    limits = finfo(like.dtype)
    return rand(tuple(shape), dtype=like.dtype, device=like.device).clamp(limits.tiny, 1 - limits.eps)


class Cauchy(LocationScale):
    """The Cauchy (Lorentz) distribution, which has no mean."""

    @property
    def mean(self) -> Tensor:
        return self.loc * math.nan

    @property
    def variance(self) -> Tensor:
        return self.loc * 0 + math.inf

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.icdf(uniform(self._extended(sample_shape), self.loc))

    def log_prob(self, value: Tensor) -> Tensor:
        return -math.log(math.pi) - self.scale.log() - E.log1p(((value - self.loc) / self.scale).square())

    def cdf(self, value: Tensor) -> Tensor:
        return ((value - self.loc) / self.scale).atan() / math.pi + 0.5

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which a share ``value`` lies."""
        return self.loc + self.scale * E.tan(math.pi * (value - 0.5))

    def entropy(self) -> Tensor:
        return math.log(4 * math.pi) + self.scale.log()


class Gumbel(LocationScale):
    """The distribution of maxima."""

    @property
    def mean(self) -> Tensor:
        return self.loc + self.scale * EULER

    @property
    def variance(self) -> Tensor:
        return (math.pi / math.sqrt(6) * self.scale).square()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.loc - self.scale * (-uniform(self._extended(sample_shape), self.loc).log()).log()

    def log_prob(self, value: Tensor) -> Tensor:
        y = (self.loc - value) / self.scale
        return y - y.exp() - self.scale.log()

    def entropy(self) -> Tensor:
        return self.scale.log() + (1 + EULER)


class Weibull(Distribution):
    """The Weibull distribution of ``scale`` and shape ``concentration``."""

    has_rsample = True
    support = constraints.positive

    def __init__(self, scale: Any, concentration: Any, validate_args: bool | None = None):
        self.scale, self.concentration = parameters(scale, concentration)
        super().__init__(self.scale.shape, (), validate_args)
        self._require("parameter scale", self.scale, self.scale > 0, "GreaterThan(lower_bound=0.0)")
        self._require("parameter concentration", self.concentration, self.concentration > 0, "GreaterThan(lower_bound=0.0)")

    @property
    def mean(self) -> Tensor:
        return self.scale * lgamma(1 + 1 / self.concentration).exp()

    @property
    def variance(self) -> Tensor:
        k = 1 / self.concentration
        return self.scale.square() * (lgamma(1 + 2 * k).exp() - (2 * lgamma(1 + k)).exp())

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.scale * (-uniform(self._extended(sample_shape), self.scale).log()).pow(1 / self.concentration)

    def log_prob(self, value: Tensor) -> Tensor:
        ratio = value / self.scale
        k = self.concentration
        return k.log() - self.scale.log() + (k - 1) * ratio.log() - ratio.pow(k)

    def entropy(self) -> Tensor:
        k = 1 / self.concentration
        return EULER * (1 - k) + (self.scale * k).log() + 1


class Pareto(Distribution):
    """The Pareto distribution of values above ``scale``, with tail index ``alpha``."""

    has_rsample = True

    def __init__(self, scale: Any, alpha: Any, validate_args: bool | None = None):
        self.scale, self.alpha = parameters(scale, alpha)
        super().__init__(self.scale.shape, (), validate_args)
        self._require("parameter scale", self.scale, self.scale > 0, "GreaterThan(lower_bound=0.0)")
        self._require("parameter alpha", self.alpha, self.alpha > 0, "GreaterThan(lower_bound=0.0)")

    @property
    def support(self) -> Any:
        """Values from ``scale`` on."""
        return constraints.greater_than_eq(self.scale)

    @property
    def mean(self) -> Tensor:
        return where(self.alpha > 1, self.alpha * self.scale / (self.alpha - 1), math.inf)

    @property
    def variance(self) -> Tensor:
        a = self.alpha
        return where(a > 2, self.scale.square() * a / ((a - 1).square() * (a - 2)), math.inf)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.scale * uniform(self._extended(sample_shape), self.scale).pow(-1 / self.alpha)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.alpha.log() + self.alpha * self.scale.log() - (self.alpha + 1) * value.log()

    def entropy(self) -> Tensor:
        return (self.scale / self.alpha).log() + 1 + 1 / self.alpha


class Kumaraswamy(Distribution):
    """A distribution on (0, 1) like the beta distribution, with a closed distribution function."""

    has_rsample = True
    support = constraints.unit_interval

    def __init__(self, concentration1: Any, concentration0: Any, validate_args: bool | None = None):
        self.concentration1, self.concentration0 = parameters(concentration1, concentration0)
        super().__init__(self.concentration1.shape, (), validate_args)

    def _moment(self, n: int) -> Tensor:
        a, b = self.concentration1, self.concentration0
        return (b.log() + lgamma(1 + n / a) + lgamma(b) - lgamma(1 + n / a + b)).exp()

    @property
    def mean(self) -> Tensor:
        return self._moment(1)

    @property
    def variance(self) -> Tensor:
        return self._moment(2) - self._moment(1).square()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        u = uniform(self._extended(sample_shape), self.concentration1)
        return (1 - u.pow(1 / self.concentration0)).pow(1 / self.concentration1)

    def log_prob(self, value: Tensor) -> Tensor:
        a, b = self.concentration1, self.concentration0
        return a.log() + b.log() + (a - 1) * value.log() + (b - 1) * E.log1p(-value.pow(a))

    def entropy(self) -> Tensor:
        a, b = self.concentration1, self.concentration0
        return (1 - 1 / b) + (1 - 1 / a) * (digamma(b + 1) + EULER) - a.log() - b.log()


class _Half(Distribution):
    """The distribution of |x| for x of a distribution around 0."""

    has_rsample = True
    support = constraints.nonnegative
    whole: type[LocationScale]

    def __init__(self, scale: Any, validate_args: bool | None = None):
        self.base_dist: Any = self.whole(0.0, scale, validate_args)
        super().__init__(self.base_dist.batch_shape, (), validate_args)

    scale = property(lambda self: self.base_dist.scale)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.base_dist.rsample(sample_shape).abs()

    def log_prob(self, value: Tensor) -> Tensor:
        return where(value >= 0, self.base_dist.log_prob(value) + math.log(2), -math.inf)

    def cdf(self, value: Tensor) -> Tensor:
        return 2 * self.base_dist.cdf(value) - 1

    def entropy(self) -> Tensor:
        return self.base_dist.entropy() - math.log(2)


class HalfNormal(_Half):
    """The distribution of |x| for normal x of mean 0."""

    whole = Normal

    @property
    def mean(self) -> Tensor:
        return self.scale * math.sqrt(2 / math.pi)

    @property
    def variance(self) -> Tensor:
        return self.scale.square() * (1 - 2 / math.pi)


class HalfCauchy(_Half):
    """The distribution of |x| for Cauchy-distributed x around 0."""

    whole = Cauchy

    @property
    def mean(self) -> Tensor:
        return self.scale * math.inf

    @property
    def variance(self) -> Tensor:
        return self.scale * math.inf


class VonMises(Distribution):
    """The normal distribution of angles: around ``loc``, the narrower the higher ``concentration``."""

    support = constraints.real

    def __init__(self, loc: Any, concentration: Any, validate_args: bool | None = None):
        self.loc, self.concentration = parameters(loc, concentration)
        super().__init__(self.loc.shape, (), validate_args)
        self._require("parameter concentration", self.concentration, self.concentration > 0, "GreaterThan(lower_bound=0.0)")

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return 1 - i1e(self.concentration) / i0e(self.concentration)

    def log_prob(self, value: Tensor) -> Tensor:
        k = self.concentration
        return k * E.cos(value - self.loc) - math.log(2 * math.pi) - (i0e(k).log() + k)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """By rejection. D. J. Best and N. I. Fisher, J. R. Stat. Soc. C 28 (1979) 152-157."""
        shape = self._extended(sample_shape)
        with no_grad():
            loc, k = self.loc.double().expand(shape), self.concentration.double().expand(shape)
            tau = 1 + (1 + 4 * k * k).sqrt()
            rho = (tau - (2 * tau).sqrt()) / (2 * k)
            r = where(k < 1e-5, 1 / k + k, (1 + rho * rho) / (2 * rho))
            angle = loc * 0
            left = angle == 0
            while bool(left.any()):
                u1, u2, u3 = (uniform(shape, loc) for _ in range(3))
                z = E.cos(math.pi * u1)
                f = (1 + r * z) / (r + z)
                c = k * (r - f)
                good = (c * (2 - c) - u2 > 0) | ((c / u2).log() + 1 - c >= 0)
                angle = where(left & good, (u3 - 0.5).sign() * f.clamp(-1, 1).acos(), angle)
                left = left & ~good
            return ((angle + math.pi + loc) % (2 * math.pi) - math.pi).to(self.loc.dtype)


@register_kl(Gumbel, Gumbel)
def _(p: Gumbel, q: Gumbel) -> Tensor:
    ratio, shift, other = p.scale / q.scale, q.loc / q.scale, p.loc / q.scale
    return -ratio.log() - shift + other + ratio * EULER + (shift + lgamma(1 + ratio) - other).exp() - (1 + EULER)


@register_kl(HalfNormal, HalfNormal)
def _(p: HalfNormal, q: HalfNormal) -> Tensor:
    ratio = (p.scale / q.scale).square()
    return 0.5 * (ratio - 1 - ratio.log())


@register_kl(Cauchy, Cauchy)
def _(p: Cauchy, q: Cauchy) -> Tensor:
    return ((p.scale + q.scale).square() + (p.loc - q.loc).square()).log() - (4 * p.scale * q.scale).log()
