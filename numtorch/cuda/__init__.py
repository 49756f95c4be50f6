"""NVIDIA GPUs: what is there, and waiting for them. Asking costs a few milliseconds and imports no CUDA package."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import sys
from typing import Any

EXTRA = "numtorch[cuda]"


@functools.cache
def _devices() -> tuple[int, str]:
    """(number of usable GPUs, why there is none)."""
    for package in ("numba_cuda", "cuda.core"):
        try:
            missing = importlib.util.find_spec(package) is None
        except ModuleNotFoundError:
            missing = True
        if missing:
            return 0, f"the package {package} is not installed: pip install '{EXTRA}'"
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return 0, f"there is no NVIDIA driver ({name} cannot be loaded)"
    count = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0, "the NVIDIA driver could not be initialised"
    return count.value, "" if count.value else "the driver found no NVIDIA GPU"


def device_count() -> int:
    """The number of GPUs that numtorch can use; 0 without the cuda extra, a driver or a GPU."""
    return _devices()[0]


def is_available() -> bool:
    """Whether tensors can be made with ``device="cuda"``.

    Example:
        >>> import numtorch
        >>> numtorch.cuda.is_available() == (numtorch.cuda.device_count() > 0)
        True
    """
    return device_count() > 0


def require() -> None:
    """RuntimeError, saying why, unless there is a usable GPU."""
    count, reason = _devices()
    if not count:
        raise RuntimeError(f"No CUDA GPUs are available: {reason}; use device='cpu', or check numtorch.cuda.is_available()")


def is_initialized() -> bool:
    """Whether a GPU has been used in this process."""
    return "numtorch.cuda.runtime" in sys.modules


def current_device() -> int:
    """The number of the GPU in use; RuntimeError where there is none."""
    require()
    from . import runtime

    return runtime.current_device()


def synchronize(device: Any = None) -> None:
    """Wait until the GPU has done all that was asked of it; RuntimeError where there is none."""
    require()
    from . import runtime

    runtime.synchronize(device)


def manual_seed(seed: int) -> None:
    """Seed the random numbers of the GPU; without one, nothing."""
    if is_available():
        from .. import random

        random.manual_seed(seed)


manual_seed_all = manual_seed
