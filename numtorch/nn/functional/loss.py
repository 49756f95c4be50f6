"""Losses on values and on probabilities: terms from ``ops/loss_terms.py``, reduced to a mean or a sum."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numtorch

from ..._tensor import Tensor
from ...errors import (
    UNREAL,
    WHOLE,
    refuse_dtypes,
    require_floating,
    require_same_dtype,
    require_tensor,
    tensors_only,
)
from ...ops import loss_terms
from ...ops.node_names import called
from ...ops.promised import check_all
from ._reduction import legacy, reduced


def _sizes_agree(name: str, input: Tensor, target: Tensor) -> None:
    """TypeError unless both are tensors; a warning if their sizes differ, as PyTorch gives."""
    require_tensor(name, "input", input)
    require_tensor(name, "target", target)
    if target.shape != input.shape:
        warnings.warn(
            f"Using a target size ({target.size()}) that is different to the input size ({input.size()})."
            " This will likely lead to incorrect results due to broadcasting. Please ensure they have the"
            " same size.",
            stacklevel=3,
        )


def _weighted(terms: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    """Reduce terms that a sample weight multiplies; the mean divides by the sum of weights."""
    if weight is None:
        return reduced(terms, reduction)
    if weight.shape != terms.shape:
        raise ValueError("Weights and input must have the same size.")
    weighted = terms * weight
    return weighted.sum() / weight.sum() if reduction == "mean" else reduced(weighted, reduction)


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """The mean squared error.

    Example:
        >>> import numtorch
        >>> numtorch.nn.functional.mse_loss(numtorch.tensor([1.0, 2.0]), numtorch.tensor([1.0, 4.0]))
        tensor(2.)
    """
    reduction = legacy(size_average, reduce, reduction)
    _sizes_agree("mse_loss", input, target)
    refuse_dtypes("mse_loss", input, WHOLE if not target.is_floating_point() else ())
    return _weighted(loss_terms.squared_error(input, target), weight, reduction)


def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """The mean absolute error."""
    reduction = legacy(size_average, reduce, reduction)
    _sizes_agree("l1_loss", input, target)
    if input.dtype is target.dtype is numtorch.bool:
        raise RuntimeError("l1_loss: Subtraction, the `-` operator, with two bool tensors is not supported; convert them with .float()")
    return _weighted(loss_terms.absolute_error(input, target), weight, reduction)


def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """Squared for errors below ``beta``, absolute beyond; RuntimeError if beta < 0."""
    reduction = legacy(size_average, reduce, reduction)
    _sizes_agree("smooth_l1_loss", input, target)
    if beta < 0:
        raise RuntimeError(f"smooth_l1_loss does not support negative values for beta, got {beta}; give beta >= 0")
    if beta == 0.0:
        return l1_loss(input, target, reduction=reduction)
    return reduced(loss_terms.smooth_l1_error(input, target, float(beta)), reduction)


def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Squared for errors below ``delta``, ``delta`` times absolute beyond; RuntimeError if delta <= 0."""
    _sizes_agree("huber_loss", input, target)
    if delta <= 0:
        raise RuntimeError(f"huber_loss does not support non-positive values for delta, got {delta}; give delta > 0")
    return _weighted(loss_terms.huber_error(input, target, float(delta)), weight, reduction)


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-t log(p) - (1 - t) log(1 - p) of probabilities p in [0, 1] (RuntimeError outside); logarithms end at
    -100.
    """
    reduction = legacy(size_average, reduce, reduction)
    require_tensor("binary_cross_entropy", "input", input)
    require_tensor("binary_cross_entropy", "target", target)
    if target.shape != input.shape:
        raise ValueError(
            f"binary_cross_entropy: Using a target size ({target.size()}) that is different to the input size"
            f" ({input.size()}) is deprecated. Please ensure they have the same size."
        )
    require_same_dtype("binary_cross_entropy", input=input, target=target)
    given = input.detach()
    check_all((given >= 0) & (given <= 1), _outside_of_0_to_1)
    terms = loss_terms.binary_cross_entropy_term(input, target)
    return reduced(terms if weight is None else terms * weight, reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """``binary_cross_entropy`` of ``sigmoid(input)``, without overflow.

    Example:
        >>> import numtorch
        >>> x, t = numtorch.zeros(2), numtorch.ones(2)
        >>> loss = numtorch.nn.functional.binary_cross_entropy_with_logits(x, t)
        >>> round(loss.item(), 4)
        0.6931
    """
    reduction = legacy(size_average, reduce, reduction)
    require_tensor("binary_cross_entropy_with_logits", "input", input)
    require_tensor("binary_cross_entropy_with_logits", "target", target)
    if target.shape != input.shape:
        raise ValueError(f"Target size ({target.size()}) must be the same as input size ({input.size()})")
    if pos_weight is None:
        terms = loss_terms.logits_cross_entropy_term(input, target)
    else:
        terms = loss_terms.weighted_logits_cross_entropy_term(input, target, pos_weight)
    return reduced(terms if weight is None else terms * weight, reduction)


def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """target * (log(target) - input): ``input`` holds log-probabilities; "batchmean" divides by the batch
    size.
    """
    require_tensor("kl_div", "input", input)
    require_tensor("kl_div", "target", target)
    require_floating("kl_div", "input", input)
    require_floating("kl_div", "target", target)
    if reduction == "mean" and size_average is None and reduce is None:
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math definition."
            "'mean' will be changed to behave the same as 'batchmean' in the next major release.",
            stacklevel=2,
        )
    reduction = legacy(size_average, reduce, reduction)
    terms = (loss_terms.kl_div_log_term if log_target else loss_terms.kl_div_term)(input, target)
    if reduction == "batchmean":
        total = terms.sum()
        return total / input.size(0) if input.dim() else total
    return reduced(terms, reduction)


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """exp(input) - target * input (or input - target * log(input)), ``full`` with Stirling's term for
    target > 1.
    """
    require_tensor("poisson_nll_loss", "input", input)
    refuse_dtypes("poisson_nll_loss", input, {"bool"}, RuntimeError)
    reduction = legacy(size_average, reduce, reduction)
    require_tensor("poisson_nll_loss", "input", input)
    require_tensor("poisson_nll_loss", "target", target)
    if log_input:
        terms = loss_terms.poisson_log_term(input, target)
    else:
        terms = loss_terms.poisson_term(input, target, float(eps))
    return reduced(terms + loss_terms.stirling_term(target) if full else terms, reduction)


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Any,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """(log(var) + (input - target)**2 / var) / 2, ``full`` with the constant; ValueError for wrong sizes of
    ``var``.
    """
    require_tensor("gaussian_nll_loss", "input", input)
    refuse_dtypes("gaussian_nll_loss", input, UNREAL, RuntimeError)
    require_tensor("gaussian_nll_loss", "input", input)
    require_tensor("gaussian_nll_loss", "target", target)
    if not isinstance(var, Tensor):
        if var < 0:
            raise ValueError("gaussian_nll_loss: var has negative entry/entries; variances are >= 0, clamp them")
        var = numtorch.full_like(input, float(var))
    else:
        check_all(~(var.detach() < 0), _negative_variance)
    if var.shape != input.shape:
        if input.shape[:-1] == var.shape:
            var = var.unsqueeze(-1)
        elif input.dim() != var.dim() or sum(n for m, n in zip(input.shape, var.shape) if m != n) != 1:
            raise ValueError("var is of incorrect size")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(reduction + " is not valid")
    terms = loss_terms.gaussian_term(input, target, var, float(eps))
    return reduced(terms + 0.5 * math.log(2 * math.pi) if full else terms, reduction)


@called("SoftMarginLossBackward0")
def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """log(1 + exp(-target * input)), targets -1 or 1."""
    reduction = legacy(size_average, reduce, reduction)
    require_tensor("soft_margin_loss", "input", input)
    require_tensor("soft_margin_loss", "target", target)
    refuse_dtypes("soft_margin_loss", input, UNREAL, RuntimeError)
    return reduced(loss_terms.soft_margin_term(input, target), reduction)


def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """input where the target is 1, max(0, margin - input) where it is -1."""
    require_tensor("hinge_embedding_loss", "input", input)
    refuse_dtypes("hinge_embedding_loss", input, {"bool"}, RuntimeError)
    reduction = legacy(size_average, reduce, reduction)
    require_tensor("hinge_embedding_loss", "input", input)
    require_tensor("hinge_embedding_loss", "target", target)
    return reduced(loss_terms.hinge_embedding_term(input, target, float(margin)), reduction)


@tensors_only
def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, margin - target * (input1 - input2)); RuntimeError if the numbers of dimensions differ."""
    reduction = legacy(size_average, reduce, reduction)
    if input1.dim() != input2.dim() or input1.dim() != target.dim():
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: input1:"
            f" {input1.size()}, input2: {input2.size()}, target: {target.size()} "
        )
    if not input1.is_floating_point():  # whole numbers wrap around, as in PyTorch
        return reduced((-target * (input1 - input2) + margin).clamp_min(0), reduction)
    return reduced(loss_terms.margin_ranking_term(input1, input2, target, float(margin)), reduction)


def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Binary cross entropy with logits, averaged over the classes (the last dimension)."""
    reduction = legacy(size_average, reduce, reduction)
    terms = loss_terms.logits_cross_entropy_term(input, target)
    if weight is not None:
        terms = terms * weight
    return reduced(terms.sum(-1) / input.size(-1), reduction)


def _outside_of_0_to_1() -> Exception:
    return RuntimeError("binary_cross_entropy: all elements of input should be between 0 and 1")


def _negative_variance() -> Exception:
    return ValueError("gaussian_nll_loss: var has negative entry/entries; variances are >= 0, clamp them")
