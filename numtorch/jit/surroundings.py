"""What a traced function takes from around it: its closure's variables and its globals, and those of functions among them.

Tensors, numbers, modules, optimizers and functions found there belong to a path: bound to something else, they make another.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from .._source import is_internal
from .._tensor import Tensor

_PLAIN = (bool, int, float, str, bytes, type(None))
_MOST = 256  # functions looked into


class Name(NamedTuple):
    """A variable: ``place`` is a closure's cell (``key`` is None) or a module's dict."""

    place: Any
    key: Any
    value: Any

    def holds(self) -> bool:
        """Whether the variable has the value still."""
        now = _look(self.place, self.key)
        return now is self.value or (type(now) in _PLAIN and type(now) is type(self.value) and now == self.value)


_MISSING = object()


def _look(place: Any, key: Any) -> Any:
    if key is not None:
        return place.get(key, _MISSING)
    try:
        return place.cell_contents
    except ValueError:  # the variable was deleted, or not set yet
        return _MISSING


def _matters(value: Any) -> bool:
    """Whether a path may depend on a value as such: not classes, libraries, containers."""
    from ..nn.module import Module
    from ..optim.optimizer import Optimizer

    return type(value) in _PLAIN or isinstance(
        value, (Tensor, Module, Optimizer, types.FunctionType, types.MethodType, functools.partial)
    )


def _functions(value: Any) -> Iterable[types.FunctionType]:
    """The Python functions that calling a value runs at first."""
    from ..nn.module import Module

    if isinstance(value, functools.partial):
        return _functions(value.func)
    if isinstance(value, types.MethodType):
        return _functions(value.__func__)
    if isinstance(value, types.FunctionType):
        wrapped = getattr(value, "__wrapped__", None)
        return (value, *(_functions(wrapped) if wrapped is not None else ()))
    if isinstance(value, Module):
        found = [type(m).forward for m in value.modules()]
        return [f for f in found if isinstance(f, types.FunctionType)]
    call = vars(type(value)).get("__call__")
    return (call,) if isinstance(call, types.FunctionType) else ()


def surroundings(function: Callable) -> list[Name]:
    """The variables that a function of the user's depends on."""
    names: dict[tuple, Name] = {}
    waiting, seen = list(_functions(function)), set()
    while waiting and len(seen) < _MOST:
        f = waiting.pop()
        if f in seen or is_internal(f.__code__.co_filename):
            continue
        seen.add(f)
        places = [(cell, None) for cell in f.__closure__ or ()]
        places += [(f.__globals__, name) for name in _global_names(f.__code__) if name in f.__globals__]
        for place, key in places:
            value = _look(place, key)
            if value is not _MISSING and _matters(value):
                names[id(place), key] = Name(place, key, value)
                waiting += _functions(value)
    return list(names.values())


def _global_names(code: types.CodeType) -> Iterable[str]:
    """Names that code and the functions inside it may look up globally."""
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return dict.fromkeys([*code.co_names, *[name for c in inner for name in _global_names(c)]])


# -- what a path depends on of hooks, tensors, modules and optimizers: looked at when something was set somewhere


def global_hooks() -> tuple:
    """The hooks that all modules and all optimizers have in common."""
    from ..nn._hooks import all_hooks
    from ..optim.optimizer import _global_post_hooks, _global_pre_hooks

    return all_hooks(), tuple(_global_pre_hooks), tuple(_global_post_hooks)


def flags_of(t: Any) -> tuple:
    """What of a captured tensor, besides its memory, a trace depends on."""
    return t._rg, id(t._node), tuple(t._hooks or ()), tuple(t._post_hooks or ())


def looks_of(m: Any) -> tuple:
    """What a module's computation may depend on: its tensors, its mode, and its plain attributes."""
    tensors = tuple([id(p) for p in m._parameters.values()] + [id(b) for b in m._buffers.values()])
    plain = tuple([(k, v) for k, v in m.__dict__.items() if isinstance(v, _SIMPLE)])
    hooks = tuple([tuple(v) for k, v in m.__dict__.items() if k.endswith("hooks") and k not in _STATE_HOOKS])
    return tensors, plain, tuple(map(id, m._modules.values())), hooks


_STATE_HOOKS = ("_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks")
_SIMPLE = (bool, int, float, str, type(None))


def state_of(o: Any) -> tuple:
    """Which tensors an optimizer works on, and what of its options a trace depends on."""
    groups = tuple(id(p) for g in o.param_groups for p in g["params"])
    held = tuple(
        id(v) for s in o.state.values() if isinstance(s, dict) for v in s.values() if isinstance(v, Tensor)
    )
    return groups, held, o._looks()
