"""TorchScript's decorators: numtorch has no TorchScript, so what they mark stays the Python that it is, with the same results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from ..nn.module import Module

__all__ = ["Final", "ScriptFunction", "ScriptModule", "annotate", "export", "ignore", "is_scripting", "is_tracing", "script",
           "script_if_tracing", "script_method", "unused"]  # fmt: skip

F = TypeVar("F")


class ScriptFunction:
    """What PyTorch's ``script`` makes of a function; nothing here is one."""


class ScriptModule(Module):
    """A Module; what ``script`` returns is none, because it returns what it got."""


def script(obj: F, optimize: Any = None, _frames_up: int = 0, _rcb: Any = None, example_inputs: Any = None) -> F:
    """``obj``, a function, module or class, as it is: it runs as Python and gives what TorchScript would.

    To compile it, trace it: ``jit.trace(fn, inputs)`` records any function, control flow included. There is no ``.save`` of
    TorchScript on the result; a trace has one.

    Example:
        >>> import numtorch
        >>> @numtorch.jit.script
        ... def gate(x):
        ...     return x if float(x.sum()) > 0 else -x
        >>> gate(numtorch.ones(2))
        tensor([1., 1.])
    """
    if not callable(obj):
        raise TypeError(f"script(): argument 'obj' must be a function, a Module or a class, not {type(obj).__name__}")
    return obj


def script_method(fn: F) -> F:
    """A method of a ScriptModule, as it is."""
    return fn


def script_if_tracing(fn: F) -> F:
    """A function, as it is."""
    return fn


# What packages use under these names: declarations of one method for several types, of which the last one counts in Python.
_overload = _overload_method = script_method
_script_if_tracing = script_if_tracing


def export(fn: F) -> F:
    """A method, as it is."""
    return fn


def unused(fn: F) -> F:
    """A method, as it is."""
    return fn


def ignore(drop: bool | Callable = False, **kwargs: Any) -> Any:
    """A method, as it is; with or without brackets: ``@ignore``, ``@ignore(drop=True)``."""
    return drop if callable(drop) else unused


def annotate(the_type: Any, the_value: F) -> F:
    """``the_value``."""
    return the_value


def is_scripting() -> bool:
    """False: nothing is compiled to TorchScript."""
    return False


def is_tracing() -> bool:
    """False: numtorch's traces guard the branches that Python took, so programs need not avoid them."""
    return False
