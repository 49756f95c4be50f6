"""Blocks of device memory: counted while they live, and small ones kept for the next tensor of their size.

The driver's pool takes about a microsecond to give a block and another to take it back, as long as a small kernel runs. A
block that is kept goes to the next tensor on the same stream, so that what was launched with it is over when it is used anew.
"""

from __future__ import annotations

from typing import Any

LARGEST = 1 << 20  # bytes of a block that is kept
MOST = 1 << 28  # bytes kept in all
GRAIN = 512  # sizes are multiples of this, and of an eighth of their power of two


def size_class(nbytes: int) -> int:
    """The size of the block for so many bytes."""
    step = max(GRAIN, 1 << max(nbytes.bit_length() - 4, 0))
    return (max(nbytes, 1) + step - 1) & -step


class Kept:
    """The free blocks of a stream by size: (address, buffer) each; `size` in bytes of all."""

    def __init__(self) -> None:
        self.blocks: dict[int, list[tuple[int, Any]]] = {}
        self.size = 0

    def take(self, size: int) -> tuple[int, Any] | None:
        """A block of a size, None if there is none."""
        try:
            found = self.blocks[size].pop()
        except (KeyError, IndexError):
            return None
        self.size -= size
        return found

    def give(self, size: int, address: int, buffer: Any) -> None:
        """Keep a block, unless there are enough."""
        if self.size + size <= MOST:
            self.size += size
            self.blocks.setdefault(size, []).append((address, buffer))

    def release(self) -> bool:
        """Give all blocks back to the driver; whether there were any."""
        found = self.size > 0
        self.blocks, self.size = {}, 0
        return found


class Block:
    """A piece of device memory; counted while it lives, and given back when it goes.

    ``home``: the stream it was allocated on; ``streams``: those that use it beside that one; ``kept``: where it goes, None
    for the driver's pool.
    """

    __slots__ = ("address", "buffer", "gpu", "home", "kept", "nbytes", "size", "streams")

    def __init__(self, gpu: Any, home: Any, address: int, buffer: Any, nbytes: int, size: int, kept: Kept | None):
        self.gpu, self.home, self.address, self.buffer = gpu, home, address, buffer
        self.nbytes, self.size, self.kept = nbytes, size, kept
        self.streams: tuple[Any, ...] = ()
        gpu.allocated += nbytes
        if gpu.allocated > gpu.peak:
            gpu.peak = gpu.allocated

    def __del__(self) -> None:
        for stream in self.streams:
            self.home.wait(stream)
        self.gpu.allocated -= self.nbytes
        if self.kept is not None:
            self.kept.give(self.size, self.address, self.buffer)
