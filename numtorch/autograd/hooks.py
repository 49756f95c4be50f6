"""Handles of registered hooks."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

_ids = itertools.count()


def _changed() -> None:
    """Traces look again at the hooks of what they captured."""
    from .._tensor import replaced

    replaced[0] += 1


class RemovableHandle:
    """Returned when a hook is registered; ``remove()`` takes the hook away, ``with`` does at the end of the block."""

    def __init__(self, hooks: Any, *, extra: Any = ()):
        self.id = next(_ids)
        extra = tuple(extra) if isinstance(extra, (tuple, list)) else (extra,)
        self._hooks = tuple(_reference(h) for h in (hooks, *extra))

    def remove(self) -> None:
        """Take the hook away; a second call does nothing."""
        _changed()
        for reference in self._hooks:
            hooks = reference()
            if hooks is not None:
                hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.remove()


def _reference(hooks: Any) -> Callable[[], Any]:
    """A weak reference; plain dicts take none, and holding them is harmless: they are small and belong to a living graph."""
    return (lambda: hooks) if type(hooks) is dict else weakref.ref(hooks)


def register(hooks: dict, hook: Callable) -> RemovableHandle:
    """Add a hook to a dict of hooks."""
    _changed()
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    return handle


def call_pre_hooks(node: Any, grads: list[Any]) -> list[Any]:
    """The gradients of a node's outputs after the hooks of the outputs and of the node itself."""
    grads = list(grads)
    for number, hooks in node.pre_hooks.items():
        for hook in list(hooks.values()):
            if number < 0:
                changed = hook(tuple(grads))
                if changed is not None:
                    grads = list(changed) if isinstance(changed, (tuple, list)) else [changed]
            elif grads[number] is not None:
                changed = hook(grads[number])
                if changed is not None:
                    grads[number] = changed
    return grads


def call_hooks(node: Any, results: Sequence[Any], grads: list[Any]) -> Sequence[Any]:
    """The gradients of a node's inputs after the node's hooks."""
    for hook in list(node.hooks.values()):
        changed = hook(tuple(results), tuple(grads))
        if changed is not None:
            results = tuple(changed) if isinstance(changed, (tuple, list)) else (changed,)
    return results


def call_post_hooks(leaf: Any) -> None:
    """Tell a leaf's hooks that a pass has added to its gradient."""
    if leaf._post_hooks:
        for hook in list(leaf._post_hooks.values()):
            hook(leaf)
