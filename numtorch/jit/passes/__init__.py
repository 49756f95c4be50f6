"""Rewriting of recorded entries before they become kernel calls.

Each pass is one small file with one function from a list of entries to a list; they run in this order:

    early       indices that are arguments are checked before anything else runs
    dead        what nobody reads is not computed
    common      what was computed already is not computed again
    copies      a copy that nothing tells from its source is not made
    slices      sums of tensors that are zero but for a slice are written slice by slice
    normalize   batch norm of a frozen network goes into the convolution before it
    pooling     max pooling clamps before it compares, and finds no places that nobody reads
    losses      cross-entropy and its gradient read the scores once
    epilogues   products and convolutions clamp their results themselves
    prepack     a matrix that several products share is put into their kernel's order once
    panels      the weights of a frozen recurrent layer are packed apart from its run
    fold        what depends on nothing that changes is computed once
    outer       products of a column and a row are elementwise
    ahead       single numbers that depend on nothing, like counts of steps, come first
    drops       dropout draws its mask apart, and is elementwise
    fuse        elementwise chains become one kernel
    tails       products, convolutions and norms do the chains behind them, piece by piece in the cache
    inplace     results take the memory of operands that nobody reads any more
    spread      expensive elementwise kernels are split among the threads
    updates     an optimizer's update comes right behind the product that gives its gradient
    batches     runs of ops that treat each example by itself are done part by part of the batch

A pass can be switched off, for everything (``disable``) or for one trace (``trace(..., passes=[...])``), and every trace
tells what its passes did: ``print(traced.passes)``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ..record import Entry, Guard
from .ahead import ahead
from .batches import batches
from .chains import fuse
from .common import common
from .constants import fold
from .copies import copies
from .dead import dead
from .drops import drops
from .early import early
from .epilogues import epilogues
from .inplace import inplace
from .losses import losses
from .normalize import normalize
from .outer import outer
from .panels import panels
from .pooling import pooling
from .prepack import prepack
from .slices import slices
from .spread import spread
from .tails import tails
from .updates import updates
from .work import Work, storages

PASSES = {
    "early": early, "dead": dead, "common": common, "copies": copies, "slices": slices, "normalize": normalize,
    "pooling": pooling, "losses": losses, "epilogues": epilogues,
    "prepack": prepack, "panels": panels, "fold": fold, "outer": outer, "ahead": ahead, "drops": drops, "fuse": fuse,
    "tails": tails, "inplace": inplace, "spread": spread,
    "updates": updates, "batches": batches,
}  # fmt: skip
_disabled: set[str] = set()


class Line(NamedTuple):
    """What one pass did to one program."""

    name: str
    before: int
    after: int
    notes: tuple[str, ...]


class Report(list):
    """What the passes did, a ``Line`` for each pass of each program; prints as a table.

    Example:
        >>> import numtorch
        >>> traced = numtorch.jit.trace(lambda x: (x * 2 + 1).relu(), numtorch.ones(3))
        >>> [line.name for line in traced.passes if line.notes]
        ['fuse']
    """

    def __str__(self) -> str:
        rows, idle = [], {line.name: None for line in self if line.before}
        for line in self:
            if line.notes or line.before != line.after:
                idle.pop(line.name, None)
                rows.append(f"{line.name:10} {line.before:4} -> {line.after:4} entries")
                rows += [f"    {n} x {note}" if n > 1 else f"    {note}" for note, n in Counter(line.notes).items()]
        return "\n".join([*rows, *([f"nothing to do for {', '.join(idle)}"] if idle else [])])

    __repr__ = __str__


class _Disabled:
    """Until ``enable``, or until the end of a ``with`` block."""

    def __init__(self, names: set[str]):
        self.names = names

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: Any) -> None:
        enable(*self.names)


def disable(*names: str) -> Any:
    """Switch passes off for everything that is recorded from now on; as a context manager until its end.

    Example:
        >>> import numtorch
        >>> with numtorch.jit.passes.disable("fuse"):
        ...     traced = numtorch.jit.trace(lambda x: x * 2 + 1, numtorch.ones(3))
        >>> traced(numtorch.ones(3))
        tensor([3., 3., 3.])
    """
    changed = check_names(names) - _disabled
    _disabled.update(changed)
    return _Disabled(changed)


def enable(*names: str) -> None:
    """Switch passes on again."""
    _disabled.difference_update(check_names(names))


def check_names(names: Iterable[str]) -> set[str]:
    """The names as a set; ValueError for one that is no pass."""
    for name in names:
        if name not in PASSES:
            raise ValueError(f"passes: there is no pass {name!r}; the passes are {', '.join(PASSES)}")
    return set(names)


def optimize(
    entries: Sequence[Entry],
    needed: set[int],
    guards: list[Guard] | None = None,
    *,
    names: Iterable[str] | None = None,
    frozen: Iterable[int] = (),
    report: Report | None = None,
) -> list[Entry]:
    """The passes in order.

    ``needed``: ids of storages that must hold their values afterwards; ``guards``: values that the program stops to compare
    (a pass may have that done at another place: then they are replaced); ``names``: which passes, by default all that are not
    disabled; ``frozen``: ids of storages that never change.
    """
    chosen = set(PASSES) - _disabled if names is None else check_names(names)
    work = Work(needed, guards or (), frozen)
    found = list(entries)
    for i, e in enumerate(found):
        e.order = i
    for name, run in PASSES.items():
        if name in chosen:
            before, work.notes = len(found), []
            found = run(found, work)
            if report is not None:
                report.append(Line(name, before, len(found), tuple(work.notes)))
    if guards is not None:
        guards[:] = work.guards
    return found


__all__ = ["PASSES", "Line", "Report", "check_names", "disable", "enable", "optimize", "storages"]
