"""Is there a GPU to run on? Answered in a few milliseconds, importing neither CUDA nor the compiler."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import sys
from typing import Any

_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def _has(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package that would hold it is absent
        return False


def has_packages() -> bool:
    """Whether the extra `cuda` is installed."""
    return _has("numba_cuda") and _has("cuda.core")


@functools.cache
def _driver() -> Any:
    """The driver's library, initialised; None without one."""
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return None
    return driver if driver.cuInit(0) == 0 else None


@functools.cache
def device_count() -> int:
    """How many GPUs numtorch can use: 0 without the extra `cuda`, without a driver, or without a GPU.

    Example:
        >>> import numtorch
        >>> numtorch.cuda.device_count() >= 0
        True
    """
    if not has_packages():
        return 0
    driver, count = _driver(), ctypes.c_int()
    if driver is None or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def require() -> None:
    """Raise what PyTorch raises where CUDA cannot be used: AssertionError without the packages, else RuntimeError."""
    if device_count() > 0:
        return
    if not has_packages():
        raise AssertionError(
            "Torch not compiled with CUDA enabled: pip install 'numtorch[cuda]', or use device='cpu'."
        )
    if _driver() is None:
        raise RuntimeError(
            "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver"
            " from https://www.nvidia.com/Download/index.aspx, or use device='cpu'."
        )
    raise RuntimeError("No CUDA GPUs are available; use device='cpu'.")
