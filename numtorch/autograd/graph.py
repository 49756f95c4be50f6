"""``autograd.graph``: nodes, what is done to saved tensors, and a picture of it all."""

from .engine import Node
from .picture import AutogradGraph, graph
from .saved import save_on_cpu, saved_tensors_hooks

__all__ = ["AutogradGraph", "Node", "graph", "save_on_cpu", "saved_tensors_hooks"]
