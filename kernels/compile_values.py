"""Values of the short way (compile_front.py): numba's types, conversions and operators on LLVM values."""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import callconv
from numba.core.compiler import Flags
from numba.core.cpu_options import FastMathOptions
from numba.core.extending import _Intrinsic
from numba.core.registry import cpu_target
from numba.core.typing.typeof import typeof

from .syntax import Unsupported


@dataclass(frozen=True, slots=True)
class Value:
    """A run-time value: its numba type (an integer literal has the type of that literal) and LLVM value."""

    kind: Any
    llvm: Any

    @property
    def plain(self) -> Any:
        """The type without a literal's value."""
        return types.unliteral(self.kind)


@dataclass(frozen=True, slots=True)
class Static:
    """What exists at compile time only: a dtype constructor, a function, a module."""

    what: Any


class _NeverRaises(callconv.CPUCallConv):
    """Kernels have no error path: an error that numba's own code would pass on cannot happen."""

    def return_status_propagate(self, builder: Any, status: Any) -> None:
        builder.unreachable()

    def return_user_exc(self, *args: Any, **kwargs: Any) -> None:
        raise Unsupported("an operation that raises")


def flags_of(fastmath: frozenset[str]) -> Any:
    """Numba's compiler flags of a kernel, for what its operators compile themselves."""
    flags = Flags()
    flags.release_gil, flags.error_model, flags.fastmath = True, "numpy", FastMathOptions(set(fastmath))
    flags.no_cpython_wrapper, flags.no_cfunc_wrapper = True, True
    return flags


def context_of(flags: Any) -> Any:
    """Numba's target context under `flags`, without an error path."""
    usual: Any = cpu_target.target_context
    context = usual.subtarget(
        fastmath=flags.fastmath, error_model=callconv.create_error_model("numpy", usual)
    )
    context.__class__ = _without_errors(type(usual))
    return context


@functools.cache
def _without_errors(kind: type) -> type:
    return type(kind.__name__, (kind,), {"call_conv": property(lambda self: _NeverRaises(self))})


@functools.cache
def _known(function: Any, kinds: tuple[Any, ...]) -> tuple[Any, Any]:
    """Numba's type of a function and its signature for argument types. Raises Unsupported without one."""
    typing: Any = cpu_target.typing_context
    kind = typing.resolve_value_type(function)
    found = typing.resolve_function_type(kind, kinds, {})
    if found is None:
        raise Unsupported(f"{function} of {kinds}")
    return kind, found


class Values:
    """Operations on values at the place where `builder` stands."""

    builder: Any
    context: Any

    # -- constants

    def number(self, what: Any) -> Value:
        """A Python or NumPy number as a value. Raises Unsupported for anything else."""
        if isinstance(what, (bool, np.bool_)):
            return Value(types.boolean, ir.IntType(1)(int(what)))
        if isinstance(what, int):
            literal = types.literal(what)
            return Value(literal, self.context.get_constant(types.unliteral(literal), what))
        if isinstance(what, float) and not isinstance(what, np.generic):
            return Value(types.float64, self.context.get_constant(types.float64, what))
        if isinstance(what, np.generic):
            kind = typeof(what)
            if isinstance(kind, (types.Integer, types.Float)):
                return Value(kind, self.context.get_constant(kind, what.item()))
        raise Unsupported(f"the value {what!r}")

    def dummy(self, what: Any) -> Value:
        """A dtype constructor passed as an argument."""
        typing: Any = cpu_target.typing_context
        return Value(typing.resolve_value_type(what), self.context.get_dummy_value())

    # -- conversions

    def cast(self, value: Value, kind: Any) -> Any:
        """The LLVM value of `value` as a `kind`."""
        plain = value.plain
        wanted = types.unliteral(kind)
        return value.llvm if plain == wanted else self.context.cast(self.builder, value.llvm, plain, wanted)

    def truth(self, value: Any) -> Any:
        """The truth of a number as an i1."""
        if not isinstance(value, Value) or not isinstance(value.plain, (types.Boolean, types.Number)):
            raise Unsupported("a condition that is no number")
        if value.plain == types.boolean:
            return value.llvm
        return self.operate(bool, value).llvm

    def unified(self, a: Any, b: Any) -> Any:
        """The type that holds both types; literals count as integers."""
        a, b = types.unliteral(a), types.unliteral(b)
        typing: Any = cpu_target.typing_context
        found = a if a == b else typing.unify_types(a, b)
        if found is None:
            raise Unsupported(f"one variable of {a} and {b}")
        return found

    # -- operators and functions

    def operate(self, function: Any, *values: Any) -> Value:
        """An operator, a conversion or a function that numba knows, on run-time values."""
        if not all(isinstance(value, Value) for value in values):
            raise Unsupported(f"{function} of something that is no number")
        kind, signature = _known(function, tuple(value.plain for value in values))
        implementation = self.context.get_function(
            kind if isinstance(kind, types.Callable) else function, signature
        )
        args = [self.cast(value, wanted) for value, wanted in zip(values, signature.args, strict=True)]
        return Value(signature.return_type, implementation(self.builder, args))

    def extreme(self, compare: Any, values: list[Any]) -> Value:
        """min or max of some numbers, as Python does it: the later one only if it is better."""
        best = values[0]
        for value in values[1:]:
            kind = self.unified(best.kind, value.kind)
            old, new = Value(kind, self.cast(best, kind)), Value(kind, self.cast(value, kind))
            better = self.operate(compare, new, old).llvm
            best = Value(kind, self.builder.select(better, new.llvm, old.llvm))
        return best

    def intrinsic(self, what: _Intrinsic, values: list[Any]) -> Value:
        """One of the intrinsics_*.py, whose generator writes LLVM itself."""
        given = [self.dummy(v.what) if isinstance(v, Static) else v for v in values]
        if not all(isinstance(value, Value) for value in given):
            raise Unsupported(f"{what} of a tuple")
        kinds = [value.kind if what._prefer_literal else value.plain for value in given]
        signature, generate = what._defn(cpu_target.typing_context, *kinds)
        wanted, rest = list(signature.args), []
        if wanted and isinstance(wanted[-1], (types.StarArgTuple, types.StarArgUniTuple)):
            star = wanted.pop()
            rest = [self.cast(v, kind) for v, kind in zip(given[len(wanted) :], star.types, strict=True)]
            rest = [self.context.make_tuple(self.builder, star, rest)]
            given = given[: len(wanted)]
        args = [self.cast(value, kind) for value, kind in zip(given, wanted, strict=True)]
        return Value(signature.return_type, generate(self.context, self.builder, signature, args + rest))


OPERATORS: dict[str, Any] = {
    "Add": operator.add, "Sub": operator.sub, "Mult": operator.mul, "Div": operator.truediv,
    "FloorDiv": operator.floordiv, "Mod": operator.mod, "LShift": operator.lshift, "RShift": operator.rshift,
    "BitAnd": operator.and_, "BitOr": operator.or_, "BitXor": operator.xor, "Lt": operator.lt,
    "LtE": operator.le, "Gt": operator.gt, "GtE": operator.ge, "Eq": operator.eq, "NotEq": operator.ne,
    "USub": operator.neg, "UAdd": operator.pos, "Invert": operator.invert, "Not": operator.not_,
}  # fmt: skip
