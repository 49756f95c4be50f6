"""The short way of elementwise ops: from the operands' layouts straight to one native call, and as short a way back.

Ops look their ways (``ways.py``) up before anything else, as long as nobody watches (a recorder, anomaly checks, hooks
on saved tensors, inference mode); everything else goes through the op.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from ..autograd.engine import Node, edge_of, next_seq
from ..autograd.mode import state, watchers
from ..errors import saved_version_error, second_backward_error
from ..storage import Storage
from . import launch as launching
from . import ways
from .declare import TABLE, Saved
from .ways import Saves, Way, key_of

_new = object.__new__


class QuickNode(Node):
    """The node of an elementwise op that took the short way.

    ``kept``: the operands that the gradients read, the result's memory last (not the result: no cycle), with the versions
    of their memory; None when the graph was freed.
    """

    __slots__ = ("kept", "spec", "versions")

    @property
    def op(self) -> Any:
        """The op."""
        return self.spec.way.op

    @property
    def title(self) -> str:  # type: ignore[override]
        from .node_names import of_op

        return self.alias or of_op(self)

    @property
    def freed(self) -> bool:
        """Whether a backward pass has released what was kept."""
        return self.kept is None

    @property
    def saved(self) -> dict[str, int]:
        """The names of what is kept."""
        return self.spec.names

    def release(self) -> None:
        self.kept = None

    def tensor(self, name: str) -> Any:
        """A kept operand, or the result; RuntimeError when freed or changed since."""
        if self.kept is None:
            raise second_backward_error(self)
        i = self.spec.names[name]
        found = self.kept[i]
        if type(found) is Storage:
            found = _tensor(found, self.out_metas[0])
            if state.grad:
                found._set_history(self, 0)
        if hasattr(found, "_layout") and found._storage.version != self.versions[i]:
            raise saved_version_error(found, self.versions[i], self)
        return found

    def run(self, grads: list[Any]) -> Any:
        spec = self.spec
        kept = self.kept
        if kept is None:
            raise second_backward_error(self)
        if watchers or state.grad:
            return spec.way.op.run_backward(self, grads)
        g = grads[0]
        back = spec.backs.get(g._layout)
        if back is None:
            return self._first(g)
        versions = self.versions
        for i in spec.checked:
            if kept[i]._storage.version != versions[i]:
                raise saved_version_error(kept[i], versions[i], self)
        if spec.out and kept[-1].version != versions[-1]:
            raise saved_version_error(_tensor(kept[-1], self.out_metas[0]), versions[-1], self)
        values = (*kept, g)
        results: list[Any] = []
        for action in back:
            if action is None:
                results.append(None)
            elif action == "g":
                results.append(g)
            else:
                way, operands = action
                results.append(
                    ways.make(way.recipe, *operands(values)) if way.small else way.run(*operands(values))
                )
        return results

    def _first(self, g: Any) -> Any:
        """Run the op's backward as it is, then find the short way of the gradients for the next time."""
        spec = self.spec
        op = spec.way.op
        results = op.run_backward(self, [g])
        n = len(self.edges)
        places = {**spec.names, "g": n + 1}
        back: list[Any] = []
        for k, edge in enumerate(self.edges):
            gradient = op._grads[k] if edge is not None else None
            if edge is None or gradient == "g":
                back.append(gradient)
                continue
            if not hasattr(gradient, "_ways"):
                return results
            args = [g if name == "g" else self.tensor(name) for name in gradient.params]
            way = gradient._ways.get(key_of(args))
            if way is None:
                return results
            where = [places[name] for name in gradient.params]
            back.append((way, itemgetter(*where) if len(where) > 1 else _one(where[0])))
        spec.backs[g._layout] = tuple(back)
        return results


def _one(i: int) -> Callable:
    return lambda values: (values[i],)


def _tensor(storage: Storage, la: Any) -> Any:
    from .._tensor import Tensor

    return Tensor._make(storage, 0, la)


def record(way: Way, args: Sequence[Any], out: Any) -> None:
    """Give a result its history."""
    op = way.op
    if op.grad_body is None:
        return
    edges: list[Any] = []
    for a in args:
        if not hasattr(a, "_layout") or not a._rg:
            edges.append(None)
        elif a._base is None:
            node = a._node
            edges.append(a if node is None else (node, a._nr))
        else:
            edges.append(edge_of(a))
    mask = tuple([e is not None for e in edges])
    spec = way.saves.get(mask)
    if spec is None:
        spec = way.saves[mask] = Saves(way, mask)
    node: Any = _new(QuickNode)
    node.edges, node.metas, node.out_metas = edges, way.metas, way.out_metas
    node.seq = next_seq()
    node.spec = spec
    memory = out._storage if spec.out else None
    node.kept = (*[a if kept else None for a, kept in zip(args, spec.which)], memory)
    versions = [0] * (len(args) + 1)  # the result's memory is new: version 0
    for i in spec.checked:
        versions[i] = version = args[i]._storage.version
        if version < 0:
            Saved(args[i])  # raises for memory of inference mode
    node.versions = versions
    out._node, out._rg = node, True


def record_two(way: Way, a: Any, b: Any, out: Any) -> None:
    """``record`` for two tensors."""
    first = second = None
    if a._rg:
        node = a._node
        first = edge_of(a) if a._base is not None else a if node is None else (node, a._nr)
    if b._rg:
        node = b._node
        second = edge_of(b) if b._base is not None else b if node is None else (node, b._nr)
    mask = (first is not None, second is not None)
    spec = way.saves.get(mask)
    if spec is None:
        spec = way.saves[mask] = Saves(way, mask)
    keep_a, keep_b = spec.which
    node: Any = _new(QuickNode)
    node.edges, node.metas, node.out_metas = (first, second), way.metas, way.out_metas
    node.seq = next_seq()
    node.spec = spec
    node.kept = (a if keep_a else None, b if keep_b else None, out._storage if spec.out else None)
    version_a = a._storage.version if keep_a else 0
    version_b = b._storage.version if keep_b else 0
    if version_a < 0 or version_b < 0:
        Saved(a if version_a < 0 else b)  # raises for memory of inference mode
    node.versions = (version_a, version_b, 0)
    out._node, out._rg = node, True


def record_one(way: Way, a: Any, out: Any) -> None:
    """``record`` for one tensor."""
    node = a._node
    edge = edge_of(a) if a._base is not None else a if node is None else (node, a._nr)
    mask = (edge is not None,)
    spec = way.saves.get(mask)
    if spec is None:
        spec = way.saves[mask] = Saves(way, mask)
    node: Any = _new(QuickNode)
    node.edges, node.metas, node.out_metas = (edge,), way.metas, way.out_metas
    node.seq = next_seq()
    node.spec = spec
    if spec.which[0]:
        node.kept, node.versions = (a, None), (a._storage.version, 0)
        if node.versions[0] < 0:
            Saved(a)  # raises for memory of inference mode
        if spec.out:
            node.kept = (a, out._storage)
    else:
        node.kept, node.versions = (None, out._storage if spec.out else None), (0, 0)
    out._node, out._rg = node, True


def binary(op: Any, slow: Callable) -> Callable:
    """An arithmetic operator of tensors: the short way for floating tensors, else through the op, and through ``slow``
    (the signature's checks) for other dtypes and operands.
    """
    from .._tensor import Tensor

    known = op._ways

    def method(self: Any, other: Any) -> Any:
        kind = type(other)
        if not watchers:
            way = known.get((self._layout, other._layout if kind is Tensor else kind))
            if way is not None and way.direct:
                out = ways.make(way.recipe, self, other) if way.small else way.run(self, other)
                if kind is Tensor:
                    if (self._rg or other._rg) and state.grad:
                        record_two(way, self, other, out)
                elif self._rg and state.grad:
                    record(way, (self, other), out)
                return out
        if kind is not float and kind is not int and not isinstance(other, Tensor):
            return slow(self, other)
        if self._layout.dtype.category == 2:
            return op(self, other)
        return slow(self, other)

    return method


def unary(op: Any) -> Callable:
    """A method for an op of one tensor (and perhaps options): the short way, else through the op."""
    known = op._ways
    plain = len(op.params) == 1

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if plain and not watchers and not args and not kwargs:
            way = known.get((self._layout,))
            if way is not None:
                out = ways.make(way.recipe, self) if way.small else way.run(self)
                if self._rg and op.grad_body is not None and state.grad:
                    record_one(way, self, out)
                return out
        return op(self, *args, **kwargs)

    return method


_into_plans: dict[tuple, tuple] = {}


def add_into(held: Any, other: Any) -> None:
    """``held += other`` on gradients: no history, the short way where it is known."""
    if not watchers:
        found = _into_plans.get((held._layout, other._layout))
        if found is not None:
            address, words, chunks = found
            launching._launch(address, chunks, held._address(), held._address(), other._address(), *words)
            held._storage.version += 1
            return
    held.add_(other)
    plan = TABLE["add"]._plans.get(("in", held._layout, other._layout))
    if plan is not None and plan.address:
        _into_plans[held._layout, other._layout] = (plan.address, plan.words, plan.chunks)
