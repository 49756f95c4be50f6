"""A recurrent layer over a whole sequence as one kernel: rows of a batch never meet, so that threads never wait.

    x [steps, n, gates * size]   gates from the input        packed   W^T in panels, then the bias
    own = h_before W^T + bias    for a few rows at a time    cell     new state, cell and what a backward needs

A unit is a few rows through all steps: the panels come from the L2 cache, states and gates of a step stay in L1.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from .. import scalar
from ..jit import VL, T, T_ptr, device, i64, kernel
from ..loops import independent
from ..memory import copy, fma, offset, select, split
from ..scalar_base import LOG2_E, exact, nearest_int, power_of_two
from ..scalar_exp import exp_poly, expm1_poly
from ..simd import spread, tile_fma, tile_load, tile_store
from ..target import target
from .tiles import pack

ROWS, VECTORS = 4, 3  # of a register tile
GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


def geometry(size: int, gates: int, dtype: str) -> tuple[int, int, int]:
    """How many panels the weight makes, their columns in all, and the elements of the panels and the bias behind."""
    lanes = target().lanes(dtype)
    panels = -(-gates * size // (VECTORS * lanes))
    pitch = panels * VECTORS * lanes
    return panels, pitch, pitch * (-(-size // lanes) * lanes + 1)


@kernel
def pack_recurrent(packed: T_ptr, w: T_ptr, bias: T_ptr, size: i64, cols: i64, biased: i64, chunk: i64, nchunks: i64):
    """Panels of w [cols, size] as [panel, k, column], zeros after the last column, then the bias; units: panels."""
    width, lines = VECTORS * VL, (size + VL - 1) // VL * VL
    panels = (cols + width - 1) // width
    lo, hi = split(panels, chunk, nchunks)
    for p in range(lo, hi):
        panel, left = offset(packed, p * width * lines), min(width, cols - p * width)
        if left < width:
            for i in range(width * lines):
                panel[i] = T(0)
        pack(panel, width, 0, offset(w, p * width * size), 1, size, size, left)
        last = offset(packed, (panels * lines + p) * width)
        for j in range(width):
            last[j] = T(0)
            if biased != 0 and j < left:
                last[j] = bias[p * width + j]


@exact
def _parts(x, factor):
    """(2**n, r) with factor * x = n ln(2) + r, for |x| far from the largest exponent."""
    magic = T(12582912.0)  # 1.5 * 2**23: adding it rounds to an integer
    t = fma(x, T(LOG2_E) * factor, magic)
    n = t - magic
    r = fma(n, T(0.00021219444), fma(n, T(-0.693359375), x * factor))  # ln(2) in two parts
    return power_of_two(x, nearest_int(t)), r


@exact
def quick_sigmoid(x):
    """1 / (1 + e**-x) in float32, within 3 ulp for x > -87, and nearly zero below."""
    v = select(x > T(87), T(87), x)
    one, r = _parts(select(v < T(-87), T(-87), v), T(-1))
    return T(1) / (T(1) + fma(one, fma(r * r, exp_poly(r), r), one))


@exact
def quick_tanh(x):
    """The hyperbolic tangent in float32, within 3 ulp: e / (e + 2) for e = expm1(2 x)."""
    v = select(x > T(10), T(10), x)
    one, r = _parts(select(v < T(-10), T(-10), v), T(2))
    e = fma(one, fma(r * r, expm1_poly(r), r), one - T(1))
    return e / (e + T(2))


@cache
def _cell(kind: str, dtype: str) -> Any:
    """Device function: a step of a few rows from the gates of the input (`x`) and of the state (`own`)."""
    narrow = dtype == "float32"
    sigmoid, tanh = (quick_sigmoid, quick_tanh) if narrow else (scalar.sigmoid, scalar.tanh)

    @device
    def lstm(h, c, kept, x, own, old, c_old, size):
        for j in range(size):
            i, f = sigmoid(x[j] + own[j]), sigmoid(x[size + j] + own[size + j])
            u = tanh(x[2 * size + j] + own[2 * size + j])
            o = sigmoid(x[3 * size + j] + own[3 * size + j])
            v = f * c_old[j] + i * u
            kept[j], kept[size + j], kept[2 * size + j], kept[3 * size + j] = i, f, u, o
            c[j] = v
            h[j] = o * tanh(v)
        independent()

    @device
    def gru(h, c, kept, x, own, old, c_old, size):
        for j in range(size):
            r, z = sigmoid(x[j] + own[j]), sigmoid(x[size + j] + own[size + j])
            v = own[2 * size + j]
            n = tanh(x[2 * size + j] + r * v)
            kept[j], kept[size + j], kept[2 * size + j], kept[3 * size + j] = r, z, n, v
            h[j] = n + z * (old[j] - n)
        independent()

    @device
    def plain(h, c, kept, x, own, old, c_old, size):
        for j in range(size):
            h[j] = tanh(x[j] + own[j])
        independent()

    @device
    def clamped(h, c, kept, x, own, old, c_old, size):
        for j in range(size):
            v = x[j] + own[j]
            h[j] = select(v < T(0), T(0), v)
        independent()

    return {"LSTM": lstm, "GRU": gru, "RNN_TANH": plain, "RNN_RELU": clamped}[kind]


@cache
def scan(kind: str, dtype: str) -> Any:
    """The kernel of one kind of layer for one dtype."""
    step, gates = _cell(kind, dtype), GATES[kind]

    @kernel
    def recurrent_scan(
        h: T_ptr, c: T_ptr, kept: T_ptr, x: T_ptr, packed: T_ptr, h0: T_ptr, c0: T_ptr, scratch: T_ptr, steps: i64,
        n: i64, size: i64, reverse: i64, keeps: i64, celled: i64, together: i64, chunk_words: i64, chunk: i64, nchunks: i64,
    ):  # fmt: skip
        """h, c [steps + 1, n, size] with the initial state in its place; kept [steps or 1, n, 4 * size]; units of
        `together` rows, a multiple of 4.
        """
        width, lines = VECTORS * VL, (size + VL - 1) // VL * VL
        panels = (gates * size + width - 1) // width
        pitch, own, bias = panels * width, offset(scratch, chunk * chunk_words), offset(packed, panels * lines * width)
        lo, hi = split((n + together - 1) // together, chunk, nchunks)
        for unit in range(lo, hi):
            i0 = unit * together
            rows = min(together, n - i0)
            start = ((steps if reverse != 0 else 0) * n + i0) * size
            copy(offset(h, start), offset(h0, i0 * size), rows * size)
            if celled != 0:
                copy(offset(c, start), offset(c0, i0 * size), rows * size)
            for s in range(steps):
                t = steps - 1 - s if reverse != 0 else s
                before = ((t + (1 if reverse != 0 else 0)) * n + i0) * size
                after = ((t + (0 if reverse != 0 else 1)) * n + i0) * size
                for p in range(panels):
                    vs = spread(offset(packed, p * lines * width), VL, VECTORS, VECTORS)
                    bs = spread(offset(bias, p * width), VL, VECTORS, VECTORS)
                    for q in range((rows + ROWS - 1) // ROWS):
                        xs = spread(offset(h, before + q * ROWS * size), size, rows - q * ROWS, ROWS)
                        tile, kb = tile_load(bs, 0, ROWS), 0
                        for k in range(size):
                            tile = tile_fma(tile, xs, k, vs, kb)
                            kb += width
                        tile_store(spread(offset(own, q * ROWS * pitch + p * width), VL, VECTORS, VECTORS), pitch, tile)
                for r in range(rows):
                    at, back = after + r * size, before + r * size
                    place = t * n + i0 + r
                    gate = offset(kept, (place if keeps != 0 else i0 + r) * 4 * size)
                    given, mine = offset(x, place * gates * size), offset(own, r * pitch)
                    step(offset(h, at), offset(c, at), gate, given, mine, offset(h, back), offset(c, back), size)

    return recurrent_scan
