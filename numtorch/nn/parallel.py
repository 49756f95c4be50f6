"""DataParallel: with one device it calls the module; and the name of DistributedDataParallel."""

from __future__ import annotations

from typing import Any

from ..absent import hints as _hints
from .module import Module


class DataParallel(Module):
    """Holds a module as ``module`` and calls it; there is one device, so the batch is not split.

    Example:
        >>> import numtorch
        >>> net = numtorch.nn.DataParallel(numtorch.nn.Linear(2, 3))
        >>> list(net.state_dict())
        ['module.weight', 'module.bias']
    """

    def __init__(self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0):
        super().__init__()
        if device_ids is not None and len(device_ids) > 1:
            raise NotImplementedError(
                "DataParallel: numtorch computes on one device at a time, but"
                f" device_ids={list(device_ids)}; give one device or none"
            )
        self.dim = dim
        self.module = module
        self.device_ids = [] if device_ids is None else list(device_ids)
        self.output_device = output_device

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        return self.module(*inputs, **kwargs)


class DistributedDataParallel(Module):
    """Refuses: numtorch has no process groups, so a program of one process uses the module itself."""

    def __init__(self, module: Module, *args: Any, **kwargs: Any):
        raise NotImplementedError(
            f"DistributedDataParallel: numtorch computes in one process, so there is nothing to average {type(module).__name__}'s"
            " gradients with; use the module itself"
        )


def data_parallel(
    module: Module,
    inputs: Any,
    device_ids: Any = None,
    output_device: Any = None,
    dim: int = 0,
    module_kwargs: dict[str, Any] | None = None,
) -> Any:
    """Call a module as ``DataParallel`` does."""
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    return DataParallel(module, device_ids, output_device, dim)(*inputs, **(module_kwargs or {}))

__getattr__ = _hints(__name__)
