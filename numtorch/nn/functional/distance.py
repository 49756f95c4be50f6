"""Distances and similarities, and the losses made of them."""

from __future__ import annotations

from collections.abc import Callable

import numtorch

from ..._tensor import Tensor
from ...errors import HALVES, refuse_dtypes, require_tensor, tensors_only
from ...ops.autocasting import autocasts
from ...ops.constant import table
from ...ops.elementwise import clamp_min
from ...ops.node_names import called
from ._reduction import legacy, reduced


def normalize(
    input: Tensor,
    p: float = 2.0,
    dim: int | tuple[int, ...] = 1,
    eps: float = 1e-12,
    out: Tensor | None = None,
) -> Tensor:
    """x / max(norm(x), eps) along ``dim``.

    Example:
        >>> import numtorch
        >>> numtorch.nn.functional.normalize(numtorch.tensor([[3.0, 4.0]]))
        tensor([[0.6000, 0.8000]])
    """
    require_tensor("normalize", "input", input)
    norm = clamp_min(input.norm(p, dim, keepdim=True), eps)
    return input / norm if out is None else numtorch.div(input, norm, out=out)


@autocasts
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along ``dim``; norms below ``eps`` count as ``eps``."""
    require_tensor("cosine_similarity", "x1", x1)
    require_tensor("cosine_similarity", "x2", x2)
    if not (x1.is_floating_point() and x2.is_floating_point()):
        raise RuntimeError(f"expected common dtype to be floating point, yet common dtype is {x1.dtype}")
    x1, x2 = numtorch.broadcast_tensors(x1, x2)
    unit1 = x1 / clamp_min(x1.norm(2, dim, keepdim=True), eps)
    unit2 = x2 / clamp_min(x2.norm(2, dim, keepdim=True), eps)
    return (unit1 * unit2).sum(dim)


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The p-norm of ``x1 - x2 + eps`` along the last dimension."""
    require_tensor("pairwise_distance", "x1", x1)
    require_tensor("pairwise_distance", "x2", x2)
    return numtorch.add(x1 - x2, eps).norm(p, -1, keepdim=keepdim)


@autocasts
@called("PdistBackward0")
def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The p-norm distances between all pairs of rows: (N, M) -> (N * (N - 1) / 2)."""
    require_tensor("pdist", "input", input)
    refuse_dtypes("pdist", input, HALVES)
    if input.dim() != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input.dim()}D")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    n = input.size(0)
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    first, second = (table([pair[side] for pair in pairs], input._layout.device) for side in (0, 1))
    return (input.index_select(0, first) - input.index_select(0, second)).norm(p, 1)


@autocasts
@tensors_only
def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cos where the target is 1, max(0, cos - margin) where it is -1."""
    reduction = legacy(size_average, reduce, reduction)
    if target.dim() > 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    expected = target.dim() + 1
    if input1.dim() != expected or input2.dim() != expected:
        raise RuntimeError(
            f"{target.dim()}D target tensor expects {expected}D input tensors, but found inputs with sizes"
            f" {list(input1.shape)} and {list(input2.shape)}."
        )
    eps, dim = 1e-12, target.dim()
    square1 = (input1 * input1).sum(dim) + eps
    square2 = (input2 * input2).sum(dim) + eps
    cosine = (input1 * input2).sum(dim) / (square1 * square2).sqrt()
    near = numtorch.where(target == 1, 1.0 - cosine, 0.0)
    far = numtorch.where(target == -1, clamp_min(cosine - margin, 0.0), 0.0)
    return reduced(near + far, reduction)


@autocasts
@tensors_only
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, margin + d(anchor, positive) - d(anchor, negative)) with the p-norm distance; ValueError if
    margin <= 0.
    """
    reduction = legacy(size_average, reduce, reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    return _triplet(
        anchor, positive, negative, lambda x, y: pairwise_distance(x, y, p, eps), margin, swap, reduction
    )


@tensors_only
def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """``triplet_margin_loss`` with any distance; ValueError for a margin <= 0 or another reduction."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    distance = pairwise_distance if distance_function is None else distance_function
    return _triplet(anchor, positive, negative, distance, margin, swap, reduction)


def _triplet(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    distance: Callable[[Tensor, Tensor], Tensor],
    margin: float,
    swap: bool,
    reduction: str,
) -> Tensor:
    if not anchor.dim() == positive.dim() == negative.dim():
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of"
            f" dimensions, but got: anchor {anchor.dim()}D, positive {positive.dim()}D, and negative"
            f" {negative.dim()}D inputs"
        )
    to_positive = distance(anchor, positive)
    to_negative = distance(anchor, negative)
    if swap:
        to_negative = numtorch.minimum(to_negative, distance(positive, negative))
    return reduced(clamp_min(to_positive - to_negative + margin, 0.0), reduction)
