"""Vector norms: the p-norm of all elements or along dimensions, by one reduction, with PyTorch's gradients."""

from __future__ import annotations

import math
from typing import Any

from .._tensor import Tensor
from ..errors import TORCH_NAMES, require_tensor
from ..shape import contiguous, wrap_dims
from . import elementwise as E
from .arithmetic import pow as power
from .arithmetic import where
from .declare import Context, kernel_op
from .inplace import write_out
from .launch import Launch, from_plan
from .reduce import _shape, _split, planner, spread, sum_values


@kernel_op(["x"], saves=["x", "out"], name="vector_norm")
def norm_values(x: Tensor, dims: tuple, keepdim: bool, p: float) -> Any:
    """The p-norm over dimensions; p may be 0 (how many are not zero) and plus or minus infinity."""
    la = x._layout
    return contiguous(_shape(la.shape, dims, keepdim), la.dtype, la.device)


@norm_values.plan
def _(outputs: Any, x: Tensor, dims: tuple, keepdim: bool, p: float) -> list[Launch]:
    source, outer, n, inner = _split(x.detach(), dims)
    return from_plan(planner("norm_plan")(outer, n, inner, x.dtype.kind, p), y=outputs[0], x=source)


@norm_values.backward
def _(ctx: Context, g: Tensor) -> Any:
    x, y, p = ctx.x, ctx.out, ctx.attrs["p"]
    dims, keepdim = ctx.attrs["dims"], ctx.attrs["keepdim"]
    shape = x._layout.shape
    g, y = spread(g, shape, dims, keepdim), spread(y, shape, dims, keepdim)
    return _gradient(x, y, g, p, dims)


def _gradient(x: Tensor, y: Tensor, g: Tensor, p: float, dims: tuple) -> Tensor:
    """The gradient of x from that of its norm y; where the norm is 0 it is 0."""
    if p == 0.0:
        return x * 0.0
    if p == 1.0:
        return g * E.sign(x)
    if p == 2.0:
        return where(y == 0.0, 0.0, x * (g / y))
    if math.isinf(p):
        largest = where((E.abs(x) == y) | (E.isnan(x) & E.isnan(y)), 1.0, 0.0).to(x.dtype)
        return g * E.sign(x) * (largest / sum_values(largest, dims=dims, keepdim=True))
    magnitude = where(x == 0.0, 1.0, E.abs(x))  # a power of 0 may be infinite
    scale = power(magnitude / where(y == 0.0, 1.0, y), p - 1.0)
    return where(x == 0.0, 0.0, g * E.sign(x) * scale)


def vector_norm(
    x: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, out: Any = None
) -> Tensor:
    """(sum of abs(x)**ord) ** (1 / ord) over all elements or over ``dim``.

    RuntimeError for dtypes that are not floating, and where plus or minus infinity meets no elements.

    Example:
        >>> import numtorch
        >>> numtorch.ops.vector_norm.vector_norm(numtorch.tensor([3.0, 4.0]))
        tensor(5.)
    """
    require_tensor("linalg.vector_norm", "x", x)
    if dtype is not None:
        x = x.to(dtype)
    if not x.dtype.is_floating_point:
        raise RuntimeError(
            f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {TORCH_NAMES[x.dtype.name]};"
            " convert with .float()"
        )
    p = float(ord)
    dims = wrap_dims(dim, x.ndim, "linalg.vector_norm")
    if (p < 0 or math.isinf(p)) and any(x.shape[d] == 0 for d in dims):
        raise RuntimeError(
            f"linalg.vector_norm cannot compute the {p} norm on an empty tensor because the operation does not have an"
            " identity"
        )
    result = norm_values(x, dims=dims, keepdim=bool(keepdim), p=p)
    return result if out is None else write_out(result, out, "linalg.vector_norm")


def norm(
    input: Tensor,
    p: Any = "fro",
    dim: Any = None,
    keepdim: bool = False,
    out: Any = None,
    dtype: Any = None,
) -> Tensor:
    """The vector norm of order ``p`` ("fro": 2) over all elements or over ``dim``; "nuc": the sum of a matrix's singular values.

    Example:
        >>> import numtorch
        >>> numtorch.tensor([[3.0, 4.0], [0.0, 1.0]]).norm(dim=1)
        tensor([5., 1.])
    """
    require_tensor("norm", "input", input)
    if p == "nuc":
        from ..linalg import matrix_norm

        if dim is None and input.ndim != 2:
            raise RuntimeError(f"norm: the nuclear norm needs a matrix or two dimensions, got {input.ndim}-D; give dim")
        return matrix_norm(input, "nuc", (-2, -1) if dim is None else dim, keepdim, dtype=dtype, out=out)
    if isinstance(p, str) and p != "fro":
        raise RuntimeError(f"norm: only valid string values are 'fro' and 'nuc', found {p}; use a number")
    order = 2.0 if p is None or p == "fro" else p
    return vector_norm(input, order, dim, keepdim, dtype=dtype, out=out)
