"""Which op of a traced backward program made a NaN: its kernels run again one by one, on copies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .._tensor import Tensor
from ..autograd.blame import array_of
from ..ops.declare import empty_like_layout
from ..storage import Storage
from .copied import Copies, runner
from .passes.chains import key_of
from .record import Entry, Ref


class Blamed(NamedTuple):
    """The forward op's name, the user's line of it, and the kernel in whose result the NaN is."""

    op: str
    line: str
    kernel: str


def in_backward(node: Any, grads: Sequence[Any], is_bad: Callable[[np.ndarray], bool]) -> Blamed | None:
    """The first op of a traced node's backward whose result is bad; None if the node can't tell (freed, or on a GPU)."""
    if not node.bound.is_on_cpu or node.freed or node.again is None or node.bound.backward is None:
        return None
    bound, saved = node.bound, node.saved
    memory = Copies(bound, node.again[2])
    for number, storage in zip(bound.saved, saved):
        memory.keep.append(bound.slots.storages[number])
        memory.put(bound.slots.storages[number], storage)
    for r, g in zip(bound.path.given, grads):
        memory.fill([r])
        if g is not None:
            la = r.layout
            target = memory.storages[id(r.storage)].array(la.shape, la.strides, la.dtype.numpy, r.offset)
            target[...] = g._storage.array(g._layout.shape, g._layout.strides, g._layout.dtype.numpy, g._offset)
    ops = bound.backward.ops
    last = {id(op.entry): k for k, op in enumerate(ops)}
    for k, op in enumerate(ops):
        entry, keep = memory.call(op)
        before = _operands(op.entry, memory)
        runner([entry], keep)()
        if k != last[id(op.entry)]:
            continue
        for r in op.entry.outputs:
            if memory.has(r) and r.layout.dtype.is_floating_point and is_bad(memory.values(r)):
                return _forward_of(bound.path.forward, op.entry, _first_bad(op.entry, before, is_bad))
    return None


def _operands(e: Entry, memory: Copies) -> list[np.ndarray]:
    """The values that a fused kernel is about to read, in order; of other entries none."""
    if e.plan is None or len(e.parts) < 2:
        return []
    return [memory.values(r) for r in e.inputs if isinstance(r, Ref) and memory.has(r)]


def _first_bad(e: Entry, values: Sequence[np.ndarray], is_bad: Callable[[np.ndarray], bool]) -> Sequence[Entry]:
    """The part of a fused entry that made the first bad value, found by doing the parts one by one; all where that fails."""
    given = iter(values)
    held: dict[Any, Any] = {}
    for part in e.parts if values else ():
        args, numel = list(part.inputs), part.outputs[0].layout.numel
        for i in part.plan.tensors if part.plan is not None else range(0):
            r = args[i]
            operand = key_of(r, numel)
            if operand not in held:
                held[operand] = next(given, None)
            found = held[operand]
            if found is None or found.size != r.layout.numel:
                return e.parts
            args[i] = _tensor(found, r)
        outputs = [empty_like_layout(r.layout) for r in part.outputs]
        key = ("into", *[r.layout for r in part.outputs], *[a._layout if hasattr(a, "_layout") else type(a) for a in args])
        plan = part.op._plans.get(key)
        if plan is None:
            plan, args = part.op.plan(key, tuple(args), out=[r.layout for r in part.outputs])
        part.op.execute(plan, outputs, args)
        for r, t in zip(part.outputs, outputs):
            held[key_of(r, numel)] = values_made = array_of(t)
            if t._layout.dtype.is_floating_point and is_bad(values_made):
                return (part,)
    return e.parts


def _tensor(values: np.ndarray, r: Ref) -> Tensor:
    """Values as a tensor of the layout that an entry was recorded with."""
    la = r.layout
    storage = Storage(max(1, 1 + sum((n - 1) * s for n, s in zip(la.shape, la.strides))) * la.itemsize)
    storage.array(la.shape, la.strides, la.dtype.numpy, 0)[...] = la.dtype.stored(values).reshape(la.shape)
    return Tensor._make(storage, 0, la)


def _forward_of(forward: Sequence[Entry], e: Entry, parts: Sequence[Entry]) -> Blamed:
    """The recorded forward op that a backward entry belongs to: of the name that its derivative has, and sharing memory."""
    best: tuple[float, Blamed] = (0.0, Blamed(e.name, e.line, e.name))
    for part in parts or (e,):
        read = _storages(part)
        for f in forward:
            named = part.name.startswith(f"{f.name}_")
            shared = len(read & (_storages(f) | {id(r.storage) for r in f.outputs}))
            score = 2 * named + bool(shared) + 0.1 * min(shared, 5) if shared else 0
            if score > best[0]:
                best = (score, Blamed(f.name, f.line, e.name))
    return best[1]


def _storages(e: Entry) -> set[int]:
    return {id(r.storage) for r in e.inputs if isinstance(r, Ref)}


__all__ = ["Blamed", "in_backward"]
