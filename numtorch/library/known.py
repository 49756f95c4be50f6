"""The user's ops by the names that a file knows them by: the module that made them, and their own name in it."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..autograd.stack import levels_to_user

USER: dict[tuple[str, str], Own] = {}  # (module, name) -> the op that goes by it; defined anew, the latest


class Own:
    """A user's op that files may name; ``part(role)`` is the op that runs."""

    home: tuple[str, str] | None = None  # module and name

    def sources(self) -> Sequence[Callable]:
        """The functions that it is made of."""
        raise NotImplementedError

    def part(self, role: str) -> Any:
        """The op that does what ``role`` says ("" for all of it), or None."""
        raise NotImplementedError

    def remember(self, module: str, name: str) -> None:
        """Let files name it."""
        self.home = module, name
        USER[self.home] = self

    @property
    def fingerprint(self) -> str:
        """Tells its source from another one's."""
        return hashlib.sha256("\n".join(map(_source, self.sources())).encode()).hexdigest()[:16]


@functools.lru_cache(1024)
def _source(function: Callable) -> str:
    """A function's code without its name, its decorators, its docstring and its layout."""
    from ..kernels.bodies import body_of

    function = getattr(function, "py_func", function)
    try:
        node: Any = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, SyntaxError, TypeError):  # a lambda within a call, or a function that never was in a file
        node = body_of(function).node
    if isinstance(node, ast.FunctionDef):
        body = node.body[1:] if ast.get_docstring(node) is not None else node.body
        return "\n".join([ast.unparse(node.args), *map(ast.unparse, body)])
    return ast.unparse(body_of(function).node if not isinstance(node, ast.Lambda) else node)


def own_name(op: Any) -> list[str] | None:
    """Module, name, fingerprint and role of a user's op, or None for another op (or one without a name)."""
    owner, role = getattr(op, "owner", (op, ""))
    if not isinstance(owner, Own) or owner.home is None:
        return None
    return [*owner.home, owner.fingerprint, role]


def find(name: Sequence[str], given: Mapping[str, Own]) -> Any:
    """The op of ``own_name``, among those given by the user or those made in this program; LookupError says what to do."""
    module, local, fingerprint, role = name
    owner = given.get(local) or USER.get((module, local))
    if owner is None:
        raise LookupError(
            f"it uses the op {local!r} that the module {module!r} made; import that module first, or give the op as"
            f" jit.load(path, ops={{{local!r}: op}})"
        )
    found = owner.part(role)
    if found is None:
        raise LookupError(f"the op {local!r} of the module {module!r} has no part {role!r}; it is made in another way now")
    if owner.fingerprint != fingerprint:
        warnings.warn(
            f"jit.load: the source of the op {local!r} is not what it was when the trace was saved; the new one is used",
            stacklevel=levels_to_user(),
        )
    return found


__all__ = ["USER", "Own", "find", "own_name"]
