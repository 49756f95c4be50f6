"""How an op is declared, and what follows from it.

An op is declared once, in a file of this folder:

* ``@elementwise(...)`` on a scalar body: the eager kernel on both devices, the fused kernel of a trace, and with
  ``@op.grad`` on a second scalar body the gradient, which also runs on Tensors when it must be differentiated again;
* ``@kernel_op(...)`` on a rule that gives the output layouts, with ``@op.plan`` giving the kernel launches (run at once
  when eager, stored by a trace) and ``@op.backward`` giving the gradients, written in ops;
* views are shape and stride rules (``ops/view.py``), composites are Python functions written in ops.

``TABLE`` holds every op by name; the tests run over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..autograd.engine import Node, edge_of
from ..autograd.mode import no_grad, state, watchers
from ..autograd.views import inference_save_error
from ..dtype import REDUCED, float32
from ..errors import saved_version_error, second_backward_error
from ..memo import Memo
from ..shape import Layout, contiguous
from ..storage import allocate
from .launch import Launch, run_launches
from .pickling import reduce_op

TABLE: dict[str, Any] = {}


def camel(name: str) -> str:
    """``log_softmax`` -> ``LogSoftmax``."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


class Saved:
    """A tensor kept for the backward, with the version of its memory at that time."""

    __slots__ = ("edge", "output", "packed", "tensor", "version")

    def __init__(self, tensor: Any, output: int = -1):
        # An output is kept without its history (no cycle node -> output -> node); get() ties it to the node again.
        self.output = output
        self.packed: Any = None
        self.tensor: Any = tensor if output < 0 else tensor._alias()
        self.version = version = tensor._storage.version
        if version < 0 and not tensor._rg and not tensor._untracked:
            raise inference_save_error()
        if watchers and state.saved_hooks is not None:
            pack, unpack = state.saved_hooks
            self.packed = (unpack, pack(self.tensor))
            self.edge = edge_of(tensor) if output < 0 else None
            self.tensor = None

    def get(self, node: Node) -> Any:
        """The tensor; RuntimeError if its memory was modified since."""
        if self.packed is not None:
            return self._unpack(node)
        t = self.tensor
        if t._storage.version != self.version:
            raise saved_version_error(t, self.version, node)
        if self.output >= 0 and state.grad:
            t = t._alias()
            t._set_history(node, self.output)
        return t

    def _unpack(self, node: Node) -> Any:
        """What the hook gives, in the place that the packed tensor had in the graph."""
        t = self.packed[0](self.packed[1])
        if not state.grad or (self.edge is None and self.output < 0):
            return t
        t = t._alias()
        if self.output >= 0:
            t._set_history(node, self.output)
        elif type(self.edge) is tuple:
            t._set_history(*self.edge)
        else:
            passed = Passed([self.edge], 1)
            passed.out_metas[0] = t._layout
            t._set_history(passed, 0)
        return t


class Passed(Node):
    """The node between a leaf and the tensor that a hook gave in its place."""

    title = "AliasBackward0"

    def run(self, grads: list[Any]) -> Sequence[Any]:
        return grads


class OpNode(Node):
    """The node of a declared op: its saved tensors and attributes."""

    __slots__ = ("attrs", "freed", "op", "saved")
    last_is_tensor = False  # of an elementwise op: whether its last operand was no number

    def __init__(self, op: Any, inputs: Sequence[Any], outputs: Sequence[Any], attrs: Any):
        Node.__init__(self, inputs, len(outputs))
        self.op = op
        self.attrs = attrs
        self.saved: Any = None
        self.freed = False

    @property
    def title(self) -> str:  # type: ignore[override]
        from .node_names import of_op

        return self.alias or of_op(self)

    def release(self) -> None:
        if self.saved is not None:
            self.saved = None
            self.freed = True

    def tensor(self, key: Any) -> Any:
        """A saved tensor by its key; RuntimeError when the graph was freed."""
        if self.freed:
            raise second_backward_error(self)
        item = self.saved[key]
        return item.get(self) if isinstance(item, Saved) else item

    def run(self, grads: list[Any]) -> Sequence[Any]:
        if self.freed:
            raise second_backward_error(self)
        return self.op.run_backward(self, grads)


def attach(node: Node, outputs: Iterable[Any], no_grad_outputs: Iterable[int] = ()) -> None:
    """Make ``node`` the history of its outputs (those with a floating dtype)."""
    for i, out in enumerate(outputs):
        if out is not None:
            node.out_metas[i] = out._layout
            if out._layout.dtype.is_floating_point and i not in no_grad_outputs:
                out._set_history(node, i)


class KernelOp:
    """An op with a rule for its outputs, a plan of launches, and a backward written in ops.

    The rule ``meta(*inputs, **attrs)`` receives tensors (or None) and attributes, checks everything, and returns the output
    layouts. ``plan(outputs, *inputs, **attrs)`` returns the launches. ``backward(ctx, *grads)`` returns a gradient (or None)
    per input; ``ctx`` gives ``ctx.x`` saved inputs by their parameter names, ``ctx.attrs[...]``, ``ctx.out(i)`` saved outputs.
    """

    def __init__(self, name: str, meta: Callable, inputs: tuple[str, ...], saves: tuple[str, ...], nograd: tuple[int, ...],
                 mutates: tuple[str, ...] = (), steady: bool = True, half_on_gpu: bool = False):  # fmt: skip
        self.name = name
        self.meta = meta
        self.inputs = inputs
        self.saves = saves
        self.nograd = nograd  # outputs that never carry a gradient (indices, masks)
        self.mutates = tuple(inputs.index(n) for n in mutates)  # inputs that the kernels write
        self.steady = steady
        self.half_on_gpu = half_on_gpu  # its kernels for GPUs read float16 and bfloat16 themselves
        self._known, self._once = Memo(), Memo()  # of a steady op, by layouts and attributes: Steps or None, what came once
        self._kept = tuple([(n, int(n[3:] or 0), -1) if n.startswith("out") else (n, -1, inputs.index(n)) for n in saves])
        self._plan: Callable | None = None
        self._backward: Callable | None = None
        self.samples: Callable | None = None
        self.errors: Callable | None = None
        self.in_place: Callable | None = None
        self.__doc__ = meta.__doc__
        self.__name__ = name
        TABLE[name] = self

    def plan(self, function: Callable) -> Callable:
        """Decorator: the launches that compute the outputs."""
        self._plan = function
        return function

    def backward(self, function: Callable) -> Callable:
        """Decorator: the gradients of the inputs, written in ops."""
        self._backward = function
        return function

    def __call__(self, *inputs: Any, **attrs: Any) -> Any:
        if watchers:
            return self.planned(inputs if state.autocast is None else state.autocast(self.name, inputs), attrs)
        steps, key = self._steps(inputs, attrs)
        if steps is None:
            return self.planned(inputs, attrs) if key is None else steady.planned(self, key, inputs, attrs)
        result = steps.run(inputs)
        if self.mutates:
            self._note_changes(inputs)
        if self._backward is not None:
            for x in inputs:
                if x is not None and x._rg:
                    if state.grad:
                        self._record_node(inputs, (result,) if steps.single else result, attrs)
                    break
        return result

    def planned(self, inputs: Sequence[Any], attrs: dict, note: Callable | None = None) -> Any:
        """The outputs, by rule and plan; ``note(outputs, launches, single)`` is told what was done."""
        layouts = self.meta(*inputs, **attrs)
        single = isinstance(layouts, Layout)
        if single:
            layouts = (layouts,)
        if layouts and layouts[0].dtype is not float32 and self._to_widen(inputs, attrs, layouts[0]):
            return widened(self, inputs, attrs, layouts, single)
        outputs = [empty_like_layout(la) for la in layouts]
        launches = self.run(outputs, inputs, attrs)
        if note is not None:
            note(outputs, launches, single)
        if state.grad and self._backward is not None:
            for x in inputs:
                if x is not None and x._rg:
                    self._record_node(inputs, outputs, attrs)
                    break
        return outputs[0] if single else tuple(outputs)

    def _to_widen(self, inputs: Sequence[Any], attrs: dict, la: Layout) -> bool:
        """Whether there are operands of 16 bits that the kernels don't read."""
        found = _reduced(inputs, attrs)
        return bool(found) and not (self.half_on_gpu and len(found) == 1 and tensor_cores(la.device))

    def _steps(self, inputs: Sequence[Any], attrs: dict) -> tuple[Any, tuple | None]:
        """What is known of inputs of these layouts, and their key (None where nothing is ever noted)."""
        try:
            device = (inputs[0] if inputs[0] is not None else inputs[1])._layout.device
            if device == "cpu" and not self.steady:
                return None, None
            key: tuple = (*[x if x is None else x._layout for x in inputs], *attrs.items())
            if device != "cpu":
                key = (*steady.place(device), *key)
            return self._known.get(key), key
        except (AttributeError, IndexError, TypeError):  # no tensors, or attributes that are no keys
            return None, None

    def run(self, outputs: Sequence[Any], inputs: Sequence[Any], attrs: dict) -> Sequence[Launch]:
        """Compute into given outputs: eager launches, noted by the recorder of a running trace."""
        assert self._plan is not None
        if state.recorder is not None:
            state.recorder.before([*outputs, *self.mutated(inputs)])
        if state.anomaly is not None:
            state.anomaly.on_write([*outputs, *self.mutated(inputs)], inputs)
        launches = self._plan(outputs, *inputs, **attrs)
        run_launches(launches, (outputs[0] if outputs else inputs[0])._layout.device)
        self._note_changes(inputs)
        if state.recorder is not None:
            state.recorder.launches(self, launches, [*outputs, *self.mutated(inputs)], inputs, attrs)
        if state.anomaly is not None:
            state.anomaly.on_forward(self.name, outputs, inputs)
        return launches

    def mutated(self, inputs: Sequence[Any]) -> list[Any]:
        """The inputs that the kernels write."""
        return [inputs[i] for i in self.mutates if inputs[i] is not None] if self.mutates else []

    def _note_changes(self, inputs: Sequence[Any]) -> None:
        for t in self.mutated(inputs):
            t._storage.version += not t._untracked

    def _record_node(self, inputs: Sequence[Any], outputs: Sequence[Any], attrs: dict) -> None:
        node = OpNode(self, inputs, outputs, attrs)
        saved: dict[Any, Any] = {}
        for name, i, k in self._kept:
            if i >= 0:
                t = outputs[i]  # one that carries no gradient has no history to be tied to
                saved[name] = Saved(t, i if t._layout.dtype.is_floating_point and i not in self.nograd else -1)
            else:
                x = inputs[k]
                saved[name] = None if x is None else Saved(x)
        node.saved = saved
        attach(node, outputs, self.nograd)

    def run_backward(self, node: OpNode, grads: list[Any]) -> Sequence[Any]:
        """Call the backward rule; gradients that did not arrive are None (a lone output's always did)."""
        assert self._backward is not None
        result = self._backward(Context(node), *grads)
        return result if isinstance(result, (tuple, list)) else (result,)

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __reduce__(self) -> tuple:
        return reduce_op(self, self.meta)

    def __deepcopy__(self, memo: dict) -> Any:
        return self


class Context:
    """What a backward rule sees of its node: saved tensors as attributes, ``attrs``, ``needs[i]``, ``metas``."""

    __slots__ = ("_node", "attrs")

    def __init__(self, node: OpNode):
        self._node = node
        self.attrs = node.attrs

    def __getattr__(self, name: str) -> Any:
        return self._node.tensor(name)

    def needs(self, i: int) -> bool:
        """Whether input ``i`` needs a gradient."""
        return self._node.edges[i] is not None

    def meta(self, i: int) -> Layout:
        """The layout that input ``i`` had (inputs that need no gradient have none)."""
        found = self._node.metas[i]
        assert found is not None
        return found

    def out_meta(self, i: int = 0) -> Layout:
        """The layout of output ``i``."""
        found = self._node.out_metas[i]
        assert found is not None
        return found


def tensor_cores(device: str) -> bool:
    """Whether a device has tensor cores that numtorch's kernels use: GPUs from compute capability 8.0 on."""
    if device == "cpu":
        return False
    from ..cuda import runtime

    return runtime.gpu(device).capability >= (8, 0)


def _is_reduced(x: Any) -> bool:
    """Whether an input is a float16 or bfloat16 tensor."""
    return hasattr(x, "_layout") and x._layout.dtype in REDUCED


def _reduced(inputs: Sequence[Any], attrs: dict) -> set[Any]:
    """Which of float16 and bfloat16 tensors have, or the ``layout`` that a sampler is to fill."""
    wanted = attrs.get("layout")
    found = {x._layout.dtype for x in inputs if _is_reduced(x)}
    return found if wanted is None or wanted.dtype not in REDUCED else {*found, wanted.dtype}


def widened(op: KernelOp, inputs: Sequence[Any], attrs: dict, layouts: Sequence[Layout], single: bool) -> Any:
    """Run an op on inputs of 16 bits in float32, and round its results: no kernel but the elementwise ones reads them."""
    wide = [x.to(float32) if _is_reduced(x) else x for x in inputs]
    wanted = attrs.get("layout")
    if wanted is not None and wanted.dtype in REDUCED:
        attrs = {**attrs, "layout": contiguous(wanted.shape, float32, wanted.device)}
    found = op(*wide, **attrs) if state.autocast is None else op.planned(wide, attrs)
    for i in op.mutates:
        if _is_reduced(inputs[i]):
            with no_grad():
                inputs[i].copy_(wide[i])
    results = [
        t.to(la.dtype) if la.dtype in REDUCED and t._layout.dtype is float32 else t
        for la, t in zip(layouts, (found,) if single else found)
    ]
    return results[0] if single else tuple(results)


def kernel_op(
    inputs: Sequence[str],
    saves: Sequence[str] = (),
    nograd: Sequence[int] = (),
    name: str | None = None,
    mutates: Sequence[str] = (),
    steady: bool = True,
    half_on_gpu: bool = False,
) -> Callable[[Callable], KernelOp]:
    """Declare an op by its rule: ``@kernel_op(["x"], saves=["out"]) def softmax(x, dim): ... return layout``.

    ``steady``: rule and plan depend on nothing but layouts and (hashable) attributes, and all that the plan does is to answer
    with launches: then they are not asked again. On a GPU nothing is said but noticed.
    ``half_on_gpu``: the plan for GPUs takes float16 and bfloat16 as they are (elsewhere such operands are computed with in float32).
    """

    def declare(meta: Callable) -> KernelOp:
        return KernelOp(
            name or meta.__name__, meta, tuple(inputs), tuple(saves), tuple(nograd), tuple(mutates), steady, half_on_gpu
        )

    return declare


def empty_like_layout(la: Layout) -> Any:
    """A new uninitialised tensor of a layout whose elements fill one block."""
    storage = allocate(la.numel * la.itemsize, la.device)
    if watchers and state.interpreter is not None:
        state.interpreter.poison(storage, la.dtype)
    return (_make or _tensor_maker())(storage, 0, la)


_make: Any = None


def _tensor_maker() -> Any:
    global _make
    from .._tensor import Tensor

    _make = Tensor._make
    return _make


__all__ = ["TABLE", "Context", "KernelOp", "Launch", "OpNode", "Saved", "attach", "camel", "empty_like_layout", "kernel_op"]

from . import steady  # noqa: E402 - it needs what is above
