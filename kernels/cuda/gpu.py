"""What a GPU thread can do beyond arithmetic: know its place, wait, talk to its warp, use shared and wide
memory access.

Each function is a stand-in: a compiled kernel gets the numba intrinsic of the same name (intrinsics.py), a
simulated one (tests/kernels/cuda/simulator.py) the simulator's. `offset`, `stack`, `fma`, `select`, `bitcast`
and `roundeven` come from memory.py, as on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..binding import Intrinsic


def _gpu(py: Callable[..., Any]) -> Intrinsic:
    """The stand-in for `py`, which holds only the documentation."""

    def outside(*args: Any) -> Any:
        raise TypeError(f"{py.__name__} only has a meaning in a CUDA kernel that is compiled or simulated.")

    outside.__name__, outside.__doc__ = py.__name__, py.__doc__
    return Intrinsic(outside, f"{__package__}.intrinsics")


# ---- where am I (all int32) -------------------------------------------------------------------------------


@_gpu
def thread() -> int:
    """Index of this thread in its block."""


@_gpu
def threads() -> int:
    """Threads in a block."""


@_gpu
def block() -> int:
    """Index of this block in the grid, along x."""


@_gpu
def block_y() -> int:
    """Index of this block in the grid, along y."""


@_gpu
def block_z() -> int:
    """Index of this block in the grid, along z."""


@_gpu
def blocks() -> int:
    """Blocks in the grid, along x."""


# ---- waiting ----------------------------------------------------------------------------------------------


@_gpu
def barrier() -> None:
    """Wait for all threads of the block.

    What they wrote to shared and global memory is visible afterwards.
    """


@_gpu
def warp_barrier() -> None:
    """Wait for the 32 threads of the warp; what they wrote is visible to one another afterwards."""


# ---- the warp's 32 lanes (all of them must call) ----------------------------------------------------------


@_gpu
def shuffle(value: Any, lane: int) -> Any:
    """The value of lane `lane & 31`, a number of any width."""


@_gpu
def shuffle_xor(value: Any, mask: int) -> Any:
    """The value of the lane whose number differs in the bits of `mask`."""


@_gpu
def shuffle_up(value: Any, delta: int) -> Any:
    """The value of the lane `delta` below; the lowest `delta` lanes keep their own."""


@_gpu
def shuffle_down(value: Any, delta: int) -> Any:
    """The value of the lane `delta` above; the highest `delta` lanes keep their own."""


@_gpu
def ballot(condition: bool) -> int:
    """Bit k (of a uint32) says whether lane k's condition holds."""


@_gpu
def first_bit(mask: int) -> int:
    """Number of the lowest set bit of a uint32 that is not 0."""


@_gpu
def count_bits(mask: int) -> int:
    """How many bits of a uint32 are set."""


# ---- memory -----------------------------------------------------------------------------------------------


@_gpu
def shared(count: int, dtype: Any) -> Any:
    """Pointer to `count` (a constant) elements that the block shares, 16-byte aligned.

    One buffer per place in the source.
    """


@_gpu
def load4(p: Any, i: int) -> tuple:
    """(p[i], .., p[i + 3]) in one access of 16 bytes (two for float64).

    `p + i` must be aligned to 16 bytes.
    """


@_gpu
def store4(p: Any, i: int, a: Any, b: Any, c: Any, d: Any) -> None:
    """p[i], .., p[i + 3] = a, b, c, d in one access; aligned as for load4."""


@_gpu
def is_aligned(p: Any) -> bool:
    """Whether the address `p` is a multiple of 16 bytes."""


@_gpu
def atomic_add(p: Any, i: int, value: Any) -> Any:
    """Add `value` to p[i] and return what was there.

    For integers: floats added in no fixed order change from run to run.
    """


@_gpu
def atomic_max(p: Any, i: int, value: Any) -> Any:
    """Make p[i] the larger of itself and `value` (integers) and return what was there."""


# ---- register tiles ---------------------------------------------------------------------------------------


@_gpu
def zeros(count: int, dtype: Any) -> tuple:
    """A tuple of `count` (a constant) zeros."""


@_gpu
def take(p: Any, values: tuple, count: int) -> tuple:
    """p[k] = values[k] for the first `count` (a constant) elements; the tuple with these moved to its end.

    So a loop goes through a tuple, which it could not index without leaving the registers.
    """


@_gpu
def fma_outer(acc: tuple, a: tuple, b: tuple) -> tuple:
    """acc with a[i] * b[j] added to element i * len(b) + j: one step of a register tile."""


# ---- tensor cores: words of 32 bits that hold one float32, rounded to tf32, or two of 16 bits --------------


@_gpu
def per_word(dtype: Any) -> int:
    """How many numbers of a dtype a word holds (int32)."""


@_gpu
def copy16(room: Any, place: int, p: Any, i: int, count: int) -> None:
    """Begin to copy 16 bytes from p[i] to the words room[place] .. of shared memory: `count` of them, the others become 0.

    Both are aligned to 16 bytes. The words may be read after `commit`, `wait_copies` and a barrier.
    """


@_gpu
def copy_word(room: Any, place: int, p: Any, i: int, step: int, count: int) -> None:
    """Begin to copy a word: p[i], or of 16 bits p[i] and p[i + step]; `count` elements of it exist, the others are 0."""


@_gpu
def commit() -> None:
    """The copies begun by this thread since the last `commit` are a group."""


@_gpu
def wait_copies(groups: int) -> None:
    """Wait until at most the `groups` (a constant) last groups of this thread are still under way."""


@_gpu
def matrices(room: Any, place: int) -> tuple:
    """Four matrices of 8 lines of 4 words; lanes 8 m .. 8 m + 7 say where the lines of matrix m begin.

    Word m of lane 4 g + t is word t of line g of matrix m. All 32 lanes must call.
    """


@_gpu
def matrices_turned(room: Any, place: int) -> tuple:
    """The same of numbers of 16 bits, turned: lane 4 g + t gets element g of lines 2 t and 2 t + 1 as a word."""


@_gpu
def rounded(words: tuple, dtype: Any) -> tuple:
    """Words of float32 as the nearest tf32 numbers; those of 16 bits as they are."""


@_gpu
def as_float(x: Any) -> Any:
    """The float32 of a stored number: itself, or the value of a float16 (uint16) or bfloat16 (int16)."""


@_gpu
def as_stored(x: Any, dtype: Any) -> Any:
    """A float32 as `dtype` stores it: itself, or the bits of the nearest float16 or bfloat16."""


@_gpu
def mma(acc: tuple, a: tuple, b: tuple, dtype: Any) -> tuple:
    """acc with the products of fragments added: a warp's A of len(a) / 4 times 16 rows, B of len(b) / 2 times 8 columns.

    Fragment (i, j) has the four sums from (i * len(b) / 2 + j) * 4 on. Lane 4 g + t holds of A words t and t + 4 of rows g
    and g + 8 in the order (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4), of B words t and t + 4 of column g, and the sums
    of rows g, g + 8 and columns 2 t, 2 t + 1. All 32 lanes must call.
    """
