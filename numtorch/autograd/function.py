"""Your own differentiable operation: subclass ``Function``, give ``forward`` and ``backward``."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

from ..errors import second_backward_error
from .engine import Node
from .mode import no_grad, state
from .views import CUSTOM


class FunctionCtx:
    """What a custom Function's forward and backward share; any attribute of your own may be set on it."""

    def __init__(self, node: FunctionNode):
        self._node = weakref.ref(node)
        self.needs_input_grad = tuple(e is not None for e in node.edges)
        self._to_save: tuple = ()
        self._dirty: tuple = ()
        self._non_differentiable: tuple = ()
        self._materialize = True

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors for ``backward``, where they are ``ctx.saved_tensors``."""
        self._to_save = tensors

    def save_for_forward(self, *tensors: Any) -> None:
        """Keep tensors for ``jvp`` (accepted; numtorch differentiates in reverse)."""

    def mark_dirty(self, *tensors: Any) -> None:
        """Inputs that ``forward`` has changed in place."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Outputs that carry no gradient."""
        self._non_differentiable = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether missing output gradients reach ``backward`` as zeros (default) or as None."""
        self._materialize = value

    @property
    def saved_tensors(self) -> tuple:
        """What ``save_for_backward`` kept; RuntimeError when the graph was freed or a tensor was changed in place."""
        node = self._node()
        assert node is not None
        return node.saved_tensors()

    saved_variables = saved_tensors


class FunctionNode(Node):
    """The node of a custom Function."""

    title = "FunctionBackward"

    def __init__(self, cls: Any, inputs: tuple, needs: bool):
        tensors = [x if hasattr(x, "_layout") else None for x in inputs]
        Node.__init__(self, tensors if needs else [None] * len(inputs), 1)
        self.cls = cls
        self.title = f"{cls.__name__}Backward"
        self.saved: Any = ()
        self.freed = False
        self.ctx = FunctionCtx(self)

    def saved_tensors(self) -> tuple:
        """The tensors kept for backward; RuntimeError when the graph was freed."""
        if self.freed:
            raise second_backward_error(self)
        return tuple(x if x is None else x.get(self) for x in self.saved)

    def keep(self, outputs: tuple) -> None:
        """Turn the tensors given to ``save_for_backward`` into saved ones."""
        from ..ops.declare import Saved

        places = {id(o): i for i, o in enumerate(outputs)}
        for t in self.ctx._to_save:
            if t is not None and not hasattr(t, "_layout"):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument is of type {type(t).__name__}"
                )
        self.saved = tuple(None if t is None else Saved(t, places.get(id(t), -1)) for t in self.ctx._to_save)
        self.ctx._to_save = ()

    def release(self) -> None:
        if self.saved:
            self.saved = ()
            self.freed = True

    def run(self, grads: list[Any]) -> Any:
        if self.ctx._materialize:
            grads = [_zeros(m) if g is None and m is not None else g for g, m in zip(grads, self.out_metas)]
        results = self.cls.backward(self.ctx, *grads)
        results = tuple(results) if isinstance(results, (tuple, list)) else (results,)
        n = len(self.edges)
        if len(results) > n and all(r is None for r in results[n:]):
            results = results[:n]
        if len(results) != n:
            raise RuntimeError(
                f"function {self.title} returned an incorrect number of gradients (expected {n}, got {len(results)}); return"
                " one per input of forward, None where none is needed"
            )
        return results


def _zeros(la: Any) -> Any:
    from ..creation import zeros

    return zeros(la.shape, dtype=la.dtype, device=la.device)


class Function:
    """A differentiable operation of your own; call it as ``MyFunction.apply(...)``.

    Static methods: ``forward(ctx, *inputs)`` (or ``forward(*inputs)`` with ``setup_context(ctx, inputs, output)``) and
    ``backward(ctx, *grad_outputs)``, which returns a gradient (or None) per input.

    Example:
        >>> import numtorch
        >>> class Cube(numtorch.autograd.Function):
        ...     @staticmethod
        ...     def forward(ctx, x):
        ...         ctx.save_for_backward(x)
        ...         return x * x * x
        ...     @staticmethod
        ...     def backward(ctx, g):
        ...         (x,) = ctx.saved_tensors
        ...         return g * 3 * x * x
        >>> x = numtorch.tensor(2.0, requires_grad=True)
        >>> Cube.apply(x).backward()
        >>> x.grad
        tensor(12.)
    """

    def __init__(self, *args: Any, **kwargs: Any):
        raise RuntimeError(
            f"{type(self)} should not be instantiated. Methods on autograd functions are all static: use .apply"
        )

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """The operation."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """The gradients of the inputs."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with backward mode"
            " AD."
        )

    setup_context: Any = None

    @classmethod
    def apply(cls, *inputs: Any) -> Any:
        """Run the operation and record it."""
        needs = state.grad and any(getattr(x, "_rg", False) for x in inputs)
        if state.recorder is not None:
            state.recorder.custom()
        node = FunctionNode(cls, inputs, needs)
        with no_grad():
            if cls.setup_context is not None:
                result = cls.forward(*inputs)
                cls.setup_context(node.ctx, inputs, result)
            else:
                result = cls.forward(node.ctx, *inputs)
        outputs = result if isinstance(result, tuple) else (result,)
        if state.anomaly is not None:
            state.anomaly.on_forward(cls.__name__, [o for o in outputs if hasattr(o, "_layout")], inputs)
        wrapped = _wrap(node, inputs, outputs, needs)
        return tuple(wrapped) if isinstance(result, tuple) else wrapped[0]

    vjp = backward


def _wrap(node: FunctionNode, inputs: tuple, outputs: tuple, needs: bool) -> list[Any]:
    """Outputs with their history; an input returned as it is becomes a view of itself."""
    from ..ops.inplace import check_inplace, rebase
    from ..ops.view import alias

    given = {id(x) for x in inputs if hasattr(x, "_layout")}
    dirty = {id(x) for x in node.ctx._dirty}
    silent = {id(x) for x in node.ctx._non_differentiable}
    node.out_metas = [getattr(o, "_layout", None) for o in outputs]
    found: list[Any] = []
    for i, out in enumerate(outputs):
        if not hasattr(out, "_layout"):
            found.append(out)
            continue
        if id(out) in dirty:
            check_inplace(out, node.title, needs)
            out._storage.version += 1
            if needs:
                rebase(out, node)
                out._nr = i
        elif id(out) in given:
            with no_grad():
                out = alias(out)
            out._base, out._made = None, CUSTOM
        elif out._base is not None:
            out._made = CUSTOM
        if (
            needs
            and id(outputs[i]) not in silent
            and out._layout.dtype.is_floating_point
            and id(out) not in dirty
        ):
            out._set_history(node, i)
        found.append(out)
    if needs:
        node.keep(tuple(outputs))
        for s in node.saved:  # a saved output is tied to the node, not to the tensor (no cycle)
            if s is not None and s.output >= 0 and s.tensor is not None:
                s.tensor = s.tensor._alias()
    return found


def once_differentiable(backward: Callable) -> Callable:
    """Decorator for a ``backward`` that must not be differentiated again: RuntimeError if it is."""

    @functools.wraps(backward)
    def wrapper(ctx: Any, *grads: Any) -> Any:
        double = state.grad
        with no_grad():
            results = backward(ctx, *grads)
        if not double or not any(getattr(g, "_rg", False) for g in grads):
            return results
        many = results if isinstance(results, tuple) else (results,)
        node = _OnceNode(grads, len(many))
        for i, r in enumerate(many):
            if hasattr(r, "_layout"):
                node.out_metas[i] = r._layout
                r._set_history(node, i)
        return results

    return wrapper


class _OnceNode(Node):
    """Stands behind the gradients of a once-differentiable function."""

    __slots__ = ()
    title = "OnceDifferentiable"

    def run(self, grads: list[Any]) -> Any:
        raise RuntimeError(
            "trying to differentiate twice a function that was marked with @once_differentiable"
        )


class _VariableMeta(type):
    def __instancecheck__(cls, other: Any) -> bool:
        from .._tensor import Tensor

        return isinstance(other, Tensor)


class Variable(metaclass=_VariableMeta):
    """The old name of a tensor: ``Variable(data, requires_grad=...)`` gives the tensor itself."""

    def __new__(cls, data: Any = None, requires_grad: bool = False, volatile: bool | None = None) -> Any:
        from .._tensor import Tensor
        from ..from_data import tensor

        t = data.detach() if isinstance(data, Tensor) else tensor([] if data is None else data)
        return t.requires_grad_(True) if requires_grad else t
