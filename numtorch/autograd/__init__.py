"""Reverse-mode differentiation: ``backward``, ``grad``, and what switches recording on and off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import engine, graph
from .anomaly import AnomalyError, detect_anomaly, set_detect_anomaly
from .function import Function, Variable, once_differentiable
from .mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)


def _sequence(x: Any) -> list[Any]:
    return list(x) if isinstance(x, (tuple, list)) else [x]


def _initial(tensors: Sequence[Any], grads: Sequence[Any], create_graph: bool) -> list[Any]:
    """The gradients to start from: ones for scalars, else those given, checked against shape and dtype."""
    found = []
    for i, (t, g) in enumerate(zip(tensors, grads)):
        if not t.requires_grad:
            raise RuntimeError(
                f"backward: element {i} of tensors does not require grad and does not have a grad_fn; set requires_grad=True on"
                " what it was computed from"
            )
        if g is None:
            if t._layout.numel != 1:
                raise RuntimeError(
                    f"backward: grad can be implicitly created only for scalar outputs, got shape {list(t.shape)}; reduce it, or"
                    " give gradient="
                )
            g = (_one or _one_maker())(t._layout)
        elif not hasattr(g, "_layout"):
            raise TypeError(
                f"backward: gradients can be either Tensors or None, but got {type(g).__name__}; make a tensor with"
                " numtorch.tensor(...)"
            )
        elif g._layout.shape != t._layout.shape:
            raise RuntimeError(
                f"Mismatch in shape: grad_output[{i}] has a shape of {g.shape} and output[{i}] has a shape of {t.shape}; the"
                " gradient has the shape of what it belongs to"
            )
        elif g._layout.device != t._layout.device:
            if g._layout.ndim:
                raise RuntimeError(
                    f"backward: gradient {i} is an invalid gradient - expected device {t._layout.device} but got"
                    f" {g._layout.device}; move it with .to()"
                )
            g = g.to(t._layout.device)
        found.append(g)
    return found


_one: Any = None  # makes the gradient that a scalar's way back starts from


def _one_maker() -> Any:
    global _one
    from ..creation import fill_into
    from ..ops.declare import empty_like_layout

    _one = lambda la: fill_into(empty_like_layout(la), 1)  # noqa: E731 - bound once: imports in hot functions are slow
    return _one


def backward(
    tensors: Any, grad_tensors: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
    grad_variables: Any = None, inputs: Any = None,
) -> None:  # fmt: skip
    """Add the gradients of ``tensors`` to the ``.grad`` of the leaves they depend on (or of ``inputs`` only).

    ``grad_tensors``: the gradient of each (not needed for scalars); ``retain_graph``: keep saved tensors for another pass
    (default: ``create_graph``); ``create_graph``: make the gradients differentiable.

    Example:
        >>> import numtorch
        >>> x = numtorch.tensor(3.0, requires_grad=True)
        >>> numtorch.autograd.backward(x * x)
        >>> x.grad
        tensor(6.)
    """
    found = _sequence(tensors)
    grads = [None] * len(found) if grad_tensors is None else _sequence(grad_tensors)
    if len(found) == 0:
        raise RuntimeError("'tensors' argument to backward cannot be empty.")
    if len(grads) != len(found):
        raise RuntimeError(f"got {len(found)} tensors and {len(grads)} gradients")
    targets = None
    if inputs is not None:
        targets = _sequence(inputs)
        if not targets:
            raise RuntimeError("'inputs' argument to backward cannot be empty.")
    retain = create_graph if retain_graph is None else retain_graph
    engine.backward(found, _initial(found, grads, create_graph), retain, create_graph, targets)


def grad(
    outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
    only_inputs: bool = True, allow_unused: bool | None = None, is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:  # fmt: skip
    """The gradients of ``outputs`` with respect to ``inputs``, without touching ``.grad``.

    RuntimeError if an input was not used, unless ``allow_unused`` (then None) or ``materialize_grads`` (then zeros).

    Example:
        >>> import numtorch
        >>> x = numtorch.tensor(3.0, requires_grad=True)
        >>> (g,) = numtorch.autograd.grad(x * x * x, x, create_graph=True)
        >>> numtorch.autograd.grad(g, x)
        (tensor(18.),)
    """
    from ..creation import zeros_like

    found, targets = _sequence(outputs), _sequence(inputs)
    grads = [None] * len(found) if grad_outputs is None else _sequence(grad_outputs)
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False."
        )
    if not all(t.requires_grad for t in targets):
        raise RuntimeError("One of the differentiated Tensors does not require grad; call requires_grad_() first")
    retain = create_graph if retain_graph is None else retain_graph
    if is_grads_batched and grads[0] is not None:
        batch: list[Any] = list(grads)
        each = [
            grad(found, targets, [g[i] for g in batch], True, create_graph, allow_unused=allow_unused)
            for i in range(batch[0].shape[0])
        ]
        from ..ops.joining import stack

        return tuple(stack(list(column)) for column in zip(*each))
    results = engine.backward(
        found, _initial(found, grads, create_graph), retain, create_graph, targets, accumulate=False
    )
    for i, (g, t) in enumerate(zip(results, targets)):
        if g is None:
            if materialize_grads:
                results[i] = zeros_like(t)
            elif not allow_unused:
                raise RuntimeError(
                    f"The differentiated Tensor at index {i} appears to not have been used in the graph. Set allow_unused=True if"
                    " this is the desired behavior."
                )
        elif not create_graph:
            results[i] = g.detach()
    return tuple(results)


def __getattr__(name: str) -> Any:
    import importlib

    if name in ("functional", "profiler"):
        return importlib.import_module(f"{__name__}.{name}")
    from ..absent import error

    raise error(__name__, name, globals())


from .gradcheck import gradcheck, gradgradcheck  # noqa: E402 - it needs grad() above

__all__ = ["AnomalyError", "Function", "Variable", "backward", "detect_anomaly", "enable_grad", "grad", "gradcheck", "gradgradcheck", "graph", "inference_mode",
           "is_grad_enabled", "is_inference_mode_enabled", "no_grad", "once_differentiable", "set_detect_anomaly",
           "set_grad_enabled"]  # fmt: skip
