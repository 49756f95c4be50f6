"""How much work a recorded op is: floating point operations, and bytes that must be read and written at least."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Sequence
from typing import Any

from .record import Entry, Ref

# Operations per element of the largest tensor, where nothing better is known: counted in the kernels' inner loops.
_PER_ELEMENT = {
    "sum": 1, "mean": 1, "max": 1, "min": 1, "amax": 1, "amin": 1, "prod": 1, "logsumexp": 4, "softmax": 5, "log_softmax": 5,
    "softmax_backward": 4, "log_softmax_backward": 4, "layer_norm": 8, "layer_norm_backward": 11, "layer_norm_sums": 4,
    "layer_norm_gradients": 15,
    "batch_norm": 8, "batch_norm_backward": 11, "group_norm": 8, "group_norm_backward": 11, "rms_norm": 5,
    "cross_entropy": 6, "cross_entropy_backward": 3, "max_pool_values": 1, "avg_pool": 1, "convolution_bias": 1,
    "cumsum": 1, "dropout": 2, "var": 4, "norm": 2,
}  # fmt: skip
# What a call of a transcendental function is counted as, as usual in such tables: one operation.


def moved(e: Entry) -> int:
    """Bytes of the distinct memory that an entry reads and writes."""
    seen: dict[tuple, int] = {}
    for r in (*e.inputs, *e.outputs):
        if isinstance(r, Ref):
            la = r.layout
            distinct = math.prod(n for n, s in zip(la.shape, la.strides) if s or n == 1)
            key = (id(r.storage), r.offset, r in e.outputs)
            seen[key] = max(seen.get(key, 0), distinct * la.itemsize)
    return sum(seen.values())


def flops(e: Entry) -> int:
    """Floating point operations of an entry (a multiply-add is two)."""
    if e.plan is not None:
        return _elementwise(e)
    if e.tail is not None:
        return flops(e.tail.host) + flops(e.tail.chain)
    rule = _RULES.get(getattr(e.op, "name", ""))
    if rule is not None:
        return rule(e)
    most = max((r.layout.numel for r in (*e.inputs, *e.outputs) if isinstance(r, Ref)), default=0)
    return _PER_ELEMENT.get(getattr(e.op, "name", ""), 0) * most


def _elementwise(e: Entry) -> int:
    n = max((r.layout.numel for r in e.outputs), default=0)
    floating = any(r.layout.dtype.is_floating_point for r in e.outputs)
    return n * sum(_operations(s) for s in e.plan.program.steps) if floating else 0


_counted: dict[Any, int] = {}


def _operations(step: Any) -> int:
    """Operators and calls in a body."""
    from ..kernels.codegen import body_of

    key = (step.body, step.component)
    if key not in _counted:
        body = body_of(step.body)
        nodes: list[Any] = [body.node]
        if body.simple:
            nodes = [*body.result(step.component), *[s.value for s in body.statements]]
        kinds = (ast.BinOp, ast.UnaryOp, ast.Compare, ast.Call, ast.IfExp)
        _counted[key] = sum(isinstance(n, kinds) for tree in nodes for n in ast.walk(tree))
    return _counted[key]


def _shapes(e: Entry) -> Sequence[Any]:
    return [a.layout.shape if isinstance(a, Ref) else None for a in e.args]


def _matmul(e: Entry) -> int:
    inner = _shapes(e)[0][-1]
    bias = len(e.args) > 2 and e.args[2] is not None
    return e.outputs[0].layout.numel * (2 * inner + bias)


def _convolution(e: Entry) -> int:
    out, weight = e.outputs[0].layout, _shapes(e)[1]
    return 2 * out.numel * math.prod(weight[1:])


def _convolution_input(e: Entry) -> int:
    given, weight = _shapes(e)[:2]
    return 2 * math.prod(given) * math.prod(weight[1:])


def _convolution_weight(e: Entry) -> int:
    given = _shapes(e)[1]
    return 2 * math.prod(given) * math.prod(e.outputs[0].layout.shape[1:])


def _recurrent(e: Entry) -> int:
    (steps, n, _), weight, _, given = _shapes(e)[:4]
    return 2 * steps * n * (math.prod(weight) + math.prod(given or (0,)))


def _attention(e: Entry) -> int:
    """Two products, or five, and an exponential for each query and key; those of a causal mask half as often."""
    backward = e.op.name != "attention"
    q, k, v = _shapes(e)[backward : backward + 3]
    each = (5 * (q[-1] + v[-1]) if backward else 2 * (q[-1] + v[-1])) + 5
    pairs = math.prod(q[:-1]) * k[-2]
    return pairs * each // (2 if e.attrs["causal"] else 1)


_RULES: dict[str, Callable[[Entry], int]] = {
    "matmul": _matmul, "convolution": _convolution, "convolution_input": _convolution_input,
    "convolution_weight": _convolution_weight, "recurrent": _recurrent, "attention": _attention, "attention_backward": _attention,
}  # fmt: skip
