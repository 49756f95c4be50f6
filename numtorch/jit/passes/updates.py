"""Updates: an optimizer's update of a matrix is done right behind the product that gives its gradient.

    dW = product, (all other gradients), W = update(W, dW)     becomes     dW = product, W = update(W, dW), ...

So the pass ``batches`` can let each thread compute some rows of dW and update the same rows of W, while they are in its cache;
there they are found again when the next forward pass deals rows of W to the threads.
"""

from __future__ import annotations

from ..record import Entry
from .work import Work, reads, touches, writes

MOST_MOVED = 4  # entries that go with an update: what it reads (a step count) must be there before


def updates(entries: list[Entry], work: Work) -> list[Entry]:
    """Move updates forward to their gradients."""
    places = touches(entries)
    behind: dict[int, list[int]] = {}  # place of a product: what is to follow it
    before: dict[int, list[int]] = {}  # and what is to come before it
    moved: set[int] = set()
    for k, e in enumerate(entries):
        j = product_of(entries, places, k)
        if j is None or k == j + 1 or j in behind or work.segment(e) != work.segment(entries[j]):
            continue
        chain = _with_needs(entries, places, j, k)
        if chain is None or moved & {*chain}:
            continue
        behind[j], before[j] = [k], chain[:-1]
        moved |= {*chain}
        work.note(f"{e.name} at {e.line} behind {entries[j].name} at {entries[j].line}")
    result = []
    for k, e in enumerate(entries):
        if k not in moved:
            result += [entries[i] for i in before.get(k, ())]
            result.append(e)
            result += [entries[i] for i in behind.get(k, ())]
    return result


def product_of(entries: list[Entry], places: dict[int, list[int]], k: int) -> int | None:
    """The place of the matrix product whose result entry ``k`` reads to change captured memory; None without."""
    e = entries[k]
    if e.plan is None or not e.plan.address or not writes(e) <= reads(e):
        return None
    for i in e.plan.tensors:
        r = e.inputs[i]
        key = id(r.storage)
        if key in writes(e) or r.layout.numel != e.outputs[0].layout.numel:
            continue
        made = [j for j in places[key] if j < k and key in writes(entries[j])]
        if made and entries[made[-1]].name.startswith("matmul") and entries[made[-1]].outputs[0].layout is r.layout:
            return made[-1]
    return None


def _with_needs(entries: list[Entry], places: dict[int, list[int]], j: int, k: int) -> list[int] | None:
    """Entry ``k`` and those after ``j`` that must come before it, in order; None if they can't go before ``j``."""
    chain, todo = [k], [k]
    while todo:
        at = todo.pop()
        used, made = reads(entries[at]), writes(entries[at])
        for key in used | made:
            for i in places[key]:
                if j < i < at and i not in chain and (key in made or key in writes(entries[i])):
                    chain.append(i)
                    todo.append(i)
                    if len(chain) > MOST_MOVED:
                        return None
    product = entries[j]
    for i in chain:
        if i != k and (writes(entries[i]) & (reads(product) | writes(product)) or reads(entries[i]) & writes(product)):
            return None
    return sorted(chain)


__all__ = ["product_of", "updates"]
