"""``vmap``: a function of one element, called for each element of a batch; and modules stacked for it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from .._tensor import Tensor
from ..nn import Module
from ..ops.joining import stack
from ..random import get_rng_state, set_rng_state
from ..utils._pytree import tree_flatten, tree_unflatten


def vmap(func: Callable, in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error", *, chunk_size: int | None = None) -> Callable:
    """``func`` over a batch: dimension ``in_dims`` of each tensor is taken apart, the results are stacked along ``out_dims``.

    ``in_dims`` is an int for all arguments, or nested like them, with None for what every call gets whole. ``randomness``:
    "different" draws anew for each element, "same" the same for all, "error" refuses random numbers. Keyword arguments are
    taken apart along dimension 0. The function is called once for each element.

    Example:
        >>> import numtorch
        >>> numtorch.func.vmap(numtorch.dot)(numtorch.ones(3, 2), numtorch.ones(3, 2))
        tensor([2., 2., 2.])
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}")

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        leaves, spec = tree_flatten((args, kwargs))
        dims = [*_dims(in_dims, args), *[0 if isinstance(x, Tensor) else None for x in tree_flatten(kwargs)[0]]]
        dims = [_checked(func, x, d) for x, d in zip(leaves, dims)]
        sizes = {x.shape[d] for x, d in zip(leaves, dims) if d is not None}
        if not sizes:
            raise ValueError(f"vmap({_name(func)}, in_dims={in_dims}): at least one input must be mapped over: give a tensor an in_dim that is no None")
        if len(sizes) > 1:
            raise ValueError(f"vmap: Expected all tensors to have the same size in the mapped dimension, got sizes {sorted(sizes)} for the mapped dimension")
        results, out_spec, before = [], None, get_rng_state()
        for i in range(sizes.pop()):
            if randomness == "same":
                set_rng_state(before)
            given, named = tree_unflatten([x if d is None else x.select(d, i) for x, d in zip(leaves, dims)], spec)
            result, out_spec = tree_flatten(func(*given, **named))
            results.append(result)
        if randomness == "error" and not bool((get_rng_state() == before).all()):
            raise RuntimeError("vmap: called random operation while in randomness error mode. Please either use the 'same' or 'different' randomness flags")
        return _stacked(func, results, out_spec, out_dims)

    return wrapper


def _name(func: Callable) -> str:
    return getattr(func, "__name__", repr(func))


def _dims(in_dims: Any, args: tuple) -> list[Any]:
    """A dimension (or None) for each leaf of the arguments."""
    if isinstance(in_dims, int):
        return [in_dims] * len(tree_flatten(args)[0])
    if not isinstance(in_dims, (tuple, list)) or len(in_dims) != len(args):
        raise ValueError(
            f"vmap: in_dims is not compatible with the structure of inputs: expected an int or {len(args)} entries, got {in_dims!r}"
        )
    return [d for want, arg in zip(in_dims, args) for d in _spread(want, arg)]


def _spread(want: Any, arg: Any) -> list[Any]:
    """The dimensions of one argument's leaves: one for all, or nested like it."""
    if want is None or isinstance(want, int):
        return [want] * len(tree_flatten(arg)[0])
    wanted = list(want.values()) if isinstance(want, dict) else list(want)
    parts = [arg[k] for k in want] if isinstance(want, dict) else list(arg)
    if len(wanted) != len(parts):
        raise ValueError(f"vmap: in_dims is not compatible with the structure of inputs: {want!r} has {len(wanted)} entries for {len(parts)}")
    return [d for w, a in zip(wanted, parts) for d in _spread(w, a)]


def _checked(func: Callable, x: Any, d: Any) -> Any:
    """A dimension of a tensor, from 0; ValueError for what has none."""
    if d is None:
        return None
    if not isinstance(x, Tensor):
        raise ValueError(f"vmap({_name(func)}): Got in_dim={d} for an input of type {type(x)} where only Tensors can be mapped; give None for it")
    if not -x.dim() <= d < x.dim():
        raise ValueError(f"vmap({_name(func)}): Got in_dim={d} for some input, but that input is a Tensor of dimensionality {x.dim()}")
    return d % x.dim()


def _stacked(func: Callable, results: list[list[Any]], spec: Any, out_dims: Any) -> Any:
    if spec is None:
        raise RuntimeError(f"vmap({_name(func)}): the mapped dimension has size 0, so the function was not called and has no result")
    count = len(results[0])
    dims = [out_dims] * count if isinstance(out_dims, int) or out_dims is None else list(out_dims)
    if len(dims) != count:
        raise ValueError(f"vmap({_name(func)}): out_dims is not compatible with the structure of `outputs`: {out_dims!r} for {count} outputs")
    for x in results[0]:
        if not isinstance(x, Tensor):
            raise ValueError(f"vmap({_name(func)}): `{_name(func)}` must only return Tensors, got type {type(x)}. Did you mean to return numtorch.tensor(...)?")
    columns = [list(column) for column in zip(*results)]
    return tree_unflatten([c[0] if d is None else stack(c, d) for c, d in zip(columns, dims)], spec)


def stack_module_state(models: Sequence[Module]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(parameters, buffers) of models of one kind, stacked along a new first dimension, for ``vmap`` over ``functional_call``."""
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if any(type(m) is not type(models[0]) for m in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    if len({m.training for m in models}) > 1:
        raise RuntimeError("stack_module_state: Expected all models to have the same training/eval mode.")
    parameters = {n: stack([m.get_parameter(n).detach() for m in models]).requires_grad_(p.requires_grad)
                  for n, p in models[0].named_parameters()}  # fmt: skip
    buffers = {n: stack([m.get_buffer(n) for m in models]).detach() for n, _ in models[0].named_buffers()}
    return parameters, buffers


def replace_all_batch_norm_modules_(root: Module) -> Module:
    """Let batch norms use the statistics of their batch only, and keep none, so that they are functions of their input."""
    from ..nn.norm import _BatchNorm

    for m in root.modules():
        if isinstance(m, _BatchNorm):
            m.track_running_stats, m.running_mean, m.running_var, m.num_batches_tracked = False, None, None, None
    return root
