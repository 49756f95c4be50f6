"""``autograd.graph``: nodes and what is done to saved tensors."""

from .engine import Node
from .saved import save_on_cpu, saved_tensors_hooks

__all__ = ["Node", "save_on_cpu", "saved_tensors_hooks"]
