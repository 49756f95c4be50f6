"""Functions of functions: derivatives and maps over a batch, as ``torch.func`` has them.

    from numtorch.func import grad, jacrev, vmap

    per_sample = vmap(grad(loss), in_dims=(None, 0))(parameters, batch)

Derivatives are reverse passes; ``vmap`` calls the function once for each element and stacks the results, so it says what is
meant but gains no speed by itself (a trace of it does).
"""

from __future__ import annotations

from typing import Any

from ..nn.utils.stateless import functional_call
from .batching import replace_all_batch_norm_modules_, stack_module_state, vmap
from .derivatives import grad, grad_and_value, hessian, jacfwd, jacrev, jvp, linearize, vjp

__all__ = ["functional_call", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize",
           "replace_all_batch_norm_modules_", "stack_module_state", "vjp", "vmap"]  # fmt: skip


def __getattr__(name: str) -> Any:
    from ..absent import error

    raise error(__name__, name, __all__)
