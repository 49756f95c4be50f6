"""Traces under anomaly detection: the recorded ops are replayed one kernel each, every result is looked at natively, and a
call in which something was found is undone and taken again op by op, so that it is reported as in eager mode.

No pass rewrites this program: what a fused kernel would hide (a NaN that a ``where`` throws away, a result that nobody reads)
is seen as it is without a trace, and each kernel belongs to one op and one line.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd.mode import nobody_looking, state
from ..dtype import REDUCED, float16
from ..ops.launch import PARALLEL_COST, threads
from .bound import Bound
from .memory import as_before
from .nodes import TracedNode, without_hooks
from .program import Compiled, Op, Word, lower
from .record import Entry, Recording, Ref


class Flagged(Exception):
    """A kernel of a watched program gave what is looked for."""


class Checks:
    """What the look at each result found: a number for each chunk of each look."""

    def __init__(self) -> None:
        self.nan = self.inf = np.zeros(0)  # not 0: there is a NaN, and there is anything but finite numbers
        self.entries: list[Entry] = []  # that a look belongs to

    def woven(self, ops: Sequence[Op]) -> list[Op]:
        """The kernel calls of a program with a look at the results after each entry's last one."""
        looks: list[tuple[int, Entry, Ref, int]] = []  # behind which call, at what, in how many chunks
        for k, op in enumerate(ops):
            if k + 1 < len(ops) and ops[k + 1].entry is op.entry:
                continue
            seen = set()
            for r in op.entry.outputs:
                la = r.layout
                if la.dtype.is_floating_point and la.numel and (id(r.storage), r.offset, id(la)) not in seen:
                    seen.add((id(r.storage), r.offset, id(la)))
                    looks.append((k, op.entry, r, 1 if la.numel < PARALLEL_COST else threads()))
        self.entries = [e for _, e, _, n in looks for _ in range(n)]
        self.nan, self.inf = np.zeros(len(self.entries)), np.zeros(len(self.entries))
        result: list[Op] = []
        at, place = 0, 0
        for k, e, r, chunks in looks:
            result += ops[at : k + 1]
            result.append(_look(r, e, chunks, [self.nan.ctypes.data + place, self.inf.ctypes.data + place]))
            at, place = k + 1, place + 8 * chunks
        return [*result, *ops[at:]]

    def found(self, check_nan: bool, check_inf: bool) -> bool:
        """Whether the last run made a NaN, or anything else that is not finite."""
        return (check_inf and self.inf.any()) or (check_nan and self.nan.any())

    def forget(self) -> None:
        """Nothing was found yet."""
        self.nan[:] = self.inf[:] = 0

    def first_infinite(self) -> Entry | None:
        """The op that made the first infinity of the last run."""
        bad = np.flatnonzero(self.inf)
        return self.entries[int(bad[0])] if bad.size else None


def _look(r: Ref, e: Entry, chunks: int, places: list[int]) -> Op:
    """The call that looks at a result: at all memory from its first to its last element."""
    from ..kernels.finite import nan_or_inf, nan_or_inf_half

    la = r.layout
    steps = [(n - 1) * s for n, s in zip(la.shape, la.strides)]
    first, count = r.offset + sum(min(s, 0) for s in steps), 1 + sum(abs(s) for s in steps)
    kernel, kind = (nan_or_inf_half, "int16") if la.dtype in REDUCED else (nan_or_inf, la.dtype.name)
    words = [*places, Word(r.storage, first * la.itemsize), count]
    if la.dtype in REDUCED:
        words.append(0x7C00 if la.dtype is float16 else 0x7F80)
    return Op(kernel.address(T=kind), chunks, words, {id(r.storage)}, set(), e)


class Program(Compiled):
    """A program that ends with ``Flagged`` where ``settings`` look for what it made."""

    settings: Any = None
    checks: Checks

    def run(self, pointers: Sequence[int], check: Any) -> None:
        """Replay; what was made is asked before any value that the function read is compared, and at the end."""

        def look(k: int, pointers: Sequence[int]) -> None:
            self._judge()
            check(k, pointers)

        try:
            super().run(pointers, look)
            self._judge()
        except BaseException:
            self.checks.forget()
            raise

    def _judge(self) -> None:
        settings = self.settings
        if settings is not None and self.checks.found(settings.check_nan, settings.check_inf):
            raise Flagged


class Watched(Bound):
    """A recorded path bound once more, op by op and with looks in between; all that a call writes can be undone."""

    is_watched = True

    def __init__(self, bound: Bound):
        self.made: list[Checks] = []  # of the backward program, and of the forward one
        super().__init__(bound.path, ())

    def _choose_device(self) -> None:
        super()._choose_device()
        self._lower, self._program = self._woven, Program

    def _woven(self, entries: Sequence[Entry]) -> list[Op]:
        self.made.append(Checks())
        return self.made[-1].woven(lower(entries))

    def _bind(self) -> None:
        super()._bind()
        backward, forward = self.made
        self.program.checks, self.looks = forward, forward.inf
        if self.backward is not None:
            self.backward.checks = backward  # type: ignore[attr-defined]

    def _plan_undo(self, ops: Sequence[Op], cuts: Sequence[int]) -> None:
        self.undo = list(self.path.written.values())

    def _results(self, leaves: Sequence[Any], storages: Sequence[Any], again: Any) -> list[Any]:
        outputs = super()._results(leaves, storages, again)
        e = self.program.checks.first_infinite()
        if e is not None:
            state.anomaly.note_infinite_results(e.name, e.line, outputs)
        return outputs


def watched(bound: Bound, settings: Any) -> Bound:
    """The bound path that a call is replayed by while ``settings`` look for anomalies; a GPU's ops are taken one by one."""
    if not bound.is_on_cpu:
        raise Flagged
    if bound.watched is None:
        bound.watched = Watched(bound)
        bound.watched.names = bound.names
    bound.watched.program.settings = settings
    return bound.watched


# -- backward


def run_backward(settings: Any, node: TracedNode, grads: list[Any]) -> Any:
    """The gradients of a traced forward's leaves; AnomalyError as in eager mode where an op of the backward made a NaN."""
    if node.freed or state.grad:
        return node.run(grads)  # the function runs again, and its ops are looked at
    bound = node.bound
    results: Any = None
    with nobody_looking(), contextlib.suppress(Flagged):
        if isinstance(bound, Watched):
            bound.backward.settings = settings  # type: ignore[union-attr]
        results = node.run(grads)
    repeatable = isinstance(bound, Watched) or not bound.path.written
    if results is None or (repeatable and any(g is not None and settings.is_bad(g) for g in results)):
        return _again(settings, node, grads)
    return results


def _again(settings: Any, node: TracedNode, grads: list[Any]) -> Sequence[Any]:
    """Take a traced forward and its backward again op by op, with memory as it was before the forward, and undo it."""
    from ..autograd.engine import backward
    from ..autograd.mode import enable_grad

    with as_before(node.before), Recording() as recorder, enable_grad():
        try:
            with settings.again(node):
                chosen = node.outputs_again()
            pairs = [(o, g) for o, g in zip(chosen, grads) if g is not None]
            assert node.again is not None
            targets = node.bound.leaf_tensors(node.again[2])
            with without_hooks(targets):
                return backward([o for o, _ in pairs], [g for _, g in pairs], False, False, targets, accumulate=False)
        finally:
            recorder.roll_back()


__all__ = ["Flagged", "Watched", "run_backward", "watched"]
