"""Checkpointing: keep the inputs of a part of the network instead of its activations, and compute them again for the backward.

T. Chen, B. Xu, C. Zhang, C. Guestrin: "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174 (2016).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from .._tensor import Tensor
from ..autograd.mode import enable_grad, is_grad_enabled
from ..autograd.saved import saved_tensors_hooks


class CheckpointError(RuntimeError):
    """The second run of a checkpointed function did other things than the first."""


class _Place:
    """Stands for a saved tensor: the how-manieth that the function saved."""

    __slots__ = ("frame", "index")

    def __init__(self, frame: _Frame, index: int):
        self.frame, self.index = frame, index


class _Frame:
    """One call of a checkpointed function: what it takes to run it again."""

    def __init__(self, function: Callable, args: tuple, kwargs: dict, preserve_rng_state: bool, contexts: Callable | None):
        from ..random import get_rng_state

        self.function, self.args, self.kwargs = function, args, kwargs
        self.rng = get_rng_state() if preserve_rng_state else None
        self.contexts = contexts
        self.saved: list[tuple] = []  # (shape, dtype) of each tensor the first run saved
        self.again: dict[int, Tensor] = {}

    def pack(self, t: Tensor) -> _Place:
        self.saved.append((tuple(t.shape), t.dtype))
        return _Place(self, len(self.saved) - 1)

    def unpack(self, place: _Place) -> Tensor:
        if place.index not in self.again:
            self._run_again()
        return self.again.pop(place.index)

    def _run_again(self) -> None:
        from ..random import fork_rng, set_rng_state

        found: list[Tensor] = []

        def keep(t: Tensor) -> int:
            found.append(t.detach())
            return len(found) - 1

        def never(index: int) -> Tensor:
            return found[index]

        with fork_rng(enabled=self.rng is not None), enable_grad(), saved_tensors_hooks(keep, never):
            if self.rng is not None:
                set_rng_state(self.rng)
            with self.contexts() if self.contexts is not None else contextlib.nullcontext():
                self.function(*_detached(self.args), **self.kwargs)
        have = [(tuple(t.shape), t.dtype) for t in found]
        if have != self.saved:
            raise CheckpointError(
                f"checkpoint: the function saved {len(have)} tensors when it was run again, {len(self.saved)} the first time,"
                " or others; it must do the same each time it is called (no state that changes, no branch on the time)"
            )
        self.again = dict(enumerate(found))


def _detached(args: Sequence[Any]) -> list[Any]:
    return [a.detach().requires_grad_(a.requires_grad) if isinstance(a, Tensor) else a for a in args]


def checkpoint(
    function: Callable, *args: Any, use_reentrant: bool | None = None, preserve_rng_state: bool = True,
    context_fn: Callable | None = None, determinism_check: str = "default", debug: bool = False, **kwargs: Any,
) -> Any:  # fmt: skip
    """Call ``function(*args, **kwargs)`` without keeping what its backward needs; that is computed again when it is needed.

    Saves memory, costs a second forward. Random numbers are the same in the second run (``preserve_rng_state``). ``context_fn``
    returns two context managers, for the first run and for the second. ``use_reentrant`` is accepted: both values work like
    PyTorch's False. Raises CheckpointError in the backward if the second run saves other tensors than the first.

    Example:
        >>> layer = torch.nn.Linear(4, 4)
        >>> x = torch.ones(2, 4, requires_grad=True)
        >>> torch.utils.checkpoint.checkpoint(lambda t: layer(t).tanh().exp(), x).sum().backward()
        >>> x.grad.shape
        torch.Size([2, 4])
    """
    if determinism_check not in ("default", "none"):
        raise ValueError(f"checkpoint: determinism_check must be 'default' or 'none', got {determinism_check!r}")
    first, second = context_fn() if context_fn is not None else (contextlib.nullcontext(), None)
    if not is_grad_enabled():
        with first:
            return function(*args, **kwargs)
    frame = _Frame(function, args, kwargs, preserve_rng_state, None if second is None else lambda: second)
    with first, saved_tensors_hooks(frame.pack, frame.unpack):
        return function(*args, **kwargs)


def checkpoint_sequential(functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any) -> Any:
    """Run modules one after the other in ``segments`` checkpointed parts (the last part is kept as usual).

    Example:
        >>> model = torch.nn.Sequential(*[torch.nn.Linear(3, 3) for _ in range(4)])
        >>> torch.utils.checkpoint.checkpoint_sequential(model, 2, torch.ones(1, 3)).shape
        torch.Size([1, 3])
    """
    layers = list(functions.children()) if hasattr(functions, "children") else list(functions)
    if not 1 <= segments <= len(layers):
        raise ValueError(
            f"checkpoint_sequential: expected 1 to {len(layers)} segments for {len(layers)} layers, got {segments}"
        )

    def run(start: int, end: int) -> Callable:
        def part(x: Any) -> Any:
            for layer in layers[start:end]:
                x = layer(x)
            return x

        return part

    size, end = len(layers) // segments, 0
    for k in range(segments - 1):
        start, end = k * size, (k + 1) * size
        input = checkpoint(run(start, end), input, use_reentrant=use_reentrant, **kwargs)
    return run(end, len(layers))(input)
