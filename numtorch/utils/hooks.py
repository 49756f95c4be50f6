"""Handles of registered hooks, under PyTorch's name."""

from ..autograd.hooks import RemovableHandle

__all__ = ["RemovableHandle"]
