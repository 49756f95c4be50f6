"""Where the nonzero elements are: count by blocks, add up, write. The CUDA twin of cpu/nonzero.py.

block of 4096     16 rounds of 256 threads; in each, a warp votes and every lane counts the votes below it
"""

from numpy import int32, int64, uint32

from ..cpu.nonzero import BLOCK
from ..jit import T, T_ptr, i64, i64_ptr
from ..loops import quotient
from .gpu import ballot, barrier, block, count_bits, shared, thread
from .launch import ceil_div, kernel
from .team import lane, warp

THREADS, WARPS = 256, 8


def blocks_grid(n: int) -> int:
    """A thread block for each block of elements."""
    return ceil_div(n, BLOCK)


@kernel(grid=blocks_grid, threads=THREADS)
def count_blocks(starts: i64_ptr, x: T_ptr, n: i64):
    """starts[b + 1] = how many elements of block b are nonzero."""
    room = shared(WARPS, int32)
    first = int64(block()) * BLOCK
    end = min(n, first + BLOCK)
    count, i = int32(0), first + warp() * 32
    while i < end:
        count = int32(count + count_bits(ballot(i + lane() < end and x[min(i + lane(), end - 1)] != T(0))))
        i += THREADS
    if lane() == 0:
        room[warp()] = count
    barrier()
    if thread() == 0:
        total = int64(0)
        for w in range(WARPS):
            total += room[w]
        starts[int64(block()) + 1] = total


@kernel(grid=lambda: 1, threads=THREADS)
def add_up(starts: i64_ptr, count: i64):
    """Counts starts[1 .. count] become running totals, starts[0] = 0."""
    room = shared(THREADS, int64)
    t = thread()
    each = (count + THREADS - 1) // THREADS
    first = t * each
    end = min(count, first + each)
    total, i = int64(0), first
    while i < end:
        total += starts[i + 1]
        i += 1
    room[t] = total
    barrier()
    if t == 0:
        starts[0] = 0
        for k in range(1, THREADS):
            room[k] += room[k - 1]
    barrier()
    total = room[int32(t - int32(1))] if t > 0 else int64(0)
    i = first
    while i < end:
        total += starts[i + 1]
        starts[i + 1] = total
        i += 1


@kernel(grid=blocks_grid, threads=THREADS)
def write_places(out: i64_ptr, x: T_ptr, starts: i64_ptr, sizes: i64_ptr, n: i64, ndim: i64):
    """out[k, ndim] = the index of the k-th nonzero element in the shape sizes[ndim]."""
    room = shared(WARPS, int32)
    first = int64(block()) * BLOCK
    end = min(n, first + BLOCK)
    at, base = starts[int64(block())], first
    while base < end:
        i = base + thread()
        found = i < end and x[min(i, end - 1)] != T(0)
        votes = ballot(found)
        barrier()
        if lane() == 0:
            room[warp()] = count_bits(votes)
        barrier()
        before, total = int32(0), int32(0)
        for w in range(WARPS):
            if w < warp():
                before = int32(before + room[w])
            total = int32(total + room[w])
        if found:
            below = uint32(votes & uint32(uint32(uint32(1) << uint32(lane())) - uint32(1)))
            place, rest = (at + before + count_bits(below)) * ndim, i
            for k in range(ndim):
                d = ndim - 1 - k
                above = quotient(rest, sizes[d])
                out[place + d] = rest - above * sizes[d]
                rest = above
        at += total
        base += THREADS
