"""Exchange of memory with other libraries through DLPack (and ``__cuda_array_interface__`` on a GPU)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._tensor import Tensor
from .dtype import bfloat16


def to_dlpack(tensor: Tensor, **kwargs: Any) -> Any:
    """A DLPack capsule of a tensor's memory; BufferError for a tensor that requires grad."""
    if tensor.requires_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    capsule = _exported(tensor, kwargs)
    if tensor.dtype is bfloat16:
        _kind_in(capsule).value = _BFLOAT
    return capsule


def _exported(tensor: Tensor, kwargs: dict) -> Any:
    """The capsule; of bfloat16 one that says unsigned integers."""
    if tensor.is_cuda:
        from .cuda import runtime

        return runtime.to_dlpack(tensor, **kwargs)
    array = tensor.detach()._numpy()
    if array.dtype == np.bool_ or not kwargs:
        return array.__dlpack__()
    kwargs.pop("stream", None)
    return array.__dlpack__(**kwargs)


_UINT, _BFLOAT = 1, 4  # DLPack's kinds of numbers


def _kind_in(capsule: Any) -> Any:
    """The byte of a capsule's description that says which kind of number it holds."""
    import ctypes

    name_of, pointer_of = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    name = name_of(capsule)
    start = pointer_of(capsule, name) + (32 if name == b"dltensor_versioned" else 0)  # version, context, deleter, flags
    return ctypes.c_uint8.from_address(start + 20)  # after address, device and number of dimensions


def from_dlpack(ext_tensor: Any, **kwargs: Any) -> Tensor:
    """A tensor over the memory of any object with ``__dlpack__`` (or of a capsule that it gave), without a copy.

    RuntimeError for dtypes that numtorch doesn't have.

    Example:
        >>> import numtorch, numpy
        >>> numtorch.from_dlpack(numpy.arange(3)).tolist()
        [0, 1, 2]
    """
    from .creation import from_numpy

    if type(ext_tensor).__name__ == "PyCapsule":
        ext_tensor = _Capsule(ext_tensor)
    if str(getattr(ext_tensor, "dtype", "")).endswith("bfloat16"):
        return from_dlpack(_Bits(ext_tensor)).view(bfloat16)
    device = getattr(ext_tensor, "__dlpack_device__", lambda: (1, 0))()
    if device[0] == 2:
        from .cuda import runtime

        return runtime.from_dlpack(ext_tensor, type(ext_tensor) is _Bits)
    try:
        array = np.from_dlpack(ext_tensor)
        array = array.view(np.int16) if type(ext_tensor) is _Bits else array
    except RuntimeError as error:
        if "dtype" not in str(error):
            raise
        raise RuntimeError(
            f"from_dlpack: numtorch has no such dtype ({error} {getattr(ext_tensor, 'dtype', '')}); convert to float32 or int64 first"
        ) from error
    if not array.flags.writeable:
        # NumPy marks what it imports read-only; the exporter handed the memory out for writing.
        view = (
            np.ndarray(array.shape, array.dtype, _Memory(array), 0, array.strides)
            if array.size
            else array.copy()
        )
        return from_numpy(view)
    return from_numpy(array)


class _Capsule:
    """A DLPack capsule as an object that can be asked for it once."""

    def __init__(self, capsule: Any):
        self.capsule = capsule
        self.dtype = "bfloat16" if _kind_in(capsule).value == _BFLOAT else ""

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        import ctypes

        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        kind, number = (ctypes.c_int32 * 2).from_address(pointer(self.capsule, b"dltensor") + 8)  # after the address of the data
        return kind, number


class _Bits:
    """An exporter of bfloat16 whose capsules say unsigned integers, which NumPy reads."""

    def __init__(self, exporter: Any):
        self.exporter = exporter

    def __dlpack__(self, **kwargs: Any) -> Any:
        capsule = self.exporter.__dlpack__(**kwargs)
        _kind_in(capsule).value = _UINT
        return capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.exporter.__dlpack_device__()


def from_cuda_array(data: Any) -> Tensor:
    """A tensor over the memory of an object with ``__cuda_array_interface__``, without a copy."""
    from .cuda import runtime

    return runtime.from_cuda_array(data)


def cuda_array_interface(self: Tensor) -> dict[str, Any]:
    """How other libraries find a CUDA tensor's memory (the CUDA array interface, version 3)."""
    if not self.is_cuda:
        raise AttributeError(
            f"Can't get __cuda_array_interface__ on non-CUDA tensor type: {self.type()}. If CUDA data is required use"
            " tensor.cuda() to copy tensor to device memory."
        )
    if self.requires_grad:
        raise RuntimeError(
            "Can't get __cuda_array_interface__ on Variable that requires grad. If gradients aren't required, use"
            " var.detach() to get Variable that doesn't require grad."
        )
    if self.dtype is bfloat16:
        raise TypeError("the CUDA array interface has no bfloat16; exchange the tensor by DLPack, or convert it with .float()")
    from .cuda import current_stream

    la, size = self._layout, self._layout.itemsize
    return {
        "version": 3, "shape": tuple(la.shape), "typestr": la.dtype.numpy.str,
        "strides": None if la.contiguous else tuple(s * size for s in la.strides),
        "data": (self._address() if la.numel else 0, False),
        "stream": current_stream(la.device).cuda_stream,
    }  # fmt: skip


def pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """A copy in page-locked memory, from which a GPU copies by itself; RuntimeError where there is no GPU."""
    from .cuda import pinned

    return pinned.pin_memory(self, device)


def is_pinned(self: Tensor, device: Any = None) -> bool:
    """Whether the tensor is in page-locked memory."""
    from .cuda import pinned

    return pinned.is_pinned(self, device)


def record_stream(self: Tensor, stream: Any) -> None:
    """Say that a CUDA tensor is used on a stream beside its own, so that its memory isn't reused before that is done."""
    from .cuda import streams

    streams.record_stream(self, stream)


def share_memory_(self: Tensor) -> Tensor:
    """Move the tensor's memory to where other processes can see it (``numtorch.multiprocessing``), and return the tensor."""
    from . import multiprocessing
    from .multiprocessing import shared

    multiprocessing.init_reductions()
    return shared.share_memory_(self)


def is_shared(self: Tensor) -> bool:
    """Whether other processes can see the tensor's memory: after ``share_memory_()`` or a way through a queue; on a GPU always."""
    from .multiprocessing import shared

    return self.is_cuda or shared.is_shared(self)


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
