"""Tables for native calls: what ``kernels/caller.py`` needs to know of a bound path to replay it without any Python.

Tables are made for calls with tensors and constants, also in containers, whose results are fresh tensors, arguments or
objects that existed before. Other calls, and those for which a table does not fit, are answered by ``Bound.run``.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from .._tensor import Tensor, replaced
from ..autograd.mode import state
from ..storage import INFERENCE, SMALL, Storage
from . import tree
from .arguments import NotDirect, Things
from .building import builder
from .histories import History
from .nodes import FreedNode
from .places import NotNative
from .record import RangeCheck

_BYTES_HEAD = bytes.__basicsize__ - 1  # where the content of a bytes object starts
_MODES = ("grad", "inference", "watched")
_WATCHED = ("recorder", "interpreter", "anomaly")  # what else must be as it was for tables of watched paths


def result_kind(result: Any, count: int) -> tuple[int, Any]:
    """How the outputs become the result, and what puts it together from a tuple of them."""
    from ..kernels import tables as C

    if type(result) is tree.Leaf:
        return C.AS_ONE, None
    if result == ("value", None):
        return C.AS_NONE, None
    if result[0] is tuple and [getattr(s, "index", -1) for s in result[1]] == list(range(count)):
        return C.AS_TUPLE, None
    return C.AS_TUPLE, builder(result)


class Ring:
    """The objects that carry one result in turn: tensors, their attributes and their memory."""

    def __init__(self, r: Any, nbytes: int, node: Any, holder: Any):
        self.ref, self.nbytes, self.node, self.holder = r, nbytes, node, holder
        self.entries: list[tuple[Tensor, dict, Storage]] = []

    def fill(self, count: int) -> None:
        """The first objects: of large ones a single one, in all places; ``repair`` makes others when that is in use."""
        made = self.make()
        self.entries = [made] * count if self.nbytes > SMALL else [made, *[self.make() for _ in range(count - 1)]]

    def make(self) -> tuple[Tensor, dict, Storage]:
        """A new object in new memory."""
        storage = Storage(self.nbytes)
        if state.inference:
            storage.version = INFERENCE
        t = Tensor._make(storage, self.ref.offset, self.ref.layout)
        if self.node is not None:
            t._node, t._rg = self.node, True
        return t, t.__dict__, storage


class Direct:
    """The table of one bound path for calls of one structure in the modes of now."""

    def __init__(self, bound: Any, structure: Any, function: Any):
        from ..kernels import tables as C
        from ..kernels.threads import aligned_words

        self.bound, self.structure = bound, structure
        path = bound.path
        if any(bound.aliases) or bound.undo_in_slots():
            raise NotDirect("aliases, or arguments that are restored")
        self.args = Things(structure)
        self.leaves = self.args.leaves()
        if max(len(self.args), len(path.outputs)) > C.MOST_ARGS:
            raise NotDirect("many arguments or results")
        self.table = aligned_words(C.TABLE_WORDS)
        self.keep: list[Any] = []
        self.rings: list[Ring] = []
        self.table[C.RESULT], build = result_kind(path.result, len(path.outputs))
        self.table[C.BUILD] = 0 if build is None else id(build)
        self.keep.append(build)
        self.place: dict[int, int] = {}  # slot of the program -> slot of the table
        self._write_arguments(C)
        self._write_history(C, function)
        self._write_results(C)
        self._write_cells(C)
        self._write_captured(C)
        self._write_memory(C)
        self._write_programs(C)

    # -- sections

    def _section(self, at: int, rows: list[Any]) -> np.ndarray:
        """A section of records, all of one length."""
        words = np.array(rows, np.int64) if rows else np.zeros(1, np.int64)
        self.table[at], self.table[at + 1] = len(rows), words.ctypes.data
        self.keep.append(words)
        return words

    def _write_arguments(self, C: Any) -> None:
        bound, path = self.bound, self.bound.path
        rows = []
        for i, s in enumerate(self.args.found):
            if not self.args.is_leaf(i):
                rows.append([C.IS_CONSTANT, id(s[1]), 0, 0, 0, 0] if self.args.is_constant(i) else [C.IS_CONTAINER, 0, 0, 0, 0, 0])
                continue
            slot, recorded = bound.input_slots[s.index]
            if slot in self.place:
                raise NotDirect("two arguments in one memory")
            self.place[slot] = i
            la = path.inputs[s.index].layout
            kind, flag = path.classes[s.index], bool(path.requires[s.index])
            rows.append([C.IS_TENSOR, id(kind), id(la), id(flag), la.itemsize, recorded])
        self.arguments = np.array(rows, np.int64).reshape(-1)
        self.table[C.NARGS], self.table[C.THINGS] = self.args.top, len(rows)
        self.table[C.ARGS] = self.arguments.ctypes.data

    def _write_history(self, C: Any, function: Any) -> None:
        """What results with gradients are made of."""
        self.history: History | None = None
        if not self.bound.path.differentiable:
            return
        self.history = History(self.bound, function, self.leaves)
        self.table[C.HISTORY], self.table[C.STOCK] = self.history.words.ctypes.data, id(self.history.stock)

    def _ring(self, r: Any, slot: int, node: Any, holder: Any) -> int:
        """The number of the ring of a fresh result."""
        if slot < self.bound.count_inputs or slot in self.place:
            raise NotDirect("results that share memory")
        self.place[slot] = len(self.args) + len(self.rings)
        self.rings.append(Ring(r, self.bound.slots.storages[slot].nbytes, node, holder))
        return len(self.rings) - 1

    def _write_results(self, C: Any) -> None:
        bound, path = self.bound, self.bound.path
        outputs = []
        for k, (o, slot) in enumerate(zip(path.outputs, bound.out_slots)):
            if k in path.differentiable:
                outputs.append([C.FROM_HISTORY, path.differentiable.index(k)])
            elif type(o.same) is tuple:
                outputs.append([C.FROM_ARGUMENT, self.leaves[o.same[1]]])
            elif o.same is not None:
                outputs.append([C.FIXED, id(o.same)])
            else:
                node = None
                if o.requires_grad and not path.differentiable:
                    node = FreedNode((), 1)
                    node.out_metas[0] = o.ref.layout
                outputs.append([C.FROM_RING, self._ring(o.ref, slot, node, None)])
        self._section(C.OUTPUTS, outputs)
        self._section(C.GRADS, self._grad_rows(C))
        first = len(self.args) + len(self.rings)
        fresh = [] if self.history is None else self.history.fresh
        self.place |= {slot: first + i for i, slot in enumerate(fresh)}
        self._section(C.FRESH_MEMORY, [] if self.history is None else self.history.rows(first))
        if len(self.place) != len(bound.slots.storages):
            raise NotDirect("memory of a call that is no result")
        self.ring_words = self._section(C.RINGS, [[0] * C.RING_WORDS for _ in self.rings])
        for i, ring in enumerate(self.rings):
            ring.fill(C.ENTRIES)
            for k in range(C.ENTRIES):
                self._write_entry(i, k)
            t = ring.entries[0][0]
            head = [len(self.args) + i, id(ring.holder) if ring.holder is not None else 0, 0, id(t._layout),
                    id(t._offset), id(t._rg), id(t._node)]  # fmt: skip
            self.ring_words[i, :7] = head
            self.keep.append((ring.holder, t._offset))

    def _write_entry(self, i: int, k: int) -> None:
        t, attributes, storage = self.rings[i].entries[k]
        self.ring_words[i, 7 + 4 * k : 11 + 4 * k] = (id(t), id(attributes), id(storage), storage.ptr)

    def _grad_rows(self, C: Any) -> list[list[int]]:
        bound, path = self.bound, self.bound.path
        reads = {id(who): (who, before) for who, before in path.grad_reads}
        rows: dict[int, list[int]] = {}
        for who, before in reads.values():
            if type(who) is tuple:
                raise NotDirect("gradients of arguments")
            wanted = C.NO_GRAD if before is None else C.SOME_GRAD
            if before is not None and id(before._storage) in bound.used:
                wanted = C.THIS_GRAD
            rows[id(who)] = [id(who), wanted, C.LEFT, 0, id(before)]
        for (who, g, same), slot in zip(path.grads, bound.grad_slots):
            if type(who) is tuple:
                raise NotDirect("gradients of arguments")
            row = rows.setdefault(id(who), [id(who), C.ANY_GRAD, C.LEFT, 0, 0])
            if g is None:
                row[2] = C.CLEARED
            elif same is not None:
                row[1], row[4] = C.THIS_GRAD, id(same)
            else:
                row[2], row[3] = C.FRESH, self._ring(g, slot, None, who)
        return list(rows.values())

    def _write_cells(self, C: Any) -> None:
        program = self.bound.program
        base = program.block.ctypes.data
        by_slot: dict[int, list[list[int]]] = {slot: [] for slot in self.place}
        for slot, shift, at in program.cells:
            by_slot[slot].append([base + 8 * at, shift])
        cells: list[list[int]] = []
        slots = [[0, 0, 0] for _ in range(len(self.args) + len(self.place))]
        for slot, place in self.place.items():
            slots[place] = [0, len(cells), len(by_slot[slot])]
            cells += by_slot[slot]
        self.slots = self._section(C.SLOTS, slots)
        program.known = self.slots[: 3 * len(slots)].reshape(-1, 3)[:, 0]
        self._section(C.CELLS, cells)

    def _write_captured(self, C: Any) -> None:
        path = self.bound.path
        rows = [[id(t), id(s), id(t._rg), id(t._node)] for t, s, _, _ in path.captured]
        self.keep.append([(t._rg, t._node) for t, _, _, _ in path.captured])
        self._section(C.CAPTURED, rows)
        known = (self.bound.fixed if path.written else set()) | self.bound.strangers
        size = 4
        while size < 2 * len(known) + 2:
            size *= 2
        hashed = np.zeros(size, np.int64)
        for key in known:
            at = (key >> 4) & (size - 1)
            while hashed[at]:
                at = (at + 1) & (size - 1)
            hashed[at] = key
        self.keep.append(hashed)
        self.table[C.ALIASES], self.table[C.MASK] = hashed.ctypes.data, size - 1

    def _write_memory(self, C: Any) -> None:
        bound, path = self.bound, self.bound.path
        copies = [[s.ptr, id(content) + _BYTES_HEAD, len(content)] for s, content in path.constants]
        self._section(C.COPIES, copies)
        saved = [Storage(s.nbytes) for s in bound.undo]
        self.keep.append(saved)
        self._section(C.UNDO, [[b.ptr, s.ptr, s.nbytes] for b, s in zip(saved, bound.undo)])
        written = [
            self.place[bound.slots.index[key]] if key in bound.slots.index else id(s)
            for key, s in path.written.items()
        ]
        self._section(C.WRITTEN, written)

    def _write_programs(self, C: Any) -> None:
        from ..kernels.driver import PARALLEL, SERIAL

        program = self.bound.program
        self._section(C.RUNS, [0 if p is None else p.address for p in program.programs])
        checks: list[list[int]] = []
        found = self.bound.looks
        if found is not None:  # anything that is not finite goes to Python, which knows what is looked for
            self.keep.append(zeros := bytes(found.nbytes))
            last = len(program.programs) - 1
            checks = [[last, C.SAME_BYTES, -1, found.ctypes.data, id(zeros) + _BYTES_HEAD, found.nbytes, 0]]
        for k, group in enumerate(self.bound.checks):
            for g in group:
                slot, address = program.locate(g.source)
                row = [k, C.SAME_BYTES, -1 if slot < 0 else self.place[slot], address]
                if isinstance(g.value, RangeCheck):
                    checks.append([k, C.IN_RANGE, *row[2:], g.value.low, g.value.high, 0])
                    continue
                content = g.value
                if not isinstance(content, bytes):
                    content = g.source.layout.dtype.stored(content).tobytes()
                self.keep.append(content)
                checks.append([*row, id(content) + _BYTES_HEAD, len(content), 0])
        self._section(C.CHECKS, checks)
        self.table[C.PARALLEL_MODE] = PARALLEL if program.parallel else SERIAL

    # -- what changes between calls

    def refresh(self, structure: Any) -> None:
        """After a replay by Python: constants, addresses, numbers, counter, thread and modes are those of now."""
        from ..kernels import tables as C

        self.args = Things(structure)
        for i, s in enumerate(self.args.found):
            if self.args.is_constant(i):
                self.arguments[C.ARG_WORDS * i + 1] = id(s[1])
        self.keys: list[Any] = []
        self.container_words = np.array(self.args.rows(self.keys), np.int64).reshape(-1)
        self.table[C.CONTAINERS], self.table[C.CONTAINERS + 1] = len(self.args.containers), self.container_words.ctypes.data
        self.keywords = [k for k, _ in structure[1][1][2]]
        self.keyword_words = np.array([id(k) for k in self.keywords], np.int64)
        self.table[C.KEYWORDS], self.table[C.KEYWORDS + 1] = len(self.keywords), self.keyword_words.ctypes.data
        own = state.__dict__
        thread = _thread_dict()
        names = _MODES if self.bound.looks is None else _MODES + _WATCHED
        modes = [(name, getattr(state, name), getattr(type(state), name)) for name in names]
        self.modes = np.array([*(id(x) for row in modes for x in row), 0], np.int64)
        self.now: list[Any] = [own, thread, modes, replaced[0], INFERENCE if state.inference else 0, self.repair]
        table = self.table
        table[C.THREAD], table[C.LOCALS], table[C.MODES] = id(thread), id(own), self.modes.ctypes.data
        table[C.COUNTED], table[C.COUNTER] = id(replaced), id(self.now[3])
        table[C.NEW_VERSION], table[C.REPAIR] = id(self.now[4]), id(self.now[5])
        self._adopt()
        self._write_numbers(C)
        self._write_names(C)
        if self.history is not None:
            self.history.refresh(structure)

    def _write_names(self, C: Any) -> None:
        """The places around the function, with the objects that they hold now."""
        self.held: list[Any] = []
        try:
            rows = [place.words(self.held) for place in self.bound.names]
        except NotNative as reason:
            raise NotDirect(str(reason)) from None
        self.name_words = np.array(rows, np.int64).reshape(-1)
        self.table[C.NAMES], self.table[C.NAMES + 1] = len(rows), self.name_words.ctypes.data

    def _adopt(self) -> None:
        """Gradients that the replay by Python made become objects of their rings: the next call may use them again."""
        for i, ring in enumerate(self.rings):
            g = None if ring.holder is None else ring.holder._grad
            if type(g) is Tensor and all(g is not t for t, _, _ in ring.entries):
                k = int(self.ring_words[i, 2])
                ring.entries[k] = g, g.__dict__, g._storage
                self._write_entry(i, k)

    def _write_numbers(self, C: Any) -> None:
        from ..kernels.caller import field_of

        self.bound.program.set_numbers()
        groups = {id(v.source()): v.source() for v in self.bound.program.live if v.source is not None}
        if any(v.source is None for v in self.bound.program.live) or None in groups.values():
            raise NotDirect("numbers that are asked for at each call")
        self.numbers = [(g, g.version) for g in groups.values()]
        rows = [[id(g), field_of(g, "version"), id(version)] for g, version in self.numbers]
        self.live_words = np.array(rows, np.int64).reshape(-1)
        self.table[C.LIVES], self.table[C.LIVES + 1] = len(rows), self.live_words.ctypes.data

    def repair(self, what: int) -> None:
        """Called by the native code: new numbers (-1), or a new object for ring ``what`` whose objects are all in use."""
        from ..kernels import tables as C

        if what < 0:
            try:
                self._write_numbers(C)
            except NotDirect:
                self.table[C.NARGS] = -1  # fits no call any more
            return
        k = int(self.ring_words[what, 2])
        self.rings[what].entries[k] = self.rings[what].make()
        self._write_entry(what, k)


def _thread_dict() -> dict:
    """The dict of the running thread that native code identifies the thread by."""
    get = ctypes.pythonapi.PyThreadState_GetDict
    get.restype = ctypes.c_void_p  # a borrowed reference
    return ctypes.cast(get(), ctypes.py_object).value
