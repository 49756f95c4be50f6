"""Memory of any device as a recording needs it: copied aside, put back, and read by the host."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..shape import Layout
from ..storage import Storage, allocate, cached_bytes, copy_start, empty_cache, peek

_MUCH = 1 << 24  # bytes


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Inside the block Python does not look for garbage in cycles: a recording makes many objects that stay, and no such cycles."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def give_back() -> None:
    """Much memory that a recording and the eager calls around it have used, and that no replay needs, goes back to the system."""
    if cached_bytes() > _MUCH:
        empty_cache()


def snapshot(s: Storage) -> bytes:
    """What a storage holds now."""
    return peek(s.ptr, s.nbytes, s.device)


def values_of(t: Any) -> np.ndarray:
    """A copy of a tensor's values."""
    la, kind = t._layout, t._layout.dtype.numpy
    strides = tuple(s * kind.itemsize for s in la.strides)
    return la.dtype.numbers(np.ndarray(la.shape, kind, snapshot(t._storage), t._offset * kind.itemsize, strides))


def aside(s: Storage) -> bytes | Storage:
    """What a storage holds now, for ``restore``: on a GPU a copy there, which the host does not wait for."""
    return snapshot(s) if s.device == "cpu" else duplicate(s)


def restore(s: Storage, content: bytes | Storage) -> None:
    """Put back what ``snapshot`` or ``aside`` took."""
    if isinstance(content, Storage):
        copy_start(s, content, s.nbytes)
    elif s.device == "cpu":
        ctypes.memmove(s.ptr, content, len(content))
    elif content:
        _gpu(s.device).upload(s.ptr, np.frombuffer(content, np.uint8).ctypes.data, len(content))


@contextlib.contextmanager
def as_before(held: Sequence[tuple[Storage, bytes | Storage]]) -> Iterator[None]:
    """Inside the block memory holds what a snapshot says, and afterwards what it held."""
    now = [(s, aside(s)) for s, _ in held]
    for s, content in held:
        restore(s, content)
    try:
        yield
    finally:
        for s, content in now:
            restore(s, content)


def number_at(address: int, la: Layout) -> Any:
    """The number at an address, as Python has it; ``la`` says on which device and of which dtype."""
    return la.dtype.numbers(np.frombuffer(peek(address, la.itemsize, la.device), la.dtype.numpy))[0].item()


def duplicate(s: Storage) -> Storage:
    """A storage with the same content on the same device."""
    made = allocate(s.nbytes, s.device)
    restore(made, snapshot(s) if s.device == "cpu" else s)
    return made


def _gpu(device: str) -> Any:
    from ..cuda import runtime

    return runtime.gpu(device)
