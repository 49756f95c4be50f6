"""Pooling layers."""

from __future__ import annotations

from typing import Any

from .._tensor import Tensor
from . import functional as F
from ._check import ntuple
from .module import Module


def _repeat(value: Any, n: int) -> tuple:
    value = ntuple(value, n)
    return value * n if len(value) == 1 else value


class _MaxPoolNd(Module):
    """Maximum over windows; ``return_indices`` also gives where it was, for ``MaxUnpool``."""

    ndim: int
    return_indices: bool
    ceil_mode: bool

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ):
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride if stride is not None else kernel_size
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Any:
        pool = getattr(F, f"max_pool{self.ndim}d")
        return pool(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            ceil_mode=self.ceil_mode,
            return_indices=self.return_indices,
        )

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding},"
            f" dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPoolNd):
    """Maximum over windows of the last dimension: (N, C, L) -> (N, C, L_out)."""

    ndim = 1


class MaxPool2d(_MaxPoolNd):
    """Maximum over windows of images: (N, C, H, W) -> (N, C, H_out, W_out).

    Example:
        >>> import numtorch
        >>> numtorch.nn.MaxPool2d(2)(numtorch.arange(16.0).reshape(1, 1, 4, 4)).tolist()
        [[[[5.0, 7.0], [13.0, 15.0]]]]
    """

    ndim = 2


class MaxPool3d(_MaxPoolNd):
    """Maximum over windows of volumes: (N, C, D, H, W) -> (N, C, D_out, H_out, W_out)."""

    ndim = 3


class _MaxUnpoolNd(Module):
    """Puts values back where ``MaxPool`` found them, zeros elsewhere."""

    ndim: int

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0):
        super().__init__()
        self.kernel_size = _repeat(kernel_size, self.ndim)
        self.stride = _repeat(stride if stride is not None else kernel_size, self.ndim)
        self.padding = _repeat(padding, self.ndim)

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        unpool = getattr(F, f"max_unpool{self.ndim}d")
        return unpool(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpoolNd):
    """The partial inverse of ``MaxPool1d``."""

    ndim = 1


class MaxUnpool2d(_MaxUnpoolNd):
    """The partial inverse of ``MaxPool2d``.

    Example:
        >>> import numtorch
        >>> pool = numtorch.nn.MaxPool2d(2, return_indices=True)
        >>> values, where = pool(numtorch.arange(16.0).reshape(1, 1, 4, 4))
        >>> tuple(numtorch.nn.MaxUnpool2d(2)(values, where).shape)
        (1, 1, 4, 4)
    """

    ndim = 2


class MaxUnpool3d(_MaxUnpoolNd):
    """The partial inverse of ``MaxPool3d``."""

    ndim = 3


class AvgPool1d(Module):
    """Mean over windows of the last dimension: (N, C, L) -> (N, C, L_out)."""

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ):
        super().__init__()
        self.kernel_size = _repeat(kernel_size, 1)
        self.stride = _repeat(stride if stride is not None else kernel_size, 1)
        self.padding = _repeat(padding, 1)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        sizes = (self.kernel_size, self.stride, self.padding)
        return F.avg_pool1d(input, *sizes, self.ceil_mode, self.count_include_pad)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _AvgPoolNd(Module):
    ndim: int

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ):
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride if stride is not None else kernel_size
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        pool = getattr(F, f"avg_pool{self.ndim}d")
        sizes = (self.kernel_size, self.stride, self.padding)
        return pool(input, *sizes, self.ceil_mode, self.count_include_pad, self.divisor_override)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(_AvgPoolNd):
    """Mean over windows of images: (N, C, H, W) -> (N, C, H_out, W_out)."""

    ndim = 2


class AvgPool3d(_AvgPoolNd):
    """Mean over windows of volumes: (N, C, D, H, W) -> (N, C, D_out, H_out, W_out)."""

    ndim = 3


class _FractionalMaxPoolNd(Module):
    """Maximum over windows of random places. Graham, arXiv:1412.6071."""

    ndim: int

    def __init__(
        self,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ):
        super().__init__()
        n, name = self.ndim, type(self).__name__
        self.kernel_size = _repeat(kernel_size, n)
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)
        self.output_size = _repeat(output_size, n) if output_size is not None else None
        self.output_ratio = _repeat(output_ratio, n) if output_ratio is not None else None
        if output_size is None and output_ratio is None:
            raise ValueError(f"{name} requires specifying either an output size, or a pooling ratio")
        if output_size is not None and output_ratio is not None:
            raise ValueError("only one of output_size and output_ratio may be specified")
        if self.output_ratio is not None and not all(0 < r < 1 for r in self.output_ratio):
            raise ValueError(f"output_ratio must be between 0 and 1 (got {output_ratio})")

    def forward(self, input: Tensor) -> Any:
        pool = getattr(F, f"fractional_max_pool{self.ndim}d")
        sizes = (self.kernel_size, self.output_size, self.output_ratio)
        return pool(input, *sizes, self.return_indices, _random_samples=self._random_samples)


class FractionalMaxPool2d(_FractionalMaxPoolNd):
    """Maximum over windows of random places of images; give ``output_size`` or ``output_ratio``."""

    ndim = 2


class FractionalMaxPool3d(_FractionalMaxPoolNd):
    """Maximum over windows of random places of volumes; give ``output_size`` or ``output_ratio``."""

    ndim = 3


class _LPPoolNd(Module):
    ndim: int

    def __init__(self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False):
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        pool = getattr(F, f"lp_pool{self.ndim}d")
        return pool(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self) -> str:
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride},"
            f" ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_LPPoolNd):
    """sum(x ** p) ** (1 / p) over windows of the last dimension."""

    ndim = 1


class LPPool2d(_LPPoolNd):
    """sum(x ** p) ** (1 / p) over windows of images."""

    ndim = 2


class LPPool3d(_LPPoolNd):
    """sum(x ** p) ** (1 / p) over windows of volumes."""

    ndim = 3


class _AdaptiveMaxPoolNd(Module):
    ndim: int

    def __init__(self, output_size: Any, return_indices: bool = False):
        super().__init__()
        self.output_size = output_size
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Any:
        return getattr(F, f"adaptive_max_pool{self.ndim}d")(input, self.output_size, self.return_indices)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(_AdaptiveMaxPoolNd):
    """Maximum over as many windows as ``output_size`` says."""

    ndim = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPoolNd):
    """Maximum over as many windows of an image as ``output_size`` says (None keeps a size)."""

    ndim = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPoolNd):
    """Maximum over as many windows of a volume as ``output_size`` says (None keeps a size)."""

    ndim = 3


class _AdaptiveAvgPoolNd(Module):
    ndim: int

    def __init__(self, output_size: Any):
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        return getattr(F, f"adaptive_avg_pool{self.ndim}d")(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPoolNd):
    """Mean over as many windows as ``output_size`` says."""

    ndim = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPoolNd):
    """Mean over as many windows of an image as ``output_size`` says (None keeps a size).

    Example:
        >>> import numtorch
        >>> tuple(numtorch.nn.AdaptiveAvgPool2d(1)(numtorch.ones(2, 3, 5, 7)).shape)
        (2, 3, 1, 1)
    """

    ndim = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPoolNd):
    """Mean over as many windows of a volume as ``output_size`` says (None keeps a size)."""

    ndim = 3
