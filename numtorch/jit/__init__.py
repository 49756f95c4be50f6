"""``numtorch.jit.trace``: record what a function does, replay it as one native program. Files in pipeline order:
record (note what runs), path (one recording, its memory made virtual), passes (entries to entries), program (entries to kernel
calls and their memory), bound (guards and effects), trace (the callable). Beside it what shows and keeps a recording: seeing, listing, picture, code,
profile; saving, portable, file, values, stored, loaded.
"""

from ..absent import hints as _hints
from . import passes
from .file import TraceFileError
from .freezing import freeze
from .saving import load, save
from .trace import Traced, trace

__all__ = ["TraceFileError", "Traced", "freeze", "load", "passes", "save", "trace"]

__getattr__ = _hints(__name__)
