"""Pooling that is made of other operations: unpooling, power means, windows of random places."""

from __future__ import annotations

import math
from typing import Any

import numtorch

from ..._tensor import Tensor
from ...errors import UNREAL, refuse_dtypes, require_tensor, tensors_only
from ...ops.index import check_range
from ...ops.node_names import called
from .._check import sizes
from .pooling import avg_pool1d, avg_pool2d, avg_pool3d


def _unpooled_size(
    n: int, input: Tensor, kernel: tuple, stride: tuple, padding: tuple, output_size: Any
) -> list[int]:
    """The spatial sizes that were pooled: computed, or the given ones if they could have been."""
    spatial = input.shape[-n:]
    default = [(s - 1) * st + k - 2 * p for s, st, k, p in zip(spatial, stride, kernel, padding)]
    if output_size is None:
        return default
    wanted = list(output_size)
    if len(wanted) == n + 2:
        wanted = wanted[2:]
    if len(wanted) != n:
        raise ValueError(
            f"output_size should be a sequence containing {n} or {n + 2} elements, but it has a length of"
            f" '{len(output_size)}'"
        )
    for d in range(n):
        low, high = default[d] - stride[d], default[d] + stride[d]
        if not low < wanted[d] < high:
            raise ValueError(f"invalid output_size '{wanted}' (dim {d} must be between {low} and {high})")
    return wanted


def _max_unpool(
    n: int, input: Tensor, indices: Tensor, kernel_size: Any, stride: Any, padding: Any, output_size: Any
) -> Tensor:
    name = f"max_unpool{n}d"
    require_tensor(name, "input", input)
    require_tensor(name, "indices", indices)
    refuse_dtypes(name, input, UNREAL)
    kernel = sizes(kernel_size, n, name, "kernel_size")
    stride = kernel if stride is None else sizes(stride, n, name, "stride")
    padding = sizes(padding, n, name, "padding")
    if indices.dtype is not numtorch.int64:
        raise RuntimeError(f"elements in indices should be type int64 but got: {indices.dtype}")
    if indices.shape != input.shape:
        raise RuntimeError(
            f"Expected shape of indices to be same as that of the input tensor ({list(input.shape)}) but"
            f" got indices tensor with shape: {list(indices.shape)}"
        )
    if input.dim() not in (n + 1, n + 2):
        raise RuntimeError(
            f"Input to {name} should be a {n + 1}d or {n + 2}d Tensor, but got {input.dim()} dimensions"
        )
    wanted = _unpooled_size(n, input, kernel, stride, padding, output_size)
    lead = input.shape[:-n]
    area = math.prod(wanted)
    flat = indices.reshape(*lead, -1)
    volume = "x".join(map(str, wanted))
    check_range(
        flat, 0, area - 1, lambda k: RuntimeError(f"Found an invalid max index: {k} (output volumes are of size {volume})")
    )
    zeros = numtorch.zeros((*lead, area), dtype=input.dtype, device=input.device)
    return zeros.scatter(-1, flat, input.reshape(*lead, -1)).reshape(*lead, *wanted)


def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Put values back where ``max_pool1d`` found them, zeros elsewhere."""
    return _max_unpool(1, input, indices, kernel_size, stride, padding, output_size)


@called("MaxUnpool2DBackward0")
def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Put values back where ``max_pool2d`` found them, zeros elsewhere."""
    return _max_unpool(2, input, indices, kernel_size, stride, padding, output_size)


@called("MaxUnpool3DBackward0")
def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Put values back where ``max_pool3d`` found them, zeros elsewhere."""
    return _max_unpool(3, input, indices, kernel_size, stride, padding, output_size)


def _lp_pool(
    pool: Any, n: int, input: Tensor, norm_type: float, kernel_size: Any, stride: Any, ceil: bool
) -> Tensor:
    area = math.prod(sizes(kernel_size, n, f"lp_pool{n}d", "kernel_size"))
    mean = pool(input.pow(norm_type), kernel_size, stride, 0, ceil)
    # The sign and relu keep the root of a negative sum (odd powers) and its gradient at 0 as PyTorch has
    # them.
    return (mean.sign() * mean.abs().relu()).mul(area).pow(1.0 / norm_type)


@tensors_only
def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """sum(x ** p) ** (1 / p) over windows."""
    return _lp_pool(avg_pool1d, 1, input, norm_type, kernel_size, stride, ceil_mode)


@tensors_only
def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """sum(x ** p) ** (1 / p) over windows."""
    return _lp_pool(avg_pool2d, 2, input, norm_type, kernel_size, stride, ceil_mode)


@tensors_only
def lp_pool3d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """sum(x ** p) ** (1 / p) over windows."""
    return _lp_pool(avg_pool3d, 3, input, norm_type, kernel_size, stride, ceil_mode)


def _fractional_sizes(
    n: int, input: Tensor, output_size: Any, output_ratio: Any, name: str
) -> tuple[int, ...]:
    if output_size is not None:
        return sizes(output_size, n, name, "output_size")
    if output_ratio is None:
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    ratio = output_ratio if isinstance(output_ratio, (tuple, list)) else (output_ratio,) * n
    return tuple(int(size * r) for size, r in zip(input.shape[-n:], ratio))


def _starts(sample: Tensor, size: int, out: int, window: int) -> Tensor:
    """Window starts along one side: (N, C) samples in [0, 1) -> (N, C, out). Graham, arXiv:1412.6071."""
    if out == 1:
        return numtorch.full((*sample.shape, 1), size - window, dtype=numtorch.int64, device=sample.device)
    alpha = (size - window) / (out - 1)
    k = numtorch.arange(out - 1, device=sample.device).to(sample.dtype)
    u = sample.unsqueeze(-1)
    first = (((k + u) * alpha).floor() - (u * alpha).floor()).to(numtorch.int64)
    last = numtorch.full((*sample.shape, 1), size - window, dtype=numtorch.int64, device=sample.device)
    return numtorch.cat([first, last], -1)


def _fractional(
    n: int,
    input: Tensor,
    kernel_size: Any,
    output_size: Any,
    output_ratio: Any,
    return_indices: bool,
    samples: Tensor | None,
) -> Any:
    name = f"fractional_max_pool{n}d"
    require_tensor(name, "input", input)
    if output_size is None and output_ratio is None:
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    if input.dim() not in (n + 1, n + 2):
        raise RuntimeError(f"{name}: Expected {n + 1}D or {n + 2}D tensor, but got: {list(input.shape)}")
    kernel = sizes(kernel_size, n, name, "kernel_size")
    out = _fractional_sizes(n, input, output_size, output_ratio, name)
    x = input if input.dim() == n + 2 else input.unsqueeze(0)
    spatial = tuple(x.shape[2:])
    for size, k, o in zip(spatial, kernel, out):
        if o + k - 1 > size:
            raise RuntimeError(
                f"{name}: pool size {list(kernel)} too large relative to input size {list(spatial)}"
            )
    if samples is None:
        samples = numtorch.rand(x.shape[0], x.shape[1], n, dtype=x.dtype, device=x.device)
    if any(have < need for have, need in zip(samples.shape, (*x.shape[:2], n))):
        raise RuntimeError(
            f"{name}: _random_samples must be at least of shape {[*x.shape[:2], n]}, but got {list(samples.shape)}"
        )
    samples = samples[: x.shape[0], : x.shape[1]]
    places = _window_places(samples, spatial, out, kernel)  # (N, C, outputs, taps)
    flat = x.reshape(*x.shape[:2], 1, math.prod(x.shape[2:])).expand(-1, -1, places.shape[2], -1)
    values, best = flat.gather(3, places).max(3)
    values = values.reshape(*x.shape[:2], *out)
    indices = places.gather(3, best.unsqueeze(3)).reshape(*x.shape[:2], *out)
    if input.dim() == n + 1:
        values, indices = values.squeeze(0), indices.squeeze(0)
    return (values, indices) if return_indices else values


def _window_places(samples: Tensor, spatial: tuple, out: tuple, kernel: tuple) -> Tensor:
    """Flat input places of every tap of every window, (N, C, outputs, taps)."""
    n = len(spatial)
    total = None
    for d in range(n):
        # The samples stand in the order (x, y) for images, (t, x, y) for volumes; kernels read them so.
        column = n - 1 - d if n == 2 else d
        starts = _starts(samples[..., column], spatial[d], out[d], kernel[d])
        taps = numtorch.arange(kernel[d], device=samples.device)
        along = starts.unsqueeze(-1) + taps  # (N, C, out_d, k_d)
        shape = [*along.shape[:2], *[1] * (2 * n)]
        shape[2 + d], shape[2 + n + d] = out[d], kernel[d]
        along = along.reshape(shape)
        total = along if total is None else total * spatial[d] + along
    assert total is not None
    full = total.expand(*total.shape[:2], *out, *kernel)
    return full.reshape(*total.shape[:2], math.prod(out), math.prod(kernel))


def fractional_max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """``fractional_max_pool2d`` and where the maxima were."""
    return _fractional(2, input, kernel_size, output_size, output_ratio, True, _random_samples)


@called("FractionalMaxPool2DBackward0")
def fractional_max_pool2d(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """Maximum over windows of random places of (N, C, H, W); give ``output_size`` or ``output_ratio``."""
    return _fractional(2, input, kernel_size, output_size, output_ratio, return_indices, _random_samples)


def fractional_max_pool3d_with_indices(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """``fractional_max_pool3d`` and where the maxima were."""
    return _fractional(3, input, kernel_size, output_size, output_ratio, True, _random_samples)


@called("FractionalMaxPool3DBackward0")
def fractional_max_pool3d(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """Maximum over windows of random places of (N, C, D, H, W); give ``output_size`` or ``output_ratio``."""
    return _fractional(3, input, kernel_size, output_size, output_ratio, return_indices, _random_samples)
