"""Page-locked host memory: the GPU copies to and from it by itself while the CPU goes on.

Page-locking is slow, so blocks are kept for reuse, by size; one is reused when the copies that it was in are done.
"""

from __future__ import annotations

from typing import Any

from ..storage import Storage
from .runtime import owner_of

_free: dict[int, list[tuple[int, Any, list[Any]]]] = {}  # by size: address, buffer, events of its copies


class Pinned:
    """Owner of a piece of page-locked memory. ``events``: behind the copies that it is in."""

    __slots__ = ("address", "buffer", "events", "size")

    def __init__(self, size: int, address: int, buffer: Any):
        self.size, self.address, self.buffer = size, address, buffer
        self.events: list[Any] = []

    def __del__(self, free: dict = _free) -> None:
        free.setdefault(self.size, []).append((self.address, self.buffer, self.events))


def allocate(nbytes: int) -> Storage:
    """Page-locked memory for a CPU tensor; raises where there is no GPU."""
    from . import gpu_of

    size = 1 << max(nbytes - 1, 511).bit_length()
    for k, (address, buffer, events) in enumerate(_free.get(size, ())):
        if all(e.is_done for e in events):
            del _free[size][k]
            return Storage.external(address, nbytes, Pinned(size, address, buffer))
    address, buffer = gpu_of(None).pinned(size)
    return Storage.external(address, nbytes, Pinned(size, address, buffer))


def owner(storage: Storage) -> Pinned | None:
    """The owner of a storage's memory if it is page-locked."""
    found = owner_of(storage)
    return found if isinstance(found, Pinned) else None


def is_pinned(tensor: Any, device: Any = None) -> bool:
    """Whether a tensor is in page-locked memory."""
    return owner(tensor._storage) is not None


def pin_memory(tensor: Any, device: Any = None) -> Any:
    """A copy of a CPU tensor in page-locked memory (itself if it is there); raises where there is no GPU."""
    from .._tensor import Tensor
    from ..ops.copying import write
    from ..shape import contiguous

    la = tensor._layout
    if la.device != "cpu":
        kind = f"numtorch.cuda.{la.dtype.name}"
        raise RuntimeError(f"cannot pin '{kind}': only dense CPU tensors can be pinned; call .cpu() first")
    if is_pinned(tensor):
        return tensor
    layout = contiguous(la.shape, la.dtype, "cpu")
    made = Tensor._make(allocate(la.numel * la.itemsize), 0, layout)
    if la.numel:
        write(made, tensor.detach())
    return made


def note_copy(storage: Storage, gpu: Any) -> bool:
    """Remember that a copy with this memory was just given to a GPU; False if the memory is not page-locked."""
    found = owner(storage)
    if found is None:
        return False
    found.events = [e for e in found.events if not e.is_done]
    found.events.append(gpu.record(gpu.stream, False, False))
    return True


def release() -> None:
    """Give the kept blocks back to the system."""
    for kept in _free.values():
        kept[:] = [one for one in kept if not all(e.is_done for e in one[2])]


__all__ = ["allocate", "is_pinned", "note_copy", "owner", "pin_memory", "release"]
