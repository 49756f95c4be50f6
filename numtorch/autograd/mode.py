"""What is switched on for the running thread: gradient recording, inference mode, a trace's recorder, anomaly checks."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any


class _State(threading.local):
    """One per thread; the class attributes are the values a new thread starts with."""

    grad = True
    inference = False
    recorder: Any = None  # jit.record.Recorder while a function is being traced
    anomaly: Any = None  # autograd.anomaly.Settings while anomalies are looked for
    saved_hooks: Any = None  # (pack, unpack) of the innermost saved_tensors_hooks
    interpreter: Any = None  # _interpret.Interpreter while kernels run as plain Python
    notes: Any = None  # cuda.notes.Notes while it is noted what an op gives to a GPU
    autocast: Any = None  # ops.autocasting.Casting inside of autocast
    watched = False  # whether any of these is set (inference mode, too): one look for the hot path


state = _State()
watchers: set[int] = set()  # threads in which something is switched on: one look, not at the thread, for the hottest paths


def _in_forked_child() -> None:
    """Of the threads that were watched, a forked child has the one that forked."""
    watchers.clear()
    _look()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)


def set_recorder(recorder: Any) -> None:
    """Report ops of this thread to a recorder (None: to nobody)."""
    state.recorder = recorder
    _look()


def set_anomaly(settings: Any) -> None:
    """Look for anomalies in this thread (None: don't)."""
    state.anomaly = settings
    _look()


@contextlib.contextmanager
def nobody_looking() -> Iterator[None]:
    """What runs inside is nobody's anomaly: it has no effect, or belongs to the search itself."""
    before = state.anomaly
    set_anomaly(None)
    try:
        yield
    finally:
        set_anomaly(before)


def set_saved_hooks(hooks: Any) -> None:
    """(pack, unpack) for tensors that this thread saves for backward."""
    state.saved_hooks = hooks
    _look()


def set_interpreter(interpreter: Any, everywhere: bool = False) -> None:
    """Run this thread's kernels as plain Python (None: compiled); ``everywhere``: those of threads to come as well."""
    state.interpreter = interpreter
    if everywhere:
        _State.interpreter, _State.watched = interpreter, interpreter is not None
    _look()


def set_notes(notes: Any) -> None:
    """Note what this thread gives to a GPU (None: no longer)."""
    state.notes = notes
    _look()


def set_autocast(casting: Any) -> None:
    """Cast the operands of this thread's ops as autocast does (None: leave them)."""
    state.autocast = casting
    _look()


@contextlib.contextmanager
def uncast() -> Iterator[None]:
    """What runs inside keeps its operands' dtypes."""
    before = state.autocast
    set_autocast(None)
    try:
        yield
    finally:
        set_autocast(before)


def _look() -> None:
    state.watched = bool(
        state.inference
        or state.recorder
        or state.anomaly
        or state.saved_hooks
        or state.interpreter
        or state.notes
        or state.autocast
    )
    (watchers.add if state.watched else watchers.discard)(threading.get_ident())


class _Switch(contextlib.ContextDecorator):
    """Sets ``state.grad`` for a block or for the calls of a function, and always restores it."""

    def __init__(self, value: bool):
        self.value = value
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(state.grad)
        state.grad = self.value and not state.inference  # nothing is recorded in inference mode

    def __exit__(self, *exc: Any) -> None:
        state.grad = self._before.pop()

    def __call__(self, func: Callable) -> Callable:
        value = self.value

        @functools.wraps(func)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with _Switch(value):
                return func(*args, **kwargs)

        return wrapper


class no_grad(_Switch):
    """Operations inside record no gradients; a context manager and a decorator (with or without parentheses).

    Example:
        >>> import numtorch
        >>> w = numtorch.ones(2, requires_grad=True)
        >>> with numtorch.no_grad():
        ...     y = w * 2
        >>> y.requires_grad
        False
    """

    def __new__(cls, func: Callable | None = None) -> Any:
        self = super().__new__(cls)
        if func is not None:
            _Switch.__init__(self, cls._value)
            return self(func)
        return self

    _value = False

    def __init__(self, func: Callable | None = None):
        super().__init__(self._value)


class enable_grad(no_grad):
    """Operations inside record gradients again, within a ``no_grad`` block; a context manager and a decorator."""

    _value = True


class set_grad_enabled(_Switch):
    """Switch gradient recording at once; used with ``with``, it is restored at the end of the block.

    Example:
        >>> import numtorch
        >>> with numtorch.set_grad_enabled(False):
        ...     numtorch.is_grad_enabled()
        False
    """

    def __init__(self, mode: bool):
        super().__init__(bool(mode))
        self._previous = state.grad
        state.grad = self.value

    def __enter__(self) -> None:
        self._before.append(self._previous)
        state.grad = self.value

    def __call__(self, func: Callable) -> Callable:
        state.grad = self._previous  # used as a decorator: only the function's calls are meant
        return super().__call__(func)


class inference_mode(contextlib.ContextDecorator):
    """No gradients and no version counting for tensors made inside; they can't take part in autograd later.

    Example:
        >>> import numtorch
        >>> with numtorch.inference_mode():
        ...     numtorch.is_inference_mode_enabled()
        True
    """

    def __new__(cls, mode: Any = True) -> Any:
        if callable(mode):
            return cls()(mode)
        return super().__new__(cls)

    def __init__(self, mode: bool = True):
        self.mode = mode
        self._before: list[tuple[bool, bool]] = []

    def __call__(self, func: Callable) -> Callable:
        mode = self.mode

        @functools.wraps(func)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with inference_mode(mode):
                return func(*args, **kwargs)

        return wrapper

    def __enter__(self) -> None:
        self._before.append((state.grad, state.inference))
        state.inference = self.mode
        state.grad = state.grad and not self.mode if self.mode else True
        _look()

    def __exit__(self, *exc: Any) -> None:
        state.grad, state.inference = self._before.pop()
        _look()


def is_grad_enabled() -> bool:
    """Whether operations of this thread record gradients."""
    return state.grad


def is_inference_mode_enabled() -> bool:
    """Whether this thread is inside ``inference_mode``."""
    return state.inference
