"""PyTorch's signatures over the further elementwise ops, and counts of values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import return_types
from .._tensor import Tensor
from ..dtype import INTEGER, bool_, int32, int64
from ..errors import not_implemented, refuse_dtypes, require_tensor, tensors_only
from ..shape import as_shape, broadcast, contiguous
from . import elementwise as E
from . import elementwise_more as M
from . import reduce as R
from . import view
from .arithmetic import clamp, div, where
from .arithmetic import pow as power
from .copying import clone
from .declare import Context, kernel_op
from .host import host_op
from .inplace import write_out
from .launch import Launch
from .node_names import called


def _done(op: str, result: Tensor, out: Any) -> Tensor:
    return result if out is None else write_out(result, out, op)


def nan_to_num(input: Tensor, nan: Any = None, posinf: Any = None, neginf: Any = None, *, out: Any = None) -> Tensor:  # fmt: skip
    """NaN replaced by ``nan`` (0), the infinities by the numbers given or the dtype's largest and smallest.

    Example:
        >>> import numtorch
        >>> numtorch.nan_to_num(numtorch.tensor([float("nan"), 1.0]))
        tensor([0., 1.])
    """
    require_tensor("nan_to_num", "input", input)
    if not input.dtype.is_floating_point:
        return _done("nan_to_num", clone(input), out)
    from ..dtype import finfo

    limits = finfo(input.dtype)
    values = (0.0 if nan is None else nan, limits.max if posinf is None else posinf, limits.min if neginf is None else neginf)  # fmt: skip
    return _done("nan_to_num", M.nan_to_num_values(input, *[float(v) for v in values]), out)


@called("LogitBackward0")
def logit(input: Tensor, eps: float | None = None, *, out: Any = None) -> Tensor:
    """``log(input / (1 - input))``, with ``input`` limited to [eps, 1 - eps] if given."""
    x = input if eps is None else clamp(input, eps, 1.0 - eps)
    return _done("logit", E.log(E.true_divide(x, E.sub(1.0, x))), out)


def isposinf(input: Tensor, *, out: Any = None) -> Tensor:
    """Whether an element is positive infinity."""
    return _done("isposinf", E.eq(input, math.inf), out)


def isneginf(input: Tensor, *, out: Any = None) -> Tensor:
    """Whether an element is negative infinity."""
    return _done("isneginf", E.eq(input, -math.inf), out)


@tensors_only
def isreal(input: Tensor) -> Tensor:
    """True everywhere."""
    from ..creation import ones

    return ones(input._layout.shape, dtype=bool_, device=input.device)


@tensors_only
def signbit(input: Tensor, *, out: Any = None) -> Tensor:
    """Whether the sign bit is set (also of -0)."""
    return _done("signbit", M.sign_bit(input) if input.dtype.is_floating_point else E.lt(input, 0), out)


@called("LdexpBackward0")
def ldexp(input: Tensor, other: Tensor, *, out: Any = None) -> Tensor:
    """``input * 2**other``."""
    require_tensor("ldexp", "input", input)
    require_tensor("ldexp", "other", other)
    return _done("ldexp", E.mul(input, power(2.0, other)), out)


@host_op(["x"], saves=["out1"], nograd=[1])
def frexp_values(x: Tensor) -> Any:
    """Mantissas and exponents."""
    la = x._layout
    return contiguous(la.shape, la.dtype, la.device), contiguous(la.shape, int32, la.device)


@frexp_values.compute
def _(x: Any) -> Any:
    return np.frexp(x)


@frexp_values.backward
def _(ctx: Context, g: Tensor, g_exponent: Any) -> Any:
    return E.true_divide(g, power(2.0, ctx.out1))


@tensors_only
def frexp(input: Tensor, *, out: Any = None) -> tuple[Tensor, Tensor]:
    """Mantissas in [0.5, 1) and exponents with input = mantissa * 2**exponent."""
    if not input.dtype.is_floating_point:
        raise RuntimeError("numtorch.frexp() only supports floating-point dtypes; convert with .float()")
    result = return_types.frexp(*frexp_values(input))
    return result if out is None else write_out(result, out, "frexp")


@host_op(["x", "other"], saves=["x", "other"])
def nextafter_values(x: Tensor, other: Tensor) -> Any:
    """The next floating point number from ``x`` towards ``other``."""
    shape = broadcast(x._layout.shape, other._layout.shape, op="nextafter")
    return contiguous(shape, x._layout.dtype, x._layout.device)


@nextafter_values.compute
def _(x: Any, other: Any) -> Any:
    return np.nextafter(x, other)


@nextafter_values.backward
def _(ctx: Context, g: Tensor) -> Any:
    """PyTorch's: 1 where the number moved, else 0; the direction has no gradient."""
    x, other = ctx.x, ctx.other
    dx = R.sum_to_size(where(E.eq(x, other), 0.0, g), x._layout.shape) if ctx.needs(0) else None
    return dx, E.mul(other, 0.0) if ctx.needs(1) else None


def nextafter(input: Tensor, other: Tensor, *, out: Any = None) -> Tensor:
    """The next floating point number from ``input`` towards ``other``."""
    require_tensor("nextafter", "input", input)
    require_tensor("nextafter", "other", other)
    if not input.dtype.is_floating_point:
        raise not_implemented("nextafter", input.dtype)
    return _done("nextafter", nextafter_values(input, other.to(input.dtype)), out)


def lcm(input: Tensor, other: Tensor, *, out: Any = None) -> Tensor:
    """The least common multiple of integers."""
    for name, t in (("input", input), ("other", other)):
        require_tensor("lcm", name, t)
        if t.dtype.category != INTEGER:
            raise not_implemented("lcm", t.dtype)
    divisor = M.gcd(input, other)
    part = div(input, where(divisor == 0, 1, divisor), rounding_mode="trunc")
    return _done("lcm", E.abs(E.mul(part, other)), out)


@called("PolygammaBackward0")
def polygamma(n: int, input: Tensor, *, out: Any = None) -> Tensor:
    """The n-th derivative of ``digamma``."""
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    if n < 2:
        return _done("polygamma", M.trigamma(input) if n else M.digamma(input), out)
    scale = float((-1) ** (n + 1) * math.factorial(n))
    return _done("polygamma", E.mul(M.zeta(float(n + 1), input), scale), out)


@called("MvlgammaBackward0")
def mvlgamma(input: Tensor, p: int, *, out: Any = None) -> Tensor:
    """The logarithm of the multivariate gamma function of dimension ``p``."""
    if p < 1:
        raise RuntimeError(f"p has to be greater than or equal to 1, got {p}")
    refuse_dtypes("mvlgamma", input, {"bool"}, RuntimeError)
    result: Any = p * (p - 1) * math.log(math.pi) / 4.0
    for k in range(p):
        result = E.add(M.lgamma(E.sub(input, 0.5 * k)), result)
    return _done("mvlgamma", result, out)


def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False, out: Any = None) -> Tensor:  # fmt: skip
    """Whether each element is among ``test_elements``."""
    given = elements if isinstance(elements, Tensor) else test_elements
    require_tensor("isin", "elements", given)
    refuse_dtypes("isin", given, {"bool"}, RuntimeError)
    tests = view.reshape(test_elements, (-1,)) if isinstance(test_elements, Tensor) else test_elements
    if isinstance(elements, Tensor):
        found = R.any(E.eq(view.unsqueeze(elements, -1), tests), -1)
    else:
        found = R.any(E.eq(tests, elements), -1)
    return _done("isin", E.logical_not(found) if invert else found, out)


# -- counts


@kernel_op(["index", "weights"])
def bincount_values(index: Tensor, weights: Tensor | None, bins: int) -> Any:
    """How often each of ``bins`` values occurs, or the sum of its weights."""
    d = int64 if weights is None else weights._layout.dtype
    return contiguous((bins,), d, index._layout.device)


@bincount_values.plan
def _(outputs: Any, index: Tensor, weights: Tensor | None, bins: int) -> list[Launch]:
    n = index._layout.numel
    env = {"T": outputs[0].dtype.kind}
    pointers = [outputs[0], index.contiguous(), 0 if weights is None else weights.detach().contiguous()]
    return [Launch(("rearrange", "bincount"), env, pointers, (n, bins, int(weights is not None)), bins, n)]


def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each value of a vector of non-negative integers occurs, or the sums of its weights."""
    require_tensor("bincount", "input", input)
    if input.dtype.is_floating_point or input.dtype is bool_:
        raise not_implemented("bincount", input.dtype)
    if input.ndim != 1:
        raise RuntimeError(f"bincount only supports 1-d non-negative integral inputs, got {input.ndim} dimensions; flatten() it")
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    index, n = input.to(int64), input._layout.numel
    if n and int(index.min()) < 0:
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if weights is not None:
        if weights._layout.shape != input._layout.shape:
            raise RuntimeError("weights should be 1-d and have the same length as input")
        weights = weights if weights.dtype.name == "float32" else weights.double()
    return bincount_values(index, weights, bins=max(minlength, int(index.max()) + 1 if n else 0))


def histc(input: Tensor, bins: int = 100, min: Any = 0, max: Any = 0, *, out: Any = None) -> Tensor:
    """How many elements lie in each of ``bins`` equal parts of [min, max] (of the data's range if both are equal)."""
    require_tensor("histc", "input", input)
    if not input.dtype.is_floating_point:
        raise not_implemented("histc", input.dtype)
    if bins <= 0:
        raise RuntimeError("bins must be > 0")
    x = view.reshape(input.detach(), (-1,))
    low, high = float(min), float(max)
    if low == high and x._layout.numel:
        low, high = float(x.min()), float(x.max())
    if low == high:
        low, high = low - 1.0, high + 1.0
    if not (math.isfinite(low) and math.isfinite(high)):
        raise RuntimeError(f"range of [{low}, {high}] is not finite")
    if low > high:
        raise RuntimeError("max must be larger than min")
    x = x[E.logical_and(E.ge(x, low), E.le(x, high))]
    place = E.mul(E.sub(x, low), bins).div(high - low).to(int64)
    counts = bincount_values(clamp(place, 0, bins - 1), None, bins=bins)
    return _done("histc", counts.to(input.dtype), out)


def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """Flat indices as one tensor of indices per dimension."""
    require_tensor("unravel_index", "indices", indices)
    if indices.dtype.is_floating_point or indices.dtype is bool_:
        raise TypeError(
            f"unravel_index(): expected 'indices' to be integer dtype, but got {indices.dtype.name}; convert them with .long()"
        )
    found, rest = [], indices.to(int64)
    for n in reversed(as_shape(shape, "unravel_index")):
        found.append(E.remainder(rest, n))
        rest = E.floor_divide(rest, n)
    return tuple(reversed(found))


# -- identities of real numbers, fills


def real(input: Tensor) -> Tensor:
    """The tensor itself: there are no complex numbers."""
    return input


conj = resolve_conj = resolve_neg = real


def conj_physical(input: Tensor, *, out: Any = None) -> Tensor:
    """The tensor itself: there are no complex numbers."""
    return _done("conj_physical", input, out)


def fill(input: Tensor, value: Any) -> Tensor:
    """A copy filled with one value."""
    return clone(input).fill_(value)


@tensors_only
def zero_(input: Tensor) -> Tensor:
    """Zeros written into the tensor."""
    return input.zero_()
