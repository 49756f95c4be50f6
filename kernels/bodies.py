"""Scalar bodies: the formula of an elementwise op, read from its Python source.

A body is a plain function of numbers, such as

    def sigmoid_grad(g, y):
        return g * y * (1.0 - y)

It runs as Python (on numbers, or on Tensors) and is never compiled itself: `body_of` reads its source, lazily
and once, and codegen.py writes its statements into kernels. It may use assignments, arithmetic, comparisons,
ternaries, tuples as result, numbers from its module, `math.*` and the functions of scalar.py, and other
bodies. A body with `if` statements or loops is kept whole (`simple` is False) and becomes a helper function
of the kernel.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import linecache
import math
import textwrap
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from . import scalar
from .syntax import WithoutBreakpoints

# Operators that a body may use, with the sign to print in messages.
BINARY: dict[type, str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**",
    ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.LShift: "<<", ast.RShift: ">>",
}  # fmt: skip
COMPARE = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
BUILTINS = {"abs": "abs", "min": "minimum", "max": "maximum", "round": "round_even", "pow": "power"}
CASTS = {"float", "int", "bool"}


class BodyError(TypeError):
    """A body that cannot be written into a kernel; the message names the function, the line and what to
    write."""


@dataclass(frozen=True)
class Statement:
    """`targets = value` with one or several target names, at `line` of the body's file."""

    targets: tuple[str, ...]
    value: ast.expr
    line: int


class Body:
    """A scalar body taken apart. Made by `body_of`.

    `params`: its parameters; `statements` and `results` (one expression per component) if `simple`;
    `components`: how many values it returns; `node`: the function's syntax tree.
    """

    def __init__(self, fn: types.FunctionType, node: ast.FunctionDef | ast.Lambda, shift: int):
        self.fn, self.node, self._shift = fn, node, shift
        self.name = "function" if fn.__name__ == "<lambda>" else fn.__name__
        self.params = _parameters(self)
        self.simple = isinstance(node, ast.Lambda) or all(_straight(s) for s in _code(node))
        self.statements: list[Statement] = []
        self.results: list[ast.expr] = []
        if self.simple:
            self._take_apart()
        self.components = len(self.results) if self.simple else _returned(self)
        _check_names(self)

    def __repr__(self) -> str:
        return f"<body {self.name}({', '.join(self.params)})>"

    def _take_apart(self) -> None:
        if isinstance(self.node, ast.Lambda):
            self.results = _components(self.node.body)
            return
        for stmt in _code(self.node):
            if isinstance(stmt, ast.Return):
                self.results = _components(stmt.value)
                return
            self.statements.extend(_assignments(self, stmt))
        raise self.error(self.node, "has no return", "end it with a return of the result")

    def error(self, node: ast.AST, what: str, instead: str) -> BodyError:
        """BodyError at `node`: `what` is wrong and what to write `instead`."""
        line = getattr(node, "lineno", 1) + self._shift
        return BodyError(
            f"body {self.name} ({self.fn.__code__.co_filename}, line {line}): {what}; {instead}."
        )

    @cached_property
    def formula(self) -> str:
        """The body in one line, as it was written: "g * y * (1.0 - y)"."""
        if not self.simple:
            return "(a function)"
        parts = [f"{', '.join(s.targets)} = {ast.unparse(s.value)}" for s in self.statements]
        return "; ".join([*parts, ", ".join(ast.unparse(r) for r in self.results)])

    def result(self, component: int | None) -> list[ast.expr]:
        """The returned expressions, or only that of one component. Raises IndexError with the body's name."""
        if component is None:
            return self.results
        if not 0 <= component < self.components:
            raise IndexError(
                f"body {self.name} returns {self.components} value(s), there is no component {component}."
            )
        return [self.results[component]]

    def uses(self, component: int | None = None) -> tuple[str, ...]:
        """The parameters, in order, that the result (or one component of it) depends on."""
        if not self.simple:
            return self.params
        live = {name for r in self.result(component) for name in loaded(r)}
        for stmt in reversed(self.statements):
            if live.intersection(stmt.targets):
                live.difference_update(stmt.targets)
                live.update(loaded(stmt.value))
        return tuple(p for p in self.params if p in live)

    def trivial(self, component: int | None = None) -> str | None:
        """ "g" if the result is the parameter `g` as it came, "zero" if it is 0 or None, else None."""
        if not self.simple or (self.components > 1 and component is None):
            return None
        value = self.result(component)[0]
        if isinstance(value, ast.Name) and value.id == "g" and "g" in self.params:
            return None if any("g" in s.targets for s in self.statements) else "g"
        if isinstance(value, ast.Constant) and (value.value is None or value.value == 0):
            return "zero"
        return None

    def lookup(self, node: ast.AST) -> Any:
        """The object that a global name or a dotted name of the body stands for; raises BodyError when there
        is none."""
        if isinstance(node, ast.Attribute):
            owner = self.lookup(node.value)
            try:
                return getattr(owner, node.attr)
            except AttributeError:
                name = ast.unparse(node)
                raise self.error(
                    node, f"{name} does not exist", "use a function of math or of numtorch"
                ) from None
        if not isinstance(node, ast.Name):
            raise self.error(
                node, f"`{ast.unparse(node)}` is not the name of a function", "call functions by name"
            )
        names = self._globals
        if node.id not in names:
            known = "a parameter, a local assigned before, a number of the module, math.* or another body"
            raise self.error(node, f"the name {node.id!r} is unknown", f"use {known}")
        return names[node.id]

    @cached_property
    def _globals(self) -> dict[str, Any]:
        cells = {}
        for name, cell in zip(self.fn.__code__.co_freevars, self.fn.__closure__ or ()):
            cells[name] = cell.cell_contents
        return {**vars(builtins), **self.fn.__globals__, **cells}


def loaded(node: ast.AST) -> Iterator[str]:
    """Names that an expression reads."""
    return (n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load))


# ---- from a function to its syntax tree --------------------------------------------------------------------

_BODIES: dict[Any, Body] = {}


def body_of(fn: Callable[..., Any]) -> Body:
    """The body behind `fn`: a plain function or lambda, or an object that has one as its attribute `body`.

    Read once per function. Raises BodyError (a TypeError) for source that is absent or that no kernel can
    hold.

    Example:
        >>> body_of(lambda x: x * 2.0).params
        ('x',)
    """
    found = _BODIES.get(fn)
    if found is None:
        plain = plain_function(fn)
        if plain is None:
            raise BodyError(f"{fn!r} is not a scalar body; pass a Python function of numbers.")
        found = _BODIES.get(plain)
        if found is None:
            found = _BODIES[plain] = _read(plain)
        _BODIES[fn] = found
    return found


def plain_function(what: Any) -> types.FunctionType | None:
    """The Python function behind an op, a device function or a function; None for anything else."""
    for _ in range(4):
        if isinstance(what, types.FunctionType):
            return what
        what = getattr(what, "body", None) or getattr(what, "py", None)
    return None


def _read(fn: types.FunctionType) -> Body:
    node, shift = _lambda_node(fn) if fn.__name__ == "<lambda>" else _function_node(fn)
    return Body(fn, node, shift)


def _no_source(fn: types.FunctionType) -> BodyError:
    return BodyError(
        f"the source of body {fn.__name__} ({fn.__code__.co_filename}) cannot be read; define it in a file or "
        f"in a notebook cell."
    )


def _function_node(fn: types.FunctionType) -> tuple[ast.FunctionDef, int]:
    try:
        lines, first = inspect.getsourcelines(fn)
    except (OSError, TypeError):
        raise _no_source(fn) from None
    tree = WithoutBreakpoints().visit(ast.parse(textwrap.dedent("".join(lines))))
    node = tree.body[0] if tree.body else None
    if not isinstance(node, ast.FunctionDef):
        raise _no_source(fn)
    return node, first - 1


def _lambda_node(fn: types.FunctionType) -> tuple[ast.Lambda, int]:
    """The lambda among those of the file that stands where the code says (a line may hold several)."""
    text = "".join(linecache.getlines(fn.__code__.co_filename, fn.__globals__))
    if not text:
        raise _no_source(fn)
    spots = [(p[0], p[2]) for p in fn.__code__.co_positions() if p[0] is not None and p[2]]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Lambda) and node.body.lineno and spots:
            begin, end = (
                (node.body.lineno, node.body.col_offset),
                (node.body.end_lineno, node.body.end_col_offset),
            )
            inside = all(begin <= spot < end for spot in spots)
            if inside and [a.arg for a in node.args.args] == list(
                fn.__code__.co_varnames[: fn.__code__.co_argcount]
            ):
                return node, 0
    raise _no_source(fn)


# ---- what a body may contain -------------------------------------------------------------------------------


def _code(node: ast.FunctionDef) -> list[ast.stmt]:
    """The statements without the docstring."""
    first = node.body[0]
    is_doc = (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )
    return node.body[1:] if is_doc else node.body


def _straight(stmt: ast.stmt) -> bool:
    return isinstance(stmt, (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return))


def _parameters(body: Body) -> tuple[str, ...]:
    args = body.node.args
    if args.vararg or args.kwarg or args.kwonlyargs:
        raise body.error(
            body.node, "it takes *args, **kwargs or keyword-only arguments", "name each parameter"
        )
    return tuple(a.arg for a in [*args.posonlyargs, *args.args])


def _components(value: ast.expr | None) -> list[ast.expr]:
    if value is None:
        return [ast.Constant(None)]
    return list(value.elts) if isinstance(value, ast.Tuple) else [value]


def _returned(body: Body) -> int:
    """How many values a body with branches returns; all its returns must agree."""
    counts = {len(_components(n.value)) for n in ast.walk(body.node) if isinstance(n, ast.Return)}
    if len(counts) != 1:
        raise body.error(
            body.node, "its returns give different numbers of values", "return as many values everywhere"
        )
    return counts.pop()


def _assignments(body: Body, stmt: ast.stmt) -> Iterator[Statement]:
    line = stmt.lineno + body._shift
    if isinstance(stmt, ast.AugAssign) and isinstance(stmt.target, ast.Name):
        load = ast.copy_location(ast.Name(stmt.target.id, ast.Load()), stmt.target)
        yield Statement(
            (stmt.target.id,), ast.copy_location(ast.BinOp(load, stmt.op, stmt.value), stmt), line
        )
        return
    targets = stmt.targets if isinstance(stmt, ast.Assign) else [getattr(stmt, "target", None)]
    value = getattr(stmt, "value", None)
    if len(targets) == 1 and isinstance(targets[0], ast.Name) and value is not None:
        yield Statement((targets[0].id,), value, line)
    elif (
        len(targets) == 1
        and isinstance(targets[0], ast.Tuple)
        and all(isinstance(t, ast.Name) for t in targets[0].elts)
    ):
        names = tuple(t.id for t in targets[0].elts)  # type: ignore[attr-defined]
        yield Statement(names, value, line)  # type: ignore[arg-type]
    else:
        raise body.error(
            stmt, f"`{ast.unparse(stmt)}` is not a plain assignment", "assign to names, one at a time"
        )


def _check_names(body: Body) -> None:
    """Every name that is read must be a parameter, a local, a number, or something callable that kernels
    know."""
    locals_ = {n.id for n in ast.walk(body.node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    inside = {id(n.func) for n in ast.walk(body.node) if isinstance(n, ast.Call)}
    owners = {id(n.value) for n in ast.walk(body.node) if isinstance(n, ast.Attribute)}
    decorators = set()
    if isinstance(body.node, ast.FunctionDef):
        outside = [*body.node.decorator_list, *body.node.args.defaults, body.node.returns]
        outside += [a.annotation for a in body.node.args.args]
        decorators = {id(n) for d in outside if d is not None for n in ast.walk(d)}
    for node in ast.walk(body.node):
        if id(node) in decorators or id(node) in owners:
            continue
        if (
            isinstance(node, ast.Name) and node.id not in body.params and node.id not in locals_
        ) or isinstance(node, ast.Attribute):
            if id(node) in inside:
                known_function(body, node)
            elif not isinstance(getattr(node, "ctx", None), ast.Store):
                known_number(body, node)


def known_number(body: Body, node: ast.expr) -> float | int | bool:
    """The number that a global name of the body stands for. Raises BodyError for anything else."""
    value = body.lookup(node)
    if isinstance(value, (bool, int, float)):
        return value
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return value.item()
    raise body.error(
        node,
        f"`{ast.unparse(node)}` is a {type(value).__name__}, not a number",
        "pass it as a parameter or use a module-level number",
    )


def known_function(body: Body, node: ast.expr) -> tuple[str, Any]:
    """What a called name means: ("builtin", name), ("cast", name), ("scalar", name in scalar.py) or ("body",
    function)."""
    value = body.lookup(node)
    name = getattr(value, "__name__", "")
    if getattr(builtins, name, None) is value and value is not None:
        if name in BUILTINS:
            return "builtin", BUILTINS[name]
        if name in CASTS or name == "range":
            return "cast", name
    if (isinstance(value, types.BuiltinFunctionType) and getattr(math, name, None) is value) or _is_numpy(
        value
    ):
        if name in scalar.MATH:
            return "scalar", scalar.MATH[name]
    if scalar.FUNCTIONS.get(name) is value:
        return "scalar", name
    op = getattr(value, "name", "") if getattr(value, "body", None) is not None else ""
    if op in BUILTINS and op != "pow":
        return "builtin", BUILTINS[op]
    if op in scalar.MATH:
        return "scalar", scalar.MATH[op]  # an op of that name: in a kernel it is the scalar function
    if plain_function(value) is not None:
        return "body", value
    raise body.error(
        node, f"kernels do not know the function {ast.unparse(node)}",
        f"use one of math.{', '.join(sorted(scalar.MATH))}, a function of scalar.py, or another body",
    )  # fmt: skip


def _is_numpy(value: Any) -> bool:
    return type(value).__name__ == "ufunc"
