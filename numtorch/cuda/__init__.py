"""NVIDIA GPUs, with PyTorch's names. Importing this asks nothing of the driver and imports no CUDA package."""

from __future__ import annotations

from typing import Any

from .detect import device_count, require
from .streams import (
    Event,
    Stream,
    StreamContext,
    current_stream,
    default_stream,
    set_stream,
    stream,
)

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
    gpu_of(None)


def current_device() -> int:
    """The number of the device that "cuda" means; raises where there is no GPU."""
    require()
    return _chosen[0]


def set_device(device: Any) -> None:
    """Choose the device that "cuda" means; RuntimeError for one that is not there."""
    _chosen[0] = gpu_of(device).index


class device:
    """Context manager: the device that "cuda" means inside."""

    def __init__(self, device: Any):
        self.index = device if isinstance(device, int) else gpu_of(device).index

    def __enter__(self) -> None:
        self._before = _chosen[0]
        if self.index >= 0:
            set_device(self.index)

    def __exit__(self, *exc: Any) -> None:
        _chosen[0] = self._before


def synchronize(device: Any = None) -> None:
    """Wait until the GPU has done all that was asked of it, on all streams; raises where there is none."""
    gpu_of(device).finish()


def get_device_name(device: Any = None) -> str:
    """The GPU's name."""
    return gpu_of(device).name


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The GPU's compute capability, such as (9, 0)."""
    return gpu_of(device).capability


def get_device_properties(device: Any = None) -> Any:
    """What the driver says of a GPU: ``name``, ``major``, ``minor``, ``total_memory`` (bytes), ``multi_processor_count``, ..."""
    from types import SimpleNamespace

    return SimpleNamespace(**gpu_of(device).properties)


def is_bf16_supported() -> bool:
    """Whether the tensor cores of the GPU know bfloat16."""
    return is_available() and get_device_capability() >= (8, 0)


def memory_allocated(device: Any = None) -> int:
    """Bytes held by numtorch's tensors on the GPU."""
    return gpu_of(device).allocated if is_available() else 0


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes that numtorch's tensors have held at once."""
    return gpu_of(device).peak if is_available() else 0


def memory_reserved(device: Any = None) -> int:
    """Bytes that the pool holds: tensors' memory and blocks kept for reuse."""
    return gpu_of(device).reserved()[0] if is_available() else 0


def max_memory_reserved(device: Any = None) -> int:
    """The most bytes that the pool has held."""
    return gpu_of(device).reserved()[1] if is_available() else 0


def memory_stats(device: Any = None) -> dict[str, int]:
    """The figures of ``memory_allocated`` and ``memory_reserved`` by PyTorch's names."""
    if not is_available():
        return {}
    gpu, (now, most) = gpu_of(device), gpu_of(device).reserved()
    return {
        "allocated_bytes.all.current": gpu.allocated, "allocated_bytes.all.peak": gpu.peak,
        "reserved_bytes.all.current": now, "reserved_bytes.all.peak": most,
    }  # fmt: skip


def reset_peak_memory_stats(device: Any = None) -> None:
    """Count the peaks from now on."""
    gpu_of(device).reset_peak()


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """(free, total) bytes of the GPU."""
    return gpu_of(device).free()


def empty_cache() -> None:
    """Give memory that no tensor holds back to the system; without a GPU, nothing."""
    from . import runtime

    for gpu in runtime.started():
        gpu.release()
    if runtime.started():
        from . import pinned

        pinned.release()


def manual_seed(seed: int) -> None:
    """Seed the random numbers of the current GPU (equal to the CPU's of that seed); without a GPU, nothing."""
    if is_available():
        _generator(None).manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    """Seed the random numbers of all GPUs; without a GPU, nothing."""
    for index in range(device_count()):
        _generator(index).manual_seed(seed)


def seed() -> None:
    """Seed the current GPU's random numbers from the operating system; without a GPU, nothing."""
    if is_available():
        _generator(None).seed()


def initial_seed() -> int:
    """The seed of the current GPU's random numbers."""
    return _generator(None).initial_seed()


def get_rng_state(device: Any = "cuda") -> Any:
    """The state of a GPU's random numbers, as a uint8 tensor on the CPU."""
    return _generator(device).get_state()


def set_rng_state(new_state: Any, device: Any = "cuda") -> None:
    """Give a GPU's random numbers a state from ``get_rng_state``."""
    _generator(device).set_state(new_state.cpu())


def _generator(device: Any) -> Any:
    from ..random import default_of

    return default_of(f"cuda:{gpu_of(device).index}")


def gpu_of(device: Any) -> Any:
    """The GPU that a device, its number or None (the chosen one) names."""
    from ..device import device as Device
    from . import runtime

    require()
    index = None if device is None else device if isinstance(device, int) else Device(device).index
    return runtime.gpu(f"cuda:{_chosen[0] if index is None else index}")


def __getattr__(name: str) -> Any:
    if name == "amp":
        import importlib

        return importlib.import_module(f"{__name__}.amp")
    if name == "OutOfMemoryError":
        from .backend import OutOfMemoryError

        return OutOfMemoryError
    from ..absent import error

    raise error(__name__, name, __all__)


__all__ = ["Event", "Stream", "StreamContext", "current_device", "current_stream", "default_stream", "device", "device_count",
           "empty_cache", "get_device_capability", "get_device_name", "get_device_properties", "get_rng_state", "gpu_of", "init",
           "initial_seed", "is_available",
           "is_bf16_supported", "is_initialized", "manual_seed", "manual_seed_all", "max_memory_allocated",
           "max_memory_reserved", "mem_get_info", "memory_allocated", "memory_reserved", "memory_stats", "require",
           "reset_peak_memory_stats", "seed", "set_device", "set_rng_state", "set_stream", "stream", "synchronize"]  # fmt: skip
