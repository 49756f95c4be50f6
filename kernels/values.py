"""Values of known dtypes and the statements that compute them: what codegen.py writes kernels with."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any

from . import scalar
from .bodies import BodyError, loaded

# Dtypes stored in 16 bits, computed in float32 and rounded after each step: the functions that read and that round them.
STORED = {"float16": ("from_half", "to_half"), "bfloat16": ("from_bfloat", "to_bfloat")}
FLOATS = ("float32", "float64")
NARROW = ("int8", "int16", "int32", "uint8")


@dataclass(frozen=True)
class Value:
    """An expression and its dtype; the dtype "bool" means a condition."""

    node: ast.expr
    dtype: str


@dataclass
class Line:
    """`targets = value` of the kernel, written for step number `step`."""

    targets: tuple[str, ...]
    value: ast.expr
    step: int

    def __str__(self) -> str:
        return f"{', '.join(self.targets)} = {ast.unparse(self.value)}"


def name_of(text: str) -> ast.Name:
    """A name as an expression."""
    return ast.Name(text, ast.Load())


def call(function: str, *args: ast.expr) -> ast.Call:
    """`function(args)` as an expression."""
    return ast.Call(name_of(function), list(args), [])


def infinite(value: float) -> bool:
    """Whether a float has no literal."""
    return value != value or value in (float("inf"), float("-inf"))


def is_literal(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and len(node.args) == 1 and isinstance(node.args[0], ast.Constant)


@dataclass
class Lines:
    """The statements of a kernel. `types`: how each dtype's constructor is written: {"float32": "T"}."""

    types: dict[str, str]
    values: dict[str, Value] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    helpers: dict[Any, tuple[str, str]] = field(default_factory=dict)
    casts: dict[tuple[str, str], Value] = field(default_factory=dict)
    narrow: dict[str, str] = field(default_factory=dict)  # names of float32 values that are numbers of a dtype of STORED

    def assign(self, wanted: str, value: Value) -> Value:
        """Write `wanted = value` under a fresh name; the name as a value."""
        name = self.fresh(wanted)
        self.lines.append(Line((name,), value.node, len(self.comments) - 1))
        return Value(name_of(name), value.dtype)

    def fresh(self, wanted: str) -> str:
        """`wanted`, or with a number behind it when that name is taken."""
        name, k = wanted, 2
        while name in self.taken or name in scalar.FUNCTIONS:
            name, k = f"{wanted}_{k}", k + 1
        self.taken.add(name)
        return name

    def live_lines(self, needed: list[ast.expr]) -> list[Line]:
        """The lines that the expressions `needed` depend on, in order."""
        live = {name for node in needed for name in loaded(node)}
        kept = []
        for line in reversed(self.lines):
            if live.intersection(line.targets):
                live.update(loaded(line.value))
                kept.append(line)
        return kept[::-1]

    # -- numbers

    def literal(self, value: float | int | bool, dtype: str) -> Value:
        """A number as a value of `dtype`."""
        if isinstance(value, bool) or dtype == "bool":
            return Value(ast.Constant(bool(value)), "bool")
        if dtype in FLOATS:
            value = float(value)
        elif value != int(value) if not infinite(value) else True:
            raise BodyError(
                f"the number {value} does not fit into the dtype {dtype} that the step computes in."
            )
        else:
            value = int(value)
        if infinite(value):
            name = "nan" if value != value else "inf"
            self.functions.add(name)
            node: ast.expr = (
                name_of(name) if value != float("-inf") else ast.UnaryOp(ast.USub(), name_of(name))
            )
        else:
            node = ast.Constant(value)
        return Value(call(self.types[dtype], node), dtype)

    def number(self, value: Value, dtype: str) -> ast.expr:
        """`value` as a number of `dtype` (as a condition when that is bool)."""
        if dtype == "bool":
            return self.condition(value)
        if value.dtype == dtype:
            return value.node
        if not isinstance(value.node, ast.Name):
            return self.cast(value, dtype)
        key = (value.node.id, dtype)
        if key not in self.casts:
            short = self.types[dtype]
            self.casts[key] = self.assign(f"{value.node.id}_{short}", Value(self.cast(value, dtype), dtype))
        return self.casts[key].node

    def cast(self, value: Value, dtype: str) -> ast.expr:
        """The expression that converts `value` to `dtype` as PyTorch does."""
        if value.dtype == "bool":
            self.functions.add("select")
            one, zero = (self.literal(n, dtype).node for n in (1, 0))
            return call("select", value.node, one, zero)
        node = value.node
        if value.dtype in FLOATS and dtype in ("int8", "int16", "uint8"):
            node = call(self.types["int32"], node)  # a float out of range must wrap as in C, not be undefined
        return call(self.types[dtype], node)

    def narrowed(self, node: ast.expr, dtype: str) -> ast.expr:
        """The bits of the number of a dtype of STORED that is nearest to a float32."""
        name = STORED[dtype][1]
        self.functions.add(name)
        return call(name, node)

    def rounded(self, value: Value, dtype: str) -> Value:
        """A float32 rounded to a dtype of STORED, still as a float32; conditions stay."""
        if value.dtype != "float32" or (isinstance(value.node, ast.Name) and self.narrow.get(value.node.id) == dtype):
            return value
        name = STORED[dtype][0]
        self.functions.add(name)
        return Value(call(name, self.narrowed(value.node, dtype)), "float32")

    def condition(self, value: Value) -> ast.expr:
        """`value` as a condition: itself, or `value != 0`."""
        if value.dtype == "bool":
            return value.node
        return ast.Compare(value.node, [ast.NotEq()], [self.literal(0, value.dtype).node])

    def store(self, name: str, dtype: str) -> ast.expr:
        """The expression to store for the value `name` in an output of `dtype`."""
        value = self.values[name]
        if dtype == "bool":
            return call("uint8", self.condition(value))
        if dtype in STORED:
            return self.narrowed(self.cast(value, "float32") if value.dtype != "float32" else value.node, dtype)
        return self.cast(value, dtype) if value.dtype != dtype else value.node
