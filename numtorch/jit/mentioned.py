"""Names that compiled code mentions: globals, attributes, strings that may be names."""

from __future__ import annotations

import dis
import itertools
import types
from collections.abc import Iterable, Iterator

_CATCHING = {"vars", "__dict__", "AttributeError"}
_GETTING = {"getattr", "hasattr"}
_IMPORT, _IS = dis.opmap["IMPORT_NAME"], dis.opmap["IS_OP"]
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
    found = (x for part in codes(code) for x in part.co_consts if type(x) is str)
    return (name for x in found for name in x.split(".") if name.isidentifier())  # operator.attrgetter takes several


def asked(code: types.CodeType) -> set[str]:
    """Names that code may ask an argument for: all strings in it but those that it asks a global for, ``self`` or its parts."""
    found: set[str] = set()
    for part in codes(code):
        if _CATCHING & set(part.co_names):
            return {*names(code), *strings(code)}
        steps = [s for s in dis.get_instructions(part) if s.opname != "CACHE"] if _ASKING & set(part.co_names) else []
        for k, step in enumerate(steps):
            if step.opname == "LOAD_CONST" and type(step.argval) is str and not _asks_what_is_known(steps[: k + 1]):
                found.add(step.argval)
    return found


def _asks_what_is_known(steps: list[dis.Instruction]) -> bool:
    """Whether the name in the last step comes behind a global, ``self``, or attributes of these, on every way there."""
    k = len(steps) - 1
    while k > 0 and not steps[k].is_jump_target:
        k -= 1
        if steps[k].opname not in ("LOAD_ATTR", "LOAD_METHOD"):
            return steps[k].argval == "self" or steps[k].opname == "LOAD_GLOBAL"
    return False


def imported(code: types.CodeType) -> set[str]:
    """Modules that code imports where it needs them."""
    found: set[str] = set()
    for part in codes(code):
        if _IMPORT in part.co_code[::2]:
            found.update(step.argval for step in dis.get_instructions(part) if step.opcode == _IMPORT)
    return found


def compares_objects(code: types.CodeType) -> bool:
    """Whether code asks of two objects if they are one: ``a is b``, neither of them a constant."""
    for part in codes(code):
        if _IS in part.co_code[::2]:
            steps = list(dis.get_instructions(part))
            if any(s.opcode == _IS and before.opname != "LOAD_CONST" for before, s in itertools.pairwise(steps)):
                return True
    return False


def asks_for_computed_names(code: types.CodeType) -> bool:
    """Whether code asks for an attribute whose name is no constant of the code: ``getattr(x, f"layer{k}")``."""
    return any(_computes(part) for part in codes(code) if _GETTING & set(part.co_names))


def _computes(code: types.CodeType) -> bool:
    steps = [s for s in dis.get_instructions(code) if s.opname not in ("CACHE", "EXTENDED_ARG", "NOP")]
    for k, step in enumerate(steps):
        if step.argval in _GETTING and step.opname.startswith("LOAD_") and not _is_constant(steps[k + 1 :]):
            return True
    return False


def _is_constant(steps: list[dis.Instruction]) -> bool:
    """Whether the second argument of the call that these steps prepare is a constant string."""
    depth, is_known = 0, False
    for step in steps:
        if step.opname in ("PRECALL", "CALL") and step.arg == depth:
            return is_known
        before = depth
        depth += dis.stack_effect(step.opcode, step.arg if step.opcode >= dis.HAVE_ARGUMENT else None, jump=False)
        if before == 1 and depth == 2:
            is_known = step.opname == "LOAD_CONST" and type(step.argval) is str
        elif depth <= 2 < before:  # something was made of it
            is_known = False
    return False
