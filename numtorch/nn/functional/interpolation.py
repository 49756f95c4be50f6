"""Resizing by interpolation: every mode is, along each dimension, a weighted sum of a few source positions
(taps).
"""

from __future__ import annotations

import math
import warnings
from functools import lru_cache
from typing import Any

from ..._tensor import Tensor
from ...dtype import uint8
from ...errors import UNREAL, refuse_dtypes, require_tensor
from ...from_data import tensor as make_tensor
from ...ops.constant import table
from ...ops.declare import camel
from ...ops.node_names import named

_NDIM = {"linear": 3, "bilinear": 4, "bicubic": 4, "trilinear": 5}


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Resize the spatial dimensions of (N, C, *) to ``size`` or by ``scale_factor``.

    ``mode``: nearest, nearest-exact, linear, bilinear, bicubic, trilinear or area. ValueError for options
    that don't
    fit together, NotImplementedError for a mode of another number of dimensions.

    Example:
        >>> import numtorch
        >>> row = numtorch.tensor([[[1.0, 2.0]]])
        >>> numtorch.nn.functional.interpolate(row, scale_factor=2).tolist()
        [[[1.0, 1.0, 2.0, 2.0]]]
    """
    require_tensor("interpolate", "input", input)
    if mode in ("nearest", "area", "nearest-exact"):
        if align_corners is not None:
            raise ValueError(
                "align_corners option can only be set with the interpolating modes: linear | bilinear |"
                " bicubic | trilinear"
            )
    else:
        align_corners = bool(align_corners)
    n = input.dim() - 2
    sizes, scales = _sizes_and_scales(input, n, size, scale_factor, recompute_scale_factor)
    if antialias and not (mode in ("bilinear", "bicubic") and input.dim() == 4):
        raise ValueError(
            "Anti-alias option is restricted to bilinear and bicubic modes and requires a 4-D tensor as input"
        )
    _check_mode(input, mode, sizes)
    if mode != "area":
        refuse_dtypes(f"interpolate_{mode}", input, UNREAL if mode in ("linear", "trilinear") else UNREAL - {"uint8"})
    if mode == "area":
        from .pooling import adaptive_avg_pool

        return adaptive_avg_pool(f"adaptive_avg_pool{n}d", n, input, tuple(sizes))
    if mode in ("bilinear", "bicubic") and input.dtype is uint8:  # in float32, rounded
        wide = interpolate(input.float(), size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)
        return (wide + 0.5).floor().clamp(0, 255).to(uint8)
    result = input
    for k in range(n - 1, -1, -1):
        arguments = (input.shape[2 + k], sizes[k], mode, bool(align_corners), antialias, scales[k])
        result = _resample(result, 2 + k, *_taps(*arguments))
    return result if result is input else named(result, _node_name(mode, n, antialias))


def _check_mode(input: Tensor, mode: str, sizes: list[int]) -> None:
    if input.dim() not in (3, 4, 5):
        raise NotImplementedError(
            "Input Error: Only 3D, 4D and 5D input Tensors supported"
            f" (got {input.dim()}D) for the modes: nearest | linear | bilinear | bicubic | trilinear | area |"
            f" nearest-exact (got {mode})"
        )
    if mode in _NDIM:
        if input.dim() != _NDIM[mode]:
            raise NotImplementedError(f"Got {input.dim()}D input, but {mode} mode needs {_NDIM[mode]}D input")
    elif mode not in ("nearest", "area", "nearest-exact"):
        raise NotImplementedError(
            f"Input Error: unknown mode {mode}; use nearest | linear | bilinear | bicubic | trilinear |"
            " area | nearest-exact"
        )
    if min([*sizes, *input.shape[2:]]) <= 0:
        raise RuntimeError(
            f"Input and output sizes should be greater than 0, but got input ({list(input.shape[2:])}) output"
            f" ({sizes})"
        )


def _sizes_and_scales(
    input: Tensor, n: int, size: Any, scale_factor: Any, recompute: bool | None
) -> tuple[list[int], list[float | None]]:
    """Output sizes, and the scale that places positions (None: the ratio of the sizes)."""
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    name: str
    given: Any
    name, given = ("size", size) if size is not None else ("scale_factor", scale_factor)
    if isinstance(given, (list, tuple)):
        if len(given) != n:
            raise ValueError(
                f"Input and {'output' if name == 'size' else 'scale_factor'} must have the same number of"
                f" spatial dimensions, but got input with spatial dimensions of {list(input.shape[2:])} and"
                f" {name} of {given}. Please provide input tensor in (N, C, d1, d2, ...,dK) format."
            )
        values = list(given)
    else:
        values = [given] * n
    if size is not None:
        if recompute:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        return [int(v) for v in values], [None] * n
    sizes = [math.floor(float(input.shape[2 + k]) * float(values[k])) for k in range(n)]
    scales: list[float | None] = [None if recompute else float(v) for v in values]
    return sizes, scales


def _resample(
    x: Tensor, dim: int, index: tuple[tuple[int, ...], ...], weights: tuple[tuple[float, ...], ...]
) -> Tensor:
    """Sum over taps of rows of ``x`` at ``index[tap]`` times ``weights[tap]``, along one dimension."""
    shape = [1] * x.dim()
    shape[dim] = -1
    total = None
    for places, weight in zip(index, weights):
        taken = x.index_select(dim, table(places, x._layout.device))
        if not weight:
            return taken
        term = taken * make_tensor(weight, dtype=x.dtype, device=x.device).reshape(shape)
        total = term if total is None else total + term
    assert total is not None
    return total


@lru_cache(maxsize=256)
def _taps(
    size: int, out: int, mode: str, align: bool, antialias: bool, factor: float | None
) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[float, ...], ...]]:
    """(positions, weights) of each tap for every output place; no weights when the one tap is copied."""
    scale = 1.0 / factor if factor is not None and factor > 0 else size / out
    if mode.startswith("nearest"):
        shift = 0.5 if mode == "nearest-exact" else 0.0
        return (tuple(min(math.floor((i + shift) * scale), size - 1) for i in range(out)),), ((),)
    if align:
        scale = (size - 1) / (out - 1) if out > 1 else 0.0
    cubic = mode == "bicubic"
    if antialias:
        return _antialiased(size, out, scale, cubic)
    rows = []
    for i in range(out):
        centre = scale * i if align else scale * (i + 0.5) - 0.5
        if not cubic:
            centre = max(centre, 0.0)
        base = math.floor(centre)
        t = centre - base
        if cubic:
            rows.append([(base + k - 1, w) for k, w in enumerate(_cubic(t, -0.75))])
        else:
            base = min(base, size - 1)
            rows.append([(base, 1.0 - t), (base + 1, t)])
    return _columns(rows, size)


def _columns(rows: list, size: int) -> tuple:
    """Per-place lists of (position, weight) as per-tap tuples, positions clipped to the source."""
    taps = range(len(rows[0]))
    index = tuple(tuple(min(max(row[k][0], 0), size - 1) for row in rows) for k in taps)
    return index, tuple(tuple(row[k][1] for row in rows) for k in taps)


def _cubic(t: float, a: float) -> list[float]:
    """Weights of the four neighbours of a point ``t`` beyond the second. Keys, 1981."""

    def near(x: float) -> float:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: float) -> float:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _antialiased(size: int, out: int, scale: float, cubic: bool) -> tuple:
    """Taps of the triangle or cubic (a = -0.5) filter, widened when shrinking."""
    wide = max(scale, 1.0)
    support = (2.0 if cubic else 1.0) * wide
    rows = []
    for i in range(out):
        centre = scale * (i + 0.5)
        low = max(int(centre - support + 0.5), 0)
        high = min(int(centre + support + 0.5), size)
        weights = [_filter((j + 0.5 - centre) / wide, cubic) for j in range(low, high)]
        total = sum(weights) or 1.0
        rows.append([(low + k, w / total) for k, w in enumerate(weights)])
    most = max(len(row) for row in rows)
    return _columns([row + [(row[-1][0], 0.0)] * (most - len(row)) for row in rows], size)


def _filter(x: float, cubic: bool) -> float:
    x = abs(x)
    if not cubic:
        return max(1.0 - x, 0.0)
    if x < 1.0:
        return _cubic(x, -0.5)[1]
    return _cubic(x - 1.0, -0.5)[0] if x < 2.0 else 0.0


def _node_name(mode: str, n: int, antialias: bool) -> str:
    return f"Upsample{camel(mode.replace('-', '_'))}{n}D{'Aa' if antialias else ''}Backward0"


def upsample(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """The deprecated name of ``interpolate``."""
    warnings.warn(
        "`nn.functional.upsample` is deprecated. Use `nn.functional.interpolate` instead.", stacklevel=2
    )
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """The deprecated name of ``interpolate(mode="nearest")``."""
    warnings.warn(
        "`nn.functional.upsample_nearest` is deprecated. Use `nn.functional.interpolate` instead.",
        stacklevel=2,
    )
    return interpolate(input, size, scale_factor, mode="nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """The deprecated name of ``interpolate(mode="bilinear", align_corners=True)``."""
    warnings.warn(
        "`nn.functional.upsample_bilinear` is deprecated. Use `nn.functional.interpolate` instead.",
        stacklevel=2,
    )
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)
