"""A scalar function as straight-line code: every branch a ``where``, every loop over a known range unrolled, every
helper function written in place.

The result is a list of lines in single assignment, each one operation; ``differentiate.py`` walks it backwards, and
``source`` turns it into the text of a body that kernels vectorise.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..kernels.bodies import BINARY, Body, BodyError, body_of, known_function, known_number

MOST_TURNS = 256  # of a loop that is unrolled
MOST_LINES = 4000
_COMPARE: dict[type, str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
_FOLD: dict[str, Callable] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "//": operator.floordiv,
    "%": operator.mod, "**": operator.pow, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "==": operator.eq, "!=": operator.ne, "&": operator.and_, "|": operator.or_, "^": operator.xor,
    "<<": operator.lshift, ">>": operator.rshift,
}  # fmt: skip
CONDITIONS = frozenset(_COMPARE.values()) | {"not"}

Number = bool | int | float
Value = Any  # the name of a line or parameter, or a number
Guard = tuple[tuple[str, bool], ...]  # conditions (a name, and what it must be) under which a line counts


@dataclass(frozen=True)
class Line:
    """``name = op(args)``; ``op`` is an operator's sign, "neg", "not", "where" or "call" of ``function``."""

    name: str
    op: str
    args: tuple[Value, ...]
    guard: Guard
    function: Any = None


@dataclass
class Straight:
    """Straight-line code of ``params`` with ``results``; ``conditions`` are the names that hold truth values."""

    params: tuple[str, ...]
    lines: list[Line] = field(default_factory=list)
    results: tuple[Value, ...] = ()
    conditions: set[str] = field(default_factory=set)
    guards: dict[str, Guard] = field(default_factory=dict)
    rewritten: bool = False  # calls of numtorch's public functions became their ops

    def is_condition(self, value: Value) -> bool:
        """Whether a value is true or false."""
        return isinstance(value, bool) or value in self.conditions


def straighten(fn: Callable | Body) -> Straight:
    """Straight-line code of a scalar function.

    Raises BodyError (a TypeError) naming the line for what has no straight form: a loop whose range is not known, a
    ``while``, a function that kernels don't know.
    """
    body = fn if isinstance(fn, Body) else body_of(fn)
    code = Straight(body.params)
    code.guards = dict.fromkeys(body.params, ())
    code.results = _Maker(code).run(body, dict.fromkeys(body.params) | {p: p for p in body.params}, ())
    return code


class _Maker:
    """Writes the lines of a function and of those that it calls."""

    def __init__(self, code: Straight):
        self.code, self.depth = code, 0

    # -- functions and statements

    def run(self, body: Body, env: dict[str, Value], guard: Guard) -> tuple[Value, ...]:
        """The results of a body for given arguments."""
        if self.depth > 32:
            raise BodyError(f"body {body.name} calls itself; write the recursion as a loop.")
        self.depth += 1
        if isinstance(body.node, ast.Lambda):
            results: Any = self.values(body.node.body, body, env, guard)
        else:
            results = self.block(body.node.body, body, env, guard)
        self.depth -= 1
        if results is None:
            raise body.error(body.node, "has a path without return", "end every path with a return of the result")
        return results

    def block(self, stmts: Sequence[ast.stmt], body: Body, env: dict, guard: Guard) -> tuple[Value, ...] | None:
        """Write statements; the returned values, or None when the end is reached. ``env`` is updated."""
        for k, stmt in enumerate(stmts):
            if isinstance(stmt, ast.Return):
                if stmt.value is None:
                    raise body.error(stmt, "a return without a value", "return the result")
                return self.values(stmt.value, body, env, guard)
            if isinstance(stmt, ast.If):
                done, results = self.branch(stmt, stmts[k + 1 :], body, env, guard)
                if done:
                    return results
            elif isinstance(stmt, ast.For):
                done, results = self.loop(stmt, stmts[k + 1 :], body, env, guard)
                if done:
                    return results
            elif isinstance(stmt, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
                self.assign(stmt, body, env, guard)
            elif not isinstance(stmt, (ast.Pass, ast.Expr)):
                what = ast.unparse(stmt).splitlines()[0]
                raise body.error(stmt, f"`{what}` has no derivative of its own", "give one with @op.grad")
        return None

    def branch(
        self, stmt: ast.If, rest: Sequence[ast.stmt], body: Body, env: dict, guard: Guard
    ) -> tuple[bool, tuple[Value, ...] | None]:
        """An ``if``: both sides are computed, ``where`` chooses. (True, results) if a side returns."""
        test = self.condition(self.value(stmt.test, body, env, guard), guard)
        if isinstance(test, bool):
            results = self.block(stmt.body if test else stmt.orelse, body, env, guard)
            return (True, results) if results is not None else (False, None)
        yes, no = dict(env), dict(env)
        on, off = (*guard, (test, True)), (*guard, (test, False))
        returns = any(isinstance(n, ast.Return) for s in (*stmt.body, *stmt.orelse) for n in ast.walk(s))
        if not returns:
            self.block(stmt.body, body, yes, on)
            self.block(stmt.orelse, body, no, off)
            for name in yes.keys() & no.keys():
                env[name] = self.choose(test, yes[name], no[name], guard)
            for name in env.keys() - (yes.keys() & no.keys()):
                del env[name]
            return False, None
        first = self.block([*stmt.body, *rest], body, yes, on)
        second = self.block([*stmt.orelse, *rest], body, no, off)
        if first is None or second is None or len(first) != len(second):
            raise body.error(stmt, "its paths return different numbers of values", "return as many values on every path")
        return True, tuple(self.choose(test, a, b, guard) for a, b in zip(first, second))

    def loop(
        self, stmt: ast.For, rest: Sequence[ast.stmt], body: Body, env: dict, guard: Guard
    ) -> tuple[bool, tuple[Value, ...] | None]:
        """A loop over a range of known numbers, turn by turn."""
        call, target = stmt.iter, stmt.target
        bounds: list[Any] = []
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "range":
            bounds = [self.value(a, body, env, guard) for a in call.args]
        if not bounds or not all(isinstance(b, int) for b in bounds) or not isinstance(target, ast.Name):
            raise body.error(
                stmt, f"a loop over `{ast.unparse(call)}` has no derivative of its own",
                "loop over a range of constants, or give the derivative with @op.grad",
            )  # fmt: skip
        turns = range(*bounds)
        if len(turns) > MOST_TURNS or any(isinstance(n, (ast.Break, ast.Continue)) for n in ast.walk(stmt)):
            raise body.error(
                stmt, f"a loop of {len(turns)} turns, or with break or continue", f"use at most {MOST_TURNS} plain turns or @op.grad"
            )  # fmt: skip
        unrolled: list[ast.stmt] = []
        for i in turns:
            count = ast.copy_location(ast.Assign([ast.Name(target.id, ast.Store())], ast.Constant(i)), stmt)
            unrolled += [ast.fix_missing_locations(count), *stmt.body]
        if any(isinstance(n, ast.Return) for s in stmt.body for n in ast.walk(s)):
            return True, self.block([*unrolled, *rest], body, env, guard)
        self.block(unrolled, body, env, guard)
        return False, None

    def assign(self, stmt: Any, body: Body, env: dict, guard: Guard) -> None:
        """``a = ...``, ``a += ...``, ``a, b = ...``."""
        targets = stmt.targets if isinstance(stmt, ast.Assign) else [stmt.target]
        if isinstance(stmt, ast.AugAssign):
            load = ast.copy_location(ast.Name(getattr(stmt.target, "id", "_"), ast.Load()), stmt)
            given = (self.value(ast.copy_location(ast.BinOp(load, stmt.op, stmt.value), stmt), body, env, guard),)
        else:
            given = self.values(stmt.value, body, env, guard)
        target = targets[0]
        names = target.elts if isinstance(target, ast.Tuple) else [target]
        if len(targets) != 1 or len(names) != len(given) or not all(isinstance(n, ast.Name) for n in names):
            raise body.error(stmt, f"`{ast.unparse(stmt)}` is not a plain assignment", "assign to names, one at a time")
        for n, v in zip(names, given):
            env[n.id] = v  # type: ignore[attr-defined]

    # -- expressions

    def values(self, node: ast.expr, body: Body, env: dict, guard: Guard) -> tuple[Value, ...]:
        """An expression that may be a tuple, or the call of a function with several results."""
        if isinstance(node, ast.Tuple):
            return tuple(self.value(e, body, env, guard) for e in node.elts)
        if isinstance(node, ast.Call):
            return self.call(node, body, env, guard)
        return (self.value(node, body, env, guard),)

    def value(self, node: ast.expr, body: Body, env: dict, guard: Guard) -> Value:
        """The value of an expression."""
        if isinstance(node, ast.Constant):
            if not isinstance(node.value, (bool, int, float)):
                raise body.error(node, f"`{ast.unparse(node)}` is not a number", "use numbers only")
            return node.value
        if isinstance(node, ast.Name) and node.id in env:
            return env[node.id]
        if isinstance(node, (ast.Name, ast.Attribute)):
            return known_number(body, node)
        if isinstance(node, ast.UnaryOp):
            return self.unary(node, self.value(node.operand, body, env, guard), body, guard)
        if isinstance(node, ast.BinOp) and type(node.op) in BINARY:
            a, b = self.value(node.left, body, env, guard), self.value(node.right, body, env, guard)
            return self.line(BINARY[type(node.op)], (a, b), guard)
        if isinstance(node, ast.Compare):
            return self.compare(node, body, env, guard)
        if isinstance(node, ast.BoolOp):
            sign = "&" if isinstance(node.op, ast.And) else "|"
            parts = [self.condition(self.value(v, body, env, guard), guard) for v in node.values]
            made = parts[0]
            for p in parts[1:]:
                made = self.line(sign, (made, p), guard)
            return made
        if isinstance(node, ast.IfExp):
            return self.ternary(node, body, env, guard)
        if isinstance(node, ast.Call):
            results = self.call(node, body, env, guard)
            if len(results) != 1:
                raise body.error(node, f"{ast.unparse(node.func)} gives {len(results)} values", "unpack them first")
            return results[0]
        raise body.error(
            node, f"`{ast.unparse(node)}` cannot be written into a kernel", "use arithmetic, conditions and calls"
        )

    def unary(self, node: ast.UnaryOp, v: Value, body: Body, guard: Guard) -> Value:
        """``-v``, ``+v``, ``not v``, ``~v``."""
        if isinstance(node.op, ast.UAdd):
            return v
        if isinstance(node.op, ast.USub):
            return -v if isinstance(v, (int, float)) else self.line("neg", (v,), guard)
        if isinstance(node.op, ast.Not) or self.code.is_condition(v):
            v = self.condition(v, guard)
            return (not v) if isinstance(v, bool) else self.line("not", (v,), guard)
        raise body.error(node, f"`{ast.unparse(node)}` of a number has no derivative", "use `not` of a condition")

    def ternary(self, node: ast.IfExp, body: Body, env: dict, guard: Guard) -> Value:
        """``a if test else b``."""
        test = self.condition(self.value(node.test, body, env, guard), guard)
        if isinstance(test, bool):
            return self.value(node.body if test else node.orelse, body, env, guard)
        a = self.value(node.body, body, env, (*guard, (test, True)))
        b = self.value(node.orelse, body, env, (*guard, (test, False)))
        return self.choose(test, a, b, guard)

    def compare(self, node: ast.Compare, body: Body, env: dict, guard: Guard) -> Value:
        """``a < b``, and chains."""
        left, made = self.value(node.left, body, env, guard), None
        for op, right_node in zip(node.ops, node.comparators):
            if type(op) not in _COMPARE:
                raise body.error(node, f"`{ast.unparse(node)}` is not a comparison of numbers", "use < <= > >= == !=")
            right = self.value(right_node, body, env, guard)
            one = self.line(_COMPARE[type(op)], (left, right), guard)
            made = one if made is None else self.line("&", (made, one), guard)
            left = right
        return made

    def call(self, node: ast.Call, body: Body, env: dict, guard: Guard) -> tuple[Value, ...]:
        """A call: of a helper function (written in place), of an op, or of a mathematical function."""
        from .functions import op_of, public_op

        kind, what = known_function(body, node.func)
        public = public_op(what) if kind == "body" else None
        if public is not None:
            what, self.code.rewritten = public, True
        if kind == "cast":
            v = self.value(node.args[0], body, env, guard)
            if what == "bool":
                return (self.condition(v, guard),)
            if isinstance(v, str):
                return (v if what == "float" else self.line("call", (v,), guard, op_of("trunc")),)
            return ({"float": float, "int": int}[what](v),)
        args = [self.value(a, body, env, guard) for a in node.args]
        if kind == "body" and not hasattr(what, "grad_body"):
            inner = body_of(what)
            names = dict(zip(inner.params, args))
            names |= {k.arg: self.value(k.value, body, env, guard) for k in node.keywords if k.arg}
            if set(names) != set(inner.params) or len(args) + len(node.keywords) != len(inner.params):
                raise body.error(node, f"{inner.name} takes ({', '.join(inner.params)})", "pass exactly these arguments")
            return self.run(inner, names, guard)
        op = what if kind == "body" else op_of(what)
        if op is None or node.keywords:
            raise body.error(node, f"`{ast.unparse(node)}` has no derivative of its own", "give one with @op.grad")
        if op.name in ("minimum", "maximum") and len(args) != 2:
            made = args[0]
            for a in args[1:]:
                made = self.line("call", (made, a), guard, op)
            return (made,)
        if op.name == "where":
            return (self.choose(self.condition(args[0], guard), args[1], args[2], guard),)
        return (self.line("call", tuple(args), guard, op),)

    # -- lines

    def condition(self, v: Value, guard: Guard) -> Value:
        """A value as a truth value."""
        if self.code.is_condition(v):
            return v
        return bool(v) if isinstance(v, (int, float)) else self.line("!=", (v, 0.0), guard)

    def choose(self, test: Value, a: Value, b: Value, guard: Guard) -> Value:
        """``a`` where ``test``, else ``b``."""
        if isinstance(test, bool):
            return a if test else b
        same = a == b and type(a) is type(b)
        return a if same else self.line("where", (test, a, b), guard)

    def line(self, op: str, args: tuple[Value, ...], guard: Guard, function: Any = None) -> Value:
        """Write a line, or compute it now when its arguments are numbers."""
        if op in _FOLD and all(isinstance(a, (int, float)) for a in args):
            return _FOLD[op](*args)
        if len(self.code.lines) >= MOST_LINES:
            raise BodyError(f"a scalar function of more than {MOST_LINES} operations; give its derivative with @op.grad.")
        name = f"v{len(self.code.lines)}"
        self.code.lines.append(Line(name, op, args, guard, function))
        self.code.guards[name] = guard
        both = op in ("&", "|", "^") and all(self.code.is_condition(a) for a in args)
        chosen = op == "where" and self.code.is_condition(args[1]) and self.code.is_condition(args[2])
        result = getattr(function, "result", None) == "bool"
        if op in CONDITIONS or both or chosen or result:
            self.code.conditions.add(name)
        return name
