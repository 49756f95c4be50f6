"""The cells of recurrent networks: one fused kernel a step forward, one backward.

A step's gates are ``x`` (from the input, bias included) plus ``h`` (from the state). The forward bodies
give the gates as
well, for the backward bodies. Derivatives of the derivatives go through ordinary operations
(``nn/_recurrent.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._tensor import Tensor
from ..autograd.mode import state
from ..shape import contiguous, layout
from ..storage import Storage
from . import launch as launching
from .declare import kernel_op
from .elementwise import maximum, sigmoid, tanh, where
from .launch import Launch, Scratch, twin
from .matmul import gemm
from .pointwise import Elementwise, elementwise


@elementwise(outputs=6, int_ok=False)
def lstm_step(xi, xf, xu, xo, hi, hf, hu, ho, c):
    """Input, forget, update and output gate, then the new cell and the new hidden state."""
    i = sigmoid(xi + hi)
    f = sigmoid(xf + hf)
    u = tanh(xu + hu)
    o = sigmoid(xo + ho)
    cell = f * c + i * u
    return i, f, u, o, cell, o * tanh(cell)


@elementwise(outputs=5, int_ok=False)
def lstm_step_back(i, f, u, o, c, cell, dh, dnext, dcell):
    """Gradients of the gates before their activations, and of the old cell."""
    t = tanh(cell)
    g = dh + dnext
    d = dcell + g * (o * (1.0 - t * t))
    return (
        d * (u * (i * (1.0 - i))),
        d * (c * (f * (1.0 - f))),
        d * (i * (1.0 - u * u)),
        g * (t * (o * (1.0 - o))),
        d * f,
    )


@elementwise(outputs=5, int_ok=False)
def gru_step(xr, xz, xn, hr, hz, hn, h):
    """Reset gate, update gate, candidate and its part from the state, then the new hidden state."""
    r = sigmoid(xr + hr)
    z = sigmoid(xz + hz)
    n = tanh(xn + r * hn)
    return r, z, n, hn, n + z * (h - n)


@elementwise(outputs=7, int_ok=False)
def gru_step_back(r, z, n, hn, h, dh, dnext, kept):
    """Gradients of the three gates from the input, of the three from the state, and of the old state itself.

    ``kept`` is the last of these from the step after, ``dnext`` what came back through its gates.
    """
    g = dh + dnext + kept
    dn = g * ((1.0 - z) * (1.0 - n * n))
    dz = g * ((h - n) * (z * (1.0 - z)))
    dr = dn * (hn * (r * (1.0 - r)))
    return dr, dz, dn, dr, dz, dn * r, g * z


@elementwise(int_ok=False)
def tanh_step(x, h):
    """The new hidden state ``tanh(x + h)``."""
    return tanh(x + h)


@elementwise(int_ok=False)
def tanh_step_back(y, dh, dnext):
    """Gradient of ``x + h`` in ``tanh_step``, from its result."""
    return (dh + dnext) * (1.0 - y * y)


@elementwise(int_ok=False)
def relu_step(x, h):
    """The new hidden state ``max(x + h, 0)``."""
    return maximum(x + h, 0.0)


@elementwise(int_ok=False)
def relu_step_back(y, dh, dnext):
    """Gradient of ``x + h`` in ``relu_step``, from its result."""
    return where(y > 0.0, dh + dnext, 0.0)


# -- a whole sequence as one kernel

CACHED = 1 << 20  # bytes of a weight up to which each thread can read all of it at every step
LEAST_ROWS = 4  # rows of a batch from which the input's weight is applied step by step as quickly as to all steps at once


def whole_fits(x: Tensor, w: Tensor, w_in: Tensor | None = None) -> bool:
    """Whether ``whole`` runs a layer of this input and weight quickly: with ``w_in`` from the input itself."""
    la, most = w._layout, CACHED
    if w_in is not None:
        most -= w_in._layout.numel * w_in._layout.itemsize if x._layout.shape[1] >= LEAST_ROWS else CACHED
    return (
        la.device == "cpu"
        and la.dtype.name in ("float32", "float64")
        and la.dtype is x._layout.dtype
        and 0 < la.numel * la.itemsize <= most
        and x._layout.numel > 0
    )


@kernel_op(["x", "w", "b", "w_in", "b_in", "h0", "c0"], name="recurrent")
def whole(
    x: Tensor, w: Tensor, b: Any, w_in: Any, b_in: Any, h0: Tensor, c0: Any, kind: str, reverse: bool, keeps: bool
) -> Any:
    """All steps of a layer from its input (T, N, F), or without ``w_in`` from the gates of it (T, N, gates * H): the
    states (T + 1, N, H); with ``keeps`` also what the backward needs of each step, and the cells of an LSTM (else only
    the last ones, (1, N, H)). Contiguous inputs, ``x`` in its last dimension.
    """
    steps, n, _ = x._layout.shape
    size, dtype, device = w._layout.shape[1], x._layout.dtype, x._layout.device
    states = contiguous((steps + 1, n, size), dtype, device)
    kept = contiguous((steps if keeps else 0, n, 4 * size), dtype, device)
    cells = states if keeps else contiguous((1, n, size), dtype, device)
    return {"LSTM": (states, kept, cells), "GRU": (states, kept)}.get(kind, (states,))


@whole.plan
def _(
    outputs: Any, x: Tensor, w: Tensor, b: Any, w_in: Any, b_in: Any, h0: Tensor, c0: Any,
    kind: str, reverse: bool, keeps: bool,
) -> Any:  # fmt: skip
    dtype, (steps, n, inputs), (cols, size) = x.dtype.kind, x._layout.shape, w._layout.shape
    inputs = 0 if w_in is None else inputs
    panels, packed = twin("cpu", "recurrent", "geometry")(kind, size, inputs, dtype)
    together = 8 if n > 8 else 4
    itemsize, units, own = x._layout.itemsize, -(-n // together), twin("cpu", "recurrent", "state_words")(size, dtype)
    weights, running = Scratch(packed * itemsize), Scratch(units * own * itemsize, own * itemsize)
    h, kept, c = [*outputs, 0, 0][:3]
    sources = [0 if t is None else t for t in (w, w_in, b, b_in)]
    words = (size, inputs, cols // size, int(b is not None) + 2 * int(b_in is not None), panels)
    packing = Launch(("recurrent", "pack_recurrent"), {"T": dtype}, [weights, *sources], words, panels, 2 * packed)
    states = [h, c, kept, x, weights, h0, 0 if c0 is None else c0, running]
    flags = (int(reverse), int(keeps), int(c0 is not None))
    words = (steps, n, size, inputs, *x._layout.strides[:2], *flags, together, own)
    cost = steps * n * (size + inputs) * (cols + 40)
    return [packing, Launch(twin("cpu", "recurrent", "scan")(kind, dtype), {"T": dtype}, states, words, units, cost)]


# -- a step that is run many times


class Part:
    """Columns of step ``first``, ``first + way``, ... of a contiguous (T, N, C) buffer; ``way`` 0 stays
    where it is.
    """

    __slots__ = ("buffer", "column", "first", "way", "width")

    def __init__(self, buffer: Tensor, first: int, way: int, column: int, width: int):
        self.buffer, self.first, self.way, self.column, self.width = buffer, first, way, column, width

    def at(self, k: int) -> Tensor:
        """The tensor of repetition ``k``: an alias of the buffer, without history."""
        buffer = self.buffer
        _, n, c = buffer._layout.shape
        la = layout((n, self.width), (c, 1), buffer._layout.dtype, buffer._layout.device)
        offset = buffer._offset + (self.first + k * self.way) * n * c + self.column
        part = Tensor._make(buffer._storage, offset, la)
        if state.recorder is not None:
            state.recorder.alias(buffer, part)
        return part

    def step(self) -> int:
        """By how many bytes its address moves with each repetition."""
        _, n, c = self.buffer._layout.shape
        return self.way * n * c * self.buffer._layout.itemsize


class Step:
    """Launches that are repeated with moving operands: matrix products and elementwise ops, without history.

    On the CPU the plans are made once and the addresses counted on; while a trace records, or elsewhere,
    each repetition
    goes the common way.
    """

    def __init__(self) -> None:
        self._calls: list[tuple[Any, list[Part], list[Any]]] = []

    def product(self, out: Part, a: Part, b: Tensor, bias: Tensor | None) -> None:
        """``out = a @ b + bias``."""
        self._calls.append((None, [out], [a, b, bias]))

    def elementwise(self, op: Elementwise, outputs: Sequence[Part], inputs: Sequence[Part]) -> None:
        """``outputs = op(inputs)``; an output may be an input."""
        self._calls.append((op, list(outputs), list(inputs)))

    def run(self, times: int) -> None:
        """All launches, ``times`` times."""
        first = self._calls[0][1][0].buffer
        if not times or not first._layout.numel:
            return
        if not (state.recorder or state.anomaly or state.interpreter) and first._layout.device == "cpu":
            self._count_on(times)
        else:
            for k in range(times):
                for op, outputs, inputs in self._calls:
                    found = [x.at(k) if type(x) is Part else x for x in inputs]
                    if op is None:
                        gemm.run([outputs[0].at(k)], tuple(found), {})
                    else:
                        _run_into(op, [o.at(k) for o in outputs], found)
        for _, outputs, _ in self._calls:
            for o in outputs:
                o.buffer._storage.version += 1

    def _count_on(self, times: int) -> None:
        call = launching.driver()
        planned = [
            _planned_product(*outputs, *inputs) if op is None else _planned(op, outputs, inputs)
            for op, outputs, inputs in self._calls
        ]
        for k in range(times):
            for address, chunks, pointers, words, _ in planned:
                call(address, chunks, *[start + k * step for start, step in pointers], *words)


def _planned(op: Elementwise, outputs: list[Part], inputs: list[Any]) -> tuple:
    """(address, chunks, [(first address, step)], words, what must stay alive) of an elementwise launch."""
    outs, args = [o.at(0) for o in outputs], [x.at(0) for x in inputs]
    plan = _plan_into(op, outs, args)
    parts = [*outputs, *(inputs[i] for i in plan.tensors)]
    tensors = [*outs, *(args[i] for i in plan.tensors)]
    pointers = [(t._address(), p.step()) for t, p in zip(tensors, parts)]
    return plan.address, plan.chunks, pointers, plan.words, tensors


def _planned_product(out: Part, a: Any, b: Any, bias: Any) -> tuple:
    """The same of a matrix product."""
    tensors = [out.at(0), a.at(0)]
    steps = {t._address(): p.step() for t, p in zip(tensors, (out, a))}
    assert gemm._plan is not None
    (launch,) = gemm._plan(tensors[:1], tensors[1], b, bias)
    pointers: list[tuple[int, int]] = []
    keep: list[Any] = [tensors, launch.pointers]
    for operand in launch.pointers:
        if isinstance(operand, launching.Scratch):
            keep.append(Storage(operand.nbytes))
            address = keep[-1].ptr
        else:
            address = operand if type(operand) is int else operand._address()
        pointers.append((address, steps.get(address, 0)))
    return launch.address(), launch.chunks(), pointers, launch.words, keep


def _plan_into(op: Elementwise, outputs: Sequence[Tensor], args: Sequence[Tensor]) -> Any:
    key = ("into", *[t._layout for t in outputs], *[a._layout for a in args])
    plan = op._plans.get(key)
    if plan is None:
        plan, _ = op.plan(key, tuple(args), out=[t._layout for t in outputs])
    return plan


def _run_into(op: Elementwise, outputs: Sequence[Tensor], args: Sequence[Tensor]) -> None:
    """Run an elementwise op into given tensors of one shape, without history."""
    op.execute(_plan_into(op, outputs, args), outputs, args)
