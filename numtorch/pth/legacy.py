"""Files that torch.save wrote before PyTorch 1.6: five pickles in a row, then the storages one after
another."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from ..storage import allocate
from .archive import finished
from .names import LoadedStorage, StorageKind, refuse

MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the pickle of 0x1950a86a20f9469cfc6c
_PROTOCOL = 1001


class _Bounded:
    """A file that never reads more than it has: a damaged length must not ask for all memory."""

    def __init__(self, file: Any):
        self._file = file
        at = file.tell()
        self._left = file.seek(0, os.SEEK_END) - at
        file.seek(at)

    def read(self, n: int) -> bytes:
        data = self._file.read(min(n, self._left))
        self._left -= len(data)
        return data

    def readline(self) -> bytes:
        line = self._file.readline()
        self._left -= len(line)
        return line

    def readinto(self, target: memoryview) -> int:
        n = self._file.readinto(target)
        self._left -= n
        return n

    @property
    def left(self) -> int:
        return self._left


def load(file: Any, label: str, unpickle: Callable[[Any, Callable[[Any], Any]], Any], place: Callable) -> Any:
    """The object in a legacy file. ``unpickle(file, persistent_load)`` reads a pickle; ``place(storage,
    location)`` moves one."""
    file = _Bounded(file)
    loaded: dict[str, tuple[LoadedStorage, StorageKind, str]] = {}

    def no_storage(pid: Any) -> Any:
        raise refuse(f"{label} is damaged: its header names a storage")

    def persistent_load(pid: Any) -> LoadedStorage:
        kind, key, location, numel, view = pid[1:6]
        if not isinstance(kind, StorageKind) or type(numel) is not int or kind.dtype is None:
            raise refuse(f"storage id {pid!r} is not one of a .pth file; {label} is damaged")
        if view is not None:
            raise refuse(
                f"{label} uses storage views of PyTorch before 0.4; save it anew with a newer PyTorch"
            )
        key = str(key)
        if key not in loaded:
            size = numel * kind.dtype.itemsize
            if not 0 <= size <= file.left:
                raise refuse(
                    f"storage {key} should have {size} bytes, but {label} has only {file.left} left; it is"
                    " truncated"
                )
            memory = LoadedStorage(allocate(numel * kind.dtype.itemsize), kind.dtype)
            loaded[key] = memory, kind, str(location)
        return loaded[key][0]

    unpickle(file, no_storage)  # the magic number
    protocol = unpickle(file, no_storage)
    if protocol != _PROTOCOL:
        raise refuse(f"{label} has the protocol version {protocol!r}; expected {_PROTOCOL}")
    system = unpickle(file, no_storage)
    little = system.get("little_endian", True) if isinstance(system, dict) else True
    result = unpickle(file, persistent_load)
    swap = little != (sys.byteorder == "little")
    for key in unpickle(file, no_storage):
        _fill(file, label, str(key), loaded, swap)
    for memory, _, location in loaded.values():
        moved = place(memory.storage, location)
        if moved is not memory.storage:
            raise RuntimeError(
                f"load: {label} is a file of PyTorch before 1.6 with tensors for {location}; load it with"
                " map_location='cpu'"
            )
    return result


def _fill(file: _Bounded, label: str, key: str, loaded: dict, swap: bool) -> None:
    """Read the bytes of one storage into the memory that its tensors already look at."""
    if key not in loaded:
        raise refuse(f"{label} is damaged: nothing uses its storage {key}")
    memory, kind, _ = loaded[key]
    count = int.from_bytes(file.read(8), "little" if not swap else "big")
    itemsize = kind.dtype.itemsize
    raw = allocate(count * itemsize) if count * itemsize <= file.left else None
    if raw is None or count * itemsize != memory.storage.nbytes:
        raise refuse(
            f"storage {key} of {label} has {count} elements, more or fewer than it should; it is truncated"
        )
    if raw.nbytes and file.readinto(raw.bytes()) != raw.nbytes:
        raise EOFError(f"load: {label} ends inside storage {key}; it is truncated")
    if raw.nbytes:
        memory.storage.bytes()[:] = finished(raw, kind, swap).storage.bytes()
