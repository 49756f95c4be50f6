"""Memory of tensors, 64-byte aligned, large blocks from a pool of free ones, and the version counter of in-place changes."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

import numpy as np

from .autograd.mode import state

ALIGNMENT = 64
SMALL = 1 << 14  # blocks up to this size are not pooled
INFERENCE = -(1 << 60)  # the version of memory made in inference mode: in-place changes never bring it to 0

# At most 1 GiB stays in free blocks; beyond that they go back to the system.
_free: dict[int, list] = {}
_cached = [0]  # bytes in free blocks


def _size_class(nbytes: int) -> int:
    """The block size for a request: eight steps per power of two."""
    step = 1 << (nbytes.bit_length() - 4)
    return (nbytes + step - 1) & -step


def _aligned(nbytes: int) -> tuple[int, np.ndarray]:
    array = np.empty(nbytes + ALIGNMENT, np.uint8)
    address = array.__array_interface__["data"][0]
    return (address + ALIGNMENT - 1) & -ALIGNMENT, array


_PAYLOAD = bytes.__basicsize__ - 1  # where the content of a bytes object begins, if the next line agrees
_IN_BYTES = sys.implementation.name == "cpython" and (
    ctypes.string_at(id(_probe := bytes(range(100))) + _PAYLOAD, 100) == _probe
)


def _small(nbytes: int) -> tuple[int, Any]:
    """(address, owner) of a few bytes: a bytes object, which Python's allocator makes and frees faster than a pool here."""
    if not _IN_BYTES:
        return _aligned(nbytes)
    owner = bytes(((nbytes + 63) & ~63) + ALIGNMENT)
    return (id(owner) + _PAYLOAD + ALIGNMENT - 1) & -ALIGNMENT, owner


class _Block:
    """A large block in use: goes back to the free ones when its storage dies."""

    __slots__ = ("entry",)

    def __init__(self, size: int):
        free = _free.get(size)
        if free:
            self.entry = free.pop()
            _cached[0] -= size
        else:
            self.entry = (*_aligned(size), size)

    def __del__(self, free: dict = _free, cached: list = _cached) -> None:
        # The module's names may be gone at exit: they are bound as defaults.
        entry = self.entry
        size = entry[2]
        if cached[0] + size > 1 << 30:
            return
        cached[0] += size
        blocks = free.get(size)
        if blocks is None:
            free[size] = [entry]
        else:
            blocks.append(entry)


class Storage:
    """A block of memory: ``ptr`` (address), ``nbytes``, ``version`` (bumped by every in-place change), ``device``."""

    __slots__ = ("__weakref__", "_block", "device", "nbytes", "ptr", "version")

    ptr: int
    nbytes: int
    version: int
    device: str
    _block: Any  # what keeps the memory alive

    def __init__(self, nbytes: int):
        if nbytes <= SMALL:
            self.ptr, self._block = _small(nbytes)
        else:
            self._block = block = _Block(_size_class(nbytes))
            self.ptr = block.entry[0]
        self.nbytes = nbytes
        self.version = 0
        self.device = "cpu"

    @classmethod
    def external(cls, ptr: int, nbytes: int, owner: Any, device: str = "cpu") -> Storage:
        """Memory that belongs to another object, which is kept alive."""
        self = cls.__new__(cls)
        self.ptr, self.nbytes = ptr, nbytes
        self._block = (ptr, owner, 0)
        self.version, self.device = 0, device
        return self

    def array(
        self, shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype, offset: int
    ) -> np.ndarray:
        """A NumPy array over this memory (offset and strides in elements), which it keeps alive; TypeError on a GPU."""
        if self.device != "cpu":
            raise TypeError(f"can't read memory on {self.device} from the host; copy the tensor with .cpu() first")
        n = dtype.itemsize
        return np.asarray(
            _Exporter(self, self.ptr + offset * n, shape, tuple(s * n for s in strides), dtype.str)
        )

    def bytes(self) -> memoryview:
        """All of the memory as writable bytes."""
        return self.array((self.nbytes,), (1,), np.dtype(np.uint8), 0).data

    def data_ptr(self) -> int:
        """The address of the first byte."""
        return self.ptr

    def size(self) -> int:
        """The number of bytes."""
        return self.nbytes

    __len__ = size

    def __bool__(self) -> bool:
        return True

    def is_shared(self) -> bool:
        """Whether other processes can see the memory."""
        from .multiprocessing.shared import shared_of

        return shared_of(self) is not None

    def __deepcopy__(self, memo: dict) -> Storage:
        copy = allocate(self.nbytes, self.device)
        copy_start(copy, self, self.nbytes)
        memo[id(self)] = copy
        return copy


class _Exporter:
    """Hands memory to NumPy; the array's base is this object, which holds the storage."""

    __slots__ = ("__array_interface__", "storage")

    def __init__(self, storage: Storage, ptr: int, shape: tuple, strides: tuple, typestr: str):
        self.storage = storage
        self.__array_interface__ = {
            "version": 3, "data": (ptr, False), "shape": shape, "strides": strides, "typestr": typestr
        }  # fmt: skip


def allocate(nbytes: int, device: str = "cpu") -> Storage:
    """Uninitialised memory on a device."""
    if device == "cpu":
        storage = Storage(nbytes)
        if state.watched:
            if state.inference:
                storage.version = INFERENCE
            if state.recorder is not None:
                state.recorder.make(storage)
        return storage
    from .cuda import runtime

    storage = runtime.allocate(nbytes, device)
    if state.inference:
        storage.version = INFERENCE
    return storage


def copy_start(target: Storage, source: Storage, nbytes: int) -> None:
    """Copy the first bytes of a storage to the start of another one on the same device."""
    if nbytes and target.device == "cpu":
        ctypes.memmove(target.ptr, source.ptr, nbytes)
    elif nbytes:
        from .cuda import runtime

        runtime.gpu(target.device).move(target.ptr, source.ptr, nbytes)


def peek(address: int, nbytes: int, device: str) -> bytes:
    """Bytes in the memory of a device; on a GPU after everything launched before."""
    if device == "cpu":
        return ctypes.string_at(address, nbytes)
    from .cuda import runtime

    held = np.empty(nbytes, np.uint8)
    if nbytes:
        runtime.gpu(device).download(held.ctypes.data, address, nbytes)
    return held.tobytes()


def of_array(array: np.ndarray) -> Storage:
    """The memory of a NumPy array, shared."""
    low = array.__array_interface__["data"][0]
    storage = Storage.external(low, array.nbytes, array)
    if state.inference:
        storage.version = INFERENCE
    return storage


def cached_bytes() -> int:
    """Bytes held in free blocks for reuse."""
    return _cached[0]


def empty_cache() -> None:
    """Give free blocks back to the system."""
    for size in list(_free):
        _cached[0] -= size * len(_free.pop(size))
    trim = getattr(_process(), "malloc_trim", None)  # of the GNU C library, which else keeps what was freed
    if trim is not None:
        trim(0)


@cache
def _process() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None


UntypedStorage = Storage  # PyTorch's name
