"""Calls of compiled kernels from Python."""

from __future__ import annotations

import ctypes
import struct

_ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
_MAX_WORDS = 64


def launch(address: int, nchunks: int, *words: int | float) -> None:
    """Run all `nchunks` chunks of the kernel at `address` on the argument block `words`."""
    if len(words) > _MAX_WORDS:
        raise TypeError(f"launch() takes at most {_MAX_WORDS} words, got {len(words)}.")
    block = (ctypes.c_int64 * _MAX_WORDS)()
    for i, word in enumerate(words):
        if type(word) is float:
            block[i] = struct.unpack("<q", struct.pack("<d", word))[0]
        elif type(word) in (int, bool):
            block[i] = word
        else:
            raise TypeError(f"launch() word {i} must be an int or a float, got {type(word).__name__}.")
    entry = _ENTRY(address)
    for chunk in range(abs(nchunks)):
        entry(ctypes.addressof(block), chunk, abs(nchunks))
