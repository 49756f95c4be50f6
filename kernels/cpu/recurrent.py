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
from ..simd import spread, tile_fma, tile_load, tile_store, vadd, vload, vloadn, vstore, vstoren
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


def state_words(size: int, dtype: str) -> int:
    """Elements of the states that one chunk of the scan keeps for itself."""
    lanes = target().lanes(dtype)
    return TOGETHER * -(-size // lanes) * lanes


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
    """Device function: a step of a few units and rows from their gates, `n` of each slot one behind another.

    `state` holds and gets the cells of an LSTM, the states of a GRU. One loop for each activation: the CPU keeps more
    of a short loop's iterations in flight. An LSTM leaves i, f, o, u in the slots, a GRU r, z, the state's share of n, n.
    """
    narrow = dtype == "float32"
    sigmoid, tanh = (quick_sigmoid, quick_tanh) if narrow else (scalar.sigmoid, scalar.tanh)

    @device
    def lstm(new, own, state, n):
        for j in range(3 * n):
            own[j] = sigmoid(own[j])
        for j in range(3 * n, 4 * n):
            own[j] = tanh(own[j])
        for j in range(n):
            v = own[n + j] * state[j] + own[j] * own[3 * n + j]
            state[j] = v
            new[j] = own[2 * n + j] * tanh(v)
        independent()

    @device
    def gru(new, own, state, n):
        for j in range(2 * n):
            own[j] = sigmoid(own[j])
        for j in range(n):
            u = tanh(own[3 * n + j] + own[j] * own[2 * n + j])
            v = u + own[n + j] * (state[j] - u)
            own[3 * n + j] = u
            state[j] = v
            new[j] = v
        independent()

    @device
    def plain(new, own, state, n):
        for j in range(n):
            new[j] = tanh(own[j])
        independent()

    @device
    def clamped(new, own, state, n):
        for j in range(n):
            new[j] = select(own[j] < T(0), T(0), own[j])
        independent()

    return {"LSTM": lstm, "GRU": gru, "RNN_TANH": plain, "RNN_RELU": clamped}[kind]


@device
def _read(block, source, step, units, rows, height, add):
    """Block [vector][height][VL] of `units` from rows `step` apart; `add` 1: to what is there."""
    for v in range((units + VL - 1) // VL):
        for r in range(rows):
            at, found = (v * height + r) * VL, vloadn(source, r * step + v * VL, units - v * VL)
            vstore(block, at, vadd(vload(block, at), found) if add != 0 else found)


@device
def _write(to, step, block, units, rows, height):
    """Rows `step` apart from a block [vector][height][VL] of `units`."""
    for v in range((units + VL - 1) // VL):
        for r in range(rows):
            found, left = vload(block, (v * height + r) * VL), units - v * VL
            if left >= VL:
                vstore(to, r * step + v * VL, found)
            else:
                vstoren(to, r * step + v * VL, found, left)


@cache
def _gates(kind: str) -> Any:
    """Device function: the gates of up to VECTORS vectors of units, as blocks [vector][height][VL] for each slot."""
    slots, parted = SLOTS[kind], kind == "GRU"

    @device
    def gates_of(own, height, panel, lines, vectors, h, size, x, x_row, inputs, rows):
        width = VECTORS * VL
        for p in range((slots * vectors + VECTORS - 1) // VECTORS):
            bs, vs = spread(panel, VL, VECTORS, VECTORS), spread(offset(panel, width), VL, VECTORS, VECTORS)
            ks, ki = size, inputs  # where all slots of a panel have no share of one, it is left out
            if parted:
                low, high = p * VECTORS // vectors, (p * VECTORS + VECTORS - 1) // vectors
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
                to = offset(own, (p * VECTORS * height + q * ROWS) * VL)
                tile_store(spread(to, height * VL, VECTORS, VECTORS), VL, tile)
            panel = offset(panel, lines * width)
        return panel

    return gates_of


@cache
def _step(kind: str, dtype: str) -> Any:
    """Device function: one step of some rows; `states` in blocks of VECTORS vectors of units."""
    cell, gates_of, gates = _cell(kind, dtype), _gates(kind), GATES[kind]
    has_cell, has_kept = kind == "LSTM", kind in ("LSTM", "GRU")

    @device
    def step(h, c, kept, x, packed, own, new, states, before, after, place, n, size, inputs, x_row, keeps, rows, height):
        panel, first, lines = packed, 0, _lines(size, inputs)
        while first < size:
            units = min(VECTORS * VL, size - first)
            vectors, state = (units + VL - 1) // VL, offset(states, first * height)
            block = vectors * height * VL
            panel = gates_of(own, height, panel, lines, vectors, offset(h, before), size, x, x_row, inputs, rows)
            if inputs == 0:
                for gate in range(gates):
                    slot = select(gates == 4, gate ^ (gate >> 1), select(gate == 2, 3, gate))
                    _read(offset(own, slot * block), offset(x, gate * size + first), x_row, units, rows, height, 1)
            cell(new, own, state, block)
            _write(offset(h, after + first), size, new, units, rows, height)
            if has_kept and keeps != 0:
                if has_cell:
                    _write(offset(c, after + first), size, state, units, rows, height)
                for gate in range(4):
                    to, slot = offset(kept, place * 4 * size + gate * size + first), gate ^ (gate >> 1)
                    _write(to, 4 * size, offset(own, slot * block), units, rows, height)
            first += units

    return step


@cache
def scan(kind: str, dtype: str) -> Any:
    """The kernel of one kind of layer for one dtype."""
    step, has_state = _step(kind, dtype), kind in ("LSTM", "GRU")
    local = TOGETHER * VECTORS * target().lanes(dtype)
    all_local = 4 * local

    @kernel
    def recurrent_scan(
        h: T_ptr, c: T_ptr, kept: T_ptr, x: T_ptr, packed: T_ptr, h0: T_ptr, c0: T_ptr, scratch: T_ptr, steps: i64,
        n: i64, size: i64, inputs: i64, x_step: i64, x_row: i64, reverse: i64, keeps: i64, celled: i64, together: i64,
        chunk_words: i64, chunk: i64, nchunks: i64,
    ):  # fmt: skip
        """h [steps + 1, n, size] with the initial state in its place; with `keeps` c like h and kept [steps, n, 4 *
        size], else only the last c [n, size]. x in steps of `x_step` and rows of `x_row`; `chunk_words` of scratch for
        the states. Units: `together` rows.
        """
        own, new, states = stack(all_local, T), stack(local, T), offset(scratch, chunk * chunk_words)
        lo, hi = split((n + together - 1) // together, chunk, nchunks)
        for unit in range(lo, hi):
            i0 = unit * together
            rows, start = min(together, n - i0), ((steps if reverse != 0 else 0) * n + i0) * size
            height = (rows + ROWS - 1) // ROWS * ROWS
            copy(offset(h, start), offset(h0, i0 * size), rows * size)
            if celled != 0 and keeps != 0:
                copy(offset(c, start), offset(c0, i0 * size), rows * size)
            if has_state:
                for i in range((size + VL - 1) // VL * VL * height):
                    states[i] = T(0)
                _read(states, offset(c0 if celled != 0 else h0, i0 * size), size, size, rows, height, 0)
            for s in range(steps):
                t = steps - 1 - s if reverse != 0 else s
                place, given = t * n + i0, offset(x, t * x_step + i0 * x_row)
                back = place + (n if reverse != 0 else 0)
                front = place + (0 if reverse != 0 else n)
                step(
                    h, c, kept, given, packed, own, new, states, back * size, front * size, place, n, size, inputs,
                    x_row, keeps, rows, height,
                )  # fmt: skip
            if celled != 0 and keeps == 0:
                _write(offset(c, i0 * size), size, states, size, rows, height)

    return recurrent_scan
