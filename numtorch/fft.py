"""numtorch.fft: the helpers of Fourier transforms that need no complex numbers."""

from __future__ import annotations

from typing import Any

from ._tensor import Tensor
from .absent import hints as _hints
from .creation import arange
from .errors import require_tensor
from .ops.rearrange import roll
from .shape import wrap_dim


def _shifted(op: str, input: Tensor, dim: Any, back: bool) -> Tensor:
    require_tensor(f"fft.{op}", "input", input)
    dims = range(input.ndim) if dim is None else (dim,) if isinstance(dim, int) else dim
    dims = [wrap_dim(d, input.ndim, f"fft.{op}") for d in dims]
    sizes = [input.shape[d] for d in dims]
    return roll(input, [(n + 1) // 2 if back else n // 2 for n in sizes], dims) if dims else input.clone()


def fftshift(input: Tensor, dim: Any = None) -> Tensor:
    """The frequency 0 moved from the front to the middle of all dimensions or of ``dim``.

    Example:
        >>> import numtorch
        >>> numtorch.fft.fftshift(numtorch.fft.fftfreq(4))
        tensor([-0.5000, -0.2500,  0.0000,  0.2500])
    """
    return _shifted("fftshift", input, dim, back=False)


def ifftshift(input: Tensor, dim: Any = None) -> Tensor:
    """The inverse of ``fftshift``."""
    return _shifted("ifftshift", input, dim, back=True)


def fftfreq(n: int, d: float = 1.0, **options: Any) -> Tensor:
    """The frequencies of a transform of ``n`` samples that lie ``d`` apart: the positive ones, then the negative ones."""
    order = arange(n, **options)
    negative = order >= (n + 1) // 2
    return (order - negative.to(order.dtype) * n) / (n * d)


def rfftfreq(n: int, d: float = 1.0, **options: Any) -> Tensor:
    """The frequencies of a transform of ``n`` real samples that lie ``d`` apart."""
    return arange(n // 2 + 1, **options) / (n * d)

__getattr__ = _hints(__name__)
