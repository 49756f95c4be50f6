"""Work that the threads of a warp or of a block do together.

    lanes   0 1 2 3 ... 31      warp_sum: five exchanges with the lane 16, 8, 4, 2, 1 away; every lane has the
    sum warps   0 . 1 . 2 ... 7     block_sum: warp sums meet in `room`, each warp adds them up; every thread
    has the sum

Sums are formed in an order that only depends on the size of the team. `room` is a shared buffer of 32
elements; it may be used again at once.
"""

from numpy import int32

from ..jit import T, device
from .gpu import barrier, shuffle_xor, thread, threads


@device
def warp_sum(v):
    """The sum over the warp, in every lane."""
    v = v + shuffle_xor(v, 16)
    v = v + shuffle_xor(v, 8)
    v = v + shuffle_xor(v, 4)
    v = v + shuffle_xor(v, 2)
    return v + shuffle_xor(v, 1)


@device
def higher(p, q):
    """The larger one; NaN if either is."""
    return q if q > p or q != q else p


@device
def warp_max(v):
    """The largest value of the warp, in every lane; NaN if any is."""
    v = higher(v, shuffle_xor(v, 16))
    v = higher(v, shuffle_xor(v, 8))
    v = higher(v, shuffle_xor(v, 4))
    v = higher(v, shuffle_xor(v, 2))
    return higher(v, shuffle_xor(v, 1))


@device
def gather_warps(v, room, filler):
    """Lane k of every warp gets the value that warp k brought (its lanes hold the same one).

    The others get `filler`.
    """
    t = thread()
    lane = int32(t & int32(31))
    barrier()
    if lane == 0:
        room[int32(t >> int32(5))] = v
    barrier()
    if lane < int32(threads() >> int32(5)):
        return room[lane]
    return filler


@device
def block_sum(v, room):
    """The sum over the block, in every thread."""
    return warp_sum(gather_warps(warp_sum(v), room, T(0)))


@device
def block_max(v, room):
    """The largest value of the block, in every thread; NaN if any is."""
    v = warp_max(v)
    return warp_max(gather_warps(v, room, v))
