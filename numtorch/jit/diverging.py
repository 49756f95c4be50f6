"""Where a replay and the function itself part: the first op whose result differs, or where two runs of the function do."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..autograd.mode import set_recorder, state
from . import tree
from .copied import Copies, runner
from .listing import short
from .memory import values_of
from .program import Compiled
from .record import Entry, Live, Recorder, Ref


class Watching(Recorder):
    """A recorder that keeps what each op computed."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[list[np.ndarray]] = []

    def elementwise(self, op: Any, plan: Any, outputs: Sequence[Any], args: Sequence[Any]) -> None:
        """An elementwise op has run."""
        super().elementwise(op, plan, outputs, args)
        self.values.append([values_of(t) for t in outputs])

    def launches(self, op: Any, launches: Sequence[Any], outputs: Sequence[Any], inputs: Sequence[Any], attrs: dict) -> None:
        """A kernel op has run."""
        super().launches(op, launches, outputs, inputs, attrs)
        self.values.append([values_of(t) for t in outputs])


@contextlib.contextmanager
def watching() -> Iterator[Watching]:
    """While a function runs once more; its effects are undone."""
    outer, recorder = state.recorder, Watching()
    set_recorder(recorder)
    try:
        yield recorder
    finally:
        recorder.roll_back()
        set_recorder(outer)


def run_watched(function: Callable, structure: Any, leaves: Sequence[Any]) -> Watching:
    """One run of the function, its ops and their values."""
    with watching() as recorder:
        args, kwargs = tree.unflatten(structure, list(leaves))
        function(*args, **kwargs)
    return recorder


def first_difference(function: Callable, bound: Any, structure: Any, leaves: Sequence[Any]) -> str:
    """A sentence that names the place, for the error of a failed check."""
    first, second = run_watched(function, structure, leaves), run_watched(function, structure, leaves)
    found = between_runs(first.entries, second.entries) or _values_between_runs(first, second)
    if found:
        return found
    recorded = bound.path.forward
    found = between_runs(recorded, first.entries[: len(recorded)])
    if not isinstance(bound.program, Compiled):
        return found or "in the replay on the GPU"
    return found or _in_replay(bound, leaves, first)


def between_runs(a: Sequence[Entry], b: Sequence[Entry]) -> str:
    """How two runs of one function differ in their ops, or nothing."""
    for k, (x, y) in enumerate(zip(a, b)):
        if x.name != y.name:
            return (
                f"run again, the function does something else: op {k} was {x.name} ({_place(x)}) and then {y.name}"
                f" ({_place(y)}); it depends on Python state that changes between runs"
            )
        if [r.layout for r in x.outputs] != [r.layout for r in y.outputs]:
            return f"run again, {x.name} ({_place(x)}) has results of another shape; the function depends on Python state that changes"
        for p, q in zip(_plain(x), _plain(y)):
            if p != q and not (p != p and q != q):
                return (
                    f"{x.name} ({_place(x)}) was given {p!r} in one run and {q!r} in another: a Python number that changes"
                    " between runs; keep it in a tensor"
                )
    if len(a) != len(b):
        longer = a if len(a) > len(b) else b
        e = longer[min(len(a), len(b))]
        return f"one run had {len(a)} ops and another {len(b)}: {e.name} ({_place(e)}) was not in both; Python state decides"
    return ""


def _plain(e: Entry) -> list[Any]:
    """The numbers that an op was given, those of a schedule left out."""

    def numbers(x: Any) -> Iterator[Any]:
        if isinstance(x, (tuple, list)):
            for y in x:
                yield from numbers(y)
        elif not isinstance(x, (Ref, Live)) and isinstance(x, (int, float, str, bool)):
            yield x

    return [n for x in (*e.args, *e.attrs.values()) for n in numbers(x)]


def _values_between_runs(a: Watching, b: Watching) -> str:
    for e, x, y in zip(a.entries, a.values, b.values):
        for p, q in zip(x, y):
            difference = difference_of(p, q, "one run", "the other")
            if difference:
                return (
                    f"two runs of the function differ first in {e.name} ({_place(e)}): {difference}; its data come from state"
                    " that changes between runs"
                )
    return ""


def _in_replay(bound: Any, leaves: Sequence[Any], eager: Watching) -> str:
    """The first kernel of the program whose result is not the eager one."""
    numbers = {id(e): k for k, e in enumerate(bound.path.forward)}
    memory = Copies(bound, leaves)
    ops = bound.program.ops
    last = {id(op.entry): k for k, op in enumerate(ops)}
    for k, op in enumerate(ops):
        entry, keep = memory.call(op)
        runner([entry], keep)()
        if k != last[id(op.entry)]:
            continue
        parts = op.entry.parts or (op.entry,)
        for r in op.entry.outputs:
            e, values = _eager_value(parts, r, numbers, eager, len(op.entry.outputs) == 1)
            if values is None or not memory.has(r):  # that of a part of the batch, overwritten by the next one's
                continue
            have = memory.values(r)
            difference = difference_of(values, have)
            if difference:
                fused = f" in the kernel {op.entry.name}" if len(parts) > 1 else ""
                return f"the first op that differs is {e.name} ({_place(e)}){fused}: {difference}"
    return "no single op differs when the kernels run one by one"


def _eager_value(
    parts: Sequence[Entry], r: Ref, numbers: dict[int, int], eager: Watching, alone: bool
) -> tuple[Any, Any]:
    """The last of the recorded ops that wrote a result, and its values; ``alone``: the kernel has no other result."""
    found = []
    for e in reversed(parts):
        k = numbers.get(id(e))
        for i, o in enumerate(e.outputs):
            if k is not None and k < len(eager.values) and o.offset == r.offset and o.layout is r.layout:
                if o.storage is r.storage:
                    return e, eager.values[k][i]
                found.append((e, eager.values[k][i]))
    return found[0] if len(found) == 1 or (found and alone) else (None, None)  # a pass gave it other memory


def _place(e: Entry) -> str:
    return short(e.line) or "no line"


def difference_of(a: Any, b: Any, first: str = "eager", second: str = "the replay") -> str:
    """How two arrays differ: shape and dtype strictly, NaN equal to NaN, numbers up to rounding; empty if they don't."""
    if a is None or b is None:
        one, two = ("nothing" if x is None else str(x.shape) for x in (a, b))
        return "" if a is b else f"{one} in {first}, {two} in {second}"
    if a.shape != b.shape or a.dtype != b.dtype:
        return f"{a.dtype}{list(a.shape)} in {first}, {b.dtype}{list(b.shape)} in {second}"
    if a.dtype.kind not in "fc":
        wrong = a != b
    else:
        eps = np.finfo(a.dtype).eps
        scale = float(np.nanmax(np.abs(np.where(np.isfinite(a), a, 0.0)), initial=0.0))
        with np.errstate(invalid="ignore"):
            close = np.abs(a - b) <= 64 * eps * (np.abs(a) + scale)
        wrong = ~(close | (a == b) | (np.isnan(a) & np.isnan(b)))
    if not wrong.any():
        return ""
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    return (
        f"{int(wrong.sum())} of {wrong.size} elements, first at {at}: {a[at].item()!r} in {first}, {b[at].item()!r} in {second}"
    )
