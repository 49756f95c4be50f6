"""Names that compiled code mentions: globals, attributes, strings that may be names."""

from __future__ import annotations

import dis
import itertools
import types
from collections.abc import Iterable, Iterator

_CATCHING = {"vars", "__dict__", "AttributeError"}
_ASKING = {"getattr", "hasattr", *_CATCHING}  # code with these works without an attribute, too


def codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """Code, and the code of functions inside it."""
    yield code
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from codes(inner)


def names(code: types.CodeType) -> Iterable[str]:
    """Names that code may look up: globals and attributes."""
    return dict.fromkeys(name for part in codes(code) for name in part.co_names)


def strings(code: types.CodeType) -> Iterable[str]:
    """Strings in code that may be names."""
    return (x for part in codes(code) for x in part.co_consts if type(x) is str and x.isidentifier())


def asked(code: types.CodeType) -> set[str]:
    """Names that code may ask a tensor for: all strings in it but those that it asks ``self`` for."""
    found: set[str] = set()
    for part in codes(code):
        if _CATCHING & set(part.co_names):
            return {*names(code), *strings(code)}
        steps = list(dis.get_instructions(part)) if _ASKING & set(part.co_names) else []
        for before, step in itertools.pairwise(steps):
            if step.opname == "LOAD_CONST" and type(step.argval) is str and before.argval != "self":
                found.add(step.argval)
    return found
