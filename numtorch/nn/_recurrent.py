"""Running a recurrent layer over time.

``scan`` is one node of the autograd graph: forward, a step is one matrix product and one fused kernel that
write into
buffers of the whole sequence; backward, the same in reverse, and the weight gradient is one product at the
end.
``steps`` is the same computation in ordinary operations, one at a time: for packed sequences and
projections, and for
gradients of gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numtorch

from .. import autograd
from ..ops import recurrent as R
from ..ops.matmul import gemm
from ..shape import layout
from ..tensor import Tensor

GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


def _part(x: Tensor, t: int, column: int, width: int) -> Tensor:
    """Columns of step ``t`` of a contiguous (T, N, C) buffer, as a plain alias without history."""
    _, n, c = x._layout.shape
    la = layout((n, width), (c, 1), x._layout.dtype, x._layout.device)
    part = Tensor._make(x._storage, x._offset + t * n * c + column, la)
    if autograd.mode.state.recorder is not None:
        autograd.mode.state.recorder.alias(x, part)
    return part


def _parts(x: Tensor, t: int, count: int) -> list[Tensor]:
    """Step ``t`` of a buffer in ``count`` parts of equal width."""
    width = x._layout.shape[2] // count
    return [_part(x, t, k * width, width) for k in range(count)]


def _empty(like: Tensor, *shape: int) -> Tensor:
    return numtorch.empty(shape, dtype=like.dtype, device=like.device)


class _Sequence:
    """The buffers of one layer in one direction, each (T, N, *); states have a place more, for the initial
    one.
    """

    def __init__(self, kind: str, reverse: bool, x: Tensor, w: Tensor, b: Tensor | None, h0: Tensor, c0: Any):
        self.kind, self.reverse, self.w, self.b = kind, reverse, w, b
        self.steps, self.n, _ = x.shape
        self.size = w.shape[1]
        self.x = x.contiguous()
        self.order = range(self.steps - 1, -1, -1) if reverse else range(self.steps)
        self.h = self._with_initial(h0)
        self.c = self._with_initial(c0) if c0 is not None else None
        self.gates = (
            _empty(x, self.steps, self.n, GATES[kind] * self.size) if kind in ("LSTM", "GRU") else None
        )
        self.hn = _empty(x, self.steps, self.n, self.size) if kind == "GRU" else None

    def _with_initial(self, initial: Tensor) -> Tensor:
        states = _empty(initial, self.steps + 1, self.n, self.size)
        states.select(0, self.steps if self.reverse else 0).copy_(initial)
        return states

    def old(self, states: Tensor, t: int) -> Tensor:
        """The state before step ``t``."""
        return _part(states, t + 1 if self.reverse else t, 0, self.size)

    def new(self, states: Tensor, t: int) -> Tensor:
        """The state after step ``t``."""
        return _part(states, t if self.reverse else t + 1, 0, self.size)

    def results(self, states: Tensor) -> Tensor:
        """The states after all steps, (T, N, H)."""
        return states.narrow(0, 0 if self.reverse else 1, self.steps)

    def last(self, states: Tensor) -> Tensor:
        return states.select(0, 0 if self.reverse else self.steps)

    def forward(self) -> None:
        """All steps, in the order of the direction."""
        w = self.w.detach().t()
        b = None if self.b is None else self.b.detach()
        from_state = _empty(self.x, 1, self.n, self.w.shape[0])
        whole = from_state.select(0, 0)
        for t in self.order:
            gemm.run([whole], (self.old(self.h, t), w, b), {})
            self._step(t, from_state)

    def _step(self, t: int, from_state: Tensor) -> None:
        h = self.new(self.h, t)
        if self.kind == "LSTM":
            x, g = _parts(self.x, t, 4), _parts(from_state, 0, 4)
            outputs = [*_parts(self.gates, t, 4), self.new(self.c, t), h]
            R.run_into(R.lstm_step, outputs, [*x, *g, self.old(self.c, t)])
        elif self.kind == "GRU":
            x, g = _parts(self.x, t, 3), _parts(from_state, 0, 3)
            R.run_into(R.gru_step, [*_parts(self.gates, t, 3), h], [*x, *g, self.old(self.h, t)])
            _part(self.hn, t, 0, self.size).copy_(g[2])
        else:
            op = R.tanh_step if self.kind == "RNN_TANH" else R.relu_step
            R.run_into(op, [h], [_part(self.x, t, 0, self.size), _part(from_state, 0, 0, self.size)])

    def backward(self, dout: Tensor, dh: Tensor, dc: Any) -> tuple[Tensor, Tensor, Tensor, Any]:
        """Gradients of the gates from the input and from the state, of the initial state and cell."""
        width = GATES[self.kind] * self.size
        dx = _empty(self.x, self.steps, self.n, width)
        dg = _empty(self.x, self.steps, self.n, width) if self.kind == "GRU" else dx
        carry = [_empty(dh, 1, self.n, self.size) for _ in range(2)]
        carry[0].select(0, 0).copy_(dh)
        cell = None
        if dc is not None:
            cell = _empty(dh, 1, self.n, self.size)
            cell.select(0, 0).copy_(dc)
        dnext = carry[0].select(0, 0)
        through = carry[1].select(0, 0)
        w = self.w.detach()
        for t in reversed(self.order):
            g = _part(dout, t, 0, self.size)
            self._step_back(t, g, dnext, through, cell, dx, dg)
            gemm.run([dnext], (_part(dg, t, 0, width), w, None), {})
            if self.kind == "GRU":
                dnext.add_(through)
        return dx, dg, dnext, None if cell is None else cell.select(0, 0)

    def _step_back(
        self, t: int, g: Tensor, dnext: Tensor, through: Tensor, cell: Any, dx: Tensor, dg: Tensor
    ) -> None:
        if self.kind == "LSTM":
            d = cell.select(0, 0)
            inputs = [*_parts(self.gates, t, 4), self.old(self.c, t), self.new(self.c, t), g, dnext, d]
            R.run_into(R.lstm_step_back, [*_parts(dx, t, 4), d], inputs)
        elif self.kind == "GRU":
            inputs = [
                *_parts(self.gates, t, 3),
                _part(self.hn, t, 0, self.size),
                self.old(self.h, t),
                g,
                dnext,
            ]
            R.run_into(R.gru_step_back, [*_parts(dx, t, 3), *_parts(dg, t, 3), through], inputs)
        else:
            op = R.tanh_step_back if self.kind == "RNN_TANH" else R.relu_step_back
            R.run_into(op, [_part(dx, t, 0, self.size)], [self.new(self.h, t), g, dnext])


class _Scan(autograd.Function):
    """The whole sequence as one node of the graph."""

    @staticmethod
    def forward(ctx: Any, kind: str, reverse: bool, x: Tensor, w: Tensor, b: Any, h0: Tensor, c0: Any) -> Any:
        run = _Sequence(kind, reverse, x, w, b, h0, c0)
        run.forward()
        out, h = run.results(run.h).detach(), run.last(run.h).clone()
        c = None if run.c is None else run.last(run.c).clone()
        ctx.sequence = run
        ctx.given = (b is not None, c0 is not None)
        ctx.save_for_backward(*[t for t in (x, w, b, h0, c0) if t is not None], out)
        return (out, h) if c is None else (out, h, c)

    @staticmethod
    def backward(ctx: Any, dout: Any, dh: Any, dc: Any = None) -> tuple[Any, ...]:
        *saved, out = ctx.saved_tensors
        has_b, has_c = ctx.given
        x, w, *rest = saved
        b = rest.pop(0) if has_b else None
        h0, c0 = rest[0], rest[1] if has_c else None
        run = ctx.sequence
        if autograd.is_grad_enabled():
            inputs = (x, w, b, h0, c0)
            return (None, None, *_through_steps(run.kind, run.reverse, inputs, (dout, dh, dc)))
        dout = numtorch.zeros_like(out) if dout is None else dout.contiguous()
        dh = numtorch.zeros_like(h0) if dh is None else dh
        dc = numtorch.zeros_like(c0) if dc is None and has_c else dc
        dx, dg, dh0, dc0 = run.backward(dout, dh, dc)
        flat = dg.reshape(-1, dg.shape[2])
        old = run.h.narrow(0, 1 if run.reverse else 0, run.steps).reshape(-1, run.size)
        dw = flat.t() @ old if ctx.needs_input_grad[3] else None
        db = flat.sum(0) if has_b and ctx.needs_input_grad[4] else None
        return None, None, dx, dw, db, dh0, dc0


def _through_steps(kind: str, reverse: bool, inputs: tuple, grads: tuple) -> list[Any]:
    """Gradients that can be differentiated again: those of the same computation in ordinary operations."""
    x, w, b, h0, c0 = inputs
    sizes = [x.shape[1]] * x.shape[0]
    outputs = steps(kind, reverse, x.reshape(-1, x.shape[2]), sizes, w, b, None, h0, c0)
    out = outputs[0].reshape(x.shape[0], x.shape[1], -1)
    pairs = [(o, g) for o, g in zip((out, *outputs[1:]), grads) if o is not None and g is not None]
    wanted = [t for t in inputs if t is not None and t.requires_grad]
    found = autograd.grad(
        [o for o, _ in pairs], wanted, [g for _, g in pairs], create_graph=True, allow_unused=True
    )
    results = iter(found)
    return [next(results) if t is not None and t.requires_grad else None for t in inputs]


def scan(
    kind: str, reverse: bool, x: Tensor, w: Tensor, b: Tensor | None, h0: Tensor, c0: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run a layer over (T, N, gates * H) input gates: states (T, N, H), last state and last cell (N, H)."""
    result = _Scan.apply(kind, reverse, x, w, b, h0, c0)
    return result if len(result) == 3 else (*result, None)


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


def _cell(kind: str, x: Tensor, g: Tensor, h: Tensor, c: Any) -> tuple[Tensor, Any]:
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
