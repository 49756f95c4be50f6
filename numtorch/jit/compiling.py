"""``numtorch.compile``: ``trace`` under the name and with the manners of PyTorch's ``torch.compile``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..nn.module import Module
from .trace import Traced


class OptimizedModule(Module):
    """A module whose forward is traced; everything else is the module's, which is ``_orig_mod``."""

    def __init__(self, module: Module):
        super().__init__()
        self._orig_mod = module
        object.__setattr__(self, "_traced", Traced(module, check_trace=False))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._traced(*args, **kwargs)

    def train(self, mode: bool = True) -> OptimizedModule:
        self._orig_mod.train(mode)
        super().train(mode)
        return self

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("_orig_mod"), name)


def compile(model: Callable | None = None, *, fullgraph: bool = False, dynamic: bool | None = None, backend: Any = None,
            mode: str | None = None, options: dict | None = None, disable: bool = False) -> Any:  # fmt: skip
    """Replay a function or a module by ``jit.trace``, which records at the first call of each kind; also as a decorator.

    A module stays one: parameters, ``train()``, ``state_dict()`` (with PyTorch's prefix ``_orig_mod.``). ``disable`` gives back
    what was passed; the other options are accepted: there is one way to compile, with all passes. A function of several
    steps, backward and optimizer included, may be compiled as a whole.

    Example:
        >>> @torch.compile
        ... def area(r):
        ...     return 3.14159 * r * r
        >>> area(torch.tensor([1.0, 2.0]))
        tensor([ 3.1416, 12.5664])
    """
    if model is None:
        return lambda found: compile(found, disable=disable)
    if not callable(model):
        raise TypeError(f"compile: expected a function or a module, got {type(model).__name__}; pass what is to be called")
    if disable:
        return model
    return OptimizedModule(model) if isinstance(model, Module) else Traced(model, check_trace=False)
