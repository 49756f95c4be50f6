"""Bodies with branches or loops: written beside the kernel as functions of their own, with typed literals and
known calls."""

from __future__ import annotations

import ast
import copy
from typing import TYPE_CHECKING, Any

from . import scalar
from .bodies import Body, body_of, known_function, known_number

if TYPE_CHECKING:
    from .expressions import Writer

_ALLOWED = (
    ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.If, ast.For, ast.While, ast.Break, ast.Continue,
    ast.Pass,
)  # fmt: skip


def write_helper(writer: Writer, body: Body, dtype: str) -> str:
    """The name of the helper for `body` in `dtype`, written into `writer` if it is not there yet."""
    key = (body, dtype)
    if key not in writer.helpers:
        name = writer.fresh(body.name)
        writer.helpers[key] = (name, "")  # a body that calls itself finds its name here
        text = _Helper(writer, body, dtype).text(name)
        del writer.helpers[key]  # helpers that this one calls stand before it
        writer.helpers[key] = (name, text)
    return writer.helpers[key][0]


class _Helper(ast.NodeTransformer):
    """Rewrites the syntax tree of one body. Loop counters stay integers; other numbers become numbers of
    `dtype`."""

    def __init__(self, writer: Writer, body: Body, dtype: str):
        self.writer, self.body, self.dtype = writer, body, dtype
        self.counters = {
            n.target.id
            for n in ast.walk(body.node)
            if isinstance(n, ast.For) and isinstance(n.target, ast.Name)
        }
        self.locals = {
            n.id for n in ast.walk(body.node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }

    def text(self, name: str) -> str:
        """The helper's definition, without a decorator."""
        node = copy.deepcopy(self.body.node)
        if isinstance(node, ast.Lambda):
            node = ast.FunctionDef(name, node.args, [ast.Return(node.body)], [], None, None)
        node.name, node.decorator_list, node.returns = name, [], None
        node.args.defaults = []
        for arg in [*node.args.posonlyargs, *node.args.args]:
            arg.annotation = None
        self._check(node)
        node.body = [self.visit(s) for s in node.body if not isinstance(s, ast.Expr)]
        return ast.unparse(ast.fix_missing_locations(node))

    def _check(self, node: ast.FunctionDef) -> None:
        for stmt in ast.walk(node):
            if (
                isinstance(stmt, ast.stmt)
                and stmt is not node
                and not isinstance(stmt, (*_ALLOWED, ast.Expr))
            ):
                raise self.body.error(
                    stmt,
                    f"`{ast.unparse(stmt).splitlines()[0]}` has no place in a kernel",
                    "use assignments, if, for, while and return",
                )
            if isinstance(stmt, ast.For) and not _is_range(stmt.iter):
                raise self.body.error(stmt, f"a loop over `{ast.unparse(stmt.iter)}`", "loop over range(...)")

    # -- numbers

    def _counting(self, node: ast.AST) -> bool:
        """Whether an expression consists of loop counters and int literals only, with a counter in it."""
        names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
        numbers = [n for n in ast.walk(node) if isinstance(n, ast.Constant)]
        plain = all(
            isinstance(
                n,
                (ast.Name, ast.Constant, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.expr_context),
            )
            for n in ast.walk(node)
        )
        return (
            plain
            and bool(names)
            and all(n.id in self.counters for n in names)
            and all(type(n.value) is int for n in numbers)
        )

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, (ast.Name, ast.BinOp, ast.UnaryOp)) and not isinstance(
            getattr(node, "ctx", None), ast.Store
        ):
            if self._counting(node):
                return ast.Call(ast.Name(self.writer.types[self.dtype], ast.Load()), [node], [])
        return super().visit(node)

    def visit_For(self, node: ast.For) -> ast.For:
        node.iter = self._range(node.iter)
        node.body = [self.visit(s) for s in node.body]
        node.orelse = [self.visit(s) for s in node.orelse]
        return node

    def _range(self, node: ast.expr) -> ast.expr:
        """The bounds of a range as integers: literals and counters stay, numbers are cut to int64."""
        assert isinstance(node, ast.Call)
        keep = lambda a: a if self._counting(a) or isinstance(a, ast.Constant) else None  # noqa: E731
        bounds = [keep(a) or ast.Call(ast.Name("int64", ast.Load()), [self.visit(a)], []) for a in node.args]
        return ast.Call(node.func, bounds, [])

    def visit_Compare(self, node: ast.Compare) -> ast.Compare:
        sides = [node.left, *node.comparators]
        if any(self._counting(s) for s in sides) and all(
            self._counting(s) or isinstance(s, ast.Constant) for s in sides
        ):
            return node
        return self.generic_visit(node)  # type: ignore[return-value]

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if isinstance(node.value, bool):
            return node
        if not isinstance(node.value, (int, float)):
            raise self.body.error(node, f"`{ast.unparse(node)}` is not a number", "use numbers only")
        return self.writer.literal(node.value, self.dtype).node

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if isinstance(node.ctx, ast.Store) or node.id in self.body.params or node.id in self.locals:
            return node
        return self.writer.literal(known_number(self.body, node), self.dtype).node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        return self.writer.literal(known_number(self.body, node), self.dtype).node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        node = self.generic_visit(node)  # type: ignore[assignment]
        name = {ast.Pow: "power", ast.FloorDiv: "floor_divide", ast.Mod: "remainder"}.get(type(node.op))
        if name is None:
            return node
        return self._scalar(name, [node.left, node.right])

    def visit_Call(self, node: ast.Call) -> ast.expr:
        kind, what = known_function(self.body, node.func)
        args = [self.visit(a) for a in node.args]
        if kind == "body":
            inner = body_of(what)
            return ast.Call(ast.Name(write_helper(self.writer, inner, self.dtype), ast.Load()), args, [])
        if kind == "cast" and what == "int":
            return self._scalar("trunc", args) if self.dtype in ("float32", "float64") else args[0]
        if kind == "cast":
            name = self.writer.types[self.dtype] if what == "float" else what
            return ast.Call(ast.Name(name, ast.Load()), args, [])
        if what == "abs":
            return ast.Call(ast.Name("abs", ast.Load()), args, [])
        if what in ("minimum", "maximum"):
            made = args[0]
            for arg in args[1:]:
                made = self._scalar(what, [made, arg])
            return made
        return self._scalar(what, args)

    def _scalar(self, name: str, args: list[ast.expr]) -> ast.expr:
        if self.dtype not in ("float32", "float64") and f"{name}_int" in scalar.FUNCTIONS:
            name = f"{name}_int"
        self.writer.functions.add(name)
        return ast.Call(ast.Name(name, ast.Load()), args, [])


def _is_range(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "range"
        and not node.keywords
    )
