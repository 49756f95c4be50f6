"""Moving a module's tensors to another dtype or device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numtorch

from .._tensor import Tensor
from ..errors import no_dtype
from .parameter import is_lazy


def parse_to(*args: Any, **kwargs: Any) -> tuple[Any, Any, bool]:
    """(device, dtype, non_blocking) from the arguments that ``Tensor.to`` takes; None where not given."""
    device, dtype, non_blocking = (
        kwargs.pop("device", None),
        kwargs.pop("dtype", None),
        kwargs.pop("non_blocking", False),
    )
    kwargs.pop("copy", None)
    if "tensor" in kwargs:
        args = (kwargs.pop("tensor"), *args)
    if kwargs:
        raise TypeError(f"to() got an unexpected keyword argument '{next(iter(kwargs))}'")
    for position, value in enumerate(args):
        if isinstance(value, Tensor) and position == 0:
            device, dtype = value.device, value.dtype
        elif isinstance(value, numtorch.dtype):
            dtype = value
        elif isinstance(value, bool):
            non_blocking = value
        elif isinstance(value, (str, int, numtorch.device)) and position == 0:
            device = value
        elif hasattr(value, "is_floating_point"):
            raise no_dtype("to", value)
        elif value is not None:
            raise TypeError(f"to() received an invalid argument of type {type(value).__name__}: {value!r}")
    return (None if device is None else numtorch.device(device)), dtype, non_blocking


def _convert_lazy(tensor: Any, fn: Callable[[Tensor], Tensor]) -> None:
    """Give a tensor without a shape the device and the dtype that ``fn`` gives; it stays the same object."""
    with numtorch.no_grad():
        tensor.data = fn(numtorch.empty(0, dtype=tensor.dtype, device=tensor.device))


class ConvertMixin:
    """The part of ``Module`` that converts its parameters and buffers."""

    _parameters: dict
    _buffers: dict
    children: Callable[[], Iterator[Any]]
    parameters: Callable[[], Iterator[Any]]
    buffers: Callable[[], Iterator[Any]]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Replace the data of every parameter, gradient and buffer by ``fn`` of it; parameters stay the
        same objects.
        """
        if recurse:
            for module in self.children():
                module._apply(fn)
        for parameter in self._parameters.values():
            if parameter is None:
                continue
            if is_lazy(parameter):
                _convert_lazy(parameter, fn)
                continue
            with numtorch.no_grad():
                new = fn(parameter)
            gradient = parameter.grad
            if new is not parameter:
                parameter.data = new
            if gradient is not None:
                with numtorch.no_grad():
                    new_gradient = fn(gradient)
                parameter.grad = new_gradient.requires_grad_(gradient.requires_grad)
        for key, buffer in self._buffers.items():
            if buffer is not None and is_lazy(buffer):
                _convert_lazy(buffer, fn)
            elif buffer is not None:
                self._buffers[key] = fn(buffer)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Move all tensors to a device and all floating-point ones to a dtype, in place; returns the module.

        Example:
            >>> import numtorch
            >>> numtorch.nn.Linear(2, 3).to(numtorch.float64).weight.dtype.itemsize
            8
        """
        order = kwargs.pop("memory_format", None)
        device, dtype, non_blocking = parse_to(*args, **kwargs)
        if dtype is not None and not dtype.is_floating_point:
            raise TypeError(
                f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={dtype}"
            )

        def convert(t: Tensor) -> Tensor:
            kind = dtype if dtype is not None and t.is_floating_point() else None
            moved = _convert(t, device, kind, non_blocking)
            return moved if order is None or moved.dim() not in (4, 5) else moved.contiguous(memory_format=order)

        return self._apply(convert)

    def _cast(self, dtype: Any) -> Any:
        return self._apply(lambda t: _convert(t, None, dtype, False) if t.is_floating_point() else t)

    def float(self) -> Any:
        """Cast floating-point parameters and buffers to float32."""
        return self._cast(numtorch.float32)

    def double(self) -> Any:
        """Cast floating-point parameters and buffers to float64."""
        return self._cast(numtorch.float64)

    def half(self) -> Any:
        """Cast floating-point parameters and buffers to float16."""
        return self._cast(numtorch.float16)

    def bfloat16(self) -> Any:
        """Cast floating-point parameters and buffers to bfloat16."""
        return self._cast(numtorch.bfloat16)

    def type(self, dst_type: Any) -> Any:
        """Cast all parameters and buffers to a dtype."""
        return self._apply(lambda t: t.type(dst_type))

    def cuda(self, device: Any = None) -> Any:
        """Move all parameters and buffers to the GPU; raises a clear error where there is none."""
        return self._apply(lambda t: t.cuda(device))

    def cpu(self) -> Any:
        """Move all parameters and buffers to the CPU."""
        return self._apply(lambda t: t.cpu())

    def to_empty(self, *, device: Any, recurse: bool = True) -> Any:
        """Move to a device without keeping the values."""
        return self._apply(lambda t: numtorch.empty_like(t, device=device), recurse=recurse)

    def share_memory(self) -> Any:
        """Move all parameters and buffers to memory that other processes can share."""
        for t in (*self.parameters(), *self.buffers()):
            if is_lazy(t):
                t.share_memory_()  # raises: there is no memory to share yet
        return self._apply(lambda t: t.share_memory_())  # type: ignore[attr-defined]


def _convert(t: Tensor, device: Any, dtype: Any, non_blocking: bool) -> Tensor:
    arguments = {} if device is None else {"device": device}
    return t.to(dtype=dtype or t.dtype, non_blocking=non_blocking, **arguments)
