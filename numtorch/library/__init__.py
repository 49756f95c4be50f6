"""Your own ops: scalar functions, reductions and whole kernels, with gradients, on both devices, in traces."""

from __future__ import annotations

from ..absent import hints as _hints
from .battery import OpCheckError, opcheck
from .custom import CustomOp, custom_op
from .elementwise import elementwise
from .inside import KernelView, inspect
from .reduction import reduction

__all__ = ["CustomOp", "KernelView", "OpCheckError", "custom_op", "elementwise", "inspect", "opcheck", "reduction"]

__getattr__ = _hints(__name__)
