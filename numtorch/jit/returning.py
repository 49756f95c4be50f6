"""Tables for the way back: what ``kernels/back.py`` needs to know of a backward program to replay it without any Python."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..storage import INFERENCE
from .histories import fields


def native(back: Any) -> Any:
    """``go_back(grads, kept)`` for a backward program, or None where native code does not cover it."""
    from ..kernels import caller

    if not caller.IS_AVAILABLE or not back.can_be_native or back.program.live_cells:
        return None
    given = len(back.path.given)
    slots = [None if g is None else back.slots.index.get(id(g.storage), -1) for g in back.path.leaf_grads]
    own = [slot for slot in slots if slot is not None]
    if any(slot < given for slot in own) or len(set(own)) < len(own):
        return None  # gradients that pass through, that are the same at each call, or that share memory
    from ..kernels.back import Back

    return Back(_Table(back, slots).words, fields()).function


class _Table:
    """The words of a backward program's table."""

    def __init__(self, back: Any, slots: list[Any]):
        from ..kernels import back as B
        from ..kernels import tables as C
        from ..kernels.driver import PARALLEL, SERIAL
        from ..kernels.threads import aligned_words

        self.words = aligned_words(B.BACK_WORDS)
        path, program, index = back.path, back.program, back.slots.index
        given = [[index[id(r.storage)], id(r.layout), r.layout.itemsize] for r in path.given]
        self._section(back, B.GIVEN, given)
        self._section(back, B.SAVED_SLOTS, [len(given) + k for k in range(back.count_saved)])
        self._section(back, B.INPUT_SLOTS, [slot for slot, _ in back.inputs])
        offsets = [0 if g is None else g.offset for g in path.leaf_grads]
        rows = [[id(offset), 0 if g is None else id(g.layout)] for g, offset in zip(path.leaf_grads, offsets)]
        self._section(back, B.GRADIENTS, rows)
        sizes = [back.slots.storages[slot].nbytes for slot in slots if slot is not None]
        fresh = [slot for slot in slots if slot is not None]
        self._section(back, C.FRESH_MEMORY, [[slot, n, id(n)] for slot, n in zip(fresh, sizes)])
        self.words[B.WATCHED_COUNT], self.words[B.UNWATCHED] = len(back.layouts), INFERENCE
        self._write_cells(back, C)
        self._section(back, C.RUNS, [0 if p is None else p.address for p in program.programs])
        self.words[C.PARALLEL_MODE] = PARALLEL if program.parallel else SERIAL
        program.keep.append((self.words, offsets, sizes))

    def _section(self, back: Any, at: int, rows: list[Any]) -> np.ndarray:
        words = np.array(rows, np.int64) if rows else np.zeros(1, np.int64)
        self.words[at], self.words[at + 1] = len(rows), words.ctypes.data
        back.program.keep.append(words)
        return words

    def _write_cells(self, back: Any, C: Any) -> None:
        program = back.program
        base = program.block.ctypes.data
        by_slot: list[list[list[int]]] = [[] for _ in back.slots.storages]
        for slot, shift, at in program.cells:
            by_slot[slot].append([base + 8 * at, shift])
        firsts = np.cumsum([0, *map(len, by_slot)]).tolist()
        slots = self._section(back, C.SLOTS, [[0, first, len(cells)] for first, cells in zip(firsts, by_slot)])
        self._section(back, C.CELLS, [cell for cells in by_slot for cell in cells])
        program.known = slots.reshape(-1, 3)[:, 0]
