"""Comparisons of whole tensors and with tolerances."""

from __future__ import annotations

from typing import Any

from .._tensor import Tensor
from ..dtype import FLOATING
from ..errors import require_tensor, tensors_only
from . import elementwise as E


@tensors_only
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same size and elements (NaN equals nothing)."""
    require_tensor("equal", "input", input)
    require_tensor("equal", "other", other)
    if input._layout.shape != other._layout.shape:
        return False
    return bool(E.eq(input.detach(), other.detach()).all())


def isclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Tensor:
    """Elementwise ``|input - other| <= atol + rtol * |other|``; infinities are close to themselves."""
    require_tensor("isclose", "input", input)
    require_tensor("isclose", "other", other)
    if input.dtype is not other.dtype:
        raise RuntimeError(
            f"{input.dtype!r} did not match {other.dtype!r}; isclose compares tensors of one dtype"
        )
    if rtol < 0 or atol < 0:
        raise RuntimeError(f"isclose: rtol and atol must be >= 0, got rtol={rtol}, atol={atol}")
    close = E.eq(input, other)
    if equal_nan and input.dtype.category == FLOATING:
        close = close | (E.isnan(input) & E.isnan(other))
    if (rtol == 0 and atol == 0) or input.dtype.name == "bool":
        return close
    a, b = (input, other) if input.dtype.category == FLOATING else (input.double(), other.double())
    difference = E.abs(a - b)
    return close | (E.isfinite(difference) & (difference <= E.abs(b) * rtol + atol))


@tensors_only
def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Any:
    """Whether all elements are close; see ``isclose``."""
    return bool(isclose(input.detach(), other.detach(), rtol, atol, equal_nan).all())
