"""Ops whose values come from NumPy: no kernel, so they run eagerly on the host and refuse to be traced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autograd.mode import state
from .declare import KernelOp


class HostOp(KernelOp):
    """An op with PyTorch's shapes and derivatives; ``compute(*arrays, **attrs)`` returns an array per output."""

    compute_values: Callable | None = None

    def compute(self, function: Callable) -> Callable:
        """Decorator: the values, from NumPy arrays of the inputs."""
        self.compute_values = function
        return function

    def run(self, outputs: Sequence[Any], inputs: Sequence[Any], attrs: dict) -> None:
        """Compute on the host and write the results."""
        if state.recorder is not None:
            state.recorder.refuse(f"{self.name} is computed by NumPy, which a trace cannot repeat")
        assert self.compute_values is not None
        arrays = [None if x is None else x.detach().cpu()._numbers() for x in inputs]
        try:
            with np.errstate(all="ignore"):
                results = self.compute_values(*arrays, **attrs)
        except np.linalg.LinAlgError as error:
            from ..linalg import LinAlgError

            raise LinAlgError(f"linalg.{self.name}: {error}; the input may be singular or hold NaN") from None
        for out, values in zip(outputs, results if isinstance(results, tuple) else (results,)):
            la = out._layout
            if la.device == "cpu":
                out._numpy()[...] = la.dtype.stored(values).reshape(la.shape)
            else:
                from ..creation import from_array

                out.copy_(from_array(np.reshape(values, la.shape), la.dtype))


def host_op(inputs: Sequence[str], saves: Sequence[str] = (), nograd: Sequence[int] = (), name: str | None = None) -> Callable[[Callable], HostOp]:  # fmt: skip
    """Declare a ``HostOp`` by its rule for the output layouts."""

    def declare(meta: Callable) -> HostOp:
        return HostOp(name or meta.__name__, meta, tuple(inputs), tuple(saves), tuple(nograd))

    return declare
