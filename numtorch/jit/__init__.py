"""``numtorch.jit.trace``: record what a function does, replay it as one native program. Files in pipeline order:
record (note what runs), path (one recording, its memory made virtual), passes (entries to entries), program (entries to kernel
calls and their memory), bound (guards and effects), trace (the callable). Beside it what shows and keeps a recording: seeing, listing, picture, code,
profile; saving, portable, file, values, stored, loaded; scripting has TorchScript's decorators.
"""

from ..absent import hints as _hints
from . import passes
from .file import TraceFileError
from .freezing import freeze
from .saving import load, save
from .trace import Traced, trace

__all__ = ["TraceFileError", "Traced", "freeze", "load", "passes", "save", "trace"]

_SCRIPTING = frozenset("""Final ScriptFunction ScriptModule annotate export ignore is_scripting is_tracing script script_if_tracing
    script_method unused _overload _overload_method _script_if_tracing""".split())  # fmt: skip
_missing = _hints(__name__)


def __getattr__(name: str) -> object:
    if name in _SCRIPTING:
        from . import scripting

        return getattr(scripting, name)
    return _missing(name)
