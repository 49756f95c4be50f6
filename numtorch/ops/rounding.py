"""Functions made of several ops whose results of 16 bits are rounded once, as those of PyTorch's kernels."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..dtype import REDUCED, float32
from .inplace import write_out


def rounds_once(function: Callable) -> Callable:
    """Decorator of a function of tensors: on the CPU those of one dtype of 16 bits are computed with in float32, and its result is rounded.

    A GPU's tensor cores take them as they are.
    """

    @functools.wraps(function)
    def once(input: Any, *tensors: Any, out: Any = None, **options: Any) -> Any:
        la = getattr(input, "_layout", None)
        if la is None or la.dtype not in REDUCED or la.device != "cpu":
            return function(input, *tensors, out=out, **options)
        if not all(hasattr(t, "_layout") and t._layout.dtype is la.dtype for t in tensors):
            return function(input, *tensors, out=out, **options)  # which says what it takes
        result = function(input.to(float32), *[t.to(float32) for t in tensors], **options).to(la.dtype)
        return result if out is None else write_out(result, out, function.__name__)

    return once
