"""Utilities around training: data loading, hooks, checkpoints; a model's summary and statistics."""

from . import checkpoint, data, hooks
from .describe import Summary, summary
from .statistics import Statistics, watch

__all__ = ["Statistics", "Summary", "checkpoint", "data", "hooks", "summary", "watch"]
