"""What a warp's `mma` computes, from the words that its 32 lanes hold (gpu.py says which)."""

from __future__ import annotations

from typing import Any

import numpy as np


def rounded(x: Any) -> Any:
    """A float32 as a tf32 number in a word: 10 digits after the point, ties away from zero; inf and NaN stay."""
    bits = int(np.float32(x).view(np.uint32))
    if np.isfinite(x):
        bits = (bits + 0x1000) & 0xFFFFE000
    return np.uint32(bits & 0xFFFFFFFF)


def all_rounded(words: np.ndarray) -> np.ndarray:
    """The same for an array of float32 in words."""
    finite = np.isfinite(words.view(np.float32))
    return np.where(finite, (words + np.uint32(0x1000)) & np.uint32(0xFFFFE000), words).astype(np.uint32)


def matrices(lanes: list[np.ndarray], turned: bool) -> list[Any]:
    """What each lane gets of four 8 x 8 matrices, given the line that each lane points to; `Values`-like arrays."""
    lines = np.stack(lanes)  # [32, 4 words]
    group, member = np.arange(32) // 4, np.arange(32) % 4
    made = np.empty((32, 4), np.uint32)
    for m in range(4):
        matrix = lines[8 * m : 8 * m + 8]
        if turned:
            matrix = np.ascontiguousarray(np.ascontiguousarray(matrix).view(np.uint16).T).view(np.uint32)
        made[:, m] = matrix[group, member]
    return list(made)


def wide(bits: np.ndarray) -> np.ndarray:
    """The float32 of stored float16 (uint16) or bfloat16 (int16)."""
    if bits.dtype == np.uint16:
        return bits.view(np.float16).astype(np.float32)
    return (bits.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)


def bfloat(x: np.ndarray) -> np.ndarray:
    """The bits (int16) of the nearest bfloat16 to each float32, ties to even."""
    bits = x.view(np.uint32)
    near = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(x), np.uint32(0x7FC0), near).astype(np.uint16).view(np.int16)


def numbers(words: np.ndarray, dtype: Any) -> np.ndarray:
    """The numbers in words [lines, 8]: [lines, 8] of tf32 (float32), [lines, 16] of float16 (uint16) or bfloat16 (int16)."""
    words = np.ascontiguousarray(words, np.uint32)
    if dtype is not np.float32:
        return wide(words.view(dtype))
    assert not (words & 0x1FFF)[np.isfinite(words.view(np.float32))].any(), "a word is no tf32 number"
    return words.view(np.float32)


def products(lanes: list[tuple], dtype: Any) -> list[np.ndarray]:
    """The accumulators of each lane, given (accumulators, words of A, words of B) of each."""
    acc = np.stack([lane[0] for lane in lanes])
    a, b = (np.array([lane[k] for lane in lanes], np.uint32) for k in (1, 2))
    rows, cols = a.shape[1] // 4, b.shape[1] // 2
    group, member = np.arange(32) // 4, np.arange(32) % 4
    made = acc.copy()
    for i in range(rows):
        left = np.zeros((16, 8), np.uint32)
        for e in range(4):
            left[group + 8 * (e & 1), member + 4 * (e >> 1)] = a[:, 4 * i + e]
        for j in range(cols):
            right = np.zeros((8, 8), np.uint32)  # [column, word]
            for e in range(2):
                right[group, member + 4 * e] = b[:, 2 * j + e]
            tile = numbers(left, dtype).astype(np.float64) @ numbers(right, dtype).astype(np.float64).T
            for e in range(4):
                at = (i * cols + j) * 4 + e
                made[:, at] += tile[group + 8 * (e >> 1), 2 * member + (e & 1)].astype(np.float32)
    return list(made)
