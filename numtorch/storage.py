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


def _carve(size: int) -> tuple[int, np.ndarray, int]:
    """A new block of a size class; small classes come many at a time from one slab."""
    if size > SMALL:
        return (*_aligned(size), size)
    address, slab = _aligned(SLAB)
    count = min(SLAB // size, 64)
    _free.setdefault(size, []).extend((address + k * size, slab, size) for k in range(1, count))
    return address, slab, size


class Storage:
    """A block of memory: ``ptr`` (address), ``nbytes``, ``version`` (bumped by every in-place change), ``device``."""

    __slots__ = ("__weakref__", "_block", "device", "nbytes", "ptr", "version")

    ptr: int
    nbytes: int
    version: int
    device: str
    _block: tuple  # (address, what keeps it alive, size class or 0: not ours to reuse)

    def __init__(self, nbytes: int):
        size = (nbytes + 63) & ~63 or 64 if nbytes <= SMALL else _size_class(nbytes)
        free = _free.get(size)
        if free:
            self._block = block = free.pop()
            if size > SMALL:
                _cached[0] -= size
        else:
            self._block = block = _carve(size)
        self.ptr = block[0]
        self.nbytes = nbytes
        self.version = 0
        self.device = "cpu"

    def __del__(self, free: dict = _free, cached: list = _cached) -> None:
        # The module's names may be gone at exit: they are bound as defaults.
        block = self._block
        size = block[2]
        if size > 4096:
            if cached[0] + size > 1 << 30:
                return
            cached[0] += size
        elif size == 0:
            return
        blocks = free.get(size)
        if blocks is None:
            free[size] = [block]
        else:
            blocks.append(block)

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
        """A NumPy array over this memory (offset and strides in elements), which it keeps alive."""
        n = dtype.itemsize
        return np.asarray(
            _Exporter(self, self.ptr + offset * n, shape, tuple(s * n for s in strides), dtype.str)
        )

    def bytes(self) -> memoryview:
        """All of the memory as writable bytes."""
        return self.array((self.nbytes,), (1,), np.dtype(np.uint8), 0).data

    def __deepcopy__(self, memo: dict) -> Storage:
        copy = allocate(self.nbytes, self.device)
        if self.nbytes:
            ctypes.memmove(copy.ptr, self.ptr, self.nbytes)
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


def quick(nbytes: int, new: Any = object.__new__) -> Storage:
    """``Storage(nbytes)`` of at most 4 KiB, for the hot path of small elementwise ops."""
    self = new(Storage)
    free = _free.get((nbytes + 63) & ~63)
    self._block = block = free.pop() if free else _carve((nbytes + 63) & ~63)
    self.ptr = block[0]
    self.nbytes = nbytes
    self.version = 0
    self.device = "cpu"
    return self


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
