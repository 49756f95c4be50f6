"""Pooling over one to three dimensions of (N, C, *size): largest or mean of windows, given or adaptive."""

from __future__ import annotations

import math
from typing import Any

from .._tensor import Tensor
from ..dtype import int64
from ..errors import not_implemented
from ..shape import Layout, contiguous
from .declare import Context, KernelOp, kernel_op
from .launch import Launch, twin

Sizes = tuple[int, ...]


def _words(*sizes: Any) -> tuple[int, ...]:
    return twin("cpu", "pool", "shape_words")(*sizes)


def _planes(la: Layout) -> int:
    return la.shape[0] * la.shape[1]


def _rows(la: Layout) -> int:
    """How many rows an output has: parts that may be computed side by side."""
    return math.prod(la.shape[:-1])


def output_size(
    op: str, size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, ceil: bool
) -> Sizes:
    """The number of windows in each dimension; RuntimeError where there is none."""
    out = []
    for n, k, s, p, d in zip(size, kernel, stride, padding, dilation):
        room = n + 2 * p - d * (k - 1) - 1
        count = (-(-room // s) if ceil else room // s) + 1
        if (
            ceil and (count - 1) * s >= n + p
        ):  # the last window must start inside the input or its left padding
            count -= 1
        out.append(count)
    if min(out) < 1:
        sizes = ", ".join(map(str, size))
        raise RuntimeError(
            f"{op}: Given input size: ({sizes}). Calculated output size: ({', '.join(map(str, out))}). Output size is too"
            f" small; kernel_size={list(kernel)}, stride={list(stride)}, padding={list(padding)}"
        )
    return tuple(out)


def _check(op: str, x: Tensor, *integers: str, channels: bool = True) -> None:
    """Raise for dtypes without a kernel (floats and the ``integers`` named have one) and for empty sizes."""
    if not x.dtype.is_floating_point and x.dtype.name not in integers:
        raise not_implemented(op, x.dtype)
    if 0 in x._layout.shape[1 if channels else 2 :]:
        raise RuntimeError(
            f"{op}: Expected a tensor with non-zero sizes for the dimensions other than the batch, but got an"
            f" input of shape {list(x.shape)}"
        )


# -- the largest of each window


@kernel_op(["x"], saves=["out1"], nograd=(1,))
def max_pool_values(
    x: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, ceil: bool
) -> Any:
    """The largest of each window and its flat position in the input plane."""
    la = x._layout
    size = output_size("max_pool", la.shape[2:], kernel, stride, padding, dilation, ceil)
    _check("max_pool", x, "uint8", "int8", "int16", "int32", "int64")
    shape = la.shape[:2] + size
    return contiguous(shape, la.dtype, la.device), contiguous(shape, int64, la.device)


def has_quick_kernel(size: Sizes, out: Sizes, attrs: dict) -> bool:
    """Whether a pooling of planes of ``size`` to ``out`` is by whole windows of 2 x 2."""
    plain = attrs["kernel"] == attrs["stride"] == (2, 2) and attrs["padding"] == (0, 0) and attrs["dilation"] == (1, 1)
    return plain and out == (size[0] // 2, size[1] // 2)


@max_pool_values.plan
def _(outputs: Any, x: Tensor, places: bool = True, **attrs: Any) -> list[Launch]:
    """``places`` False: only the values are wanted (there is a quick kernel for that)."""
    la, out = x._layout, outputs[0]._layout
    kernel, stride, padding, dilation = (attrs[k] for k in ("kernel", "stride", "padding", "dilation"))
    pointers = [*outputs, x.detach().contiguous()]
    cost = out.numel * math.prod(kernel)
    if has_quick_kernel(la.shape[2:], out.shape[2:], attrs):
        words: Any = (_planes(la), *la.shape[2:])
        name = "max_pool_2x2" if places else "max_pool_2x2_values"
        return [Launch(("pool", name), {"T": x.dtype.kind}, pointers, words, _rows(out), cost)]
    words = (_planes(la), *_words(la.shape[2:], out.shape[2:], kernel, stride, padding, dilation))
    return [Launch(("pool", "max_pool"), {"T": x.dtype.kind}, pointers, words, _rows(out), cost)]


def _spread_back(ctx: Context, g: Tensor | None, _: Any = None) -> Any:
    """The gradient of each maximum goes to where it was."""
    return None if g is None else pool_spread(g, ctx.out1, size=tuple(ctx.meta(0).shape[2:]))


max_pool_values.backward(_spread_back)


@kernel_op(["g", "index"], saves=["index"])
def pool_spread(g: Tensor, index: Tensor, size: Sizes) -> Layout:
    """Planes of ``size``: zeros with g[o] added at position index[o]."""
    la = g._layout
    return contiguous(la.shape[:2] + size, la.dtype, la.device)


def _plane_launch(kernel: str, outputs: Any, source: Tensor, index: Tensor, size: Sizes) -> list[Launch]:
    planes, inputs = _planes(index._layout), math.prod(size)
    words = (planes, inputs, math.prod(index._layout.shape[2:]))
    pointers = [outputs[0], source.detach().contiguous(), index.contiguous()]
    return [Launch(("pool", kernel), {"T": source.dtype.kind}, pointers, words, planes, planes * inputs)]


@pool_spread.plan
def _(outputs: Any, g: Tensor, index: Tensor, size: Sizes) -> list[Launch]:
    return _plane_launch("max_pool_backward", outputs, g, index, size)


@pool_spread.backward
def _(ctx: Context, g: Tensor) -> Any:
    return pool_pick(g, ctx.index), None


@kernel_op(["x", "index"], saves=["index"])
def pool_pick(x: Tensor, index: Tensor) -> Layout:
    """The elements of each plane at the positions ``index``."""
    return contiguous(index._layout.shape, x._layout.dtype, x._layout.device)


@pool_pick.plan
def _(outputs: Any, x: Tensor, index: Tensor) -> list[Launch]:
    return _plane_launch("max_pool_pick", outputs, x, index, x._layout.shape[2:])


@pool_pick.backward
def _(ctx: Context, g: Tensor) -> Any:
    return pool_spread(g, ctx.index, size=tuple(ctx.meta(0).shape[2:])), None


def max_pool(
    x: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, ceil_mode: bool
) -> tuple[Tensor, Tensor]:
    """The largest of each window of (N, C, *size) and its flat position in the input plane (int64).

    Example:
        >>> import numtorch
        >>> y, where = numtorch.ops.pool.max_pool(numtorch.ones(1, 1, 4, 4), (2, 2), (2, 2), (0, 0), (1, 1), False)
        >>> where.tolist()
        [[[[0, 2], [8, 10]]]]
    """
    return max_pool_values(
        x, kernel=kernel, stride=stride, padding=padding, dilation=dilation, ceil=bool(ceil_mode)
    )


@kernel_op(["x"], saves=["out1"], nograd=(1,))
def adaptive_max_pool_values(x: Tensor, size: Sizes) -> Any:
    """The largest of each of ``size`` windows that spread evenly, and its flat position in the input plane."""
    la = x._layout
    _check("adaptive_max_pool", x)
    shape = la.shape[:2] + size
    return contiguous(shape, la.dtype, la.device), contiguous(shape, int64, la.device)


@adaptive_max_pool_values.plan
def _(outputs: Any, x: Tensor, size: Sizes) -> list[Launch]:
    la, out = x._layout, outputs[0]._layout
    words = (_planes(la), *_words(la.shape[2:], size))
    pointers = [outputs[0], outputs[1], x.detach().contiguous()]
    return [
        Launch(
            ("pool", "adaptive_max_pool"),
            {"T": x.dtype.kind},
            pointers,
            words,
            _rows(out),
            max(la.numel, out.numel),
        )
    ]


adaptive_max_pool_values.backward(_spread_back)


def adaptive_max_pool(x: Tensor, size: Sizes) -> tuple[Tensor, Tensor]:
    """The largest of each of ``size`` evenly spread windows of (N, C, *), and its flat position in the input plane."""
    return adaptive_max_pool_values(x, size=tuple(size))


# -- the mean of each window


def _averages(name: str) -> tuple[KernelOp, KernelOp]:
    """(pooling, its gradient): linear, and each the gradient of the other; attributes say how to find the words."""

    def forward(x: Tensor, size: Sizes, **attrs: Any) -> Layout:
        la = x._layout
        return contiguous(la.shape[:2] + size, la.dtype, la.device)

    pool = KernelOp(name, forward, ("x",), (), ())
    spread = KernelOp(f"{name}_backward", forward, ("g",), (), ())

    @pool.plan
    def _(outputs: Any, x: Tensor, size: Sizes, **attrs: Any) -> list[Launch]:
        la, out = x._layout, outputs[0]._layout
        words = (
            _planes(la),
            *_words(la.shape[2:], size, *attrs.get("windows", ())),
            *attrs.get("divide", ()),
        )
        pointers = [outputs[0], x.detach().contiguous()]
        return [
            Launch(("pool", name), {"T": x.dtype.kind}, pointers, words, _rows(out), max(la.numel, out.numel))
        ]

    @pool.backward
    def _(ctx: Context, g: Tensor) -> Any:
        return spread(g, **{**ctx.attrs, "size": tuple(ctx.meta(0).shape[2:])})

    @spread.plan
    def _(outputs: Any, g: Tensor, size: Sizes, **attrs: Any) -> list[Launch]:
        la, out = g._layout, outputs[0]._layout
        words = (
            _planes(la),
            *_words(size, la.shape[2:], *attrs.get("windows", ())),
            *attrs.get("divide", ()),
        )
        pointers, cost = [outputs[0], g.detach().contiguous()], max(la.numel, out.numel)
        return [Launch(("pool", f"{name}_backward"), {"T": g.dtype.kind}, pointers, words, _planes(la), cost)]

    @spread.backward
    def _(ctx: Context, g: Tensor) -> Any:
        return pool(g, **{**ctx.attrs, "size": tuple(ctx.meta(0).shape[2:])})

    return pool, spread


_avg_pool, _avg_pool_backward = _averages("avg_pool")
_adaptive_avg_pool, _adaptive_avg_pool_backward = _averages("adaptive_avg_pool")


def avg_pool(
    x: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes, ceil_mode: bool, count_include_pad: bool,
    divisor: int | None = None,
) -> Tensor:  # fmt: skip
    """The mean of each window of (N, C, *size): of the sum divided by ``divisor``, or by the window's size."""
    size = output_size(
        "avg_pool", x._layout.shape[2:], kernel, stride, padding, (1,) * len(kernel), bool(ceil_mode)
    )
    _check("avg_pool", x, "int64")
    return _avg_pool(
        x, size=size, windows=(kernel, stride, padding), divide=(int(bool(count_include_pad)), divisor or 0)
    )


def adaptive_avg_pool(x: Tensor, size: Sizes) -> Tensor:
    """The mean of each of ``size`` evenly spread windows of (N, C, *)."""
    size = tuple(size)
    if all(n == 1 for n in size):
        from .reduce import mean

        dims = tuple(range(2, x._layout.ndim))
        return mean(x, dims, True)
    _check("adaptive_avg_pool", x, channels=False)
    return _adaptive_avg_pool(x, size=size)
