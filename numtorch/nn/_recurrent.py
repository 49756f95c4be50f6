"""Running a recurrent layer over time.

``scan`` is one node of the autograd graph. Forward, one kernel runs all steps, the input's weight included; where it
does not fit, a step is one matrix product and one fused kernel that write into buffers of the whole sequence. Backward,
the same in reverse, and the weight gradients are one product each at the end.
``steps`` is the same computation in ordinary operations, one at a time: for packed sequences and projections, and for
gradients of gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numtorch

from .. import autograd
from .._tensor import Tensor
from ..autograd.mode import state as mode
from ..autograd.mode import uncast
from ..dtype import REDUCED
from ..ops import recurrent as R
from ..ops.node_names import named

GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


def _empty(like: Tensor, *shape: int) -> Tensor:
    return numtorch.empty(shape, dtype=like.dtype, device=like.device)


class _Sequence:
    """The buffers of one layer in one direction, each (T, N, *); ``keeps``: with what the backward needs.

    The states have a place more, for the initial one: before the first step, or with ``reverse`` after the
    last.
    """

    def __init__(self, kind: str, reverse: bool, given: Sequence[Any], keeps: bool):
        x, w_in, w, b_in, b, h0, c0 = [None if t is None else t.detach() for t in given]
        self.kind, self.reverse, self.w, self.b = kind, reverse, w, b
        self.steps, self.n, _ = x.shape
        self.size = w.shape[1]
        fed = R.whole_fits(x, w, w_in)
        self.x = x if fed else numtorch.nn.functional.linear(x, w_in, b_in)
        if fed or R.whole_fits(self.x, w):
            inputs = (w, b, w_in, b_in, h0, c0) if fed else (w, b, None, None, h0, c0)
            self.h, self.kept, self.c = self._whole(inputs, keeps)
            return
        self.h = self._with_initial(h0)
        self.c = self._with_initial(c0) if c0 is not None else None
        # What the backward needs of each step: the gates (LSTM), or the gates and the state's part (GRU).
        kept = {"LSTM": 4, "GRU": 4}.get(kind)
        self.kept = None if kept is None else _empty(x, self.steps, self.n, kept * self.size)
        self._forward()

    def _whole(self, given: Sequence[Any], keeps: bool) -> tuple[Any, Any, Any]:
        """States, what the backward needs, and cells, by one kernel."""
        x = self.x if self.x.stride(2) == 1 else self.x.contiguous()
        inputs = [None if t is None else t.contiguous() for t in given]
        found = R.whole(x, *inputs, kind=self.kind, reverse=self.reverse, keeps=keeps)
        return (*found, None, None)[:3]

    def _with_initial(self, initial: Tensor) -> Tensor:
        states = _empty(initial, self.steps + 1, self.n, self.size)
        states.select(0, self.steps if self.reverse else 0).copy_(initial)
        return states

    def _parts(self, buffer: Any, count: int, back: bool = False, shift: int = 0) -> list[R.Part]:
        """A buffer's columns in ``count`` parts, in the order of the steps or ``back`` from the last one."""
        descending = self.reverse != back
        first, way = (self.steps - 1, -1) if descending else (0, 1)
        width = buffer._layout.shape[2] // count
        return [R.Part(buffer, first + shift, way, k * width, width) for k in range(count)]

    def _old(self, states: Any, back: bool = False) -> R.Part:
        """The states before each step."""
        return self._parts(states, 1, back, 1 if self.reverse else 0)[0]

    def _new(self, states: Any, back: bool = False) -> R.Part:
        """The states after each step."""
        return self._parts(states, 1, back, 0 if self.reverse else 1)[0]

    def results(self, states: Tensor) -> Tensor:
        """The states after all steps, (T, N, H)."""
        return states.narrow(0, 0 if self.reverse else 1, self.steps)

    def before(self, states: Tensor) -> Tensor:
        """The states before all steps, (T, N, H)."""
        return states.narrow(0, 1 if self.reverse else 0, self.steps)

    def last(self, states: Tensor) -> Tensor:
        """The state after the last step, (N, H)."""
        return states.select(0, 0 if self.reverse else states.shape[0] - 1)

    def _forward(self) -> None:
        """All steps, in the order of the direction."""
        gates = GATES[self.kind]
        own = _empty(self.x, 1, self.n, gates * self.size)  # the gates from the state, of one step
        step = R.Step()
        b = None if self.b is None else self.b.detach()
        step.product(_still(own), self._old(self.h), self.w.t(), b)
        inputs = [*self._parts(self.x, gates), *_still_parts(own, gates)]
        h = self._new(self.h)
        if self.kind == "LSTM":
            outputs = [*self._parts(self.kept, 4), self._new(self.c), h]
            step.elementwise(R.lstm_step, outputs, [*inputs, self._old(self.c)])
        elif self.kind == "GRU":
            step.elementwise(R.gru_step, [*self._parts(self.kept, 4), h], [*inputs, self._old(self.h)])
        else:
            step.elementwise(R.tanh_step if self.kind == "RNN_TANH" else R.relu_step, [h], inputs)
        step.run(self.steps)

    def backward(self, dout: Tensor, dh: Tensor, dc: Any) -> tuple[Tensor, Tensor, Tensor, Any]:
        """Gradients of the gates from the input and from the state, of the initial state and cell."""
        width = GATES[self.kind] * self.size
        dx = _empty(self.x, self.steps, self.n, width)
        dg = _empty(self.x, self.steps, self.n, width) if self.kind == "GRU" else dx
        dnext = dh.detach().clone().unsqueeze(0)
        also = numtorch.zeros_like(dnext) if dc is None else dc.detach().clone().unsqueeze(0)
        g = self._parts(dout, 1, True)[0]
        step = R.Step()
        if self.kind == "LSTM":
            states = [self._old(self.c, True), self._new(self.c, True)]
            inputs = [*self._parts(self.kept, 4, True), *states, g, _still(dnext), _still(also)]
            step.elementwise(R.lstm_step_back, [*self._parts(dx, 4, True), _still(also)], inputs)
        elif self.kind == "GRU":
            inputs = [
                *self._parts(self.kept, 4, True),
                self._old(self.h, True),
                g,
                _still(dnext),
                _still(also),
            ]
            outputs = [*self._parts(dx, 3, True), *self._parts(dg, 3, True), _still(also)]
            step.elementwise(R.gru_step_back, outputs, inputs)
        else:
            op = R.tanh_step_back if self.kind == "RNN_TANH" else R.relu_step_back
            step.elementwise(op, self._parts(dx, 1, True), [self._new(self.h, True), g, _still(dnext)])
        step.product(_still(dnext), self._parts(dg, 1, True)[0], self.w, None)
        step.run(self.steps)
        if self.kind == "GRU":
            dnext = dnext + also
        return dx, dg, dnext.squeeze(0), also.squeeze(0) if self.kind == "LSTM" else None


def _still_parts(buffer: Tensor, count: int) -> list[R.Part]:
    """Columns of a (1, N, C) buffer that every step uses."""
    width = buffer._layout.shape[2] // count
    return [R.Part(buffer, 0, 0, k * width, width) for k in range(count)]


def _still(buffer: Tensor) -> R.Part:
    return _still_parts(buffer, 1)[0]


class _Scan(autograd.Function):
    """The whole sequence as one node of the graph."""

    @staticmethod
    def forward(ctx: Any, kind: str, reverse: bool, *given: Any) -> Any:
        run = _Sequence(kind, reverse, given, any(ctx.needs_input_grad))
        out, h = run.results(run.h).detach(), run.last(run.h).clone()
        c = None if run.c is None else run.last(run.c).clone()
        ctx.sequence = run
        ctx.given = [t is not None for t in given]
        ctx.save_for_backward(*[t for t in given if t is not None], out)
        return (out, h) if c is None else (out, h, c)

    @staticmethod
    def backward(ctx: Any, dout: Any, dh: Any, dc: Any = None) -> tuple[Any, ...]:
        *saved, out = ctx.saved_tensors
        rest = iter(saved)
        inputs = [next(rest) if there else None for there in ctx.given]
        x, w_in, _, b_in, b, h0, c0 = inputs
        run = ctx.sequence
        if autograd.is_grad_enabled():
            return (None, None, *_through_steps(run.kind, run.reverse, inputs, (dout, dh, dc)))
        dout = numtorch.zeros_like(out) if dout is None else dout.contiguous()
        dh = numtorch.zeros_like(h0) if dh is None else dh
        if dc is None and c0 is not None:
            dc = numtorch.zeros_like(c0)
        dx, dg, dh0, dc0 = run.backward(dout, dh, dc)
        needs, old = ctx.needs_input_grad[2:], run.before(run.h).reshape(-1, run.size)
        fed, flat = dx.reshape(-1, dx.shape[2]), dg.reshape(-1, dg.shape[2])
        return (
            None, None, (fed @ w_in).reshape(x.shape) if needs[0] else None,
            fed.t() @ x.reshape(-1, x.shape[2]) if needs[1] else None, flat.t() @ old if needs[2] else None,
            fed.sum(0) if b_in is not None and needs[3] else None, flat.sum(0) if b is not None and needs[4] else None,
            dh0, dc0,
        )  # fmt: skip


def _through_steps(kind: str, reverse: bool, inputs: Sequence[Any], grads: tuple) -> list[Any]:
    """Gradients that can be differentiated again: those of the same computation in ordinary operations."""
    x, w_in, w, b_in, b, h0, c0 = inputs
    sizes = [x.shape[1]] * x.shape[0]
    gates = numtorch.nn.functional.linear(x.reshape(-1, x.shape[2]), w_in, b_in)
    outputs = steps(kind, reverse, gates, sizes, w, b, None, h0, c0)
    out = outputs[0].reshape(x.shape[0], x.shape[1], -1)
    pairs = [(o, g) for o, g in zip((out, *outputs[1:]), grads) if o is not None and g is not None]
    wanted = [t for t in inputs if t is not None and t.requires_grad]
    found = autograd.grad(
        [o for o, _ in pairs], wanted, [g for _, g in pairs], create_graph=True, allow_unused=True
    )
    results = iter(found)
    return [next(results) if t is not None and t.requires_grad else None for t in inputs]


def scan(
    kind: str, reverse: bool, x: Tensor, w_in: Tensor, w: Tensor, b_in: Any, b: Any, h0: Tensor, c0: Any
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run a layer over inputs (T, N, F): states (T, N, H), last state and last cell (N, H)."""
    given, d = (x, w_in, w, b_in, b, h0, c0), x.dtype
    if mode.autocast is not None:
        with uncast():
            return scan(kind, reverse, *given)
    if d in REDUCED:  # the states between are not rounded
        found = scan(kind, reverse, *[None if t is None else t.to(numtorch.float32) for t in given])
        return tuple([None if t is None else t.to(d) for t in found])  # type: ignore[return-value]
    result = _Scan.apply(kind, reverse, x, w_in, w, b_in, b, h0, c0)
    named(result[0], "MkldnnRnnLayerBackward0" if kind == "LSTM" else "StackBackward0")
    return result if len(result) == 3 else (*result, None)


class _Gates(autograd.Function):
    """One step of an LSTM or GRU from the gates of input and state: a fused kernel forward, one backward."""

    @staticmethod
    def forward(ctx: Any, kind: str, x: Tensor, g: Tensor, h: Any, c: Any) -> Any:
        n, size = x.shape[0], x.shape[1] // GATES[kind]
        kept, new = _empty(x, 1, n, 4 * size), _empty(x, 2, n, size)
        state = (c if kind == "LSTM" else h).contiguous()
        first, second = (R.Part(new, k, 0, 0, size) for k in range(2))
        inputs = [
            *_still_parts(x.contiguous().unsqueeze(0), GATES[kind]),
            *_still_parts(g.unsqueeze(0), GATES[kind]),
        ]
        step = R.Step()
        op, outputs = (R.lstm_step, [first, second]) if kind == "LSTM" else (R.gru_step, [second])
        step.elementwise(op, [*_still_parts(kept, 4), *outputs], [*inputs, _still(state.unsqueeze(0))])
        step.run(1)
        ctx.kind, ctx.kept = kind, kept
        result, cell = new.select(0, 1).detach(), new.select(0, 0).detach()
        ctx.save_for_backward(x, g, state, cell)
        return (result, cell) if kind == "LSTM" else result

    @staticmethod
    def backward(ctx: Any, dh: Tensor, dc: Any = None) -> tuple[Any, ...]:
        x, g, state, cell = ctx.saved_tensors
        kind, count = ctx.kind, GATES[ctx.kind]
        if autograd.is_grad_enabled():
            return (None, *_through_cell(kind, (x, g, state), (dh, dc)))
        n, size = state.shape
        dx = _empty(x, 1, n, count * size)
        dg = dx if kind == "LSTM" else _empty(x, 1, n, count * size)
        old, grads = (_still(t.contiguous().unsqueeze(0)) for t in (state, dh))
        zero, also = (_still(numtorch.zeros_like(state).unsqueeze(0)) for _ in range(2))
        step = R.Step()
        if kind == "LSTM":
            also = _still(dc.contiguous().clone().unsqueeze(0))
            inputs = [old, _still(cell.unsqueeze(0)), grads, zero, also]
            step.elementwise(
                R.lstm_step_back, [*_still_parts(dx, 4), also], [*_still_parts(ctx.kept, 4), *inputs]
            )
        else:
            outputs = [*_still_parts(dx, 3), *_still_parts(dg, 3), also]
            step.elementwise(R.gru_step_back, outputs, [*_still_parts(ctx.kept, 4), old, grads, zero, also])
        step.run(1)
        down = also.buffer.squeeze(0)
        states = (None, down) if kind == "LSTM" else (down, None)
        return None, dx.squeeze(0), dg.squeeze(0), *states


def _through_cell(kind: str, inputs: tuple, grads: tuple) -> tuple[Any, ...]:
    """Gradients of one step that can be differentiated again."""
    x, g, state = inputs
    h, c = _cell(kind, x, g, None if kind == "LSTM" else state, state if kind == "LSTM" else None)
    pairs = [(o, d) for o, d in zip((h, c), grads) if o is not None and d is not None]
    wanted = [t for t in inputs if t.requires_grad]
    outputs, given = [o for o, _ in pairs], [d for _, d in pairs]
    found = iter(autograd.grad(outputs, wanted, given, create_graph=True, allow_unused=True))
    dx, dg, down = (next(found) if t.requires_grad else None for t in inputs)
    return (dx, dg, None, down) if kind == "LSTM" else (dx, dg, down, None)


def cell(
    kind: str, x: Tensor, w: Tensor, b: Tensor | None, h: Tensor, c: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """One step from the gates of the input: the new state, and the new cell of an LSTM."""
    g = numtorch.nn.functional.linear(h, w, b)
    if mode.autocast is not None and kind in ("LSTM", "GRU"):  # which leaves states as they are
        d = numtorch.promote_types(x.dtype, h.dtype)
        x, g, h, c = x.to(d), g.to(d), h.to(d), None if c is None else c.to(d)
    if kind == "LSTM":
        states = _Gates.apply(kind, x, g, None, c)
        named(states[0], "ThnnFusedLstmCellBackward0")
        return states
    if kind == "GRU":
        return named(_Gates.apply(kind, x, g, h, None), "ThnnFusedGruCellBackward0"), None
    return _cell(kind, x, g, h, None)


class _Rows(autograd.Function):
    """Consecutive rows as tensors; the gradient puts them together once (slices would each make a whole
    one).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: Sequence[int]) -> tuple[Tensor, ...]:
        ctx.like = x.detach()
        ctx.sizes = sizes
        return tuple(part.detach() for part in x.split(list(sizes)))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Any, None]:
        parts = [
            g if g is not None else ctx.like.new_zeros((n, *ctx.like.shape[1:]))
            for g, n in zip(grads, ctx.sizes)
        ]
        return numtorch.cat(parts), None


def _cell(kind: str, x: Tensor, g: Tensor, h: Any, c: Any) -> tuple[Tensor, Any]:
    """One step in ordinary operations: new state and cell from the gates of input and state."""
    if kind == "LSTM":
        i, f, u, o = (x + g).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * u.tanh()
        return o.sigmoid() * c.tanh(), c
    if kind == "GRU":
        xr, xz, xn = x.chunk(3, 1)
        hr, hz, hn = g.chunk(3, 1)
        r, z = (xr + hr).sigmoid(), (xz + hz).sigmoid()
        n = (xn + r * hn).tanh()
        return n + z * (h - n), None
    return ((x + g).tanh() if kind == "RNN_TANH" else (x + g).relu()), None


def steps(
    kind: str,
    reverse: bool,
    x: Tensor,
    sizes: Sequence[int],
    w: Tensor,
    b: Tensor | None,
    projection: Tensor | None,
    h0: Tensor,
    c0: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run a layer over rows: ``sizes[t]`` of them at step t, never more than before (a packed sequence)."""
    parts = _Rows.apply(x, tuple(sizes)) if len(sizes) > 1 else (x,)
    states: list[Any] = [h0, c0]
    running = [None if s is None else s[: sizes[-1 if reverse else 0]] for s in states]
    ended: list[list[Tensor]] = [[], []]
    outputs: list[Any] = [None] * len(sizes)
    for t in range(len(sizes) - 1, -1, -1) if reverse else range(len(sizes)):
        n, before = sizes[t], running[0].shape[0]  # type: ignore[union-attr]
        for k, s in enumerate(running):
            if s is None or n == before:
                continue
            if n < before:
                ended[k].append(s[n:])
                running[k] = s[:n]
            else:
                running[k] = numtorch.cat([s, states[k][before:n]])
        h, c = running
        h, c = _cell(kind, parts[t], numtorch.nn.functional.linear(h, w, b), h, c)
        if projection is not None:
            h = numtorch.nn.functional.linear(h, projection)
        running = [h, c]
        outputs[t] = h
    last = [
        s if s is None or not done else numtorch.cat([s, *reversed(done)]) for s, done in zip(running, ended)
    ]
    return numtorch.cat(outputs), last[0], last[1]  # type: ignore[return-value]
