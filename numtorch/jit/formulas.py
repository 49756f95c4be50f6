"""Elementwise ops as Python source: a public function where there is one, else a small function with the op's formula."""

from __future__ import annotations

import ast
import builtins
import copy
import keyword
import math
from collections.abc import Sequence
from typing import Any

from .record import Entry, Ref

_BUILTINS = {"abs": "abs", "min": "minimum", "max": "maximum", "round": "round", "pow": "pow"}
_SIGNS = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="
}  # fmt: skip
_PLAIN = {"neg": "-{0}", "square": "{0} * {0}", "clone_values": "{0}.clone()", "add_scaled": "{0} + {2} * {1}"}
# In a rule a test may be one of numbers: that is decided by Python.
_WHERE = """def where(condition, a, b):
    if not isinstance(condition, torch.Tensor):
        return a if condition else b
    return torch.where(condition, a, b)"""
# A rule may compare with a number; the public functions take tensors only.
_PAIRS = """def {0}(a, b):
    a, b = (v if isinstance(v, torch.Tensor) else torch.full_like(other, v) for v, other in ((a, b), (b, a)))
    return torch.{0}(a, b)"""


class Helpers:
    """The functions that a source needs, in the order they were asked for."""

    def __init__(self) -> None:
        self.sources: dict[str, str] = {}
        self.names: dict[Any, str] = {}

    def lines(self) -> list[str]:
        """The text of all of them."""
        return [line for text in self.sources.values() for line in ("", *text.splitlines(), "")]

    def call(self, e: Entry, args: Sequence[str]) -> str:
        """The expression that computes an elementwise entry from the text of its operands."""
        op, result = e.op, e.outputs[0].layout
        plan_dtype = e.plan.program.steps[0].compute_dtype if e.plan.program.steps else result.dtype.name
        if op.name == "fill":
            return f"torch.full({tuple(result.shape)}, {args[0]}, dtype=torch.{result.dtype.name})"
        if op.name == "copy" or op.name.startswith("to_"):
            return _copied(args[0], e.args[0].layout, result)
        if op.name in _SIGNS and len(args) == 2:
            return f"{args[0]} {_SIGNS[op.name]} {args[1]}"
        if op.name in _PLAIN:
            return _PLAIN[op.name].format(*args)
        public = public_name(op)
        if public is not None:
            return f"{public}({', '.join(args)})"
        given = [
            f"{text}.to(torch.{plan_dtype})" if _needs_cast(a, plan_dtype) else text for a, text in zip(e.args, args)
        ]
        return f"{self.helper(op.body, op.component, op.params, op.name)}({', '.join(given)})"

    def helper(self, function: Any, component: int | None, params: Sequence[str], name: str) -> str:
        """The name of a function with a body's formula, written if it is not there yet."""
        key = (function, component)
        if key in self.names:
            return self.names[key]
        from ..kernels.codegen import body_of

        label = name if component is None else f"{name}_{component}"
        while label in self.names.values() or keyword.iskeyword(label):
            label += "_"
        self.names[key] = label
        body = body_of(function)
        writer = _Names(body, self)
        rows = [f"def {label}({', '.join(params)}):"]
        if body.simple:
            rows += _statements(body, component, writer)
        else:
            tree = writer.visit(copy.deepcopy(body.node))
            rows += ["    " + row for s in tree.body for row in ast.unparse(s).splitlines()]
        self.sources[label] = "\n".join(rows)
        return label


def _copied(text: str, source: Any, result: Any) -> str:
    """A copy in another layout or dtype."""
    if source.shape == result.shape:
        if source.dtype is not result.dtype:
            cast = f"{text}.to(torch.{result.dtype.name})"
            return f"{cast}.contiguous()" if result.contiguous and not source.contiguous else cast
        if source.strides == result.strides:
            return f"{text}.clone()"
        if result.contiguous and not source.contiguous:
            return f"{text}.contiguous()"
    size, strides = tuple(result.shape), tuple(result.strides)
    return f"torch.empty_strided({size}, {strides}, dtype=torch.{result.dtype.name}).copy_({text})"


def _needs_cast(a: Any, wanted: str) -> bool:
    """Whether an operand is computed in another dtype than it has; tests stay tests."""
    return isinstance(a, Ref) and a.layout.dtype.name != wanted and a.layout.dtype.name != "bool" and wanted != "bool"


def public_name(op: Any) -> str | None:
    """``torch.tanh`` for the op behind it; None if no public function is that op."""
    import numtorch

    if getattr(numtorch, op.name, None) is op:
        return f"torch.{op.name}"
    if op.name == "where":
        return "torch.where"
    if numtorch.ops.TABLE.get(op.name) is op and _is_primitive(op):
        return f'ops["{op.name}"]'
    return None


def _is_primitive(op: Any) -> bool:
    """Whether an op's body is the call of the kernels' function of its name: there is no formula to write."""
    code = getattr(op.body, "__code__", None)
    return code is not None and op.name in code.co_names and op.body.__globals__.get(op.name) is op


def _statements(body: Any, component: int | None, writer: ast.NodeTransformer) -> list[str]:
    """The assignments that a result (or one component of it) needs, and the return."""
    results = body.result(component)
    live = {n.id for r in results for n in ast.walk(r) if isinstance(n, ast.Name)}
    rows: list[str] = []
    for s in reversed(body.statements):
        if live.intersection(s.targets):
            live.difference_update(s.targets)
            live |= {n.id for n in ast.walk(s.value) if isinstance(n, ast.Name)}
            rows.append(f"    {', '.join(s.targets)} = {ast.unparse(writer.visit(copy.deepcopy(s.value)))}")
    rows.reverse()
    return [*rows, f"    return {', '.join(ast.unparse(writer.visit(copy.deepcopy(r))) for r in results)}"]


class _Names(ast.NodeTransformer):
    """Names of a body replaced by what they mean: public functions, numbers, other helpers."""

    def __init__(self, body: Any, helpers: Helpers):
        self.body, self.helpers = body, helpers
        self.local = set(body.params) | {
            n.id for n in ast.walk(body.node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """A function of kernels, an op, or another body."""
        node.args = [self.visit(a) for a in node.args]
        if isinstance(node.func, ast.Name) and node.func.id in self.local:
            return node
        found = self.body.lookup(node.func)
        node.func = ast.parse(self._function(found, node.func), mode="eval").body
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        """A choice between numbers is a where of tensors."""
        parts = [self.visit(p) for p in (node.test, node.body, node.orelse)]
        return ast.Call(ast.parse("torch.where", mode="eval").body, parts, [])

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """A number of the module."""
        if node.id in self.local or not isinstance(node.ctx, ast.Load):
            return node
        return self._constant(self.body.lookup(node), node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """A number such as ``math.pi``."""
        return self._constant(self.body.lookup(node), node)

    def _constant(self, value: Any, node: ast.expr) -> ast.AST:
        if isinstance(value, (bool, int, float)):
            if isinstance(value, float) and not math.isfinite(value):
                return ast.parse(f'float("{value}")', mode="eval").body
            return ast.copy_location(ast.Constant(value), node)
        return node

    def _function(self, found: Any, node: ast.expr) -> str:
        import numtorch

        name = getattr(found, "name", None) or getattr(found, "__name__", "")
        if found is getattr(builtins, name, None) and name in _BUILTINS:
            name = _BUILTINS[name]
            if name not in ("maximum", "minimum"):
                return f"torch.{name}"
        if name in ("maximum", "minimum"):
            self.helpers.sources.setdefault(name, _PAIRS.format(name))
            return name
        if name == "where":
            self.helpers.sources.setdefault("where", _WHERE)
            return "where"
        if hasattr(found, "params") and hasattr(found, "body"):
            return public_name(found) or self.helpers.helper(found.body, found.component, found.params, found.name)
        if callable(getattr(numtorch, name, None)):
            return f"torch.{name}"
        from ..kernels.codegen import body_of

        inner = body_of(found)
        return self.helpers.helper(found, None, inner.params, inner.name)
