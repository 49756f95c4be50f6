"""Which op of a traced backward program made a NaN: its kernels run again one by one, on copies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .copied import Copies, runner
from .record import Entry, Ref


class Blamed(NamedTuple):
    """The forward op's name, the user's line of it, and the kernel in whose result the NaN is."""

    op: str
    line: str
    kernel: str


def in_backward(node: Any, grads: Sequence[Any], is_bad: Callable[[np.ndarray], bool]) -> Blamed | None:
    """The first op of a traced node's backward whose result is bad; None if the node can't tell (it was freed)."""
    if node.freed or node.again is None or node.bound.backward is None:
        return None
    bound, (saved, _) = node.bound, node.saved
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
        runner([entry], keep)()
        if k != last[id(op.entry)]:
            continue
        for r in op.entry.outputs:
            if memory.has(r) and r.layout.dtype.is_floating_point and is_bad(memory.values(r)):
                return _forward_of(bound.path.forward, op.entry)
    return None


def _forward_of(forward: Sequence[Entry], e: Entry) -> Blamed:
    """The recorded forward op that a backward entry belongs to: of the name that its derivative has, and sharing memory."""
    best: tuple[float, Blamed] = (0.0, Blamed(e.name, e.line, e.name))
    for part in e.parts or (e,):
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
