"""Quantiles and histograms with given edges: composites over sort and search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import return_types
from .._tensor import Tensor
from ..creation import linspace, zeros
from ..dtype import float32, float64, int64
from ..errors import HALVES, UNREAL, refuse_dtypes, require_tensor, tensors_only
from ..shape import wrap_dim
from . import elementwise as E
from . import reduce as R
from . import view
from .arithmetic import where
from .autocasting import autocasts
from .index import gather
from .inplace import write_out
from .mathematics import bincount_values
from .search import searchsorted
from .sort import sort

_MODES = ("linear", "lower", "higher", "midpoint", "nearest")


def _quantile(op: str, input: Tensor, q: Any, dim: int | None, keepdim: bool, interpolation: str, ignore: bool) -> Tensor:
    """The quantiles along ``dim``; rows with a NaN give NaN, or count without it (``ignore``)."""
    require_tensor(op, "input", input)
    if input.dtype not in (float32, float64):
        raise RuntimeError(f"{op}() input tensor must be either float or double dtype, got {input.dtype!r}; convert it")
    if not input._layout.numel:
        raise RuntimeError(f"{op}() input tensor must be non-empty")
    if interpolation not in _MODES:
        raise RuntimeError(f"{op}() interpolation must be one of {', '.join(_MODES)}, but got {interpolation}")
    q = _fractions(op, q, input)
    shape = input._layout.shape
    d = None if dim is None else wrap_dim(dim, input.ndim, op)
    if d is None or not shape:
        rows, kept = view.reshape(input, (-1,)), (1,) * len(shape)
    else:
        rows, kept = view.movedim(input, d, -1), (*shape[:d], 1, *shape[d + 1 :])
    fractions = view.reshape(q, (-1,))
    ordered = sort(rows, -1)[0]
    ranks = _ranks(ordered, fractions, ignore)
    values = _between(ordered, ranks, interpolation)
    values = view.movedim(values, -1, 0)  # the quantiles come first
    values = view.reshape(values, (fractions._layout.shape[0], *kept))
    if not keepdim:
        values = view.reshape(values, (values._layout.shape[0], *_without(kept, d)))
    return values if q.ndim else view.squeeze(values, 0)


def _without(kept: tuple[int, ...], d: int | None) -> tuple[int, ...]:
    """The sizes without the reduced dimension, without any if all were reduced."""
    return () if d is None or not kept else kept[:d] + kept[d + 1 :]


def _fractions(op: str, q: Any, input: Tensor) -> Tensor:
    if not isinstance(q, Tensor):
        from ..from_data import tensor

        q = tensor(q, dtype=input.dtype, device=input.device)
    if q.dtype is not input.dtype:
        raise RuntimeError(f"{op}() q tensor must be same dtype as the input tensor: {q.dtype!r} and {input.dtype!r}")
    if q.ndim > 1:
        raise RuntimeError(f"{op}() q must be a scalar or 1D tensor, got {q.ndim} dimensions")
    inside = E.logical_and(E.ge(q, 0.0), E.le(q, 1.0))
    if not bool(R.all(inside)):
        raise RuntimeError(f"{op}() q values must be in the range [0, 1]")
    return q


def _ranks(ordered: Tensor, q: Tensor, ignore: bool) -> Tensor:
    """Places (..., quantiles) in rows whose NaN stand last; a NaN is the last place."""
    last = ordered._layout.shape[-1] - 1
    missing = E.isnan(ordered.detach())
    if ignore:
        count = R.sum(E.logical_not(missing), -1, True).to(ordered.dtype)
        return E.clamp_min(E.mul(q, count - 1.0), 0.0)
    return where(R.any(missing, -1, True), float(last), E.mul(q, float(last)))


def _between(ordered: Tensor, ranks: Tensor, interpolation: str) -> Tensor:
    if interpolation == "nearest":
        return gather(ordered, -1, E.round_values(ranks.detach()).to(int64))
    if interpolation == "higher":
        return gather(ordered, -1, E.ceil(ranks.detach()).to(int64))
    below = E.floor(ranks.detach())
    low = gather(ordered, -1, below.to(int64))
    if interpolation == "lower":
        return low
    high = gather(ordered, -1, E.ceil(ranks.detach()).to(int64))
    return E.lerp(low, high, 0.5 if interpolation == "midpoint" else E.sub(ranks, below))


@autocasts
def quantile(input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear", out: Any = None) -> Tensor:  # fmt: skip
    """The q-th quantiles of all elements or along ``dim``; q is a number or a vector, whose dimension comes first.

    Example:
        >>> import numtorch
        >>> numtorch.quantile(numtorch.tensor([0.0, 1.0, 2.0]), 0.25)
        tensor(0.5000)
    """
    result = _quantile("quantile", input, q, dim, keepdim, interpolation, ignore=False)
    return result if out is None else write_out(result, out, "quantile")


@autocasts
def nanquantile(input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear", out: Any = None) -> Tensor:  # fmt: skip
    """``quantile`` of the elements that are not NaN."""
    result = _quantile("nanquantile", input, q, dim, keepdim, interpolation, ignore=True)
    return result if out is None else write_out(result, out, "nanquantile")


# -- histograms


def _edges(op: str, x: Tensor, bins: Any, span: Any) -> Tensor:
    """The edges of bins of one dimension: those given, or equal parts of a range."""
    if isinstance(bins, Tensor):
        if bins.dtype is not x.dtype:
            raise RuntimeError(f"{op}(): input tensor and bins tensors should have the same dtype, but got input with dtype {x.dtype!r} and bins with dtype {bins.dtype!r}")  # fmt: skip
        if bins.ndim != 1 or not bins._layout.numel:
            raise RuntimeError(f"{op}(): bins tensor should have one dimension and at least one element, got shape {list(bins.shape)}")  # fmt: skip
        return bins.detach()
    if bins <= 0:
        raise RuntimeError(f"{op}(): bins must be > 0, but got {bins}")
    if span is not None:
        low, high = (float(v) for v in span)
        if low > high:
            raise RuntimeError(f"{op}(): min should not exceed max, but got min {low} max {high}")
    elif x._layout.numel:
        low, high = float(x.min()), float(x.max())
    else:
        low, high = 0.0, 1.0
    if not (math.isfinite(low) and math.isfinite(high)):
        raise RuntimeError(f"{op}(): range of [{low}, {high}] is not finite")
    if low == high:
        low, high = low - 0.5, high + 0.5
    return linspace(low, high, bins + 1, dtype=x.dtype, device=x.device)


def _count(op: str, x: Tensor, edges: Sequence[Tensor], weight: Tensor | None, density: bool) -> Tensor:
    """How many rows of x (points, dimensions) lie in each box between edges, or the sums of their weights."""
    if weight is not None and weight.dtype is not x.dtype:
        raise RuntimeError(f"{op}(): if weight tensor is provided, input tensor and weight tensor should have the same dtype, but got input dtype {x.dtype!r}, and weight dtype {weight.dtype!r}")  # fmt: skip
    sizes = [e._layout.numel - 1 for e in edges]
    place, inside = zeros(x._layout.shape[:1], dtype=int64, device=x.device), None
    for k, (e, n) in enumerate(zip(edges, sizes)):
        column = view.select(x, 1, k).contiguous()
        bins = searchsorted(e, column, right=True) - 1
        good = E.logical_and(E.ge(column, view.select(e, 0, 0)), E.le(column, view.select(e, 0, n)))
        bins = E.clamp_max(bins, n - 1)  # the last bin has both its edges
        inside = good if inside is None else E.logical_and(inside, good)
        place = place * n + where(good, bins, 0)
    assert inside is not None
    weights = inside.to(x.dtype) if weight is None else where(inside, view.reshape(weight.detach(), (-1,)), 0.0)
    boxes = math.prod(sizes)
    hist = bincount_values(place, weights, bins=boxes) if boxes else zeros((0,), dtype=x.dtype, device=x.device)
    hist = view.reshape(hist, tuple(sizes))
    if density:
        hist = E.true_divide(hist, R.sum(hist))
        for k, e in enumerate(edges):
            width = e[1:] - e[:-1]
            hist = E.true_divide(hist, view.reshape(width, (-1,) + (1,) * (len(sizes) - 1 - k)))
    return hist


@tensors_only
def histogram(input: Tensor, bins: Any, *, range: Any = None, weight: Tensor | None = None, density: bool = False, out: Any = None) -> Any:  # fmt: skip
    """How many elements (or which weights) lie in each of ``bins`` (a number, or edges), and the edges.

    Example:
        >>> import numtorch
        >>> numtorch.histogram(numtorch.tensor([1.0, 2.0, 1.0]), bins=4, range=(0.0, 3.0)).hist
        tensor([0., 2., 1., 0.])
    """
    require_tensor("histogram", "input", input)
    refuse_dtypes("histogram", input, UNREAL | HALVES)
    if weight is not None and weight._layout.shape != input._layout.shape:
        raise RuntimeError(f"histogram(): if weight tensor is provided it should have the same shape as the input tensor, but got {list(weight.shape)} and {list(input.shape)}")  # fmt: skip
    points = view.reshape(input.detach(), (input._layout.numel, 1))
    edges = _edges("histogram", points, bins, range)
    result = return_types.histogram(_count("histogram", points, [edges], weight, density), edges)
    return result if out is None else write_out(result, out, "histogram")


@tensors_only
def histogramdd(input: Tensor, bins: Any, *, range: Any = None, weight: Tensor | None = None, density: bool = False) -> Any:  # fmt: skip
    """How many points (..., dimensions) lie in each box of ``bins`` (numbers, or edges, a dimension each), and the edges."""
    require_tensor("histogramdd", "input", input)
    refuse_dtypes("histogramdd", input, UNREAL)
    if input.ndim < 2:
        raise RuntimeError(f"histogramdd(): input tensor should have at least 2 dimensions, but got {input.ndim}")
    n = input._layout.shape[-1]
    given = [bins] * n if isinstance(bins, int) else list(bins)
    if len(given) != n:
        raise RuntimeError(f"histogramdd(): The size of bins must be equal to the innermost dimension of the input: {len(given)} and {n}")  # fmt: skip
    points = view.reshape(input.detach(), (math.prod(input._layout.shape[:-1]), n))
    edges = []
    for k, b in enumerate(given):
        span = None if range is None else range[2 * k : 2 * k + 2]
        edges.append(_edges("histogramdd", view.narrow(points, 1, k, 1), b, span))
    return return_types.histogramdd(_count("histogramdd", points, edges, weight, density), edges)
