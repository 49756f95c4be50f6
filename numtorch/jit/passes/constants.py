"""Constant folding: what depends on nothing that changes is computed once, when the program is made.

Always: masks, ranges, fills and what follows from them. In a frozen trace parameters and buffers are constants too.
"""

from __future__ import annotations

from ...storage import Storage
from ..record import Entry, Ref
from .work import Work, has_live, is_virtual, mapped, reads, writes

MOST_BYTES = 1 << 20  # of one constant that is made from nothing: beyond that memory is worth more than the time


def fold(entries: list[Entry], work: Work) -> list[Entry]:
    """Run entries with constant operands now and drop them; what they wrote becomes memory of the program."""
    found = _constant(entries, work)
    if not found:
        return entries
    chosen = [e for e in entries if writes(e) and writes(e) <= found.keys()]
    rest = [e for e in entries if not (writes(e) and writes(e) <= found.keys())]
    used = set().union(*map(reads, rest), set()) & found.keys()
    if not used:
        return entries
    memory = {key: Storage(r.storage.nbytes) for key, r in found.items()}

    def change(r: Ref) -> Ref:
        return Ref(memory.get(id(r.storage), r.storage), r.offset, r.layout)

    _run([mapped(e, change) for e in chosen])
    for e in chosen:
        work.note(f"{e.name} at {e.line}")
    return [mapped(e, change) if reads(e) & used else e for e in rest]


def _constant(entries: list[Entry], work: Work) -> dict[int, Ref]:
    """Temporary storages that only constant entries write, all of them before anything else reads; by id."""
    found: dict[int, Ref] = {}
    for e in entries:
        for r in e.outputs:
            small = is_virtual(r) and (r.storage.nbytes <= MOST_BYTES or bool(reads(e) & work.frozen))
            if small and r.layout.device == "cpu" and id(r.storage) not in work.needed:
                found[id(r.storage)] = r
    while True:
        wrong: set[int] = set()
        seen: set[int] = set()  # read by entries that are not constant
        for e in entries:
            made, used = writes(e), reads(e)
            constant = made <= found.keys() and used <= found.keys() | work.frozen and not has_live(e)
            if not constant:
                wrong |= made
                seen |= used
            else:
                wrong |= made & seen
        if not wrong & found.keys():
            return found
        for key in wrong & found.keys():
            del found[key]


def _run(entries: list[Entry]) -> None:
    from ..program import Compiled, lower

    Compiled(lower(entries), [], [], [], []).run([], None)
