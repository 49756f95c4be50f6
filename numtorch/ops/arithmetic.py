"""PyTorch's signatures over the elementwise ops: ``alpha``, ``rounding_mode``, numbers in either place, in-place forms."""

from __future__ import annotations

import math
from typing import Any

from .._tensor import Tensor
from ..dtype import BOOL, FLOATING
from ..errors import not_implemented, refuse_dtypes, require_tensor, tensors_only
from . import elementwise as E
from .inplace import underivable, write_out
from .node_names import called, named

_Out = Any


def _is_bool(x: Any) -> bool:
    return x.dtype.category == BOOL if isinstance(x, Tensor) else isinstance(x, bool)


def add(input: Any, other: Any, *, alpha: Any = 1, out: _Out = None) -> Tensor:
    """``input + alpha * other``."""
    if alpha == 1:
        return (
            _add_bool(input, other, out)
            if _is_bool(input) and _is_bool(other)
            else E.add(input, other, out=out)
        )
    _check_alpha("add", alpha, input, other)
    return named(E.add_scaled(input, other, alpha, out=out), "AddBackward0")


def _add_bool(input: Any, other: Any, out: _Out) -> Tensor:
    return E.logical_or(input, other, out=out)


def _check_alpha(op: str, alpha: Any, input: Any, other: Any) -> None:
    floating = any(
        isinstance(x, float) or (isinstance(x, Tensor) and x.is_floating_point()) for x in (input, other)
    )
    if isinstance(alpha, float) and not floating:
        raise RuntimeError(
            f"For integral input tensors, argument alpha must not be a floating point number: {op} got alpha={alpha}"
        )
    if isinstance(alpha, bool) and not (_is_bool(input) or _is_bool(other)):
        raise RuntimeError("Boolean alpha only supported for Boolean results.")


def sub(input: Any, other: Any, *, alpha: Any = 1, out: _Out = None) -> Tensor:
    """``input - alpha * other``; RuntimeError for bool tensors."""
    if _is_bool(input) or _is_bool(other):
        both = _is_bool(input) and _is_bool(other)
        raise RuntimeError(
            f"Subtraction, the `-` operator, with {'two bool tensors' if both else 'a bool tensor'} is not supported."
            f" {'Use the `^` or `logical_xor()` operator instead.' if both else 'If you are trying to invert a mask, use the `~` or `logical_not()` operator instead.'}"
        )
    if alpha == 1:
        return E.sub(input, other, out=out)
    _check_alpha("sub", alpha, input, other)
    return named(E.add_scaled(input, other, -alpha, out=out), "SubBackward0")


@called("RsubBackward0")
def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """``other - alpha * input``."""
    require_tensor("rsub", "input", input)
    return sub(other, input, alpha=alpha)


def mul(input: Any, other: Any, *, out: _Out = None) -> Tensor:
    """``input * other``."""
    return (
        E.logical_and(input, other, out=out)
        if _is_bool(input) and _is_bool(other)
        else E.mul(input, other, out=out)
    )


def div(input: Any, other: Any, *, rounding_mode: str | None = None, out: _Out = None) -> Tensor:
    """``input / other``; ``rounding_mode``: None, "trunc" or "floor"."""
    if rounding_mode is None:
        return E.true_divide(input, other, out=out)
    if rounding_mode == "trunc":
        return named(_no_zero_division(E.div_trunc, input, other, out, E.div_trunc_integers), "DivBackward2")
    if rounding_mode == "floor":
        return named(_no_zero_division(E.floor_divide, input, other, out), "DivBackward2")
    raise RuntimeError(
        f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'"
    )


def floor_divide(input: Any, other: Any, *, out: _Out = None) -> Tensor:
    """``input / other`` rounded down; RuntimeError for an integer division by zero."""
    result = _no_zero_division(E.floor_divide, input, other, out)
    return underivable(result, "floor_divide", input, other) if out is None else result


def remainder(input: Any, other: Any, *, out: _Out = None) -> Tensor:
    """The remainder with the sign of ``other``; RuntimeError for an integer division by zero."""
    return _no_zero_division(E.remainder, input, other, out)


def fmod(input: Any, other: Any, *, out: _Out = None) -> Tensor:
    """The remainder with the sign of ``input``; RuntimeError for an integer division by zero."""
    return _no_zero_division(E.fmod, input, other, out, E.fmod_integers)


def _no_zero_division(op: Any, input: Any, other: Any, out: _Out, integers: Any = None) -> Tensor:
    for x in (input, other):
        if isinstance(x, float) or (isinstance(x, Tensor) and x.dtype.category == FLOATING):
            return op(input, other, out=out)
    zero = not other if not isinstance(other, Tensor) else bool((other.detach() == 0).any())
    if zero and (not isinstance(input, Tensor) or input.numel()):
        raise RuntimeError(
            f"{op.name}: ZeroDivisionError: an integer divided by 0, which has no result; divide floats, or replace the"
            " zeros first"
        )
    return (integers or op)(input, other, out=out)


def pow(input: Any, exponent: Any, *, out: _Out = None) -> Tensor:
    """``input`` to the power of ``exponent``."""
    if isinstance(exponent, (int, float)) and not isinstance(exponent, bool) and isinstance(input, Tensor):
        result = _pow_number(input, exponent)
        if result is not None:
            return result if out is None else write_out(result, out, "pow")
    integers = not any(
        isinstance(x, float) or (isinstance(x, Tensor) and x.is_floating_point()) for x in (input, exponent)
    )
    if integers and isinstance(exponent, int) and exponent < 0:
        raise RuntimeError("pow: Integers to negative integer powers are not allowed, because the result is no integer; convert the base with .float()")
    return E.pow_tensor(input, exponent, out=out)


def _pow_number(x: Tensor, exponent: Any) -> Tensor | None:
    """Cheap forms of common powers, exact as the general one."""
    if x.dtype.category != FLOATING:
        return (
            E.mul(x, x) if exponent == 2 and isinstance(exponent, int) and x.dtype.category != BOOL else None
        )
    if exponent == 2:
        return E.square(x)
    if exponent == 1:
        return E.clone_values(x)
    if exponent == 0.5:
        return E.sqrt(x)
    if exponent == 3:
        return cube(x)
    if exponent == -1:
        return E.reciprocal(x)
    return None


def cube(input: Tensor) -> Tensor:
    """``input * input * input`` with one gradient."""
    return E.mul(E.square(input), input)


def float_power(input: Any, exponent: Any, *, out: _Out = None) -> Tensor:
    """``input`` to the power of ``exponent`` in float64."""
    from ..dtype import float64

    a = input.to(float64) if isinstance(input, Tensor) else float(input)
    b = exponent.to(float64) if isinstance(exponent, Tensor) else float(exponent)
    return E.pow_tensor(a, b, out=out)


def float_power_(self: Tensor, exponent: Any) -> Tensor:
    """In-place form of ``float_power``, for float64 only."""
    from ..dtype import float64
    from .copying import overwrite

    if self.dtype is not float64:
        raise RuntimeError(
            f"float_power_: the base given has dtype {self.dtype.name} but the operation's result requires dtype float64; use"
            " float_power, or convert the base with .double()"
        )
    return overwrite(self, float_power(self.clone(), exponent))  # the backward reads the old value


def clamp(input: Tensor, min: Any = None, max: Any = None, *, out: _Out = None) -> Tensor:
    """Limited to [min, max]; either may be None, not both."""
    require_tensor("clamp", "input", input)
    if min is None and max is None:
        raise RuntimeError("clamp: At least one of 'min' or 'max' must not be None")
    if min is None:
        result = E.clamp_max(input, max, out=out)
    elif max is None:
        result = E.clamp_min(input, min, out=out)
    else:
        result = E.clamp_both(input, min, max, out=out)
    return named(result, f"ClampBackward{int(not isinstance(max if min is None else min, Tensor))}")


@tensors_only
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1, out: _Out = None) -> Tensor:
    """``input + value * tensor1 * tensor2``."""
    refuse_dtypes("addcmul", input, {"bool"})
    return E.addcmul_values(input, tensor1, tensor2, value, out=out)


@tensors_only
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1, out: _Out = None) -> Tensor:
    """``input + value * tensor1 / tensor2``; RuntimeError for integer tensors."""
    if all(t.dtype.category != FLOATING for t in (input, tensor1, tensor2)):
        raise RuntimeError(
            "Integer division with addcdiv is no longer supported; convert the tensors to a floating point dtype"
        )
    return E.addcdiv_values(input, tensor1, tensor2, value, out=out)


def where(condition: Tensor, input: Any = None, other: Any = None, *, out: _Out = None) -> Any:
    """``input`` where ``condition`` holds, else ``other``; with the condition alone, the indices where it holds."""
    if input is None and other is None:
        return tuple(condition.nonzero(as_tuple=True))
    require_tensor("where", "condition", condition)
    if condition.dtype.category == FLOATING or (
        condition.dtype.category == 1 and condition.dtype.name != "uint8"
    ):
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype!r}; compare it"
            " with something"
        )
    return E.where(condition, input, other, out=out)


@tensors_only
def bitwise_not(input: Tensor, *, out: _Out = None) -> Tensor:
    """Bits inverted; of bool the opposite."""
    if input.dtype.category == FLOATING:
        raise not_implemented("bitwise_not", input.dtype)
    return E.logical_not(input, out=out) if input.dtype.category == BOOL else E.bitwise_not(input, out=out)


def round(input: Tensor, *, decimals: int | None = None, out: _Out = None) -> Tensor:
    """The nearest whole number (or multiple of ``10**-decimals``), halves to even."""
    if decimals is not None and input.dtype.category != FLOATING:
        raise not_implemented("round_decimals", input.dtype)
    if not decimals:
        return E.round_values(input, out=out)
    scale = math.pow(10.0, builtin_abs(decimals))
    result = E.round_values(input * scale) / scale if decimals > 0 else E.round_values(input / scale) * scale
    return named(result, "RoundBackward1") if out is None else write_out(result, out, "round")


builtin_abs = __builtins__["abs"] if isinstance(__builtins__, dict) else __builtins__.abs  # type: ignore[union-attr]


@tensors_only
def positive(input: Tensor) -> Tensor:
    """The tensor itself; RuntimeError for bool."""
    if input.dtype.category == BOOL:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


def neg(input: Tensor, *, out: _Out = None) -> Tensor:
    """``-input``; RuntimeError for bool."""
    if _is_bool(input):
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use the `~` or"
            " `logical_not()` operator instead."
        )
    return E.neg(input, out=out)
