"""``traced.profile(*inputs)``: the time of each kernel of a replay, and how near it comes to what the machine can do.

The program runs on copies of all memory, so nothing changes; each kernel is timed by itself, the quickest of many runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from . import tree
from .copied import Copies, runner
from .costs import flops, moved
from .listing import short
from .machine import Machine, machine, shortest
from .program import rows as combined


class Row(NamedTuple):
    """One group of kernels: the op(s), the seconds, the work, the user's line."""

    name: str
    seconds: float
    flops: int
    bytes: int
    chunks: int
    line: str
    backward: bool


class Profile:
    """Times of one replay; ``print`` it, or see ``rows`` (in order), ``kernels`` and ``total`` seconds."""

    def __init__(self, name: str, rows: list[Row], total: float, limits: Machine):
        self.name, self.rows, self.total, self.machine = name, rows, total, limits

    @property
    def kernels(self) -> float:
        """Seconds in kernels."""
        return sum(r.seconds for r in self.rows)

    def share(self, row: Row) -> float:
        """How near a kernel comes to the machine: the larger of its parts of the FLOP/s and of the bytes/s."""
        if not row.seconds:
            return 0.0
        work, memory = row.flops / self.machine.flops, row.bytes / self.machine.bandwidth(row.bytes)
        return max(work, memory) / row.seconds

    def table(self) -> list[list[str]]:
        """The rows as text, longest first."""
        found = [["kernel", "us", "%", "GFLOP/s", "GB/s", "of peak", "line"]]
        for r in sorted(self.rows, key=lambda r: -r.seconds):
            t = r.seconds or 1e-12
            found.append([
                r.name + (" (backward)" if r.backward else ""), f"{r.seconds * 1e6:.2f}",
                f"{100 * r.seconds / (self.kernels or 1):.1f}", f"{r.flops / t / 1e9:.2f}", f"{r.bytes / t / 1e9:.2f}",
                f"{100 * self.share(r):.0f} %", short(r.line),
            ])  # fmt: skip
        return found

    def __str__(self) -> str:
        rows = self.table()
        widths = [max(len(r[k]) for r in rows) for k in range(len(rows[0]))]
        lines = [
            "  ".join(c.ljust(w) if k in (0, 6) else c.rjust(w) for k, (c, w) in enumerate(zip(r, widths))).rstrip()
            for r in rows
        ]
        work, memory = sum(r.flops for r in self.rows), sum(r.bytes for r in self.rows)
        t = self.kernels or 1e-12
        lines.append(
            f"{self.name}: {self.total * 1e6:.1f} us a call, {self.kernels * 1e6:.1f} us in {len(self.rows)} kernels,"
            f" {work / t / 1e9:.2f} GFLOP/s, {memory / t / 1e9:.2f} GB/s"
        )
        lines.append(f"this machine, {self.machine}")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from ..display import MOST_KERNELS, table

        head, *rows = self.table()
        parts = sorted((r.seconds / (self.kernels or 1) for r in self.rows), reverse=True)
        hidden = len(rows) - MOST_KERNELS
        more = [f"{hidden} more lines; print it to see them all"] if hidden > 0 else []
        return table(head, rows[:MOST_KERNELS], right=range(1, 6), parts=parts, notes=[*more, *str(self).splitlines()[-2:]])


def profile(traced: Any, args: tuple, kwargs: dict, repeat: int = 20) -> Profile:
    """Time each kernel of the program that these inputs use."""
    if repeat < 1:
        raise ValueError(f"profile: expected repeat >= 1, got {repeat}")
    leaves: list[Any] = []
    structure = tree.flatten((args, kwargs), leaves)
    bound = _bound(traced, structure, leaves)
    if bound is None:
        raise RuntimeError(f"profile: {traced.__name__} runs eagerly for these inputs, there is no program to time")
    if not bound.is_on_cpu:
        raise RuntimeError(
            f"profile: {traced.__name__} runs on a GPU, whose kernels this does not time; time the call with"
            " numtorch.cuda.Event(enable_timing=True), or its kernels with NVIDIA's nsys"
        )
    memory = Copies(bound, leaves)
    rows: list[Row] = []
    programs = [(bound.program.ops, False)]
    back = getattr(bound, "backward", None)
    if back is not None:
        memory.fill(bound.path.given)
        programs.append((back.ops, True))
    whole = 0.0
    for ops, backward in programs:
        calls = [_Call(*memory.call(op)) for op in ops]
        if calls:
            tables: list[Any] = [calls]
            together = runner(combined(ops, [c.entry for c in calls], tables), tables)
            whole += shortest(together, repeat)
        rows += _rows(ops, [call.seconds(repeat) for call in calls], backward)
    return Profile(traced.__name__, rows, whole, machine())


def _bound(traced: Any, structure: Any, leaves: Sequence[Any]) -> Any:
    """The recording that fits these inputs, made without effect if there is none."""
    for attempt in range(2):
        for bound in traced.paths():
            p = bound.path
            same = tree.same(p.structure, structure) and len(p.inputs) == len(leaves)
            if same and all(t._layout is r.layout and t._rg == n for t, r, n in zip(leaves, p.inputs, p.requires)):
                return bound
        if attempt == 0:
            traced.prepare(*tree.unflatten(structure, list(leaves)))
    return None


def _rows(ops: Sequence[Any], seconds: Sequence[float], backward: bool) -> list[Row]:
    """Times gathered by the entry that the kernels belong to."""
    found: dict[int, Row] = {}
    for op, t in zip(ops, seconds):
        e = op.entry
        held = found.get(id(e))
        if held is not None:
            found[id(e)] = held._replace(seconds=held.seconds + t, chunks=max(held.chunks, op.chunks))
        else:
            found[id(e)] = Row(e.name, t, flops(e), moved(e), op.chunks, e.line, backward)
    return list(found.values())


class _Call:
    """One kernel call on copied memory; repeated natively, so that Python's time is not counted."""

    def __init__(self, entry: tuple[int, int, int], keep: Any):
        self.entry, self.keep = entry, keep

    def seconds(self, repeat: int) -> float:
        """The quickest of ``repeat`` bursts, a call."""
        once = shortest(runner([self.entry], self.keep), 3)
        burst = max(1, min(200, int(1e-4 / max(once, 1e-9))))
        return shortest(runner([self.entry] * burst, self.keep), repeat) / burst
