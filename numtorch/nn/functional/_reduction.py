"""How a loss turns its terms into one number, and the arguments that used to say it."""

from __future__ import annotations

import warnings

from ..._tensor import Tensor

REDUCTIONS = ("none", "mean", "sum")


def check_reduction(reduction: str) -> None:
    """ValueError for a word that names no reduction."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"{reduction} is not a valid value for reduction; use one of {', '.join(REDUCTIONS)}")


def reduced(terms: Tensor, reduction: str) -> Tensor:
    """The terms ("none"), their mean or their sum; ValueError for another word."""
    check_reduction(reduction)
    if reduction == "mean":
        return terms.mean()
    return terms.sum() if reduction == "sum" else terms


def legacy(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction that the deprecated arguments ask for, or the given one without them."""
    if size_average is None and reduce is None:
        return reduction
    size_average = True if size_average is None else size_average
    reduce = True if reduce is None else reduce
    result = ("mean" if size_average else "sum") if reduce else "none"
    warnings.warn(
        f"size_average and reduce args will be deprecated, please use reduction='{result}' instead.",
        stacklevel=4,
    )
    return result
