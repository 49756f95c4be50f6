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
    if any(g is not None and id(g.storage) not in back.slots.index for g in back.path.leaf_grads):
        return None  # gradients that are the same at each call
    from ..kernels.back import Back

    return Back(_Table(back).words, fields()).function


class _Table:
    """The words of a backward program's table."""

    def __init__(self, back: Any):
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
        self._write_gradients(back, B, C)
        self.words[B.WATCHED_COUNT], self.words[B.UNWATCHED] = len(back.layouts), INFERENCE
        self._write_cells(back, C)
        self._section(back, C.RUNS, [0 if p is None else p.address for p in program.programs])
        self.words[C.PARALLEL_MODE] = PARALLEL if program.parallel else SERIAL
        program.keep.append(self.words)

    def _section(self, back: Any, at: int, rows: list[Any]) -> np.ndarray:
        words = np.array(rows, np.int64) if rows else np.zeros(1, np.int64)
        self.words[at], self.words[at + 1] = len(rows), words.ctypes.data
        back.program.keep.append(words)
        return words

    def _write_gradients(self, back: Any, B: Any, C: Any) -> None:
        """Of each leaf: nothing, a place in new memory, or in that of a given gradient."""
        given, slots = back.path.given, [slot for slot, _ in back.fresh]
        sizes = [n for _, n in back.fresh]
        offsets, rows = [0 if g is None else g.offset for g in back.path.leaf_grads], []
        for g, offset in zip(back.path.leaf_grads, offsets):
            if g is None:
                rows.append([B.NO_GRADIENT, 0, 0, 0])
                continue
            slot = back.slots.index[id(g.storage)]
            if slot < len(given):
                rows.append([B.IN_GIVEN, slot, id(g.layout), offset - given[slot].offset])
            else:
                rows.append([B.IN_FRESH, slots.index(slot), id(g.layout), id(offset)])
        self._section(back, B.GRADIENTS, rows)
        self._section(back, C.FRESH_MEMORY, [[slot, n, id(n)] for slot, n in zip(slots, sizes)])
        back.program.keep.append((offsets, sizes))

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
