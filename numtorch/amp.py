"""Automatic mixed precision, as far as it means something here: kernels compute in float32 and float64.

``autocast`` is accepted and computes in the tensors' own precision; asking for lower precision says so once. ``GradScaler`` scales
losses as PyTorch's does, for programs that use it.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from ._tensor import Tensor
from .absent import hints as _hints
from .dtype import dtype as DType
from .dtype import float32
from .ops.elementwise import isfinite


class autocast:
    """A context (or decorator) in which PyTorch would choose a lower precision; here operations keep theirs."""

    def __init__(self, device_type: str = "cuda", dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None):
        if device_type not in ("cpu", "cuda"):
            raise RuntimeError(f"autocast: unknown device type {device_type!r}; expected 'cpu' or 'cuda'")
        self.device_type, self.dtype, self.enabled = device_type, dtype, enabled

    def __enter__(self) -> autocast:
        if self.enabled:
            _warn_once()
        return self

    def __exit__(self, *error: Any) -> None:
        """Nothing was changed."""

    def __call__(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return wrapped


@functools.cache
def _warn_once() -> None:
    warnings.warn("autocast: numtorch computes in the tensors' own precision (float32); enabled=False silences this", stacklevel=3)


def custom_fwd(fwd: Callable | None = None, *, device_type: str = "cuda", cast_inputs: Any = None) -> Callable:
    """Decorator of a ``Function``'s forward: numtorch casts nothing, so it only converts to ``cast_inputs`` where that is given."""
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        cast = [a.to(cast_inputs) if cast_inputs is not None and isinstance(a, Tensor) and a.is_floating_point() else a for a in args]
        return fwd(*cast, **kwargs)

    return wrapped


def custom_bwd(bwd: Callable | None = None, *, device_type: str = "cuda") -> Callable:
    """Decorator of a ``Function``'s backward: it computes in the precision of its forward, as everything here does."""
    return bwd if bwd is not None else functools.partial(custom_bwd, device_type=device_type)


def is_autocast_available(device_type: str) -> bool:
    """Whether ``autocast`` takes this device type."""
    return device_type in ("cpu", "cuda")


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """False, inside ``autocast``, too: no operation is computed in a lower precision."""
    return False


is_autocast_cpu_enabled = functools.partial(is_autocast_enabled, "cpu")


def get_autocast_dtype(device_type: str = "cuda") -> DType:
    """float32, in which ``autocast`` leaves what programs compute.

    Example:
        >>> import numtorch
        >>> numtorch.get_autocast_dtype("cpu")
        numtorch.float32
    """
    return float32


get_autocast_gpu_dtype = get_autocast_dtype
get_autocast_cpu_dtype = functools.partial(get_autocast_dtype, "cpu")


class GradScaler:
    """Multiplies the loss, so that small gradients survive in low precision, and divides the gradients before the step.

    The factor grows after ``growth_interval`` good steps and shrinks when a gradient is infinite or NaN; that step is skipped.
    """

    def __init__(self, device: str = "cuda", init_scale: float = 65536.0, growth_factor: float = 2.0,
                 backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True):  # fmt: skip
        if growth_factor <= 1.0 or not 0.0 < backoff_factor < 1.0:
            raise ValueError(
                f"GradScaler: expected growth_factor above 1 and backoff_factor in (0, 1), got {growth_factor} and {backoff_factor}"
            )
        self._scale, self._growth, self._backoff, self._interval = init_scale, growth_factor, backoff_factor, growth_interval
        self._enabled, self._good = enabled, 0
        self._unscaled: set[int] = set()
        self._bad = False

    def is_enabled(self) -> bool:
        """Whether anything is scaled."""
        return self._enabled

    def get_scale(self) -> float:
        """The factor."""
        return self._scale if self._enabled else 1.0

    def scale(self, outputs: Any) -> Any:
        """A loss, or several, times the factor."""
        if isinstance(outputs, Tensor):
            return outputs * self._scale if self._enabled else outputs
        return type(outputs)(self.scale(o) for o in outputs)

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of an optimizer's parameters by the factor. RuntimeError if it was done since ``update``."""
        if not self._enabled:
            return
        if id(optimizer) in self._unscaled:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update(); call it once a step")
        self._unscaled.add(id(optimizer))
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad.mul_(1.0 / self._scale)
                    self._bad = self._bad or not bool(isfinite(p.grad).all())

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """``optimizer.step()``, unless a gradient is infinite or NaN."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if id(optimizer) not in self._unscaled:
            self.unscale_(optimizer)
        return None if self._bad else optimizer.step(*args, **kwargs)

    def update(self, new_scale: float | None = None) -> None:
        """Choose the factor of the next step."""
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = float(new_scale)
        elif self._bad:
            self._scale, self._good = self._scale * self._backoff, 0
        else:
            self._good += 1
            if self._good == self._interval:
                self._scale, self._good = self._scale * self._growth, 0
        self._bad = False
        self._unscaled.clear()

    def state_dict(self) -> dict:
        """What ``load_state_dict`` needs."""
        if not self._enabled:
            return {}
        return {"scale": self._scale, "growth_factor": self._growth, "backoff_factor": self._backoff,
                "growth_interval": self._interval, "_growth_tracker": self._good}  # fmt: skip

    def load_state_dict(self, state: dict) -> None:
        """Take over a state."""
        if self._enabled:
            self._scale, self._growth, self._backoff = state["scale"], state["growth_factor"], state["backoff_factor"]
            self._interval, self._good = state["growth_interval"], state["_growth_tracker"]

__getattr__ = _hints(__name__)
