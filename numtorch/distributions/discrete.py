"""Distributions over whole numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._tensor import Tensor
from ..autograd.mode import no_grad
from ..nn import functional as F
from ..ops import elementwise as E
from ..ops.elementwise_more import lgamma, xlogy
from ..ops.random import bernoulli, multinomial, rand
from . import constraints
from .distribution import Distribution, parameters, register_kl

TINY = 1e-7  # how near to 0 and 1 a probability may come before its logarithm is taken, as in PyTorch for float32


def _one_of(kind: str, probs: Any, logits: Any) -> None:
    if (probs is None) == (logits is None):
        raise ValueError(f"Either `probs` or `logits` must be specified, but not both; give {kind} one of them")


class Categorical(Distribution):
    """One of n classes, by ``probs`` (normalised for you) or ``logits`` in the last dimension.

    Example:
        >>> Categorical(probs=torch.tensor([0.25, 0.75])).entropy()
        tensor(0.5623)
    """

    support = constraints.nonnegative_integer

    def __init__(self, probs: Tensor | None = None, logits: Tensor | None = None, validate_args: bool | None = None):
        _one_of("Categorical", probs, logits)
        given = probs if probs is not None else logits
        assert given is not None
        if given.dim() < 1:
            raise ValueError("`probs` parameter must be at least one-dimensional.")
        super().__init__(given.shape[:-1], (), validate_args)
        if probs is not None:
            self._require("parameter probs", probs, (probs >= 0).all(-1) & (probs.sum(-1) > 0), "Simplex()")
            self.probs = probs / probs.sum(-1, keepdim=True)
            self.logits = self.probs.clamp(TINY, 1 - TINY).log()
        else:
            assert logits is not None
            self.logits = logits - logits.logsumexp(-1, keepdim=True)
            self.probs = F.softmax(self.logits, -1)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        count = 1
        for n in sample_shape:
            count *= n
        with no_grad():
            rows = self.probs.reshape(-1, self.probs.shape[-1])
            drawn = multinomial(rows, count, True).t()
        return drawn.reshape(self._extended(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        from ..ops.joining import broadcast_tensors

        index, logits = broadcast_tensors(value.long().unsqueeze(-1), self.logits)
        return logits.gather(-1, index[..., :1]).squeeze(-1)

    def entropy(self) -> Tensor:
        from ..dtype import finfo

        return -(self.logits.clamp(min=finfo(self.logits.dtype).min) * self.probs).sum(-1)


class Bernoulli(Distribution):
    """1 with probability ``probs`` (or sigmoid of ``logits``), else 0."""

    support = constraints.boolean

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        _one_of("Bernoulli", probs, logits)
        if probs is not None:
            (self.probs,) = parameters(probs)
            clamped = self.probs.clamp(TINY, 1 - TINY)
            self.logits = clamped.log() - E.log1p(-clamped)
        else:
            (self.logits,) = parameters(logits)
            self.probs = self.logits.sigmoid()
        super().__init__(self.probs.shape, (), validate_args)
        self._require("parameter probs", self.probs, (self.probs >= 0) & (self.probs <= 1), "Interval(0.0, 1.0)")

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with no_grad():
            return bernoulli(self.probs.expand(self._extended(sample_shape)).contiguous())

    def log_prob(self, value: Tensor) -> Tensor:
        return -F.binary_cross_entropy_with_logits(self.logits.expand(value.shape), value, reduction="none")

    def entropy(self) -> Tensor:
        return F.binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")


class Geometric(Distribution):
    """How many failures come before the first success of probability ``probs``."""

    support = constraints.nonnegative_integer

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        self._trial = Bernoulli(probs, logits, validate_args)
        self.probs, self.logits = self._trial.probs, self._trial.logits
        super().__init__(self.probs.shape, (), validate_args)

    @property
    def mean(self) -> Tensor:
        return 1 / self.probs - 1

    @property
    def variance(self) -> Tensor:
        return (1 / self.probs - 1) / self.probs

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with no_grad():
            u = 1 - rand(self._extended(sample_shape), dtype=self.probs.dtype, device=self.probs.device)
            return (u.log() / E.log1p(-self.probs)).floor()

    def log_prob(self, value: Tensor) -> Tensor:
        return value * E.log1p(-self.probs) + self.probs.log()

    def entropy(self) -> Tensor:
        return self._trial.entropy() / self.probs


class Poisson(Distribution):
    """The number of events at ``rate`` in a unit of time."""

    support = constraints.nonnegative_integer

    def __init__(self, rate: Any, validate_args: bool | None = None):
        (self.rate,) = parameters(rate)
        super().__init__(self.rate.shape, (), validate_args)
        self._require("parameter rate", self.rate, self.rate >= 0, "GreaterThanEq(lower_bound=0.0)")

    @property
    def mean(self) -> Tensor:
        return self.rate

    @property
    def variance(self) -> Tensor:
        return self.rate

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        from .counts import poisson

        with no_grad():
            return poisson(self.rate.expand(self._extended(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        return xlogy(value, self.rate) - self.rate - lgamma(value + 1)


@register_kl(Categorical, Categorical)
def _(p: Categorical, q: Categorical) -> Tensor:
    return (p.probs * (p.logits - q.logits)).sum(-1)


@register_kl(Bernoulli, Bernoulli)
def _(p: Bernoulli, q: Bernoulli) -> Tensor:
    return p.probs * (p.logits - q.logits) + F.softplus(q.logits) - F.softplus(p.logits)


@register_kl(Poisson, Poisson)
def _(p: Poisson, q: Poisson) -> Tensor:
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(Geometric, Geometric)
def _(p: Geometric, q: Geometric) -> Tensor:
    return -p.entropy() - E.log1p(-q.probs) / p.probs - q.logits
