"""What the planners of matrix product and convolution answer."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

LOWEST = -float("inf")  # the `low` of an epilogue that clamps nothing
_MOST = max(8, os.cpu_count() or 1)


def slots(units: int) -> int:
    """How many chunks a launch with private scratch may have: all its units, but no more than the machine can run."""
    return max(1, min(units, _MOST))


class Launch(NamedTuple):
    """One kernel call: `launch(kernel.address(T=T), nchunks, *pointers, *words)` with nchunks between 1 and `units`.

    `pointers` are names of buffers; "scratch" (all pointers of that name are the same) is private to this launch, 64-byte
    aligned and uninitialised: `chunk_scratch` bytes for each chunk. "table" is the array `table` (int64, constant), which
    must live as long as the launch is used. `cost` is the work in multiply-adds.
    """

    kernel: Any
    T: str
    pointers: tuple[str, ...]
    words: tuple[int | float, ...]
    units: int
    chunk_scratch: int
    cost: int
    table: np.ndarray | None = None

    @property
    def scratch_bytes(self) -> int:
        """Bytes of scratch that suffice for every number of chunks."""
        return self.units * self.chunk_scratch
