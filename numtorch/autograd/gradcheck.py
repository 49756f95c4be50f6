"""Numeric against declared gradients, first and second order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import grad
from .mode import no_grad


class GradcheckError(RuntimeError):
    """A declared gradient differs from the numeric one."""


def _tuple(x: Any) -> tuple:
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def _differentiable(x: Any) -> bool:
    return hasattr(x, "_layout") and x.requires_grad and x.is_floating_point()


def _outputs(func: Callable, inputs: Sequence[Any]) -> list[Any]:
    return [o for o in _tuple(func(*inputs)) if hasattr(o, "_layout") and o.is_floating_point()]


def _values(x: Any) -> np.ndarray:
    return x.detach().cpu()._numbers()


def _put(x: Any, at: tuple[int, ...], value: float) -> None:
    """Change one element, wherever the tensor is."""
    if x.is_cuda:
        x.detach()[at] = value
    else:
        x.detach()._numpy()[at] = x.dtype.stored(value)


def numeric_jacobian(func: Callable, inputs: Sequence[Any], target: int, eps: float) -> list[np.ndarray]:
    """Central differences: for each output a matrix (input elements, output elements)."""
    x = inputs[target]
    values = _values(x)  # of a tensor on the CPU its own memory
    columns: list[list[np.ndarray]] = []
    with no_grad():
        for at in np.ndindex(values.shape):
            before = values[at].item()
            sides = []
            for sign in (1, -1):
                _put(x, at, before + sign * eps)
                sides.append([_values(o).astype(np.float64).ravel().copy() for o in _outputs(func, inputs)])
            _put(x, at, before)
            columns.append([(a - b) / (2 * eps) for a, b in zip(*sides)])
    count = len(_outputs(func, inputs))
    return [np.array([c[k] for c in columns]).reshape(values.size, -1) for k in range(count)]


def declared_jacobian(
    func: Callable, inputs: Sequence[Any], target: int, create_graph: bool = False
) -> list[np.ndarray]:
    """The same matrices from the backward rules, one output element at a time."""
    from ..creation import zeros

    x = inputs[target]
    found = []
    for k in range(len(_outputs(func, inputs))):
        out = _outputs(func, inputs)[k]
        matrix = np.zeros((x.numel(), out.numel()))
        for j in range(out.numel()):
            if not out.requires_grad:
                continue
            seed = zeros(out.shape, dtype=out.dtype, device=out.device)
            _put(seed, np.unravel_index(j, tuple(out.shape)), 1.0)
            (g,) = grad(out, x, seed, retain_graph=True, allow_unused=True)
            if g is not None:
                matrix[:, j] = _values(g).astype(np.float64).ravel()
        found.append(matrix)
    return found


def gradcheck(
    func: Callable, inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3, raise_exception: bool = True,
    nondet_tol: float = 0.0, check_undefined_grad: bool = True, check_grad_dtypes: bool = False, check_batched_grad: bool = False,
    fast_mode: bool = False, **ignored: Any,
) -> bool:  # fmt: skip
    """Whether the gradients of ``func`` at ``inputs`` (float64 tensors that require grad) agree with central differences.

    Returns True, or raises GradcheckError (returns False with ``raise_exception=False``). ValueError if no input requires grad.

    Example:
        >>> import numtorch
        >>> x = numtorch.tensor([0.5, 1.5], dtype=numtorch.float64, requires_grad=True)
        >>> numtorch.autograd.gradcheck(lambda x: x.exp() * x, (x,))
        True
    """
    inputs = _tuple(inputs)
    targets = [i for i, x in enumerate(inputs) if _differentiable(x)]
    if not targets:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of the them have requires_grad=True."
        )
    for i in targets:
        want = numeric_jacobian(func, inputs, i, eps)
        have = declared_jacobian(func, inputs, i)
        for k, (n, a) in enumerate(zip(want, have)):
            if n.shape == a.shape and np.allclose(a, n, rtol=rtol, atol=atol, equal_nan=True):
                continue
            if not raise_exception:
                return False
            worst = np.unravel_index(np.argmax(np.abs(a - n)), a.shape)
            raise GradcheckError(
                f"Jacobian mismatch for output {k} with respect to input {i}: numerical {n[worst]:.6g}, analytical"
                f" {a[worst]:.6g} at input element {worst[0]}, output element {worst[1]};\nnumerical:{n}\nanalytical:{a}"
            )
    return True


def gradgradcheck(
    func: Callable, inputs: Any, grad_outputs: Any = None, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
    raise_exception: bool = True, **ignored: Any,
) -> bool:  # fmt: skip
    """Whether the gradients of the gradients agree with central differences of the gradients."""
    inputs = _tuple(inputs)
    outputs = _outputs(func, inputs)
    if grad_outputs is None:
        rng = np.random.default_rng(0)
        from ..from_data import tensor

        grad_outputs = [
            tensor(rng.standard_normal(tuple(o.shape)), dtype=o.dtype, device=o.device, requires_grad=True) for o in outputs
        ]
    else:
        grad_outputs = list(_tuple(grad_outputs))
    targets = [i for i, x in enumerate(inputs) if _differentiable(x)]
    n = len(inputs)

    def first(*args: Any) -> tuple:
        outs = _outputs(func, args[:n])
        pairs = [(o, g) for o, g in zip(outs, args[n:]) if o.requires_grad]
        found = grad([o for o, _ in pairs], [args[i] for i in targets], [g for _, g in pairs], create_graph=True, allow_unused=True,
                     materialize_grads=True)  # fmt: skip
        return tuple(found)

    def with_grad(*args: Any) -> tuple:
        from .mode import enable_grad

        with enable_grad():
            return first(*args)

    return gradcheck(
        with_grad, (*inputs, *grad_outputs), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception
    )


__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]
