"""A kernel made of kernels: each of its chunks runs a list of calls one after the other.

So a part of a program that works on separate parts of its data (images of a batch) needs no barrier between its kernels:
chunk k runs all of them on its own part, whose values stay in the cache of one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from .jit import load_native
from .memory import call_kernel, ldi, split


def in_turn(args, chunk, nchunks):
    """Run the calls of a chunk; word k of the table at `args` says where those of chunk k begin."""
    at = ldi(args, chunk)
    while at < ldi(args, chunk + 1):
        call_kernel(ldi(args, at), ldi(args, at + 1), 0, 1)
        at += 2
    return 0


def in_step(args, chunk, nchunks):
    """Two kernels with the same rows as units: the words are a number of pieces, then kernel and argument block of both.

    Piece after piece: the second kernel finds what the first has made of it in the cache.
    """
    pieces = ldi(args, 0)
    lo, hi = split(pieces, chunk, nchunks)
    for piece in range(lo, hi):
        call_kernel(ldi(args, 1), ldi(args, 2), piece, pieces)
        call_kernel(ldi(args, 3), ldi(args, 4), piece, pieces)
    return 0


@cache
def address() -> int:
    """Address of the kernel that runs such tables."""
    return load_native(in_turn)


@cache
def stepping() -> int:
    """Address of the kernel that runs two kernels in step."""
    return load_native(in_step)


def table(calls: Sequence[Sequence[tuple[int, int]]]) -> np.ndarray:
    """The table for lists of calls (kernel, argument block), one list a chunk.

    Example:
        >>> from numtorch.kernels.sequence import table
        >>> table([[(10, 11)], [(20, 21), (30, 31)]]).tolist()
        [3, 5, 9, 10, 11, 20, 21, 30, 31]
    """
    starts, at = [], len(calls) + 1
    for chunk in calls:
        starts.append(at)
        at += 2 * len(chunk)
    return np.array([*starts, at, *(word for chunk in calls for call in chunk for word in call)], np.int64)
