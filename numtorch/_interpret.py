"""``numtorch.interpret()``: kernels run as plain Python, under a debugger if you like, with every access checked.

Inside, each launch on the CPU runs the kernel's own source on checked pointers: an access outside of an operand's memory raises
IndexError naming kernel, operand and element, and memory that nothing has written holds NaN (floats) or 0x55 bytes. Functions
given to ``numtorch.elementwise``, ``reduction`` and ``library.custom_op`` are called as they were written, so that
``breakpoint()`` in them stops there. Traces run op by op. It is thousands of times slower than compiled code: for small inputs.
"""

from __future__ import annotations

import contextlib
import math
import os
import types
from collections.abc import Sequence
from typing import Any

import numpy as np

from .autograd import mode
from .autograd.mode import state
from .ops.launch import Launch, Scratch, twin
from .storage import Storage


class Interpreter:
    """What ops hand their launches to while kernels are interpreted."""

    def launches(self, launches: Sequence[Launch]) -> None:
        """Run launches in order; working memory is poisoned before its first use."""
        from .kernels import interpreting

        working: dict[Scratch, np.ndarray] = {}
        for la in launches:
            kernel = twin("cpu", *la.kernel) if type(la.kernel) is tuple else la.kernel
            operands: list[Any] = []
            for k, p in enumerate(la.pointers):
                if type(p) is Scratch:
                    if p not in working:
                        working[p] = _poisoned(p.nbytes, interpreting.first_use(kernel, la.env, k))
                    operands.append(interpreting.Memory(working[p], 0))
                elif type(p) is int:
                    if p:
                        raise TypeError(f"{la!r} points to the bare address {p}, whose bounds nobody knows.")
                    operands.append(None)
                else:
                    operands.append(interpreting.Memory(_bytes(p._storage), p._offset * p._layout.itemsize))
            interpreting.run(kernel, la.env, operands, la.words, la.chunks())

    def elementwise(self, op: Any, plan: Any, outputs: Sequence[Any], args: Sequence[Any]) -> None:
        """Run an elementwise op of any layouts."""
        if not plan.outputs or not plan.outputs[0].numel:
            return
        from .kernels import interpreting
        from .library.functions import public_op

        shape, strides = plan.sizes
        tensors = [*outputs, *(args[i] for i in plan.tensors)]
        views = [_view(op.name, t, shape, s) for t, s in zip(tensors, strides)]
        count = len(outputs)
        numbers = [args[i] for i in plan.scalars]
        interpreting.run_program(plan.program, views[:count], views[count:], numbers, _users_function(op), public_op)

    def poison(self, storage: Storage, dtype: Any) -> None:
        """Make uninitialised memory recognisable."""
        if storage.device == "cpu" and storage.nbytes:
            from .kernels.interpret import poison

            memory = _bytes(storage).view(dtype.numpy)
            memory.fill(dtype.stored(math.nan)) if dtype.name == "bfloat16" else poison(memory)


def _poisoned(nbytes: int, kind: type) -> np.ndarray:
    from .kernels.interpret import poison

    size = np.dtype(kind).itemsize
    memory = np.empty(-(-nbytes // size), kind)
    poison(memory)
    return memory.view(np.uint8)[:nbytes]


def _bytes(storage: Storage) -> np.ndarray:
    return storage.array((storage.nbytes,), (1,), np.dtype(np.uint8), 0)


def _view(op: str, t: Any, shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
    """A tensor's elements in the broadcast shape, as kernels see them. IndexError where some lie outside of its memory."""
    from .kernels.binding import SCALARS

    low = t._offset + sum(min(0, (n - 1) * s) for n, s in zip(shape, strides))
    high = t._offset + sum(max(0, (n - 1) * s) for n, s in zip(shape, strides))
    held = t._storage.nbytes // t._layout.itemsize
    if low < 0 or high >= held:
        raise IndexError(f"{op}: access at elements {low} to {high} of a tensor whose memory has {held} elements.")
    return t._storage.array(shape, strides, np.dtype(SCALARS[t._layout.dtype.kind]), t._offset)


def _users_function(op: Any) -> Any:
    """The scalar function behind an op that is not numtorch's own, to be called as it was written."""
    function = getattr(op, "function", None) or op.body
    own = not isinstance(function, types.FunctionType) or str(function.__globals__.get("__name__")).split(".")[0] == "numtorch"
    return None if own else function


_INTERPRETER = Interpreter()


class interpret(contextlib.ContextDecorator):
    """Run kernels as plain Python in this thread, bounds checked and uninitialised memory poisoned; a context manager and a
    decorator. ``NUMTORCH_INTERPRET=1`` in the environment does it for a whole program, in every thread. Kernels of a GPU are
    not interpreted; numba's CUDA simulator does that.

    Example:
        >>> import numtorch
        >>> @numtorch.elementwise
        ... def clipped(x):
        ...     # breakpoint() here stops for every element, with x a number
        ...     return min(x * x, 4.0)
        >>> with numtorch.interpret():
        ...     clipped(numtorch.tensor([1.0, 3.0])), numtorch.empty(2)
        (tensor([1., 4.]), tensor([nan, nan]))
    """

    def __init__(self) -> None:
        self._before: list[Any] = []

    def __enter__(self) -> None:
        self._before.append(state.interpreter)
        mode.set_interpreter(_INTERPRETER)

    def __exit__(self, *exc: Any) -> None:
        mode.set_interpreter(self._before.pop())


def from_environment() -> None:
    """Obey ``NUMTORCH_INTERPRET``; ValueError for anything but 0 and 1."""
    text = os.environ.get("NUMTORCH_INTERPRET", "0")
    if text not in ("0", "1"):
        raise ValueError(f"NUMTORCH_INTERPRET: expected 0 or 1, got {text!r}")
    if text == "1":
        mode.set_interpreter(_INTERPRETER, everywhere=True)
