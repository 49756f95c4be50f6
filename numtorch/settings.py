"""PyTorch's switches of the whole process, kept and read back; most choose between what is one and the same here."""

from __future__ import annotations

from typing import Any

from .autograd.mode import state
from .device import default
from .dtype import get_default_dtype

_PRECISIONS = ("highest", "high", "medium")
_state: dict[str, Any] = {"precision": "highest", "deterministic": False, "warn_only": False, "interop": 1, "warn_always": False,
                          "conv_tf32": True, "cached": 0}


def set_float32_matmul_precision(precision: str) -> None:
    """Permit float32 matrix products of less precision: "high" and "medium" let GPUs round the factors to tf32.

    The CPU's stay exact. The same as ``backends.cuda.matmul.allow_tf32``; traces are recorded anew. RuntimeError for other
    words than these and "highest".
    """
    if precision not in _PRECISIONS:
        raise RuntimeError(
            f"set_float32_matmul_precision: expected precision to be one of {', '.join(_PRECISIONS)}, got {precision!r}"
        )
    from ._tensor import replaced

    _state["precision"] = precision
    replaced[0] += 1  # traces look whether they were recorded so


def tf32_permitted() -> bool:
    """Whether a GPU may round the factors of float32 matrix products to tf32."""
    return _state["precision"] != "highest"


def permit_conv_tf32(allowed: bool) -> None:
    """Let GPUs round the factors of float32 convolutions to tf32, or not: ``backends.cudnn.allow_tf32``. Traces are recorded anew."""
    from ._tensor import replaced

    _state["conv_tf32"] = bool(allowed)
    replaced[0] += 1


def conv_tf32_permitted() -> bool:
    """Whether a GPU may round the factors of float32 convolutions to tf32; as in PyTorch it may unless forbidden."""
    return _state["conv_tf32"]


def rounding() -> tuple[bool, bool]:
    """What may be rounded to tf32: (matrix products, convolutions)."""
    return tf32_permitted(), conv_tf32_permitted()


def chosen() -> tuple:
    """What may be rounded, the default dtype and device, what autocast casts to, and whether parametrized tensors are kept.

    Traces hold for one answer.
    """
    casting = state.autocast
    dtypes = casting if casting is None else tuple(casting.dtypes.items())
    return rounding(), get_default_dtype(), default[0], dtypes, _state["cached"] > 0


def cache_parametrized(more: int) -> int:
    """In how many blocks of ``nn.utils.parametrize.cached`` the program is, after it entered (1) or left (-1) one."""
    from ._tensor import replaced

    _state["cached"] += more
    replaced[0] += more != 0
    return _state["cached"]


def get_float32_matmul_precision() -> str:
    """What ``set_float32_matmul_precision`` was last given.

    Example:
        >>> torch.get_float32_matmul_precision()
        'highest'
    """
    return _state["precision"]


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Ask for the same bits each time: on the CPU that is always so, whatever the number of threads."""
    _state["deterministic"], _state["warn_only"] = bool(mode), bool(warn_only)


def are_deterministic_algorithms_enabled() -> bool:
    """What ``use_deterministic_algorithms`` was last given."""
    return _state["deterministic"]


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """The ``warn_only`` that ``use_deterministic_algorithms`` was last given."""
    return _state["deterministic"] and _state["warn_only"]


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """``use_deterministic_algorithms`` by number or word: 0 "default", 1 "warn", 2 "error". RuntimeError for others."""
    modes = {"default": 0, "warn": 1, "error": 2}
    number = modes.get(debug_mode, -1) if isinstance(debug_mode, str) else debug_mode
    if number not in (0, 1, 2):
        raise RuntimeError(f"set_deterministic_debug_mode: expected 0, 1, 2 or one of {', '.join(modes)}, got {debug_mode!r}")
    use_deterministic_algorithms(number > 0, warn_only=number == 1)


def get_deterministic_debug_mode() -> int:
    """0, 1 or 2 as ``set_deterministic_debug_mode`` counts."""
    return 0 if not _state["deterministic"] else 1 if _state["warn_only"] else 2


def set_num_interop_threads(number: int) -> None:
    """Kept only: operations run one after the other, each on all threads of ``set_num_threads``. RuntimeError below 1."""
    if number < 1:
        raise RuntimeError(f"set_num_interop_threads: expected a positive number of threads, got {number}")
    _state["interop"] = int(number)


def get_num_interop_threads() -> int:
    """What ``set_num_interop_threads`` was last given."""
    return _state["interop"]


def set_warn_always(mode: bool) -> None:
    """Kept only: Python's ``warnings.simplefilter`` decides how often a warning is shown."""
    _state["warn_always"] = bool(mode)


def is_warn_always_enabled() -> bool:
    """What ``set_warn_always`` was last given."""
    return _state["warn_always"]


def set_flush_denormal(mode: bool) -> bool:
    """Whether subnormal numbers can be flushed to zero: False, they are computed with."""
    return False


def typename(obj: Any) -> str:
    """The name of an object's type, of a tensor that of its kind.

    Example:
        >>> torch.typename(torch.ones(2))
        'torch.FloatTensor'
    """
    from ._tensor import Tensor

    if isinstance(obj, Tensor):
        return obj.type()
    kind = obj if isinstance(obj, type) or hasattr(obj, "__qualname__") else type(obj)
    module = getattr(kind, "__module__", None)
    return kind.__qualname__ if module in (None, "builtins") else f"{module}.{kind.__qualname__}"
