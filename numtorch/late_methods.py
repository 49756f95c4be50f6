"""Tensor methods whose functions live in modules that are imported when the first of them is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._tensor import Tensor
from .errors import TORCH_NAMES
from .ops import arithmetic, copying


def factor(name: str) -> Callable:
    """The method of a factorisation."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        from .ops import factor_names

        return getattr(factor_names, name)(self, *args, **kwargs)

    method.__name__ = name
    method.__doc__ = f"``numtorch.{name}`` of this tensor."
    return method


def functional(name: str) -> Callable:
    """The method of a function of ``nn.functional``."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        from .nn import functional

        return getattr(functional, name)(self, *args, **kwargs)

    method.__name__ = name
    method.__doc__ = f"``numtorch.nn.functional.{name}`` of this tensor."
    return method


def new(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """A tensor of this one's dtype: uninitialised of a shape (``new(2, 3)``), or of values (``new([1, 2])``)."""
    from .legacy import new

    return new(self, *args, **kwargs)


def where(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    """This tensor where ``condition`` holds, else ``other``."""
    return arithmetic.where(condition, self, other)


def polygamma(self: Tensor, n: int) -> Tensor:
    """The n-th derivative of ``digamma``."""
    from .ops.mathematics import polygamma

    return polygamma(n, self)


def type_(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The name of the tensor's type, or the tensor in another dtype."""
    if dtype is None:
        return f"torch.{'cuda.' if self.is_cuda else ''}{TORCH_NAMES[self.dtype.name]}Tensor"
    if isinstance(dtype, str):
        from .legacy import DTYPES

        dtype = DTYPES.get(dtype.rsplit(".", 1)[-1])
        if dtype is None:
            raise ValueError("invalid type: use a dtype such as numtorch.float32")
    elif isinstance(dtype, type):
        dtype = getattr(dtype, "dtype", dtype)
    return copying.to(self, dtype)
