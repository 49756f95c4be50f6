"""The op batteries on a GPU: what the CPU gives, the GPU gives.

``elementwise`` goes through numtorch's own table, ``entry`` through PyTorch's operator database (its samples are made by PyTorch,
which need not have a GPU). Both yield a line for each difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import numtorch

TOLERANCE = {"bfloat16": 2e-2, "float16": 2e-2, "float32": 2e-4, "float64": 1e-6}
# Seeds, but no tensors: nothing that a device could change, or memory as it was found.
NOT_COMPARED = set("empty empty_like empty_permuted empty_strided new_empty new_empty_strided resize_ resize_as_".split())


def different(here: Any, there: Any, path: str = "output") -> str | None:
    """How results on the CPU and on a GPU differ; None if they agree."""
    if isinstance(here, numtorch.Tensor):
        if not isinstance(there, numtorch.Tensor) or (here.dtype, here.shape) != (there.dtype, there.shape):
            return f"{path}: {there!r:.80} instead of {here!r:.80}"
        a, b = here.detach()._numbers(), there.detach().cpu()._numbers()
        close = TOLERANCE.get(here.dtype.name, 0.0)
        if here.dtype.is_floating_point:
            scale = np.abs(np.where(np.isfinite(a), a, 0)).max(initial=0)
            if np.allclose(b.astype(np.float64), a.astype(np.float64), close, close * max(float(scale), 1e-3), equal_nan=True):
                return None
        elif np.array_equal(a, b):
            return None
        return f"{path}: {b.ravel()[:4]} instead of {a.ravel()[:4]}"
    if isinstance(here, (tuple, list)):
        if len(here) != len(there):
            return f"{path}: {len(there)} results instead of {len(here)}"
        return next(filter(None, (different(a, b, f"{path}[{i}]") for i, (a, b) in enumerate(zip(here, there)))), None)
    return None if here == there or here != here or isinstance(here, numtorch.device) else f"{path}: {there} instead of {here}"


def gradients(result: Any, inputs: list[Any]) -> list[Any]:
    """The gradients of leaves, started from the same numbers on both devices."""
    outputs = [t for t in leaves(result) if t.requires_grad]
    wanted = [t for t in inputs if t.requires_grad and t.is_leaf]
    if not outputs or not wanted:
        return []
    starts = [numtorch.cos(numtorch.arange(t.numel(), dtype=numtorch.float32)).reshape(t.shape).to(t.dtype).to(t.device) for t in outputs]
    found = numtorch.autograd.grad(outputs, wanted, starts, allow_unused=True)
    return [numtorch.zeros(0) if g is None else g for g in found]


def leaves(value: Any) -> list[Any]:
    """The tensors in a nest of arguments or results."""
    if isinstance(value, numtorch.Tensor):
        return [value]
    value = list(value.values()) if isinstance(value, dict) else value
    return [t for v in value for t in leaves(v)] if isinstance(value, (tuple, list)) else []


def on_gpu(value: Any) -> Any:
    """A nest of arguments with every tensor on the GPU; one that appears twice does there."""
    made: dict[int, Any] = {}

    def moved(v: Any) -> Any:
        if isinstance(v, numtorch.Tensor):
            if id(v) not in made:
                made[id(v)] = v.detach().cuda().requires_grad_(v.requires_grad)
            return made[id(v)]
        if isinstance(v, (list, tuple)) and not hasattr(v, "_fields") and type(v) is not numtorch.Size:
            return type(v)(map(moved, v))
        return {k: moved(x) for k, x in v.items()} if isinstance(v, dict) else v

    return moved(value)


def compared(function: Any, args: list[Any], kwargs: dict[str, Any]) -> str | None:
    """How a call and its gradients on a GPU differ from those on the CPU."""
    answers, inputs = [], [leaves([args, kwargs])]
    there, named = on_gpu([args, kwargs])
    inputs.append(leaves([there, named]))
    for arguments, options in ((args, kwargs), (there, named)):
        numtorch.manual_seed(0)
        try:
            answers.append(function(*arguments, **options))
        except Exception as error:
            answers.append(type(error).__name__)
            if len(answers) == 2 and answers[0] != answers[1]:
                return f"{type(error).__name__}: {error}"[:200]
    if isinstance(answers[0], str):
        return None if answers[0] == answers[1] else f"{answers[0]} on the CPU alone"
    found = different(answers[0], answers[1])
    if found is not None:
        return found
    return different(*[gradients(a, i) for a, i in zip(answers, inputs)], path="gradients")


def elementwise(name: str, shape: tuple[int, ...] = (5, 7)) -> Iterator[str]:
    """An op of the table on contiguous, strided and broadcast operands, with gradients."""
    from ops.test_elementwise import FLAT, ONE_SIDED, draw

    op = numtorch.ops.TABLE[name]
    arrays = draw(op, shape, np.float32)
    grad = op.grad_body is not None and name not in FLAT | ONE_SIDED
    plain = [numtorch.tensor(a, requires_grad=grad) for a in arrays]
    turned = [numtorch.tensor(np.ascontiguousarray(a.T)).t() for a in arrays]
    mixed = [numtorch.tensor(a if k == 0 else a[:1]) for k, a in enumerate(arrays)]
    for how, operands in (("contiguous", plain), ("strided", turned), ("broadcast", mixed)):
        found = compared(op, operands, {})
        if found is not None:
            yield f"{name} {how}: {found}"


def entry(op: Any, most: int, largest: int = 10**9) -> Iterator[str]:
    """Samples of an entry of PyTorch's operator database, at most ``largest`` numbers each."""
    from opinfo.carry import Skip, counterpart
    from opinfo.checks import NOT_UNIQUE, Call, main_dtype, samples

    if op.name in NOT_UNIQUE | NOT_COMPARED:
        return
    dtype = main_dtype(op)
    for sample in samples(op, dtype, op.supports_autograd and dtype.is_floating_point, most):
        try:
            call, function = Call(op, sample), counterpart(op)
        except Skip:
            continue
        arguments = [call.mine, call.named]
        if sum(t.numel() for t in leaves(arguments)) <= largest:
            found = compared(function, *arguments)
            if found is not None:
                yield f"{op.full_name} {call.text}: {found}"
