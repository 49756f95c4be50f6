"""Utilities around training: data loading and hooks."""

from . import checkpoint, data, hooks

__all__ = ["checkpoint", "data", "hooks"]
