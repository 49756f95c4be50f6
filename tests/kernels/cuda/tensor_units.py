"""The simulator's tensor cores, and the copies to shared memory that feed them; gpu.py says what each function does."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensor_cores


class Values:
    """A tuple of numbers, such as a register tile, as one array."""

    __slots__ = ("array",)

    def __init__(self, array: np.ndarray):
        self.array = array

    def __getitem__(self, k: int) -> Any:
        return self.array[k]

    def __len__(self) -> int:
        return len(self.array)

    def __add__(self, other: Values) -> Values:
        return Values(np.concatenate([self.array, other.array]))


def _array(words: Any) -> np.ndarray:
    """The words of fragments, read together or one by one."""
    return words.array if isinstance(words, Values) else np.array(words, np.uint32)


class TensorUnits:
    """What Simulator is beside threads, memory and barriers."""

    current: Any
    _collective: Any

    def per_word(self, dtype: Any) -> Any:
        return np.int32(4 // np.dtype(dtype).itemsize)

    def copy16(self, room: Any, place: Any, p: Any, i: Any, count: Any) -> None:
        size = p.array.itemsize
        assert 0 <= count <= 16 and count % size == 0, f"{count} bytes are no whole elements"
        at, whole = room.vector(place, 4), np.zeros(16 // size, p.array.dtype)
        if count:
            source = p.vector_start(i, 16 // size)
            for k in range(int(count) // size):
                p.buffer.read(p._at(int(i) + k))
                whole[k] = p.array[source + k]
        self._begin(room, at, whole.view(np.uint32))

    def copy_word(self, room: Any, place: Any, p: Any, i: Any, step: Any, count: Any) -> None:
        size = p.array.itemsize
        items = np.zeros(4 // size, p.array.dtype)
        for k in range(min(max(int(count), 0), 4 // size)):
            items[k] = p[int(i) + k * int(step)]
        at = room.vector(place, 1)
        if size == 4:
            self._begin(room, at, items.view(np.uint32))
        else:
            room[place] = items.view(np.uint32)[0]

    def _begin(self, room: Any, at: range, words: np.ndarray) -> None:
        """What is copied is there when it was waited for; until then nobody may look."""
        for k in at:
            room.buffer.write(k)
            room.array[k] = 0x55555555
        self.current.begun.append((room, at, words))

    def commit(self) -> None:
        me = self.current
        me.groups.append(me.begun)
        me.begun = []

    def wait_copies(self, groups: int) -> None:
        me = self.current
        while len(me.groups) > groups:
            for room, at, words in me.groups.pop(0):
                for k, word in zip(at, words):
                    room.buffer.write(k)
                    room.array[k] = word

    def matrices(self, room: Any, place: Any) -> Values:
        return self._matrices(room, place, False)

    def matrices_turned(self, room: Any, place: Any) -> Values:
        return self._matrices(room, place, True)

    def _matrices(self, room: Any, place: Any, turned: bool) -> Values:
        at = room.vector(place, 4)
        for k in at:
            room.buffer.read(k)
        words = room.array[at.start : at.stop].copy()
        return Values(self._collective("matrices", lambda v, _: tensor_cores.matrices(v, turned), words))

    def rounded(self, words: Values, dtype: Any) -> Values:
        array = _array(words)
        return Values(tensor_cores.all_rounded(array) if dtype is np.float32 else array)

    def as_float(self, x: Any) -> Any:
        return x if isinstance(x, np.float32) else np.float32(tensor_cores.wide(np.array(x)))

    def as_stored(self, x: Any, dtype: Any) -> Any:
        if dtype is np.int16:
            return tensor_cores.bfloat(np.array(x, np.float32))[()]
        return x if dtype is np.float32 else np.float16(x).view(np.uint16)

    def mma(self, acc: Values, a: tuple, b: tuple, dtype: Any) -> Values:
        given = (acc.array, a.array, b.array)
        made = self._collective("mma", lambda v, _: tensor_cores.products(v, dtype), given)
        return Values(made)
