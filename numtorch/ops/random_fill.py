"""Tensors filled with random numbers in place."""

from __future__ import annotations

import math
from typing import Any

from .._tensor import Tensor
from ..dtype import float32, int64
from ..errors import UNREAL, refuse_dtypes
from ..shape import contiguous
from . import elementwise as E
from .declare import KernelOp
from .random import (
    _bernoulli,
    _bernoulli_tensor,
    _check_probabilities,
    _exponential,
    _floating,
    _integers,
    _normal,
    _uniform,
    state_of,
)


def _float(op: str, name: str, value: Any) -> float:
    """A parameter of a distribution; TypeError unless it is a number, or a tensor of one that requires no grad."""
    tensor = isinstance(value, Tensor)
    if (tensor and (value._rg or value._layout.ndim)) or not hasattr(value, "__float__"):
        raise TypeError(f"{op}(): argument '{name}' must be float, not {type(value).__name__}; give a number, such as tensor.item()")
    return float(value)


def _refill(self: Tensor, values: Tensor, op: str) -> Tensor:
    """Overwrite a tensor with drawn values."""
    from ..autograd.mode import state
    from .copying import write
    from .inplace import check_inplace, rebase

    needs = state.grad and self._rg
    check_inplace(self, op, needs)
    write(self, values)
    self._storage.version += not self._untracked
    if needs:
        rebase(self, None)
    return self


def _drawn(self: Tensor, op: KernelOp, name: str, params: tuple, generator: Any) -> Tensor:
    la = self._layout
    d = _floating(la.dtype, name)
    return _refill(
        self, op(state_of(generator, la.device), layout=contiguous(la.shape, d, la.device), params=params), name
    )


def uniform_(
    self: Tensor, from_: float = 0.0, to: float = 1.0, *, generator: Any = None, **kwargs: Any
) -> Tensor:
    """Fill with uniform numbers in [from, to)."""
    low, high = _float("uniform_", "from", kwargs.get("from", from_)), _float("uniform_", "to", to)
    if low > high:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low} > to={high}")
    return _drawn(self, _uniform, "uniform", (low, high), generator)


def normal_(self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Tensor:
    """Fill with normal numbers."""
    if std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    return _drawn(self, _normal, "normal", (_float("normal_", "mean", mean), _float("normal_", "std", std)), generator)


def exponential_(self: Tensor, lambd: float = 1.0, *, generator: Any = None) -> Tensor:
    """Fill with exponential numbers of rate ``lambd``."""
    if lambd <= 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    refuse_dtypes("exponential_", self, UNREAL, RuntimeError)
    return _drawn(self, _exponential, "exponential", (_float("exponential_", "lambd", lambd),), generator)


def bernoulli_(self: Tensor, p: Any = 0.5, *, generator: Any = None) -> Tensor:
    """Fill with 1 (probability ``p``, a number or a tensor) and 0."""
    la = self._layout
    if isinstance(p, Tensor):
        _check_probabilities(p)
        values = _bernoulli_tensor(p.detach().expand(la.shape).contiguous(), state_of(generator, la.device))
        return _refill(self, values, "bernoulli")
    if not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    values = _bernoulli(
        state_of(generator, la.device), layout=contiguous(la.shape, la.dtype, la.device), params=(float(p),)
    )
    return _refill(self, values, "bernoulli")


def random_(
    self: Tensor, from_: Any = None, to: Any = None, *, generator: Any = None, **kwargs: Any
) -> Tensor:
    """Fill with whole numbers: in [0, to), in [from, to), or over the dtype's range."""
    la = self._layout
    low, high = kwargs.get("from", from_), to
    if high is None and low is not None:
        low, high = 0, low
    if low is None:
        bits = {"float32": 24, "float64": 53, "float16": 11, "bfloat16": 8, "bool": 1, "uint8": 8}.get(
            la.dtype.name, la.itemsize * 8 - 1
        )
        low, high = 0, 2 ** min(bits, 62) + (1 if la.dtype.is_floating_point else 0)
    assert high is not None
    return _refill(self, _integers(int(low), int(high), la.shape, int64, la.device, generator), "random")


def _open_uniform(self: Tensor, generator: Any) -> Tensor:
    """Uniform numbers in (0, 1)."""
    la = self._layout
    d = la.dtype if la.dtype.itemsize > 2 else float32
    u = _uniform(state_of(generator, la.device), layout=contiguous(la.shape, d, la.device), params=(0.0, 1.0))
    tiny = 2.0**-25 if d.itemsize == 4 else 2.0**-54
    return E.add(u, tiny)


def cauchy_(self: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Any = None) -> Tensor:
    """Fill with Cauchy numbers."""
    if sigma <= 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
    refuse_dtypes("cauchy_", self, UNREAL, RuntimeError)
    return _refill(self, E.tan((_open_uniform(self, generator) - 0.5) * math.pi) * sigma + median, "cauchy")


def log_normal_(self: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Any = None) -> Tensor:
    """Fill with the exponentials of normal numbers."""
    if std <= 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std}")
    la = self._layout
    layout = contiguous(la.shape, _floating(la.dtype, "log_normal"), la.device)
    return _refill(
        self,
        E.exp(_normal(state_of(generator, layout.device), layout=layout, params=(_float("log_normal_", "mean", mean), _float("log_normal_", "std", std)))),
        "log_normal",
    )


def geometric_(self: Tensor, p: float, *, generator: Any = None) -> Tensor:
    """Fill with the number of trials until the first success of probability ``p``."""
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    refuse_dtypes("geometric_", self, {"bool"})
    like = self if self.is_floating_point() else self.float()
    return _refill(self, E.ceil(E.log(_open_uniform(like, generator)) * (1.0 / math.log1p(-p))), "geometric")
