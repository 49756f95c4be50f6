"""Which accelerator there is, under PyTorch's names (``torch.accelerator``)."""

from __future__ import annotations

from typing import Any

from .device import device


def is_available() -> bool:
    """Whether a GPU can be used."""
    from . import cuda

    return cuda.is_available()


def current_accelerator(check_available: bool = False) -> Any:
    """The accelerator's device, or None without one."""
    return device("cuda") if is_available() else None


def device_count() -> int:
    """How many accelerators there are."""
    from . import cuda

    return cuda.device_count()


def synchronize(device: Any = None) -> None:
    """Wait for the accelerator's work; nothing to wait for without one."""
    if is_available():
        from . import cuda

        cuda.synchronize()
