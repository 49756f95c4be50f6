"""Expressions and variables of a function that goes the short way (compile_front.py). Imported only when compiling."""

from __future__ import annotations

import ast
import builtins
import itertools
import operator
import types as python
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.extending import _Intrinsic

from .binding import Device
from .compile_values import OPERATORS, Static, Value, Values
from .syntax import Unsupported


class Expressions(Values):
    """Expressions of the function `py`, written where `builder` stands."""

    unit: Any
    py: Any
    scope: dict[str, Any]

    def __init__(self) -> None:
        self.variables: dict[str, tuple[Any, Any]] = {}  # type, stack slot
        self.statics: dict[str, Static] = {}  # arguments that exist at compile time only

    # -- variables

    def assign(self, name: str, value: Any) -> None:
        if not isinstance(value, Value) or value.kind == types.none:
            raise Unsupported(f"{self.py.__name__}: {name} is no run-time value")
        if name not in self.variables:
            with self.builder.goto_entry_block():
                room = self.builder.alloca(self.context.get_value_type(value.plain), name=name)
            self.variables[name] = (value.plain, room)
        kind, room = self.variables[name]
        if kind != value.plain:
            raise Unsupported(f"{self.py.__name__}: {name} is {kind}, then {value.plain}")
        self.builder.store(value.llvm, room)

    def lookup(self, name: str) -> Any:
        if name in self.variables:
            kind, room = self.variables[name]
            return Value(kind, self.builder.load(room))
        if name in self.statics:
            return self.statics[name]
        if name in self.py.__code__.co_varnames:
            raise Unsupported(f"{self.py.__name__}: {name} is read before it is set")
        if name in self.scope:
            value = self.unit.replace(self.scope[name])
        elif hasattr(builtins, name):
            value = getattr(builtins, name)
        else:
            raise Unsupported(f"{self.py.__name__}: {name} is not known")
        return self.number(value) if isinstance(value, (int, float, np.generic)) else Static(value)

    # -- expressions

    def value(self, node: ast.expr) -> Any:
        """A Value, a Static or a tuple of them."""
        method = getattr(self, f"_{type(node).__name__}", None)
        if method is None:
            raise Unsupported(f"{self.py.__name__}: `{ast.unparse(node)}`")
        constant = _folded(node)
        return self.number(constant) if constant is not None else method(node)

    def _Constant(self, node: ast.Constant) -> Any:
        return self.number(node.value)

    def _Name(self, node: ast.Name) -> Any:
        return self.lookup(node.id)

    def _Attribute(self, node: ast.Attribute) -> Any:
        base = self.value(node.value)
        if not isinstance(base, Static) or not isinstance(base.what, python.ModuleType):
            raise Unsupported(f"{self.py.__name__}: `{ast.unparse(node)}`")
        found = getattr(base.what, node.attr)
        return self.number(found) if isinstance(found, (int, float, np.generic)) else Static(found)

    def _Tuple(self, node: ast.Tuple) -> Any:
        return tuple(self.value(item) for item in node.elts)

    def _BinOp(self, node: ast.BinOp) -> Any:
        return self.operate(self._operator(node.op), self.value(node.left), self.value(node.right))

    def _operator(self, op: ast.AST) -> Any:
        found = OPERATORS.get(type(op).__name__)
        if found is None:
            raise Unsupported(f"{self.py.__name__}: operator {type(op).__name__}")
        return found

    def _UnaryOp(self, node: ast.UnaryOp) -> Any:
        return self.operate(self._operator(node.op), self.value(node.operand))

    def _Compare(self, node: ast.Compare) -> Any:
        sides = [node.left, *node.comparators]
        if len(sides) > 2 and not all(isinstance(side, (ast.Name, ast.Constant)) for side in sides):
            raise Unsupported(f"{self.py.__name__}: `{ast.unparse(node)}`")
        values = [self.value(side) for side in sides]
        tests = [
            self.operate(self._operator(op), *pair)
            for op, pair in zip(node.ops, itertools.pairwise(values), strict=True)
        ]
        found = tests[0]
        for test in tests[1:]:
            found = self.operate(operator.and_, found, test)
        return found

    def _Subscript(self, node: ast.Subscript) -> Any:
        return self.operate(operator.getitem, self.value(node.value), self.value(node.slice))

    def _BoolOp(self, node: ast.BoolOp) -> Any:
        """`and`, `or` of truth values: the later ones are only computed if they count."""
        with self.builder.goto_entry_block():
            room = self.builder.alloca(ir.IntType(1))
        end = self.builder.append_basic_block("decided")
        for i, part in enumerate(node.values):
            value = self.value(part)
            if not isinstance(value, Value) or value.plain != types.boolean:
                raise Unsupported(f"{self.py.__name__}: `{ast.unparse(node)}` of other values than bools")
            self.builder.store(value.llvm, room)
            if i + 1 == len(node.values):
                self.builder.branch(end)
            else:
                more = self.builder.append_basic_block("more")
                ways = (more, end) if isinstance(node.op, ast.And) else (end, more)
                self.builder.cbranch(value.llvm, *ways)
                self.builder.position_at_end(more)
        self.builder.position_at_end(end)
        return Value(types.boolean, self.builder.load(room))

    def _IfExp(self, node: ast.IfExp) -> Any:
        yes, no = self.builder.append_basic_block("yes"), self.builder.append_basic_block("no")
        end = self.builder.append_basic_block("chosen")
        self.condition(node.test, yes, no)
        found = []
        for start, part in ((yes, node.body), (no, node.orelse)):
            self.builder.position_at_end(start)
            found.append((self.value(part), self.builder.block))
        if not all(isinstance(value, Value) for value, _ in found):
            raise Unsupported(f"{self.py.__name__}: `{ast.unparse(node)}`")
        kind = self.unified(*(value.kind for value, _ in found))
        with self.builder.goto_entry_block():
            room = self.builder.alloca(self.context.get_value_type(kind))
        for value, block in found:
            self.builder.position_at_end(block)
            self.builder.store(self.cast(value, kind), room)
            self.builder.branch(end)
        self.builder.position_at_end(end)
        return Value(kind, self.builder.load(room))

    def _Call(self, node: ast.Call) -> Any:
        called = self.value(node.func)
        if node.keywords or not isinstance(called, Static):
            raise Unsupported(f"{self.py.__name__}: `{ast.unparse(node)}`")
        what, args = called.what, [self.value(arg) for arg in node.args]
        if isinstance(what, Device):
            return self._device(what, args)
        if isinstance(what, _Intrinsic):
            return self.intrinsic(what, args)
        if what in (min, max):
            if len(args) < 2 or not all(isinstance(a, Value) and _is_number(a) for a in args):
                raise Unsupported(f"{self.py.__name__}: `{ast.unparse(node)}`")
            return self.extreme(operator.lt if what is min else operator.gt, args)
        return self.operate(what, *args)

    def _device(self, what: Device, args: list[Any]) -> Any:
        if any(isinstance(arg, tuple) for arg in args):
            raise Unsupported(f"{what.name} of a tuple")
        kinds = tuple(arg if isinstance(arg, Static) else arg.plain for arg in args)
        flags = self.unit.fastmath if what.fastmath is None else what.fastmath
        found = self.unit.function(what.py, kinds, flags, what.inline)
        return found.called(self.builder, [arg.llvm for arg in args if isinstance(arg, Value)])

    def condition(self, node: ast.expr, yes: Any, no: Any) -> None:
        """Branch to `yes` or `no`."""
        if isinstance(node, ast.BoolOp):
            for part in node.values[:-1]:
                more = self.builder.append_basic_block("more")
                ways = (more, no) if isinstance(node.op, ast.And) else (yes, more)
                self.condition(part, *ways)
                self.builder.position_at_end(more)
            self.condition(node.values[-1], yes, no)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self.condition(node.operand, no, yes)
        else:
            self.builder.cbranch(self.truth(self.value(node)), yes, no)


def _is_number(value: Value) -> bool:
    return isinstance(value.plain, (types.Integer, types.Float))


def _folded(node: ast.expr) -> int | float | None:
    """The number that an expression of literals is, as Python's compiler folds it; else None."""
    if isinstance(node, ast.Constant):
        value = node.value
        return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _folded(node.operand)
        return None if inner is None else -inner
    if isinstance(node, ast.BinOp) and isinstance(node.op, tuple(_FOLDED)):
        a, b = _folded(node.left), _folded(node.right)
        if a is not None and b is not None:
            return _FOLDED[type(node.op)](a, b)
    return None


_FOLDED = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Pow: operator.pow,
           ast.LShift: operator.lshift, ast.Div: operator.truediv}  # fmt: skip
