"""Convolutions of integers, exactly: windows as rows of a matrix, multiplied as integers. Not differentiable, seldom used."""

from __future__ import annotations

import math

from .._tensor import Tensor
from ..creation import zeros
from . import view
from .matmul import matmul
from .rearrange import flip

Sizes = tuple[int, ...]


def _surrounded(x: Tensor, size: Sizes, starts: Sizes, steps: Sizes) -> Tensor:
    """Zeros of a spatial size with ``x`` written in from the starts, every so many steps."""
    whole = zeros((*x._layout.shape[:2], *size), dtype=x.dtype, device=x.device)
    inner = whole
    for d, (start, step, n) in enumerate(zip(starts, steps, x._layout.shape[2:]), start=2):
        inner = view.slice_dim(inner, d, start, start + (n - 1) * step + 1, step)
    inner.copy_(x)
    return whole


def convolve(
    x: Tensor, w: Tensor, bias: Tensor | None, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> Tensor:
    """The cross-correlation of x (N, C, *size) with w (K, C / groups, *kernel), plus bias (K)."""
    n, k, kernel = x._layout.shape[0], w._layout.shape[0], w._layout.shape[2:]
    dims = len(kernel)
    size = tuple(m + 2 * p for m, p in zip(x._layout.shape[2:], padding))
    windows = _surrounded(x, size, padding, (1,) * dims)
    for d, (m, s, step) in enumerate(zip(kernel, stride, dilation), start=2):
        reach = step * (m - 1) + 1
        windows = view.unfold(windows, d, reach, s)
        windows = view.slice_dim(windows, windows.ndim - 1, 0, reach, step)
    out = windows._layout.shape[2 : 2 + dims]
    inner = w._layout.shape[1]
    parts = view.reshape(windows, (n, groups, inner, *out, *kernel))
    order = (0, 1, *range(3, 3 + dims), 2, *range(3 + dims, 3 + 2 * dims))
    rows = view.reshape(view.permute(parts, order), (n, groups, math.prod(out), inner * math.prod(kernel)))
    columns = view.transpose(view.reshape(w, (groups, k // groups, inner * math.prod(kernel))), 1, 2)
    result = view.reshape(view.transpose(matmul(rows, columns), 2, 3), (n, k, *out))
    return result if bias is None else result + view.reshape(bias, (-1,) + (1,) * dims)


def convolve_transposed(
    y: Tensor, w: Tensor, bias: Tensor | None, size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> Tensor:
    """The transposed convolution of y (N, C, *given) with w (C, K / groups, *kernel) to a spatial size, plus bias (K)."""
    c, per_group, *kernel = w._layout.shape
    border = tuple(d * (m - 1) for d, m in zip(dilation, kernel))
    full = tuple(m + 2 * p + b for m, p, b in zip(size, padding, border))
    grown = _surrounded(y, full, border, stride)
    turned = view.transpose(view.reshape(w, (groups, c // groups, per_group, *kernel)), 1, 2)
    turned = flip(view.reshape(turned, (groups * per_group, c // groups, *kernel)), tuple(range(2, 2 + len(kernel))))
    ones, none = (1,) * len(kernel), (0,) * len(kernel)
    result = convolve(grown, turned, bias, ones, none, dilation, groups)
    for d, (p, m) in enumerate(zip(padding, size), start=2):
        result = view.narrow(result, d, p, m)
    return result
