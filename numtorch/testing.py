"""``assert_close`` and ``make_tensor``, for tests of programs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ._tensor import Tensor
from .absent import hints as _hints
from .dtype import bfloat16, float16, float32, float64, promote_types
from .dtype import dtype as DType
from .from_data import as_tensor

__all__ = ["assert_allclose", "assert_close", "make_tensor"]

_TOLERANCES = {float16: (1e-3, 1e-5), bfloat16: (1.6e-2, 1e-5), float32: (1.3e-6, 1e-5), float64: (1e-7, 1e-7)}
_NUMBERS = (int, float, bool, np.bool_, np.number)


class _Options:
    """What ``assert_close`` was told."""

    def __init__(self, rtol: float | None, atol: float | None, equal_nan: bool, checks: dict[str, bool]):
        if (rtol is None) != (atol is None):
            raise ValueError(
                f"Both 'rtol' and 'atol' must be either specified or omitted, but got no {'rtol' if rtol is None else 'atol'}."
            )
        self.rtol, self.atol, self.equal_nan, self.checks = rtol, atol, equal_nan, checks

    def tolerances(self, *dtypes: DType) -> tuple[float, float]:
        """(rtol, atol): those given, or the largest of the dtypes' own."""
        if self.rtol is not None and self.atol is not None:
            return self.rtol, self.atol
        own = [_TOLERANCES.get(d, (0.0, 0.0)) for d in dtypes]
        return max(r for r, _ in own), max(a for _, a in own)


class _Different(Exception):
    """What differs, and where in nested containers."""

    def __init__(self, text: str, kind: type[Exception] = AssertionError):
        super().__init__(text)
        self.text, self.kind, self.place = text, kind, ""


def assert_close(actual: Any, expected: Any, *, allow_subclasses: bool = True, rtol: float | None = None,
                 atol: float | None = None, equal_nan: bool = False, check_device: bool = True, check_dtype: bool = True,
                 check_layout: bool = True, check_stride: bool = False, msg: str | Callable[[str], str] | None = None) -> None:  # fmt: skip
    """AssertionError unless values are close: |actual - expected| <= atol + rtol * |expected|, in nested containers item by item.

    Tolerances follow from the dtypes (float32: rtol 1.3e-6, atol 1e-5) unless both are given. Shapes, dtypes and devices must be
    equal unless a check is switched off.

    Example:
        >>> import numtorch
        >>> numtorch.testing.assert_close(numtorch.tensor([1.0]), numtorch.tensor([1.0 + 1e-7]))
    """
    checks = {"device": check_device, "dtype": check_dtype, "layout": check_layout, "stride": check_stride, "subclasses": allow_subclasses}
    options = _Options(rtol, atol, equal_nan, checks)
    try:
        _compare(actual, expected, options)
    except _Different as error:
        text = error.text + (f"\n\nThe failure occurred for item {error.place}" if error.place else "")
        if error.kind is AssertionError and msg is not None:
            text = msg(text) if callable(msg) else msg
        raise error.kind(text) from None


def _compare(actual: Any, expected: Any, options: _Options) -> None:
    related = isinstance(actual, type(expected)) or isinstance(expected, type(actual))
    if isinstance(actual, Mapping) and isinstance(expected, Mapping):
        _compare_mappings(actual, expected, options)
    elif _is_sequence(actual) and _is_sequence(expected):
        if len(actual) != len(expected):
            raise _Different(f"The length of the sequences mismatch: {len(actual)} != {len(expected)}")
        for i, pair in enumerate(zip(actual, expected)):
            _compare_item(i, *pair, options)
    elif actual is None or expected is None:
        if actual is not expected:
            raise _Different(f"None mismatch: {actual} is not {expected}")
    elif isinstance(actual, _NUMBERS) and isinstance(expected, _NUMBERS):
        _compare_numbers(actual, expected, options)
    elif _is_array(actual) and _is_array(expected) and (related if options.checks["subclasses"] else type(actual) is type(expected)):
        _compare_tensors(as_tensor(actual).detach(), as_tensor(expected).detach(), options)
    else:
        raise _Different(
            "No comparison pair was able to handle inputs of type"
            f" {type(actual)} and {type(expected)}; give both as tensors, arrays or numbers.", TypeError
        )  # fmt: skip


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _is_array(value: Any) -> bool:
    return isinstance(value, (Tensor, np.ndarray))


def _compare_mappings(actual: Mapping, expected: Mapping, options: _Options) -> None:
    missing = [k for k in expected if k not in actual]
    more = [k for k in actual if k not in expected]
    if missing or more:
        raise _Different(
            "The keys of the mappings do not match:\n"
            f"Missing keys in the actual mapping: {missing}\nAdditional keys in the actual mapping: {more}"
        )
    for key in actual:
        _compare_item(key, actual[key], expected[key], options)


def _compare_item(key: Any, actual: Any, expected: Any, options: _Options) -> None:
    try:
        _compare(actual, expected, options)
    except _Different as error:
        error.place = f"[{key!r}]{error.place}"
        raise


def _compare_numbers(actual: Any, expected: Any, options: _Options) -> None:
    kinds = [float64 if isinstance(x, (float, np.floating)) else as_tensor(np.asarray(x)).dtype for x in (actual, expected)]
    rtol, atol = options.tolerances(*kinds)
    difference = abs(float(actual) - float(expected))
    both_nan = options.equal_nan and math.isnan(actual) and math.isnan(expected)
    if actual == expected or both_nan or difference <= atol + rtol * abs(float(expected)):
        return
    raise _Different(_numbers_message(actual, expected, abs(actual - expected), rtol, atol))


def _numbers_message(actual: Any, expected: Any, difference: Any, rtol: float, atol: float) -> str:
    relative = difference / abs(expected) if expected else math.inf
    if not rtol and not atol:
        return (f"Scalars are not equal!\n\nExpected {expected} but got {actual}.\nAbsolute difference: {difference}\n"
                f"Relative difference: {relative}")  # fmt: skip
    return (
        f"Scalars are not close!\n\nExpected {expected} but got {actual}.\nAbsolute difference: {difference} (up to {atol} allowed)\n"
        f"Relative difference: {relative} (up to {rtol} allowed)"
    )


def _compare_tensors(actual: Tensor, expected: Tensor, options: _Options) -> None:
    for name, check in (("shape", True), *((n, options.checks[n]) for n in ("layout", "device", "dtype"))):
        ours, theirs = getattr(actual, name), getattr(expected, name)
        if check and ours != theirs:
            raise _Different(f"The values for attribute '{name}' do not match: {ours} != {theirs}.")
    if options.checks["stride"] and actual.stride() != expected.stride():
        raise _Different(f"The values for attribute 'stride()' do not match: {actual.stride()} != {expected.stride()}.")
    rtol, atol = options.tolerances(actual.dtype, expected.dtype)
    common = promote_types(actual.dtype, expected.dtype)
    exact = not common.is_floating_point  # with Python's integers, which don't overflow
    a, e = (t.to(common).detach().cpu()._numbers() for t in (actual, expected))
    a, e = (a.astype(object) * 1, e.astype(object) * 1) if exact else (a, e)
    with np.errstate(all="ignore"):
        difference, size = np.abs(a - e), np.abs(e)
        close = np.asarray((a == e) | (difference <= atol + rtol * size), bool)
        if options.equal_nan and not exact:
            close |= np.isnan(a) & np.isnan(e)
        if close.all():
            return
        if not close.ndim:
            raise _Different(_numbers_message(actual.item(), expected.item(), np.asarray(difference).item(), rtol, atol))
        raise _Different(_tensor_message(close, difference, size, rtol, atol))


def _tensor_message(close: np.ndarray, difference: np.ndarray, size: np.ndarray, rtol: float, atol: float) -> str:
    wrong, total = int((~close).sum()), close.size
    exact = difference.dtype == object
    relative = np.divide(*(x.astype(np.float32 if exact else x.dtype) for x in (difference, size)))
    difference = difference.astype(np.int64) if exact else difference
    equal = not rtol and not atol
    lines = [f"Tensor-likes are not {'equal' if equal else 'close'}!", ""]
    lines.append(f"Mismatched elements: {wrong} / {total} ({wrong / total:.1%})")
    for name, values, allowed in (("absolute", difference, atol), ("relative", relative, rtol)):
        values = np.where(close, values.dtype.type(0), values)
        at = np.unravel_index(int(np.argmax(values)), values.shape)
        where = f"({', '.join(str(int(i)) for i in at)}{',' if len(at) == 1 else ''})"
        lines.append(f"Greatest {name} difference: {values[at].item()} at index {where}" + ("" if equal else f" (up to {allowed} allowed)"))
    return "\n".join(lines)


def assert_allclose(actual: Any, expected: Any, rtol: float | None = None, atol: float | None = None, equal_nan: bool = True,
                    msg: str = "") -> None:  # fmt: skip
    """The older ``assert_close``, which converts what isn't a tensor and looks at values only."""
    assert_close(as_tensor(actual), as_tensor(expected), rtol=rtol, atol=atol, equal_nan=equal_nan, check_device=True,
                 check_dtype=False, check_stride=False, msg=msg or None)  # fmt: skip


_DEFAULT_RANGES = {"uint8": (0, 10), "bool": (0, 2)}


def make_tensor(*shape: Any, dtype: DType, device: Any = "cpu", low: float | None = None, high: float | None = None,
                requires_grad: bool = False, noncontiguous: bool = False, exclude_zero: bool = False,
                memory_format: Any = None) -> Tensor:  # fmt: skip
    """A tensor of uniform random numbers in [low, high), by default [-9, 9), [0, 10) for uint8.

    ``noncontiguous`` lets it lie in every other place of its memory; ``exclude_zero`` replaces zeros by the smallest number above.

    Example:
        >>> import numtorch
        >>> numtorch.testing.make_tensor(2, 3, dtype=numtorch.float32, noncontiguous=True).is_contiguous()
        False
    """
    from . import finfo, rand, randint

    sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], Sequence) else shape
    least, most = _DEFAULT_RANGES.get(dtype.name, (-9, 9 if dtype.is_floating_point else 10))
    low, high = least if low is None else low, most if high is None else high
    if low >= high:
        raise ValueError(f"`low` must be less than `high`, but got {low} >= {high}")
    if requires_grad and not dtype.is_floating_point:
        raise ValueError(f"`requires_grad=True` is not supported for boolean and integral dtypes, but got dtype={dtype}")
    count = (*sizes[:-1], 2 * sizes[-1]) if noncontiguous and sizes else sizes
    if dtype.is_floating_point:
        made = (rand(count, dtype=float64) * (high - low) + low).clamp_(max=float(np.nextafter(high, low))).to(dtype)
    else:
        made = randint(math.ceil(low), math.ceil(high), count).to(dtype)
    if exclude_zero:
        made[made == 0] = finfo(dtype).tiny if dtype.is_floating_point else 1
    made = made.to(device)
    if noncontiguous and sizes:
        made = made[..., ::2]
    return made.requires_grad_() if requires_grad else made

__getattr__ = _hints(__name__)
