"""The recorded graph and the reverse pass.

Every operation on a tensor that requires grad leaves a ``Node``. An edge points from a node to where a gradient goes
next: ``(node, output number)``, a leaf ``Tensor``, or None. The pass runs nodes in the reverse order of their creation
(by ``seq``, a counter), so gradients accumulate in a fixed order, and it walks with lists, so a chain may be as long as
memory allows.
"""

from __future__ import annotations

import heapq
import itertools
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..shape import Layout
from .hooks import call_hooks, call_post_hooks, call_pre_hooks
from .mode import state, uncast, watchers

if TYPE_CHECKING:
    from .._tensor import Tensor

_counter = itertools.count()
next_seq = _counter.__next__
Grads = Sequence[Any]


class Node:
    """One recorded operation: where its inputs' gradients go, and how to compute them.

    Subclasses define ``run(grads)``: gradients of the outputs (None where nothing arrived) to those of the inputs.
    """

    title, alias = "Node", ""  # the alias is given by ops/node_names.py
    __slots__ = ("__dict__", "__weakref__", "edges", "metas", "out_metas", "seq")
    # The rest is rarely set: defaults on the class.
    hooks: Any = None  # called with (input gradients, output gradients) after run
    pre_hooks: Any = None  # output number -> hooks of the tensor, or -1: hooks on all output grads
    captures: Any = None  # output number -> weak reference of a tensor that retains its grad
    trace_back: Any = None
    module: Any = None

    def __init__(self, inputs: Sequence[Any], outputs: int = 1):
        edges: list[Any] = []
        metas: list[Any] = []
        for x in inputs:
            if x is None or not x._rg:
                edges.append(None)
                metas.append(None)
                continue
            if x._base is None:
                node = x._node
                edges.append(x if node is None else (node, x._nr))
            else:
                edges.append(edge_of(x))
            metas.append(x._layout)
        self.edges = edges
        self.metas = metas
        self.out_metas: list[Any] = [None] * outputs
        self.seq = next_seq()
        if state.watched and state.anomaly is not None:
            state.anomaly.on_create(self)

    def name(self) -> str:
        """The node's name, as PyTorch shows it."""
        return self.title

    @property
    def metadata(self) -> dict:
        """A dict for notes of one's own about this node."""
        return self.__dict__.setdefault("_metadata", {})

    def run(self, grads: list[Any]) -> Grads:
        """Gradients of the inputs from those of the outputs."""
        raise NotImplementedError(f"{self.title} has no backward")

    def release(self) -> None:
        """Drop what was saved for the backward."""

    def __repr__(self) -> str:
        return f"<{self.title} object at {id(self):#x}>"

    @property
    def next_functions(self) -> tuple:
        """Pairs (node, output number) of the inputs, as in PyTorch."""
        return tuple(_public_edge(e) for e in self.edges)

    def register_hook(self, hook: Callable) -> Any:
        """Call ``hook(grad_inputs, grad_outputs)`` after this node has run; it may return other grad_inputs."""
        from .hooks import register

        if self.hooks is None:
            self.hooks = {}
        return register(self.hooks, hook)

    def register_prehook(self, hook: Callable) -> Any:
        """Call ``hook(grad_outputs)`` before this node runs; it may return other grad_outputs."""
        from .hooks import register

        if self.pre_hooks is None:
            self.pre_hooks = {}
        return register(self.pre_hooks.setdefault(-1, {}), hook)


class AccumulateGrad:
    """What ``grad_fn.next_functions`` shows where a gradient ends in a leaf: ``variable``."""

    __slots__ = ("variable",)

    def __init__(self, variable: Tensor):
        self.variable = variable

    @property
    def next_functions(self) -> tuple:
        return ()

    def name(self) -> str:
        return "torch::autograd::AccumulateGrad"

    def __repr__(self) -> str:
        return f"<AccumulateGrad object at {id(self.variable):#x}>"


def _public_edge(edge: Any) -> tuple[Any, int]:
    if edge is None:
        return (None, 0)
    return edge if type(edge) is tuple else (AccumulateGrad(edge), 0)


def edge_of(x: Any) -> Any:
    """Where a gradient of ``x`` goes: (node, number), the leaf itself, or None if it needs none."""
    if x is None or not getattr(x, "_rg", False):
        return None
    node = x._grad_fn()
    if node is None:
        return None if x._lent else x
    return node, x._nr


def backward(
    tensors: Sequence[Tensor], grads: Sequence[Any], retain_graph: bool, create_graph: bool,
    inputs: Sequence[Tensor] | None = None, accumulate: bool = True,
) -> list[Any]:  # fmt: skip
    """Run the reverse pass from ``tensors`` with their gradients.

    With ``inputs``, only the nodes that lead to them run; ``accumulate`` then tells whether their ``.grad`` is added to or
    the gradients are returned.
    """
    if state.autocast is not None:  # gradients are of the dtypes that the forward chose
        with uncast():
            return backward(tensors, grads, retain_graph, create_graph, inputs, accumulate)
    roots = [(edge_of(t), g) for t, g in zip(tensors, grads)]
    targets = None if inputs is None else {_key(edge_of(t), t): i for i, t in enumerate(inputs)}
    run = _Pass(retain_graph, create_graph, targets, len(inputs or ()))
    before, state.grad = state.grad, create_graph
    try:
        run.start(roots)
        run.loop()
        run.finish()
    finally:
        state.grad = before
    if inputs is None:
        return []
    if accumulate:
        for t, g in zip(inputs, run.results):
            if g is not None:
                _accumulate(t, g, create_graph)
                call_post_hooks(t)
    return run.results


def _key(edge: Any, tensor: Any) -> Any:
    return (id(edge[0]), edge[1]) if type(edge) is tuple else id(tensor)


class _Pass:
    """State of one reverse pass.

    An edge always leads to an older node (a node is made after its inputs' nodes, and where an in-place change gives a node
    new edges, they lead to older ones as well). So of all nodes that have got a gradient, the youngest has got all of
    its gradients: nothing has to be counted beforehand.
    """

    def __init__(self, retain: bool, create: bool, targets: dict | None, count: int):
        self.retain, self.create, self.targets = retain, create, targets
        self.results: list[Any] = [None] * count
        self.buffers: dict[Node, list[Any]] = {}  # node -> gradients of its outputs so far
        self.ready: list[tuple[int, Node]] = []  # heap of the nodes in buffers, the youngest first
        self.needed: set[Node] | None = None
        self.hooked: dict[int, tuple[Any, Any]] = {}  # leaves with hooks and their gradients so far

    def start(self, roots: list) -> None:
        if self.targets is not None:
            self._restrict([e[0] for e, _ in roots if type(e) is tuple])
        for edge, grad in roots:
            if type(edge) is tuple:
                self._add(edge[0], edge[1], grad)
            elif edge is not None:
                self._leaf(edge, grad, False)

    def _add(self, node: Node, number: int, grad: Any) -> None:
        buffer = self.buffers.get(node)
        if buffer is None:
            self.buffers[node] = buffer = [None] * len(node.out_metas)
            heapq.heappush(self.ready, (-node.seq, node))
        held = buffer[number]
        buffer[number] = grad if held is None else held + grad

    def _restrict(self, nodes: list[Node]) -> None:
        """Find the nodes from which a target can be reached: nodes of lower seq come first."""
        targets, needed = self.targets or {}, set()
        target_nodes = {k[0] for k in targets if type(k) is tuple}
        seen, stack = set(nodes), list(nodes)
        while stack:
            for edge in stack.pop().edges:
                if type(edge) is tuple and edge[0] not in seen:
                    seen.add(edge[0])
                    stack.append(edge[0])
        for node in sorted(seen, key=lambda n: n.seq):
            for edge in node.edges:
                if type(edge) is tuple:
                    if edge[0] in needed or id(edge[0]) in target_nodes:
                        needed.add(node)
                        break
                elif edge is not None and id(edge) in targets:
                    needed.add(node)
                    break
        self.needed = needed

    def loop(self) -> None:
        """Run nodes, the youngest first. In a chain the next node and its gradients stay in two variables."""
        ready, retain = self.ready, self.retain
        node: Any = None
        grads: Any = None
        while True:
            if node is None:
                if not ready:
                    return
                node = heapq.heappop(ready)[1]
                grads = self.buffers.pop(node)
            elif ready and -ready[0][0] > node.seq:
                self.buffers[node] = grads
                node = heapq.heappushpop(ready, (-node.seq, node))[1]
                grads = self.buffers.pop(node)
            if node.pre_hooks is not None:
                grads = call_pre_hooks(node, grads)
                if grads.count(None) == len(grads):
                    node = grads = None
                    continue
            if node.captures is not None:
                _fill_retained(node, grads, self.create)
            if self.targets is not None:
                self._take_targets(node, grads)
                if node not in self.needed:  # type: ignore[operator]
                    node = grads = None
                    continue
            if watchers and state.anomaly is not None:
                results = state.anomaly.run_backward(node, grads)
            else:
                results = node.run(grads)
            if node.hooks:
                results = call_hooks(node, results, grads)
            if not retain:
                node.release()
            grads = None
            results = list(results)  # ours alone, so that a gradient may be handed over to a leaf
            node, grads = self._pass_on(node, results)

    def _pass_on(self, node: Node, results: list[Any]) -> tuple[Any, Any]:
        """Hand a node's results on; returns a node that has got its first gradient here, and its gradients."""
        following = grads = None
        is_plain = not watchers and not self.create and self.targets is None
        for i, (edge, meta) in enumerate(zip(node.edges, node.metas)):
            g = results[i]
            if edge is None or g is None:
                continue
            la = g._layout
            if la is not meta and (la.shape != meta.shape or la.dtype is not meta.dtype):
                g = fit(g, meta, node)
            results[i] = None
            if type(edge) is not tuple:
                # 2: this variable and the call's argument.
                alone = edge._grad is None and sys.getrefcount(g) == 2 and _fills_its_memory(g)
                if alone and is_plain and not (edge._hooks or edge._post_hooks or g._rg) and g._base is None:
                    edge._grad = g  # what the functions below come to, most often
                else:
                    self._leaf(edge, g, alone)
                continue
            after, number = edge
            if after is following:
                held = grads[number]  # type: ignore[index]
                grads[number] = g if held is None else held + g  # type: ignore[index]
            elif following is None and after not in self.buffers:
                following = after
                grads = [g] if number == 0 and len(after.out_metas) == 1 else _buffer(after, number, g)
            else:
                self._add(after, number, g)
        return following, grads

    def _take_targets(self, node: Node, grads: list[Any]) -> None:
        for number, g in enumerate(grads):
            i = self.targets.get((id(node), number))  # type: ignore[union-attr]
            if i is not None and g is not None:
                self.results[i] = g

    def _leaf(self, leaf: Tensor, grad: Tensor, alone: bool) -> None:
        if leaf._hooks or leaf._post_hooks:
            held = self.hooked.pop(id(leaf), None)
            self.hooked[id(leaf)] = (leaf, grad if held is None else held[1] + grad)
        else:
            self._give(leaf, grad, alone)

    def finish(self) -> None:
        """Leaves with hooks: each hook sees the sum of all that the pass brought to its leaf, once."""
        for leaf, grad in self.hooked.values():
            if self.targets is not None and id(leaf) not in self.targets:
                continue
            for hook in list((leaf._hooks or {}).values()):
                grad = grad if (changed := hook(grad)) is None else changed
            self._give(leaf, grad, False)
            if self.targets is None:
                call_post_hooks(leaf)

    def _give(self, leaf: Tensor, grad: Tensor, alone: bool) -> None:
        if self.targets is None:
            _accumulate(leaf, grad, self.create, alone)
        elif (i := self.targets.get(id(leaf))) is not None:
            held = self.results[i]
            self.results[i] = grad if held is None else held + grad


def _buffer(node: Node, number: int, grad: Any) -> list[Any]:
    """The gradients of a node's outputs of which one is known."""
    return [grad if i == number else None for i in range(len(node.out_metas))]


def fit(grad: Tensor, meta: Layout, node: Node) -> Tensor:
    """Sum a gradient down to its input's shape (undoing broadcasting) and bring it to its dtype."""
    shape = grad._layout.shape
    if shape != meta.shape:
        from ..ops.reduce import summed_to

        extra = len(shape) - len(meta.shape)
        if extra < 0 or any(n != m and n != 1 for n, m in zip(meta.shape, shape[extra:])):
            raise RuntimeError(
                f"Function {node.title} returned an invalid gradient - got {list(shape)} but expected shape"
                f" compatible with {list(meta.shape)}"
            )
        grad = summed_to(grad, meta.shape)
    if grad._layout.dtype is not meta.dtype:
        grad = grad.to(meta.dtype)
    if grad._layout.device != meta.device:
        if grad._layout.ndim:
            raise RuntimeError(
                f"Function {node.title} returned an invalid gradient - expected device {meta.device} but got"
                f" {grad._layout.device}; move it with .to()"
            )
        grad = grad.to(meta.device)
    return grad


def _fill_retained(node: Node, grads: list[Any], create: bool) -> None:
    for number, reference in node.captures.items():  # type: ignore[union-attr]
        tensor = reference()
        if tensor is not None and grads[number] is not None:
            _accumulate(tensor, grads[number], create)


def _fills_its_memory(grad: Tensor) -> bool:
    """Whether no other tensor shares a gradient's memory, of which it uses more than half (a view: with its base)."""
    la, base = grad._layout, grad._base
    return (
        # The tensor and the call's argument; the view, the variable here and the call's argument.
        (sys.getrefcount(grad._storage) == 2 if base is None
         else sys.getrefcount(base) == 3 and sys.getrefcount(grad._storage) == 3)
        and la.dense
        and la.numel * la.itemsize * 2 > grad._storage.nbytes
    )


def _accumulate(tensor: Tensor, grad: Tensor, create: bool, alone: bool = False) -> None:
    """Add to ``tensor.grad``, in place where no graph of the gradient is wanted; ``alone``: nobody else has ``grad``."""
    held = tensor._grad
    if watchers and state.recorder is not None:
        state.recorder.grad_read(tensor)
        if held is None or create:
            state.recorder.grad_write(tensor)
    if held is None:
        if create:
            tensor._grad = grad if state.grad and grad._rg else grad.clone()
        else:
            grad = grad.detach() if grad._rg else grad
            tensor._grad = (grad if grad._base is None else grad._alias()) if alone else grad.clone()
    elif create:
        tensor._grad = held + grad
    else:
        from ..ops.quick import add_into

        add_into(held, grad)
