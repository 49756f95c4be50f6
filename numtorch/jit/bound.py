"""A recorded path bound to memory: guards, the forward and backward programs, and the effects of a replay."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .. import settings
from .._tensor import Tensor, replaced
from ..autograd.mode import state
from ..storage import INFERENCE, Storage, allocate
from .gradients import Backward
from .looks import flags_of, global_hooks, looks_of, state_of
from .memory import aside, duplicate, number_at, peek, restore
from .nodes import FreedNode, TracedNode
from .passes import Report, optimize
from .passes import storages as storages_of
from .path import Path, Virtual
from .places import Place
from .program import Compiled, Op, lower
from .record import Entry, Guard, RangeCheck, Ref
from .slots import Slots, virtuals


class GuardFailed(Exception):
    """A value that Python had read when the path was recorded is another one now."""


class Bound:
    """A path that can be replayed."""

    is_watched = False  # bound for anomaly detection
    looks: Any = None  # under anomaly detection: numbers that are 0 where all results are finite (watching.py)

    def __init__(self, path: Path, passes: Sequence[str] | None = None, frozen: bool = False):
        self.path, self.frozen = path, frozen
        self.passes, self.report = passes, Report()
        self.counter = replaced[0]
        self.replays, self.is_direct, self.is_gone = 0, True, False  # of the trace that replays it
        self.is_rehearsal = False  # shows what will be recorded, and fits no call
        self.watched: Any = None  # the same path for anomaly detection (watching.py), once that has been on
        self.hooks, self.settings = global_hooks(), settings.chosen()
        self.before: Sequence[tuple[Storage, bytes | Storage]] = ()  # what the latest forward with a history was about to change
        self.runs_python = path.recorder.runs_python
        self.names: list[Place] = []  # places around the function; set when it has been recorded and checked
        self.modules = [(m, looks_of(m)) for m in path.recorder.modules.values()]
        self.optimizers = [(o, state_of(o)) for o in path.recorder.optimizers.values()]
        self.captured = [(t, s, off, la, flags_of(t)) for t, s, off, la in path.captured]
        self.histories = [(t, t._rg, t._node) for t, _, _, _ in path.captured]
        self.fixed = {id(s) for _, s, _, _ in path.captured}
        self.strangers: set[int] = set()  # memory of tensors that no argument may be, as the function compares objects
        self.aliases = self.aliases_of([r.storage for r in path.inputs])
        self.used = used_storages(path)
        self._choose_device()
        self._bind()

    # -- binding

    def _choose_device(self) -> None:
        """How memory is made and programs are built: by the CPU's program, or by CUDA graphs (cuda_graph.py)."""
        refs = [*self.path.inputs, *(o.ref for o in self.path.outputs)]
        entries = [*self.path.forward, *self.path.backward]
        self.is_on_cpu = all(r.layout.device == "cpu" for r in (*refs, *(r for e in entries for r in e.outputs)))
        if self.is_on_cpu:
            self._memory: Any = Storage
            self._lower: Any = lower
            self._program: Any = Compiled
            return
        from . import cuda_graph

        device = cuda_graph.device_of(entries)
        self._memory = functools.partial(allocate, device=device)
        self._lower, self._program = cuda_graph.lower, functools.partial(cuda_graph.CudaProgram, device)
        self.is_direct = False  # native calls know no GPU

    def _bind(self) -> None:
        path = self.path
        slots = Slots()
        self.input_slots: list[tuple[int, int]] = []  # of each argument: slot, recorded byte offset
        for r in path.inputs:
            self.input_slots.append((slots.add(r.storage), r.offset * r.layout.itemsize))
        self.count_inputs = len(slots.storages)
        results = [o.ref for o in path.outputs] + [g for _, g, _ in path.grads if g is not None]
        for r in results:
            if type(r.storage) is Virtual:
                slots.add(r.storage)
        ends = {id(g.storage) for g in path.leaf_grads if g is not None} | set(path.written)
        backward = self._lower(self._optimized(path.backward, ends))
        written = {id(r.storage) for e in path.forward for r in e.outputs if type(r.storage) is Virtual}
        saved = {k: v for k, v in virtuals(backward).items() if k in written}
        for v in saved.values():
            slots.add(v)
        self.saved = [slots.index[k] for k in saved]
        self.fresh = [(i, s.nbytes) for i, s in enumerate(slots.storages) if i >= self.count_inputs]
        needed = set(slots.index) | set(path.written) | {id(g.source.storage) for g in path.guards}
        self.guards = list(path.guards)
        forward = self._lower(self._optimized(path.forward, needed, self.guards))
        made = virtuals(forward)
        cuts, self.checks = self._cuts(forward)
        temps = [v for k, v in made.items() if k not in slots.index]
        self.slots = slots
        self.program = self._program(forward, slots.storages, temps, path.recorder.live, cuts)
        self._plan_undo(forward, cuts)
        self.way_back = Backward(self, backward, saved) if path.differentiable else None
        self.backward: Any = None if self.way_back is None else self.way_back.program
        self._bind_results()

    def _optimized(self, entries: Sequence[Entry], needed: set[int], guards: list[Guard] | None = None) -> list[Entry]:
        constant = {id(t._storage) for t in self.path.recorder.constants}
        if self.frozen:
            constant |= {id(s) for _, s, _, _ in self.path.captured}
        constant -= set(self.path.written)
        return optimize(entries, needed, guards, names=self.passes, frozen=constant, report=self.report)

    def _cuts(self, ops: Sequence[Op]) -> tuple[list[int], list[list[Any]]]:
        """Where the program stops to compare values, and which ones: all that were read before the same op."""
        cuts: list[int] = []
        checks: list[list[Any]] = []
        for g in self.guards:
            at = sum(1 for op in ops if op.entry.order < g.at)
            if at:  # the memory must not be used again before the comparison
                ops[at - 1].reads = ops[at - 1].reads | {id(g.source.storage)}
            if cuts and cuts[-1] == at:
                checks[-1].append(g)
            else:
                cuts.append(at)
                checks.append([g])
        return cuts, checks

    def _plan_undo(self, ops: Sequence[Op], cuts: Sequence[int]) -> None:
        """Captured or argument memory that is changed before the last comparison: copied first, for the way back."""
        early: set[int] = set()
        for op in ops[: cuts[-1] if cuts else 0]:
            early |= op.writes
        self.undo = [s for k, s in self.path.written.items() if k in early]

    def _bind_results(self) -> None:
        index = self.slots.index
        self.out_slots = [index.get(id(o.ref.storage), -1) for o in self.path.outputs]
        self.grad_slots = [-1 if g is None else index.get(id(g.storage), -1) for _, g, _ in self.path.grads]

    # -- guards

    def stale(self) -> bool:
        """Whether captured tensors, modules or optimizers are not what they were (asked when the counter moved)."""
        if self.is_rehearsal:
            return False  # its optimizers' state is still to be made
        for t, s, offset, la, flags in self.captured:
            if t._storage is not s or t._offset != offset or t._layout is not la or flags_of(t) != flags:
                return True
        if settings.chosen() != self.settings or global_hooks() != self.hooks or any(looks_of(m) != held for m, held in self.modules):
            return True
        if any(state_of(o) != held for o, held in self.optimizers):
            return True
        self.counter = replaced[0]
        return False

    def aliases_of(self, storages: Sequence[Any]) -> list[Any]:
        """Which arguments lie in captured memory, and in which."""
        return [id(s) if id(s) in self.fixed else None for s in storages]

    def fits(self, leaves: Sequence[Any]) -> bool:
        """Whether arguments share memory with captured tensors as they did, and histories and gradients are as they were."""
        if self.is_rehearsal or not all(name.holds() for name in self.names):
            return False
        if any(t._rg is not flag or t._node is not node for t, flag, node in self.histories):
            return False
        if self.aliases_of([t._storage for t in leaves]) != self.aliases:
            return False
        for who, before in self.path.grad_reads:
            held = (leaves[who[1]] if type(who) is tuple else who)._grad
            if (held is None) != (before is None):
                return False
            if (
                before is not None
                and id(before._storage) in self.used
                and (held._storage is not before._storage or held._offset != before._offset
                     or held._layout is not before._layout)
            ):
                return False
        return True

    # -- replay

    def run(self, leaves: Sequence[Any], again: Any) -> list[Any]:
        """Replay on these arguments; returns the output tensors. Raises GuardFailed with all effects undone."""
        pointers: list[int] = [0] * len(self.slots.storages)
        storages: list[Any] = [None] * len(pointers)
        for t, (slot, recorded) in zip(leaves, self.input_slots):
            pointers[slot] = t._address() - recorded
            storages[slot] = t._storage
        for slot, nbytes in self.fresh:
            s = storages[slot] = self._memory(nbytes)
            if state.inference:
                s.version = INFERENCE
            pointers[slot] = s.ptr
        for s, content in self.path.constants:
            restore(s, content)
        # What a forward is about to change: a second derivative runs the function again from there.
        self.before = self._as_it_is(self.path.written.values(), storages) if self.path.differentiable else ()
        undo = self._as_it_is(self.undo, storages)
        try:
            self.program.run(pointers, self._check if self.checks else None)
        except BaseException:
            for s, content in undo:
                restore(s, content)
            raise
        return self._results(leaves, storages, again)

    def undo_in_slots(self) -> bool:
        """Whether memory of a call is restored when a guard fails."""
        return any(id(s) in self.slots.index for s in self.undo)

    def _as_it_is(self, wanted: Iterable[Any], storages: Sequence[Any]) -> list[tuple[Storage, bytes | Storage]]:
        """What memory of the path, or the memory of this call that stands for it, holds now."""
        index = self.slots.index
        return [(s, aside(s)) for s in (storages[index[id(k)]] if id(k) in index else k for k in wanted)]

    def _check(self, k: int, pointers: Sequence[int]) -> None:
        for g in self.checks[k]:
            r = g.source
            address = self.program.where(r, pointers)
            if isinstance(g.value, RangeCheck):
                low, high = np.frombuffer(peek(address, 16, r.layout.device), np.int64).tolist()
                if low < g.value.low or high > g.value.high:
                    raise g.value.make_error(low if low < g.value.low else high)
                continue
            if isinstance(g.value, bytes):
                if peek(address, len(g.value), r.layout.device) != g.value:
                    raise GuardFailed
                continue
            now = number_at(address, r.layout)
            if now != g.value and not (now != now and g.value != g.value):
                raise GuardFailed

    def _results(self, leaves: Sequence[Any], storages: Sequence[Any], again: Any) -> list[Any]:
        path = self.path
        for s in path.written.values():
            s = storages[self.slots.index[id(s)]] if id(s) in self.slots.index else s
            s.version += 1
        made: dict[int, Any] = {}
        targets: list[Any] = []
        for (who, g, same), slot in zip(path.grads, self.grad_slots):
            targets.append(target := leaves[who[1]] if type(who) is tuple else who)
            if g is None:
                target._grad = None
            elif same is not None:
                target._grad = same
            else:
                target._grad = self._tensor(g, slot, storages)
        outputs = []
        for o, slot in zip(path.outputs, self.out_slots):
            if type(o.same) is tuple:
                outputs.append(leaves[o.same[1]])
            elif o.same is not None:
                outputs.append(o.same)
            elif o.grad >= 0:
                outputs.append(targets[o.grad]._grad)
            else:
                if id(o) not in made:
                    made[id(o)] = self._output(o, slot, leaves, storages)
                outputs.append(made[id(o)])
        if path.differentiable:
            self._attach(outputs, leaves, storages, again)
        return outputs

    def _tensor(self, r: Ref, slot: int, storages: Sequence[Any]) -> Tensor:
        return Tensor._make(storages[slot] if slot >= 0 else r.storage, r.offset, r.layout)

    def _copied(self, r: Ref) -> Tensor:
        """A result in memory that the program keeps."""
        return Tensor._make(duplicate(r.storage), r.offset, r.layout)

    def _output(self, o: Any, slot: int, leaves: Sequence[Any], storages: Sequence[Any]) -> Tensor:
        if 0 <= slot < self.count_inputs:
            k = next(i for i, (s, _) in enumerate(self.input_slots) if s == slot)
            shift = leaves[k]._offset - self.path.inputs[k].offset
            t = Tensor._make(leaves[k]._storage, o.ref.offset + shift, o.ref.layout)
            t._base = leaves[k] if leaves[k]._base is None else leaves[k]._base
            t._seen = t._base._history
        else:
            t = self._copied(o.ref) if o.is_constant else self._tensor(o.ref, slot, storages)
        if o.requires_grad and not self.path.differentiable:
            node = FreedNode((), 1)
            node.out_metas[0] = t._layout
            t._set_history(node, 0)
        return t

    def leaf_tensors(self, leaves: Sequence[Any]) -> list[Any]:
        """The tensors whose gradients the backward program computes."""
        return [leaves[x[1]] if type(x) is tuple else x for x in self.path.leaves]

    def _attach(self, outputs: list[Any], leaves: Sequence[Any], storages: Sequence[Any], again: Any) -> None:
        assert self.way_back is not None
        kept = self.way_back.keep([storages[i] for i in self.saved], leaves, outputs)
        node = TracedNode(self, self.leaf_tensors(leaves), len(self.path.differentiable), kept, again, self.before)
        for k, i in enumerate(self.path.differentiable):
            node.out_metas[k] = outputs[i]._layout
            outputs[i]._set_history(node, k)


def used_storages(path: Path) -> set[int]:
    """Ids of the storages that recorded kernels read or write."""
    found: set[int] = set()
    for e in (*path.forward, *path.backward):
        found |= storages_of(e.inputs) | storages_of(e.outputs)
        for la in e.launches or ():
            found |= storages_of(la.pointers)
    return found
