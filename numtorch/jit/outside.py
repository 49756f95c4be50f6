"""What a function does beyond Python's objects and tensors: it prints, opens files, reads clocks, asks which thread runs it.

No program repeats that, and no place in memory tells whether it would come out the same. While a function runs for a
recording, Python shows each call here before it happens; one of these ends the recording, and the function runs eagerly.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .._source import is_internal
from .record import Untraceable

_BUILTINS = {
    "print": "prints", "input": "asks for input", "open": "opens a file", "eval": "runs eval, which can use any name",
    "exec": "runs exec, which can use any name", "globals": "looks at all globals", "dir": "looks at all names of an object",
    "id": "asks where an object lies", "breakpoint": "stops in a debugger", "__import__": "imports by name",
}  # fmt: skip
_MODULES = ("time", "posix", "nt", "_io", "_csv", "_socket", "_queue", "_sqlite3", "_posixsubprocess", "_uuid", "mmap", "select")
_OTHERS = {("_thread", "get_ident"), ("_thread", "get_native_id"), ("_warnings", "warn"), ("_warnings", "warn_explicit"),
           ("sys", "getrefcount"), ("datetime", "now"), ("datetime", "today"), ("datetime", "utcnow")}  # fmt: skip
_METHODS = ("write", "writelines", "read", "readline", "readlines", "getvalue", "writerow", "writerows", "put", "get",
            "execute", "recv", "send", "sendall", "seek", "tell", "flush", "truncate", "close")  # fmt: skip
_HARMLESS = {"fspath", "struct_time"}
_FILES = ("queue.py", "threading.py", "subprocess.py", os.path.join("multiprocessing", "queues.py"))  # of Python's library
_PASSED = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))
_GENERATED = "numtorch.kernels.generated."  # modules of kernels, which lie in the cache
_COMPILERS = tuple(os.sep + name + os.sep for name in ("numba", "llvmlite", "numpy"))


class Outside(Untraceable):
    """The function is about to do something that no replay repeats; maybe only at its first call."""


class Watch:
    """What was found in a run."""

    def __init__(self, arguments: set[int]):
        self.reason = ""
        self.arguments = arguments  # ids of the tensors that stand for arguments
        self.names, self.codes, self.files = _known()

    def __call__(self, frame: Any, event: str, called: Any) -> None:
        """Python calls this before each call of a function."""
        if event == "c_call":
            if called.__name__ in self.names and (what := _effect_of(called)) and _is_users(frame):
                self._stop(what, frame)
        elif event == "call":
            code = frame.f_code
            if id(code) in self.codes:
                if _is_users(frame.f_back):
                    self._asked(frame)
            elif code.co_filename in self.files and _is_users(frame.f_back):
                self._stop(f"calls {code.co_qualname} of {os.path.basename(code.co_filename)}", frame.f_back)

    def _asked(self, frame: Any) -> None:
        """A function of numtorch's that tells something which a trace doesn't look at."""
        name, about = self.codes[id(frame.f_code)]
        if about is not None:
            asked = id(frame.f_locals.get("self"))
            if about and asked not in self.arguments:
                return
            self._stop(f"asks a tensor for its {name}", frame.f_back)
        self._stop(f"calls {name}", frame.f_back)

    def _stop(self, what: str, frame: Any) -> None:
        while frame.f_back is not None and _is_passed(frame.f_code.co_filename):
            frame = frame.f_back
        self.reason = f"it {what} at {frame.f_code.co_filename}:{frame.f_lineno}, which no replay repeats"
        raise Outside(self.reason)


@contextmanager
def watched(arguments: Any = ()) -> Iterator[None]:
    """Outside where the code that runs inside reaches beyond what a replay can look at. A profiler keeps its place."""
    if sys.getprofile() is not None:
        yield
        return
    watch = Watch({id(t) for t in arguments})
    sys.setprofile(watch)
    try:
        yield
    finally:
        sys.setprofile(None)
        if watch.reason:  # the function may have caught it
            raise Outside(watch.reason)


def _effect_of(f: Any) -> str:
    """What a function written in C does to the world; empty if it only computes."""
    name, owner = f.__name__, getattr(f, "__self__", None)
    module = getattr(f, "__module__", None)
    if module is None:
        module = getattr(owner if isinstance(owner, type) else type(owner), "__module__", "")
    if name in _BUILTINS and module in ("builtins", "io", "_io"):
        return _BUILTINS[name]
    if (module in _MODULES and name not in _HARMLESS) or (module, name) in _OTHERS:
        return f"calls {name} of {module.lstrip('_')}"
    return ""


def _is_passed(filename: str) -> bool:
    """Whether code only does what others ask for: Python's library, the compiler."""
    if filename.startswith("<frozen ") or any(part in filename for part in _COMPILERS):
        return True
    return filename.startswith(_PASSED) and "site-packages" not in filename


def _is_users(frame: Any) -> bool:
    """Whether a call is made for the user's code, not for numtorch's own purposes."""
    while frame is not None:
        name = frame.f_code.co_filename
        if not _is_passed(name):
            return not is_internal(name) and not frame.f_globals.get("__name__", "").startswith(_GENERATED)
        frame = frame.f_back
    return False


@functools.cache
def _known() -> tuple[frozenset[str], dict[int, tuple[str, bool | None]], frozenset[str]]:
    """Names of functions to look at; code of numtorch's that tells what traces don't look at; files of Python's library."""
    names = {*_BUILTINS, *_METHODS, *(name for _, name in _OTHERS)}
    for module in _MODULES[:3]:
        if module in sys.modules:
            names.update(dir(importlib.import_module(module)))
    folder = sysconfig.get_path("stdlib")
    return frozenset(names - _HARMLESS), _codes(), frozenset(os.path.join(folder, name) for name in _FILES)


def _codes() -> dict[int, tuple[str, bool | None]]:
    """By the id of its code: what a function is called; whether only arguments are not to be asked (None: it asks no tensor)."""
    import numtorch

    from .._tensor import Tensor

    settings = ("get_num_threads", "get_num_interop_threads", "are_deterministic_algorithms_enabled", "is_anomaly_enabled", "initial_seed")
    found: dict[int, tuple[str, bool | None]] = {id(importlib.import_module.__code__): ("importlib.import_module", None)}
    for name in settings:
        f = getattr(numtorch, name, None)
        if hasattr(f, "__code__"):
            found[id(f.__code__)] = name, None
    for name in ("data_ptr", "storage_offset", "untyped_storage", "is_leaf", "grad_fn", "_version", "is_inference", "retains_grad", "is_set_to"):
        f = getattr(Tensor, name)
        f = f.fget if isinstance(f, property) else f
        if hasattr(f, "__code__"):
            found[id(f.__code__)] = name, name != "data_ptr"
    return found
