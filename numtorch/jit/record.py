"""Recording: run a function once and note every kernel it launches, what it reads from tensors, and what it changes.

The recorder sits in ``autograd.mode.state.recorder``; ops report to it what they have just run. It keeps the memory of the
recording apart: storages made during the run are internal, all others are captured, and captured ones are copied before
their first change, so that a recording can be undone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .._source import is_internal, shown
from ..autograd.mode import set_recorder, state
from ..ops.launch import Launch
from ..shape import Layout
from ..storage import Storage
from .memory import number_at, restore, snapshot


class Ref(NamedTuple):
    """A tensor at one moment of a recording: memory, offset in elements, layout."""

    storage: Storage
    offset: int
    layout: Layout


def ref(t: Any) -> Ref:
    """What a tensor is now."""
    return Ref(t._storage, t._offset, t._layout)


def refs(value: Any) -> Any:
    """A value with each tensor in it (in tuples and lists too) replaced by its ``Ref``."""
    if hasattr(value, "_layout"):
        return ref(value)
    return type(value)(map(refs, value)) if type(value) in (tuple, list) else value


class Live(float):
    """A number that a replay computes anew: ``function()`` is called before each replay.

    ``source()``, if given, is an object whose ``version`` changes whenever the number may, or None where that can't be told.
    """

    function: Callable[[], Any]
    source: Callable[[], Any] | None

    def __new__(cls, function: Callable[[], Any], source: Callable[[], Any] | None = None) -> Any:
        self = super().__new__(cls, function())
        self.function, self.source = function, source
        return self


class Entry:
    """One recorded op: its launches or its elementwise plan, what it wrote and read, and the user's source line.

    ``args`` and ``attrs`` are what the op was called with, tensors as ``Ref``: enough to plan it again elsewhere. ``parts``:
    the recorded entries that a pass made one entry of; ``run``: the run that it is done in part by part, and its place there;
    ``tail``: the elementwise entry that the kernel does on each piece of its result (passes/tails.py).
    """

    __slots__ = (
        "args",
        "attrs",
        "backward",
        "inputs",
        "launches",
        "line",
        "name",
        "op",
        "order",
        "outputs",
        "parts",
        "plan",
        "reads",
        "run",
        "tail",
        "writes",
    )

    def __init__(self, name: str, outputs: Sequence[Ref], inputs: Sequence[Any], line: str):
        self.name, self.outputs, self.inputs, self.line = name, list(outputs), list(inputs), line
        self.op: Any = None
        self.plan: Any = None
        self.launches: Sequence[Launch] | None = None
        self.args: Sequence[Any] = ()
        self.attrs: dict = {}
        self.parts: Sequence[Entry] = ()
        self.run: Any = None
        self.tail: Any = None
        self.reads: Any = None  # what passes found out, with the operands for which it is right
        self.writes: Any = None
        self.backward = False
        self.order = 0

    def __repr__(self) -> str:
        return f"Entry({self.name})"


class Guard(NamedTuple):
    """A value that Python read: the program may be replayed past entry ``at`` only if it is the same again."""

    at: int
    source: Ref
    value: Any


class RangeCheck(NamedTuple):
    """Instead of a value: a pair (minimum, maximum) in memory must lie in [low, high], else ``make_error(value)`` is raised."""

    low: int
    high: int
    make_error: Callable[[int], Exception]


class Untraceable(Exception):
    """The function does something that a program cannot hold; the message says what."""


class NotNow(Untraceable):
    """Something wants to see each call as Python runs it: the function is not recorded as long as that is so."""


class SetsUp(NotNow):
    """The run has set up what the next ones find (a cache, an optimizer's state): it is not like them."""


class Recorder:
    """Notes what one run of a function does."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.guards: list[Guard] = []
        self.created: dict[int, Storage] = {}
        self.undo: dict[int, tuple[Storage, bytes]] = {}  # captured memory before its first change
        self.first: dict[
            int, bytes | None
        ] = {}  # internal memory after its first write, once it is written again
        self.written: set[int] = set()  # captured storages that were changed
        self.constants: list[Any] = []
        self.grads: dict[int, tuple[Any, Any]] = {}  # id(tensor) -> (tensor, its grad before)
        self.grad_reads: dict[int, tuple[Any, Any]] = {}
        self.modules: dict[int, Any] = {}
        self.live: list[Live] = []
        self.captured: dict[int, Any] = {}
        self.optimizers: dict[int, Any] = {}
        self.options: list[tuple[dict, Any]] = []  # of optimizers, that the function sets
        self.labels: dict[int, str] = {}  # names of captured memory (by id) that only the function knows
        self.in_backward = False
        self.runs_python = False  # the backward runs code of the user's: a custom Function, a hook, a checkpoint
        self.reasons: list[str] = []

    # -- memory

    def make(self, storage: Storage) -> None:
        """A storage was allocated during the run."""
        self.created[id(storage)] = storage

    def before(self, outputs: Sequence[Any]) -> None:
        """These tensors are about to be written."""
        for t in outputs:
            s = t._storage
            key = id(s)
            if key in self.created:
                if key not in self.first:
                    self.first[key] = None
                elif self.first[key] is None:
                    self.first[key] = snapshot(s)
            elif key not in self.undo:
                self.undo[key] = (s, snapshot(s))
                self.written.add(key)

    def roll_back(self) -> None:
        """Give all captured memory and gradients the values from before the run."""
        for s, content in self.undo.values():
            restore(s, content)
        for tensor, before in self.grads.values():
            tensor._grad = before

    # -- what ops report

    def elementwise(self, op: Any, plan: Any, outputs: Sequence[Any], args: Sequence[Any]) -> None:
        """An elementwise op has run."""
        e = Entry(
            op.name,
            [ref(t) for t in outputs],
            [ref(a) if hasattr(a, "_layout") else a for a in args],
            user_line(),
        )
        e.op, e.plan, e.backward, e.args = op, plan, self.in_backward, e.inputs
        for a in args:
            if type(a) is Live:
                self.live.append(a)
            elif hasattr(a, "_layout"):
                self.captured[id(a)] = a
        self.entries.append(e)

    def launches(
        self, op: Any, launches: Sequence[Launch], outputs: Sequence[Any], inputs: Sequence[Any], attrs: dict
    ) -> None:
        """A kernel op has run."""
        e = Entry(
            op.name, [ref(t) for t in outputs], [ref(t) for t in inputs if hasattr(t, "_layout")], user_line()
        )
        e.op, e.backward = op, self.in_backward
        e.args, e.attrs = refs(inputs), {k: refs(v) for k, v in attrs.items()}
        for t in inputs:
            if hasattr(t, "_layout"):
                self.captured[id(t)] = t
        e.launches = [
            Launch(
                la.kernel,
                la.env,
                [ref(p) if hasattr(p, "_layout") else p for p in la.pointers],
                la.words,
                la.units,
                la.cost,
            )
            for la in launches
        ]
        self.entries.append(e)

    def alias(self, source: Any, view: Any) -> None:
        """A view was made: nothing runs, memory is shared."""
        self.captured[id(source)] = source

    def constant(self, t: Any) -> None:
        """A tensor was made from Python data: its memory holds the same values at each replay."""
        key = id(t._storage)
        self.created.pop(key, None)
        self.constants.append(t)

    # -- what Python reads

    def item(self, t: Any) -> Any:
        """``t.item()``: the program holds only while the value is the same."""
        value = number_at(t._address(), t._layout)
        self._guard(t, value)
        return value

    def read(self, t: Any, what: str) -> None:
        """All values were read (``numpy()``, ``tolist()``, printing)."""
        self._guard(
            t, snapshot(t._storage) if t._storage.nbytes <= 1 << 16 else None
        )

    def _guard(self, t: Any, value: Any) -> None:
        if value is None:
            self.reasons.append(f"a tensor of {t._storage.nbytes} bytes was read as a whole at {user_line()}")
            return
        self.guards.append(Guard(len(self.entries), ref(t), value))

    def grad_read(self, t: Any) -> None:
        """``t.grad`` was read."""
        if id(t) not in self.grads and id(t) not in self.grad_reads:
            self.grad_reads[id(t)] = (t, t._grad)

    def grad_write(self, t: Any) -> None:
        """``t.grad`` is about to be set."""
        if id(t) not in self.grads:
            self.grads[id(t)] = (t, t._grad)

    def module(self, m: Any) -> None:
        """A module was called: its mode belongs to the guards."""
        self.modules[id(m)] = m

    def optimizer(self, o: Any) -> None:
        """An optimizer made a step: its state belongs to the guards."""
        self.optimizers[id(o)] = o

    def option(self, group: dict, key: Any) -> None:
        """An option of an optimizer's group is about to be set: a replay needs it to be set already."""
        self.options.append((group, key))

    def read_early(self, t: Any, what: str) -> None:
        """A tensor's number is read before each replay; refuses if the function changes that tensor first."""
        if id(t._storage) in self.undo:
            self.refuse(f"{what} is a tensor that the function changes before it is used")

    def custom(self) -> None:
        """A custom Function or hooks of saved tensors run: what they do are ops like any others."""
        self.runs_python = True

    def geometry(self, t: Any) -> None:
        """A tensor is about to get another shape or memory in place; Untraceable unless the function has made it."""
        if t._base is None and id(t._storage) not in self.created:
            self.refuse("a tensor that the function hasn't made gets another shape or memory")
            raise Untraceable(self.reasons[-1])

    def check_range(self, found: Any, low: int, high: int, make_error: Callable) -> None:
        """Indices were checked on the host: ``found`` holds their minimum and maximum; each replay checks again."""
        self.guards.append(Guard(len(self.entries), ref(found), RangeCheck(low, high, make_error)))

    def refuse(self, reason: str) -> None:
        """Something ran that no program can hold: the function stays eager."""
        self.reasons.append(f"{reason} at {user_line()}")


def user_line() -> str:
    """ "file:line" of the innermost frame outside of this package, or the outermost one."""
    frame: Any = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if not is_internal(name):
            return f"{shown(name)}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


class Recording:
    """Context manager: ``with Recording() as recorder``; nested recordings report to the outer one."""

    def __init__(self, recorder: Any = None):
        self.recorder = Recorder() if recorder is None else recorder

    def __enter__(self) -> Any:
        self.outer = state.recorder
        set_recorder(self.recorder)
        return self.recorder

    def __exit__(self, *exc: Any) -> None:
        set_recorder(self.outer)
