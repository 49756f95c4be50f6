"""``@numtorch.elementwise``: a scalar Python function becomes a differentiable, broadcasting, fusible op."""

from __future__ import annotations

import ast
import copy
import inspect
import re
from collections.abc import Callable
from typing import Any

from ..kernels.bodies import Body, BodyError, body_of
from ..ops.pointwise import Elementwise
from .differentiate import derivative, straight_body
from .known import Own
from .straight import Straight, straighten

_TAKEN = re.compile(r"[gyvd]\d*")  # names that generated code uses itself
_WHOLE = {"abs", "minimum", "maximum", "sign", "where", "floor_divide", "remainder", "pow"}


class UserElementwise(Own, Elementwise):
    """An elementwise op made from a user's scalar function; ``op.function`` is that function."""

    def __init__(self, function: Callable, result: str | None, name: str | None):
        self.function = function
        name = name or (function.__name__ if function.__name__.isidentifier() else "function")
        self.names = tuple(inspect.signature(function).parameters)
        self.defaults = {}
        taken = {n: f"{n}_" for n in self.names if _TAKEN.fullmatch(n)}
        self._straight: Straight | None = None
        self._why: BodyError | None = None
        read = body_of(function)
        try:
            self._straight = straighten(_renamed(function, taken) if taken else function)
        except BodyError as error:
            if taken:
                raise
            self._why = error  # it may loop as it likes, when its derivative is given
        body: Callable = function
        count = read.components if self._straight is None else len(self._straight.results)
        if self._straight is not None and (
            taken or not read.simple or self._straight.rewritten or count != read.components
        ):
            body = straight_body(self._straight, name, function.__doc__ or "")
        found = result or (_result(self._straight) if self._straight is not None else "float")
        super().__init__(body, found, None, count, name)
        self.__doc__, self.__module__, self.__wrapped__ = function.__doc__, function.__module__, function
        given = inspect.signature(function).parameters
        self.defaults = {
            p: given[n].default
            for p, n in zip(self.params, self.names)
            if given[n].default is not inspect.Parameter.empty
        }
        self.grad_body = None if found == "bool" or self._straight is None else derivative(self._straight, self.name)

    def derived(self, body: Any, name: str, component: int | None, uses: tuple[str, ...]) -> Elementwise:
        """The elementwise op of a component of the gradient."""
        return Elementwise(body, name=name, component=component, uses=uses)

    def bind(self, args: tuple, kwargs: dict) -> tuple:
        """Arguments in order; keywords are the function's own parameter names."""
        inside = dict(zip(self.names, self.params))
        return super().bind(args, {inside.get(k, k): v for k, v in kwargs.items()})

    def __call__(self, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        if self.grad_body is None and self.result != "bool" and self._why is not None:
            from ..autograd.mode import state

            if state.grad and any(getattr(a, "_rg", False) for a in args):
                raise RuntimeError(f"{self.name}: no derivative: {self._why}")
        return super().__call__(*args, out=out, **kwargs)

    def grad(self, body: Callable) -> Callable:
        """Decorator: the derivative by hand, a scalar function of ``g``, the parameters and the result ``y`` (those that it
        uses, by name) that returns one value per parameter. Raises TypeError for another number of values."""
        read = body_of(body)
        clash = [n for n in self.names if n in ("g", "y")]
        if clash:
            raise TypeError(
                f"{self.name}: parameter {clash[0]!r} has the name that a derivative gives to the"
                f" {'incoming gradient' if clash[0] == 'g' else 'result'}; rename it"
            )
        known = {"g", "y", *self.names} | {f"{n}{i}" for i in range(self.count) for n in "gy"}
        unknown = [n for n in read.params if n not in known]
        if unknown:
            raise TypeError(
                f"{self.name}.grad: unknown parameter {unknown[0]!r}; a derivative takes g, y and {', '.join(self.names)}"
            )
        if read.components != len(self.names):
            raise TypeError(
                f"{self.name}.grad: returns {read.components} value(s), expected {len(self.names)}: one for each of"
                f" {', '.join(self.names)} (0.0 where there is none)"
            )
        self._grads.clear()
        self._saves.clear()
        self.grad_body = body
        return body

    def sources(self) -> list[Callable]:
        """The function, and a derivative by hand."""
        made = self._straight is None or getattr(self.grad_body, "__module__", None) == self.function.__module__
        return [self.function, self.grad_body] if made and self.grad_body is not None else [self.function]

    def part(self, role: str) -> Any:
        """The op itself."""
        return None if role else self

    def __reduce__(self) -> Any:
        return self.__name__  # by its name in its module, as functions are

    @property
    def derivative(self) -> str:
        """The source of the gradient body."""
        return inspect.getsource(self.grad_body) if self.grad_body is not None else "(none)"

    def __repr__(self) -> str:
        return f"<elementwise {self.name}({', '.join(self.names)})>"


def _renamed(function: Callable, taken: dict[str, str]) -> Body:
    """The function's body with its parameters under other names."""
    read = body_of(function)
    node = copy.deepcopy(read.node)
    for n in ast.walk(node):
        if isinstance(n, ast.arg) and n.arg in taken:
            n.arg = taken[n.arg]
        if isinstance(n, ast.Name) and n.id in taken:
            n.id = taken[n.id]
    return Body(read.fn, node, read._shift)


def _result(code: Straight) -> str:
    """ "bool" for a condition, "same" for what whole numbers can compute, else "float"."""
    if all(code.is_condition(r) for r in code.results):
        return "bool"
    numbers = [a for line in code.lines for a in (*line.args, *code.results)]
    if any(isinstance(a, float) for a in numbers) or any(line.op in ("/", "**") for line in code.lines):
        return "float"
    calls = {line.function.name for line in code.lines if line.op == "call"}
    return "same" if calls <= _WHOLE else "float"


def elementwise(function: Callable | None = None, *, result: str | None = None, name: str | None = None) -> Any:
    """Make an op of a scalar Python function: differentiable to any order, broadcasting, compiled for CPU and GPU, fused in
    traces.

    The function takes numbers and returns a number (or a tuple of them); it may use arithmetic, conditions, ``if``, loops
    over constant ranges, ``math.*``, NumPy's ufuncs, numtorch's elementwise ops and other such functions. The derivative
    is derived from its source; ``@op.grad`` gives one by hand, as for a loop without known end.
    ``breakpoint()`` in it stops inside ``numtorch.interpret()``; compiled code has none.

    ``result``: "same" (dtype of the operands), "float" (integers become the default float) or "bool"; by default what the
    function's source tells. Raises TypeError, with the line, for what no kernel can hold.

    Example:
        >>> import math
        >>> @torch.elementwise
        ... def bump(x, width):
        ...     return math.exp(-1.0 / (1.0 - (x / width) ** 2)) if abs(x) < width else 0.0
        >>> x = torch.tensor([0.5, 3.0], requires_grad=True)
        >>> bump(x, 2.0).sum().backward()
        >>> x.grad
        tensor([-0.0979,  0.0000])
    """

    def make(fn: Callable) -> UserElementwise:
        fn = getattr(fn, "py_func", fn)  # of a function that @njit decorated
        if not callable(fn) or isinstance(fn, type):
            raise TypeError(f"elementwise: expected a function of numbers, got {type(fn).__name__}; decorate a def")
        op = UserElementwise(fn, result, name)
        op.remember(fn.__module__, op.name)
        return op

    return make if function is None else make(function)


__all__ = ["UserElementwise", "elementwise"]
