"""How an elementwise kernel walks its operands: dimensions collapsed, tiles chosen, the table that the kernel
reads."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .loops import BLOCK

ROOM = 16384  # elements of all buffers together (see cpu/elementwise.py)
TILES = (2048, 1024, 512)  # elements of a tile that passes through one, up to three, more buffers
PAD = 24  # elements between buffers, so that they do not share cache sets
LONG = 4096  # elements of a row piece, and of a copied tile, where nothing is buffered
SHORT_ROW = 1024  # several shorter rows make a tile

_TABLES: dict[tuple[int, ...], np.ndarray] = {}
_BY_ADDRESS: dict[int, np.ndarray] = {}
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Walk:
    """How the operands of one elementwise call are walked.

    `sizes` and `steps` (one per operand, and the index's): the collapsed dimensions, innermost first; `wide`,
    `tall`: the sides of a tile; `slots`: where each operand's buffer begins, in elements. The layout is
    "contiguous" when one unbroken run holds everything.
    """

    layout: str
    sizes: tuple[int, ...]
    steps: tuple[tuple[int, ...], ...]
    wide: int = 1
    tall: int = 1
    slots: tuple[int, ...] = ()

    @property
    def units(self) -> int:
        """Parts that may run side by side: blocks of the contiguous layout, tiles of the other."""
        if self.layout == "contiguous":
            return -(-self.sizes[0] // BLOCK)
        rows = self.sizes[1] if len(self.sizes) > 1 else 1
        return math.prod(self.sizes[2:]) * -(-self.sizes[0] // self.wide) * -(-rows // self.tall)

    def geometry(self, movers: Sequence[int], itemsizes: Sequence[int]) -> tuple[int, ...]:
        """The words of a strided call's table after its head (see cpu/elementwise.py)."""
        columns, rows = self.sizes[0], self.sizes[1] if len(self.sizes) > 1 else 1
        steps = self.steps[0]
        row_steps = self.steps[1] if len(self.steps) > 1 else (0,) * len(steps)
        words = [columns, rows, self.wide, self.tall, max(0, len(self.sizes) - 2)]
        for parts in zip((*movers, 0), (*itemsizes, 0), steps, row_steps, (*self.slots, 0)):
            words += parts
        for size, outer in zip(self.sizes[2:], self.steps[2:]):
            words += [size, *outer]
        return tuple(words)


@lru_cache(maxsize=16384)
def walk_of(
    shape: tuple[int, ...], strides: tuple[tuple[int, ...], ...], index: bool = False, copy: bool = False
) -> Walk:
    """How to walk operands of the broadcast `shape` with these element strides (outputs first; 0 where
    broadcast).

    `index`: the element's number in `shape` is wanted; `copy`: the second operand is copied to the first.
    Raises ValueError for strides of another rank than the shape.

    Example:
        >>> walk_of((2, 3), ((3, 1), (3, 1))).sizes
        (6,)
    """
    for one in strides:
        if len(one) != len(shape):
            raise ValueError(
                f"elementwise walk: strides {one} do not fit the shape {shape}; give one stride per size."
            )
    if 0 in shape:
        return Walk("contiguous", (0,), ((1,) * len(strides),))
    sizes, steps = collapse(shape, (*strides, contiguous_strides(shape)) if index else strides)
    operands = steps[0][: len(strides)]
    if len(sizes) == 1 and all(s == 1 for s in operands):
        return Walk("contiguous", tuple(sizes), tuple(steps))
    rows, row_steps = (sizes[1], steps[1][: len(strides)]) if len(sizes) > 1 else (1, (0,) * len(strides))
    tile = (
        _copied(sizes[0], rows, operands, row_steps)
        if copy
        else _tile(sizes[0], rows, operands, row_steps, index)
    )
    if not index:
        steps = [(*s, 0) for s in steps]
    return Walk("strided", tuple(sizes), tuple(steps), *tile)


def table(address: int) -> np.ndarray:
    """The int64 table behind the word of a strided call, for those who interpret kernels."""
    return _BY_ADDRESS[address]


def intern(words: tuple[int, ...]) -> int:
    """Address of a table with these words; the same for equal words, and valid for the life of the
    process."""
    with _LOCK:
        found = _TABLES.get(words)
        if found is None:
            found = _TABLES[words] = np.array(words, np.int64)
            found.flags.writeable = False
            _BY_ADDRESS[found.ctypes.data] = found
        return found.ctypes.data


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Element strides of a C-contiguous array."""
    found, step = [], 1
    for size in reversed(shape):
        found.append(step)
        step *= size
    return tuple(reversed(found))


def collapse(
    shape: Sequence[int], strides: Sequence[Sequence[int]]
) -> tuple[list[int], list[tuple[int, ...]]]:
    """Sizes and steps (one per operand) of the fewest dimensions that walk the operands in the same way,
    innermost first.

    Dimensions are ordered by the first operand's stride (the output is written along its memory), then by the
    others'; dimensions of size 1 vanish, and neighbours that every operand crosses with an even step become
    one.
    """
    dims = [(size, tuple(s[d] for s in strides)) for d, size in enumerate(shape) if size != 1]
    dims.reverse()
    dims.sort(key=lambda dim: tuple(abs(s) if s else 1 << 62 for s in dim[1]))
    if not dims:
        return [1], [(1,) * len(strides)]
    sizes, steps = [dims[0][0]], [dims[0][1]]
    for size, step in dims[1:]:
        if all(s == sizes[-1] * inner for s, inner in zip(step, steps[-1])):
            sizes[-1] *= size
        else:
            sizes.append(size)
            steps.append(step)
    return sizes, steps


def _turned(steps: tuple[int, ...], row_steps: tuple[int, ...]) -> bool:
    """Whether some operand's memory runs along the rows' dimension."""
    return any(0 < abs(r) < abs(s) for s, r in zip(steps, row_steps))


def _tile(
    columns: int, rows: int, steps: tuple[int, ...], row_steps: tuple[int, ...], index: bool
) -> tuple[int, int, tuple[int, ...]]:
    """Width and height of a tile, and where the buffers begin."""
    turned = not index and _turned(steps, row_steps)
    several = turned or (not index and columns < SHORT_ROW)
    broken = [s != 1 or (several and rows > 1 and (turned or r != columns)) for s, r in zip(steps, row_steps)]
    if turned and columns >= 32:
        broken = [True] * len(steps)
    count = sum(broken)
    size = TILES[0] if count <= 1 else TILES[1] if count <= 3 else TILES[2]
    starts, slots = 0, []
    for needed in broken:
        slots.append(starts)
        starts += (size + PAD) * needed
    if turned:
        wide = min(columns, 32)  # cache lines of both directions are used whole
        return wide, max(1, min(rows, size // wide)), tuple(slots)
    if several:
        return columns, max(1, min(rows, size // columns)), tuple(slots)
    most = size if count else LONG
    return -(-columns // -(-columns // most)), 1, tuple(slots)


def _copied(
    columns: int, rows: int, steps: tuple[int, ...], row_steps: tuple[int, ...]
) -> tuple[int, int, tuple[int, ...]]:
    """Width and height of a tile that is copied without buffers."""
    if _turned(steps, row_steps):
        return min(columns, 64), min(rows, 64), (0,) * len(steps)
    wide = min(columns, LONG)
    return wide, max(1, min(rows, LONG // wide)), (0,) * len(steps)
