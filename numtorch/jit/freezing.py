"""``freeze``: a module's trace whose weights are constants."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from .passes import check_names
from .trace import Traced


def freeze(mod: Any, preserved_attrs: Sequence[str] | None = None, optimize_numerics: bool = True) -> Traced:
    """A trace of a module in evaluation mode that takes its parameters and buffers as constants.

    What depends on weights alone is computed once: batch norm goes into the convolution before it, and weights are stored in
    the order in which the kernels read them. The frozen module has weights of its own: later changes of ``mod`` are not seen,
    and no gradients of weights are computed. ``mod``: a module, or the trace of one. ``optimize_numerics``: without it only
    rewritings with the same bits are made. ``preserved_attrs`` is accepted; all attributes stay.

    Raises RuntimeError for a module in training mode, TypeError for what is no module.

    Example:
        >>> import numtorch
        >>> from numtorch import nn
        >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()).eval()
        >>> fast = numtorch.jit.freeze(numtorch.jit.trace(model, numtorch.ones(1, 1, 8, 8)))
        >>> fast(numtorch.ones(1, 1, 8, 8)).shape
        torch.Size([1, 2, 6, 6])
    """
    from ..nn import Module

    traced = mod if isinstance(mod, Traced) else None
    module = traced.function if traced is not None else mod
    if not isinstance(module, Module):
        raise TypeError(f"freeze: expected a module or the trace of one, got {type(module).__name__}")
    if any(m.training for m in module.modules()):
        raise RuntimeError(
            "Freezing is currently only implemented for modules in eval mode. Please call .eval() on your module before freezing."
        )
    own = copy.deepcopy(module).requires_grad_(False)
    chosen = None if traced is None else traced._passes
    if not optimize_numerics:
        from .passes import PASSES

        chosen = sorted((set(PASSES) if chosen is None else check_names(chosen)) - {"normalize", "prepack"})
    return Traced(own, True if traced is None else traced.check_trace, chosen, frozen=True)
