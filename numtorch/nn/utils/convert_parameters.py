"""Parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numtorch

from ..._tensor import Tensor


def _same_device(parameters: list[Tensor]) -> None:
    devices = {str(p.device) for p in parameters}
    if len(devices) > 1:
        raise TypeError(
            f"Found two parameters on different devices ({', '.join(sorted(devices))}), this is currently"
            " not supported."
        )


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters flattened into one vector.

    Example:
        >>> import numtorch
        >>> vector = numtorch.nn.utils.parameters_to_vector(numtorch.nn.Linear(2, 3).parameters())
        >>> tuple(vector.shape)
        (9,)
    """
    parameters = list(parameters)
    _same_device(parameters)
    return numtorch.cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Any, parameters: Iterable[Tensor]) -> None:
    """Put consecutive pieces of a vector into the parameters' data; TypeError if it is no tensor."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type(vec).__name__}")
    parameters = list(parameters)
    _same_device(parameters)
    start = 0
    for p in parameters:
        n = p.numel()
        p.data = vec[start : start + n].view_as(p).data
        start += n
