"""``numtorch.jit.trace``: record what a function does, replay it as one native program. Files in pipeline order:
record (note what runs), path (one recording, its memory made virtual), passes (entries to entries), program (entries to kernel
calls and their memory), bound (guards and effects), trace (the callable).
"""

from . import passes
from .trace import Traced, trace

__all__ = ["Traced", "passes", "trace"]
