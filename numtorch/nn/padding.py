"""Padding layers."""

from __future__ import annotations

from typing import Any

from .._tensor import Tensor
from . import functional as F
from ._check import ntuple
from .module import Module


class _Pad(Module):
    """Pads the last ``ndim`` dimensions; ``padding`` is one amount or (left, right) from the last dimension
    on.
    """

    ndim: int
    mode = "constant"

    def __init__(self, padding: Any):
        super().__init__()
        self.padding = ntuple(padding, 2 * self.ndim)

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    """Padding with one value."""

    def __init__(self, padding: Any, value: float):
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class _ZeroPad(_ConstantPad):
    """Padding with zeros."""

    def __init__(self, padding: Any):
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ReflectionPad(_Pad):
    """Padding by reflection at the border."""

    mode = "reflect"


class _ReplicationPad(_Pad):
    """Padding by repeating the border."""

    mode = "replicate"


class _CircularPad(_Pad):
    """Padding with the values from the other side; ValueError for another number of dimensions."""

    mode = "circular"

    def _check_input_dim(self, input: Tensor) -> None:
        n = self.ndim
        if input.dim() not in (n + 1, n + 2):
            raise ValueError(f"expected {n + 1}D or {n + 2}D input (got {input.dim()}D input)")

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        return F.pad(input, self.padding, "circular")


class ConstantPad1d(_ConstantPad):
    """Pads the last dimension with a constant."""

    ndim = 1


class ConstantPad2d(_ConstantPad):
    """Pads the last two dimensions with a constant."""

    ndim = 2


class ConstantPad3d(_ConstantPad):
    """Pads the last three dimensions with a constant."""

    ndim = 3


class ReflectionPad1d(_ReflectionPad):
    """Pads the last dimension with its reflection.

    Example:
        >>> import numtorch
        >>> numtorch.nn.ReflectionPad1d(2)(numtorch.arange(4.0).reshape(1, 1, 4)).tolist()
        [[[2.0, 1.0, 0.0, 1.0, 2.0, 3.0, 2.0, 1.0]]]
    """

    ndim = 1


class ReflectionPad2d(_ReflectionPad):
    """Pads the last two dimensions with its reflection."""

    ndim = 2


class ReflectionPad3d(_ReflectionPad):
    """Pads the last three dimensions with its reflection."""

    ndim = 3


class ReplicationPad1d(_ReplicationPad):
    """Pads the last dimension with its border values."""

    ndim = 1


class ReplicationPad2d(_ReplicationPad):
    """Pads the last two dimensions with its border values."""

    ndim = 2


class ReplicationPad3d(_ReplicationPad):
    """Pads the last three dimensions with its border values."""

    ndim = 3


class ZeroPad1d(_ZeroPad):
    """Pads the last dimension with zeros."""

    ndim = 1


class ZeroPad2d(_ZeroPad):
    """Pads the last two dimensions with zeros."""

    ndim = 2


class ZeroPad3d(_ZeroPad):
    """Pads the last three dimensions with zeros."""

    ndim = 3


class CircularPad1d(_CircularPad):
    """Pads the last dimension with the values from the other side."""

    ndim = 1


class CircularPad2d(_CircularPad):
    """Pads the last two dimensions with the values from the other side."""

    ndim = 2


class CircularPad3d(_CircularPad):
    """Pads the last three dimensions with the values from the other side."""

    ndim = 3
