"""A recurrent layer over a whole sequence as one kernel: rows of a batch never meet, so that threads never wait.

    gates   h_before W_own^T + x_t W_in^T + biases, for VECTORS * VL units and a few rows at a time
    cell    new state, cell and what a backward needs, from these gates while they are in L1

A part is a few rows through all steps: the weights come from the L2 cache as one stream, in panels that hold all gates
of the same units one behind another. A layer whose input weight is too big for that is given the input's share of the
gates instead (`inputs` 0, x [steps, n, gates * size]).

The gates of a unit have slots: i, f, o, u of an LSTM; r, z, the state's share of n and the input's of a GRU.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from .. import scalar
from ..jit import VL, T, T_ptr, device, i64, kernel
from ..loops import independent
from ..memory import copy, fma, offset, select, split, stack
from ..scalar_base import LOG2_E, exact, nearest_int, polynomial, power_of_two
from ..simd import spread, tile_fma, tile_load, tile_store
from ..target import target
from .tiles import pack

ROWS, VECTORS = 4, 3  # of a register tile
TOGETHER = 2 * ROWS  # rows that share a pass over the weights, at most
GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
SLOTS = {**GATES, "GRU": 4}
OWN_BIAS, BIAS = 1, 2  # flags of pack_recurrent
exp2_short = polynomial("exp2_short")


def geometry(kind: str, size: int, inputs: int, dtype: str) -> tuple[int, int]:
    """How many panels the weights make, and the elements of all of them."""
    lanes = target().lanes(dtype)
    whole, rest = divmod(size, VECTORS * lanes)
    panels = whole * SLOTS[kind] + -(-SLOTS[kind] * -(-rest // lanes) // VECTORS)
    lines = 1 + max(-(-size // lanes) * lanes, size + -(-inputs // lanes) * lanes)
    return panels, panels * lines * VECTORS * lanes


@device
def _lines(size, inputs):
    """Lines of a panel: biases, own weights, input weights, and what the transposing of squares spoils behind."""
    return 1 + max((size + VL - 1) // VL * VL, size + (inputs + VL - 1) // VL * VL)


@device
def _clear(to, pitch, lines):
    """Zeros in a vector's column."""
    for k in range(lines):
        for i in range(VL):
            to[k * pitch + i] = T(0)


@kernel
def pack_recurrent(
    packed: T_ptr, own: T_ptr, given: T_ptr, own_bias: T_ptr, bias: T_ptr, size: i64, inputs: i64, gates: i64,
    biases: i64, panels: i64, chunk: i64, nchunks: i64,
):  # fmt: skip
    """Panels of lines of VECTORS * VL from own [gates * size, size] and given [gates * size, inputs]: the sum of the
    `biases` (flags), own weights, input weights; zeros where a slot has no share of one. Units: panels.
    """
    width, slots = VECTORS * VL, select(gates == 3, 4, gates)
    lo, hi = split(panels, chunk, nchunks)
    for p in range(lo, hi):
        first = p // slots * width
        vectors = (min(width, size - first) + VL - 1) // VL
        for j in range(VECTORS):
            v, at = p % slots * VECTORS + j, offset(packed, p * _lines(size, inputs) * width + j * VL)
            slot, unit = v // vectors, first + v % vectors * VL
            if slot < slots:
                gate = select(gates == 4, slot ^ (slot >> 1), min(slot, gates - 1))
                stated, fed = gates != 3 or slot != 3, gates != 3 or slot != 2
                left, row = min(VL, size - unit), gate * size + unit
                _clear(at, width, 1)
                for i in range(left):
                    if stated and biases & 1 != 0:
                        at[i] += own_bias[row + i]
                    if fed and biases & 2 != 0:
                        at[i] += bias[row + i]
                if stated:
                    pack(offset(at, width), width, 0, offset(own, row * size), 1, size, size, left)
                else:
                    _clear(offset(at, width), width, size)
                further = offset(at, width + size * width)
                if not fed:
                    _clear(further, width, inputs)
                elif inputs != 0:
                    pack(further, width, 0, offset(given, row * inputs), 1, inputs, inputs, left)
            else:
                _clear(at, width, 1 + size + inputs)


@exact
def _power(x, factor):
    """(2**n, 2**n * f, (2**f - 1) / f) with factor * x / ln(2) = n + f, for |x| far from the largest exponent."""
    magic = T(12582912.0)  # 1.5 * 2**23: adding it rounds to an integer
    t = fma(x, T(LOG2_E) * factor, magic)
    f = fma(x, T(LOG2_E) * factor, magic - t)
    one = power_of_two(x, nearest_int(t))
    return one, f * one, exp2_short(f)


@exact
def quick_sigmoid(x):
    """1 / (1 + e**-x) in float32, within 5 ulp for x > -16, 21 for x > -87, and nearly zero below."""
    v = select(x > T(87), T(87), x)
    one, part, p = _power(select(v < T(-87), T(-87), v), T(-1))
    return T(1) / (T(1) + fma(part, p, one))


@exact
def quick_tanh(x):
    """The hyperbolic tangent in float32, within 5 ulp: e / (e + 2) for e = expm1(2 x)."""
    v = select(x > T(10), T(10), x)
    one, part, p = _power(select(v < T(-10), T(-10), v), T(2))
    e = fma(part, p, one - T(1))
    return e / (e + T(2))


@cache
def _cell(kind: str, dtype: str) -> Any:
    """Device function: a step of a row's `units` from their gates; slots of `own` are `pitch` apart.

    One loop for each activation: the CPU keeps more of a short loop's iterations in flight. An LSTM leaves i, f, o, u in
    the slots, a GRU r, z, the state's share of n, n.
    """
    narrow = dtype == "float32"
    sigmoid, tanh = (quick_sigmoid, quick_tanh) if narrow else (scalar.sigmoid, scalar.tanh)

    @device
    def lstm(h, c, own, old, c_old, units, pitch):
        for j in range(3 * pitch):
            own[j] = sigmoid(own[j])
        for j in range(3 * pitch, 4 * pitch):
            own[j] = tanh(own[j])
        for j in range(units):
            v = own[pitch + j] * c_old[j] + own[j] * own[3 * pitch + j]
            c[j] = v
            h[j] = own[2 * pitch + j] * tanh(v)
        independent()

    @device
    def gru(h, c, own, old, c_old, units, pitch):
        for j in range(2 * pitch):
            own[j] = sigmoid(own[j])
        for j in range(units):
            n = tanh(own[3 * pitch + j] + own[j] * own[2 * pitch + j])
            own[3 * pitch + j] = n
            h[j] = n + own[pitch + j] * (old[j] - n)
        independent()

    @device
    def plain(h, c, own, old, c_old, units, pitch):
        for j in range(units):
            h[j] = tanh(own[j])
        independent()

    @device
    def clamped(h, c, own, old, c_old, units, pitch):
        for j in range(units):
            h[j] = select(own[j] < T(0), T(0), own[j])
        independent()

    return {"LSTM": lstm, "GRU": gru, "RNN_TANH": plain, "RNN_RELU": clamped}[kind]


@device
def _add_given(own, x, size, units, pitch, gates):
    """Add the input's share of the gates, given in x, to the slots of a row's `units`."""
    for gate in range(gates):
        slot = select(gates == 4, gate ^ (gate >> 1), select(gate == 2, 3, gate))
        for j in range(units):
            own[slot * pitch + j] += x[gate * size + j]


@device
def _keep(kept, own, size, units, pitch):
    """What the backward needs of a row's `units`: the slots, the last two exchanged."""
    for j in range(units):
        kept[j], kept[size + j] = own[j], own[pitch + j]
        kept[2 * size + j], kept[3 * size + j] = own[3 * pitch + j], own[2 * pitch + j]


@cache
def _gates(kind: str) -> Any:
    """Device function: the gates of up to WIDTH units for some rows, from a panel for each VECTORS of their vectors."""
    slots, parted = SLOTS[kind], kind == "GRU"

    @device
    def gates_of(own, pitch, panel, lines, across, h, size, x, x_row, inputs, rows):
        width = VECTORS * VL
        for p in range((slots * across + width - 1) // width):
            bs, vs = spread(panel, VL, VECTORS, VECTORS), spread(offset(panel, width), VL, VECTORS, VECTORS)
            ks, ki = size, inputs  # where all slots of a panel have no share of one, it is left out
            if parted:
                low, high = p * width // across, (p * width + width - 1) // across
                ks, ki = select(low > 2, 0, ks), select((low == 2) & (high == 2), 0, ki)
            for q in range((rows + ROWS - 1) // ROWS):
                tile, left = tile_load(bs, 0, ROWS), rows - q * ROWS
                hs = spread(offset(h, q * ROWS * size), size, left, ROWS)
                kb = 0
                for k in range(ks):
                    tile = tile_fma(tile, hs, k, vs, kb)
                    kb += width
                xs = spread(offset(x, q * ROWS * x_row), x_row, left, ROWS)
                kb = size * width
                for k in range(ki):
                    tile = tile_fma(tile, xs, k, vs, kb)
                    kb += width
                tile_store(spread(offset(own, q * ROWS * pitch + p * width), VL, VECTORS, VECTORS), pitch, tile)
            panel = offset(panel, lines * width)
        return panel

    return gates_of


@cache
def scan(kind: str, dtype: str) -> Any:
    """The kernel of one kind of layer for one dtype."""
    cell, gates_of, gates, has_kept = _cell(kind, dtype), _gates(kind), GATES[kind], kind in ("LSTM", "GRU")
    local = TOGETHER * 4 * VECTORS * target().lanes(dtype)

    @kernel
    def recurrent_scan(
        h: T_ptr, c: T_ptr, kept: T_ptr, x: T_ptr, packed: T_ptr, h0: T_ptr, c0: T_ptr, steps: i64, n: i64, size: i64,
        inputs: i64, x_step: i64, x_row: i64, reverse: i64, keeps: i64, celled: i64, together: i64, chunk: i64, nchunks: i64,
    ):  # fmt: skip
        """h [steps + 1, n, size] with the initial state in its place; with `keeps` c like h, and kept [steps, n, 4 * size];
        else only the last c [n, size]. x in steps of `x_step` and rows of `x_row`. Units: `together` rows.
        """
        own, pitch, lines = stack(local, T), 4 * VECTORS * VL, _lines(size, inputs)
        lo, hi = split((n + together - 1) // together, chunk, nchunks)
        for unit in range(lo, hi):
            i0 = unit * together
            rows, start = min(together, n - i0), (steps if reverse != 0 else 0) * n + i0
            copy(offset(h, start * size), offset(h0, i0 * size), rows * size)
            if celled != 0:
                copy(offset(c, (start if keeps != 0 else i0) * size), offset(c0, i0 * size), rows * size)
            for s in range(steps):
                t = steps - 1 - s if reverse != 0 else s
                before, after = (t + (1 if reverse != 0 else 0)) * n + i0, (t + (0 if reverse != 0 else 1)) * n + i0
                given, states, panel, first = offset(x, t * x_step + i0 * x_row), offset(h, before * size), packed, 0
                while first < size:
                    units = min(VECTORS * VL, size - first)
                    across = (units + VL - 1) // VL * VL
                    panel = gates_of(own, pitch, panel, lines, across, states, size, given, x_row, inputs, rows)
                    for r in range(rows):
                        mine, at, back = offset(own, r * pitch), (after + r) * size + first, (before + r) * size + first
                        if inputs == 0:
                            _add_given(mine, offset(given, r * x_row + first), size, units, across, gates)
                        last = (i0 + r) * size + first
                        to, old = select(keeps != 0, at, last), select(keeps != 0, back, last)
                        cell(offset(h, at), offset(c, to), mine, offset(h, back), offset(c, old), units, across)
                        if has_kept and keeps != 0:
                            _keep(offset(kept, (t * n + i0 + r) * 4 * size + first), mine, size, units, across)
                    first += units

    return recurrent_scan
