"""Memory of tensors: 64-byte aligned blocks from a pool of free ones, and the version counter of in-place changes."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from .autograd.mode import state

ALIGNMENT = 64
SLAB = 1 << 20  # small blocks are cut from slabs of this size
SMALL = 1 << 12

# At most 1 GiB stays in free blocks; beyond that they go back to the system.
_free: dict[int, list] = {}
_cached = [0]  # bytes in free blocks larger than SMALL


def _size_class(nbytes: int) -> int:
    """The block size for a request: multiples of 64 up to 4 KiB, then eight steps per power of two."""
    if nbytes <= SMALL:
        return (nbytes + 63) & ~63 or 64
    step = 1 << (nbytes.bit_length() - 4)
    return (nbytes + step - 1) & -step


def _aligned(nbytes: int) -> tuple[int, np.ndarray]:
    array = np.empty(nbytes + ALIGNMENT, np.uint8)
    address = array.__array_interface__["data"][0]
    return (address + ALIGNMENT - 1) & -ALIGNMENT, array


def _carve(size: int) -> tuple[int, np.ndarray]:
    """A new block of a size class; small classes come many at a time from one slab."""
    if size > SMALL:
        return _aligned(size)
    address, slab = _aligned(SLAB)
    count = min(SLAB // size, 64)
    _free.setdefault(size, []).extend((address + k * size, slab) for k in range(1, count))
    return address, slab


class Storage:
    """A block of memory: ``ptr`` (address), ``nbytes``, ``version`` (bumped by every in-place change)."""

    __slots__ = ("ptr", "nbytes", "version", "device", "_block", "_class", "__weakref__")

    def __init__(self, nbytes: int, device: str = "cpu"):
        size = (nbytes + 63) & ~63 or 64 if nbytes <= SMALL else _size_class(nbytes)
        free = _free.get(size)
        if free:
            block = free.pop()
            if size > SMALL:
                _cached[0] -= size
        else:
            block = _carve(size)
        self._block = block
        self.ptr = block[0]
        self._class = size
        self.nbytes = nbytes
        self.version = 0
        self.device = device

    def __del__(self, free: dict = _free, cached: list = _cached) -> None:
        size = self._class  # the module's names may be gone at exit: they are bound as defaults
        if size == 0:
            return
        if size > 4096:
            if cached[0] + size > 1 << 30:
                return
            cached[0] += size
        blocks = free.get(size)
        if blocks is None:
            free[size] = [self._block]
        else:
            blocks.append(self._block)

    @classmethod
    def external(cls, ptr: int, nbytes: int, owner: Any, device: str = "cpu") -> Storage:
        """Memory that belongs to another object, which is kept alive."""
        self = cls.__new__(cls)
        self.ptr, self.nbytes, self.version, self.device = ptr, nbytes, 0, device
        self._block, self._class = (ptr, owner), 0
        return self

    def array(self, shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype, offset: int) -> np.ndarray:
        """A NumPy array over this memory (offset and strides in elements), which it keeps alive."""
        n = dtype.itemsize
        return np.asarray(_Exporter(self, self.ptr + offset * n, shape, tuple(s * n for s in strides), dtype.str))

    def bytes(self) -> memoryview:
        """All of the memory as writable bytes."""
        return memoryview(self.array((self.nbytes,), (1,), np.dtype(np.uint8), 0))

    def __deepcopy__(self, memo: dict) -> Storage:
        copy = allocate(self.nbytes, self.device)
        if self.nbytes:
            ctypes.memmove(copy.ptr, self.ptr, self.nbytes)
        memo[id(self)] = copy
        return copy


class _Exporter:
    """Hands memory to NumPy; the array's base is this object, which holds the storage."""

    __slots__ = ("storage", "__array_interface__")

    def __init__(self, storage: Storage, ptr: int, shape: tuple, strides: tuple, typestr: str):
        self.storage = storage
        self.__array_interface__ = {
            "version": 3, "data": (ptr, False), "shape": shape, "strides": strides, "typestr": typestr
        }  # fmt: skip


def allocate(nbytes: int, device: str = "cpu") -> Storage:
    """Uninitialised memory on a device."""
    if device == "cpu":
        storage = Storage(nbytes)
        if state.recorder is not None:
            state.recorder.make(storage)
        return storage
    from .cuda import runtime

    return runtime.allocate(nbytes, device)


def of_array(array: np.ndarray) -> Storage:
    """The memory of a NumPy array, shared."""
    low = array.__array_interface__["data"][0]
    return Storage.external(low, array.nbytes, array)


def cached_bytes() -> int:
    """Bytes held in free blocks for reuse (small slabs not counted)."""
    return _cached[0]


def empty_cache() -> None:
    """Give free blocks of more than 4 KiB back to the system."""
    for size in [s for s in _free if s > SMALL]:
        _cached[0] -= size * len(_free.pop(size))
