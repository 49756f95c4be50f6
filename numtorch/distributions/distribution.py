"""What all distributions share: shapes, checks, and Kullback-Leibler divergences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .._tensor import Tensor
from ..autograd.mode import no_grad
from ..from_data import as_tensor
from ..ops.joining import broadcast_tensors
from ..shape import Size
from . import constraints

_KL: dict[tuple[type, type], Callable] = {}


def parameters(*values: Any) -> tuple[Tensor, ...]:
    """Numbers and tensors as floating tensors of one shape."""
    from ..dtype import get_default_dtype

    first = next((v for v in values if isinstance(v, Tensor)), None)
    found = [
        v if isinstance(v, Tensor) else as_tensor(v, dtype=first.dtype if first is not None else get_default_dtype())
        for v in values
    ]
    return tuple(broadcast_tensors(*found))


class Distribution:
    """Base of distributions: ``batch_shape`` independent ones, each over values of ``event_shape``."""

    has_rsample = False

    def __init__(self, batch_shape: Sequence[int] = (), event_shape: Sequence[int] = (), validate_args: bool | None = None):
        self._batch_shape, self._event_shape = Size(batch_shape), Size(event_shape)
        self._validate = validate_args is not False

    @property
    def batch_shape(self) -> Size:
        """The shape of the parameters."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """The shape of one value."""
        return self._event_shape

    @property
    def mean(self) -> Tensor:
        """The expectation."""
        raise NotImplementedError(f"{type(self).__name__} has no mean")

    @property
    def variance(self) -> Tensor:
        """The variance."""
        raise NotImplementedError(f"{type(self).__name__} has no variance")

    @property
    def stddev(self) -> Tensor:
        """The square root of the variance."""
        return self.variance.sqrt()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Samples that carry gradients to the parameters (the reparametrisation trick)."""
        raise NotImplementedError(f"{type(self).__name__} has no reparametrised samples; use sample()")

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Samples of shape ``sample_shape + batch_shape + event_shape``, without gradient."""
        with no_grad():
            return self.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the probability (density) of ``value``."""
        raise NotImplementedError(f"{type(self).__name__} has no log_prob")

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of at most ``value``."""
        raise NotImplementedError(f"{type(self).__name__} has no cdf")

    def entropy(self) -> Tensor:
        """The entropy in nats."""
        raise NotImplementedError(f"{type(self).__name__} has no entropy")

    def perplexity(self) -> Tensor:
        """exp of the entropy."""
        return self.entropy().exp()

    def expand(self, batch_shape: Sequence[int]) -> Any:
        """The same distribution for a larger batch, without a copy of the parameters."""
        import copy

        wide, old = copy.copy(self), len(self._batch_shape)
        for name, value in vars(self).items():
            if isinstance(value, Distribution):
                extra = tuple(value.batch_shape[old:])
                setattr(wide, name, value.expand((*batch_shape, *extra)))
            elif isinstance(value, Tensor):
                own = tuple(value.shape[old:]) if tuple(value.shape[:old]) == tuple(self._batch_shape) else tuple(value.shape)
                setattr(wide, name, value.expand((*batch_shape, *own)))
        wide._batch_shape = Size(batch_shape)
        return wide

    def _extended(self, sample_shape: Sequence[int]) -> tuple[int, ...]:
        return (*sample_shape, *self._batch_shape, *self._event_shape)

    def _require(self, name: str, value: Tensor, holds: Tensor, what: str) -> None:
        """ValueError as PyTorch's if a parameter or value lies outside of its domain."""
        if self._validate and not bool(holds.all()):
            raise ValueError(
                f"Expected {name} ({type(value).__name__} of shape {tuple(value.shape)}) of distribution {self!r} to"
                f" satisfy the constraint {what}, but found invalid values; pass validate_args=False to skip the check"
            )

    def __repr__(self) -> str:
        """The parameters that were given, those of several elements by their shapes."""
        import inspect

        given = {k: v for k, v in vars(self).items() if isinstance(v, Tensor)}
        if "probs" in given and "logits" in given:  # what was given was kept first
            given.pop("logits" if list(given).index("probs") < list(given).index("logits") else "probs")
        names = [n for n in inspect.signature(type(self).__init__).parameters if n in given]
        shown = [f"{n}: {given[n] if given[n].numel() == 1 else given[n].size()}" for n in names]
        return f"{type(self).__name__}({', '.join(shown)})"


class LocationScale(Distribution):
    """Base of distributions over all numbers that are given by ``loc`` and a positive ``scale``."""

    has_rsample = True
    support = constraints.real

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None):
        self.loc, self.scale = parameters(loc, scale)
        super().__init__(self.loc.shape, (), validate_args)
        self._require("parameter scale", self.scale, self.scale > 0, "GreaterThan(lower_bound=0.0)")


class Independent(Distribution):
    """The last ``reinterpreted_batch_ndims`` dimensions of a distribution's batch as part of its events."""

    def __init__(self, base_distribution: Distribution, reinterpreted_batch_ndims: int, validate_args: bool | None = None):
        self.base_dist, self.count = base_distribution, reinterpreted_batch_ndims
        shape = tuple(base_distribution.batch_shape)
        if reinterpreted_batch_ndims > len(shape):
            raise ValueError(
                "Expected reinterpreted_batch_ndims <= len(base_distribution.batch_shape), actual"
                f" {reinterpreted_batch_ndims} vs {len(shape)}; give fewer dimensions"
            )
        cut = len(shape) - reinterpreted_batch_ndims
        self.has_rsample = base_distribution.has_rsample
        super().__init__(shape[:cut], shape[cut:] + tuple(base_distribution.event_shape), validate_args)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.base_dist.rsample(sample_shape)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.base_dist.sample(sample_shape)

    def __repr__(self) -> str:
        return f"Independent({self.base_dist!r}, {self.count})"

    def _total(self, x: Tensor) -> Tensor:
        return x.sum(tuple(range(-self.count, 0))) if self.count else x

    def log_prob(self, value: Tensor) -> Tensor:
        return self._total(self.base_dist.log_prob(value))

    def entropy(self) -> Tensor:
        return self._total(self.base_dist.entropy())

    @property
    def mean(self) -> Tensor:
        return self.base_dist.mean

    @property
    def variance(self) -> Tensor:
        return self.base_dist.variance


def register_kl(p: type, q: type) -> Callable[[Callable], Callable]:
    """Decorator: the divergence of a ``p`` from a ``q``."""

    def register(function: Callable) -> Callable:
        _KL[p, q] = function
        return function

    return register


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """The Kullback-Leibler divergence KL(p || q) in nats. Raises NotImplementedError for pairs without a formula.

    Example:
        >>> from numtorch.distributions import Normal
        >>> kl_divergence(Normal(0.0, 1.0), Normal(1.0, 1.0))
        tensor(0.5000)
    """
    for kind in type(p).__mro__:
        for other in type(q).__mro__:
            if (kind, other) in _KL:
                return _KL[kind, other](p, q)
    raise NotImplementedError(
        f"kl_divergence: no formula for {type(p).__name__} and {type(q).__name__}; add one with register_kl"
    )


@register_kl(Independent, Independent)
def _(p: Independent, q: Independent) -> Tensor:
    return p._total(kl_divergence(p.base_dist, q.base_dist))
