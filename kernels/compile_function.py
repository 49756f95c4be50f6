"""Statements of a function that goes the short way (compile_front.py). Imported only when compiling."""

from __future__ import annotations

import ast
import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.fastmathpass import FastFloatBinOpVisitor, FastFloatCallVisitor

from . import binding
from .compile_expressions import Expressions
from .compile_values import Static, Value, context_of
from .syntax import Unsupported, tree_of

I64 = ir.IntType(64)


class Function(Expressions):
    """One Python function as an LLVM function of the unit. `results`: the types it returns."""

    def __init__(self, unit: Any, py: Any, kinds: tuple[Any, ...], flags: Any, inline: bool, number: int):
        super().__init__()
        self.unit, self.py, self.context = unit, py, context_of(flags)
        self.tree = tree_of(py)
        self.scope = binding.mentioned_values(py, unit.env)
        self.results: tuple[Any, ...] | None = None
        self.single = False
        self.loops: list[tuple[Any, Any]] = []
        held = [kind for kind in kinds if not isinstance(kind, Static)]
        args = [self.context.get_value_type(kind) for kind in held]
        name = f"numtorch.{py.__name__}.{number}"
        self.llvm = ir.Function(unit.module, ir.FunctionType(ir.VoidType(), args), name)
        self.llvm.linkage = "internal"
        if inline:
            self.llvm.attributes.add("alwaysinline")
        entry = self.llvm.append_basic_block("entry")
        self.builder = ir.IRBuilder(self.llvm.append_basic_block("start"))
        start = self.builder.block
        self._bind(kinds)
        with self.context.push_code_library(unit.library):
            self.block(self.tree.body)
        self._close()
        ir.IRBuilder(entry).branch(start)
        names = sorted(flags.fastmath.flags)
        if names:
            FastFloatBinOpVisitor(names).visit_Function(self.llvm)
            FastFloatCallVisitor(names).visit_Function(self.llvm)

    def _bind(self, kinds: tuple[Any, ...]) -> None:
        args = self.tree.args
        if args.vararg or args.kwarg or args.kwonlyargs or len(args.posonlyargs + args.args) != len(kinds):
            raise Unsupported(f"{self.py.__name__}: other parameters than arguments")
        given = iter(self.llvm.args)
        for arg, kind in zip(args.posonlyargs + args.args, kinds):
            if isinstance(kind, Static):
                self.statics[arg.arg] = kind
            else:
                self.assign(arg.arg, Value(kind, next(given)))

    def _close(self) -> None:
        if not self.builder.block.is_terminated:
            if self.results:
                raise Unsupported(f"{self.py.__name__} ends with and without a result")
            self.results = ()
            self.builder.ret_void()
        held = [self.context.get_value_type(kind) for kind in self.results or ()]
        result = ir.VoidType() if not held else held[0] if self.single else ir.LiteralStructType(held)
        kind = ir.FunctionType(result, [arg.type for arg in self.llvm.args])
        self.llvm.ftype = kind
        self.llvm.type = kind.as_pointer()
        self.llvm.return_value.type = result

    def called(self, builder: Any, args: list[Any]) -> Any:
        """Call it; a Value, a tuple of Values, or a none."""
        found = builder.call(self.llvm, args)
        if not self.results:
            return Value(types.none, None)
        if self.single:
            return Value(self.results[0], found)
        return tuple(Value(kind, builder.extract_value(found, i)) for i, kind in enumerate(self.results))

    # -- statements

    def block(self, statements: list[ast.stmt]) -> None:
        """Statements one by one; what follows a return, break or continue is dead."""
        for statement in statements:
            if self.builder.block.is_terminated:
                return
            method = getattr(self, f"_{type(statement).__name__}", None)
            if method is None:
                raise Unsupported(f"{self.py.__name__}: `{ast.unparse(statement)}`")
            method(statement)

    def _Pass(self, node: ast.Pass) -> None:
        """Nothing."""

    def _Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.value(node.value)

    def _Assign(self, node: ast.Assign) -> None:
        value = self.value(node.value)
        for target in node.targets:
            self._store(target, value)

    def _store(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self.assign(target.id, value)
        elif isinstance(target, ast.Subscript):
            self._set(self.value(target.value), self.value(target.slice), value)
        elif isinstance(target, ast.Tuple) and isinstance(value, tuple) and len(value) == len(target.elts):
            for one, part in zip(target.elts, value):
                self._store(one, part)
        else:
            raise Unsupported(f"{self.py.__name__}: assignment to `{ast.unparse(target)}`")

    def _set(self, target: Any, index: Any, value: Any) -> None:
        if not isinstance(value, Value):
            raise Unsupported(f"{self.py.__name__}: an element that is no number")
        self.operate(operator.setitem, target, index, value)

    def _AugAssign(self, node: ast.AugAssign) -> None:
        op = self._operator(node.op)
        if isinstance(node.target, ast.Name):
            self.assign(node.target.id, self.operate(op, self.lookup(node.target.id), self.value(node.value)))
        elif isinstance(node.target, ast.Subscript):
            target, index = self.value(node.target.value), self.value(node.target.slice)
            old = self.operate(operator.getitem, target, index)
            self._set(target, index, self.operate(op, old, self.value(node.value)))
        else:
            raise Unsupported(f"{self.py.__name__}: `{ast.unparse(node)}`")

    def _If(self, node: ast.If) -> None:
        builder = self.builder
        yes, no = builder.append_basic_block("then"), builder.append_basic_block("else")
        self.condition(node.test, yes, no)
        open_ends = []
        for start, part in ((yes, node.body), (no, node.orelse)):
            builder.position_at_end(start)
            self.block(part)
            if not builder.block.is_terminated:
                open_ends.append(builder.block)
        if open_ends:
            end = builder.append_basic_block("after")
            for block in open_ends:
                builder.position_at_end(block)
                builder.branch(end)
            builder.position_at_end(end)

    def _Return(self, node: ast.Return) -> None:
        found = () if node.value is None else self.value(node.value)
        single = isinstance(found, Value)
        values = (found,) if isinstance(found, Value) else found
        if not isinstance(values, tuple) or not all(isinstance(v, Value) for v in values):
            raise Unsupported(f"{self.py.__name__}: returns `{ast.unparse(node)}`")
        kinds = tuple(value.plain for value in values)
        if self.results is None:
            self.results, self.single = kinds, single
        if self.results != kinds or self.single != single:
            raise Unsupported(f"{self.py.__name__}: returns {self.results} and {kinds}")
        if single:
            self.builder.ret(found.llvm)
        elif not values:
            self.builder.ret_void()
        else:
            kind = ir.LiteralStructType([value.llvm.type for value in values])
            made = ir.Constant(kind, ir.Undefined)
            for i, value in enumerate(values):
                made = self.builder.insert_value(made, value.llvm, i)
            self.builder.ret(made)

    # -- loops

    def _loop(self, body: list[ast.stmt], latch: Any, end: Any) -> None:
        """The statements of a loop; then on to `latch`."""
        self.loops.append((end, latch))
        self.block(body)
        self.loops.pop()
        if not self.builder.block.is_terminated:
            self.builder.branch(latch)

    def _Break(self, node: ast.Break) -> None:
        self.builder.branch(self.loops[-1][0])

    def _Continue(self, node: ast.Continue) -> None:
        self.builder.branch(self.loops[-1][1])

    def _While(self, node: ast.While) -> None:
        if node.orelse:
            raise Unsupported(f"{self.py.__name__}: while ... else")
        builder = self.builder
        head, body, end = (builder.append_basic_block(name) for name in ("head", "body", "end"))
        builder.branch(head)
        builder.position_at_end(head)
        endless = isinstance(node.test, ast.Constant) and bool(node.test.value)
        if endless:
            builder.branch(body)
        else:
            self.condition(node.test, body, end)
        builder.position_at_end(body)
        self._loop(node.body, head, end)
        builder.position_at_end(end)
        if endless and not any(isinstance(n, ast.Break) for n in ast.walk(node)):
            builder.unreachable()

    def _For(self, node: ast.For) -> None:
        start, count, step = self._range(node)
        builder = self.builder
        with builder.goto_entry_block():
            room = builder.alloca(I64)
        builder.store(I64(0), room)
        head, body, latch, end = (builder.append_basic_block(n) for n in ("head", "body", "latch", "end"))
        builder.branch(head)
        builder.position_at_end(head)
        done = builder.load(room)
        builder.cbranch(builder.icmp_signed("<", done, count), body, end)
        builder.position_at_end(body)
        assert isinstance(node.target, ast.Name)
        self.assign(node.target.id, Value(types.int64, builder.add(start, builder.mul(done, step))))
        self._loop(node.body, latch, end)
        builder.position_at_end(latch)
        builder.store(builder.add(builder.load(room), I64(1), flags=("nsw",)), room)
        builder.branch(head)
        builder.position_at_end(end)

    def _range(self, node: ast.For) -> tuple[Any, Any, Any]:
        """First value, number of values and step of the loop over `range`."""
        call = node.iter
        if node.orelse or not isinstance(node.target, ast.Name) or not isinstance(call, ast.Call):
            raise Unsupported(f"{self.py.__name__}: a loop over other things than range()")
        if self.value(call.func) != Static(range) or call.keywords or not 1 <= len(call.args) <= 3:
            raise Unsupported(f"{self.py.__name__}: a loop over other things than range()")
        values = [self.value(arg) for arg in call.args]
        if not all(isinstance(v, Value) and v.plain == types.int64 for v in values):
            raise Unsupported(f"{self.py.__name__}: range() of other numbers than int64")
        start = values[0].llvm if len(values) > 1 else I64(0)
        way = self.builder.sub(values[len(values) > 1].llvm, start)
        if len(values) < 3:
            return start, way, I64(1)
        step = getattr(values[2].kind, "literal_value", 0)
        if step == 0:
            return start, *self._steps(way, values[2].llvm)
        rounded = self.builder.add(way, I64(step - 1 if step > 0 else step + 1))
        return start, self.builder.sdiv(rounded, I64(step)), I64(step)

    def _steps(self, way: Any, step: Any) -> tuple[Any, Any]:
        """Number of steps of a size that only the run knows, and that size; none if it is 0, where Python raises."""
        builder = self.builder
        still = builder.icmp_signed("==", step, I64(0))
        step = builder.select(still, I64(1), step)
        forward = builder.icmp_signed(">", step, I64(0))
        rounded = builder.add(way, builder.sub(step, builder.select(forward, I64(1), I64(-1))))
        return builder.select(still, I64(0), builder.sdiv(rounded, step)), step
