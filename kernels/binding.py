"""Placeholders in kernel source and how a specialisation replaces them.

A kernel is written against module-level stand-ins (`T`, `VL`, `split`, other `@device` functions). To
specialise it, the function is copied with a new globals dictionary in which only the names that its code
mentions are replaced. The original function stays untouched, so the same source can be compiled for several
dtypes and interpreted as plain Python.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

# Scalar type that stands for each numtorch dtype inside kernels. bool is stored as one byte 0/1; float16 as
# its bits, a uint16, and bfloat16 as its bits, an int16: the sign tells kernels which of the two they read.
SCALARS: dict[str, type] = {
    "float32": np.float32, "float64": np.float64, "int64": np.int64, "int32": np.int32, "int16": np.int16,
    "int8": np.int8, "uint8": np.uint8, "bool": np.uint8, "float16": np.uint16,
    "bfloat16": np.int16,
}  # fmt: skip

Env = dict[str, Any]


class Placeholder:
    """A name in kernel source that every specialisation replaces: dtypes `T`, `S`, the lanes `VL`."""

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return self.name

    def __call__(self, *args: Any) -> Any:
        raise TypeError(
            f"{self.name} only has a meaning inside a specialised kernel; call the kernel through address(), "
            f"or its plain Python through interpret.bind()."
        )


class Intrinsic:
    """A function of memory.py or simd.py: a plain-Python body, and a numba intrinsic of the same name.

    `module` holds the numba version and is imported only when a kernel is compiled. With `per_env`, the
    attribute is a function of the environment (a dict with T, S, VL, ...) that returns the numba intrinsic.
    """

    def __init__(self, py: Callable[..., Any], module: str, per_env: bool = False):
        self.py, self.module, self.per_env, self.name = py, module, per_env, py.__name__
        self.__doc__, self.__name__, self.__wrapped__ = py.__doc__, py.__name__, py

    def __call__(self, *args: Any) -> Any:
        return self.py(*args)

    def __repr__(self) -> str:
        return f"<intrinsic {self.name}>"


def intrinsic(module: str, per_env: bool = False) -> Callable[[Callable[..., Any]], Intrinsic]:
    """Decorator: the function is the plain-Python body of the numba intrinsic of that name in `module`."""
    return lambda py: Intrinsic(py, module, per_env)


class Device:
    """A plain Python function that kernels may call, compiled for each specialisation (see `jit.device`)."""

    def __init__(self, py: Callable[..., Any], fastmath: frozenset[str] | None, inline: bool):
        self.py, self.fastmath, self.inline, self.name = py, fastmath, inline, py.__name__
        self.__doc__, self.__name__, self.__wrapped__ = py.__doc__, py.__name__, py

    def __call__(self, *args: Any) -> Any:
        return self.py(*args)

    def __repr__(self) -> str:
        return f"<device {self.name}>"


def mentioned_names(code: types.CodeType) -> Iterator[str]:
    """Names that `code` and functions nested in it may load as globals (and attribute names: harmless)."""
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from mentioned_names(const)


def mentioned_values(fn: types.FunctionType, env: Env) -> dict[str, Any]:
    """Global and closure values that `fn` mentions, by name; those named in `env` come from there."""
    found: dict[str, Any] = {}
    for name in mentioned_names(fn.__code__):
        if name in fn.__globals__:
            value = fn.__globals__[name]
            replaced = name in env and not isinstance(
                value, (Placeholder, Intrinsic, Device, types.ModuleType)
            )
            found[name] = env[name] if replaced else value
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or ()):
        found[name] = cell.cell_contents
    return found


def lookup(placeholder: Placeholder, env: Env) -> Any:
    """What `placeholder` means in `env`: a dtype constructor for dtype names, else the value itself.

    Raises TypeError when the specialisation does not say.
    """
    value = env.get(placeholder.name)
    if value is None:
        raise TypeError(
            f"the kernel uses {placeholder.name}, but address() was called without {placeholder.name}=..."
        )
    return SCALARS[value] if isinstance(value, str) else value


def rebind(fn: types.FunctionType, env: Env, replace: Callable[[Any], Any]) -> types.FunctionType:
    """Copy `fn` with each global and closure value it mentions passed through `replace`."""
    values = {name: replace(value) for name, value in mentioned_values(fn, env).items()}
    free = fn.__code__.co_freevars
    cells = tuple(types.CellType(values.pop(name)) for name in free) if free else None
    scope = {"__builtins__": __builtins__, "__name__": fn.__module__, **values}
    copy = types.FunctionType(fn.__code__, scope, fn.__name__, fn.__defaults__, cells)
    copy.__kwdefaults__, copy.__qualname__, copy.__module__ = (
        fn.__kwdefaults__,
        fn.__qualname__,
        fn.__module__,
    )
    return copy


# ---- fingerprints: what a cached object depends on ---------------------------------------------------------


def fingerprint(fn: types.FunctionType, env: Env) -> bytes:
    """Digest of everything that decides what `fn` computes, reached through its globals.

    Code that is loaded (not files) is hashed, so a file edited while this process runs cannot poison the
    cache. Intrinsics count with the text of their whole module.
    """
    digest, seen = hashlib.sha256(), set()
    pending = [fn]
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        _feed(digest, current.__code__)
        digest.update(repr((current.__defaults__, current.__kwdefaults__)).encode())
        for name, value in sorted(mentioned_values(current, env).items()):
            digest.update(name.encode() + b"=")
            if isinstance(value, Device):
                pending.append(value.py)  # type: ignore[arg-type]
                digest.update(
                    f"{value.name} {sorted(value.fastmath or ())} {value.fastmath is None}".encode()
                )
            elif isinstance(value, Intrinsic):
                digest.update(value.name.encode() + module_digest(value.module))
            else:
                digest.update(_stable_repr(value).encode())
    return digest.digest()


def _feed(digest: Any, code: types.CodeType) -> None:
    """Add what `code` does, but not where it stands (a comment or a moved line changes nothing)."""
    digest.update(code.co_code)
    names = (code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_flags)
    digest.update(repr(names).encode())
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            _feed(digest, const)
        else:
            text = sorted(const, key=repr) if isinstance(const, frozenset) else const
            digest.update(f"{type(const).__name__}{text!r};".encode())


def _stable_repr(value: Any) -> str:
    """A text for a global value that is equal in every process; functions and modules count by name."""
    if isinstance(value, (types.FunctionType, types.BuiltinFunctionType, types.ModuleType, type)):
        return f"{getattr(value, '__module__', '')}.{value.__name__}"
    return repr(value)


def module_digest(module: str) -> bytes:
    """sha256 of the source of `module` and of the intrinsics modules it mentions, none of them imported.

    Read once per process. Raises ImportError if there is no source file.
    """
    if module not in _DIGESTS:
        _DIGESTS[module] = _source_digest(module)
    return _DIGESTS[module]


def digests_hold() -> bool:
    """Whether the files behind `module_digest` are unchanged: what was imported later is what was keyed."""
    return all(_source_digest(module) == digest for module, digest in _DIGESTS.items())


_DIGESTS: dict[str, bytes] = {}
_SIBLING = re.compile(rb"\bintrinsics_\w+")


def _source_digest(module: str) -> bytes:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ImportError(f"no source file found for kernel module {module!r}")
    folder, text = Path(spec.origin).parent, Path(spec.origin).read_bytes()
    seen, pending = {Path(spec.origin).stem: text}, [text]
    while pending:
        for name in {match.decode() for match in _SIBLING.findall(pending.pop())} - seen.keys():
            file = folder / f"{name}.py"
            seen[name] = file.read_bytes() if file.exists() else b""
            pending.append(seen[name])
    return hashlib.sha256(b"".join(hashlib.sha256(seen[name]).digest() for name in sorted(seen))).digest()
