"""Distances, covariance and sums that pass over NaN: composites over the reductions."""

from __future__ import annotations

from typing import Any

from .._tensor import Tensor
from ..dtype import bool_
from ..errors import refuse_dtypes, require_tensor, tensors_only
from ..shape import broadcast, wrap_dim, wrap_dims
from . import elementwise as E
from . import reduce as R
from . import view
from .arithmetic import clamp, sub, where
from .autocasting import autocasts
from .inplace import write_out
from .matmul import matmul
from .node_names import called
from .vector_norm import vector_norm


@called("DistBackward0")
def dist(input: Tensor, other: Tensor, p: float = 2.0) -> Tensor:
    """The p-norm of ``input - other``.

    Example:
        >>> import numtorch
        >>> numtorch.dist(numtorch.tensor([3.0, 4.0]), numtorch.zeros(2))
        tensor(5.)
    """
    require_tensor("dist", "input", input)
    return vector_norm(sub(input, other), p)


@autocasts
@called("RenormBackward0")
def renorm(input: Tensor, p: float, dim: int, maxnorm: float, *, out: Any = None) -> Tensor:
    """Slices of ``dim`` scaled down so that their p-norms are at most ``maxnorm``."""
    require_tensor("renorm", "input", input)
    if p <= 0:
        raise RuntimeError(f"renorm: non-positive-norm not supported, got p={p}")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    if input.ndim < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {input.ndim} dimensions")
    d = wrap_dim(dim, input.ndim, "renorm")
    norms = vector_norm(input, p, [k for k in range(input.ndim) if k != d], keepdim=True)
    result = E.mul(input, where(norms > maxnorm, maxnorm / (norms + 1e-7), 1.0))
    return result if out is None else write_out(result, out, "renorm")


@called("NansumBackward0")
def nansum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, out: Any = None) -> Tensor:  # fmt: skip
    """The sum over all elements or over ``dim``, NaN counted as 0."""
    require_tensor("nansum", "input", input)
    x = input if dtype is None else input.to(dtype)
    x = where(E.isnan(x), 0.0, x) if x.dtype.is_floating_point else x
    return R.sum(x, dim, keepdim, dtype=dtype, out=out)


def nanmean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, out: Any = None) -> Tensor:  # fmt: skip
    """The mean over all elements or over ``dim`` of those that are not NaN."""
    require_tensor("nanmean", "input", input)
    x = input if dtype is None else input.to(dtype)
    if not x.dtype.is_floating_point:
        raise RuntimeError(
            f"nanmean(): expected input to have floating point or complex dtype but got {x.dtype.name}"
        )
    dims = wrap_dims(dim, x.ndim, "nanmean")
    count = R.sum(E.logical_not(E.isnan(x)).to(x.dtype), dims, keepdim)
    result = E.true_divide(nansum(x, dims, keepdim), count)
    return result if out is None else write_out(result, out, "nanmean")


def _weights(name: str, w: Tensor | None, n: int, floating: bool) -> Tensor | None:
    """A checked vector of weights."""
    if w is None:
        return None
    if w.ndim > 1:
        raise RuntimeError(f"cov(): expected {name} to have one or fewer dimensions but got {name} with {w.ndim} dimensions")  # fmt: skip
    if w.dtype.is_floating_point != floating or w.dtype is bool_:
        raise RuntimeError(f"cov(): expected {name} to have {'floating point' if floating else 'integral'} dtype but got {name} with {w.dtype.name} dtype")  # fmt: skip
    if w._layout.numel != n:
        raise RuntimeError(f"cov(): expected {name} to have the same numel as there are observations in the input but got {w._layout.numel} != {n}")  # fmt: skip
    if bool((w < 0).any()):
        raise RuntimeError(f"cov(): {name} cannot be negative")
    return w


@tensors_only
def cov(
    input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None
) -> Tensor:
    """The covariance matrix of variables (rows) over observations (columns), each weighted by counts and by weights."""
    require_tensor("cov", "input", input)
    refuse_dtypes("cov", input, {"bool"}, RuntimeError)
    if input.ndim > 2:
        raise RuntimeError(
            f"cov(): expected input to have two or fewer dimensions but got an input with {input.ndim} dimensions"
        )
    x = view.reshape(input, (1, -1)) if input.ndim < 2 else input
    x = x if x.dtype.is_floating_point else x.to(E.true_divide(x.detach()[:0], 1).dtype)
    n = x._layout.shape[1]
    counts = _weights("fweights", fweights, n, False)
    weights = _weights("aweights", aweights, n, True)
    w = counts if weights is None else weights if counts is None else E.mul(counts, weights)
    if w is None:
        centred = x - R.mean(x, 1, True)
        norm: Any = max(n - correction, 0)
        result = matmul(centred, view.t(centred))
    else:
        total = R.sum(w)
        centred = x - E.true_divide(R.sum(E.mul(x, w), 1, True), total)
        if correction and weights is not None:
            norm = total - correction * R.sum(E.mul(w, weights)) / total
        else:
            norm = total - correction
        norm = clamp(norm, min=0)
        result = matmul(centred, view.t(E.mul(centred, w).to(x.dtype)))
    return view.squeeze(E.true_divide(result, norm))


@tensors_only
def corrcoef(input: Tensor) -> Tensor:
    """The matrix of Pearson's correlation coefficients of variables (rows) over observations (columns)."""
    require_tensor("corrcoef", "input", input)
    refuse_dtypes("corrcoef", input, {"bool"}, RuntimeError)
    if input.ndim > 2:
        raise RuntimeError(
            f"corrcoef(): expected input to have two or fewer dimensions but got an input with {input.ndim} dimensions"
        )
    c = cov(input)
    if c.ndim == 0:
        return E.true_divide(c, c)
    root = E.sqrt(view.diagonal(c))
    return E.true_divide(E.true_divide(c, view.unsqueeze(root, 1)), view.unsqueeze(root, 0))


@autocasts
@called("CdistBackward0")
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: Any = None) -> Tensor:
    """The p-norm distances (..., P, R) between the rows of (..., P, M) and (..., R, M); batches broadcast."""
    require_tensor("cdist", "x1", x1)
    require_tensor("cdist", "x2", x2)
    for name, x in (("X1", x1), ("X2", x2)):
        if not x.dtype.is_floating_point:
            raise RuntimeError(f"cdist only supports floating-point dtypes, {name} got: {x.dtype.name}")
        if x.ndim < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, {name} got: {x.ndim}D")
    a, b = x1._layout.shape, x2._layout.shape
    if a[-1] != b[-1]:
        raise RuntimeError(f"X1 and X2 must have the same number of columns. X1: {a[-1]} X2: {b[-1]}")
    if p < 0:
        raise RuntimeError(f"cdist only supports non-negative p values, got p={p}")
    if a[-1] == 0:
        from ..creation import zeros

        batch = broadcast(a[:-2], b[:-2], op="cdist")
        return zeros(batch + (a[-2], b[-2]), dtype=x1.dtype, device=x1.device)
    return vector_norm(E.sub(view.unsqueeze(x1, -2), view.unsqueeze(x2, -3)), p, -1)
