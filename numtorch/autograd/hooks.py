"""Handles of registered hooks."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from typing import Any

_ids = itertools.count()


def _changed() -> None:
    """Traces look again at the hooks of what they captured."""
    from .._tensor import replaced

    replaced[0] += 1


class RemovableHandle:
    """Returned when a hook is registered; ``remove()`` takes the hook away, ``with`` does at the end of the block."""

    def __init__(self, hooks: Any, extra: Any = ()):
        self.id = next(_ids)
        # Plain dicts take no weak references; holding them is harmless, they are small and belong to a living graph.
        self._hooks: Callable[[], Any] = weakref.ref(hooks) if _weakable(hooks) else (lambda: hooks)
        self._extra = extra

    def remove(self) -> None:
        """Take the hook away; a second call does nothing."""
        _changed()
        hooks = self._hooks()
        if hooks is not None:
            hooks.pop(self.id, None)
        for other in self._extra if isinstance(self._extra, (list, tuple)) else (self._extra,):
            other.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.remove()


def _weakable(x: Any) -> bool:
    try:
        weakref.ref(x)
    except TypeError:
        return False
    return True


def register(hooks: dict, hook: Callable) -> RemovableHandle:
    """Add a hook to a dict of hooks."""
    _changed()
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    return handle
