"""From scalar bodies to the statements of one kernel: inlined, with every number of a known dtype.

`Writer` takes the steps of a program one by one. Each body's statements are copied with fresh local names;
literals become `T(1.0)`, so that float32 stays float32; ternaries become `select`, which does not branch;
operands of other dtypes are cast; comparisons are conditions until they are stored. Statements whose result
nobody needs are left out at the end.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any

from . import scalar
from .bodies import BINARY, Body, BodyError, Statement, body_of, known_function, known_number, loaded
from .values import FLOATS, NARROW, STORED, Line, Lines, Value, call, is_literal, name_of

_DEEPEST = 32


@dataclass
class Scope:
    """Where an expression stands: its body, the values of its names, and the dtype of its arithmetic."""

    body: Body
    names: dict[str, Value]
    dtype: str
    depth: int = 0


class Writer(Lines):
    """Writes the steps of a program as statements."""

    # -- steps

    def step(
        self, body: Body, args: tuple[Any, ...], outs: tuple[str, ...], dtype: str, component: int | None
    ) -> None:
        """Write one step: `outs` become names of values. Raises BodyError for a body or arguments that do not
        fit."""
        if len(args) != len(body.params):
            raise BodyError(
                f"body {body.name} takes {len(body.params)} arguments ({', '.join(body.params)}), got {len(args)}."
            )
        wanted = body.components if component is None else 1
        if len(outs) != wanted:
            raise BodyError(
                f"body {body.name} gives {wanted} value(s) here, but the step names {len(outs)} output(s)."
            )
        which = "" if component is None or body.components == 1 else f", result {component}"
        self.comments.append(f"{body.name}({', '.join(body.params)}){which}: {body.formula}")
        stored, dtype = dtype, "float32" if dtype in STORED else dtype
        given = [self.argument(a, dtype) for a in args]
        for out, value in zip(
            outs, self.inline(Scope(body, dict(zip(body.params, given)), dtype), component)
        ):
            made = self.values[out] = self.assign(out, self.rounded(value, stored) if stored in STORED else value)
            if stored in STORED and isinstance(made.node, ast.Name):
                self.narrow[made.node.id] = stored

    def argument(self, arg: Any, dtype: str) -> Value:
        """The value of a step's argument: the name of an input, a scalar or an earlier output, or a
        number."""
        if isinstance(arg, str):
            if arg not in self.values:
                raise BodyError(f"a step reads {arg!r}, which no input, scalar or earlier step defines.")
            return self.values[arg]
        return self.literal(arg, dtype)

    # -- bodies

    def inline(self, scope: Scope, component: int | None = None) -> list[Value]:
        """Write a body's statements in place; its results as values."""
        body = scope.body
        if scope.depth > _DEEPEST:
            raise BodyError(f"body {body.name} calls itself; write the recursion as a loop.")
        if not body.simple:
            return self.call_helper(scope, component)
        wanted = body.result(component)
        for stmt in _needed(body, wanted):
            self.statement(stmt, scope)
        return [self.expression(node, scope) for node in wanted]

    def statement(self, stmt: Statement, scope: Scope) -> None:
        """Write one assignment of a body."""
        if len(stmt.targets) == 1:
            results = [self.expression(stmt.value, scope)]
        elif isinstance(stmt.value, ast.Tuple):
            results = [self.expression(e, scope) for e in stmt.value.elts]
        elif isinstance(stmt.value, ast.Call) and known_function(scope.body, stmt.value.func)[0] == "body":
            results = self.call_body(stmt.value, scope)
        else:
            raise scope.body.error(
                stmt.value, f"`{ast.unparse(stmt.value)}` is not several values", "unpack a tuple or a body"
            )
        if len(results) != len(stmt.targets):
            raise scope.body.error(
                stmt.value, f"{len(results)} values for {len(stmt.targets)} names", "name each value"
            )
        for target, value in zip(stmt.targets, results):
            scope.names[target] = self.assign(target, value)

    def call_body(self, node: ast.Call, scope: Scope) -> list[Value]:
        """Write the body that `node` calls; its results."""
        inner = body_of(known_function(scope.body, node.func)[1])
        args = dict(zip(inner.params, node.args)) | {k.arg: k.value for k in node.keywords if k.arg}
        if set(args) != set(inner.params) or len(node.args) + len(node.keywords) != len(inner.params):
            raise scope.body.error(
                node, f"{inner.name} takes ({', '.join(inner.params)})", "pass exactly these arguments"
            )
        names = {}
        for param in inner.params:
            value = self.expression(args[param], scope)
            simple = isinstance(value.node, (ast.Name, ast.Constant)) or is_literal(value.node)
            names[param] = value if simple else self.assign(param, value)
        return self.inline(Scope(inner, names, scope.dtype, scope.depth + 1))

    def call_helper(self, scope: Scope, component: int | None) -> list[Value]:
        """Call a body with branches or loops, written beside the kernel as a function."""
        from .helpers import write_helper

        body = scope.body
        # In arithmetic a condition is 0 or 1, which `if` takes as well.
        stays = scope.dtype == "bool"
        kinds = ["bool" if stays and scope.names[p].dtype == "bool" else scope.dtype for p in body.params]
        name = write_helper(self, body, scope.dtype)
        args = [
            scope.names[p].node if k == "bool" else self.number(scope.names[p], k)
            for p, k in zip(body.params, kinds)
        ]
        targets = tuple(self.fresh(f"{body.name}_{k}") for k in range(body.components))
        if len(targets) == 1:
            return [Value(call(name, *args), scope.dtype)]
        self.lines.append(Line(targets, call(name, *args), len(self.comments) - 1))
        results = [Value(name_of(t), scope.dtype) for t in targets]
        return results if component is None else [results[component]]

    # -- expressions

    def expression(self, node: ast.expr, scope: Scope) -> Value:
        """The value of a body's expression."""
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is None:
            raise scope.body.error(
                node,
                f"`{ast.unparse(node)}` cannot be written into a kernel",
                "use arithmetic, ternaries and calls",
            )
        return method(node, scope)

    def _constant(self, node: ast.Constant, scope: Scope) -> Value:
        if not isinstance(node.value, (bool, int, float)):
            raise scope.body.error(node, f"`{ast.unparse(node)}` is not a number", "use numbers only")
        try:
            return self.literal(node.value, scope.dtype)
        except BodyError as error:
            raise scope.body.error(node, str(error).rstrip("."), "compute in a float dtype") from None

    def _name(self, node: ast.Name, scope: Scope) -> Value:
        if node.id in scope.names:
            return scope.names[node.id]
        if node.id in scope.body.params or any(node.id in s.targets for s in scope.body.statements):
            raise scope.body.error(node, f"{node.id!r} is read before it is assigned", "assign it first")
        return self._constant(ast.copy_location(ast.Constant(known_number(scope.body, node)), node), scope)

    def _attribute(self, node: ast.Attribute, scope: Scope) -> Value:
        return self._constant(ast.copy_location(ast.Constant(known_number(scope.body, node)), node), scope)

    def _unaryop(self, node: ast.UnaryOp, scope: Scope) -> Value:
        value = self.expression(node.operand, scope)
        if isinstance(node.op, ast.Not):
            return Value(self.negated(self.condition(value)), "bool")
        if isinstance(node.op, ast.Invert):
            if value.dtype == "bool":
                return Value(self.negated(value.node), "bool")
            if scope.dtype in FLOATS:
                raise scope.body.error(node, "~ of a float", "use it on integers or conditions")
        if scope.dtype == "bool":
            raise scope.body.error(node, f"`{ast.unparse(node)}` of bools", "use `not`")
        if isinstance(node.op, ast.USub) and is_literal(value.node):
            return Value(call(value.node.func.id, ast.UnaryOp(ast.USub(), value.node.args[0])), value.dtype)  # type: ignore[attr-defined]
        return self.wrapped(ast.UnaryOp(node.op, self.number(value, scope.dtype)), scope.dtype)

    def negated(self, condition: ast.expr) -> ast.expr:
        """`not condition`."""
        return ast.UnaryOp(ast.Not(), condition)

    def wrapped(self, node: ast.expr, dtype: str) -> Value:
        """Arithmetic on narrow integers is done wider by numba: cut it back, so that it wraps around."""
        return Value(call(self.types[dtype], node) if dtype in NARROW else node, dtype)

    def _binop(self, node: ast.BinOp, scope: Scope) -> Value:
        sign = BINARY.get(type(node.op))
        if sign is None:
            raise scope.body.error(
                node, f"the operator of `{ast.unparse(node)}`", "use + - * / // % ** or & | ^"
            )
        if sign == "**":
            return self.power(node.left, node.right, node, scope)
        left, right = self.expression(node.left, scope), self.expression(node.right, scope)
        return self.binary(node, sign, left, right, scope)

    def binary(self, node: ast.BinOp, sign: str, left: Value, right: Value, scope: Scope) -> Value:
        """`left sign right` in the dtype of the scope."""
        both = left.dtype == right.dtype == "bool"
        dtype = scope.dtype
        if dtype == "bool" or (both and sign in "&|^"):
            op = {"+": ast.BitOr, "*": ast.BitAnd, "|": ast.BitOr, "&": ast.BitAnd, "^": ast.BitXor}.get(sign)
            if op is None:
                raise scope.body.error(
                    node, f"{sign} of two bools in `{ast.unparse(node)}`", "use + (or), * (and) or ^"
                )
            return Value(ast.BinOp(self.condition(left), op(), self.condition(right)), "bool")
        a, b = self.number(left, dtype), self.number(right, dtype)
        if sign in ("//", "%"):
            name = {"//": "floor_divide", "%": "remainder"}[sign] + ("" if dtype in FLOATS else "_int")
            return self.function(name, [a, b], dtype)
        if sign in ("&", "|", "^", "<<", ">>") and dtype in FLOATS:
            raise scope.body.error(
                node,
                f"{sign} of floats in `{ast.unparse(node)}`",
                "use it on integers, or `and`/`or` on conditions",
            )
        if sign == "/" and dtype not in FLOATS:
            raise scope.body.error(
                node, f"/ in the integer dtype {dtype}", "use // or let the step compute in a float dtype"
            )
        return self.wrapped(ast.BinOp(a, node.op, b), dtype)

    def power(self, base: ast.expr, exponent: ast.expr, node: ast.expr, scope: Scope) -> Value:
        """base ** exponent; small constant exponents as products and roots, as PyTorch computes them."""
        a = self.expression(base, scope)
        x = Value(self.number(a, scope.dtype), scope.dtype)
        constant = _constant_of(exponent)
        if constant in (2, 3) or (constant in (-1, -2, 0.5, -0.5) and scope.dtype in FLOATS):
            if not isinstance(x.node, ast.Name):
                x = self.assign("base", x)
            if abs(constant) == 0.5:
                return self.function("sqrt" if constant > 0 else "rsqrt", [x.node], scope.dtype)
            made = x.node
            for _ in range(int(abs(constant)) - 1):
                made = self.wrapped(ast.BinOp(made, ast.Mult(), x.node), scope.dtype).node
            if constant < 0:
                made = ast.BinOp(self.literal(1, scope.dtype).node, ast.Div(), made)
            return Value(made, scope.dtype)
        if scope.dtype == "bool":
            raise scope.body.error(node, "** of bools", "use `and`")
        y = self.number(self.expression(exponent, scope), scope.dtype)
        return self.function("power" if scope.dtype in FLOATS else "power_int", [x.node, y], scope.dtype)

    def function(self, name: str, args: list[ast.expr], dtype: str) -> Value:
        """A call of a function of scalar.py."""
        self.functions.add(name)
        return Value(call(name, *args), "bool" if name in scalar.PREDICATES else dtype)

    def _compare(self, node: ast.Compare, scope: Scope) -> Value:
        made: ast.expr | None = None
        left = self.expression(node.left, scope)
        for op, right_node in zip(node.ops, node.comparators):
            right = self.expression(right_node, scope)
            one = self.comparison(op, left, right, node, scope)
            made = one if made is None else ast.BinOp(made, ast.BitAnd(), one)
            left = right
        assert made is not None
        return Value(made, "bool")

    def comparison(self, op: ast.cmpop, left: Value, right: Value, node: ast.expr, scope: Scope) -> ast.expr:
        """One comparison; of bools as 0 < 1."""
        if isinstance(op, (ast.In, ast.NotIn, ast.Is, ast.IsNot)):
            raise scope.body.error(
                node, f"`{ast.unparse(node)}` is not a comparison of numbers", "use < <= > >= == !="
            )
        if scope.dtype == "bool" or left.dtype == right.dtype == "bool":
            a, b = (call("uint8", self.condition(v)) for v in (left, right))
        else:
            a, b = self.number(left, scope.dtype), self.number(right, scope.dtype)
        return ast.Compare(a, [op], [b])

    def _boolop(self, node: ast.BoolOp, scope: Scope) -> Value:
        parts = [self.condition(self.expression(v, scope)) for v in node.values]
        op = ast.BitAnd if isinstance(node.op, ast.And) else ast.BitOr
        made = parts[0]
        for part in parts[1:]:
            made = ast.BinOp(made, op(), part)
        return Value(made, "bool")

    def _ifexp(self, node: ast.IfExp, scope: Scope) -> Value:
        test = self.condition(self.expression(node.test, scope))
        a, b = self.expression(node.body, scope), self.expression(node.orelse, scope)
        dtype = "bool" if a.dtype == b.dtype == "bool" else scope.dtype
        self.functions.add("select")
        return Value(call("select", test, self.number(a, dtype), self.number(b, dtype)), dtype)

    def _call(self, node: ast.Call, scope: Scope) -> Value:
        kind, what = known_function(scope.body, node.func)
        if kind == "body":
            results = self.call_body(node, scope)
            if len(results) != 1:
                raise scope.body.error(
                    node,
                    f"{ast.unparse(node.func)} gives {len(results)} values",
                    "unpack them into names first",
                )
            return results[0]
        if node.keywords:
            raise scope.body.error(
                node, f"keyword arguments in `{ast.unparse(node)}`", "pass arguments by position"
            )
        if kind == "cast":
            return self.cast_call(what, node, scope)
        if what == "power" and len(node.args) == 2:
            return self.power(*node.args, node, scope)
        return self.scalar_call(what, node, scope)

    def cast_call(self, what: str, node: ast.Call, scope: Scope) -> Value:
        """float(x), int(x), bool(x)."""
        if what == "range" or len(node.args) != 1:
            raise scope.body.error(node, f"`{ast.unparse(node)}` in an expression", "pass one number")
        value = self.expression(node.args[0], scope)
        if what == "bool":
            return Value(self.condition(value), "bool")
        number = self.number(value, scope.dtype)
        if what == "int" and scope.dtype in FLOATS:
            return self.function("trunc", [number], scope.dtype)
        return Value(number, scope.dtype)

    def scalar_call(self, name: str, node: ast.Call, scope: Scope) -> Value:
        """A function of scalar.py (or abs), with its arguments in the dtypes that it wants."""
        values = [self.expression(a, scope) for a in node.args]
        wanted = scalar.ARGUMENTS.get(name, (scope.dtype,) * len(values))
        dtype = scope.dtype
        if name in ("minimum", "maximum") and len(values) > 2:
            wanted = (dtype,) * len(values)
        args = [self.number(v, d) for v, d in zip(values, wanted)]
        if dtype == "bool" and name in ("minimum", "maximum") and len(args) == 2:
            op = ast.BitAnd() if name == "minimum" else ast.BitOr()
            return Value(ast.BinOp(args[0], op, args[1]), "bool")
        if dtype not in FLOATS and name not in scalar.INTEGER:
            raise scope.body.error(
                node, f"{name} in the dtype {dtype}", "let the step compute in a float dtype"
            )
        if name == "abs":
            return self.wrapped(call("abs", *args), dtype)
        if name in ("minimum", "maximum"):
            made = args[0]
            for arg in args[1:]:
                made = self.function(name, [made, arg], dtype).node
            return Value(made, dtype)
        if dtype not in FLOATS and f"{name}_int" in scalar.FUNCTIONS:
            name = f"{name}_int"
        return self.function(name, args, dtype)


def _needed(body: Body, wanted: list[ast.expr]) -> list[Statement]:
    """The statements of a simple body that `wanted` depends on."""
    live = {name for node in wanted for name in loaded(node)}
    kept = []
    for stmt in reversed(body.statements):
        if live.intersection(stmt.targets):
            live.update(loaded(stmt.value))
            kept.append(stmt)
    return kept[::-1]


def _constant_of(node: ast.expr) -> Any:
    if (
        isinstance(node, ast.UnaryOp)
        and isinstance(node.op, ast.USub)
        and isinstance(node.operand, ast.Constant)
    ):
        return -node.operand.value if isinstance(node.operand.value, (int, float)) else None
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) else None
