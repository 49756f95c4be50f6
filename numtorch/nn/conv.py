"""Convolution layers."""

from __future__ import annotations

import math
from typing import Any

import numtorch

from .._tensor import Tensor
from . import functional as F
from . import init
from ._check import ntuple
from .module import Module
from .parameter import Parameter


def _one_or_all(value: Any, n: int) -> tuple:
    value = ntuple(value, n)
    return value * n if len(value) == 1 else value


class _ConvNd(Module):
    """What all convolutions share: checks, parameters and their initialisation, printing."""

    ndim: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple,
        stride: tuple,
        padding: tuple | str,
        dilation: tuple,
        transposed: bool,
        output_padding: tuple,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: Any = None,
        dtype: Any = None,
    ):
        super().__init__()
        _check_arguments(in_channels, out_channels, padding, stride, groups, padding_mode)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.transposed = transposed
        self.output_padding = output_padding
        self.groups = groups
        self.padding_mode = padding_mode
        self._reversed_padding_repeated_twice = _padding_amounts(padding, dilation, kernel_size)
        first, second = (in_channels, out_channels) if transposed else (out_channels, in_channels)
        shape = (first, second // groups, *kernel_size)
        self.weight = Parameter(numtorch.empty(shape, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(numtorch.empty(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias from U(-k, k), k = 1 / sqrt(channels * kernel size / groups)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            if fan_in != 0:
                bound = 1 / math.sqrt(fan_in)
                init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        )
        if self.padding != (0,) * len(self.kernel_size):
            text += f", padding={self.padding}"
        if self.dilation != (1,) * len(self.kernel_size):
            text += f", dilation={self.dilation}"
        if self.output_padding != (0,) * len(self.kernel_size):
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault("padding_mode", "zeros")


def _check_arguments(
    in_channels: int, out_channels: int, padding: Any, stride: tuple, groups: int, padding_mode: str
) -> None:
    if groups <= 0:
        raise ValueError("groups must be a positive integer")
    if in_channels % groups != 0:
        raise ValueError("in_channels must be divisible by groups")
    if out_channels % groups != 0:
        raise ValueError("out_channels must be divisible by groups")
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(f"Invalid padding string {padding!r}, should be one of {{'same', 'valid'}}")
        if padding == "same" and any(s != 1 for s in stride):
            raise ValueError("padding='same' is not supported for strided convolutions")
    modes = ("zeros", "reflect", "replicate", "circular")
    if padding_mode not in modes:
        raise ValueError(f"padding_mode must be one of {set(modes)}, but got padding_mode='{padding_mode}'")


def _padding_amounts(padding: tuple | str, dilation: tuple, kernel_size: tuple) -> list[int]:
    """Left and right padding of each dimension, the last one first, as ``F.pad`` takes it."""
    amounts: list[int] = []
    for d, k, i in reversed(list(zip(dilation, kernel_size, range(len(kernel_size))))):
        if isinstance(padding, str):
            total = d * (k - 1) if padding == "same" else 0
            amounts += [total // 2, total - total // 2]
        else:
            amounts += [padding[i], padding[i]]
    return amounts


class _Conv(_ConvNd):
    """A convolution of ``ndim`` dimensions."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ):
        n = self.ndim
        padding = padding if isinstance(padding, str) else _one_or_all(padding, n)
        sizes = (_one_or_all(kernel_size, n), _one_or_all(stride, n), padding, _one_or_all(dilation, n))
        super().__init__(
            in_channels, out_channels, *sizes, False, (0,) * n, groups, bias, padding_mode, device, dtype
        )

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        conv = getattr(F, f"conv{self.ndim}d")
        if self.padding_mode == "zeros":
            return conv(input, weight, bias, self.stride, self.padding, self.dilation, self.groups)
        padded = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
        return conv(padded, weight, bias, self.stride, (0,) * self.ndim, self.dilation, self.groups)

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight, self.bias)


class Conv1d(_Conv):
    """Cross-correlation along one dimension: (N, C_in, L) or (C_in, L) -> (N, C_out, L_out) or (C_out,
    L_out).
    """

    ndim = 1


class Conv2d(_Conv):
    """Cross-correlation over images: (N, C_in, H, W) or (C_in, H, W) -> (N, C_out, H_out, W_out).

    Example:
        >>> import numtorch
        >>> conv = numtorch.nn.Conv2d(3, 8, kernel_size=3, stride=2, padding=1)
        >>> tuple(conv(numtorch.ones(5, 3, 16, 16)).shape)
        (5, 8, 8, 8)
    """

    ndim = 2


class Conv3d(_Conv):
    """Cross-correlation over volumes: (N, C_in, D, H, W) or (C_in, D, H, W) -> (N, C_out, D_out, H_out,
    W_out).
    """

    ndim = 3


class _ConvTransposeNd(_ConvNd):
    """A transposed convolution of ``ndim`` dimensions: the gradient of a convolution for its input."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ):
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        n = self.ndim
        kernel, stride = _one_or_all(kernel_size, n), _one_or_all(stride, n)
        sizes = (kernel, stride, _one_or_all(padding, n), _one_or_all(dilation, n))
        output_padding = _one_or_all(output_padding, n)
        super().__init__(
            in_channels, out_channels, *sizes, True, output_padding, groups, bias, padding_mode, device, dtype
        )

    def _output_padding(self, input: Tensor, output_size: Any) -> tuple[int, ...]:
        """The output padding that gives ``output_size`` (or the layer's own); ValueError if none does."""
        if output_size is None:
            return self.output_padding
        n = self.ndim
        output_size = list(output_size)
        has_batch = input.dim() == n + 2
        extra = 2 if has_batch else 1
        if len(output_size) == n + extra:
            output_size = output_size[extra:]
        if len(output_size) != n:
            raise ValueError(
                f"ConvTranspose{n}D: for {input.dim()}D input, output_size must have {n} or {n + extra}"
                f" elements (got {len(output_size)})"
            )
        smallest = [
            (input.size(d + extra) - 1) * self.stride[d]
            - 2 * self.padding[d]
            + self.dilation[d] * (self.kernel_size[d] - 1)
            + 1
            for d in range(n)
        ]
        largest = [s + self.stride[d] - 1 for d, s in enumerate(smallest)]
        if any(size < low or size > high for size, low, high in zip(output_size, smallest, largest)):
            raise ValueError(
                f"requested an output size of {output_size}, but valid sizes range from {smallest} to"
                f" {largest} (for an input of {input.size()[2:]})"
            )
        return tuple(size - low for size, low in zip(output_size, smallest))

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        padding = self._output_padding(input, output_size)
        conv = getattr(F, f"conv_transpose{self.ndim}d")
        return conv(
            input, self.weight, self.bias, self.stride, self.padding, padding, self.groups, self.dilation
        )


class ConvTranspose1d(_ConvTransposeNd):
    """The transpose of ``Conv1d``: (N, C_in, L) -> (N, C_out, L_out)."""

    ndim = 1


class ConvTranspose2d(_ConvTransposeNd):
    """The transpose of ``Conv2d``: (N, C_in, H, W) -> (N, C_out, H_out, W_out).

    Example:
        >>> import numtorch
        >>> up = numtorch.nn.ConvTranspose2d(8, 3, kernel_size=4, stride=2, padding=1)
        >>> tuple(up(numtorch.ones(5, 8, 8, 8)).shape)
        (5, 3, 16, 16)
    """

    ndim = 2


class ConvTranspose3d(_ConvTransposeNd):
    """The transpose of ``Conv3d``: (N, C_in, D, H, W) -> (N, C_out, D_out, H_out, W_out)."""

    ndim = 3
