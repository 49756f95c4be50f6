"""Your own ops: scalar functions, reductions and whole kernels, with gradients, on both devices, in traces."""

from __future__ import annotations

from .battery import OpCheckError, opcheck
from .elementwise import elementwise

__all__ = ["OpCheckError", "elementwise", "opcheck"]
