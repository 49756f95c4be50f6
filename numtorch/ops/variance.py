"""Variance and standard deviation."""

from __future__ import annotations

import math
from typing import Any

from .._tensor import Tensor
from ..errors import require_floating, require_tensor
from ..shape import contiguous, wrap_dims
from .declare import Context, kernel_op
from .elementwise import sqrt, where
from .inplace import write_out
from .launch import Launch, from_plan
from .node_names import called
from .pointwise import elementwise
from .reduce import _shape, _split, planner, spread, sum_values


@kernel_op(["x"], saves=["x"], name="var")
def var_values(x: Tensor, dims: tuple, keepdim: bool, correction: float) -> Any:
    """The variance and the mean over dimensions."""
    la = x._layout
    one = contiguous(_shape(la.shape, dims, keepdim), la.dtype, la.device)
    return one, one


@var_values.plan
def _(outputs: Any, x: Tensor, dims: tuple, keepdim: bool, correction: float) -> list[Launch]:
    source, outer, n, inner = _split(x.detach(), dims)
    plan = planner("var_plan")(outer, n, inner, x.dtype.kind, float(correction))
    return from_plan(plan, y=outputs[0], mean=outputs[1], x=source)


@var_values.backward
def _(ctx: Context, g: Tensor | None, g_mean: Tensor | None) -> Any:
    x, dims, keepdim = ctx.x, ctx.attrs["dims"], ctx.attrs["keepdim"]
    shape = x._layout.shape
    n = math.prod(shape[d] for d in dims)
    total = None
    if g is not None:
        free = n - ctx.attrs["correction"]
        centred = x - sum_values(x, dims=dims, keepdim=True, plan="mean_plan")
        total = spread(g, shape, dims, keepdim) * (centred * (2.0 / free if free > 0 else math.inf))
    if g_mean is not None:
        part = spread(g_mean, shape, dims, keepdim) * (1.0 / max(n, 1))
        total = part if total is None else total + part
    return total


def _spread_args(op: str, input: Tensor, args: tuple, kwargs: dict) -> tuple[tuple[int, ...], bool, float]:
    """(dims, keepdim, correction) of the signatures (dim, *, correction, keepdim), (dim, unbiased, keepdim), (unbiased)."""
    require_tensor(op, "input", input)
    require_floating(op, "input", input)
    values = list(args)
    dim: Any = kwargs.pop("dim", None)
    unbiased = kwargs.pop("unbiased", None)
    keepdim = kwargs.pop("keepdim", False)
    if values and isinstance(values[0], bool):
        unbiased = values.pop(0)
    elif values:
        dim = values.pop(0)
        if values:
            unbiased = values.pop(0)
        if values:
            keepdim = values.pop(0)
    correction = kwargs.pop("correction", None)
    if kwargs:
        raise TypeError(f"{op}() got an unexpected keyword argument '{next(iter(kwargs))}'")
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    return wrap_dims(dim, input.ndim, op), keepdim, float(correction)


def var(input: Tensor, *args: Any, out: Any = None, **kwargs: Any) -> Tensor:
    """The variance over all elements or ``dim``, divided by ``n - correction`` (default 1)."""
    dims, keepdim, correction = _spread_args("var", input, args, kwargs)
    _warn_no_freedom("var", input, dims, correction)
    result = var_values(input, dims=dims, keepdim=keepdim, correction=correction)[0]
    return result if out is None else write_out(result, out, "var")


def _warn_no_freedom(op: str, x: Tensor, dims: tuple[int, ...], correction: float) -> None:
    n = math.prod(x._layout.shape[d] for d in dims)
    if n - correction <= 0:
        import warnings

        warnings.warn(f"{op}(): degrees of freedom is <= 0. Correction should be strictly less than the reduction factor"
                      " (input numel divided by output numel).", UserWarning, stacklevel=3)  # fmt: skip


def std(input: Tensor, *args: Any, out: Any = None, **kwargs: Any) -> Tensor:
    """The standard deviation: the root of ``var``."""
    dims, keepdim, correction = _spread_args("std", input, args, kwargs)
    _warn_no_freedom("std", input, dims, correction)
    result = _root(var_values(input, dims=dims, keepdim=keepdim, correction=correction)[0])
    return result if out is None else write_out(result, out, "std")


@elementwise("float", name="deviation", domain=(0.01, 10.0))
def _root(variance):
    """The standard deviation of a variance."""
    return sqrt(variance)


@_root.grad
def _root_grad(g, y):
    return where(y == 0.0, 0.0, g / (2.0 * y))  # of equal elements 0, where a root alone has none


@called("VarMeanBackward0")
def var_mean(input: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """Variance and mean."""
    dims, keepdim, correction = _spread_args("var_mean", input, args, kwargs)
    _warn_no_freedom("var_mean", input, dims, correction)
    return var_values(input, dims=dims, keepdim=keepdim, correction=correction)


@called("StdMeanBackward0")
def std_mean(input: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """Standard deviation and mean."""
    dims, keepdim, correction = _spread_args("std_mean", input, args, kwargs)
    _warn_no_freedom("std_mean", input, dims, correction)
    v, m = var_values(input, dims=dims, keepdim=keepdim, correction=correction)
    return _root(v), m
