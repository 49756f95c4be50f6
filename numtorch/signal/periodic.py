"""Windows by their older names, ``numtorch.hann_window`` and its like: periodic unless told otherwise."""

from __future__ import annotations

from typing import Any

from .._tensor import Tensor
from . import windows


def bartlett_window(window_length: int, periodic: bool = True, **options: Any) -> Tensor:
    """A triangle."""
    return windows.bartlett(window_length, sym=not periodic, **options)


def blackman_window(window_length: int, periodic: bool = True, **options: Any) -> Tensor:
    """Blackman's sum of three cosines."""
    return windows.blackman(window_length, sym=not periodic, **options)


def hamming_window(window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, **options: Any) -> Tensor:
    """alpha - beta cos(t)."""
    return windows.general_cosine(window_length, a=[alpha, beta], sym=not periodic, **options)


def hann_window(window_length: int, periodic: bool = True, **options: Any) -> Tensor:
    """A squared sine."""
    return windows.hann(window_length, sym=not periodic, **options)


def kaiser_window(window_length: int, periodic: bool = True, beta: float = 12.0, **options: Any) -> Tensor:
    """A ratio of Bessel functions."""
    return windows.kaiser(window_length, beta=beta, sym=not periodic, **options)
