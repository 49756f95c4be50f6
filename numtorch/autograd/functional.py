"""Derivatives of functions: ``vjp``, ``jvp``, ``jacobian``, ``hessian``, ``hvp``, ``vhp``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..absent import hints as _hints
from . import grad
from .mode import enable_grad


def _as_tuple(x: Any) -> tuple[bool, tuple]:
    return (True, tuple(x)) if isinstance(x, (tuple, list)) else (False, (x,))


def _fresh(inputs: tuple, create_graph: bool) -> tuple:
    """Inputs that the function can be differentiated at: views of the given ones when their graph is wanted."""
    return tuple(
        x.view_as(x) if create_graph and x.requires_grad else x.detach().requires_grad_(True) for x in inputs
    )


def _finish(values: Any, many: bool, create_graph: bool) -> Any:
    done = tuple(v if create_graph else v.detach() for v in values)
    return done if many else done[0]


def _check(op: str, v: tuple, like: tuple, what: str) -> None:
    if len(v) != len(like):
        raise RuntimeError(f"{op}: v is a tuple of invalid length: should be {len(like)} but got {len(v)}.")
    for i, (a, b) in enumerate(zip(v, like)):
        if a.shape != b.shape:
            raise RuntimeError(
                f"{op}: entry {i} of v has size {a.shape}, expected that of the {what}: {b.shape}"
            )


def _grads(outputs: Any, inputs: Any, grad_outputs: Any, create_graph: bool, strict: bool) -> tuple:
    used = [(o, g) for o, g in zip(outputs, grad_outputs) if o.requires_grad]
    if not used:
        found: tuple = (None,) * len(inputs)
    else:
        found = grad([o for o, _ in used], inputs, [g for _, g in used], retain_graph=True, create_graph=create_graph,
                     allow_unused=True)  # fmt: skip
    if strict and any(g is None for g in found):
        raise RuntimeError(
            "The output of the user-provided function is independent of an input. This is not allowed in strict mode."
        )
    from ..creation import zeros_like

    return tuple(zeros_like(x) if g is None else g for g, x in zip(found, inputs))


def vjp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """(outputs, v @ Jacobian): the gradient of the outputs weighted by ``v`` (ones for a scalar)."""
    from ..creation import ones_like

    with enable_grad():
        many, given = _as_tuple(inputs)
        x = _fresh(given, create_graph)
        many_out, outs = _as_tuple(func(*x))
        if v is None:
            if len(outs) != 1 or outs[0].numel() != 1:
                raise RuntimeError(
                    "The vector v can only be None if the user-provided function returns a single Tensor with a single element."
                )
            weights: tuple = (ones_like(outs[0]),)
        else:
            weights = _as_tuple(v)[1]
            _check("vjp", weights, outs, "output")
        found = _grads(outs, x, weights, create_graph, strict)
    return _finish(outs, many_out, create_graph), _finish(found, many, create_graph)


def jvp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """(outputs, Jacobian @ v), by differentiating the gradient with respect to its weights."""
    from ..creation import ones_like, zeros_like

    with enable_grad():
        _, given = _as_tuple(inputs)
        x = _fresh(given, create_graph)
        if v is None:
            if len(x) != 1 or x[0].numel() != 1:
                raise RuntimeError(
                    "The vector v can only be None if the input to the user-provided function is a single Tensor with a single element."
                )
            direction: tuple = (ones_like(x[0]),)
        else:
            direction = _as_tuple(v)[1]
            _check("jvp", direction, x, "input")
        many_out, outs = _as_tuple(func(*x))
        weights = tuple(zeros_like(o).requires_grad_(True) for o in outs)
        backward = _grads(outs, x, weights, True, strict)
        found = _grads(backward, weights, direction, create_graph, False)
    return _finish(outs, many_out, create_graph), _finish(found, many_out, create_graph)


def jacobian(func: Callable, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
             strategy: str = "reverse-mode") -> Any:  # fmt: skip
    """The Jacobian of each output with respect to each input, shape output.shape + input.shape.

    Example:
        >>> import numtorch
        >>> numtorch.autograd.functional.jacobian(lambda x: x * x, numtorch.tensor([1.0, 2.0]))
        tensor([[2., 0.],
                [0., 4.]])
    """
    from ..creation import zeros_like
    from ..ops.joining import stack

    with enable_grad():
        many_in, given = _as_tuple(inputs)
        x = _fresh(given, create_graph)
        many_out, outs = _as_tuple(func(*x))
        rows = []
        for out in outs:
            columns: list[list[Any]] = [[] for _ in x]
            for k in range(out.numel()):
                seed = zeros_like(out).reshape(-1)
                seed[k] = 1.0
                for column, g in zip(
                    columns, _grads([out], x, [seed.reshape(out.shape)], create_graph, strict)
                ):
                    column.append(g)
            rows.append(tuple(
                (stack(c) if c else zeros_like(xi).expand((0, *xi.shape))).reshape(tuple(out.shape) + tuple(xi.shape))
                for c, xi in zip(columns, x)
            ))  # fmt: skip
    rows = [tuple(j if create_graph else j.detach() for j in row) for row in rows]
    done = [row if many_in else row[0] for row in rows]
    return tuple(done) if many_out else done[0]


def hessian(func: Callable, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
            outer_jacobian_strategy: str = "reverse-mode") -> Any:  # fmt: skip
    """The second derivatives of a scalar function, shape input.shape + input.shape per pair of inputs."""
    many, _ = _as_tuple(inputs)

    def scalar(*x: Any) -> Any:
        out = func(*x)
        if not hasattr(out, "_layout"):
            raise RuntimeError("The function given to hessian should return a single Tensor")
        if out.numel() != 1:
            raise RuntimeError(
                "The Tensor returned by the function given to hessian should contain a single element"
            )
        return out.squeeze() if out.ndim else out

    def gradient(*x: Any) -> Any:
        return jacobian(scalar, x if many else x[0], create_graph=True)

    return jacobian(gradient, inputs, create_graph=create_graph, strict=strict)


def vhp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """(output, v @ Hessian) of a scalar function."""
    from ..creation import ones_like

    with enable_grad():
        many, given = _as_tuple(inputs)
        x = _fresh(given, create_graph)
        out = func(*x)
        if not hasattr(out, "_layout") or out.numel() != 1:
            raise RuntimeError(
                "The function given to vhp should return a single Tensor that contains a single element"
            )
        weights = _as_tuple(v)[1] if v is not None else (ones_like(x[0]),)
        _check("vhp", weights, x, "input")
        first = _grads([out], x, [ones_like(out)], True, strict)
        found = _grads(first, x, weights, create_graph, strict)
    return _finish((out,), False, create_graph), _finish(found, many, create_graph)


def hvp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """(output, Hessian @ v) of a scalar function; the Hessian is symmetric, so this is ``vhp``."""
    return vhp(func, inputs, v, create_graph, strict)

__getattr__ = _hints(__name__)
