"""Tails: an elementwise chain behind a product or a convolution is done on each piece of its result, in the core's cache.

    h = matmul, y = gelu(h) * mask + x       becomes       one kernel: a piece of h, the chain on that piece, the next piece

Whatever `fuse` has joined can be a tail (activations and their gradients, residuals, scales, dropped elements): its kernel is
compiled for itself, in the layout of rows, and the product calls it. The product's own result is written only if something
else reads it, so `y` takes its place; the bits are those of the two kernels.
"""

from __future__ import annotations

from itertools import accumulate
from math import prod
from operator import mul
from typing import Any

from ...ops.launch import REPLAYED_COST, Launch, threads, twin
from ...shape import contiguous_strides, view_strides
from ..record import Entry, Ref
from .spread import cost_of
from .updates import product_of
from .work import Work, copy_of, is_virtual, mapped, reads, recorded, storages, touches, writes

MOST_BACK = 64  # entries that a chain or a product is moved across
LEAST_COLUMNS = 16  # of rows that do not follow each other
MOST_WORDS = 40  # operands and numbers of a tail

Steps = tuple[int, ...]  # elements between outer and inner matrices, rows, columns


class Tail:
    """``chain``, an elementwise entry, as the tail of ``host``, an entry whose last kernel can have one."""

    def __init__(self, host: Entry, chain: Entry, sizes: Steps, steps: list[Steps]):
        self.host, self.chain, self.sizes, self.steps = host, chain, sizes, steps
        plan = chain.plan
        self.tensors = [*chain.outputs, *[chain.inputs[i] for i in plan.tensors]]
        kinds = "".join("cv"[s[3]] for s in steps[len(chain.outputs) :])
        self.kernel = plan.program.kernel(f"rows {kinds}")

    def words(self, places: list[Any]) -> list[Any]:
        """The words of it, with the operands at these places."""
        from ...kernels import tails

        sizes = [r.layout.itemsize for r in self.tensors]
        numbers = [self.chain.inputs[i] for i in self.chain.plan.scalars]
        columns = self.sizes[3] if _in_rows(self.steps, self.sizes) else 0
        return tails.words(self.kernel.address(), places, self.steps, sizes, self.sizes[1], columns, numbers)


def tails(entries: list[Entry], work: Work) -> list[Entry]:
    """Let products and convolutions do the chains that follow them."""
    result: list[Entry | None] = list(entries)
    places = touches(entries)
    for k, chain in enumerate(entries):
        if not _can_follow(chain) or product_of(entries, places, k) is not None:
            continue
        for j in _hosts(result, places, k, work):
            host = result[j]
            assert host is not None
            up = _is_free(result, j, k, reads(chain), writes(chain))
            if not up and not _is_free(result, j, k, reads(host), writes(host)):
                continue
            made = _merged(host, chain, places, (j, k), work)
            if made is not None:
                result[j], result[k] = (made, None) if up else (None, made)
                made.order = (host if up else chain).order
                work.note(f"{chain.name} at {chain.line} into {host.name} at {host.line}")
                break
    return [e for e in result if e is not None]


def _can_follow(e: Entry) -> bool:
    return (
        e.plan is not None and bool(e.plan.tensors) and not e.plan.program.uses_index and e.outputs[0].layout.device == "cpu"
        and e.outputs[0].layout.numel > 0 and len(e.outputs) + len(e.inputs) <= MOST_WORDS
    )  # fmt: skip


def _hosts(entries: list[Entry | None], places: dict[int, list[int]], k: int, work: Work) -> list[int]:
    """Places of the products whose results chain ``k`` reads, the last first."""
    chain = entries[k]
    assert chain is not None
    found = set()
    for key in reads(chain):
        made = [j for j in places[key] if k - MOST_BACK <= j < k and ((e := entries[j]) is None or key in writes(e))]
        e = entries[made[-1]] if made else None
        if e is not None and can_host(e) and key == id(e.outputs[0].storage) and work.segment(e) == work.segment(chain):
            found.add(made[-1])
    return sorted(found, reverse=True)


def can_host(e: Entry) -> bool:
    """Whether the last kernel of an entry takes a tail and writes just its one result."""
    if not e.launches or e.tail is not None or len(e.outputs) != 1:
        return False
    la, out = e.launches[-1], e.outputs[0]
    params = getattr(la.kernel, "params", ())
    first = la.pointers[0]
    return "tail" in params and isinstance(first, Ref) and first.storage is out.storage and first.offset == out.offset and (
        out.layout.contiguous
    )


def _is_free(entries: list[Entry | None], j: int, k: int, used: frozenset[int], made: frozenset[int]) -> bool:
    """Whether an entry that reads and writes these storages may be moved across those between ``j`` and ``k``."""
    for e in entries[j + 1 : k]:
        if e is not None and (writes(e) & (used | made) or reads(e) & made):
            return False
    return True


def _merged(host: Entry, chain: Entry, places: dict[int, list[int]], at: tuple[int, int], work: Work) -> Entry | None:
    """The product with its tail; None where that is not possible, or does not pay."""
    product = host.outputs[0]
    key = id(product.storage)
    if writes(chain) & (reads(host) - {key}) or not _pays(host, chain):
        return None
    if tail_of(host, chain) is None:
        return None
    if key not in work.needed and is_virtual(product) and set(places[key]) == {*at}:
        host, chain = _in_place(host, chain)
    found = tail_of(host, chain)
    return None if found is None else joined(found)


def _pays(host: Entry, chain: Entry) -> bool:
    """Whether the chain gets as many threads as it had."""
    return host.launches[-1].units >= threads() or _cost(chain) < REPLAYED_COST  # type: ignore[index]


def _cost(chain: Entry) -> int:
    return chain.outputs[0].layout.numel * cost_of(chain.plan.program)


def _in_place(host: Entry, chain: Entry) -> tuple[Entry, Entry]:
    """Host and chain with the product's result, which only the chain reads, in the memory of a result of the chain."""
    product = host.outputs[0]
    used = reads(host) | storages(chain.inputs)
    for r in chain.outputs:
        la = r.layout
        if id(r.storage) not in used and la.contiguous and la.dtype is product.layout.dtype and la.numel == product.layout.numel:

            def moved(x: Ref, to: Ref = r) -> Ref:
                return Ref(to.storage, x.offset - product.offset + to.offset, x.layout) if x.storage is product.storage else x

            return mapped(host, moved), _with_inputs(chain, moved)
    return host, chain


def _with_inputs(e: Entry, change: Any) -> Entry:
    made = copy_of(e)
    made.inputs = [change(x) if isinstance(x, Ref) else x for x in e.inputs]
    made.args = made.inputs
    return made


def tail_of(host: Entry, chain: Entry) -> Tail | None:
    """The chain as a tail of the host; None if it does more than work on each element of the product where it is."""
    matrices = _matrices(host)
    if matrices is None or prod(matrices) != chain.outputs[0].layout.numel:
        return None
    shape, strides = chain.plan.sizes
    for sizes in _splits(matrices, shape):
        steps = [found for found in (_steps(shape, s, sizes) for s in strides) if found is not None]
        if len(steps) == len(strides):
            return Tail(host, chain, sizes, steps) if _fits(host, chain, sizes, steps) else None
    return None


def _splits(matrices: tuple[int, int, int], shape: Steps) -> list[Steps]:
    """Ways to see the matrices as (outer, inner) ones, by the dimensions of the chain: a mask may be one for several."""
    count, *rest = matrices
    outer = dict.fromkeys([1, *accumulate(shape, mul)])
    return [(n, count // n, *rest) for n in outer if n and count % n == 0]


def _fits(host: Entry, chain: Entry, sizes: Steps, steps: list[Steps]) -> bool:
    """Whether each operand is read along rows, or once a row, and what is written is read at the same element only."""
    tensors = [*chain.outputs, *[chain.inputs[i] for i in chain.plan.tensors]]
    outputs, product, whole = len(chain.outputs), host.outputs[0], contiguous_strides(sizes)
    if any(s[3] not in (0, 1) for s in steps) or any(s[3] != 1 for s in steps[:outputs]):
        return False
    for k, r in enumerate(tensors):
        if r.storage is product.storage and (r.offset != product.offset or not _same(steps[k], whole, sizes)):
            return False
        for out, step in zip(chain.outputs, steps):
            if k >= outputs and r.storage is out.storage and (r.offset != out.offset or not _same(steps[k], step, sizes)):
                return False
    return sizes[3] >= LEAST_COLUMNS or _in_rows(steps, sizes)


def _matrices(host: Entry) -> tuple[int, int, int] | None:
    """The result of the host as its kernel sees it: matrices, rows, columns."""
    la, out = host.launches[-1], host.outputs[0].layout  # type: ignore[index]
    given = dict(zip(list(la.kernel.params)[len(la.pointers) :], la.words))
    if "ldc" not in given:  # a convolution: images, channels, pixels
        return (out.shape[0], out.shape[1], prod(out.shape[2:])) if len(out.shape) > 2 else None
    M, N, count = given["M"], given["N"], given["batch"]
    if (given["ldc"] != N and M > 1) or (given["cbs"] != M * N and count > 1):
        return None
    return count, M, N


def _steps(shape: Steps, strides: Steps, sizes: Steps) -> Steps | None:
    """Strides in the shape of the chain as steps in that of the matrices; 0 or 1 where there is only one."""
    found = view_strides(shape, strides, sizes)
    if found is None:
        return None
    steps = [0 if n == 1 else s for n, s in zip(sizes, found)]
    return (*steps[:3], int(sizes[2] == 1 or steps[2] == 1) if sizes[3] == 1 else steps[3])


def _same(a: Any, b: Any, sizes: Steps) -> bool:
    return all(x == y or n == 1 for x, y, n in zip(a, b, sizes))


def _in_rows(steps: Any, sizes: Steps) -> bool:
    """Whether rows follow each other in every operand, so that any number of them is one row."""
    _, _, rows, columns = sizes
    return all((s[3] == 1 and (rows == 1 or s[2] == columns)) or s[2:] == (0, 0) for s in steps)


def joined(tail: Tail, count: int | None = None) -> Entry:
    """The entry of a product with its tail, for so many threads."""
    host, chain = tail.host, tail.chain
    product = host.outputs[0]
    made = copy_of(host)
    made.name, made.tail = f"{host.name}+{chain.name}", tail
    made.outputs = [product, *[r for r in chain.outputs if r.storage is not product.storage]]
    made.inputs = [*host.inputs, *[x for x in chain.inputs if not isinstance(x, Ref) or x.storage is not product.storage]]
    made.parts = sorted(recorded(host, chain), key=lambda e: e.order)
    launches = list(host.launches or ())
    last = launches.pop()
    words, units = _dealt_out(last, count or threads())
    made.launches = [*launches, Launch(last.kernel, last.env, last.pointers, words, units, last.cost + _cost(chain))]
    return made


def _dealt_out(la: Launch, count: int) -> tuple[list[Any], int]:
    """The words and units of a launch that gets a tail; a product may be cut in other blocks, which changes no bits."""
    names = list(la.kernel.params)[len(la.pointers) :]
    words = dict(zip(names, la.words))
    if "NB" not in words:
        return list(la.words), la.units
    words, units = twin("cpu", "matmul", "tail_blocks")(la.env["T"], count, words)
    return list(words.values()), units


__all__ = ["Tail", "can_host", "joined", "tail_of", "tails"]
