"""``@numtorch.reduction``: a fold of your own along dimensions, from scalar functions.

The fold runs as a tree of fused elementwise kernels: four equal parts of the dimension are folded into one, then four states
into one, until one is left. So it needs no kernel of its own, runs on both devices, is traced, has a fixed order that
no number of threads changes, and its derivative is that of the scalar functions. About 1.7 times the bytes of a single pass.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from .._tensor import Tensor
from ..kernels.bodies import body_of
from ..ops import view
from ..ops.joining import cat
from .differentiate import Text, derivative, literal, plain
from .elementwise import UserElementwise
from .folding import by_hand, sum_of_parts
from .known import Own
from .straight import straighten

WAYS = 4  # how many parts one kernel folds into one


class UserReduction(Own):
    """A reduction made by ``numtorch.reduction``; call it as ``op(x, dim=None, keepdim=False)``."""

    def __init__(self, step: Callable, init: Sequence[float], combine: Callable, finish: Callable | None):
        self.__name__ = self.name = step.__name__
        self.__doc__, self.__module__ = step.__doc__, step.__module__
        self.function, self.combiner = step, combine
        self.init, self.step, self.combine, self.finish = tuple(init), step, combine, finish
        self._check()
        self.step, self.combine = plain(self.step), plain(self.combine)
        self._folds: dict[tuple[str, int], UserElementwise] = {}
        self._finish = None if finish is None else self._owned(UserElementwise(finish, None, f"{self.name}_finish"), "finish")
        self._counted = finish is not None and len(body_of(finish).params) == len(self.init) + 1
        self._grad: UserElementwise | None = None
        self.slope = self._slope()  # of a plain sum: g times the derivative of one element's part

    def _check(self) -> None:
        count = len(self.init)
        for what, fn, takes, gives in (
            ("step", self.step, (count + 1,), count),
            ("combine", self.combine, (2 * count,), count),
            ("finish", self.finish, (count, count + 1), 1),
        ):
            if fn is None:
                continue
            code = straighten(fn)
            if len(code.params) not in takes or len(code.results) != gives:
                wanted = {"step": "(state..., x) -> state", "combine": "(state..., state...) -> state", "finish": "(state...[, n]) -> number"}
                raise TypeError(
                    f"reduction {self.name}: {what} takes {len(code.params)} and returns {len(code.results)} value(s), expected"
                    f" {' or '.join(map(str, takes))} and {gives} for a state of {count}: {wanted[what]}"
                )
        if self.finish is None and count != 1:
            raise TypeError(f"reduction {self.name}: a state of {count} values needs finish=, which makes one number of it")

    def _slope(self) -> UserElementwise | None:
        """If the state is a plain sum of a function of x, that function's derivative times ``g``."""
        a, *rest = body_of(self.combine).params
        if len(self.init) != 1 or body_of(self.combine).formula not in (f"{a} + {rest[0]}", f"{rest[0]} + {a}"):
            return None
        both = derivative(straighten(self.step), self.name)
        if body_of(both).trivial(0) != "g":
            return None
        text = Text()
        name = text.function(both, "derivative")
        text.add("unused, r", f"{name}(g_in, 0.0, x)", ("g_in", "x"))
        rule = text.compile(f"{self.name}_slope", ("g_in", "x"), ("r",), f"Derivative of {self.name}.")
        return self._owned(UserElementwise(rule, "float", f"{self.name}_slope"), "slope")

    # -- the derivative by hand

    def grad(self, body: Callable) -> Callable:
        """Decorator: the derivative by hand, ``(g, x, y)`` (those that it uses) for one element x of what gave y."""
        read = body_of(body)
        unknown = [n for n in read.params if n not in ("g", "x", "y")]
        if unknown or read.components != 1:
            raise TypeError(
                f"{self.name}.grad: expected a function of g, x and y that returns one value, got ({', '.join(read.params)})"
                f" and {read.components}; rename or split it"
            )
        text = Text()
        name = text.function(body, "rule")
        text.add("r", f"{name}({', '.join({'g': 'g_in', 'x': 'x', 'y': 'result'}[p] for p in read.params)})", ("g_in", "x", "result"))
        rule = text.compile(f"{self.name}_grad", ("g_in", "x", "result"), ("r",), f"Derivative of {self.name}.")
        self._grad = self._owned(UserElementwise(rule, None, f"{self.name}_grad"), "grad")
        return body

    # -- calls

    def __call__(self, x: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
        if not isinstance(x, Tensor):
            raise TypeError(f"{self.name}(): argument 'x' must be Tensor, not {type(x).__name__}; use numtorch.tensor(...)")
        from ..dtype import get_default_dtype
        from ..shape import wrap_dim

        if not x.is_floating_point():
            x = x.to(get_default_dtype())
        dims = range(x.dim()) if dim is None else [dim] if isinstance(dim, int) else dim
        wrapped = sorted({wrap_dim(d, x.dim()) for d in dims})
        if x.requires_grad and self._grad is not None:
            return by_hand(self, x, tuple(wrapped), keepdim)
        return self.run(x, tuple(wrapped), keepdim)

    def run(self, x: Tensor, dims: tuple[int, ...], keepdim: bool) -> Tensor:
        """The fold along ``dims``, by ops."""
        kept = [d for d in range(x.dim()) if d not in dims]
        count = 1
        for d in dims:
            count *= x.shape[d]
        flat = view.permute(x, (*kept, *dims)) if list(range(x.dim())) != [*kept, *dims] else x
        rows = view.reshape(flat, (*[x.shape[d] for d in kept], count))
        states = [sum_of_parts(self, rows)] if self.slope is not None and rows.requires_grad else self.fold(rows)
        if self._finish is not None:
            result = self._finish(*states, float(count)) if self._counted else self._finish(*states)
        else:
            result = states[0]
        shape = [1 if d in dims else n for d, n in enumerate(x.shape)] if keepdim else [x.shape[d] for d in kept]
        return view.reshape(result, tuple(shape))

    def fold(self, rows: Tensor) -> list[Tensor]:
        """The states, with the last dimension folded to one."""
        from ..creation import full

        count = rows.shape[-1]
        if count == 0:
            shape = (*rows.shape[:-1], 1)
            return [full(shape, v, dtype=rows.dtype, device=rows.device) for v in self.init]
        states, kind = [rows], "step"
        while count > 1 or kind == "step":
            ways = min(WAYS, count)
            each = count // ways
            parts = [view.narrow(s, -1, k * each, each) for k in range(ways) for s in states]
            made = _tuple(self._op(kind, ways)(*parts))
            rest = count - ways * each
            if rest:  # fewer than `ways` elements: they wait for the next round
                ends = [view.narrow(s, -1, ways * each, rest) for s in states]
                tail = _tuple(self._op("step", 1)(*ends)) if kind == "step" else ends
                made = [cat([m, t], -1) for m, t in zip(made, tail)]
            states, count, kind = list(made), each + rest, "combine"
        return states

    def _op(self, kind: str, ways: int) -> UserElementwise:
        """The elementwise op that folds ``ways`` elements (kind "step") or states ("combine") into one state."""
        found = self._folds.get((kind, ways))
        if found is None:
            text = Text()
            states = [f"s{i}" for i in range(len(self.init))]
            name = text.function(self.step if kind == "step" else self.combine, kind)
            inputs: list[str] = []
            if kind == "step":
                for s, v in zip(states, self.init):
                    text.add(s, literal(float(v)), ())
            for k in range(ways):
                given = [f"x{k}"] if kind == "step" else [f"x{k}_{i}" for i in range(len(states))]
                inputs += given
                if kind == "combine" and k == 0:
                    for s, a in zip(states, given):
                        text.add(s, a, (a,))
                    continue
                text.lines.append((", ".join(states), f"{name}({', '.join([*states, *given])})", {*states, *given}))
            body = text.compile(f"{self.name}_{kind}{ways}", inputs, states, f"{ways} parts of {self.name} into one.")
            made = UserElementwise(body, "float", f"{self.name}_{kind}{ways}")
            found = self._folds[kind, ways] = self._owned(made, f"{kind}{ways}")
        return found

    # -- in files

    def sources(self) -> list[Callable]:
        """The scalar functions."""
        return [f for f in (self.function, self.combiner, self.finish) if f is not None]

    def part(self, role: str) -> Any:
        """The op that folds, finishes or differentiates."""
        if role in ("finish", "slope", "grad"):
            return {"finish": self._finish, "slope": self.slope, "grad": self._grad}[role]
        kind, ways = role[:-1], role[-1:]
        return self._op(kind, int(ways)) if kind in ("step", "combine") and ways.isdecimal() and 0 < int(ways) <= WAYS else None

    def _owned(self, op: Any, role: str) -> UserElementwise:
        op.owner = self, role
        return op

    def __reduce__(self) -> Any:
        return self.__name__

    def __repr__(self) -> str:
        return f"<reduction {self.name}, state of {len(self.init)}>"


def _tuple(x: Any) -> Sequence[Any]:
    return x if isinstance(x, tuple) else (x,)


def reduction(
    *, init: float | Sequence[float], combine: Callable, finish: Callable | None = None
) -> Callable[[Callable], UserReduction]:
    """Make a reduction of a scalar function ``step(state, x) -> state``, called once for each element.

    ``init``: the state of no elements (a number, or several: then every function takes and returns as many);
    ``combine(state, state)``: one state of two, associative and commutative; ``finish(state)`` or ``finish(state, n)``: the
    result of a state (default: the state itself). Functions are written as for ``numtorch.elementwise``; the derivative follows
    from them, or is given by ``@op.grad`` as a function of ``g``, ``x`` and the result ``y``. The op is called as
    ``op(x, dim=None, keepdim=False)``. Raises TypeError for functions whose arguments don't fit together.

    Example:
        >>> import math
        >>> @torch.reduction(init=0.0, combine=lambda a, b: a + b, finish=lambda a, n: math.sqrt(a / n))
        ... def root_mean_square(a, x):
        ...     return a + x * x
        >>> root_mean_square(torch.tensor([[3.0, 4.0], [6.0, 8.0]]), dim=1)
        tensor([3.5355, 7.0711])
    """
    start = (init,) if isinstance(init, (int, float)) else tuple(init)
    if not callable(combine):
        raise TypeError(f"reduction: combine must be a function of two states, got {type(combine).__name__}")

    def make(step: Callable) -> UserReduction:
        if not inspect.isfunction(step):
            raise TypeError(f"reduction: expected a function step(state, x), got {type(step).__name__}; decorate a def")
        op = UserReduction(step, start, combine, finish)
        op.remember(step.__module__, op.name)
        return op

    return make
