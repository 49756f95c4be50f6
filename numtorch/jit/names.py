"""Names for the memory of a recorded path: arguments, parameters by their place in the module, optimizer state, results."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from typing import Any

from .path import Path, Virtual
from .record import RangeCheck, Ref


def roots(path: Path) -> list[Any]:
    """The modules called during the recording that are no part of another one that was."""
    called = list(path.recorder.modules.values())
    inner = {id(m) for outer in called for m in outer.modules() if m is not outer}
    return [m for m in called if id(m) not in inner]


def module_tensors(path: Path) -> Iterator[tuple[str, Any]]:
    """(name, tensor) of the parameters and buffers of the modules that were called."""
    found = roots(path)
    for k, root in enumerate(found):
        prefix = "" if len(found) == 1 else f"module{k}."
        for name, t in (*root.named_parameters(), *root.named_buffers()):
            yield prefix + name, t


def optimizer_tensors(path: Path, known: dict[int, str]) -> Iterator[tuple[str, Any]]:
    """(name, tensor) of what the optimizers work on and keep: ``exp_avg of 0.weight``."""
    count = 0
    for o in path.recorder.optimizers.values():
        for group in o.param_groups:
            for p in group["params"]:
                label = known.get(id(p._storage)) or f"param{count}"
                count += 1
                yield label, p
                held = o.state.get(p, {})
                for key, value in held.items() if isinstance(held, dict) else ():
                    if hasattr(value, "_layout"):
                        yield f"{key} of {label}", value


def captured_names(path: Path) -> dict[int, str]:
    """Names of captured memory by the storage's id."""
    from ..random import default_generator

    found: dict[int, str] = {id(default_generator._state._storage): "rng", **path.recorder.labels}
    for name, t in module_tensors(path):
        found.setdefault(id(t._storage), name)
    for name, t in optimizer_tensors(path, found):
        found.setdefault(id(t._storage), name)
    for t, storage, _, _ in path.captured:
        g = t._grad
        if g is not None and id(storage) in found:
            found.setdefault(id(g._storage), f"grad of {found[id(storage)]}")
    return found


def all_refs(path: Path) -> Iterator[Ref]:
    """Every place in memory that a path mentions, in order."""

    def within(x: Any) -> Iterator[Ref]:
        if isinstance(x, Ref):
            yield x
        elif isinstance(x, (tuple, list)):
            for y in x:
                yield from within(y)

    yield from path.inputs
    for e in (*path.forward, *path.backward):
        yield from within(e.args)
        yield from within(list(e.attrs.values()))
        yield from e.outputs
    yield from (o.ref for o in path.outputs)
    yield from (g for _, g, _ in path.grads if g is not None)
    yield from (g for g in path.leaf_grads if g is not None)
    yield from path.given
    yield from (g.source for g in path.guards)


class Names:
    """A name for each storage: ``input0``, ``0.weight``, ``const0``, ``%3``."""

    def __init__(self, path: Path):
        self._known: dict[int, str] = {}
        self.captured: dict[str, Any] = {}  # name -> storage, those that are used
        labels = captured_names(path)
        for k, r in enumerate(path.inputs):
            self._known.setdefault(id(r.storage), f"input{k}")
        for k, r in enumerate(path.given):
            self._known.setdefault(id(r.storage), f"gradient{k}")
        constants = locals_ = 0
        for r in all_refs(path):
            key = id(r.storage)
            if key in self._known:
                continue
            if type(r.storage) is Virtual:
                self._known[key] = f"%{locals_}"
                locals_ += 1
                continue
            name = labels.get(key)
            if name is None or name in self.captured:
                name, constants = f"const{constants}", constants + 1
            self._known[key] = name
            self.captured[name] = r.storage

    def of(self, r: Ref) -> str:
        """The name of the memory behind a tensor."""
        return self._known.get(id(r.storage), "?")

    def typed(self, r: Ref) -> str:
        """``name: float32[2, 3]``."""
        return f"{self.of(r)}: {described(r.layout)}"


def described(la: Any) -> str:
    """``float32[2, 3]``, with the strides where they are not row-major."""
    where = "" if la.contiguous else f" strides {list(la.strides)}"
    return f"{la.dtype.name}{list(la.shape)}{where}"


def identifier(name: str) -> str:
    """A name as a Python identifier.

    >>> identifier("0.weight"), identifier("%3")
    ('_0_weight', 'v3')
    """
    if name.startswith("%"):
        return f"v{name[1:]}"
    safe = re.sub(r"\W", "_", name)
    if keyword.iskeyword(safe):
        return f"{safe}_"
    return f"_{safe}" if safe[:1].isdigit() else safe


def guard_text(value: Any) -> str:
    """What a guard asks of the value it looks at."""
    if isinstance(value, RangeCheck):
        return f"between {value.low} and {value.high}"
    return f"the {len(value)} bytes recorded" if isinstance(value, bytes) else f"== {value!r}"
