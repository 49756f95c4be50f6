"""Kernels as plain Python: pointers that check every access, for debugging and for tests of kernel source."""

from __future__ import annotations

from typing import Any

import numpy as np


class Pointer:
    """A checked pointer: `p[i]` raises IndexError outside of the array, whose memory `Pointer(array)` shares.

    `name` says in the error whose memory it is. Example: `p = Pointer(np.arange(3.0)); p[2] == 2.0`, while `p[3]` and
    `p[-1]` raise.
    """

    __slots__ = ("array", "name", "size", "start")

    def __init__(self, array: np.ndarray, start: int = 0, name: str = "a buffer"):
        flat = array.view()
        flat.shape = (
            array.size,
        )  # raises for memory that is not contiguous, where a copy would lose the writes
        self.array, self.start, self.name, self.size = flat, start, name, array.size

    @classmethod
    def poisoned(cls, count: int, dtype: Any, name: str = "a stack buffer") -> Pointer:
        """A new buffer filled with NaN (floats) or 0x55 bytes, so that reading before writing shows."""
        array = np.empty(count, dtype)
        poison(array)
        return cls(array, 0, name)

    def _at(self, i: Any) -> int:
        at = self.start + int(i)
        if not 0 <= at < self.size:
            raise IndexError(f"kernel access at element {at} of {self.name}, which has {self.size} elements.")
        return at

    def __getitem__(self, i: Any) -> Any:
        return self.array[self._at(i)]

    def __setitem__(self, i: Any, value: Any) -> None:
        self.array[self._at(i)] = value

    def offset(self, k: Any) -> Pointer:
        """The pointer `k` elements further; may leave the buffer as long as nothing is accessed there."""
        moved = Pointer.__new__(Pointer)
        moved.array, moved.start, moved.name, moved.size = self.array, self.start + int(k), self.name, self.size
        return moved

    def address(self) -> int:
        """The memory address of the element pointed at."""
        return self.array.ctypes.data + self.start * self.array.itemsize


def poison(array: np.ndarray) -> None:
    """Fill contiguous memory with NaN (floats) or 0x55 bytes."""
    if array.dtype.kind == "f":
        array.fill(np.nan)
    else:
        array.reshape(-1).view(np.uint8).fill(0x55)


def bind(kernel: Any, T: str = "float32", S: str | None = None, **more: Any) -> Any:
    """`kernel` (or a device function) as a plain function of Pointers and numbers, for the given dtypes.

    Example: `bind(scale_rows, T="float64")(Pointer(y), Pointer(x), 3, 4, 2.0, 0, 1)`
    """
    from .binding import Device, Placeholder, lookup, rebind
    from .jit import complete

    env = complete({"T": T, "S": S, **more})
    copies: dict[Any, Any] = {}

    def replace(value: Any) -> Any:
        if isinstance(value, Placeholder):
            return lookup(value, env)
        if isinstance(value, Device):
            twin = getattr(value, "twin", None)  # scalar functions: the same in plain Python
            if twin is not None:
                return twin
            if value not in copies:
                copies[value] = rebind(value.py, env, replace)  # type: ignore[arg-type]
            return copies[value]
        return value

    return rebind(kernel.py, env, replace)
