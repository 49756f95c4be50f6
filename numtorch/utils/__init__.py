"""Utilities around training: data loading, hooks, checkpoints; a model's summary and statistics."""

from ..absent import hints as _hints
from . import checkpoint, data, hooks, model_zoo
from .describe import Summary, summary
from .statistics import Statistics, watch

__all__ = ["Statistics", "Summary", "checkpoint", "data", "hooks", "model_zoo", "summary", "watch"]

__getattr__ = _hints(__name__)
