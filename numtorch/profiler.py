"""``profiler.profile()``: which ops a program spends its time in, their shapes and memory, and a trace for Chrome.

Ops, modules, backward functions, optimizer steps and replays of traces are timed one inside the other. The names are
PyTorch's where it has them.
"""

from __future__ import annotations

import contextlib
import enum
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .autograd.mode import set_anomaly, state
from .autograd.stack import Stack, module_path
from .scheduling import ProfilerAction, always, schedule, tensorboard_trace_handler

__all__ = [
    "Event", "FunctionEvents", "ProfilerAction", "ProfilerActivity", "profile", "record_function", "schedule", "tensorboard_trace_handler",
]  # fmt: skip


class ProfilerActivity(enum.Enum):
    """What is profiled; kernels on the CPU are part of the ops."""

    CPU = 0
    CUDA = 1


class Event:
    """One timed piece: ``name``, ``kind``, ``start`` and ``duration`` (ns), ``own`` (less what ran inside it), ``bytes``."""

    __slots__ = ("bytes", "depth", "duration", "kind", "line", "module", "name", "own", "shapes", "start", "thread")

    def __init__(self, name: str, kind: str, start: int, depth: int):
        self.name, self.kind, self.start, self.depth = name, kind, start, depth
        self.thread = threading.get_ident()
        self.duration = self.own = self.bytes = 0
        self.shapes = self.module = self.line = ""

    def __repr__(self) -> str:
        return f"Event({self.name}, {self.duration / 1e3:.1f} us)"


class FunctionEvents(list):
    """Averages by name: rows with ``key, count, cpu_time_total, self_cpu_time_total`` (us), ``bytes``; ``table()`` prints them."""

    def table(self, sort_by: str | None = "self_cpu_time_total", row_limit: int = 100, **ignored: Any) -> str:
        """The rows as text, the largest first; ValueError for a column that is not there."""
        text = self._text(self._sorted(sort_by)[:row_limit])
        widths = [max(len(row[k]) for row in text) for k in range(len(text[0]))]
        lines = ["  ".join(c.rjust(w) if 1 < k < 8 else c.ljust(w) for k, (c, w) in enumerate(zip(row, widths))).rstrip() for row in text]
        return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:], self._note()])

    def _total(self) -> float:
        return sum(r.self_cpu_time_total for r in self) or 1.0

    def _note(self) -> str:
        return f"in all {self._total():.1f} us"

    def _sorted(self, sort_by: str | None) -> list[Any]:
        columns = ("self_cpu_time_total", "cpu_time_total", "cpu_time", "count", "bytes")
        if sort_by is None:
            return list(self)
        name = {"self_cpu_memory_usage": "bytes", "cpu_memory_usage": "bytes"}.get(sort_by, sort_by)
        if name not in columns:
            raise ValueError(f"table: there is no column {sort_by!r}; sort by one of {', '.join(columns)}")
        return sorted(self, key=lambda r: -getattr(r, name))

    def _text(self, rows: Sequence[Any]) -> list[list[str]]:
        """A head and the rows; the last column, shapes, only where there are any."""
        total = self._total()
        text = [["name", "kind", "self us", "self %", "total us", "each us", "calls", "bytes", "shapes"]]
        text += [
            [
                r.key, r.kind, f"{r.self_cpu_time_total:.1f}", f"{100 * r.self_cpu_time_total / total:.1f}",
                f"{r.cpu_time_total:.1f}", f"{r.cpu_time:.2f}", str(r.count), f"{r.bytes:,}", r.shapes,
            ]
            for r in rows
        ]  # fmt: skip
        return text if any(row[-1] for row in text[1:]) else [row[:-1] for row in text]

    def __str__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        from .display import MOST_KERNELS, table

        rows = self._sorted("self_cpu_time_total")[:MOST_KERNELS]
        head, *text = self._text(rows)
        parts = [r.self_cpu_time_total / self._total() for r in rows]
        more = [f"{len(self) - MOST_KERNELS} more lines; print it to see them all"] if len(self) > MOST_KERNELS else []
        return table(head, text, right=range(2, 8), parts=parts, notes=[*more, self._note()])


class Average:
    """All events of one name."""

    def __init__(self, key: str, kind: str, shapes: str):
        self.key, self.kind, self.shapes = key, kind, shapes
        self.count = self.bytes = 0
        self.cpu_time_total = self.self_cpu_time_total = 0.0

    @property
    def cpu_time(self) -> float:
        """Microseconds a call."""
        return self.cpu_time_total / self.count

    def add(self, e: Event) -> None:
        """One more event."""
        self.count += 1
        self.bytes += e.bytes
        self.cpu_time_total += e.duration / 1e3
        self.self_cpu_time_total += e.own / 1e3


class Watcher:
    """What ops report to while a profile runs; it hands everything on to anomaly detection if that is on as well."""

    looks_inside, times_traces = False, True  # traces are replayed as ever, and timed as one

    def __init__(self, inner: Any, with_shapes: bool, with_lines: bool):
        self.inner, self.with_shapes, self.with_lines = inner, with_shapes, with_lines
        self.events: list[Event] = []
        self.open: list[Event] = []
        self.modules: list[Any] = []
        self.optimizer: Any = None
        self.line = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["inner"], name)  # check_nan and the like, if anomalies are looked for too

    @contextlib.contextmanager
    def timed(self, name: str, kind: str) -> Iterator[Event]:
        """While something runs."""
        e = self.begin(name, kind)
        try:
            yield e
        finally:
            while self.open[-1] is not e:  # an op that failed within
                self.open.pop()
            self.end()

    def begin(self, name: str, kind: str) -> Event:
        """Something starts."""
        e = Event(name, kind, time.perf_counter_ns(), len(self.open))
        if self.modules:
            e.module = module_path(tuple(self.modules))
        self.open.append(e)
        return e

    def end(self) -> None:
        """It is done."""
        e = self.open.pop()
        e.duration = time.perf_counter_ns() - e.start
        e.own += e.duration
        if self.open:
            self.open[-1].own -= e.duration
        self.events.append(e)

    # -- what the framework calls

    def on_write(self, outputs: Sequence[Any], inputs: Sequence[Any]) -> None:
        """An op is about to run."""
        if self.inner is not None:
            self.inner.on_write(outputs, inputs)
        e = self.begin("", "op")
        if self.with_shapes:
            e.shapes = ", ".join(str(list(x._layout.shape)) for x in inputs if hasattr(x, "_layout"))
        if self.with_lines:
            e.line = Stack(2).line
        e.bytes = sum(t._layout.numel * t._layout.itemsize for t in outputs)

    def on_forward(self, name: str, outputs: Sequence[Any], inputs: Sequence[Any]) -> None:
        """It has run (a custom Function only reports here)."""
        if self.open and self.open[-1].kind == "op" and not self.open[-1].name:
            self.open[-1].name = name
            self.end()
        if self.inner is not None:
            self.inner.on_forward(name, outputs, inputs)

    @contextlib.contextmanager
    def inside(self, module: Any) -> Iterator[None]:
        """While a module's forward runs."""
        self.modules.append(module)
        inner = self.inner.inside(module) if self.inner is not None else contextlib.nullcontext()
        try:
            with self.timed(type(module).__name__, "module"), inner:
                yield
        finally:
            self.modules.pop()

    def leave(self, module: Any, result: Any) -> None:
        """A module is done."""
        if self.inner is not None:
            self.inner.leave(module, result)

    @contextlib.contextmanager
    def stepping(self, optimizer: Any) -> Iterator[None]:
        """While an optimizer's step runs."""
        outer, self.optimizer = self.optimizer, optimizer
        inner = self.inner.stepping(optimizer) if self.inner is not None else contextlib.nullcontext()
        try:
            with self.timed(f"{type(optimizer).__name__}.step", "optimizer"), inner:
                yield
        finally:
            self.optimizer = outer

    def on_create(self, node: Any) -> None:
        """A node of the autograd graph was made."""
        if self.inner is not None:
            self.inner.on_create(node)

    def run_backward(self, node: Any, grads: Any) -> Any:
        """Run a node's backward."""
        with self.timed(node.title, "backward"):
            return node.run(grads) if self.inner is None else self.inner.run_backward(node, grads)


class profile:
    """Time the ops of a ``with`` block.

    Args:
        activities, with_flops, with_modules and PyTorch's other options: accepted, they change nothing.
        schedule: what is done in each step (``numtorch.profiler.schedule``); ``step()`` ends one. Without it everything is recorded.
        record_shapes: note the shapes of operands, and keep them apart in ``key_averages(group_by_input_shape=True)``.
        profile_memory: accepted; the bytes that ops write are always counted.
        with_stack: note the user's line of each op.
        on_trace_ready: called with the profile at the end, and at the end of each cycle of the schedule.

    Example:
        >>> import numtorch
        >>> with numtorch.profiler.profile() as p:
        ...     _ = (numtorch.ones(3) * 2).exp()
        >>> [e.name for e in p.events() if e.kind == "op"]
        ['fill', 'mul', 'exp']
    """

    def __init__(self, activities: Any = None, *, schedule: Callable[[int], ProfilerAction] | None = None,
                 record_shapes: bool = False, profile_memory: bool = False, with_stack: bool = False,
                 on_trace_ready: Callable[[Any], Any] | None = None, **ignored: Any):  # fmt: skip
        self.record_shapes, self.with_stack, self.on_trace_ready = record_shapes, with_stack, on_trace_ready
        self.schedule, self.step_num = schedule or always, 0
        self.current_action: ProfilerAction | None = None
        self._watcher: Watcher | None = None
        self._before: Any = None

    def start(self) -> None:
        """Begin with the first step."""
        self.step_num = 0
        self.current_action = self.schedule(0)
        if self.current_action.records:
            self._begin()

    def _begin(self) -> None:
        self._before = state.anomaly
        self._watcher = Watcher(self._before, self.record_shapes, self.with_stack)
        set_anomaly(self._watcher)

    def _end(self) -> None:
        set_anomaly(self._before)
        if self.on_trace_ready is not None:
            self.on_trace_ready(self)

    def stop(self) -> None:
        """Stop; RuntimeError if it was not started."""
        if self.current_action is None:
            raise RuntimeError("profile: stop() without start(); use it as a with block")
        if self.current_action.records:
            self._end()
        self.current_action = None

    def __enter__(self) -> profile:
        self.start()
        return self

    def __exit__(self, *exc: Any) -> None:
        self.stop()

    def step(self) -> None:
        """End a training step: it is marked in the trace, and the schedule says what comes next."""
        done = self.current_action
        if done is None:
            return
        if done.records and self._watcher is not None:
            with self._watcher.timed("ProfilerStep", "step"):
                pass
        self.step_num += 1
        self.current_action = action = self.schedule(self.step_num)
        if done.records and (done is ProfilerAction.RECORD_AND_SAVE or not action.records):
            self._end()
        if action.records and done is not ProfilerAction.RECORD:
            self._begin()

    def events(self) -> list[Event]:
        """Everything that was timed, in the order of its start."""
        return sorted(self._watcher.events, key=lambda e: e.start) if self._watcher is not None else []

    def key_averages(self, group_by_input_shape: bool = False, **ignored: Any) -> FunctionEvents:
        """Averages by name (and shapes)."""
        found: dict[tuple, Average] = {}
        for e in self.events():
            shapes = e.shapes if group_by_input_shape else ""
            key = (e.name, e.kind, shapes)
            if key not in found:
                found[key] = Average(e.name, e.kind, shapes)
            found[key].add(e)
        return FunctionEvents(found.values())

    def export_chrome_trace(self, path: Any) -> None:
        """Write the events to a file for chrome://tracing or ui.perfetto.dev."""
        rows: list[dict[str, Any]] = []
        for e in self.events():
            notes = {"shapes": e.shapes, "module": e.module, "line": e.line, "bytes": e.bytes or ""}
            rows.append({
                "ph": "X", "cat": e.kind, "name": e.name, "pid": os.getpid(), "tid": e.thread, "ts": e.start / 1e3,
                "dur": e.duration / 1e3, "args": {k: v for k, v in notes.items() if v},
            })  # fmt: skip
        with open(path, "w") as file:
            json.dump({"traceEvents": rows, "displayTimeUnit": "ns"}, file)

    def __str__(self) -> str:
        return self.key_averages().table()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.key_averages()._repr_html_()


class record_function(contextlib.ContextDecorator):
    """Name a part of the program in a running profile; does nothing outside of one.

    Example:
        >>> import numtorch
        >>> with numtorch.profiler.profile() as p, numtorch.profiler.record_function("mine"):
        ...     _ = numtorch.ones(2) + 1
        >>> p.events()[0].name
        'mine'
    """

    def __init__(self, name: str, args: str | None = None):
        self.name = name
        self._open: list[Any] = []

    def __enter__(self) -> record_function:
        watcher = state.anomaly if isinstance(state.anomaly, Watcher) else None
        if watcher is not None:
            watcher.begin(self.name, "user")
        self._open.append(watcher)
        return self

    def __exit__(self, *exc: Any) -> None:
        watcher = self._open.pop()
        if watcher is not None:
            watcher.end()
