"""The gradient of an elementwise op: a second scalar body, run as one fused kernel, or on tensors to be differentiated again."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from ..autograd.mode import state
from .declare import OpNode, Saved, attach, camel
from .pickling import reduce_op

_ONE = [None]


class Unneeded:
    """Stands for a value that no needed component reads: any arithmetic on it gives itself."""

    def _same(self, *args: Any, **kwargs: Any) -> Any:
        return self

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _same
    __pow__ = __rpow__ = __neg__ = __lt__ = __gt__ = __le__ = __ge__ = __eq__ = __ne__ = _same  # type: ignore[assignment]
    __hash__ = object.__hash__


NotNeeded = Unneeded()


def _zeros(la: Any) -> Any:
    from ..creation import zeros

    return zeros(la.shape, dtype=la.dtype, device=la.device)


def _full(la: Any, value: float) -> Any:
    from ..creation import full

    return full(la.shape, value, dtype=la.dtype, device=la.device)


class Differentiable:
    """What an elementwise op does for autograd."""

    name: str
    body: Callable
    params: tuple[str, ...]
    count: int
    grad_body: Callable | None
    lifts_numbers = False  # the derivative's body calls ops that take no numbers on operands that may be some
    parent: tuple[Any, int] | None = None  # of a derivative: the op, and which of its operands it is for
    _grads: dict[int, Any]
    _saves: dict[tuple, Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the op."""
        raise TypeError(f"{self.name} is a declaration")

    def derived(self, body: Any, name: str, component: int | None, uses: tuple[str, ...]) -> Any:
        """The elementwise op of a component of a gradient's body."""
        raise TypeError(f"{self.name} is a declaration")

    def __reduce__(self) -> tuple:
        return reduce_op(self, self.body)

    def __deepcopy__(self, memo: dict) -> Any:
        return self

    def _record_node(self, args: Sequence[Any], outputs: Sequence[Any]) -> None:
        node = self._make_node(args)
        self._save_outputs(node, outputs)
        attach(node, outputs)

    def _make_node(self, args: Sequence[Any]) -> OpNode:
        node = OpNode(
            self,
            [a if hasattr(a, "_layout") else None for a in args],
            _ONE if self.count == 1 else [None] * self.count,
            None,
        )
        node.last_is_tensor = hasattr(args[-1], "_layout")  # tells overloads apart
        mask = tuple([e is not None for e in node.edges])
        found = self._saves.get(mask)
        if found is None:
            found = self._saves[mask] = self._what_to_save(mask)
        node.attrs = found[1]
        saved: dict[str, Any] = {}
        for n, i in found[0]:
            a = args[i]
            saved[n] = Saved(a) if hasattr(a, "_layout") else a
        node.saved = saved
        return node

    def _what_to_save(self, mask: tuple[bool, ...]) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
        """Names and places of the arguments, and of the outputs, that the wanted derivatives read."""
        needed = {n for k, wanted in enumerate(mask) if wanted for n in self.grad_uses(k)}
        outputs = ["y"] if self.count == 1 else [f"y{i}" for i in range(self.count)]
        return (
            [(n, i) for i, n in enumerate(self.params) if n in needed],
            [(n, i) for i, n in enumerate(outputs) if n in needed],
        )

    def _save_outputs(self, node: OpNode, outputs: Sequence[Any]) -> None:
        for n, i in node.attrs:
            node.saved[n] = Saved(outputs[i], i)

    def grad_uses(self, k: int) -> tuple[str, ...]:
        """Which names the derivative for parameter ``k`` reads."""
        op = self._grads.get(k)
        if op is None:
            op = self._grads[k] = self._derive(k)
        return op.params if isinstance(op, Differentiable) else ()

    def _derive(self, k: int) -> Any:
        from ..kernels.codegen import body_of

        assert self.grad_body is not None
        body = body_of(self.grad_body)
        component = k if body.components > 1 else None
        trivial = body.trivial(component)
        if trivial is not None:
            return trivial
        made = self.derived(self.grad_body, f"{self.name}_grad", component, body.uses(component))
        made.parent = self, k
        return made

    def run_backward(self, node: OpNode, grads: list[Any]) -> Sequence[Any]:
        """Gradients of the inputs: one fused kernel each, or ops on tensors when they are differentiated again."""
        given: dict[str, Any] = (
            {"g": grads[0]} if self.count == 1 else {f"g{i}": g for i, g in enumerate(grads)}
        )
        if self.count > 1:
            given = {n: g if g is not None else _zeros(node.out_metas[int(n[1:])]) for n, g in given.items()}
        if state.grad:
            return self._differentiable_backward(node, given)
        results: list[Any] = []
        for k, edge in enumerate(node.edges):
            if edge is None:
                results.append(None)
                continue
            self.grad_uses(k)
            op = self._grads[k]
            if op == "g":
                results.append(given["g"])
            elif isinstance(op, Differentiable):
                results.append(op(*[given[n] if n in given else node.tensor(n) for n in op.params]))
            else:
                results.append(_zeros(node.metas[k]))
        return results

    def _differentiable_backward(self, node: OpNode, given: dict[str, Any]) -> Sequence[Any]:
        wanted = tuple(inspect.signature(self.grad_body).parameters)  # type: ignore[arg-type]
        values = [given[n] if n in given else node.tensor(n) if n in node.saved else None for n in wanted]
        values = [NotNeeded if v is None else v for v in values]
        if self.lifts_numbers:
            values = [_full(node.out_metas[0], v) if type(v) in (int, float) else v for v in values]
        result = self.grad_body(*values)  # type: ignore[misc]
        if not isinstance(result, tuple):
            result = (result,)
        out: list[Any] = []
        for k, edge in enumerate(node.edges):
            r = result[k] if edge is not None else None
            out.append(r if r is None or hasattr(r, "_layout") else _full(node.metas[k], r))
        return out

    @property
    def backward_name(self) -> str:
        return f"{camel(self.name)}Backward0"
