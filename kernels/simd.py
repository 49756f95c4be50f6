"""The SIMD layer: vectors, and register tiles of vectors for matrix product and convolution.

A vector holds as many elements of T as a register of the target (VL: float32 16 on AVX-512, 8 on AVX2, else 4; float64
half of that). A tile is rows x cols vectors in one variable; LLVM keeps each of them in a register throughout a loop:

    acc = tile_zero(T, 6, 2)
    a, b = spread(x, x_stride, m, 6), spread(w, VL, 2, 2)     # pointers to 6 rows and to 2 neighbouring vectors
    for k in range(count):
        acc = tile_fma(acc, a, k, b, k * w_stride)            # 12 fused multiply-adds, 6 splats, 2 loads
    tile_store(spread(y, VL, 2, 2), y_stride, acc)

Each function is a stand-in: inside a compiled kernel it is the numba intrinsic of the same name (intrinsics_simd.py, intrinsics_tile.py);
called from plain Python it runs the body below on NumPy arrays of VL lanes (tiles: rows x cols x VL).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .binding import intrinsic
from .target import target

_numba, _tiles = (intrinsic(f"{__package__}.intrinsics_{name}") for name in ("simd", "tile"))


def _lanes(dtype: Any) -> int:
    return target().vector_bytes // np.dtype(dtype).itemsize


@_numba
def vzero(dtype: Any) -> Any:
    """The vector of zeros of the dtype constructor `dtype`, normally T."""
    return np.zeros(_lanes(dtype), dtype)


@_numba
def vsplat(x: Any) -> Any:
    """The vector whose lanes are all the scalar `x`."""
    return np.full(_lanes(type(x)), x)


@_numba
def vload(p: Any, k: int) -> Any:
    """VL elements from `p[k]` on; no alignment needed."""
    return np.array([p[k + lane] for lane in range(_lanes(p.array.dtype))])


@_numba
def vloadn(p: Any, k: int, n: int) -> Any:
    """The elements `p[k:k + n]`, zeros in the other lanes; memory behind them is not touched. n may exceed VL or be <= 0."""
    zero = p.array.dtype.type(0)
    return np.array([p[k + lane] if lane < n else zero for lane in range(_lanes(p.array.dtype))])


@_numba
def vevens(p: Any, k: int, n: int) -> Any:
    """The `n` elements p[k], p[k + 2], ..., zeros in the other lanes; memory behind the last is not touched."""
    zero = p.array.dtype.type(0)
    return np.array([p[k + 2 * lane] if lane < n else zero for lane in range(_lanes(p.array.dtype))])


@_numba
def vstore(p: Any, k: int, v: Any) -> None:
    """Store the lanes of `v` at `p[k]` and after."""
    for lane, x in enumerate(v):
        p[k + lane] = x


@_numba
def vstoren(p: Any, k: int, v: Any, n: int) -> None:
    """Store the first `n` lanes of `v` at `p[k]` and after; memory behind them is not touched."""
    for lane in range(min(n, len(v))):
        p[k + lane] = v[lane]


@_numba
def vfma(a: Any, b: Any, c: Any) -> Any:
    """a * b + c lane by lane, fused where the CPU can."""
    return a * b + c


@_numba
def vadd(a: Any, b: Any) -> Any:
    """a + b lane by lane."""
    return a + b


@_numba
def vsub(a: Any, b: Any) -> Any:
    """a - b lane by lane."""
    return a - b


@_numba
def vpairs(a: Any, b: Any) -> Any:
    """a[0], b[0], a[1], b[1], ... of the lower halves."""
    return np.stack([a, b], 1)[: len(a) // 2].ravel()


@_numba
def vpairs_high(a: Any, b: Any) -> Any:
    """`vpairs` of the upper halves."""
    return np.stack([a, b], 1)[len(a) // 2 :].ravel()


@_numba
def vfirsts(a: Any, b: Any) -> Any:
    """a[0], a[2], ..., b[0], b[2], ...; undoes `vpairs`."""
    return np.concatenate([a, b])[::2]


@_numba
def vseconds(a: Any, b: Any) -> Any:
    """a[1], a[3], ..., b[1], b[3], ..."""
    return np.concatenate([a, b])[1::2]


@_numba
def vmul(a: Any, b: Any) -> Any:
    """a * b lane by lane."""
    return a * b


@_numba
def vmaxn(v: Any, low: Any) -> Any:
    """max(v, low) lane by lane that keeps a NaN of `v` (ReLU: low = 0)."""
    return np.where(v < low, low, v)


@_numba
def vsum(v: Any) -> Any:
    """The sum of the lanes, a scalar, added as a tree (upper half to lower half)."""
    while len(v) > 1:
        v = v[: len(v) // 2] + v[len(v) // 2 :]
    return v[0]


@_numba
def vsumall(*vs: Any) -> Any:
    """One vector whose first lanes are the lane sums of `vs`; their number is a power of two of at most VL."""
    lanes, rows = len(vs[0]), list(vs)
    while len(rows) > 1:
        low, high = pair_masks(lanes, len(vs) // len(rows))
        both = [np.concatenate([a, b]) for a, b in zip(rows[::2], rows[1::2])]
        rows = [ab[low] + ab[high] for ab in both]
    v = rows[0]
    while lanes > len(vs):
        lanes //= 2
        v = v + np.roll(v, -lanes)
    return v


def pair_masks(lanes: int, held: int) -> tuple[list[int], list[int]]:
    """The two shuffles of `vsumall` whose sum joins two vectors into one.

    Each of the two holds `held` partial sums, interleaved (lane i belongs to sum i % held); the result holds twice as many,
    those of the first vector before those of the second. Lane numbers from `lanes` on mean the second vector.
    """
    low = [
        lane // (2 * held) * held + lane % held + (lanes if lane % (2 * held) >= held else 0)
        for lane in range(lanes)
    ]
    return low, [lane + lanes // 2 for lane in low]


# ---- tiles: `rows` and `cols` are compile-time constants -------------------------------------------------------------


@_tiles
def spread(p: Any, stride: int, used: int, count: int) -> Any:
    """`count` (a constant) pointers `p + i * stride`; those from `used` on repeat the last one below it."""
    return [p.offset(min(i, used - 1) * stride) for i in range(count)]


@_tiles
def spread_at(p: Any, table: Any, first: int, count: int) -> Any:
    """`count` (a constant) pointers `p + table[first + i]`, where `table` points to int64."""
    return [p.offset(table[first + i]) for i in range(count)]


@_tiles
def shifted(pointers: Any, k: int) -> Any:
    """Every pointer of a spread, `k` elements further."""
    return [p.offset(k) for p in pointers]


@_tiles
def tile_zero(dtype: Any, rows: int, cols: int) -> Any:
    """A tile of zeros."""
    return np.zeros((rows, cols, _lanes(dtype)), dtype)


@_tiles
def tile_splat(p: Any, step: int, used: int, rows: int, cols: int) -> Any:
    """The tile whose row i is filled with `p[i * step]`; rows from `used` on repeat the last one below it."""
    lanes = _lanes(p.array.dtype)
    column = [p[min(i, used - 1) * step] for i in range(rows)]
    return np.tile(np.array(column)[:, None, None], (1, cols, lanes))


@_tiles
def tile_load(cols: Any, stride: int, rows: int) -> Any:
    """The tile whose vector (i, j) starts at `cols[j][i * stride]`; `cols` comes from `spread`."""
    return np.array([[vload.py(q, i * stride) for q in cols] for i in range(rows)])


@_tiles
def tile_turned(rows: Any, k: int, n: int) -> Any:
    """The VL x 1 tile whose vector k' holds element k + k' of each of the VL pointers `rows`; zeros for k' >= n."""
    return np.array([vloadn.py(p, k, n) for p in rows]).T[:, None]


@_tiles
def tile_store(cols: Any, stride: int, tile: Any) -> None:
    """Store vector (i, j) at `cols[j][i * stride]`."""
    for i, row in enumerate(tile):
        for q, v in zip(cols, row):
            vstore.py(q, i * stride, v)


@_tiles
def tile_max(tile: Any, low: Any) -> Any:
    """max(x, low) for every element, keeping NaN."""
    return vmaxn.py(tile, low)


@_tiles
def tile_fma(tile: Any, a: Any, ka: int, b: Any, kb: int) -> Any:
    """tile[i, j] + splat(a[i][ka]) * vector at b[j][kb]; `a` and `b` come from `spread`."""
    vs = np.array([vload.py(q, kb) for q in b])
    return tile + np.array([p[ka] for p in a])[:, None, None] * vs


@_tiles
def tile_dot(tile: Any, a: Any, b: Any, k: int) -> Any:
    """tile[i, j] + vector at a[i][k] * vector at b[j][k]."""
    return tile + np.array([vload.py(p, k) for p in a])[:, None] * np.array([vload.py(q, k) for q in b])


@_tiles
def tile_dotn(tile: Any, a: Any, b: Any, k: int, n: int) -> Any:
    """`tile_dot` of the first `n` lanes only; memory behind them is not touched."""
    left, right = [vloadn.py(p, k, n) for p in a], [vloadn.py(q, k, n) for q in b]
    return tile + np.array(left)[:, None] * np.array(right)


@_tiles
def tile_sums(p: Any, tile: Any) -> None:
    """Store the sums over the lanes of row i of the tile as the vector at `p[i * VL]` (cols: a power of two <= VL)."""
    for i, row in enumerate(tile):
        vstore.py(p, i * row.shape[1], vsumall.py(*row))
