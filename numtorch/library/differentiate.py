"""Derivatives of scalar functions, by reverse accumulation over their straight-line code.

The derivative is a scalar body again, so it runs as one fused kernel, and on tensors when it is differentiated further.
Contributions of a branch count only where the branch is taken, so a formula that is infinite on the other side does
no harm (the usual trap of ``where``).

Reference: A. Griewank, A. Walther, "Evaluating Derivatives", 2nd ed., SIAM 2008, section 3.2.
"""

from __future__ import annotations

import inspect
import itertools
import linecache
from collections.abc import Callable, Iterable
from math import inf, nan
from typing import Any

from ..kernels.bodies import body_of
from .functions import op_of
from .straight import CONDITIONS, Guard, Line, Straight, Value, straighten

_numbers = itertools.count()


class Text:
    """The source of a generated function, and the objects that its names stand for."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, set[str]]] = []  # target(s), expression, names that it reads
        self.objects: dict[str, Any] = {"inf": inf, "nan": nan}

    def function(self, what: Any, wanted: str) -> str:
        """The name by which the text calls an object."""
        for name, held in self.objects.items():
            if held is what:
                return name
        name, k = wanted, 2
        while name in self.objects:
            name, k = f"{wanted}_{k}", k + 1
        self.objects[name] = what
        return name

    def add(self, targets: str, expression: str, reads: Iterable[Any]) -> None:
        """Append ``targets = expression``."""
        self.lines.append((targets, expression, {r for r in reads if isinstance(r, str)}))

    def needed(self, results: Iterable[Any]) -> list[str]:
        """The lines that the results depend on."""
        live = {r for r in results if isinstance(r, str)}
        kept: list[str] = []
        for targets, expression, reads in reversed(self.lines):
            if live.intersection(t.strip() for t in targets.split(",")):
                live |= reads
                kept.append(f"    {targets} = {expression}")
        return kept[::-1]

    def compile(self, name: str, params: Iterable[str], results: Iterable[Any], doc: str) -> Callable:
        """The function; its source can be read by inspect, debuggers and the kernel generator."""
        results = list(results)
        head = [f"def {name}({', '.join(params)}):", f'    """{doc}"""']
        source = "\n".join([*head, *self.needed(results), f"    return {', '.join(map(literal, results))}"]) + "\n"
        file = f"<numtorch.library {name} {next(_numbers)}>"
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        space = {"__name__": "generated", **self.objects}
        exec(compile(source, file, "exec"), space)
        return space[name]


def literal(value: Value) -> str:
    """A name, or a number as Python writes it."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return "nan" if value != value else "inf" if value > 0 else "(-inf)"
    return f"({value!r})" if not isinstance(value, bool) and value < 0 else repr(value)


def forward(code: Straight, text: Text) -> None:
    """Write the lines of straight code."""
    for line in code.lines:
        text.add(line.name, expression(line, text), line.args)


def expression(line: Line, text: Text) -> str:
    """The right-hand side of a line."""
    args = [literal(a) for a in line.args]
    if line.op == "call":
        return f"{text.function(line.function, line.function.name)}({', '.join(args)})"
    if line.op == "where":
        return f"{text.function(op_of('where'), 'where')}({', '.join(args)})"
    if line.op == "neg":
        return f"-{args[0]}"
    if line.op == "not":
        return f"{text.function(op_of('logical_not'), 'logical_not')}({args[0]})"
    return f"{args[0]} {line.op} {args[1]}"


class Reverse:
    """Walks straight code backwards and writes what each value contributes to the derivative."""

    def __init__(self, code: Straight, text: Text, seeds: dict[str, list[str]]):
        self.code, self.text = code, text
        self.adjoints: dict[str, list[str]] = dict(seeds)
        self.count = 0

    def run(self) -> tuple[Value, ...]:
        """The derivative with respect to each parameter."""
        for line in reversed(self.code.lines):
            parts = self.adjoints.pop(line.name, None)
            if parts and line.name not in self.code.conditions:
                self.line(line, self.total(parts))
        return tuple(self.total(self.adjoints[p]) if p in self.adjoints else 0.0 for p in self.code.params)

    def total(self, parts: list[str]) -> str:
        if len(parts) == 1:
            return parts[0]
        return self.name(" + ".join(parts), parts)

    def name(self, expression: str, reads: Iterable[Any]) -> str:
        """Write an intermediate value of the derivative."""
        self.count += 1
        name = f"d{self.count}"
        self.text.add(name, expression, reads)
        return name

    def contribute(self, value: Value, guard: Guard, expression: str, reads: Iterable[Any]) -> None:
        """Add to the derivative of ``value`` what a line under ``guard`` gives."""
        if not isinstance(value, str) or value in self.code.conditions:
            return
        part = expression if expression.isidentifier() else self.name(expression, reads)
        for condition, wanted in reversed(guard[len(self.code.guards[value]) :]):
            where = self.text.function(op_of("where"), "where")
            sides = f"{part}, 0.0" if wanted else f"0.0, {part}"
            part = self.name(f"{where}({condition}, {sides})", (condition, part))
        self.adjoints.setdefault(value, []).append(part)

    def line(self, line: Line, g: str) -> None:
        """What one line contributes, given the derivative ``g`` of its result."""
        args, guard = line.args, line.guard
        written = [literal(a) for a in args]

        def give(k: int, expression: str, *reads: Any) -> None:
            self.contribute(args[k], guard, expression, (g, *reads))

        if line.op == "+":
            give(0, g)
            give(1, g)
        elif line.op == "-":
            give(0, g)
            give(1, f"-{g}")
        elif line.op == "*" and self.power(line) is not None:
            x, n, rest = self.power(line)  # type: ignore[misc]
            give(args.index(x), f"{g} * ({float(n)!r} * {rest})", x, rest)
        elif line.op == "*":
            give(0, f"{g} * {written[1]}", args[1])
            give(1, f"{g} * {written[0]}", args[0])
        elif line.op == "/":
            give(0, f"{g} / {written[1]}", args[1])
            give(1, f"-{g} * {line.name} / {written[1]}", args[1], line.name)
        elif line.op == "neg":
            give(0, f"-{g}")
        elif line.op == "where":
            where = self.text.function(op_of("where"), "where")
            give(1, f"{where}({written[0]}, {g}, 0.0)", args[0])
            give(2, f"{where}({written[0]}, 0.0, {g})", args[0])
        elif line.op in ("**", "%", "call"):
            names = {"**": "pow", "%": "remainder"}
            self.call(line, line.function or op_of(names[line.op]), g)
        elif line.op not in CONDITIONS and line.op not in ("//", "&", "|", "^", "<<", ">>"):
            raise AssertionError(f"no derivative of {line.op}")

    def power(self, line: Line) -> tuple[str, int, str] | None:
        """For ``rest * x`` that is a number times ``x**n`` (n > 1): (x, n, rest), so that its slope is n times the rest."""
        for x, rest in (line.args, line.args[::-1]):
            if not isinstance(x, str) or not isinstance(rest, str):
                continue
            if rest == x:
                return x, 2, rest
            before = next((other for other in self.code.lines if other.name == rest), None)
            if before is None or before.op != "*" or before.guard != line.guard or x not in before.args:
                continue
            if any(not isinstance(a, (str, bool)) for a in before.args):
                return x, 2, rest
            found = self.power(before)
            if found is not None and found[0] == x:
                return x, found[1] + 1, rest
        return None

    def call(self, line: Line, op: Any, g: str) -> None:
        """The call of an op: its own gradient body, which is another scalar function."""
        if op.grad_body is None:
            return  # an op of truth values or whole numbers
        if line.op == "**" and isinstance(line.args[1], (int, float)):
            n = line.args[1]
            lower = f"{literal(line.args[0])} ** {literal(n - 1)}" if n != 2 else literal(line.args[0])
            self.contribute(line.args[0], line.guard, f"{g} * ({literal(n)} * {lower})", (g, line.args[0]))
            return
        given = dict(zip(op.params, line.args)) | {"g": g, "y": line.name}
        wanted = list(inspect.signature(op.grad_body).parameters)
        name = self.text.function(op.grad_body, op.grad_body.__name__)
        written = ", ".join(literal(given[w]) for w in wanted)
        reads = [given[w] for w in wanted]
        if len(op.params) == 1:
            self.contribute(line.args[0], line.guard, f"{name}({written})", reads)
            return
        targets = [self.name_only() for _ in op.params]
        self.text.add(", ".join(targets), f"{name}({written})", reads)
        for value, target in zip(line.args, targets):
            self.contribute(value, line.guard, target, (target,))

    def name_only(self) -> str:
        self.count += 1
        return f"d{self.count}"


def derivative(code: Straight, name: str) -> Callable:
    """The gradient body of a function: of ``g`` (or g0, g1, ... for several results) and its parameters."""
    text = Text()
    forward(code, text)
    gs = ["g"] if len(code.results) == 1 else [f"g{i}" for i in range(len(code.results))]
    seeds: dict[str, list[str]] = {}
    for g, result in zip(gs, code.results):
        if isinstance(result, str):
            seeds.setdefault(result, []).append(g)
    results = Reverse(code, text, seeds).run()
    return text.compile(f"{name}_grad", [*gs, *code.params], results, f"Derivative of {name}, derived from its source.")


def plain(function: Callable) -> Callable:
    """The function, or the same as straight-line code where kernels could not take it as it is written (`return f(x)` with
    several values)."""
    code = straighten(function)
    return function if len(code.results) == body_of(function).components else straight_body(code, function.__name__, "")


def straight_body(code: Straight, name: str, doc: str) -> Callable:
    """The function itself as straight-line code, with ``where`` for its branches."""
    text = Text()
    forward(code, text)
    return text.compile(name, code.params, code.results, doc.replace('"', "'") or name)
