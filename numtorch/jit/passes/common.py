"""Common subexpressions: what was computed already from the same values is not computed again."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ...ops.launch import Scratch
from ..record import Entry, Ref
from .work import Work, covers, has_live, is_virtual, reads, renamed, writes


def common(entries: list[Entry], work: Work) -> list[Entry]:
    """Let the readers of a repeated computation read the first one's result; the repetition goes."""
    result = list(entries)
    known: dict[Any, int] = {}
    version: dict[int, int] = {}
    count = Counter(map(_signature, result))  # most entries are like no other at the first glance
    k = 0
    while k < len(result):
        e = result[k]
        key = _key(e, version) if count[_signature(e)] > 1 and _pure(e, work) else None
        first = known.get(key) if key is not None else None
        if first is not None and _stays(result, first, k):
            same = result[first]
            rest = result[k + 1 :]
            for old, new in zip(e.outputs, same.outputs):
                rest = renamed(rest, old.storage, new.storage)
            work.note(f"{e.name} at {e.line}, as at {same.line}")
            result[k:] = rest
            count = Counter(map(_signature, result))
            continue
        for s in writes(e):
            version[s] = version.get(s, 0) + 1
        if key is not None:
            known.setdefault(key, k)
        k += 1
    return result


def _signature(e: Entry) -> Any:
    """What entries with the same key have in common."""
    return e.name, *[id(x.storage) for x in e.inputs if type(x) is Ref]


def _pure(e: Entry, work: Work) -> bool:
    """Whether all that an entry does is to fill temporary memory of its own from its operands."""
    own = writes(e)
    return (
        bool(e.outputs)
        and all(is_virtual(r) and covers(r) and id(r.storage) not in work.needed for r in e.outputs)
        and not has_live(e)
        and not own & {id(x.storage) for x in e.inputs if isinstance(x, Ref)}
    )


def _key(e: Entry, version: dict[int, int]) -> Any:
    own = {id(r.storage): i for i, r in enumerate(e.outputs)}

    def seen(x: Any) -> Any:
        if type(x) is Ref:
            place = own.get(id(x.storage))
            who: Any = ("out", place) if place is not None else (id(x.storage), version.get(id(x.storage), 0))
            return who, x.offset, id(x.layout)
        return ("scratch", x.nbytes) if type(x) is Scratch else (type(x).__name__, repr(x))

    layouts = tuple(id(r.layout) for r in e.outputs)
    if e.plan is not None:
        return e.name, e.plan.address or e.plan.program.key, tuple(e.plan.words), layouts, tuple(map(seen, e.inputs))
    calls = tuple(
        (_hashable(la.kernel), tuple(la.env.items()), tuple(map(seen, la.pointers)), tuple(map(_hashable, la.words)))
        for la in e.launches or ()
    )
    return e.name, calls, layouts, tuple(map(seen, e.inputs))


def _hashable(x: Any) -> Any:
    """A whole number, or the name of a kernel, as it is; anything else as text (0.0 is not -0.0)."""
    return x if type(x) in (int, tuple) else repr(x)


def _stays(entries: list[Entry], first: int, second: int) -> bool:
    """Whether neither result is written again after it was computed."""
    mine, others = writes(entries[first]), writes(entries[second])
    if any(writes(e) & mine for e in entries[first + 1 :]) or any(writes(e) & others for e in entries[second + 1 :]):
        return False
    return not any((reads(e) | writes(e)) & others for e in entries[:second])
