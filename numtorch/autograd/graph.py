"""``autograd.graph``: nodes, what is done to saved tensors, and a picture of it all."""

from typing import TYPE_CHECKING, Any

from .engine import Node
from .saved import save_on_cpu, saved_tensors_hooks

if TYPE_CHECKING:
    from .picture import AutogradGraph, graph

__all__ = ["AutogradGraph", "Node", "graph", "save_on_cpu", "saved_tensors_hooks"]


def __getattr__(name: str) -> Any:
    """The picture, imported when it is first asked for: most programs draw none."""
    if name in ("AutogradGraph", "graph"):
        from . import picture

        return getattr(picture, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
