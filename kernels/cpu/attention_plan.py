"""Plans of attention on a CPU and of its gradients."""

from __future__ import annotations

from ..target import target
from . import tiles
from .attention import KEYS, KEYS_BACK, attention_sum, backward, forward
from .attention_tiles import QUERIES, VECTORS
from .plan import Launch, slots

UNITS = 16  # for the threads, where there are so many blocks of keys


def _rooms(T: str, E: int, V: int, keys: int, packed: int, blocks: int) -> int:
    """Elements of scratch of a chunk: packed operands of `packed` columns, blocks of scores, the last columns of an operand."""
    lanes, width = target().lanes(T), VECTORS * target().lanes(T)
    operands = QUERIES * (packed + blocks * lanes)
    return operands + blocks * keys * QUERIES + (max(keys, QUERIES) + lanes) * width


def forward_plan(
    T: str, batch: tuple[int, int], sizes: tuple[int, int, int, int], steps: tuple[int, ...], causal: bool, flags: int, scale: float
) -> Launch:  # fmt: skip
    """Plan out and lse; `sizes` = (L, S, E, V), `steps`: (outer, inner, row) of out, q, k, v and the mask's four.

    The launch's pointers are "out", "lse", "q", "k", "v", "allowed", "added" and "scratch".
    """
    L, S, E, V = sizes
    count = batch[0] * batch[1]
    words = _rooms(T, E, V, KEYS, E, 1)
    kind = forward(tiles.shape("outer", T)[0])
    units = slots(count * -(-L // QUERIES))
    numbers = (count, batch[1], *sizes, *steps, int(causal), flags, float(scale), words)
    names = ("out", "lse", "q", "k", "v", "allowed", "added", "scratch")
    return Launch(kind, T, names, numbers, units, words * _bytes(T), count * L * S * (E + V) // (2 if causal else 1))


def groups_of(count: int, S: int) -> int:
    """Into how many groups the keys of each of `count` matrices are dealt in the backward."""
    return max(1, min(-(-S // KEYS_BACK), UNITS // count))


def backward_plan(
    T: str, batch: tuple[int, int], sizes: tuple[int, int, int, int], steps: tuple[int, ...], causal: bool, flags: int, scale: float
) -> tuple[list[Launch], int]:  # fmt: skip
    """Plan the gradients, and the bytes of the buffer "parts"; `steps`: those of dq, dk, dv, g, q, k, v, out and the mask.

    The launches' pointers are "dq", "dk", "dv", "g", "q", "k", "v", "out", "lse", "allowed", "added", "scratch", "parts".
    """
    L, S, E, V = sizes
    count = batch[0] * batch[1]
    groups = groups_of(count, S)
    words = _rooms(T, E, V, KEYS_BACK, E + V, 2)
    cost = 5 * count * L * S * (E + V) // (4 if causal else 2)
    names = ("dq", "dk", "dv", "g", "q", "k", "v", "out", "lse", "allowed", "added", "scratch")
    first, nbytes = steps, 0
    if groups > 1:
        names, nbytes = ("parts", *names[1:]), groups * count * L * E * _bytes(T)
        first = (batch[1] * L * E, L * E, E, *steps[3:])
    numbers = (count, batch[1], *sizes, *first, int(causal), flags, groups, count * L * E, float(scale), words)
    kind = backward(tiles.shape("outer", T)[0])
    launches = [Launch(kind, T, names, numbers, slots(count * groups), words * _bytes(T), cost)]
    if groups > 1:
        numbers = (groups, count, batch[1], L, E, *steps[:3])
        launches.append(Launch(attention_sum, T, ("dq", "parts"), numbers, count * L, 0, groups * count * L * E))
    return launches, nbytes


def _bytes(T: str) -> int:
    return target().vector_bytes // target().lanes(T)
