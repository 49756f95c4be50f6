"""C-level builtins whose code arrives later.

A builtin made here has CPython's METH_FASTCALL | METH_KEYWORDS calling convention. Its first code is
`PyObject_Vectorcall` itself, whose arguments (callable, args, nargs, kwnames) are just those of the
convention (self, args, nargs, kwnames): called, the builtin calls its `self`, a Gate, which runs a Python
fallback. `Builtin.point` then exchanges the code under the existing object, so that `from driver import
launch` is good for ever. CPython reads the code pointer at each call.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from typing import Any

_FASTCALL_WITH_KEYWORDS = 0x0080 | 0x0002


class Gate(bytes):
    """The builtin's `self`: its bytes are addresses for native code; calling it runs the Python fallback."""

    fallback: Callable[..., Any]
    root: Any  # memory that the addresses refer to

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fallback(*args, **kwargs)


class MethodDef(ctypes.Structure):
    """CPython's description of a builtin; must outlive all builtins made with it."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("code", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


def c_api(name: str) -> int:
    """Address of a function of CPython's C-API."""
    return ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0


def method_def(name: str, doc: str) -> MethodDef:
    """A description whose code calls the gate, for now."""
    return MethodDef(name.encode(), c_api("PyObject_Vectorcall"), _FASTCALL_WITH_KEYWORDS, doc.encode())


def new_builtin(method: MethodDef, gate: Gate, module: str) -> Any:
    """A builtin function with a `self` of its own; it may die, the description may not."""
    create = ctypes.pythonapi.PyCFunction_NewEx
    create.restype, create.argtypes = (
        ctypes.py_object,
        (ctypes.c_void_p, ctypes.py_object, ctypes.py_object),
    )
    return create(ctypes.addressof(method), gate, module)


class Builtin:
    """A builtin function `.function` that runs `fallback` until `point` gives it native code.

    Native code is `int64 f(int64 self, int64 args, int64 nargs, int64 kwnames)` and returns a new reference;
    the table `words` starts `PAYLOAD` bytes after `self`. Hidden objects stay alive with the process.
    """

    PAYLOAD = bytes.__basicsize__ - 1
    _immortal: list[Any] = []  # noqa: RUF012 - shared on purpose: keeps the method definitions alive

    def __init__(self, name: str, fallback: Callable[..., Any], words: list[int]):
        self.gate = Gate(struct.pack(f"={len(words)}q", *words))
        self.gate.fallback = fallback
        self._method = method_def(name, fallback.__doc__ or "")
        self._immortal.append(self)
        self.function: Callable[..., Any] = new_builtin(self._method, self.gate, fallback.__module__)

    @property
    def is_native(self) -> bool:
        """Whether native code is in place."""
        return self._method.code != c_api("PyObject_Vectorcall")

    def point(self, address: int) -> None:
        """Make the builtin run the native code at `address` from now on."""
        self._method.code = address
