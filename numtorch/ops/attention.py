"""Attention as one kernel, which never holds the matrix of weights; its gradients by one more on a CPU, two on a GPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .._tensor import Tensor
from ..autograd.mode import state
from ..dtype import REDUCED, bool_, float32, float64
from ..shape import Layout, contiguous, expand_strides, layout
from . import elementwise as E
from . import reduce as R
from . import view
from .declare import Context, kernel_op
from .launch import Launch, Scratch
from .masked import masked_fill
from .matmul import bind, matmul
from .reduce import planner
from .softmax import softmax

MOST = 128  # dimensions of a query, a key or a value


def fits(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> bool:
    """Whether the kernels take these operands: of one batch, and no gradient is asked for the mask."""
    q, k, v = query._layout, key._layout, value._layout
    known = (float32, float64) if q.device == "cpu" else (*REDUCED, float32)
    if not q.device == k.device == v.device or q.dtype not in known:
        return False
    if q.shape[:-2] != k.shape[:-2] or q.shape[:-2] != v.shape[:-2] or k.shape[-2] != v.shape[-2] or q.shape[-1] != k.shape[-1]:
        return False
    if 0 in (*q.shape, *k.shape, *v.shape) or max(q.shape[-1], v.shape[-1]) > MOST:
        return False
    if mask is None:
        return True
    wanted = (*q.shape[:-2], q.shape[-2], k.shape[-2])
    shape = mask._layout.shape
    padded = (1,) * (len(wanted) - len(shape)) + tuple(shape)
    fit = len(padded) == len(wanted) and all(a in (1, b) for a, b in zip(padded, wanted))
    return fit and mask._layout.device == q.device and not (mask._rg and state.grad)


def _matrices(x: Tensor) -> tuple[Tensor, list[int]]:
    """A tensor whose last dimension is packed, and its (outer, inner, row) steps over a batch of two levels."""
    la = x._layout
    if la.strides[-1] != 1 and la.shape[-1] > 1:
        x = x.contiguous()
    steps = list(x._layout.strides[:-2])
    if len(steps) > 2:  # only as many levels as a batch and its heads are walked by steps
        x = x.contiguous()
        steps = [0, x._layout.shape[-2] * x._layout.shape[-1]]
    return x, [*[0] * (2 - len(steps)), *steps, x._layout.strides[-2]]


def _inner(shape: Sequence[int]) -> int:
    """Matrices of the inner level of a batch."""
    return shape[-1] if 0 < len(shape) <= 2 else math.prod(shape)


def _mask(mask: Tensor | None, shape: tuple[int, ...]) -> tuple[list[Any], list[int], int]:
    """(pointers of a bool and of an added mask, its steps, flags) for scores of this shape."""
    if mask is None:
        return [0, 0], [0] * 4, 0
    mask = view.expand(mask.detach(), shape)
    if len(shape) > 4:
        mask = mask.contiguous()
    steps = list(expand_strides(mask._layout.shape, mask._layout.strides, shape))
    outer = [*[0] * (4 - len(shape)), *steps[:-2]] if len(shape) <= 4 else [0, shape[-2] * shape[-1]]
    given = [mask, 0] if mask.dtype is bool_ else [0, mask]
    return given, [*outer, *steps[-2:]], 1 if mask.dtype is bool_ else 2


def _words(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, scale: float) -> Any:
    """What the kernels have in common: operands, mask pointers, sizes and steps, and the variant."""
    from ..kernels.cuda import attention as kernels

    shape, S = q._layout.shape, k._layout.shape[-2]
    E_, V = shape[-1], v._layout.shape[-1]
    (q, q_steps), (k, k_steps), (v, v_steps) = map(_matrices, (q.detach(), k.detach(), v.detach()))
    pointers, m_steps, flags = _mask(mask, (*shape[:-1], S))
    batch = math.prod(shape[:-2])
    words = [batch, _inner(shape[:-2]), shape[-2], S, E_, V, *q_steps, *k_steps, *v_steps, *m_steps, int(causal), flags, scale]
    return (q, k, v), pointers, words, kernels.size_of(max(E_, V))


def _launch(name: str, size: int, pointers: Sequence[Any], words: Sequence[Any], cost: int) -> Launch:
    from ..kernels.cuda import attention as kernels

    return Launch(
        ("attention", f"{name}_{size}"), {"T": "float32"}, pointers, [*words, kernels.side_of(name, size)], 1, cost
    )


@kernel_op(["q", "k", "v", "mask"], saves=["q", "k", "v", "mask", "out0", "out1"], nograd=[1], name="attention", steady=True)
def attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, scale: float
) -> tuple[Layout, Layout]:
    """softmax(q k' scale + mask) v, and the logarithm of each row's sum of exponentials."""
    la = q._layout
    shape = (*la.shape[:-1], v._layout.shape[-1])
    if la.device == "cpu":
        return _by_heads(shape, la), contiguous(la.shape[:-1], la.dtype)
    return contiguous(shape, la.dtype, la.device), contiguous(la.shape[:-1], float32, la.device)


def _by_heads(shape: tuple[int, ...], like: Layout) -> Layout:
    """The layout of a result (batch, heads, L, size): in memory the heads of a place are neighbours, as PyTorch has them."""
    if len(shape) != 4:
        return contiguous(shape, like.dtype)
    _, H, L, size = shape
    return layout(shape, (L * H * size, size, H * size, 1), like.dtype)


@attention.plan
def _(outputs: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, scale: float) -> list[Launch]:
    if q._layout.device == "cpu":
        named = {"out": outputs[0], "q": q, "k": k, "v": v}
        found, tensors = _rows_plan("forward_plan", named, mask, causal, scale)
        return [bind(found, lse=outputs[1], **tensors)]
    operands, masks, words, size = _words(q, k, v, mask, causal, scale)
    return [_launch("attention", size, [*outputs, *operands, *masks], words, q._layout.numel * k._layout.shape[-2])]


@attention.backward
def _(ctx: Context, g: Tensor, g_lse: Any) -> Any:
    causal, scale = ctx.attrs["causal"], ctx.attrs["scale"]
    if state.grad:
        return (*_by_ops(ctx, g, causal, scale), None)
    if g._layout.device == "cpu":
        return (*attention_backward(g, ctx.q, ctx.k, ctx.v, ctx.mask, ctx.out0, ctx.out1, causal=causal, scale=scale), None)
    delta = R.sum(E.mul(g, ctx.out0), -1)
    found = attention_gradients(g, ctx.q, ctx.k, ctx.v, ctx.mask, ctx.out1, delta, causal=causal, scale=scale)
    return (*found, None)


@kernel_op(["g", "q", "k", "v", "mask", "lse", "delta"], name="attention_gradients")
def attention_gradients(
    g: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, lse: Tensor, delta: Tensor, causal: bool, scale: float
) -> tuple[Layout, ...]:
    """The gradients of ``attention`` for q, k and v; ``delta`` is the sum of gradient times result, each row."""
    return tuple([contiguous(t._layout.shape, t._layout.dtype, t._layout.device) for t in (q, k, v)])


@attention_gradients.plan
def _(
    outputs: Any, g: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, lse: Tensor, delta: Tensor, causal: bool,
    scale: float,
) -> list[Launch]:  # fmt: skip
    dq, dk, dv = outputs
    operands, masks, words, size = _words(q, k, v, mask, causal, scale)
    rest = [g.detach().contiguous(), *operands, lse.detach(), delta.detach().contiguous(), *masks]
    cost = q._layout.numel * k._layout.shape[-2]
    return [
        _launch("attention_backward_q", size, [dq, *rest], words, cost),
        _launch("attention_backward_kv", size, [dk, dv, *rest], words, cost),
    ]


def _rows_plan(name: str, named: dict[str, Tensor], mask: Tensor | None, causal: bool, scale: float) -> tuple[Any, dict]:
    """What a planner of the CPU's kernels says, and its tensors by name: packed ones, whose steps it was told."""
    q, k, v = named["q"]._layout, named["k"]._layout, named["v"]._layout
    tensors, steps = dict[str, Any](), list[int]()
    for which, t in named.items():
        tensors[which], its = _matrices(t.detach())
        steps += its
    (tensors["allowed"], tensors["added"]), m_steps, flags = _mask(mask, (*q.shape[:-1], k.shape[-2]))
    inner = _inner(q.shape[:-2])
    batch = (math.prod(q.shape[:-2]) // inner, inner)
    sizes = (q.shape[-2], k.shape[-2], q.shape[-1], v.shape[-1])
    plan = planner(name, "attention_plan", "cpu")
    return plan(q.dtype.name, batch, sizes, (*steps, *m_steps), causal, flags, scale), tensors


@kernel_op(["g", "q", "k", "v", "mask", "out", "lse"], steady=True)
def attention_backward(
    g: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, out: Tensor, lse: Tensor, causal: bool, scale: float
) -> tuple[Layout, ...]:
    """The gradients of ``attention`` on a CPU for q, k and v."""
    return tuple([_by_heads(t._layout.shape, t._layout) for t in (q, k, v)])


@attention_backward.plan
def _(
    outputs: Any, g: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, out: Tensor, lse: Tensor, causal: bool,
    scale: float,
) -> list[Launch]:  # fmt: skip
    named = {"dq": outputs[0], "dk": outputs[1], "dv": outputs[2], "g": g, "q": q, "k": k, "v": v, "out": out}
    (launches, nbytes), tensors = _rows_plan("backward_plan", named, mask, causal, scale)
    parts = Scratch(nbytes)
    return [bind(one, lse=lse.detach(), parts=parts, **tensors) for one in launches]


def _by_ops(ctx: Context, g: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients written in ops, so that they can be differentiated again."""
    q, k, v, mask = ctx.q, ctx.k, ctx.v, ctx.mask
    scores = matmul(q * scale, view.transpose(k, -1, -2))
    blocked = None
    if causal:
        blocked = later(q._layout.shape[-2], k._layout.shape[-2], q.device)
    elif mask is not None and mask.dtype is bool_:
        blocked = ~mask
    elif mask is not None:
        scores = scores + mask
    if blocked is not None:
        scores = masked_fill(scores, blocked, -math.inf)
    weights = softmax(scores, -1)
    if blocked is not None and not causal:
        weights = masked_fill(weights, blocked.all(-1, keepdim=True), 0.0)
    of_weights = matmul(g, view.transpose(v, -1, -2))
    of_scores = weights * (of_weights - R.sum(of_weights * weights, -1, keepdim=True)) * scale
    dk, dv = matmul(view.transpose(of_scores, -1, -2), q), matmul(view.transpose(weights, -1, -2), g)
    return matmul(of_scores, k), dk, dv


def later(length: int, source: int, device: Any = None) -> Tensor:
    """A bool mask (length, source) of the places that place i must not see: those after i."""
    from ..creation import arange

    places = arange(max(length, source), device=device)
    return places[:source] > view.unsqueeze(places[:length], 1)
