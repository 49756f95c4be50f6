"""Exchange of memory with other libraries through DLPack (and ``__cuda_array_interface__`` on a GPU)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._tensor import Tensor


def to_dlpack(tensor: Tensor, **kwargs: Any) -> Any:
    """A DLPack capsule of a tensor's memory; BufferError for a tensor that requires grad."""
    if tensor.requires_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    if tensor.is_cuda:
        from .cuda import runtime

        return runtime.to_dlpack(tensor, **kwargs)
    array = tensor.numpy()
    if array.dtype == np.bool_ or not kwargs:
        return array.__dlpack__()
    kwargs.pop("stream", None)
    return array.__dlpack__(**kwargs)


def from_dlpack(ext_tensor: Any, **kwargs: Any) -> Tensor:
    """A tensor over the memory of any object with ``__dlpack__``, without a copy.

    Example:
        >>> import numtorch, numpy
        >>> numtorch.from_dlpack(numpy.arange(3)).tolist()
        [0, 1, 2]
    """
    from .creation import from_numpy

    device = getattr(ext_tensor, "__dlpack_device__", lambda: (1, 0))()
    if device[0] == 2:
        from .cuda import runtime

        return runtime.from_dlpack(ext_tensor)
    array = np.from_dlpack(ext_tensor)
    if not array.flags.writeable:
        # NumPy marks what it imports read-only; the exporter handed the memory out for writing.
        view = (
            np.ndarray(array.shape, array.dtype, _Memory(array), 0, array.strides)
            if array.size
            else array.copy()
        )
        return from_numpy(view)
    return from_numpy(array)


class _Memory(np.ndarray):
    """A writable one-dimensional window over an array's memory, which it keeps alive."""

    def __new__(cls, array: np.ndarray) -> Any:
        from .shape import extent

        _low, high = extent(array.shape, array.strides)
        holder = _Bytes(array, high + array.itemsize)
        return np.asarray(holder).view(cls)


class _Bytes:
    """Exports bytes from an array's first element on."""

    def __init__(self, array: np.ndarray, nbytes: int):
        self.array = array
        self.__array_interface__ = {
            "version": 3, "data": (array.__array_interface__["data"][0], False), "shape": (nbytes,), "typestr": "|u1"
        }  # fmt: skip
