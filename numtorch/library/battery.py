"""``opcheck``: what this project's own ops are tested for, run on yours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._tensor import Tensor
from ..dtype import float32, float64
from ..ops.pointwise import Elementwise
from .reduction import UserReduction


class OpCheckError(AssertionError):
    """A property that an op should have and has not; the message says which and where."""


def _outputs(result: Any) -> list[Tensor]:
    return list(result) if isinstance(result, (tuple, list)) else [result]


def _array(t: Tensor) -> np.ndarray:
    return t.detach().cpu()._numbers()


def _map(args: Sequence[Any], change: Callable[[Tensor], Tensor]) -> list[Any]:
    return [change(a) if isinstance(a, Tensor) else a for a in args]


def _compare(name: str, have: Any, want: Any, tolerance: float = 0.0) -> None:
    for k, (a, b) in enumerate(zip(_outputs(have), _outputs(want), strict=True)):
        x, y = _array(a), _array(b)
        if x.shape != y.shape or a.dtype is not b.dtype:
            raise OpCheckError(
                f"{name}: output {k} is {a.dtype}{list(x.shape)}, expected {b.dtype}{list(y.shape)}; check the shape rule and"
                " the dtypes that the kernel writes"
            )
        same = np.array_equal(x, y, equal_nan=True) if not tolerance else np.allclose(x, y, tolerance, tolerance)
        if not same:
            raise OpCheckError(
                f"{name}: output {k} differs from that of contiguous eager operands, by {np.nanmax(np.abs(x - y)):.3g}"
            )


def _float32(op: Any, args: Sequence[Any]) -> None:
    """float32 operands give float32 results: float64 has not crept in."""
    given = [a.float() if isinstance(a, Tensor) and a.is_floating_point() else a for a in args]
    for k, out in enumerate(_outputs(op(*given))):
        if out.dtype is float64:
            raise OpCheckError(
                f"float32: output {k} is float64 for float32 operands; allocate it with the operands' dtype and keep"
                " literals in it (np.float32(0.5), x.dtype.type(0.5))"
            )


def _inputs_unmodified(op: Any, args: Sequence[Any]) -> None:
    before = [_array(a).copy() if isinstance(a, Tensor) else a for a in args]
    op(*args)
    for k, (a, b) in enumerate(zip(args, before)):
        if isinstance(a, Tensor) and not np.array_equal(_array(a), b, equal_nan=True):
            raise OpCheckError(f"inputs: operand {k} was changed; write to the outputs only, or name it in mutates_args")


def _strided(op: Any, args: Sequence[Any]) -> None:
    """Transposed, offset and gapped operands give what contiguous ones give."""
    want = op(*_map(args, lambda t: t.detach().contiguous()))

    def gapped(t: Tensor) -> Tensor:
        if t.dim() == 0:
            return t.detach()
        wide = t.detach().repeat_interleave(2, dim=-1)
        return wide[..., ::2]

    _compare("strided operands", op(*_map(args, gapped)), want)
    _compare(
        "transposed operands",
        op(*_map(args, lambda t: t.detach().transpose(0, -1).contiguous().transpose(0, -1) if t.dim() > 1 else t.detach())),
        want,
    )


def _sizes(op: Any, args: Sequence[Any]) -> None:
    """Scalar functions and reductions take tensors without dimensions and without elements; the former broadcast."""
    plain = [t.detach() for t in args if isinstance(t, Tensor)]
    if isinstance(op, Elementwise) and plain and plain[0].numel():
        one = _map(args, lambda t: t.detach().reshape(-1)[:1])
        _compare("operands without dimensions", op(*_map(one, lambda t: t[0])), _each(op(*one), lambda t: t[0]))
        _compare("operands without elements", op(*_map(one, lambda t: t[:0])), _each(op(*one), lambda t: t[:0]))
        first = next(k for k, a in enumerate(args) if isinstance(a, Tensor))
        row, column = plain[0].reshape(-1)[:3], _map(args, lambda t: t.detach().reshape(-1)[:2, None])
        column[first] = row
        full = _map(column, lambda t: t.expand(2, len(row)).contiguous())
        want = op(*full) if len(plain) > 1 else op(*[a[0] if isinstance(a, Tensor) else a for a in full])
        _compare("broadcast operands", op(*column), want)
    if isinstance(op, UserReduction) and plain[0].numel():
        x = plain[0].reshape(-1)
        _compare("an operand without dimensions", op(x[0]), op(x[:1]))
        _compare("an operand without elements", op(x[:0, None], 1), op(x[:1, None], 1)[:0])
        _compare("another dimension", op(x[:, None].expand(len(x), 2), 0), op(x).expand(2))


def _each(result: Any, change: Callable[[Tensor], Tensor]) -> Any:
    return type(result)(map(change, result)) if isinstance(result, (tuple, list)) else change(result)


def _device(op: Any, args: Sequence[Any]) -> None:
    """On a GPU the values and dtypes of the CPU."""
    if any(isinstance(a, Tensor) and a.is_cuda for a in args):
        plain = _map(args, lambda t: t.detach())
        _compare("on the GPU", _each(op(*plain), lambda t: t.cpu()), op(*_map(plain, lambda t: t.cpu())), 1e-5)


def _gradient(op: Any, args: Sequence[Any], second: bool) -> None:
    from ..autograd import gradcheck, gradgradcheck

    given = [
        a.detach().to(float64).requires_grad_() if isinstance(a, Tensor) and a.is_floating_point() and a.requires_grad else a
        for a in args
    ]
    if not any(isinstance(a, Tensor) and a.requires_grad for a in given):
        return
    gradcheck(op, tuple(given))
    if second:
        gradgradcheck(op, tuple(given))


def _traced(op: Any, args: Sequence[Any]) -> None:
    """A trace gives the same bits, with other values too."""
    from .. import jit

    plain = _map(args, lambda t: t.detach())
    places = [i for i, a in enumerate(plain) if isinstance(a, Tensor)]

    def call(*tensors: Tensor) -> Any:
        full = list(plain)
        for i, t in zip(places, tensors):
            full[i] = t
        return op(*full)

    tensors = [plain[i] for i in places]
    trace = jit.trace(call, tuple(tensors))
    _compare("traced", trace(*tensors), call(*tensors))
    other = [t * 0.9 if t.dtype in (float32, float64) else t for t in tensors]
    _compare("traced with other values", trace(*other), call(*other))


TESTS: dict[str, Callable] = {
    "test_float32": _float32,
    "test_inputs_unmodified": _inputs_unmodified,
    "test_strided": _strided,
    "test_sizes": _sizes,
    "test_device": _device,
    "test_gradient": lambda op, args: _gradient(op, args, False),
    "test_second_gradient": lambda op, args: _gradient(op, args, True),
    "test_traced": _traced,
}


def opcheck(op: Any, args: Sequence[Any], *, test_utils: Sequence[str] | None = None, raise_exception: bool = True) -> dict:
    """Run the op battery on an op with these operands: float32 stays float32, operands unmodified, strided operands, for scalar
    functions and reductions operands without dimensions, without elements and broadcast, on a GPU the values of the CPU, first
    and second gradient (of the floating operands that require grad, in float64), traced equals eager.

    ``test_utils`` names some of the tests (default all). Returns {test: "SUCCESS"}; the first failure raises, or is the
    test's entry with ``raise_exception=False``.

    Example:
        >>> @torch.elementwise
        ... def cube(x):
        ...     return x * x * x
        >>> torch.library.opcheck(cube, [torch.randn(3, 4, requires_grad=True)])["test_second_gradient"]
        'SUCCESS'
    """
    found: dict[str, Any] = {}
    for name in test_utils or TESTS:
        if name not in TESTS:
            raise ValueError(f"opcheck: unknown test {name!r}; choose of {', '.join(TESTS)}")
        try:
            TESTS[name](op, list(args))
            found[name] = "SUCCESS"
        except Exception as error:
            if raise_exception:
                raise
            found[name] = error
    return found
