"""Where the nonzero elements are: count by blocks, add up, write; three launches over a contiguous x[n].

`starts[blocks + 1]` says where each block of BLOCK elements begins in the list, and at the end how long the list is.
"""

from ..jit import T, T_ptr, i64, i64_ptr, kernel
from ..memory import split

BLOCK = 4096


def blocks(n: int) -> int:
    """How many blocks n elements have."""
    return -(-n // BLOCK)


@kernel
def count_blocks(starts: i64_ptr, x: T_ptr, n: i64, chunk: i64, nchunks: i64):
    """starts[b + 1] = how many elements of block b are nonzero; units: blocks."""
    lo, hi = split((n + BLOCK - 1) // BLOCK, chunk, nchunks)
    for b in range(lo, hi):
        end = n if n < (b + 1) * BLOCK else (b + 1) * BLOCK
        count = 0
        for i in range(b * BLOCK, end):
            count += 1 if x[i] != T(0) else 0
        starts[b + 1] = count


@kernel
def add_up(starts: i64_ptr, count: i64, chunk: i64, nchunks: i64):
    """Counts starts[1 .. count] become running totals, starts[0] = 0; run as one chunk."""
    if chunk == 0:
        total = 0
        starts[0] = 0
        for b in range(count):
            total += starts[b + 1]
            starts[b + 1] = total


@kernel
def write_places(
    out: i64_ptr, x: T_ptr, starts: i64_ptr, sizes: i64_ptr, n: i64, ndim: i64, chunk: i64, nchunks: i64
):
    """out[k, ndim] = the index of the k-th nonzero element in the shape sizes[ndim]; units: blocks."""
    lo, hi = split((n + BLOCK - 1) // BLOCK, chunk, nchunks)
    for b in range(lo, hi):
        end = n if n < (b + 1) * BLOCK else (b + 1) * BLOCK
        at = starts[b] * ndim
        for i in range(b * BLOCK, end):
            if x[i] != T(0):
                rest = i
                for k in range(ndim):
                    d = ndim - 1 - k
                    out[at + d] = rest % sizes[d]
                    rest = rest // sizes[d]
                at += ndim
