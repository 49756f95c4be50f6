"""Tails: an elementwise chain behind a product, convolution or norm is done on each piece of its result, in the core's cache.

    h = matmul, y = gelu(h) * mask + x       becomes       one kernel: a piece of h, the chain on that piece, the next piece

Products and convolutions call the chain for what they have finished (kernels/tails.py); kernels that work row by row (norms,
softmax) and the chain are called in turn for some rows (kernels/sequence.py). Whatever `fuse` has joined can be a tail (activations and their gradients, residuals, scales, dropped elements): its kernel is
compiled for itself, in the layout of rows. The product's own result is kept only if something else reads it, else `y` takes
its place; the bits are those of the two kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from math import prod
from operator import mul
from typing import Any

from ...ops.launch import REPLAYED_COST, Launch, Scratch, threads, twin
from ...shape import contiguous_strides, view_strides
from ..record import Entry, Ref
from .spread import cost_of
from .updates import product_of
from .work import Work, copy_of, is_virtual, mapped, reads, recorded, storages, touches, writes

MOST_BACK = 64  # entries that a chain or a product is moved across
LEAST_COLUMNS = 16  # of rows that do not follow each other
MOST_WORDS = 40  # operands and numbers of a tail

PIECE = 16384  # elements of a piece of rows
DEAR = 8  # simple operations an element, from which on pieces must be good ones:
MOST_STRIDED = 1 << 16  # elements of blocks of parts of rows, which get into each other's way in the cache
BY_ROWS = {
    ("batch_norm", "batch_norm_apply"), ("batch_norm", "batch_norm_apply_cols"), ("batch_norm", "batch_norm_backward"),
    ("batch_norm", "batch_norm_backward_cols"), ("norm", "layer_norm"), ("norm", "layer_norm_backward"), ("norm", "rms_norm"),
    ("norm", "rms_norm_backward"), ("norm", "group_norm"), ("softmax", "softmax_rows"), ("softmax", "log_softmax_rows"),
    ("softmax", "softmax_backward_rows"), ("softmax", "log_softmax_backward_rows"),
}  # fmt: skip

Steps = tuple[int, ...]  # elements between outer and inner matrices, rows, columns


class Tail:
    """``chain``, an elementwise entry, as the tail of ``host``, an entry whose last kernel can have one."""

    def __init__(self, host: Entry, chain: Entry, sizes: Steps, steps: list[Steps]):
        self.host, self.chain, self.sizes, self.steps = host, chain, sizes, steps
        plan = chain.plan
        self.tensors = [*chain.outputs, *[chain.inputs[i] for i in plan.tensors]]
        self.numbers = [chain.inputs[i] for i in plan.scalars]
        kinds = "".join("cv"[s[3]] for s in steps[len(chain.outputs) :])
        self.kernel = plan.program.kernel(f"rows {kinds}")

    def laid_out(self, op: Any, places: list[Any], own: Callable[[int], Any]) -> tuple[int, list[Any]]:
        """The address and the words of the call ``op`` of the host, now with the tail; ``own``: a word that is the address of
        another one; ``places``: words that say where the operands are."""
        from ...kernels import sequence, tails

        kernel = self.kernel.address()
        if not _is_by_rows(self.host):
            sizes = [r.layout.itemsize for r in self.tensors]
            columns = self.sizes[3] if _in_rows(self.steps, self.sizes) else 0
            found = tails.words(kernel, places, self.steps, sizes, self.sizes[1], columns, self.numbers)
            return op.address, [*op.words[:-1], own(len(op.words)), *found]
        pieces, rows, columns = self._pieces()
        steps = [s[2] if rows == self.sizes[2] else columns * s[3] for s in self.steps]
        words = [pieces, op.address, own(5), kernel, own(5 + len(op.words))]
        return sequence.stepping(), [*words, *op.words, *places, rows, columns, *steps, *self.numbers]

    def _pieces(self) -> tuple[int, int, int]:
        """How many pieces a host by rows is done in, and the (rows, columns) that the chain sees: a row a piece, if it can."""
        _, _, rows, columns = self.sizes
        wanted = min(rows, max(1, rows * columns // PIECE))
        wanted += -wanted % threads() if wanted + threads() <= rows else 0
        if not _in_rows(self.steps, self.sizes):
            return wanted, rows, columns
        pieces = next(n for n in range(wanted, rows + 1) if rows % n == 0)
        return pieces, pieces, rows // pieces * columns


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
    """Whether the last kernel of an entry can have a tail, and its first result is made by it alone."""
    if not e.launches or e.tail is not None:
        return False
    *before, la = e.launches
    out, first = e.outputs[0], la.pointers[0]
    if not isinstance(first, Ref) or first.storage is not out.storage or first.offset != out.offset or not out.layout.contiguous:
        return False
    if _is_by_rows(e):
        return out.layout.numel % la.units == 0 and all(id(out.storage) not in storages(x.pointers) for x in before)
    return "tail" in getattr(la.kernel, "params", ()) and len(e.outputs) == 1


def _is_by_rows(e: Entry) -> bool:
    """Whether the units of an entry's last kernel are the rows of its first result."""
    return e.launches[-1].kernel in BY_ROWS  # type: ignore[index]


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
    if writes(chain) & (reads(host) - {key}) or (reads(chain) | writes(chain)) & (writes(host) - {key}):
        return None
    if not _pays(host, chain):
        return None
    if tail_of(host, chain) is None:
        return None
    if key not in work.needed and is_virtual(product) and set(places[key]) == {*at}:
        host, chain = _in_place(host, chain)
    found = tail_of(host, chain)
    return None if found is None else joined(found)


def _pays(host: Entry, chain: Entry) -> bool:
    """Whether the chain gets as many threads as it had, and pieces that stay in the cache or take little time anyway."""
    la = host.launches[-1]  # type: ignore[index]
    if la.units < threads() and _cost(chain) >= REPLAYED_COST:
        return False
    if cost_of(chain.plan.program) < DEAR or "NB" not in _words(la):
        return True
    words, _, _ = twin("cpu", "matmul", "tail_blocks")(la.env["T"], threads(), _words(la))
    columns = max(words["NB"], words["N"] // threads())
    return columns == words["N"] or min(words["M"], words["MB"]) * columns <= MOST_STRIDED


def _words(la: Launch) -> dict[str, Any]:
    """The words behind a launch's pointers, by name."""
    return {} if la.kernel in BY_ROWS else dict(zip(list(la.kernel.params)[len(la.pointers) :], la.words))


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
    if _is_by_rows(host):
        return 1, la.units, out.numel // la.units
    given = _words(la)
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
    made.outputs = [*host.outputs, *[r for r in chain.outputs if r.storage is not product.storage]]
    made.inputs = [*host.inputs, *[x for x in chain.inputs if not isinstance(x, Ref) or x.storage is not product.storage]]
    made.parts = sorted(recorded(host, chain), key=lambda e: e.order)
    *launches, last = host.launches  # type: ignore[misc]
    made.launches = [*launches, _dealt_out(last, _cost(chain), count or threads())]
    return made


def _dealt_out(la: Launch, cost: int, count: int) -> Launch:
    """The launch that gets a tail which costs so much; a product may be cut in other blocks, which changes no bits."""
    words, pointers, units = la.words, la.pointers, la.units
    given = _words(la)
    if "NB" in given:
        given, units, size = twin("cpu", "matmul", "tail_blocks")(la.env["T"], count, given)
        words, memory = list(given.values()), Scratch(units * size, size)
        pointers = [memory if type(p) is Scratch else p for p in pointers]
    return Launch(la.kernel, la.env, pointers, words, units, la.cost + cost)


__all__ = ["Tail", "can_host", "joined", "tail_of", "tails"]
