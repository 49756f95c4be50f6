"""Normalisation: over the batch, over channels or over the last dimensions."""

from __future__ import annotations

import math
from typing import Any

import numtorch

from ... import ops
from ..._tensor import Tensor
from ...errors import require_tensor, tensors_only
from ...memo import Memo
from ...ops.node_names import called
from .padding import constant_pad_nd


def _shape(normalized_shape: Any) -> tuple[int, ...]:
    return (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)


def _check_normalized(name: str, input: Tensor, shape: tuple[int, ...], **parameters: Tensor | None) -> None:
    """RuntimeError unless the input ends in ``shape`` and the parameters have it."""
    require_tensor(name, "input", input)
    if not shape:
        raise RuntimeError(
            f"{name}: Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one"
            " element, but got normalized_shape = []"
        )
    for parameter, t in parameters.items():
        if t is not None and tuple(t.shape) != shape:
            raise RuntimeError(
                f"{name}: Expected {parameter} to be of same shape as normalized_shape, but got {parameter}"
                f" of shape {list(t.shape)} and normalized_shape = {list(shape)}"
            )
    if tuple(input.shape[-len(shape) :]) != shape or input.dim() < len(shape):
        starred = ", ".join(["*", *map(str, shape)])
        raise RuntimeError(
            f"{name}: Given normalized_shape={list(shape)}, expected input with shape [{starred}], but got"
            f" input of size{list(input.shape)}"
        )


def layer_norm(
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last dimensions, whose sizes are
    ``normalized_shape``.

    Example:
        >>> import numtorch
        >>> numtorch.nn.functional.layer_norm(numtorch.tensor([[-1.0, 1.0]]), (2,), eps=0.0)
        tensor([[-1.,  1.]])
    """
    shape = _shape(normalized_shape)
    _check_normalized("layer_norm", input, shape, weight=weight, bias=bias)
    return ops.layer_norm(input, shape, weight, bias, eps)


def rms_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """x / sqrt(mean(x**2) + eps) * weight over the last dimensions; eps defaults to the dtype's."""
    shape = _shape(normalized_shape)
    _check_normalized("rms_norm", input, shape, weight=weight)
    return ops.rms_norm(input, shape, weight, eps)


@called("NativeGroupNormBackward0")
def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """``layer_norm`` over each of ``num_groups`` groups of channels of (N, C, *), with a weight and bias a
    channel.
    """
    require_tensor("group_norm", "input", input)
    if input.dim() < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {input.dim()}")
    channels = input.size(1)
    if num_groups <= 0:
        raise RuntimeError(f"Expected num groups to be greater than 0, got {num_groups}")
    if channels % num_groups:
        raise RuntimeError(
            f"Expected number of channels in input to be divisible by num_groups, but got input of shape"
            f" {list(input.shape)} and num_groups={num_groups}"
        )
    _check_channels("group_norm", channels, weight=weight, bias=bias)
    _check_enough_values([input.size(0) * channels // num_groups, num_groups, *input.shape[2:]])
    return ops.group_norm(input, num_groups, weight, bias, eps)


def _check_channels(name: str, channels: int, **parameters: Tensor | None) -> None:
    for parameter, t in parameters.items():
        if t is not None and (t.dim() != 1 or t.numel() != channels):
            raise RuntimeError(
                f"{name}: Expected {parameter} to be a vector of size equal to the number of channels in"
                f" input, but got {parameter} of shape {list(t.shape)} and {channels} channels"
            )


def _check_enough_values(size: list[int]) -> None:
    """ValueError if statistics would be taken of one value."""
    if math.prod(size) // max(size[1], 1) == 1:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {size}; give a larger batch, or call eval()"
        )


@tensors_only
def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel of (N, C, *) by the batch's statistics (training) or by the running ones.

    In training, running statistics move by ``momentum`` towards the batch's (the variance unbiased), in
    place.
    """
    given = (input, weight, bias, running_mean, running_var)
    key = (training is True, *[None if t is None else t._layout for t in given])
    if key in _passed and eps > 0.0:
        return ops.batchnorm.batch_norm_checked(*given, training, momentum, eps)
    require_tensor("batch_norm", "input", input)
    if input.dim() < 2 and input.numel() == 0:  # nothing to normalise: allowed, as in PyTorch
        return input.clone()
    if training:
        _check_enough_values(list(input.shape))
    elif running_mean is None or running_var is None:
        raise RuntimeError(
            "batch_norm: Expected running_mean and running_var to be defined when training=False; pass"
            " them, or training=True"
        )
    if input.dim() < 2:
        raise RuntimeError(
            f"batch_norm: expected an input of at least 2 dimensions (N, C, *), got {input.dim()}"
        )
    _check_channels(
        "batch_norm",
        input.size(1),
        weight=weight,
        bias=bias,
        running_mean=running_mean,
        running_var=running_var,
    )
    if training and eps <= 0.0:
        raise ValueError(f"batch_norm eps must be positive during training, but got {eps}; the default is 1e-5")
    result = ops.batch_norm(*given, training, momentum, eps)
    if type(training) is bool:
        _passed.note(key)
    return result


_passed = Memo()  # layouts that have passed the checks of batch_norm, with or without training


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel of each sample of (N, C, *): batch normalisation of (1, N * C, *)."""
    require_tensor("instance_norm", "input", input)
    if use_input_stats and math.prod(input.shape[2:]) == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {input.size()}")
    if not use_input_stats and (running_mean is None or running_var is None):
        raise RuntimeError(
            "Expected running_mean and running_var to be defined when use_input_stats is false"
        )
    n, channels, *spatial = input.shape
    _check_channels("instance_norm", channels, weight=weight, bias=bias)

    def repeated(t: Tensor | None) -> Tensor | None:
        return None if t is None else t.repeat(n)

    mean, var = repeated(running_mean), repeated(running_var)
    flat = input.reshape(1, n * channels, *spatial)
    y = ops.batch_norm(flat, repeated(weight), repeated(bias), mean, var, use_input_stats, momentum, eps)
    if use_input_stats:
        with numtorch.no_grad():
            for running, now in ((running_mean, mean), (running_var, var)):
                if running is not None and now is not None:
                    running.copy_(now.reshape(n, channels).mean(0))
    return y.reshape(input.shape)


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """x / (k + alpha * mean of x**2 over ``size`` neighbouring channels) ** beta. Krizhevsky et al., 2012."""
    require_tensor("local_response_norm", "input", input)
    if input.dim() < 3:
        raise ValueError(f"Expected 3D or higher dimensionality input (got {input.dim()} dimensions)")
    if input.numel() == 0:
        return input
    square = input * input
    padding = [0, 0] * (input.dim() - 2) + [size // 2, (size - 1) // 2]
    padded = constant_pad_nd(square, padding)
    total = padded.narrow(1, 0, input.size(1))
    for shift in range(1, size):
        total = total + padded.narrow(1, shift, input.size(1))
    return input / (total * (alpha / size) + k).pow(beta)
