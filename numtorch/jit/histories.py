"""The part of a native call's table that gives results a history: what ``kernels/fresh.py`` makes a node of."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .._tensor import Tensor
from ..autograd.engine import Node, next_seq
from ..dtype import float32
from ..shape import contiguous
from ..storage import Storage
from .arguments import NotDirect
from .nodes import TracedNode


@functools.cache
def fields() -> list[int]:
    """Where native code finds the fields of tensors, memory and nodes, and what it makes them with."""
    from ..kernels import caller

    t = Tensor._make(Storage(1), 0, contiguous((), float32))
    example = TracedNode(None, (), 0, (), None)
    return caller.field_words(t, t._storage) + caller.making_words(t._storage, example, (Storage, Tensor, TracedNode), next_seq)


class History:
    """The words for the node and the results with gradients of one bound path.

    ``places``: of each fresh slot of the program its place in the table; ``numbers``: of each tensor argument its place
    among the arguments of a call.
    """

    def __init__(self, bound: Any, function: Any, numbers: list[int]):
        from ..kernels import fresh as C
        from ..kernels.threads import aligned_words

        self.bound, self.path, self.numbers = bound, bound.path, numbers
        self.keep: list[Any] = []
        self.words = aligned_words(C.HISTORY_WORDS)
        self._check_results()
        self.fresh = list(dict.fromkeys([*[bound.out_slots[k] for k in self.path.differentiable], *bound.saved]))
        self.stock: list[Any] = [None] * len(self.fresh)
        self._write_edges(C)
        self._write_kept(C)
        self._write_results(C)
        self._write_objects(C, function)

    def _check_results(self) -> None:
        bound, path = self.bound, self.path
        if bound.looks is not None or any(key in bound.slots.index for key in path.written):
            raise NotDirect("gradients through the trace while anomalies are looked for, or through arguments that it changes")
        for k in path.differentiable:
            o = path.outputs[k]
            if o.same is not None or o.grad >= 0 or o.is_constant or bound.out_slots[k] < bound.count_inputs:
                raise NotDirect("results with gradients that are no memory of their own")
        if len({bound.out_slots[k] for k in path.differentiable}) < len(path.differentiable):
            raise NotDirect("results with gradients that share memory")

    def _section(self, at: int, rows: list[Any]) -> None:
        words = np.array(rows, np.int64) if rows else np.zeros(1, np.int64)
        self.words[at], self.words[at + 1] = len(rows), words.ctypes.data
        self.keep.append(words)

    def _write_edges(self, C: Any) -> None:
        """Captured leaves are edges of all nodes; those of arguments are looked up at each call."""
        path = self.path
        captured = [None if type(x) is tuple else x for x in path.leaves]
        if any(t is not None and (t._base is not None or t._node is not None) for t in captured):
            raise NotDirect("gradients of captured views")
        template = Node(captured)
        self.metas = [path.inputs[x[1]].layout if type(x) is tuple else m for x, m in zip(path.leaves, template.metas)]
        self.edges = template.edges
        self._section(C.INPUT_EDGES, [[k, self.numbers[x[1]]] for k, x in enumerate(path.leaves) if type(x) is tuple])
        if any(path.classes[x[1]].__getattribute__ is not object.__getattribute__ for x in path.leaves if type(x) is tuple):
            raise NotDirect("gradients of arguments whose class looks up attributes in its own way")
        self.words[C.EDGE_COUNT] = len(self.edges)

    def _write_kept(self, C: Any) -> None:
        bound, path, back = self.bound, self.path, self.bound.way_back
        self._section(C.KEPT, [self.fresh.index(slot) for slot in bound.saved])
        self._section(C.LEAVES, self.numbers)
        watched = [[C.ARGUMENT_MEMORY, self.numbers[k]] for k in back.read_inputs]
        watched += [[C.FIXED_MEMORY, id(s)] for s, _ in back.read_captured]
        for k in back.read_outputs:
            if bound.out_slots[k] not in self.fresh:
                raise NotDirect("a backward that reads results without gradients")
            watched.append([C.FRESH_RESULT, self.fresh.index(bound.out_slots[k])])
        self._section(C.WATCHED, watched)
        self._section(C.CHANGED, [[id(s), s.ptr, s.nbytes] for s in path.written.values()])

    def _write_results(self, C: Any) -> None:
        rows = []
        for number, k in enumerate(self.path.differentiable):
            r = self.path.outputs[k].ref
            self.keep.append((number, offset := r.offset))
            rows.append([self.fresh.index(self.bound.out_slots[k]), id(offset), id(r.layout), id(self.keep[-1][0])])
        self._section(C.RESULTS, rows)

    def _write_objects(self, C: Any, function: Any) -> None:
        made = np.zeros(len(self.path.differentiable), np.int64)
        self.out_metas = [self.path.outputs[k].ref.layout for k in self.path.differentiable]
        self.keep.append((made, function))
        words = self.words
        words[C.MADE], words[C.THE_BOUND], words[C.THE_FUNCTION] = made.ctypes.data, id(self.bound), id(function)
        words[C.THE_METAS], words[C.THE_OUT_METAS] = id(self.metas), id(self.out_metas)
        words[C.THE_EDGES] = id(self.edges)

    def rows(self, first: int) -> list[list[int]]:
        """The records of the fresh memory, whose places in the table begin at ``first``."""
        sizes = [self.bound.slots.storages[slot].nbytes for slot in self.fresh]
        self.keep.append(sizes)
        return [[first + i, n, id(n)] for i, n in enumerate(sizes)]

    def refresh(self, structure: Any) -> None:
        """Calls have this structure now."""
        from ..kernels import fresh as C

        self.structure = structure
        self.words[C.THE_STRUCTURE] = id(structure)
