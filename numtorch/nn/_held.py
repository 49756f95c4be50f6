"""The dicts of a module's parameters, buffers and submodules: traces look at the module again when one is changed."""

from __future__ import annotations

from typing import Any

from .._tensor import replaced


class Held(dict):
    """A dict that counts its changes where traces see it; also those that somebody makes without the module.

    Example:
        >>> from numtorch import nn
        >>> net = nn.Sequential(nn.ReLU())
        >>> net._modules["0"] = nn.Tanh()  # a trace of the network takes notice
    """

    __slots__ = ()

    def __setitem__(self, key: Any, value: Any) -> None:
        replaced[0] += 1
        dict.__setitem__(self, key, value)

    def __delitem__(self, key: Any) -> None:
        replaced[0] += 1
        dict.__delitem__(self, key)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """As of any dict."""
        replaced[0] += 1
        dict.update(self, *args, **kwargs)

    def __ior__(self, other: Any) -> Held:  # type: ignore[misc,override]
        self.update(other)
        return self

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """As of any dict."""
        replaced[0] += 1
        return dict.setdefault(self, key, default)

    def pop(self, *args: Any) -> Any:
        """As of any dict."""
        replaced[0] += 1
        return dict.pop(self, *args)

    def popitem(self) -> Any:
        """As of any dict."""
        replaced[0] += 1
        return dict.popitem(self)

    def clear(self) -> None:
        """As of any dict."""
        replaced[0] += 1
        dict.clear(self)

    def copy(self) -> Held:
        """As of any dict."""
        return Held(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Held, (dict(self),)
