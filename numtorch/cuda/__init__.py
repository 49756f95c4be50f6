"""NVIDIA GPUs, with PyTorch's names. Importing this asks nothing of the driver and imports no CUDA package."""

from __future__ import annotations

from typing import Any

from .detect import device_count, require

_chosen = [0]  # the device that "cuda" means


def is_available() -> bool:
    """Whether tensors can be made with ``device="cuda"``.

    Example:
        >>> import numtorch
        >>> numtorch.cuda.is_available() == (numtorch.cuda.device_count() > 0)
        True
    """
    return device_count() > 0


def is_initialized() -> bool:
    """Whether a GPU has been used in this process."""
    from . import runtime

    return bool(runtime.started())


def init() -> None:
    """Start the GPU now rather than at its first use; raises where there is none."""
    _gpu(None)


def current_device() -> int:
    """The number of the device that "cuda" means; raises where there is no GPU."""
    require()
    return _chosen[0]


def set_device(device: Any) -> None:
    """Choose the device that "cuda" means; RuntimeError for one that is not there."""
    _chosen[0] = _gpu(device).index


def synchronize(device: Any = None) -> None:
    """Wait until the GPU has done all that was asked of it; raises where there is none."""
    _gpu(device).synchronize()


def get_device_name(device: Any = None) -> str:
    """The GPU's name."""
    return _gpu(device).name


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The GPU's compute capability, such as (9, 0)."""
    return _gpu(device).capability


def memory_allocated(device: Any = None) -> int:
    """Bytes held by numtorch's tensors on the GPU."""
    return _gpu(device).allocated if is_available() else 0


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes that numtorch's tensors have held at once."""
    return _gpu(device).peak if is_available() else 0


def reset_peak_memory_stats(device: Any = None) -> None:
    """Count the peak from now on."""
    gpu = _gpu(device)
    gpu.peak = gpu.allocated


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """(free, total) bytes of the GPU."""
    return _gpu(device).free()


def empty_cache() -> None:
    """Give memory that no tensor holds back to the system; without a GPU, nothing."""
    from . import runtime

    for gpu in runtime.started():
        gpu.release()


def manual_seed(seed: int) -> None:
    """Seed the random numbers used on the GPU (the same stream as on the CPU); without a GPU, nothing."""
    if is_available():
        from .. import random

        random.manual_seed(seed)


manual_seed_all = manual_seed


def _gpu(device: Any) -> Any:
    """The GPU that a device, its number or None (the chosen one) names."""
    from ..device import device as Device
    from . import runtime

    require()
    index = None if device is None else device if isinstance(device, int) else Device(device).index
    return runtime.gpu(f"cuda:{_chosen[0] if index is None else index}")


def __getattr__(name: str) -> Any:
    if name == "OutOfMemoryError":
        from .backend import OutOfMemoryError

        return OutOfMemoryError
    raise AttributeError(f"module 'numtorch.cuda' has no attribute {name!r}")


__all__ = ["current_device", "device_count", "empty_cache", "get_device_capability", "get_device_name", "init", "is_available",
           "is_initialized", "manual_seed", "manual_seed_all", "max_memory_allocated", "mem_get_info", "memory_allocated",
           "require", "reset_peak_memory_stats", "set_device", "synchronize"]  # fmt: skip
