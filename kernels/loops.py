"""What the loops of elementwise kernels need besides memory.py: marks, index arithmetic, transposing."""

from __future__ import annotations

from typing import Any

from .binding import intrinsic

BLOCK = 512  # elements that chunks of a contiguous kernel never split
_numba = intrinsic(f"{__package__}.intrinsics_loops")


@_numba
def independent() -> None:
    """Promise, after a loop, that no iteration of the function's innermost loops reads what another one
    writes."""


@_numba
def quotient(a: int, b: int) -> int:
    """a // b of non-negative integers, b > 0."""
    return int(a) // int(b)


@_numba
def start(n: int, chunk: int, nchunks: int) -> int:
    """First of the `n` elements that belong to `chunk` (or to a later one): whole blocks of 512, balanced."""
    blocks = (int(n) + BLOCK - 1) // BLOCK
    return min(blocks * int(chunk) // int(nchunks) * BLOCK, int(n))


@_numba
def transpose_block(target: Any, target_row: int, source: Any, source_row: int) -> None:
    """target[i * target_row + j] = source[j * source_row + i] for i, j < 8 (for 8-byte elements < 4)."""
    side = 4 if source[0].dtype.itemsize == 8 else 8
    for i in range(side):
        for j in range(side):
            target[i * target_row + j] = source[j * source_row + i]
