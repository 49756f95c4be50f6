"""Automatic mixed precision: ``autocast`` computes products in bfloat16 or float16, ``GradScaler`` keeps small gradients alive.

Inside of ``autocast`` products (linear layers, convolutions, matrix products, recurrent layers, attention) take operands of 16
bits and give such results, losses and what else needs digits takes float32, as PyTorch's lists say (``ops/autocasting.py``).
The CPU's kernels compute in float32 and round: there it saves no time, but a model's numbers are those of mixed precision.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from ._tensor import Tensor, replaced
from .absent import hints as _hints
from .autograd.mode import no_grad, set_autocast, state
from .creation import full, zeros_like
from .dtype import REDUCED, bfloat16, float16, float32, int32
from .dtype import dtype as DType
from .ops.autocasting import Casting
from .ops.elementwise import isfinite, maximum, where

_DEFAULTS = {"cpu": bfloat16, "cuda": float16}  # by type of device, as set_autocast_dtype changes them


def _device_type(name: str, device_type: Any) -> str:
    if device_type not in _DEFAULTS:
        raise RuntimeError(f"{name}: unknown device type {device_type!r}; expected 'cpu' or 'cuda'")
    return device_type


class autocast:
    """A context (or decorator) in which products are computed in a lower precision: bfloat16 on the CPU, float16 on GPUs.

    ``dtype``: bfloat16 or float16; for others a warning, and nothing is cast. ``enabled=False`` ends casting within another
    ``autocast``. ``cache_enabled`` is accepted. RuntimeError for an unknown device type.

    Example:
        >>> import numtorch
        >>> with numtorch.autocast("cpu"):
        ...     y = numtorch.nn.Linear(2, 3)(numtorch.ones(1, 2))
        >>> y.dtype
        numtorch.bfloat16
    """

    def __init__(self, device_type: str = "cuda", dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None):
        self.device_type, self.enabled = _device_type("autocast", device_type), bool(enabled)
        self.dtype = _DEFAULTS[device_type] if dtype is None else dtype
        self._before: list[Any] = []
        if self.enabled and self.dtype not in REDUCED:
            kind = device_type.upper()
            warnings.warn(
                f"In {kind} autocast, but the target dtype is not supported. Disabling autocast.\n{kind} Autocast only supports"
                " dtype of numtorch.bfloat16, numtorch.float16 currently.",
                stacklevel=2,
            )
            self.enabled = False

    def __enter__(self) -> autocast:
        before = state.autocast
        self._before.append(before)
        dtypes = dict(before.dtypes) if before is not None else {}
        dtypes.pop(self.device_type, None)
        if self.enabled:
            dtypes[self.device_type] = self.dtype
        _switch(Casting(dtypes) if dtypes else None)
        return self

    def __exit__(self, *error: Any) -> None:
        """What was on before is on again."""
        _switch(self._before.pop())

    def __call__(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return wrapped


def _switch(casting: Casting | None) -> None:
    set_autocast(casting)
    replaced[0] += 1  # traces look whether they were recorded so


def custom_fwd(fwd: Callable | None = None, *, device_type: str = "cuda", cast_inputs: Any = None) -> Callable:
    """Decorator of a ``Function``'s forward: inside of ``autocast`` floating inputs become ``cast_inputs``, and nothing else is cast.

    Without ``cast_inputs`` it computes under what is on; the backward that ``custom_bwd`` decorates does likewise.
    """
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)
    _device_type("custom_fwd", device_type)

    @functools.wraps(fwd)
    def wrapped(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        on = is_autocast_enabled(device_type)
        ctx._autocast = autocast(device_type, get_autocast_dtype(device_type), enabled=on and cast_inputs is None)
        if not on or cast_inputs is None:
            return fwd(ctx, *args, **kwargs)
        with autocast(device_type, enabled=False):
            return fwd(ctx, *[_cast(a, cast_inputs) for a in args], **{k: _cast(a, cast_inputs) for k, a in kwargs.items()})

    return wrapped


def _cast(x: Any, d: DType) -> Any:
    """A tensor of another floating dtype than float64 in dtype ``d``; anything else as it is."""
    return x.to(d) if isinstance(x, Tensor) and x.is_floating_point() and x.element_size() < 8 else x


def custom_bwd(bwd: Callable | None = None, *, device_type: str = "cuda") -> Callable:
    """Decorator of a ``Function``'s backward: it computes under the ``autocast`` that its forward had."""
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def wrapped(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        with ctx._autocast:
            return bwd(ctx, *args, **kwargs)

    return wrapped


def is_autocast_available(device_type: str) -> bool:
    """Whether ``autocast`` takes this device type."""
    return device_type in _DEFAULTS


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether operations on this type of device are inside of ``autocast``.

    Example:
        >>> import numtorch
        >>> numtorch.is_autocast_enabled("cpu")
        False
    """
    return state.autocast is not None and _device_type("is_autocast_enabled", device_type) in state.autocast.dtypes


is_autocast_cpu_enabled = functools.partial(is_autocast_enabled, "cpu")


def get_autocast_dtype(device_type: str = "cuda") -> DType:
    """The dtype in which ``autocast`` computes products on this type of device, or would.

    Example:
        >>> import numtorch
        >>> numtorch.get_autocast_dtype("cpu")
        numtorch.bfloat16
    """
    found = None if state.autocast is None else state.autocast.dtypes.get(device_type)
    return found or _DEFAULTS[_device_type("get_autocast_dtype", device_type)]


def set_autocast_dtype(device_type: str, dtype: DType) -> None:
    """Make ``autocast`` compute in another dtype where none is given."""
    _DEFAULTS[_device_type("set_autocast_dtype", device_type)] = dtype


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
        self._start, self._growth, self._backoff, self._interval = init_scale, growth_factor, backoff_factor, growth_interval
        self._enabled, self._start_good = enabled, 0
        # In memory, so that a trace of a whole step goes on with them; made where the first loss is.
        self._scale: Tensor | None = None
        self._good: Tensor | None = None
        self._bad: dict[int, Tensor] = {}  # by optimizer: whether a gradient was infinite or NaN

    def _make(self, device: Any) -> Tensor:
        if self._scale is None:
            self._scale = full((), self._start, dtype=float32, device=device)
            self._good = full((), self._start_good, dtype=int32, device=device)
        return self._scale

    def is_enabled(self) -> bool:
        """Whether anything is scaled."""
        return self._enabled

    def get_scale(self) -> float:
        """The factor."""
        if not self._enabled:
            return 1.0
        return self._start if self._scale is None else self._scale.item()

    def scale(self, outputs: Any) -> Any:
        """A loss, or several, times the factor."""
        if isinstance(outputs, Tensor):
            return outputs * self._make(outputs.device) if self._enabled else outputs
        return type(outputs)(self.scale(o) for o in outputs)

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of an optimizer's parameters by the factor. RuntimeError if it was done since ``update``."""
        if not self._enabled:
            return
        if id(optimizer) in self._bad:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update(); call it once a step")
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if any(g.dtype is float16 for g in grads):
            raise ValueError("Attempting to unscale FP16 gradients: keep the parameters in float32, and use autocast")
        scale = self._make(grads[0].device if grads else None)
        with no_grad():
            inverse = scale.double().reciprocal().float()
            bad = zeros_like(scale)
            for g in grads:
                bad = maximum(bad, 1.0 - isfinite(g).all().float())
                g.mul_(inverse)
        self._bad[id(optimizer)] = bad

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """``optimizer.step()``, unless one of its gradients is infinite or NaN."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if id(optimizer) not in self._bad:
            self.unscale_(optimizer)
        return None if self._bad[id(optimizer)].item() else optimizer.step(*args, **kwargs)

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Choose the factor of the next step. AssertionError if no gradients were looked at since the last time."""
        if not self._enabled:
            return
        scale = self._make(None)
        assert self._good is not None
        with no_grad():
            if isinstance(new_scale, Tensor):
                scale.copy_(new_scale)
            elif new_scale is not None:
                scale.fill_(new_scale)
            else:
                if not self._bad:
                    raise AssertionError("No inf checks were recorded prior to update; call step() or unscale_() first")
                found = functools.reduce(maximum, self._bad.values()) > 0.0
                grown = self._good + 1 >= self._interval
                more = where(isfinite(scale * self._growth), scale * self._growth, scale)
                scale.copy_(where(found, scale * self._backoff, where(grown, more, scale)))
                self._good.copy_(where(found | grown, zeros_like(self._good), self._good + 1))
        self._bad.clear()

    def state_dict(self) -> dict:
        """What ``load_state_dict`` needs."""
        if not self._enabled:
            return {}
        good = self._start_good if self._good is None else int(self._good.item())
        return {"scale": self.get_scale(), "growth_factor": self._growth, "backoff_factor": self._backoff,
                "growth_interval": self._interval, "_growth_tracker": good}  # fmt: skip

    def load_state_dict(self, state: dict) -> None:
        """Take over a state."""
        if not self._enabled:
            return
        self._start, self._growth, self._backoff = state["scale"], state["growth_factor"], state["backoff_factor"]
        self._interval, self._start_good = state["growth_interval"], state["_growth_tracker"]
        if self._scale is not None and self._good is not None:
            self._scale.fill_(self._start)
            self._good.fill_(self._start_good)

__getattr__ = _hints(__name__)
