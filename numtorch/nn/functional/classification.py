"""Losses on class scores: cross entropy, negative log likelihood, margins."""

from __future__ import annotations

import math
from typing import Any

import numtorch

from ..._tensor import Tensor
from ...errors import HALVES, UNREAL, refuse_dtypes, require_tensor, tensors_only
from ...ops import loss as ops_loss
from ...ops.autocasting import autocasts
from ...ops.elementwise import clamp_min
from ...ops.node_names import called, named
from ...ops.softmax import log_softmax
from ._reduction import check_reduction, legacy, reduced
from .linear import linear


def _class_dim(input: Tensor) -> int:
    return 0 if input.dim() == 1 else 1


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-weight[t] * input[t] of log-probabilities (N, C, *) and class indices (N, *).

    Example:
        >>> import numtorch
        >>> log_p = numtorch.zeros(2, 4).log_softmax(1)
        >>> round(numtorch.nn.functional.nll_loss(log_p, numtorch.tensor([0, 3])).item(), 4)
        1.3863
    """
    reduction = legacy(size_average, reduce, reduction)
    require_tensor("nll_loss", "input", input)
    require_tensor("nll_loss", "target", target)
    return named(ops_loss.nll_loss(input, target, weight, ignore_index, reduction), _nll_name(input, reduction))


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Minus the log-softmax of scores (N, C, *) at class indices (N, *), or averaged by probabilities (N,
    C, *).

    Raises RuntimeError for a label_smoothing outside [0, 1] and for sizes that don't fit.

    Example:
        >>> import numtorch
        >>> scores = numtorch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> round(numtorch.nn.functional.cross_entropy(scores, numtorch.tensor([0, 1])).item(), 4)
        0.1269
    """
    reduction = legacy(size_average, reduce, reduction)
    require_tensor("cross_entropy", "input", input)
    require_tensor("cross_entropy", "target", target)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(
            f"cross_entropy: label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}"
        )
    if target.shape == input.shape:
        return _soft_cross_entropy(input, target, weight, reduction, ignore_index, label_smoothing)
    result = ops_loss.cross_entropy(input, target, weight, ignore_index, reduction, label_smoothing)
    return named(result, "AddBackward0" if label_smoothing else _nll_name(input, reduction))


def _nll_name(input: Tensor, reduction: str) -> str:
    """What autograd's node of the loss of scores of that many dimensions is called."""
    flat = input.dim() <= 2
    return "ViewBackward0" if reduction == "none" and input.dim() not in (1, 2, 4) else f"NllLoss{'' if flat else '2D'}Backward0"


def _soft_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, ignore_index: int, smoothing: float
) -> Tensor:
    """Cross entropy with class probabilities as targets."""
    if not target.is_floating_point():
        raise RuntimeError(
            "cross_entropy: Expected floating point type for target with class probabilities, got"
            f" {target.dtype}; class indices have one dimension less than the input"
        )
    if ignore_index >= 0:
        raise RuntimeError("cross_entropy: ignore_index is not supported for floating point target")
    dim = _class_dim(input)
    classes = input.size(dim)
    if weight is not None:
        _check_class_weight(weight, classes)
    if smoothing > 0.0:
        target = target * (1 - smoothing) + smoothing / classes
    terms = log_softmax(input, dim) * target
    if weight is not None:
        terms = terms * _along_classes(weight, terms)
    if reduction == "mean":
        samples = input.numel() // classes if classes else 0
        return -terms.sum() / samples if samples else -terms.sum() * math.nan
    if reduction == "sum":
        return -terms.sum()
    return reduced(-terms.sum(dim), reduction)


def _check_class_weight(weight: Tensor, classes: int) -> None:
    if weight.dim() != 1 or weight.size(0) != classes:
        raise RuntimeError(
            f"cross_entropy: weight tensor should be defined either for all {classes} classes or no classes"
            f" but got weight tensor of shape: {list(weight.shape)}"
        )


def _along_classes(weight: Tensor, like: Tensor) -> Tensor:
    """Class weights shaped so that they broadcast along the class dimension."""
    shape = [1] * like.dim()
    shape[_class_dim(like)] = weight.size(0)
    return weight.reshape(shape)


@tensors_only
def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Tensor:
    """Cross entropy of ``linear(input, linear_weight, linear_bias)``; ``options`` only tell PyTorch how to
    chunk it.
    """
    if input.dim() not in (1, 2):
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {input.dim()}")
    if linear_weight.dim() < 2:
        raise RuntimeError(
            f"expected linear_weight with dimensionality 2 or larger, got {linear_weight.dim()}"
        )
    classes, *more, features = linear_weight.shape
    if input.shape[-1] != features:
        raise RuntimeError(f"expected input with {features} features, got {input.shape[-1]}")
    if linear_bias is not None and tuple(linear_bias.shape) != (classes, *more):
        raise RuntimeError(f"expected linear_bias shape {(classes, *more)}, got {tuple(linear_bias.shape)}")
    if more and input.dim() == 1:
        raise RuntimeError(
            f"K-dimensional loss defined by linear_weight shape {tuple(linear_weight.shape)} requires"
            f" batched input, (N, {features}), got unbatched input with shape {tuple(input.shape)}"
        )
    shape = (*input.shape[:-1], classes, *more)
    if tuple(target.shape) == shape and ignore_index is not None:
        raise RuntimeError("ignore_index cannot be specified when target contains probabilities")
    flat_bias = None if linear_bias is None else linear_bias.reshape(-1)
    logits = linear(input, linear_weight.reshape(-1, features), flat_bias).reshape(shape)
    return cross_entropy(
        logits,
        target,
        weight=weight,
        reduction=reduction,
        ignore_index=-100 if ignore_index is None else ignore_index,
        label_smoothing=label_smoothing,
    )


@autocasts
@called("MultiMarginLossBackward0")
@tensors_only
def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """sum over classes j != t of max(0, margin - x[t] + x[j])**p / C; ValueError unless p is 1 or 2."""
    reduction = legacy(size_average, reduce, reduction)
    check_reduction(reduction)
    refuse_dtypes("multi_margin_loss", input, UNREAL | HALVES)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.dim() != 1:
        raise ValueError("weight must be one-dimensional")
    if input.dim() > 2:
        raise RuntimeError(
            "Expected non-empty vector or matrix with optional 0-dim batch size, but got:"
            f" {list(input.shape)}"
        )
    scores = input if input.dim() == 2 else input.reshape(1, -1)
    n, classes = scores.shape
    if target.numel() != n or target.dim() > 1:
        raise RuntimeError(f"inconsistent target size, expected {n} but got {list(target.shape)}")
    if weight is not None and weight.numel() != classes:
        raise RuntimeError(f"inconsistent weight size, expected {classes} but got {list(weight.shape)}")
    index = target.reshape(-1, 1)
    terms = clamp_min(scores - scores.gather(1, index) + margin, 0.0)
    if p == 2:
        terms = terms * terms
    if weight is not None:
        terms = terms * weight[index]
    terms = terms.scatter(1, index, 0.0).sum(1) / classes
    return reduced(
        terms if input.dim() == 2 or reduction != "none" else terms.reshape(target.shape), reduction
    )


@autocasts
@called("MultilabelMarginLossBackward0")
@tensors_only
def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """sum of max(0, 1 - x[t] + x[j]) / C over labels t (those before the first -1) and classes j that are
    no label.
    """
    reduction = legacy(size_average, reduce, reduction)
    check_reduction(reduction)
    refuse_dtypes("multilabel_margin_loss", input, UNREAL | HALVES)
    if target.shape != input.shape or input.dim() > 2:
        raise RuntimeError(
            f"multilabel_margin_loss: expected input and target of one size, (C) or (N, C), but got"
            f" {list(input.shape)} and {list(target.shape)}"
        )
    classes = input.shape[-1] if input.dim() else 1
    scores, labels = input.reshape(-1, classes), target.reshape(-1, classes)
    listed = (labels < 0).cumsum(1) == 0
    index = labels.masked_fill(~listed, 0)
    is_label = numtorch.zeros_like(labels).scatter_add(1, index, listed.to(labels.dtype)) > 0
    of_label = scores.gather(1, index)
    terms = clamp_min(scores.unsqueeze(1) - of_label.unsqueeze(2) + 1.0, 0.0)  # (N, label, class)
    counted = listed.unsqueeze(2) & ~is_label.unsqueeze(1)
    terms = terms.masked_fill(~counted, 0.0).sum((1, 2)) / classes
    return reduced(terms if input.dim() == 2 else terms.reshape(()), reduction)
