"""What a tensor is asked, and Python functions of its elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._tensor import Tensor
from ..errors import require_tensor
from .copying import copy_


def is_nonzero(input: Tensor) -> bool:
    """Whether the one element is not zero; RuntimeError unless there is exactly one."""
    require_tensor("is_nonzero", "input", input)
    if input.numel() != 1:
        many = "more than one value" if input.numel() else "no values"
        raise RuntimeError(f"is_nonzero(): Boolean value of Tensor with {many} is ambiguous; use any() or all()")
    return bool(input)


def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have one shape."""
    require_tensor("is_same_size", "input", input)
    require_tensor("is_same_size", "other", other)
    return input._layout.shape == other._layout.shape


def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Whether two tensors are the same elements of the same memory."""
    require_tensor("is_set_to", "tensor", tensor)
    return self._storage is tensor._storage and self._offset == tensor._offset and self._layout is tensor._layout


def is_complex(input: Tensor) -> bool:
    """Whether the dtype is a complex one: no dtype of numtorch is."""
    require_tensor("is_complex", "input", input)
    return False


def is_conj(input: Tensor) -> bool:
    """Whether conjugation waits to be done: never, for there are no complex numbers."""
    require_tensor("is_conj", "input", input)
    return False


def is_neg(input: Tensor) -> bool:
    """Whether a change of sign waits to be done: never."""
    require_tensor("is_neg", "input", input)
    return False


def is_signed(input: Tensor) -> bool:
    """Whether the dtype holds negative numbers."""
    require_tensor("is_signed", "input", input)
    return input.dtype.is_signed


def get_device(input: Tensor) -> int:
    """The number of the GPU that a tensor is on, -1 for the CPU."""
    require_tensor("get_device", "input", input)
    return input.get_device()


def apply_(self: Tensor, callable: Callable[[Any], Any]) -> Tensor:
    """Replace every element by what a Python function gives for it; slow, and for the CPU."""
    return _mapped("apply_", self, callable)


def map_(self: Tensor, tensor: Tensor, callable: Callable[[Any, Any], Any]) -> Tensor:
    """Replace every element by what a Python function gives for it and the one of another tensor (which broadcasts)."""
    return _mapped("map_", self, callable, tensor)


def map2_(self: Tensor, x: Tensor, y: Tensor, callable: Callable[[Any, Any, Any], Any]) -> Tensor:
    """``map_`` with two other tensors."""
    return _mapped("map2_", self, callable, x, y)


def _mapped(op: str, self: Tensor, function: Any, *others: Any) -> Tensor:
    for t in others:
        require_tensor(op, "tensor", t)
    if not callable(function):
        raise TypeError(f"{op}(): argument 'callable' must be a function, not {type(function).__name__}")
    if any(t.requires_grad for t in (self, *others)):
        raise RuntimeError(f"Can't call {op}() on Variable that requires grad. Use var.detach().{op}() instead.")
    if self._layout.device != "cpu":
        raise TypeError(f"{op}() is only implemented on CPU tensors, got {self._layout.device}; use .cpu() first")
    from ..creation import from_array

    arrays = np.broadcast_arrays(*[t.detach()._numbers() for t in (self, *others)])
    found = np.frompyfunc(function, len(arrays), 1)(*[a.astype(object) for a in arrays])
    return copy_(self, from_array(np.asarray(found), self.dtype))
