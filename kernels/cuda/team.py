"""Work that the threads of a warp, of a block, or of a column of a tile do together.

    warp     lanes 0 1 2 .. 31       five exchanges, with the lane 16, 8, 4, 2, 1 away; every lane has the
    result block    warps 0 1 .. 7          the warps' results meet in `room`; every thread has the result
    column   a tile of wide x tall   threads t, t + wide, t + 2 wide .. share a column; they meet in `room`

Results are formed in an order that only depends on the size of the team. `room` is a shared buffer: of 32
elements for a block, of one element a thread for columns. It may be used again at once.
"""

from numpy import int32

from ..jit import T, device
from .gpu import barrier, shuffle_xor, thread, threads

WIDE = 32  # columns of a tile


@device
def lane():
    """Index of this thread in its warp."""
    return int32(thread() & int32(31))


@device
def warp():
    """Index of this warp in its block."""
    return int32(thread() >> int32(5))


@device
def higher(p, q):
    """The larger one; NaN if either is."""
    return q if q > p or q != q else p


@device
def warp_sum(v):
    v = v + shuffle_xor(v, 16)
    v = v + shuffle_xor(v, 8)
    v = v + shuffle_xor(v, 4)
    v = v + shuffle_xor(v, 2)
    return v + shuffle_xor(v, 1)


@device
def warp_max(v):
    v = higher(v, shuffle_xor(v, 16))
    v = higher(v, shuffle_xor(v, 8))
    v = higher(v, shuffle_xor(v, 4))
    v = higher(v, shuffle_xor(v, 2))
    return higher(v, shuffle_xor(v, 1))


@device
def meet(v, room, filler):
    """Lane k of every warp gets the value that warp k brought (the same in its lanes).

    The others get `filler`.
    """
    barrier()
    if lane() == 0:
        room[warp()] = v
    barrier()
    if lane() < int32(threads() >> int32(5)):
        return room[lane()]
    return filler


@device
def block_sum(v, room):
    return warp_sum(meet(warp_sum(v), room, T(0)))


@device
def block_max(v, room):
    v = warp_max(v)
    return warp_max(meet(v, room, v))


@device
def tile_width(inner):
    """Columns of a tile over `inner` columns: the power of two that holds them, at most WIDE."""
    wide = int32(2)
    while wide < inner and wide < int32(WIDE):
        wide = int32(wide * int32(2))
    return wide


@device
def column_sum(v, room, wide):
    """The sum over this thread's column."""
    t = thread()
    barrier()
    room[t] = v
    half = int32(threads() >> int32(1))
    while half >= wide:
        barrier()
        if t < half:
            room[t] = room[t] + room[int32(t + half)]
        half = int32(half >> int32(1))
    barrier()
    return room[int32(t & int32(wide - int32(1)))]


@device
def column_max(v, room, wide):
    """The largest value of this thread's column."""
    t = thread()
    barrier()
    room[t] = v
    half = int32(threads() >> int32(1))
    while half >= wide:
        barrier()
        if t < half:
            room[t] = higher(room[t], room[int32(t + half)])
        half = int32(half >> int32(1))
    barrier()
    return room[int32(t & int32(wide - int32(1)))]
