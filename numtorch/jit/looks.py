"""What a path depends on of hooks, tensors, modules and optimizers: looked at when something was set somewhere."""

from __future__ import annotations

import functools
import types
from typing import Any

from .._tensor import Tensor
from .tree import PLAIN


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
    plain = tuple([(k, type(v), repr(v) if type(v) in _BY_BITS else v) for k, v in m.__dict__.items() if isinstance(v, PLAIN)])
    plain += tuple([(k, _Same(v)) for k, v in m.__dict__.items() if isinstance(v, _FIXED)])
    hooks = tuple([tuple(v) for k, v in m.__dict__.items() if k.endswith("hooks") and k not in _STATE_HOOKS])
    return _Same(type(m)), tensors, plain, tuple(map(id, m._modules.values())), hooks


_STATE_HOOKS = ("_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks")
_BY_BITS = (float, complex)  # 0.0 equals -0.0
_FIXED = (tuple, types.FunctionType, types.MethodType, types.BuiltinFunctionType, functools.partial, type)


class _Same:
    """Equal to what holds the same object, whatever that thinks of equality."""

    __slots__ = ("held",)

    def __init__(self, held: Any):
        self.held = held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.held is self.held

    __hash__ = None  # type: ignore[assignment]


def state_of(o: Any) -> tuple:
    """Which tensors an optimizer works on, and what of its options a trace depends on."""
    groups = tuple(id(p) for g in o.param_groups for p in g["params"])
    held = tuple(
        id(v) for s in o.state.values() if isinstance(s, dict) for v in s.values() if isinstance(v, Tensor)
    )
    return groups, held, o._looks()
