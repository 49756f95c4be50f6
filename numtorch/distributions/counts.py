"""Counts: binomial, negative binomial, multinomial, one-hot; Poisson samples; relaxations of them; mixtures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._tensor import Tensor
from ..autograd.mode import no_grad
from ..nn import functional as F
from ..ops.arithmetic import where
from ..ops.elementwise_more import lgamma
from ..ops.gamma import igammac
from ..ops.random import rand
from . import constraints
from .discrete import Bernoulli, Categorical
from .distribution import Distribution, kl_divergence, parameters, register_kl
from .gamma import standard_gamma
from .tails import uniform


def poisson(rate: Tensor) -> Tensor:
    """Poisson samples: the least k whose distribution function, Q(k + 1, rate), reaches a uniform number, by bisection."""
    rate64 = rate.double()
    u = rand(tuple(rate.shape), dtype=rate64.dtype, device=rate.device)
    low = rate64 * 0 - 1  # the distribution function is below u
    high = (rate64 + 12 * rate64.sqrt() + 24).ceil()
    while bool((high - low > 1).any()):
        middle = ((low + high) / 2).floor()
        reached = igammac(middle + 1, rate64) >= u
        low, high = where(reached, low, middle), where(reached, middle, high)
    return where(rate64 > 0, high, 0.0).to(rate.dtype)


class Binomial(Distribution):
    """How many of ``total_count`` trials succeed, each with probability ``probs`` (or sigmoid of ``logits``)."""

    def __init__(self, total_count: Any = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        trial = Bernoulli(probs, logits, validate_args)
        self.total_count, self.probs, self.logits = parameters(total_count, trial.probs, trial.logits)
        super().__init__(self.probs.shape, (), validate_args)

    @property
    def support(self) -> Any:
        """Whole numbers up to ``total_count``."""
        return constraints.integer_interval(0, self.total_count)

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.probs

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Trial by trial: as many draws as the largest ``total_count``."""
        shape = self._extended(sample_shape)
        with no_grad():
            found = self.probs.new_zeros(shape)
            for k in range(int(self.total_count.max().item())):
                hit = rand(shape, dtype=self.probs.dtype, device=self.probs.device) < self.probs
                found = found + (hit & (self.total_count > k)).to(found.dtype)
            return found

    def log_prob(self, value: Tensor) -> Tensor:
        n = self.total_count
        ways = lgamma(n + 1) - lgamma(value + 1) - lgamma(n - value + 1)
        softplus = self.logits.clamp(min=0) + (-self.logits.abs()).exp().log1p()
        return ways + value * self.logits - n * softplus


class NegativeBinomial(Distribution):
    """How many successes come before ``total_count`` failures."""

    support = constraints.nonnegative_integer

    def __init__(self, total_count: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        trial = Bernoulli(probs, logits, validate_args)
        self.total_count, self.probs, self.logits = parameters(total_count, trial.probs, trial.logits)
        super().__init__(self.probs.shape, (), validate_args)

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.logits.exp()

    @property
    def variance(self) -> Tensor:
        return self.mean / (1 - self.probs)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with no_grad():
            rate = standard_gamma(self.total_count.expand(self._extended(sample_shape))) * self.logits.exp()
            return poisson(rate)

    def log_prob(self, value: Tensor) -> Tensor:
        n = self.total_count
        seen = n * F.logsigmoid(-self.logits) + value * F.logsigmoid(self.logits)
        return seen - where(n + value == 0, 0.0, -lgamma(n + value) + lgamma(1 + value) + lgamma(n))


class Multinomial(Distribution):
    """Counts of ``total_count`` draws from n classes."""

    def __init__(self, total_count: int = 1, probs: Tensor | None = None, logits: Tensor | None = None, validate_args: bool | None = None):
        if not isinstance(total_count, int):
            raise NotImplementedError("Multinomial: inhomogeneous total_count is not supported; give one int")
        self.total_count, self._categorical = total_count, Categorical(probs, logits, validate_args)
        classes = self._categorical.probs.shape[-1:]
        super().__init__(self._categorical.batch_shape, classes, validate_args)

    probs = property(lambda self: self._categorical.probs)
    logits = property(lambda self: self._categorical.logits)

    @property
    def mean(self) -> Tensor:
        return self.probs * self.total_count

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        drawn = self._categorical.sample((self.total_count, *sample_shape))
        return F.one_hot(drawn, self._event_shape[0]).sum(0).to(self.probs.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        ways = lgamma(value.sum(-1) + 1) - lgamma(value + 1).sum(-1)
        logits = where((value == 0) & (self.logits == -float("inf")), 0.0, self.logits)
        return ways + (logits * value).sum(-1)


class OneHotCategorical(Distribution):
    """One of n classes as a vector with a single one."""

    support = constraints.one_hot

    def __init__(self, probs: Tensor | None = None, logits: Tensor | None = None, validate_args: bool | None = None):
        self._categorical = Categorical(probs, logits, validate_args)
        super().__init__(self._categorical.batch_shape, self._categorical.probs.shape[-1:], validate_args)

    probs = property(lambda self: self._categorical.probs)
    logits = property(lambda self: self._categorical.logits)

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return F.one_hot(self._categorical.sample(sample_shape), self._event_shape[0]).to(self.probs.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        self._require("value argument", value, self.support.check(value), repr(self.support))
        return self._categorical.log_prob(value.argmax(-1))

    def entropy(self) -> Tensor:
        return self._categorical.entropy()


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """One-hot samples whose gradient is that of the probabilities. Bengio et al., arXiv:1308.3432."""

    has_rsample = True

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.sample(sample_shape) + (self.probs - self.probs.detach())


class RelaxedBernoulli(Distribution):
    """Bernoulli values that are not quite 0 or 1, so that they carry gradients. Maddison et al., arXiv:1611.00712."""

    has_rsample = True
    support = constraints.unit_interval

    def __init__(self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        trial = Bernoulli(probs, logits, validate_args)
        self.probs, self.logits = trial.probs, trial.logits
        (self.temperature,) = parameters(temperature)
        super().__init__(self.probs.shape, (), validate_args)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        u = uniform(self._extended(sample_shape), self.probs)
        return ((u.log() - (-u).log1p() + self.logits) / self.temperature).sigmoid()

    def log_prob(self, value: Tensor) -> Tensor:
        y = value.log() - (-value).log1p()
        away = self.logits - y * self.temperature
        return self.temperature.log() + away - 2 * away.exp().log1p() - value.log() - (-value).log1p()


class RelaxedOneHotCategorical(Distribution):
    """One-hot vectors that are not quite so (Gumbel-softmax). Jang et al., arXiv:1611.01144."""

    has_rsample = True
    support = constraints.simplex

    def __init__(self, temperature: Any, probs: Tensor | None = None, logits: Tensor | None = None, validate_args: bool | None = None):
        self._categorical = Categorical(probs, logits, validate_args)
        (self.temperature,) = parameters(temperature)
        super().__init__(self._categorical.batch_shape, self._categorical.probs.shape[-1:], validate_args)

    probs = property(lambda self: self._categorical.probs)
    logits = property(lambda self: self._categorical.logits)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        noise = -(-uniform(self._extended(sample_shape), self.probs).log()).log()
        return F.softmax((self.logits + noise) / self.temperature, -1)

    def log_prob(self, value: Tensor) -> Tensor:
        k = self._event_shape[0]
        scores = self.logits - value.log() * self.temperature
        scale = lgamma(self.temperature * 0 + k) + (k - 1) * self.temperature.log()
        return scale + (scores - scores.logsumexp(-1, keepdim=True)).sum(-1) - value.log().sum(-1)


class MixtureSameFamily(Distribution):
    """A mixture: a ``Categorical`` chooses one of the last batch dimension of ``component_distribution``."""

    def __init__(self, mixture_distribution: Categorical, component_distribution: Distribution, validate_args: bool | None = None):
        if not isinstance(mixture_distribution, Categorical):
            raise ValueError(" The Mixture distribution needs to be an  instance of torch.distributions.Categorical")
        if not isinstance(component_distribution, Distribution):
            raise ValueError("The Component distribution need to be an instance of torch.distributions.Distribution")
        self.mixture_distribution, self.component_distribution = mixture_distribution, component_distribution
        shape = component_distribution.batch_shape[:-1]
        if mixture_distribution.batch_shape not in ((), shape):
            raise ValueError(
                f"`mixture_distribution.batch_shape` ({tuple(mixture_distribution.batch_shape)}) is not compatible with"
                f" `component_distribution.batch_shape`({tuple(shape)})"
            )
        super().__init__(shape, component_distribution.event_shape, validate_args)

    def __repr__(self) -> str:
        return f"MixtureSameFamily(\n  {self.mixture_distribution!r},\n  {self.component_distribution!r})"

    @property
    def support(self) -> Any:
        """That of the components."""
        return self.component_distribution.support  # type: ignore[attr-defined]

    def _weights(self) -> Tensor:
        p = self.mixture_distribution.probs
        return p.reshape((*p.shape, *[1] * len(self._event_shape)))

    @property
    def mean(self) -> Tensor:
        return (self._weights() * self.component_distribution.mean).sum(-1 - len(self._event_shape))

    @property
    def variance(self) -> Tensor:
        dim = -1 - len(self._event_shape)
        within = (self._weights() * self.component_distribution.variance).sum(dim)
        return within + (self._weights() * (self.component_distribution.mean - self.mean.unsqueeze(dim)).square()).sum(dim)

    def _padded(self, x: Tensor) -> Tensor:
        return x.unsqueeze(-1 - len(self._event_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        each = self.component_distribution.log_prob(self._padded(value))
        return (each + self.mixture_distribution.logits.log_softmax(-1)).logsumexp(-1)

    def cdf(self, value: Tensor) -> Tensor:
        return (self.component_distribution.cdf(self._padded(value)) * self.mixture_distribution.probs).sum(-1)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with no_grad():
            events, dim = len(self._event_shape), len(sample_shape) + len(self._batch_shape)
            chosen = self.mixture_distribution.sample(sample_shape)
            drawn = self.component_distribution.sample(sample_shape)
            index = chosen.expand((*sample_shape, *self._batch_shape)).reshape((*sample_shape, *self._batch_shape, 1, *[1] * events))
            return drawn.gather(dim, index.expand((*index.shape[: dim + 1], *self._event_shape))).squeeze(dim)


@register_kl(OneHotCategorical, OneHotCategorical)
def _(p: OneHotCategorical, q: OneHotCategorical) -> Tensor:
    return kl_divergence(p._categorical, q._categorical)


@register_kl(Binomial, Binomial)
def _(p: Binomial, q: Binomial) -> Tensor:
    return p.total_count * (p.probs * (p.logits - q.logits) + (-p.probs).log1p() - (-q.probs).log1p())


