"""Parameter groups: dicts that know when an option changes, for traces and for what is derived from the
options."""

from __future__ import annotations

from typing import Any

from .._tensor import Tensor, replaced
from ..autograd.mode import state as mode

_PLAIN = (bool, int, float, str, type(None))


class Group(dict):
    """A parameter group.

    ``version`` counts changes. ``live`` says that a trace reads the options' numbers anew at each replay:
    then only a change that may choose other code (a flag, a number that becomes zero or ceases to be) makes
    traces look again at the optimizer; otherwise every change does.
    """

    __slots__ = ("live", "numbers", "version")

    def __init__(self, options: dict[str, Any], live: bool = False):
        super().__init__(options)
        self.live, self.version = live, 0
        self.numbers: Any = None

    def __setitem__(self, key: Any, value: Any) -> None:
        self.version += 1
        if mode.recorder is not None:
            mode.recorder.option(self, key)
        if _look(self.get(key), self.live) != _look(value, self.live):
            replaced[0] += 1
        super().__setitem__(key, value)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """As of any dict."""
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """As of any dict."""
        if key not in self:
            self[key] = default
        return self[key]

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(key)
        self._less()

    def pop(self, *args: Any) -> Any:
        """As of any dict."""
        value = super().pop(*args)
        self._less()
        return value

    def popitem(self) -> tuple[Any, Any]:
        """As of any dict."""
        item = super().popitem()
        self._less()
        return item

    def clear(self) -> None:
        """As of any dict."""
        super().clear()
        self._less()

    def _less(self) -> None:
        self.version += 1
        replaced[0] += 1

    def __ior__(self, other: Any) -> Group:  # type: ignore[misc,override]
        self.update(other)
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Group, (dict(self), self.live)

    def look(self) -> tuple:
        """What a trace of a step with this group depends on."""
        return id(self), tuple([(k, _look(v, self.live)) for k, v in self.items() if k != "params"])


def _look(value: Any, live: bool) -> Any:
    """What of an option a trace depends on; tensors are read when they are used."""
    if isinstance(value, Tensor):
        return Tensor
    if isinstance(value, tuple):
        return tuple([_look(v, live) for v in value])
    if not isinstance(value, _PLAIN):
        return id(value)
    return bool(value) if live and not isinstance(value, str) else value
