"""``grad``, ``vjp``, ``jvp``, ``jacrev``, ``jacfwd``, ``hessian``: derivatives of functions of nested tensors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from .._tensor import Tensor
from ..autograd import grad as gradients
from ..autograd.mode import enable_grad, state
from ..creation import ones_like, zeros_like
from ..ops.joining import stack
from ..utils._pytree import TreeSpec, tree_flatten, tree_map_only, tree_unflatten


class Point:
    """Where a function is differentiated: its leaves as inputs of a new graph, which may hang on another one."""

    def __init__(self, op: str, trees: Any):
        leaves, self.spec = tree_flatten(trees)
        for x in leaves:
            if not isinstance(x, Tensor):
                raise ValueError(f"{op}: Expected all inputs to be Tensors, got unsupported type {type(x).__name__} instead")
            if not x.dtype.is_floating_point:
                raise RuntimeError(f"{op}: only Tensors of floating point dtype can require gradients, got {x.dtype!r}")
        self.leaves: list[Tensor] = [x.view_as(x) if x.requires_grad else x.detach().requires_grad_() for x in leaves]
        self.trees = tree_unflatten(self.leaves, self.spec)
        self.made = {id(x) for x, given in zip(self.leaves, leaves) if not given.requires_grad}

    def of(self, outputs: Sequence[Tensor], weights: Sequence[Tensor]) -> list[Tensor]:
        """The weighted gradients at the leaves, zeros where nothing depends on one."""
        used = [(o, w) for o, w in zip(outputs, weights) if o.requires_grad]
        if not used:
            return [zeros_like(x) for x in self.leaves]
        found = gradients([o for o, _ in used], self.leaves, [w for _, w in used], create_graph=True, allow_unused=True)
        return [zeros_like(x) if g is None else g for g, x in zip(found, self.leaves)]

    def released(self, tree: Any, recording: bool) -> Any:
        """Results without the part of the graph that was made here; they keep one that goes on outside of it."""
        return tree_map_only(Tensor, lambda t: t if recording and _goes_on(t, self.made) else t.detach(), tree)


def _goes_on(t: Tensor, made: set[int]) -> bool:
    """Whether a history reaches a leaf that requires grad and is none of ours."""
    if not t.requires_grad:
        return False
    if t.grad_fn is None:
        return id(t) not in made
    seen, left = set(), [t.grad_fn]
    while left:
        node = left.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        for edge in node.edges:
            if type(edge) is tuple:
                left.append(edge[0])
            elif edge is not None and id(edge) not in made:
                return True
    return False


def _chosen(op: str, args: tuple, argnums: Any) -> Any:
    """The arguments of these numbers: one, or a tuple of them."""
    numbers = (argnums,) if isinstance(argnums, int) else argnums
    if not isinstance(numbers, tuple) or not all(isinstance(n, int) for n in numbers):
        raise RuntimeError(f"{op}: argnums must be int or Tuple[int, ...], got {argnums!r}")
    for n in numbers:
        if not -len(args) <= n < len(args):
            raise RuntimeError(f"{op}: Got argnum={n}, but only {len(args)} positional inputs")
    return args[argnums] if isinstance(argnums, int) else tuple(args[n] for n in numbers)


def _with(args: tuple, argnums: Any, values: Any) -> tuple:
    """The arguments with others at these numbers."""
    changed = list(args)
    for n, value in [(argnums, values)] if isinstance(argnums, int) else list(zip(argnums, values)):
        changed[n] = value
    return tuple(changed)


def _split_aux(op: str, result: Any, has_aux: bool) -> tuple[Any, Any]:
    if not has_aux:
        return result, None
    if not isinstance(result, tuple) or len(result) != 2:
        raise RuntimeError(f"{op}: output of function f should be a tuple: (output, aux) if has_aux is True")
    return result


def _tensors(op: str, tree: Any) -> tuple[list[Tensor], TreeSpec]:
    """The leaves of an output."""
    leaves, spec = tree_flatten(tree)
    for x in leaves:
        if not isinstance(x, Tensor):
            raise RuntimeError(f"{op}: Expected f to return only tensors, got unsupported type {type(x).__name__}")
    return leaves, spec


def grad_and_value(func: Callable, argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable:
    """A function that gives (gradient, value) of ``func``, which returns a scalar, or (scalar, aux) with ``has_aux``."""

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        recording = state.grad
        with enable_grad():
            point = Point("grad", _chosen("grad", args, argnums))
            value, aux = _split_aux("grad", func(*_with(args, argnums, point.trees), **kwargs), has_aux)
            if not isinstance(value, Tensor):
                raise RuntimeError(f"grad: Expected f(*args) to return a single tensor, got {type(value).__name__}")
            if value.dim():
                raise RuntimeError(
                    "grad: Expected the output of f to be a scalar tensor (with zero dimensions), got one with"
                    f" {value.dim()} dims. Maybe you wanted to use the vjp or jacrev APIs instead?"
                )
            found = tree_unflatten(point.of([value], [ones_like(value)]), point.spec)
        found, value, aux = (point.released(t, recording) for t in (found, value, aux))
        return (found, (value, aux)) if has_aux else (found, value)

    return wrapper


def grad(func: Callable, argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable:
    """The gradient of ``func`` (which returns a scalar) as a function; ``argnums`` says with respect to which arguments.

    Example:
        >>> import numtorch
        >>> numtorch.func.grad(numtorch.func.grad(lambda x: x**3))(numtorch.tensor(2.0))
        tensor(12.)
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        found, value = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return wrapper


def vjp(func: Callable, *primals: Any, has_aux: bool = False) -> tuple:
    """(output, function), or (output, function, aux): the function gives cotangents times the Jacobian, one per argument.

    Example:
        >>> import numtorch
        >>> y, back = numtorch.func.vjp(numtorch.sin, numtorch.zeros(2))
        >>> back(numtorch.ones(2))
        (tensor([1., 1.]),)
    """
    recording = state.grad
    with enable_grad():
        point = Point("vjp", primals)
        output, aux = _split_aux("vjp", func(*point.trees), has_aux)
        outputs, spec = _tensors("vjp", output)

    def back(cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> tuple:
        given, given_spec = tree_flatten(cotangents)
        if given_spec != spec:
            raise RuntimeError(f"vjp: Expected pytree structure of cotangents to be {spec}, got {given_spec}")
        keep = state.grad
        with enable_grad():
            found = tree_unflatten(point.of(outputs, given), point.spec)
        return point.released(found, keep)

    output, aux = point.released(output, recording), point.released(aux, recording)
    return (output, back, aux) if has_aux else (output, back)


def jvp(func: Callable, primals: tuple, tangents: tuple, *, strict: bool = False, has_aux: bool = False) -> tuple:
    """(output, Jacobian times tangents), or (output, product, aux); by differentiating the ``vjp`` with respect to its weights."""
    if not isinstance(primals, tuple) or not isinstance(tangents, tuple):
        raise RuntimeError("jvp: Expected primals and tangents to be tuples, e.g. jvp(f, (x,), (t,))")
    recording = state.grad
    with enable_grad():
        point = Point("jvp", primals)
        directions, spec = tree_flatten(tangents)
        if spec != point.spec or any(t.shape != x.shape for t, x in zip(directions, point.leaves)):
            raise RuntimeError("jvp: Expected primals and tangents to have the same python structure and shapes")
        output, aux = _split_aux("jvp", func(*point.trees), has_aux)
        outputs, out_spec = _tensors("jvp", output)
        weights = [zeros_like(o).requires_grad_() for o in outputs]
        point.made |= {id(w) for w in weights}
        pairs = [(g, d) for g, d in zip(point.of(outputs, weights), directions) if g.requires_grad]
        found: Any = [None] * len(weights)
        if pairs:
            found = gradients([g for g, _ in pairs], weights, [d for _, d in pairs], create_graph=True, allow_unused=True)
        product = tree_unflatten([zeros_like(o) if p is None else p for p, o in zip(found, outputs)], out_spec)
    output, product, aux = (point.released(t, recording) for t in (output, product, aux))
    return (output, product, aux) if has_aux else (output, product)


def linearize(func: Callable, *primals: Any) -> tuple[Any, Callable]:
    """(output, function of tangents): the best linear approximation of ``func`` at a point."""
    output = func(*primals)
    return output, lambda *tangents: jvp(func, primals, tangents)[1]


def jacrev(func: Callable, argnums: int | tuple[int, ...] = 0, *, has_aux: bool = False, chunk_size: int | None = None,
           _preallocate_and_copy: bool = False) -> Callable:  # fmt: skip
    """The Jacobian of ``func`` as a function, of shape output.shape + input.shape for each output and input; a reverse pass a row.

    Example:
        >>> import numtorch
        >>> numtorch.func.jacrev(lambda x: x * x)(numtorch.tensor([1.0, 2.0]))
        tensor([[2., 0.],
                [0., 4.]])
    """

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        recording = state.grad
        with enable_grad():
            point = Point("jacrev", _chosen("jacrev", args, argnums))
            output, aux = _split_aux("jacrev", func(*_with(args, argnums, point.trees), **kwargs), has_aux)
            outputs, spec = _tensors("jacrev", output)
            jacobians = [tree_unflatten(_rows(point, o), point.spec) for o in outputs]
            found = tree_unflatten(jacobians, spec)
        found, aux = point.released(found, recording), point.released(aux, recording)
        return (found, aux) if has_aux else found

    return wrapper


def _rows(point: Point, output: Tensor) -> list[Tensor]:
    """The Jacobian of one output with respect to each leaf."""
    rows = []
    for k in range(output.numel()):
        seed = zeros_like(output).reshape(-1)
        seed[k] = 1.0
        rows.append(point.of([output], [seed.reshape(output.shape)]))
    if not rows:
        return [x.new_zeros((*output.shape, *x.shape)) for x in point.leaves]
    return [stack(list(column)).reshape((*output.shape, *x.shape)) for column, x in zip(zip(*rows), point.leaves)]


def jacfwd(func: Callable, argnums: int | tuple[int, ...] = 0, has_aux: bool = False, *, randomness: str = "error") -> Callable:
    """The same Jacobian as ``jacrev``; numtorch has no forward mode, so it is computed likewise."""
    return jacrev(func, argnums, has_aux=has_aux)


def hessian(func: Callable, argnums: int | tuple[int, ...] = 0) -> Callable:
    """The second derivatives of ``func`` as a function."""
    return jacrev(jacrev(func, argnums), argnums)
