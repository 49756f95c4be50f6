"""Spatial transformer functions: affine grids and sampling at grid points. Jaderberg et al.,
arXiv:1506.02025.
"""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numtorch

from ..._tensor import Tensor
from ...errors import UNREAL, refuse_dtypes, require_tensor
from ...ops.autocasting import autocasts
from ...ops.node_names import named

_MODES = ("bilinear", "nearest", "bicubic")
_PADDINGS = ("zeros", "border", "reflection")


def affine_grid(theta: Tensor, size: Any, align_corners: bool | None = None) -> Tensor:
    """Sampling points of affine maps: (N, 2, 3), [N, C, H, W] -> (N, H, W, 2); (N, 3, 4) for volumes."""
    require_tensor("affine_grid", "theta", theta)
    align_corners = _default_alignment("affine_grid", align_corners)
    if not theta.is_floating_point():
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    n = len(size) - 2
    if n not in (2, 3):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, respectively. Got"
            f" size {size}."
        )
    if theta.dim() != 3 or theta.shape[-2:] != (n, n + 1):
        raise ValueError(
            f"Expected a batch of {n}D affine matrices of shape Nx{n}x{n + 1} for size {size}. Got"
            f" {theta.shape}."
        )
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {size}")
    spatial = list(size[2:])
    axes = []
    for k, steps in enumerate(reversed(spatial)):  # x first
        line = _base_line(steps, align_corners, theta)
        shape = [1] * n
        shape[n - 1 - k] = steps
        axes.append(line.reshape(shape).expand(spatial))
    axes.append(numtorch.ones(spatial, dtype=theta.dtype, device=theta.device))
    base = numtorch.stack(axes, -1).reshape(1, -1, n + 1)  # (1, points, n + 1)
    points = numtorch.matmul(base.expand(theta.size(0), -1, -1), theta.transpose(1, 2))
    return named(points.reshape(theta.size(0), *spatial, n), "AffineGridGeneratorBackward0")


def _base_line(steps: int, align_corners: bool, like: Tensor) -> Tensor:
    """``steps`` points from -1 to 1: the corners themselves, or the centres of pixels."""
    if steps <= 1:
        return numtorch.zeros(1, dtype=like.dtype, device=like.device)
    line = numtorch.linspace(-1, 1, steps, dtype=like.dtype, device=like.device)
    return line if align_corners else line * ((steps - 1) / steps)


def _default_alignment(name: str, align_corners: bool | None) -> bool:
    if align_corners is None:
        warnings.warn(
            f"Default {name} behavior has changed to align_corners=False since 1.3.0. Please specify"
            " align_corners=True if the old behavior is desired. See the documentation of grid_sample for"
            " details.",
            stacklevel=3,
        )
        return False
    return align_corners


@autocasts
def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """Values of an image at points: (N, C, H, W), (N, Ho, Wo, 2) in [-1, 1], x first -> (N, C, Ho, Wo);
    also volumes.
    """
    require_tensor("grid_sample", "input", input)
    require_tensor("grid_sample", "grid", grid)
    if mode not in _MODES:
        raise ValueError(
            "nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got:"
            f" '{mode}'"
        )
    if padding_mode not in _PADDINGS:
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection',"
            f" but got: '{padding_mode}'"
        )
    align = _default_alignment("grid_sample and affine_grid", align_corners)
    _check_grid(input, grid, mode)
    n = input.dim() - 2
    refuse_dtypes(f"grid_sampler_{n}d", input, UNREAL)
    spatial = tuple(input.shape[2:])
    places = []  # one coordinate a dimension, in the order of the dimensions
    for k, size in enumerate(spatial):
        x = grid.select(-1, n - 1 - k)
        x = (x + 1) * ((size - 1) / 2) if align else ((x + 1) * size - 1) * 0.5
        places.append(x if mode == "bicubic" else _bounded(x, size, padding_mode, align))
    if mode == "nearest":
        # A weight of 1 that depends on the grid gives it the gradient 0, as in PyTorch.
        taps = [[(numtorch.round(x), x * 0.0 + 1.0 if x.requires_grad else None)] for x in places]
    elif mode == "bilinear":
        taps = [_linear_taps(x) for x in places]
    else:
        taps = [_cubic_taps(x) for x in places]
    return named(_gather(input, taps, padding_mode, align, mode == "bicubic"), f"GridSampler{n}DBackward0")


def grid_sampler(input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool) -> Tensor:
    """``grid_sample`` with its modes as numbers: 0 bilinear, 1 nearest, 2 bicubic; 0 zeros, 1 border, 2 reflection."""
    if interpolation_mode not in range(3) or padding_mode not in range(3):
        raise RuntimeError(
            f"grid_sampler: expected modes from 0 to 2, but got {interpolation_mode} and {padding_mode}; see grid_sample"
        )
    mode = ("bilinear", "nearest", "bicubic")[interpolation_mode]
    return grid_sample(input, grid, mode, ("zeros", "border", "reflection")[padding_mode], align_corners)


grid_sampler_2d = grid_sampler_3d = grid_sampler


def _check_grid(input: Tensor, grid: Tensor, mode: str) -> None:
    if input.dim() not in (4, 5) or input.dim() != grid.dim():
        raise RuntimeError(
            "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got"
            f" input with sizes {list(input.shape)} and grid with sizes {list(grid.shape)}"
        )
    if input.size(0) != grid.size(0):
        raise RuntimeError(
            "grid_sampler(): expected grid and input to have same batch size, but got input with sizes"
            f" {list(input.shape)} and grid with sizes {list(grid.shape)}"
        )
    if grid.size(-1) != input.dim() - 2:
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {input.dim() - 2} in last dimension, but got grid"
            f" with sizes {list(grid.shape)}"
        )
    if mode == "bicubic" and input.dim() != 4:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    if 0 in input.shape[2:]:
        raise RuntimeError(
            f"grid_sampler(): expected input to have non-empty spatial dimensions, but input has sizes"
            f" {list(input.shape)}"
        )


def _bounded(x: Tensor, size: int, padding_mode: str, align: bool) -> Tensor:
    """A coordinate brought into the image as the padding mode says; zeros leave it outside."""
    if padding_mode == "reflection":
        x = _reflected(x, 0.0, size - 1.0) if align else _reflected(x, -0.5, size - 0.5)
    if padding_mode == "zeros":
        return x
    # As in PyTorch, a coordinate that is on the border or beyond it has no gradient.
    inside = (x > 0) & (x < size - 1)
    return numtorch.where(inside, x, x.detach().clamp(0, size - 1))


def _reflected(x: Tensor, low: float, high: float) -> Tensor:
    """Fold a coordinate back and forth into [low, high]."""
    span = high - low
    if span == 0:
        return x * 0.0
    away = (x - low).abs()
    with numtorch.no_grad():
        turns = numtorch.floor(away / span)
        odd = numtorch.remainder(turns, 2.0) == 1.0
    rest = away - turns * span
    return numtorch.where(odd, span - rest, rest) + low


def _linear_taps(x: Tensor) -> list[tuple[Tensor, Tensor]]:
    with numtorch.no_grad():
        base = numtorch.floor(x)
    t = x - base
    return [(base, 1.0 - t), (base + 1.0, t)]


def _cubic_taps(x: Tensor) -> list[tuple[Tensor, Tensor]]:
    with numtorch.no_grad():
        base = numtorch.floor(x)
    t = x - base
    a = -0.75

    def near(d: Tensor) -> Tensor:
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d: Tensor) -> Tensor:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    weights = [far(t + 1), near(t), near(1 - t), far(2 - t)]
    return [(base + (k - 1.0), w) for k, w in enumerate(weights)]


def _gather(input: Tensor, taps: list, padding_mode: str, align: bool, bound: bool) -> Tensor:
    """Sum over all combinations of taps: the values at their positions times the product of their weights."""
    n, channels, *spatial = input.shape
    flat = input.reshape(n, channels, -1)
    total = None
    for combination in itertools.product(*taps):
        index = inside = weight = None
        for (position, w), size in zip(combination, spatial):
            p = position.detach()
            if bound:
                p = _bounded(p, size, padding_mode, align)
            ok = (p >= 0) & (p <= size - 1)
            place = numtorch.where(ok, p, 0.0).to(numtorch.int64)
            index = place if index is None else index * size + place
            inside = ok if inside is None else inside & ok
            if w is not None:
                weight = w if weight is None else weight * w
        assert index is not None and inside is not None
        points = index.shape[1:]
        taken = flat.gather(2, index.reshape(n, 1, -1).expand(n, channels, -1)).reshape(n, channels, *points)
        kept = inside.to(input.dtype) if weight is None else numtorch.where(inside, weight, 0.0)
        term = taken * kept.unsqueeze(1)
        total = term if total is None else total + term
    assert total is not None
    return total
