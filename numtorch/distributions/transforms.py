"""Invertible maps with their Jacobians, and the distributions of what they make of random values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .._tensor import Tensor
from ..autograd.mode import no_grad
from ..nn import functional as F
from ..ops import elementwise as E
from .distribution import Distribution


class Transform:
    """A map y = t(x): write ``_call``, ``_inverse`` and ``log_abs_det_jacobian(x, y)``; ``event_dim``: dimensions of one value."""

    bijective = True
    event_dim = 0
    sign = 1

    def __call__(self, x: Tensor) -> Tensor:
        return self._call(x)

    def _call(self, x: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} has no forward map")

    def _inverse(self, y: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} has no inverse")

    @property
    def inv(self) -> Transform:
        """The inverse map."""
        return _Inverse(self)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """log |dy/dx|."""
        raise NotImplementedError(f"{type(self).__name__} has no log_abs_det_jacobian")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class _Inverse(Transform):
    def __init__(self, transform: Transform):
        self.transform = transform
        self.bijective, self.event_dim, self.sign = transform.bijective, transform.event_dim, transform.sign

    def _call(self, x: Tensor) -> Tensor:
        return self.transform._inverse(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self.transform._call(y)

    @property
    def inv(self) -> Transform:
        return self.transform

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -self.transform.log_abs_det_jacobian(y, x)


class ExpTransform(Transform):
    """exp(x)."""

    def _call(self, x: Tensor) -> Tensor:
        return x.exp()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return x


class AffineTransform(Transform):
    """loc + scale * x."""

    def __init__(self, loc: Any, scale: Any, event_dim: int = 0):
        self.loc, self.scale, self.event_dim = loc, scale, event_dim

    @property
    def sign(self) -> Any:  # type: ignore[override]
        """Whether larger x give larger (1) or smaller (-1) results."""
        return self.scale.sign() if isinstance(self.scale, Tensor) else int(math.copysign(1, self.scale))

    def _call(self, x: Tensor) -> Tensor:
        return self.loc + self.scale * x

    def _inverse(self, y: Tensor) -> Tensor:
        return (y - self.loc) / self.scale

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        scale = self.scale
        log = scale.abs().log() if isinstance(scale, Tensor) else math.log(abs(scale))
        return _total(x * 0 + log, self.event_dim)


class PowerTransform(Transform):
    """x ** exponent, for positive x."""

    def __init__(self, exponent: Any):
        self.exponent = exponent

    def _call(self, x: Tensor) -> Tensor:
        return x.pow(self.exponent)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.pow(1 / self.exponent)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return (self.exponent * y / x).abs().log()


class SigmoidTransform(Transform):
    """1 / (1 + exp(-x))."""

    def _call(self, x: Tensor) -> Tensor:
        return x.sigmoid()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log() - (-y).log1p()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -F.softplus(-x) - F.softplus(x)


class SoftplusTransform(Transform):
    """log(1 + exp(x))."""

    def _call(self, x: Tensor) -> Tensor:
        return F.softplus(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return (-y).expm1().neg().log() + y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -F.softplus(-x)


class TanhTransform(Transform):
    """tanh(x), as for bounded actions."""

    def _call(self, x: Tensor) -> Tensor:
        return x.tanh()

    def _inverse(self, y: Tensor) -> Tensor:
        return E.atanh(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return 2.0 * (math.log(2.0) - x - F.softplus(-2.0 * x))


class AbsTransform(Transform):
    """|x|, which is not invertible."""

    bijective = False

    def _call(self, x: Tensor) -> Tensor:
        return x.abs()

    def _inverse(self, y: Tensor) -> Tensor:
        return y


class SoftmaxTransform(Transform):
    """softmax over the last dimension; not invertible, but log is a right inverse."""

    bijective = False
    event_dim = 1

    def _call(self, x: Tensor) -> Tensor:
        return F.softmax(x, -1)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log()


class ComposeTransform(Transform):
    """Maps one after another."""

    def __init__(self, parts: Sequence[Transform]):
        self.parts = list(parts)
        self.event_dim = max((p.event_dim for p in self.parts), default=0)
        self.bijective = all(p.bijective for p in self.parts)

    def _call(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        return x

    def _inverse(self, y: Tensor) -> Tensor:
        for part in reversed(self.parts):
            y = part._inverse(y)
        return y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        found: Any = 0.0
        for part in self.parts:
            following = part(x)
            found = found + _total(part.log_abs_det_jacobian(x, following), self.event_dim - part.event_dim)
            x = following
        return found


class TransformedDistribution(Distribution):
    """What transforms make of values of a distribution.

    Example:
        >>> from numtorch.distributions import Normal
        >>> d = TransformedDistribution(Normal(0.0, 1.0), [ExpTransform()])
        >>> d.log_prob(torch.tensor(1.0))
        tensor(-0.9189)
    """

    def __init__(self, base_distribution: Distribution, transforms: Any, validate_args: bool | None = None):
        self.transforms = [transforms] if isinstance(transforms, Transform) else list(transforms)
        if not all(isinstance(t, Transform) for t in self.transforms):
            raise ValueError(f"transforms must be a Transform or a list of Transforms, but was {transforms}")
        self.base_dist = base_distribution
        self.has_rsample = base_distribution.has_rsample
        shape = (*base_distribution.batch_shape, *base_distribution.event_shape)
        events = max([len(base_distribution.event_shape), *(t.event_dim for t in self.transforms)])
        super().__init__(shape[: len(shape) - events], shape[len(shape) - events :], validate_args)

    def _forward(self, x: Tensor) -> Tensor:
        for t in self.transforms:
            x = t(x)
        return x

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self._forward(self.base_dist.rsample(sample_shape))

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with no_grad():
            return self._forward(self.base_dist.sample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        events, found = len(self._event_shape), 0.0
        y = value
        for t in reversed(self.transforms):
            x = t._inverse(y)
            found = found - _total(t.log_abs_det_jacobian(x, y), events - t.event_dim)
            y = x
        return found + _total(self.base_dist.log_prob(y), events - len(self.base_dist.event_shape))

    def cdf(self, value: Tensor) -> Tensor:
        sign: Any = 1
        for t in reversed(self.transforms):
            value, sign = t._inverse(value), sign * t.sign
        below = self.base_dist.cdf(value)
        return sign * (below - 0.5) + 0.5

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which a share ``value`` lies."""
        sign: Any = 1
        for t in self.transforms:
            sign = sign * t.sign
        return self._forward(self.base_dist.icdf(sign * (value - 0.5) + 0.5))  # type: ignore[attr-defined]


def _total(x: Tensor, dims: int) -> Tensor:
    """The sum over the last ``dims`` dimensions."""
    return x.sum(tuple(range(-dims, 0))) if dims else x


identity_transform = ComposeTransform([])

__all__ = ["AbsTransform", "AffineTransform", "ComposeTransform", "ExpTransform", "PowerTransform", "SigmoidTransform", "SoftmaxTransform",
           "SoftplusTransform", "TanhTransform", "Transform", "TransformedDistribution", "identity_transform"]  # fmt: skip
