"""Sums of products by subscripts, tensor and cross products, numerical integrals and differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .._tensor import Tensor
from ..creation import ones, sequence_of_tensors, zeros
from ..dtype import bool_, int64, promote_types
from ..errors import refuse_dtypes, require_tensor, tensors_only
from ..shape import as_shape, broadcast, wrap_dim
from . import elementwise as E
from . import parts, view
from . import reduce as R
from .arithmetic import sub
from .inplace import write_out
from .joining import cat, stack
from .matmul import matmul
from .node_names import called, named
from .scan import cumprod, cumsum


def tensordot(a: Tensor, b: Tensor, dims: Any = 2, out: Any = None) -> Tensor:
    """Summed over ``dims``: the last of ``a`` with as many first of ``b``, or two lists of dimensions.

    Example:
        >>> import numtorch
        >>> numtorch.tensordot(numtorch.ones(2, 3), numtorch.ones(3, 4), 1).shape
        torch.Size([2, 4])
    """
    require_tensor("tensordot", "a", a)
    require_tensor("tensordot", "b", b)
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0 or dims > min(a.ndim, b.ndim):
            raise RuntimeError(
                f"tensordot expects dims >= 0 and at most the tensors' dimensions, but got dims={dims}"
            )
        dims = (range(a.ndim - dims, a.ndim), range(dims))
    da = [wrap_dim(d, a.ndim, "tensordot") for d in as_shape(list(dims[0]))]
    db = [wrap_dim(d, b.ndim, "tensordot") for d in as_shape(list(dims[1]))]
    if len(da) != len(db):
        raise RuntimeError("both dimension lists should have same length")
    for i, j in zip(da, db):
        m, n = a._layout.shape[i], b._layout.shape[j]
        if m != n and 1 not in (m, n):
            raise RuntimeError(f"contracted dimensions need to match, but first has size {m} in dim {i} and second has size {n} in dim {j}")  # fmt: skip
        if m != n:
            a, b = (R.sum(a, i, True, dtype=a.dtype), b) if n == 1 else (a, R.sum(b, j, True, dtype=b.dtype))
    ra, rb = [d for d in range(a.ndim) if d not in da], [d for d in range(b.ndim) if d not in db]
    n = math.prod(a._layout.shape[d] for d in da)
    sa, sb = [a._layout.shape[d] for d in ra], [b._layout.shape[d] for d in rb]
    left = view.reshape(view.permute(a, ra + da), (math.prod(sa), n))
    right = view.reshape(view.permute(b, db + rb), (n, math.prod(sb)))
    result = view.reshape(matmul(left, right), sa + sb)
    return result if out is None else write_out(result, out, "tensordot")


@tensors_only
def inner(input: Tensor, other: Tensor, *, out: Any = None) -> Tensor:
    """Summed over the last dimension of both; numbers multiply."""
    if input.ndim == 0 or other.ndim == 0:
        result = E.mul(input, other)
    else:
        m, n = input._layout.shape[-1], other._layout.shape[-1]
        if m != n:
            raise RuntimeError(f"inner() the last dimension must match on both input tensors but got shapes {list(input._layout.shape)} and {list(other._layout.shape)}")  # fmt: skip
        result = tensordot(input, other, ((-1,), (-1,)))
    return result if out is None else write_out(result, out, "inner")


@tensors_only
def kron(input: Tensor, other: Tensor, *, out: Any = None) -> Tensor:
    """The Kronecker product: every element of ``input`` times all of ``other``."""
    n = max(input.ndim, other.ndim)
    a = (1,) * (n - input.ndim) + input._layout.shape
    b = (1,) * (n - other.ndim) + other._layout.shape
    left = view.reshape(input, [m for k in a for m in (k, 1)])
    right = view.reshape(other, [m for k in b for m in (1, k)])
    result = view.reshape(E.mul(left, right), [i * j for i, j in zip(a, b)])
    return result if out is None else write_out(result, out, "kron")


@called("LinalgCrossBackward0")
@tensors_only
def cross(input: Tensor, other: Tensor, dim: int | None = None, *, out: Any = None) -> Tensor:
    """The cross products of vectors of 3 along ``dim`` (default: the first dimension of size 3)."""
    require_tensor("cross", "input", input)
    refuse_dtypes("cross", input, {"bool"})
    shape = broadcast(input._layout.shape, other._layout.shape, op="linalg.cross")
    if dim is None:
        dim = next((d for d, n in enumerate(input._layout.shape) if n == 3), None)
        if dim is None:
            raise RuntimeError("no dimension of size 3 in input")
    d = wrap_dim(dim, len(shape), "linalg.cross")
    if input.ndim != other.ndim or input._layout.shape[d] != 3 or other._layout.shape[d] != 3:
        raise RuntimeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {list(input._layout.shape)} and"
            f" {list(other._layout.shape)}"
        )
    a, b = parts.unbind(view.expand(input, shape), d), parts.unbind(view.expand(other, shape), d)
    result = stack([sub(E.mul(a[i - 2], b[i - 1]), E.mul(a[i - 1], b[i - 2])) for i in range(3)], d)
    return result if out is None else write_out(result, out, "cross")


def _cheapest(sizes: list[int]) -> dict[tuple[int, int], int]:
    """Where to split the chain i..j so that its product costs least (Cormen et al., "Introduction to Algorithms", 15.2)."""
    n = len(sizes) - 1
    cost = {(i, i): 0 for i in range(n)}
    where: dict[tuple[int, int], int] = {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            options = [
                (cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)
            ]
            cost[i, j], where[i, j] = min(options)
    return where


def multiply_chain(matrices: Sequence[Tensor], op: str) -> Tensor:
    """The product of matrices in the cheapest order."""
    for i, m in enumerate(matrices):
        if m.ndim != 2:
            raise RuntimeError(f"{op}(): tensor {i} must be 2D but got {m.ndim}D")
    where = _cheapest([m._layout.shape[0] for m in matrices] + [matrices[-1]._layout.shape[1]])

    def product(i: int, j: int) -> Tensor:
        if i == j:
            return matrices[i]
        k = where[i, j]
        return matmul(product(i, k), product(k + 1, j))

    return product(0, len(matrices) - 1)


def chain_matmul(*matrices: Tensor, out: Any = None) -> Tensor:
    """The product of matrices in the cheapest order."""
    given = sequence_of_tensors(
        matrices[0] if len(matrices) == 1 and isinstance(matrices[0], (tuple, list)) else matrices,
        "chain_matmul",
    )
    if not given:
        raise RuntimeError("chain_matmul(): Expected one or more matrices")
    result = multiply_chain(given, "chain_matmul")
    return result if out is None else write_out(result, out, "chain_matmul")


# -- integrals and differences


def _heights(y: Tensor, d: int) -> tuple[Tensor, Tensor]:
    n = y._layout.shape[d]
    return view.narrow(y, d, 0, n - 1), view.narrow(y, d, 1, n - 1)


def _samples(op: str, y: Tensor, x: Any, dim: int) -> tuple[int, Any]:
    """The dimension, and how far the neighbours on it lie apart, if that was given by ``x``."""
    require_tensor(op, "y", y)
    refuse_dtypes(op, y, {"bool"}, RuntimeError)
    if x is not None:
        require_tensor(op, "x", x)
    if not y.ndim:
        raise IndexError(f"{op}: Dimension out of range: y has no dimensions; give at least one")
    d = wrap_dim(dim, y.ndim, op)
    if x is None or y._layout.shape[d] == 0:
        return d, None
    if x.ndim == 0:
        raise RuntimeError(f"{op}: received a 0-dim tensor for x; give x at least one dimension")
    n = y._layout.shape[d]
    if x.ndim == 1:
        if x._layout.shape[0] != n:
            raise RuntimeError(f"{op}: There must be one `x` value for each sample point")
        width = view.reshape(sub(*reversed(_heights(x, 0))), (n - 1,) + (1,) * (y.ndim - 1 - d))
    else:
        x = view.reshape(x, (1,) * (y.ndim - x.ndim) + x._layout.shape)
        width = sub(*reversed(_heights(x, d + x.ndim - y.ndim)))
    return d, width


def _doubled(y: Tensor, d: int, width: Any) -> Tensor:
    """Twice the areas of the trapezoids between neighbours, in their own dtype."""
    if y._layout.shape[d] == 0:
        return view.narrow(y, d, 0, 0)
    both = E.add(*_heights(y, d))
    return both if width is None else E.mul(both, width)


@tensors_only
def trapezoid(y: Tensor, x: Any = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """The integral along ``dim`` by the trapezoidal rule, samples at ``x`` or ``dx`` apart."""
    d, width = _samples("trapezoid", y, x, dim)
    if width is not None:
        return named(E.true_divide(R.sum(_doubled(y, d, width), d), 2.0), "DivBackward1")
    if y._layout.shape[d] == 0:
        return R.sum(y, d)
    ends = E.add(view.select(y, d, 0), view.select(y, d, -1))
    return named(E.mul(E.sub(R.sum(y, d), E.mul(ends, 0.5)), 1 if dx is None else dx), "MulBackward1")


trapz = trapezoid


def cumulative_trapezoid(y: Tensor, x: Any = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """Running integrals along ``dim`` by the trapezoidal rule."""
    d, width = _samples("cumulative_trapezoid", y, x, dim)
    total = cumsum(_doubled(y, d, width), d)
    if width is not None:
        return named(E.true_divide(total, 2.0), "DivBackward1")
    return E.mul(total, 0.5 if dx is None else dx / 2.0)


def diff(input: Tensor, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None, *, out: Any = None) -> Tensor:  # fmt: skip
    """The differences of neighbours along ``dim``, taken ``n`` times."""
    require_tensor("diff", "input", input)
    if input.ndim == 0:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    d = wrap_dim(dim, input.ndim, "diff")
    parts = [t for t in (prepend, input, append) if t is not None]
    x = cat(parts, d) if len(parts) > 1 and n else input
    result = x
    for _ in range(min(n, x._layout.shape[d])):
        low, high = _heights(result, d)
        result = E.logical_xor(high, low) if x.dtype is bool_ else sub(high, low)
    result = result.clone() if result is input else result
    return result if out is None else write_out(result, out, "diff")


def _edge(x: Tensor, d: int, space: Any, order: int) -> Tensor:
    """The derivative along ``d`` of samples that lie ``space`` (a number, or differences) apart."""
    n = x._layout.shape[d]
    if n < order + 1:
        raise RuntimeError("numtorch.gradient expected each dimension size to be at least edge_order+1")

    def at(start: int, length: int) -> Tensor:
        return view.narrow(x, d, start, length)

    if isinstance(space, Tensor):
        h = view.reshape(space, (n - 1,) + (1,) * (x.ndim - 1 - d))
        first, last = view.narrow(h, 0, 0, n - 2), view.narrow(h, 0, 1, n - 2)
        step = [view.narrow(h, 0, k, 1) for k in ((0, 1, n - 3, n - 2) if n > 2 else (0, 0, 0, 0))]
    else:
        first = last = float(space)
        step = [first] * 4
    middle = (at(2, n - 2) * (first / last) - at(0, n - 2) * (last / first)) / (first + last)
    middle = middle + at(1, n - 2) * ((last - first) / (first * last))
    if order == 1:
        low = (at(1, 1) - at(0, 1)) / step[0]
        high = (at(n - 1, 1) - at(n - 2, 1)) / step[3]
    else:
        a, b, c, e = step
        low = at(0, 1) * (-(2.0 * a + b) / (a * (a + b))) + at(1, 1) * ((a + b) / (a * b))
        low = low - at(2, 1) * (a / (b * (a + b)))
        high = at(n - 3, 1) * (e / (c * (c + e))) - at(n - 2, 1) * ((c + e) / (c * e))
        high = high + at(n - 1, 1) * ((2.0 * e + c) / (e * (c + e)))
    return cat([low, middle, high], d)


def gradient(input: Tensor, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1) -> tuple[Tensor, ...]:
    """Numerical derivatives along dimensions; ``spacing``: a number, one per dimension, or tensors of coordinates."""
    require_tensor("gradient", "input", input)
    refuse_dtypes("gradient", input, {"uint8", "bool"}, RuntimeError)
    if edge_order not in (1, 2):
        raise RuntimeError("numtorch.gradient only supports edge_order=1 and edge_order=2.")
    dims = range(input.ndim) if dim is None else as_shape(dim, "gradient")
    dims = [wrap_dim(d, input.ndim, "gradient") for d in dims]
    if len(set(dims)) != len(dims):
        raise RuntimeError(f"gradient: dim {dims} names a dimension more than once; name each once")
    spacing = 1 if spacing is None else spacing
    spaces = list(spacing) if isinstance(spacing, (tuple, list)) else [spacing] * len(dims)
    if len(spaces) != len(dims):
        raise RuntimeError(
            f"numtorch.gradient expected spacing to be unspecified, a scalar, or a list of length {len(dims)}, got"
            f" {len(spaces)}"
        )
    x = input if input.dtype.is_floating_point else input.to(ones(()).dtype)
    found = []
    for d, space in zip(dims, spaces):
        if isinstance(space, Tensor):
            space = sub(*reversed(_heights(space, 0))).to(x.dtype)
        elif space == 0:
            space = zeros((), dtype=x.dtype)  # a difference over no distance is infinite, as in PyTorch
        found.append(_edge(x, d, space, edge_order))
    return tuple(found)


def powers_of(x: Tensor, n: int) -> Tensor:
    """x to the powers 0 to n - 1 as a new last dimension."""
    if n < 1:
        raise RuntimeError(f"linalg.vander: N must be greater than 0, got {n}")
    x = view.reshape(x, (1,)) if x.ndim == 0 else x
    d = promote_types(x.dtype, int64) if x.dtype is bool_ else x.dtype
    shape = x._layout.shape
    one = ones(shape + (1,), dtype=d, device=x.device)
    if n == 1:
        return one
    wide = view.expand(view.unsqueeze(x.to(d), -1), shape + (n - 1,))
    return cat([one, cumprod(wide, -1)], -1)


def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """The matrix of powers of a vector, falling from N - 1 to 0 unless ``increasing``."""
    from .rearrange import flip

    require_tensor("vander", "x", x)
    if x.ndim != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    n = x._layout.shape[0] if N is None else N
    if n < 0:
        raise RuntimeError("N must be non-negative.")
    result = powers_of(x, n) if n else view.reshape(x, (-1, 1))[:, :0]
    return result if increasing else flip(result, 1)
