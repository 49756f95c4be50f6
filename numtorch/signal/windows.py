"""numtorch.signal.windows: windows of length ``M``, symmetric or (``sym=False``) periodic.

Example:
    >>> import numtorch
    >>> numtorch.signal.windows.hann(3)
    tensor([0., 1., 0.])
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from .._tensor import Tensor
from ..absent import hints as _hints
from ..creation import arange, empty, linspace, ones
from ..dtype import float32, float64, get_default_dtype
from ..from_data import tensor
from ..ops import elementwise as E
from ..ops import elementwise_more as MORE

__all__ = ["bartlett", "blackman", "cosine", "exponential", "gaussian", "general_cosine", "general_hamming", "hamming", "hann",
           "kaiser", "nuttall"]  # fmt: skip


def _window(one: bool) -> Callable[[Callable], Callable]:
    """Decorator: the checks and options of every window; ``one``: a window of length 1 is 1."""

    def decorate(function: Callable) -> Callable:
        @wraps(function)
        def window(M: int, *, sym: bool = True, dtype: Any = None, layout: Any = None, device: Any = None,
                   requires_grad: bool = False, **options: Any) -> Tensor:  # fmt: skip
            d = dtype or get_default_dtype()
            name = function.__name__
            if M < 0:
                raise ValueError(f"{name} requires non-negative window length, got M={M}")
            if layout is not None and str(layout) != "numtorch.strided":
                raise ValueError(f"{name} is implemented for strided tensors only, got: {layout}")
            if d not in (float32, float64):
                raise ValueError(f"{name} expects float32 or float64 dtypes, got: {d!r}")
            made = function(max(M, 2 if one else 1), sym, d, **options)
            if M == 0:
                made = empty((0,), dtype=d)
            elif M == 1 and one:
                made = ones((1,), dtype=d)
            made = made if device is None else made.to(device)
            return made.requires_grad_(True) if requires_grad else made

        return window

    return decorate


@_window(one=False)
def exponential(M: int, sym: bool, dtype: Any, center: float | None = None, tau: float = 1.0) -> Tensor:
    """exp(-|n - center| / tau)."""
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")
    if center is None:
        center = (M if not sym and M > 1 else M - 1) / 2.0
    return E.exp(-E.abs(linspace(-center / tau, (-center + (M - 1)) / tau, M, dtype=dtype)))


@_window(one=False)
def cosine(M: int, sym: bool, dtype: Any) -> Tensor:
    """Half a period of the sine."""
    step = math.pi / (M + 1 if not sym and M > 1 else M)
    return E.sin(linspace(0.5 * step, (0.5 + (M - 1)) * step, M, dtype=dtype))


@_window(one=False)
def gaussian(M: int, sym: bool, dtype: Any, std: float = 1.0) -> Tensor:
    """The normal curve of a standard deviation."""
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")
    start, step = -(M if not sym and M > 1 else M - 1) / 2.0, 1.0 / (std * math.sqrt(2.0))
    return E.exp(-E.square(linspace(start * step, (start + (M - 1)) * step, M, dtype=dtype)))


@_window(one=True)
def kaiser(M: int, sym: bool, dtype: Any, beta: float = 12.0) -> Tensor:
    """i0(sqrt(beta**2 - k**2)) / i0(beta) for k from -beta to beta."""
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")
    rounded = tensor(beta, dtype=dtype)
    edge = rounded.item()
    end = min(edge, -edge + (M - 1) * (2.0 * edge / (M if not sym else M - 1)))
    k = linspace(-edge, end, M, dtype=dtype)
    return MORE.i0(E.sqrt(rounded * rounded - E.square(k))) / MORE.i0(rounded)


@_window(one=True)
def general_cosine(M: int, sym: bool, dtype: Any, a: Iterable = ()) -> Tensor:
    """A sum of cosines with the weights ``a``, of alternating sign."""
    if not isinstance(a, Iterable):
        raise TypeError("Coefficients must be a list/tuple")
    if not a:
        raise ValueError("Coefficients cannot be empty")
    k = linspace(0.0, (M - 1) * (2.0 * math.pi / (M if not sym else M - 1)), M, dtype=dtype)
    weights = tensor([(-1) ** i * w for i, w in enumerate(a)], dtype=dtype)
    order = arange(weights.shape[0], dtype=dtype)
    return (weights.unsqueeze(-1) * E.cos(order.unsqueeze(-1) * k)).sum(0)


def general_hamming(M: int, *, alpha: float = 0.54, **options: Any) -> Tensor:
    """alpha - (1 - alpha) cos(t)."""
    return general_cosine(M, a=[alpha, 1.0 - alpha], **options)


def hamming(M: int, **options: Any) -> Tensor:
    """``general_hamming`` with alpha 0.54."""
    return general_hamming(M, **options)


def hann(M: int, **options: Any) -> Tensor:
    """``general_hamming`` with alpha 0.5."""
    return general_hamming(M, alpha=0.5, **options)


def blackman(M: int, **options: Any) -> Tensor:
    """Blackman's sum of three cosines."""
    return general_cosine(M, a=[0.42, 0.5, 0.08], **options)


def nuttall(M: int, **options: Any) -> Tensor:
    """Nuttall's sum of four cosines."""
    return general_cosine(M, a=[0.3635819, 0.4891775, 0.1365995, 0.0106411], **options)


@_window(one=True)
def bartlett(M: int, sym: bool, dtype: Any) -> Tensor:
    """A triangle."""
    step = 2.0 / (M if not sym else M - 1)
    return 1.0 - E.abs(linspace(-1.0, -1.0 + (M - 1) * step, M, dtype=dtype))

__getattr__ = _hints(__name__)
