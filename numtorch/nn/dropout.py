"""Dropout layers: random zeros in training, the identity in evaluation."""

from __future__ import annotations

from typing import Any

from .._tensor import Tensor
from . import functional as F
from .module import Module


class _DropoutNd(Module):
    """A dropout with rate ``p``; ValueError unless 0 <= p <= 1."""

    function: Any

    def __init__(self, p: float = 0.5, inplace: bool = False):
        super().__init__()
        if p < 0 or p > 1:
            raise ValueError(f"dropout: argument 'p': dropout probability has to be between 0 and 1, but got {p}")
        self.p = p
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_DropoutNd):
    """Zeroes elements with probability ``p`` and scales the others by 1 / (1 - p).

    Example:
        >>> import numtorch
        >>> drop = numtorch.nn.Dropout(0.5).eval()
        >>> drop(numtorch.ones(3))
        tensor([1., 1., 1.])
    """

    function = F.dropout


class Dropout1d(_DropoutNd):
    """Zeroes whole channels of (N, C, L) or (C, L)."""

    function = F.dropout1d


class Dropout2d(_DropoutNd):
    """Zeroes whole channels of (N, C, H, W)."""

    function = F.dropout2d


class Dropout3d(_DropoutNd):
    """Zeroes whole channels of (N, C, D, H, W) or (C, D, H, W)."""

    function = F.dropout3d


class AlphaDropout(_DropoutNd):
    """Dropout that keeps the mean and variance of SELU networks."""

    function = F.alpha_dropout


class FeatureAlphaDropout(_DropoutNd):
    """``AlphaDropout`` of whole channels."""

    function = F.feature_alpha_dropout
