"""Running sums, products, extremes and log-sums along a dimension."""

from __future__ import annotations

import math
from typing import Any

from .. import return_types
from .._tensor import Tensor
from ..dtype import dtype as DType
from ..dtype import int64
from ..errors import not_implemented, require_tensor
from ..shape import Layout, contiguous, wrap_dim
from . import elementwise as E
from . import view
from .copying import overwrite
from .declare import Context, KernelOp, kernel_op
from .index import scatter_add_values, split_at
from .inplace import write_out
from .joining import cat
from .launch import Launch
from .node_names import called


def _layout(x: Tensor, d: DType | None = None) -> Layout:
    la = x._layout
    return contiguous(la.shape, d or la.dtype, la.device)


def _launch(kernel: tuple[str, str], env: dict, tensors: list[Tensor], dim: int, *words: Any) -> list[Launch]:
    la = tensors[0]._layout
    outer, n, inner = split_at(la.shape, dim)
    if not la.numel:
        return []
    return [Launch(kernel, env, tensors, (outer, n, inner, *words), outer * inner, 4 * la.numel)]


def _scan(name: str) -> KernelOp:
    """An op of ``x`` with ``dim`` and ``reverse``: from the end. Integers are combined in int64."""

    def meta(x: Tensor, dim: int, reverse: bool = False) -> Layout:
        return _layout(x, x.dtype if x.dtype.is_floating_point else int64)

    op = KernelOp(name, meta, ("x",), () if name == "cumsum" else ("x", "out"), ())

    @op.plan
    def _(outputs: Any, x: Tensor, dim: int, reverse: bool = False) -> list[Launch]:
        env = {"T": x.dtype.kind, "S": outputs[0].dtype.kind}
        return _launch(("scan", name), env, [outputs[0], x.detach().contiguous()], dim, int(reverse))

    return op


cumsum_values, cumprod_values, logcumsumexp_values = _scan("cumsum"), _scan("cumprod"), _scan("logcumsumexp")


@cumsum_values.backward
def _(ctx: Context, g: Tensor) -> Any:
    return cumsum_values(g, dim=ctx.attrs["dim"], reverse=not ctx.attrs.get("reverse", False))


@kernel_op(["x", "a"], saves=["a", "out"])
def linear_scan(x: Tensor, a: Tensor, dim: int, reverse: bool) -> Layout:
    """y[k] = x[k] + a[k] * y[k - 1], or y[k] = x[k] + a[k + 1] * y[k + 1] in reverse."""
    return _layout(x)


@linear_scan.plan
def _(outputs: Any, x: Tensor, a: Tensor, dim: int, reverse: bool) -> list[Launch]:
    tensors = [outputs[0], x.detach().contiguous(), a.detach().contiguous()]
    return _launch(("recurrence", "linear_scan"), {"T": x.dtype.kind}, tensors, dim, int(reverse))


@linear_scan.backward
def _(ctx: Context, g: Tensor) -> Any:
    dim, reverse = ctx.attrs["dim"], ctx.attrs["reverse"]
    dx = linear_scan(g, ctx.a, dim=dim, reverse=not reverse)
    if not ctx.needs(1):
        return dx, None
    y = ctx.out
    return dx, (shifted(dx, dim, 0.0) * y if reverse else dx * shifted(y, dim, 0.0))


def shifted(x: Tensor, dim: int, first: float, back: bool = False) -> Tensor:
    """x moved on by one place along ``dim`` with ``first`` in front; ``back``: moved back, with it at the end."""
    from ..creation import full

    n = x._layout.shape[dim]
    if n == 0:
        return x
    shape = x._layout.shape[:dim] + (1,) + x._layout.shape[dim + 1 :]
    edge = full(shape, first, dtype=x.dtype, device=x.device)
    rest = view.narrow(x, dim, 1 if back else 0, n - 1)
    return cat([rest, edge] if back else [edge, rest], dim)


@cumprod_values.backward
def _(ctx: Context, g: Tensor) -> Any:
    """What comes before k times a sum over what comes after: exact where factors are zero."""
    x, dim, reverse = ctx.x, ctx.attrs["dim"], ctx.attrs.get("reverse", False)
    before = cumprod_values(shifted(x, dim, 1.0, reverse), dim=dim, reverse=reverse)
    between = shifted(x, dim, 1.0) if reverse else x
    return before * linear_scan(g, between, dim=dim, reverse=not reverse)


def exclusive_products(rows: Tensor) -> Tensor:
    """For each element of each row (rows, n) the product of all the others."""
    left = cumprod_values(shifted(rows, 1, 1.0), dim=1)
    return left * cumprod_values(shifted(rows, 1, 1.0, True), dim=1, reverse=True)


@logcumsumexp_values.backward
def _(ctx: Context, g: Tensor) -> Any:
    """exp(x) times the running sum of g / exp(y) from the end, in logarithms: g > 0 and g < 0 apart."""
    x, y, dim, reverse = ctx.x, ctx.out, ctx.attrs["dim"], ctx.attrs.get("reverse", False)

    def part(h: Tensor) -> Tensor:
        positive = E.gt(h, 0.0)
        logs = E.where(positive, E.log(E.where(positive, h, 1.0)) - y, -math.inf)
        return E.exp(logcumsumexp_values(logs, dim=dim, reverse=not reverse) + x)

    return part(g) - part(-g)


def _extreme(name: str) -> KernelOp:
    def meta(x: Tensor, dim: int) -> Any:
        return _layout(x), _layout(x, int64)

    op = KernelOp(name, meta, ("x",), ("out1",), (1,))

    @op.plan
    def _(outputs: Any, x: Tensor, dim: int) -> list[Launch]:
        return _launch(("scan", name), {"T": x.dtype.kind}, [*outputs, x.detach().contiguous()], dim)

    @op.backward
    def _(ctx: Context, g: Tensor, *_: Any) -> Any:
        dim = ctx.attrs["dim"]
        return scatter_add_values(None, ctx.out1, g, dim=dim, size=ctx.meta(0).shape[dim])

    return op


_cummax, _cummin = _extreme("cummax"), _extreme("cummin")


# -- PyTorch's functions


def _run(op: KernelOp, input: Tensor, dim: Any, d: DType | None, out: Any) -> Tensor:
    require_tensor(op.name, "input", input)
    axis = wrap_dim(dim, input.ndim, op.name)
    d = out._layout.dtype if d is None and isinstance(out, Tensor) else d
    x = input if d is None or d is input.dtype else input.to(d)
    result = op(x, dim=axis) if x.ndim else view.reshape(op(view.reshape(x, (1,)), dim=0), ())
    if d is not None and result.dtype is not d:
        result = result.to(d)
    return result if out is None else write_out(result, out, op.name)


@called("CumsumBackward0")
def cumsum(input: Tensor, dim: int, *, dtype: Any = None, out: Any = None) -> Tensor:
    """The running sum along ``dim``; integers add up in int64.

    Example:
        >>> import numtorch
        >>> numtorch.tensor([1, 2, 3]).cumsum(0)
        tensor([1, 3, 6])
    """
    return _run(cumsum_values, input, dim, dtype, out)


@called("CumprodBackward0")
def cumprod(input: Tensor, dim: int, *, dtype: Any = None, out: Any = None) -> Tensor:
    """The running product along ``dim``; integers multiply in int64."""
    return _run(cumprod_values, input, dim, dtype, out)


@called("LogcumsumexpBackward0")
def logcumsumexp(input: Tensor, dim: int, *, out: Any = None) -> Tensor:
    """The logarithm of the running sum of exponentials along ``dim``, without overflow."""
    require_tensor("logcumsumexp", "input", input)
    if not input.dtype.is_floating_point:
        raise not_implemented("logcumsumexp", input.dtype)
    return _run(logcumsumexp_values, input, dim, None, out)


def _running(op: KernelOp, input: Tensor, dim: Any, out: Any) -> Any:
    require_tensor(op.name, "input", input)
    axis = wrap_dim(dim, input.ndim, op.name)
    if input.ndim:
        result = op(input, dim=axis)
    else:
        result = [view.reshape(t, ()) for t in op(view.reshape(input, (1,)), dim=0)]
    return return_types.of(op.name)(*(result if out is None else write_out(tuple(result), out, op.name)))


@called("CummaxBackward0")
def cummax(input: Tensor, dim: int, *, out: Any = None) -> Any:
    """The largest so far along ``dim``, and where it is (the last of equals)."""
    return _running(_cummax, input, dim, out)


@called("CumminBackward0")
def cummin(input: Tensor, dim: int, *, out: Any = None) -> Any:
    """The smallest so far along ``dim``, and where it is (the last of equals)."""
    return _running(_cummin, input, dim, out)


def cumsum_(self: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """In-place form of ``cumsum``."""
    return overwrite(self, cumsum(self, dim, dtype=dtype))


def cumprod_(self: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """In-place form of ``cumprod``."""
    return overwrite(self, cumprod(self.clone() if self._rg else self, dim, dtype=dtype))
