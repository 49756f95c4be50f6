"""numtorch.masked: reductions and normalisations of the elements where a mask is True.

Masked elements are replaced by what does not change the result (0 in a sum, -inf in a maximum); where a whole row is masked, the
result is that value. The values of a normalisation at masked positions are unspecified.

Example:
    >>> import numtorch
    >>> x = numtorch.tensor([1.0, 2.0, 4.0])
    >>> numtorch.masked.mean(x, 0, mask=x < 3.0)
    tensor(1.5000)
"""

# Names are PyTorch's, one of them Python's own as well (sum).
from __future__ import annotations

import math
from typing import Any

from . import nn
from ._tensor import Tensor
from .absent import hints as _hints
from .dtype import bool_, float32, iinfo, int64
from .errors import require_tensor
from .ops import elementwise as E
from .ops import elementwise_more as M
from .ops import extremes, reduce, scan, view
from .ops.sort import nanmedian
from .ops.vector_norm import vector_norm

__all__ = """amax amin argmax argmin cumprod cumsum log_softmax logaddexp logsumexp mean median norm normalize prod softmax
    softmin std sum var""".split()


def _mask_of(input: Tensor, mask: Tensor) -> Tensor:
    """The mask as booleans in the shape of the input."""
    require_tensor("masked", "mask", mask)
    if mask.ndim > input.ndim:
        raise IndexError(
            f"_input_mask expected broadcastable mask (got mask dimensionality higher than of the input): {mask.ndim}-D"
            f" for a {input.ndim}-D input"
        )
    return view.broadcast_to(mask.to(bool_), input._layout.shape)


def _without(op: str, input: Tensor, mask: Tensor | None, identity: Any) -> Tensor:
    """The input with ``identity`` where it is masked."""
    require_tensor(f"masked.{op}", "input", input)
    return input if mask is None else E.where(_mask_of(input, mask), input, identity)


def _dims(dim: Any, ndim: int) -> tuple[int, ...]:
    """The dimensions to reduce, all for None or ()."""
    if dim is None or dim == ():
        return tuple(range(ndim))
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    wrapped: list[int] = []
    for d in dims:
        if not -max(ndim, 1) <= d < max(ndim, 1):
            raise IndexError(
                f"Dimension out of range (expected to be in range of [{-max(ndim, 1)}, {max(ndim, 1) - 1}], but got {d})"
            )
        if d % max(ndim, 1) in wrapped:
            raise RuntimeError(f"dim={d} appears multiple times in the list of dims")
        wrapped.append(d % max(ndim, 1))
    return tuple(sorted(wrapped))


def _edge(input: Tensor, largest: bool) -> Any:
    """The least (or the largest) value of the input's dtype."""
    if input.dtype.is_floating_point:
        return math.inf if largest else -math.inf
    if input.dtype is bool_:
        raise NotImplementedError("masked: the least and largest values of bool are not defined; convert with .int()")
    return iinfo(input.dtype).max if largest else iinfo(input.dtype).min


def _whole(input: Tensor, dtype: Any) -> Any:
    """The dtype of sums and products: int64 for integers."""
    return dtype or (input.dtype if input.dtype.is_floating_point else int64)


# -- reductions


def sum(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
    """The sum of the elements that are not masked."""
    x = _without("sum", input, mask, 0)
    return reduce.sum(x, _dims(dim, input.ndim), bool(keepdim), dtype=_whole(input, dtype))


def prod(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The product of the elements that are not masked."""
    x = _without("prod", input, mask, 1).to(_whole(input, dtype))
    for d in reversed(_dims(dim, input.ndim)):
        x = reduce.prod(x, d, bool(keepdim))
    return x


def amax(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The largest of the elements that are not masked."""
    x = input if mask is None else _without("amax", input, mask, _edge(input, False))
    return extremes.amax(x, _dims(dim, input.ndim), bool(keepdim)).to(dtype or input.dtype)


def amin(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The least of the elements that are not masked."""
    x = input if mask is None else _without("amin", input, mask, _edge(input, True))
    return extremes.amin(x, _dims(dim, input.ndim), bool(keepdim)).to(dtype or input.dtype)


def argmax(input: Tensor, dim: int | None = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """Where the largest of the elements that are not masked is, in the dtype of the input."""
    x = input if mask is None else _without("argmax", input, mask, _edge(input, False))
    return extremes.argmax(x, dim, bool(keepdim)).to(dtype or input.dtype)


def argmin(input: Tensor, dim: int | None = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """Where the least of the elements that are not masked is, in the dtype of the input."""
    x = input if mask is None else _without("argmin", input, mask, _edge(input, True))
    return extremes.argmin(x, dim, bool(keepdim)).to(dtype or input.dtype)


def _count(input: Tensor, dim: Any, keepdim: bool, mask: Tensor | None) -> Any:
    """How many elements are not masked."""
    dims = _dims(dim, input.ndim)
    if mask is None:
        return math.prod(input._layout.shape[d] for d in dims) if input.ndim else 1
    return reduce.sum(_mask_of(input, mask), dims, keepdim)


def mean(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The mean of the elements that are not masked; NaN if there are none."""
    require_tensor("masked.mean", "input", input)
    if not (dtype or input.dtype).is_floating_point:
        source = "Input" if dtype is None else "Optional"
        raise ValueError(
            f"mean(): Could not infer output dtype. {source} dtype must be either a floating point or complex dtype."
            f" Got: {dtype or input.dtype}"
        )
    total = sum(input, dim, keepdim=keepdim, dtype=dtype or input.dtype, mask=mask)
    return E.true_divide(total, _count(input, dim, bool(keepdim), mask))


def median(input: Tensor, dim: int = -1, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The lower median of the elements that are not masked; NaN (ValueError for integers) if there are none."""
    require_tensor("masked.median", "input", input)
    floating = input.dtype.is_floating_point
    x = _without("median", input if floating else input.to(float32), mask, math.nan)
    result = nanmedian(x, _dims(dim, input.ndim)[0], keepdim)[0]
    if floating:
        return result
    if bool(E.isnan(result).any()):
        raise ValueError("masked median expects no fully masked out rows if dtype is not floating point")
    return result.to(dtype or input.dtype)


def norm(input: Tensor, ord: float = 2.0, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The vector norm of the elements that are not masked."""
    x = _without("norm", input, mask, math.inf if ord == -math.inf else 0)
    return vector_norm(x, ord, _dims(dim, input.ndim), bool(keepdim), dtype=dtype or input.dtype)


def logsumexp(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The logarithm of the sum of the exponentials of the elements that are not masked."""
    x = input if mask is None else _without("logsumexp", input, mask, _edge(input, False))
    return reduce.logsumexp(x, _dims(dim, input.ndim), bool(keepdim)).to(dtype or input.dtype)


def var(input: Tensor, dim: Any = None, unbiased: bool | None = None, *, correction: float | None = None, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The variance of the elements that are not masked, divided by their number less ``correction`` (1)."""
    require_tensor("masked.var", "input", input)
    if correction is None:
        correction = 1.0 if unbiased is None or unbiased else 0.0
    result_dtype = dtype or (input.dtype if input.dtype.is_floating_point else float32)
    compute = result_dtype if result_dtype.is_floating_point else float32
    total = sum(input, dim, keepdim=True, dtype=result_dtype, mask=mask)
    x = E.sub(input, E.true_divide(total, _count(input, dim, True, mask)))
    squares = sum(E.square(x), dim, keepdim=bool(keepdim), dtype=compute, mask=mask)
    count = _count(input, dim, bool(keepdim), mask)
    if isinstance(count, Tensor):
        divisor: Any = E.clamp_min(E.sub(count.to(compute), float(correction)), 0.0)
    else:
        divisor = max(count - correction, 0.0)
    return E.true_divide(squares, divisor).to(result_dtype)


def std(input: Tensor, dim: Any = None, unbiased: bool | None = None, *, correction: float | None = None, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The square root of ``var``."""
    floating = dtype if dtype is not None and dtype.is_floating_point else None
    result = var(input, dim, unbiased, correction=correction, keepdim=keepdim, dtype=floating, mask=mask)
    return E.sqrt(result).to(dtype or result.dtype)


# -- normalisations


def cumsum(input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
    """Cumulative sums in which masked elements count as 0."""
    d = dtype or input.dtype
    return scan.cumsum(_without("cumsum", input, mask, 0), _dims(dim, input.ndim)[0], dtype=d).to(d)


def cumprod(input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
    """Cumulative products in which masked elements count as 1."""
    d = dtype or input.dtype
    return scan.cumprod(_without("cumprod", input, mask, 1), _dims(dim, input.ndim)[0], dtype=d).to(d)


def softmax(input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
    """The softmax of the elements that are not masked."""
    x = input if mask is None else _without("softmax", input, mask, _edge(input, False))
    return nn.functional.softmax(x, _dims(dim, input.ndim)[0], dtype=dtype or input.dtype)


def log_softmax(input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
    """The logarithm of the softmax of the elements that are not masked."""
    x = input if mask is None else _without("log_softmax", input, mask, _edge(input, False))
    return nn.functional.log_softmax(x, _dims(dim, input.ndim)[0], dtype=dtype or input.dtype)


def softmin(input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
    """The softmax of the negative elements that are not masked."""
    x = input if mask is None else _without("softmin", input, mask, _edge(input, True))
    return nn.functional.softmin(x, _dims(dim, input.ndim)[0], dtype=dtype or input.dtype)


def normalize(input: Tensor, ord: float, dim: int, *, eps: float = 1e-12, dtype: Any = None, mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The elements divided by the norm of those that are not masked, which counts as at least ``eps``."""
    length = norm(input, ord, dim, keepdim=True, dtype=dtype, mask=mask)
    return E.true_divide(_without("normalize", input, mask, 0), E.clamp_min(length, eps))


def logaddexp(input: Tensor, other: Tensor, *, dtype: Any = None, input_mask: Tensor | None = None, other_mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """``logaddexp`` in which masked elements count as -inf."""
    x = _without("logaddexp", input, input_mask, -math.inf)
    return M.logaddexp(x, _without("logaddexp", other, other_mask, -math.inf)).to(dtype or input.dtype)

__getattr__ = _hints(__name__)
