"""Utilities around training: data loading, hooks, checkpoints; a model's summary and statistics."""

from ..absent import hints as _hints
from . import checkpoint, data, hooks
from .describe import Summary, summary
from .statistics import Statistics, watch

__all__ = ["Statistics", "Summary", "checkpoint", "data", "hooks", "summary", "watch"]

__getattr__ = _hints(__name__)
