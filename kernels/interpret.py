"""Kernels as plain Python: pointers that check every access, for debugging and for tests of kernel source."""

from __future__ import annotations

from typing import Any

import numpy as np


class Pointer:
    """A checked pointer: `p[i]` raises IndexError outside of the array, whose memory `Pointer(array)` shares.

    Example: `p = Pointer(np.arange(3.0)); p[2] == 2.0`, while `p[3]` and `p[-1]` raise.
    """

    def __init__(self, array: np.ndarray, start: int = 0):
        flat = array.view()
        flat.shape = (
            array.size,
        )  # raises for memory that is not contiguous, where a copy would lose the writes
        self.array, self.start = flat, start

    @classmethod
    def poisoned(cls, count: int, dtype: Any) -> Pointer:
        """A new buffer filled with NaN (floats) or 0x55 bytes, so that reading before writing shows."""
        array = np.empty(count, dtype)
        array.view(np.uint8)[:] = 0x55
        if array.dtype.kind == "f":
            array[:] = np.nan
        return cls(array)

    def _at(self, i: Any) -> int:
        at = self.start + int(i)
        if not 0 <= at < self.array.size:
            raise IndexError(f"kernel access at element {at} of a buffer of {self.array.size} elements.")
        return at

    def __getitem__(self, i: Any) -> Any:
        return self.array[self._at(i)]

    def __setitem__(self, i: Any, value: Any) -> None:
        self.array[self._at(i)] = value

    def offset(self, k: Any) -> Pointer:
        """The pointer `k` elements further; may leave the buffer as long as nothing is accessed there."""
        return Pointer(self.array, self.start + int(k))

    def address(self) -> int:
        """The memory address of the element pointed at."""
        return self.array.ctypes.data + self.start * self.array.itemsize


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
