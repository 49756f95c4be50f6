"""Dropout and its variants: random zeros in training, the identity in evaluation."""

from __future__ import annotations

import math

import numtorch

from ..._tensor import Tensor
from ...errors import require_tensor, tensors_only
from ...ops import random as ops_random


def _check_rate(p: float) -> None:
    if p < 0.0 or p > 1.0:
        raise ValueError(f"dropout: argument 'p': dropout probability has to be between 0 and 1, but got {p}")


@tensors_only
def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each element with probability ``p`` and scale the others by 1 / (1 - p); ValueError unless 0 <=
    p <= 1.

    Hinton et al., arXiv:1207.0580.

    Example:
        >>> import numtorch
        >>> kept = numtorch.nn.functional.dropout(numtorch.ones(1000), 0.5)
        >>> sorted(set(kept.tolist()))
        [0.0, 2.0]
    """
    _check_rate(p)
    require_tensor("dropout", "input", input)
    if inplace:
        if training and p > 0.0:
            input.mul_(_noise(input, p, input.shape))
        return input
    return ops_random.dropout(input, p, training)


def _noise(input: Tensor, p: float, shape: tuple[int, ...]) -> Tensor:
    """Zeros with probability ``p``, else 1 / (1 - p)."""
    noise = numtorch.empty(shape, dtype=input.dtype, device=input.device)
    if p == 1.0:
        return noise.zero_()
    return noise.bernoulli_(1.0 - p).div_(1.0 - p)


def _per_channel(input: Tensor) -> tuple[int, ...]:
    return (*input.shape[:2], *(1 for _ in input.shape[2:]))


def _feature_dropout(input: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    if not training or p == 0.0:
        return input
    noise = _noise(input, p, _per_channel(input))
    return input.mul_(noise) if inplace else input * noise


@tensors_only
def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """``dropout`` of whole channels of (N, C, L) or (C, L). RuntimeError for other inputs."""
    _check_rate(p)
    dims = input.dim()
    if dims not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {dims}D input. Note that dropout1d exists"
            " to provide channel-wise dropout on inputs with 1 spatial dimension, a channel dimension, and"
            " an optional batch dimension (i.e. 2D or 3D inputs)."
        )
    if dims == 3:
        return _feature_dropout(input, p, training, inplace)
    result = _feature_dropout(input.unsqueeze(0), p, training, inplace).squeeze(0)
    return input if inplace else result


@tensors_only
def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """``dropout`` of whole channels of (N, C, H, W). Tompson et al., arXiv:1411.4280."""
    _check_rate(p)
    return _feature_dropout(input, p, training, inplace)


@tensors_only
def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """``dropout`` of whole channels of (N, C, D, H, W) or (C, D, H, W)."""
    _check_rate(p)
    if input.dim() == 4:
        result = _feature_dropout(input.unsqueeze(0), p, training, inplace).squeeze(0)
        return input if inplace else result
    return _feature_dropout(input, p, training, inplace)


_ALPHA = 1.7580993408473766


def _alpha_dropout(input: Tensor, p: float, training: bool, inplace: bool, shape: tuple[int, ...]) -> Tensor:
    """Dropped elements become SELU's lower limit; an affine map keeps mean 0 and variance 1.
    arXiv:1706.02515.
    """
    _check_rate(p)
    if p == 0.0 or not training or input.numel() == 0:
        return input
    if p == 1.0:
        zeros = numtorch.zeros((), dtype=input.dtype, device=input.device)
        return input.mul_(zeros) if inplace else input * zeros
    kept = numtorch.empty(shape, dtype=input.dtype, device=input.device).bernoulli_(1.0 - p)
    a = 1.0 / math.sqrt((_ALPHA**2 * p + 1.0) * (1.0 - p))
    shift = (kept - 1.0) * (_ALPHA * a) + _ALPHA * a * p
    kept = kept * a
    return input.mul_(kept).add_(shift) if inplace else input * kept + shift


@tensors_only
def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout that keeps the mean and variance of SELU networks."""
    return _alpha_dropout(input, p, training, inplace, tuple(input.shape))


@tensors_only
def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """``alpha_dropout`` of whole channels."""
    return _alpha_dropout(input, p, training, inplace, _per_channel(input))
