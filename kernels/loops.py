"""What the loops of elementwise kernels need besides memory.py: a vectorisation mark and index arithmetic."""

from __future__ import annotations

from .binding import intrinsic

BLOCK = 512  # elements that chunks of a contiguous kernel never split
_numba = intrinsic(f"{__package__}.intrinsics_scalar")


@_numba
def independent() -> None:
    """Promise, after a loop, that no iteration of the function's innermost loops reads what another one writes."""


@_numba
def quotient(a: int, b: int) -> int:
    """a // b of non-negative integers, b > 0."""
    return int(a) // int(b)


@_numba
def start(n: int, chunk: int, nchunks: int) -> int:
    """First of the `n` elements that belong to `chunk` (or to a later one): whole blocks of 512, balanced."""
    blocks = (int(n) + BLOCK - 1) // BLOCK
    return min(blocks * int(chunk) // int(nchunks) * BLOCK, int(n))
