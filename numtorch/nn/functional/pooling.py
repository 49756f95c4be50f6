"""Pooling: these functions read sizes and handle inputs without batch; the ops are in ``ops/pool.py``."""

from __future__ import annotations

from typing import Any

from ..._tensor import Tensor
from ...errors import HALVES, refuse_dtypes, require_tensor
from ...ops import pool as ops_pool
from ...ops.autocasting import autocasts
from ...ops.inplace import written
from ...ops.node_names import named
from .._check import positive, sizes


def _batched(name: str, n: int, input: Tensor) -> tuple[Tensor, bool]:
    require_tensor(name, "input", input)
    if input.dim() not in (n + 1, n + 2):
        raise RuntimeError(
            f"{name}: Expected {n + 1}D or {n + 2}D (batch mode) tensor with optional 0 dim batch size for"
            f" input, but got: {list(input.shape)}"
        )
    batched = input.dim() == n + 2
    return (input if batched else input.unsqueeze(0)), batched


def _windows(name: str, n: int, kernel_size: Any, stride: Any, padding: Any) -> tuple[tuple, tuple, tuple]:
    """Kernel, stride (default: the kernel) and padding, checked."""
    kernel = positive(sizes(kernel_size, n, name, "kernel_size"), name, "kernel_size")
    missing = stride is None or (isinstance(stride, (tuple, list)) and not stride)
    stride = kernel if missing else positive(sizes(stride, n, name, "stride"), name, "stride")
    padding = sizes(padding, n, name, "padding")
    if min(padding) < 0:
        raise RuntimeError(f"{name}: padding must be non-negative, but got {list(padding)}")
    return kernel, stride, padding


def _max_pool(
    n: int,
    input: Tensor,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    name = f"max_pool{n}d"
    x, batched = _batched(name, n, input)
    kernel, stride, padding = _windows(name, n, kernel_size, stride, padding)
    dilation = positive(sizes(dilation, n, name, "dilation"), name, "dilation")
    for p, k, d in zip(padding, kernel, dilation):
        if p > ((k - 1) * d + 1) // 2:
            raise RuntimeError(
                f"{name}: pad should be at most half of effective kernel size, but got pad={p},"
                f" kernel_size={k} and dilation={d}"
            )
    values, indices = ops_pool.max_pool(x, kernel, stride, padding, dilation, ceil_mode)
    if not batched:
        values, indices = values.squeeze(0), indices.squeeze(0)
    if n == 1:
        named(values, "SqueezeBackward1")
    return (values, indices) if return_indices else values


def max_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Maximum over windows: (N, C, L) or (C, L) -> (N, C, L_out), with ``return_indices`` also where it
    was.
    """
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Maximum over windows: (N, C, H, W) or (C, H, W) -> (N, C, H_out, W_out), with ``return_indices`` also
    where.

    Example:
        >>> import numtorch
        >>> numtorch.nn.functional.max_pool2d(numtorch.arange(16.0).reshape(1, 4, 4), 2).tolist()
        [[[5.0, 7.0], [13.0, 15.0]]]
    """
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Maximum over windows: (N, C, D, H, W) or (C, D, H, W), with ``return_indices`` also where it was."""
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool1d_with_indices(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:
    """``max_pool1d`` and where the maxima were."""
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, True)


def max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:
    """``max_pool2d`` and where the maxima were."""
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, True)


def max_pool3d_with_indices(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:
    """``max_pool3d`` and where the maxima were."""
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, True)


def _avg_pool(
    n: int,
    input: Tensor,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int | None = None,
) -> Tensor:
    name = f"avg_pool{n}d"
    x, batched = _batched(name, n, input)
    kernel, stride, padding = _windows(name, n, kernel_size, stride, padding)
    if any(p > k // 2 for p, k in zip(padding, kernel)):
        raise RuntimeError(
            f"{name}: pad should be smaller than or equal to half of kernel size, but got"
            f" padding={list(padding)}, kernel_size={list(kernel)}"
        )
    if divisor == 0:
        raise RuntimeError(f"{name}: divisor must be not zero")
    y = ops_pool.avg_pool(x, kernel, stride, padding, ceil_mode, count_include_pad, divisor)
    return (named(y, "SqueezeBackward1") if n == 1 else y) if batched else y.squeeze(0)


def avg_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Mean over windows: (N, C, L) or (C, L) -> (N, C, L_out)."""
    return _avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    out: Any = None,
) -> Tensor:
    """Mean over windows: (N, C, H, W) or (C, H, W) -> (N, C, H_out, W_out)."""
    y = _avg_pool(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    return written(y, out, "avg_pool2d")


@autocasts
def avg_pool3d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    out: Any = None,
) -> Tensor:
    """Mean over windows: (N, C, D, H, W) or (C, D, H, W) -> (N, C, D_out, H_out, W_out)."""
    refuse_dtypes("avg_pool3d", input, HALVES)
    y = _avg_pool(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    return written(y, out, "avg_pool3d")


def _adaptive_size(name: str, n: int, input: Tensor, output_size: Any) -> tuple[int, ...]:
    """Output sizes; None keeps the input's."""
    if isinstance(output_size, int):
        output_size = (output_size,) * n
    elif n > 1 and input.dim() <= len(output_size):
        raise ValueError(f"Input dimension should be at least {len(output_size) + 1}")
    output_size = tuple(output_size)
    if len(output_size) == 1:
        output_size = output_size * n
    if len(output_size) != n:
        raise RuntimeError(
            f"{name}: output_size must be {n}, but got {len(output_size)} sizes: {list(output_size)}"
        )
    wanted = tuple(int(o) if o is not None else input.shape[d - n] for d, o in enumerate(output_size))
    if min(wanted) < 0:
        raise RuntimeError(
            f"{name}: elements of output_size must be greater than or equal to 0 but received {list(wanted)}"
        )
    return wanted


def adaptive_avg_pool(name: str, n: int, input: Tensor, output_size: Any) -> Tensor:
    """Mean over windows that spread evenly, for any number of dimensions."""
    require_tensor(name, "input", input)
    wanted = _adaptive_size(name, n, input, output_size)
    x, batched = _batched(name, n, input)
    y = ops_pool.adaptive_avg_pool(x, wanted)
    return (named(y, "SqueezeBackward1") if n == 1 else y) if batched else y.squeeze(0)


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """Mean over ``output_size`` windows: (N, C, L) or (C, L)."""
    return adaptive_avg_pool("adaptive_avg_pool1d", 1, input, output_size)


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Mean over windows so that the result has ``output_size``: (N, C, H, W) or (C, H, W); None keeps a
    size.
    """
    return adaptive_avg_pool("adaptive_avg_pool2d", 2, input, output_size)


def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """Mean over windows so that the result has ``output_size``: (N, C, D, H, W) or (C, D, H, W)."""
    return adaptive_avg_pool("adaptive_avg_pool3d", 3, input, output_size)


def _adaptive_max(n: int, input: Tensor, output_size: Any, return_indices: bool) -> Any:
    name = f"adaptive_max_pool{n}d"
    require_tensor(name, "input", input)
    wanted = _adaptive_size(name, n, input, output_size)
    x, batched = _batched(name, n, input)
    values, indices = ops_pool.adaptive_max_pool(x, wanted)
    if not batched:
        values, indices = values.squeeze(0), indices.squeeze(0)
    if n == 1:
        named(values, "SqueezeBackward1")
    return (values, indices) if return_indices else values


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maximum over ``output_size`` windows: (N, C, L) or (C, L)."""
    return _adaptive_max(1, input, output_size, return_indices)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maximum over windows so that the result has ``output_size``: (N, C, H, W) or (C, H, W)."""
    return _adaptive_max(2, input, output_size, return_indices)


def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maximum over windows so that the result has ``output_size``: (N, C, D, H, W) or (C, D, H, W)."""
    return _adaptive_max(3, input, output_size, return_indices)


def adaptive_max_pool1d_with_indices(
    input: Tensor, output_size: Any, return_indices: bool = False
) -> tuple[Tensor, Tensor]:
    """``adaptive_max_pool1d`` and where the maxima were."""
    return _adaptive_max(1, input, output_size, True)


def adaptive_max_pool2d_with_indices(
    input: Tensor, output_size: Any, return_indices: bool = False
) -> tuple[Tensor, Tensor]:
    """``adaptive_max_pool2d`` and where the maxima were."""
    return _adaptive_max(2, input, output_size, True)


def adaptive_max_pool3d_with_indices(
    input: Tensor, output_size: Any, return_indices: bool = False
) -> tuple[Tensor, Tensor]:
    """``adaptive_max_pool3d`` and where the maxima were."""
    return _adaptive_max(3, input, output_size, True)
