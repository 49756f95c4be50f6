"""Ops by a name that means the same in another process: what a saved trace calls them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from ..dtype import dtype
from ..library.known import find, own_name


class UnknownOp(LookupError):
    """No op goes by this name here; the message says what to do."""


def name_of(op: Any) -> list[Any]:
    """The portable name of an op, a list of strings and numbers; UnknownOp if it has none."""
    from ..creation import _fill
    from ..ops import copying
    from ..ops.declare import TABLE
    from ..ops.updates import _rules

    own = own_name(op)
    if own is not None:
        return ["own", *own]
    if TABLE.get(op.name) is op:
        return ["op", op.name, _home(op)]
    if op is copying._write:
        return ["write"]
    if op is _fill:
        return ["fill"]
    if isinstance(op, copying.Cast):
        return ["cast", op.target.name]
    for (rule, count), found in _rules.items():
        if found is op:
            if not rule.__module__.startswith("numtorch.") or "<" in rule.__qualname__:
                raise UnknownOp(f"the update rule {rule.__qualname__} of {rule.__module__} is not numtorch's")
            return ["rule", rule.__module__, rule.__qualname__, count]
    if getattr(op, "parent", None) is not None:
        parent, k = op.parent
        return ["grad", name_of(parent), k]
    raise UnknownOp(
        f"the op {op.name!r} is this program's own and has no name that a file could know it by; make it with"
        " @numtorch.elementwise, @numtorch.reduction or numtorch.library.custom_op"
    )


def _home(op: Any) -> str:
    """The module that declares an op."""
    declared = getattr(op, "body", None) or getattr(op, "meta", None)
    return getattr(declared, "__module__", "") or ""


def op_of(name: Any, given: Mapping[str, Any] | None = None) -> Any:
    """The op of a portable name; UnknownOp if there is none. ``given``: ops of the user's by their names."""
    from ..creation import _fill
    from ..ops import copying
    from ..ops.declare import TABLE

    kind = name[0] if isinstance(name, list) and name else None
    if kind == "op":
        return _declared(TABLE, name)
    if kind == "own":
        try:
            return find(name[1:], given or {})
        except LookupError as error:
            raise UnknownOp(str(error)) from None
    if kind == "write":
        return copying._write
    if kind == "fill":
        return _fill
    if kind == "cast":
        return _cast(name[1])
    if kind == "rule":
        return _rule(*name[1:])
    if kind == "grad":
        parent = op_of(name[1], given)
        parent.grad_uses(name[2])
        derived = parent._grads[name[2]]
        if not isinstance(derived, str):
            return derived
    raise UnknownOp(f"no op is called {name!r} here")


def _declared(table: dict[str, Any], name: list[Any]) -> Any:
    found = table.get(name[1])
    home = name[2]
    if found is not None and _home(found) == home:
        return found
    if home.startswith("numtorch."):
        module = importlib.import_module(home)  # some ops are declared when they are first asked for
        found = table.get(name[1])
        if found is not None and module is not None:
            return found
        raise UnknownOp(f"this numtorch has no op {name[1]!r}")
    raise UnknownOp(f"the op {name[1]!r} is declared by the module {home!r}; import that first")


def _cast(name: str) -> Any:
    import numtorch

    from ..ops import copying

    target = getattr(numtorch, name, None)
    if not isinstance(target, dtype):
        raise UnknownOp(f"no dtype is called {name!r}")
    op = copying._casts.get(target)
    if op is None:
        op = copying._casts[target] = copying.Cast(target)
        op.grad_body = copying._identity
    return op


def _rule(module: str, qualname: str, count: int) -> Any:
    from ..ops.updates import rule_op

    if not module.startswith("numtorch."):
        raise UnknownOp(f"the rule {qualname} of {module} is not numtorch's")
    try:
        rule = getattr(importlib.import_module(module), qualname)
    except (ImportError, AttributeError):
        raise UnknownOp(f"this numtorch has no update rule {module}.{qualname}") from None
    return rule_op(rule, count)
