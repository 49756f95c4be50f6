"""What ``torch.version`` tells: this version, and that no CUDA or ROCm toolkit was built in (numtorch compiles when it runs)."""

from __future__ import annotations

from . import __version__

cuda: str | None = None
hip: str | None = None
xpu: str | None = None
debug = False

__all__ = ["__version__", "cuda", "debug", "hip", "xpu"]
