"""What a traced function takes from around it: variables, globals, attributes, and what lies in containers among them.

Everything is looked for that the function's code, and the code of functions and methods that it mentions, can name: closures,
globals, default arguments, attributes of objects, classes and modules, entries of dicts and lists, small NumPy arrays. Bound to
something else, they make another path. Attributes that no code mentions do not count, nor what the function itself writes.
"""

from __future__ import annotations

import array
import collections
import contextvars
import ctypes
import functools
import gc
import inspect
import logging
import os
import random
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from .._source import is_internal
from .._tensor import Tensor
from . import tree
from .entries import Cached, Entries, look_at_optimizer
from .libraries import classes, file_of, is_library
from .mentioned import asked, asks_for_computed_names, compares_objects, imported, names, strings
from .places import (
    MISSING,
    Answer,
    Buffer,
    Cell,
    Content,
    Count,
    Items,
    Key,
    Kind,
    Members,
    OfThread,
    Part,
    Place,
    Slot,
    Stream,
    Table,
)
from .tree import PLAIN

# Objects that call others, and where those are.
_WRAPPERS = (types.MethodType, functools.partial, functools.partialmethod, staticmethod, classmethod, property)
_BUFFERS = (bytearray, memoryview, array.array, ctypes._SimpleCData, ctypes.Array, ctypes.Structure)
_PARTS = ("function", "__func__", "__self__", "func", "args", "keywords", "fget", "fset")
_MOST = 1024  # functions looked into
_MOST_ITEMS = 4096  # of a container that are looked at one by one
_MOST_LARGE = 1 << 16  # of a container at all; functions that may look into larger ones run eagerly
_MOST_BYTES = 1 << 20  # of an array
_MOST_DEPTH = 24  # containers and objects within each other
_OPEN = {"vars", "__dict__"}  # code with these can look at any attribute
_RUN_BY_OTHERS = ("forward", "backward", "setup_context")  # of a module, or of an autograd Function
_RARE = ("__init__", "__new__", "__del__", "__repr__", "__str__", "__reduce__", "__getstate__", "__setstate__")  # not run by a use
_MOST_ASKED = 8  # of those names that are looked for at each tensor


def walk_from(function: Callable, given: Iterable[Any] = (), before: Walk | None = None) -> Walk:
    """The walk to the places that a function of the user's depends on, called with these objects among its arguments.

    ``before``: an earlier walk from there, whose names are looked for from the start.
    """
    walk = Walk(set(), set(), set())
    if before is not None:
        walk = Walk(set(before.names), set(before.strings), set(before.asked), before.is_open)
    known = None
    while (walk.names, walk.is_open) != known:  # a method found by its name mentions further names
        known = walk.names, walk.is_open
        walk = Walk(set(walk.names), walk.strings, walk.asked, walk.is_open)
        for value in (function, *given):
            walk.value(value)
        walk.functions()
    return walk


class Walk:
    """One walk from a function to everything that code with these names can reach."""

    def __init__(self, names: set[str], strings: set[str], asked: set[str], is_open: bool = False):
        self.names, self.strings = names, strings  # `strings` may be names for getattr and hasattr
        self.asked = asked  # names of attributes that code asks for and that need not be there
        self.found: dict[tuple, Place] = {}
        self.modules: list[Any] = []
        self.streams: list[Stream] = []  # random numbers that are not numtorch's
        self.iterators: list[Any] = []
        self.hidden: list[str] = []  # what the function may look at and calls can't
        self.tensors: dict[int, Tensor] = {}
        self.compares = False  # objects with `is`
        self.is_open = is_open  # any attribute of an object may be looked at
        self.dicts: list[dict] = []  # of objects of numtorch's that change when they are used
        self.seen: dict[int, Any] = {}
        self.classes: set[tuple[type, int, int]] = set()  # looked at, with so many names and strings
        self.waiting: list[types.FunctionType] = []
        self.lacking: set[str] = set()  # of the names in `judged` those that none of the first `looked_at` modules has
        self.judged: set[str] = set()
        self.looked_at = 0

    def functions(self) -> None:
        """Look into the functions found, and into those found there."""
        count = 0
        if "getattr" in self.names:
            self.names |= self.strings
        while self.waiting:
            f, count = self.waiting.pop(), count + 1
            if count > _MOST:
                self.hidden.append(f"it may call more than {_MOST} functions")
                return
            found, mentioned = set(strings(f.__code__)), set(names(f.__code__))
            self.strings |= found
            self.names |= mentioned | found
            self.asked |= asked(f.__code__)
            self.compares = self.compares or compares_objects(f.__code__)
            self.is_open = self.is_open or bool(_OPEN & mentioned) or asks_for_computed_names(f.__code__)
            for cell in f.__closure__ or ():
                try:
                    self.place(Cell(cell, cell.cell_contents))
                except ValueError:
                    continue  # not set yet
            for name in names(f.__code__):
                if name in ("environ", "getenv"):
                    self.container(os.environ._data, 0)  # type: ignore[attr-defined]
                if name in f.__globals__:
                    self.place(Key(f.__globals__, name, f.__globals__[name]))
                    self._library(f.__globals__[name], mentioned)
            for name in imported(f.__code__):
                if name in sys.modules:
                    self.value(sys.modules[name])
                    self._library(sys.modules[name], mentioned)
            for name in ("__code__", "__defaults__", "__kwdefaults__"):
                self.place(Part(f, name, getattr(f, name)))

    def _library(self, value: Any, mentioned: set[str], depth: int = 0) -> None:
        """Functions and numbers of a library's module that a function mentions: somebody may put others in their place."""
        if not isinstance(value, types.ModuleType) or not is_library(getattr(value, "__file__", None)):
            return
        held = vars(value)
        if value is sys and "modules" in mentioned:
            for name in self.strings & sys.modules.keys():
                self.value(sys.modules[name])
        for name in mentioned & held.keys():
            found = held[name]
            if isinstance(found, types.ModuleType):
                if depth < 3:
                    self._library(found, mentioned, depth + 1)
            elif not isinstance(found, type):
                self.found.setdefault((Key, id(held), name), Key(held, name, found))
                if isinstance(found, list):
                    self.container(found, depth)

    def place(self, place: Any, depth: int = 0) -> None:
        """Note a place that may hold something else later, and walk on from what it holds."""
        value = place.value
        if isinstance(value, types.ModuleType) and is_library(getattr(value, "__file__", None)):
            return
        if isinstance(value, type) and is_library(file_of(value)):
            return
        self.found.setdefault((type(place), id(place.place), getattr(place, "key", None)), place)
        self.value(value, depth + 1)

    def value(self, value: Any, depth: int = 0) -> None:
        """Walk on from a value."""
        if isinstance(value, Tensor):
            self._tensor(value, depth)
        if type(value) is str and value.isidentifier():
            self.strings.add(value)  # for getattr
        elif type(value) is str and "." in value:
            self.strings.update(value.split("."))  # for operator.attrgetter
        if type(value) in PLAIN or isinstance(value, Tensor) or id(value) in self.seen:
            return
        if depth > _MOST_DEPTH:
            self.hidden.append(f"it may look at a {type(value).__name__} deep inside other objects")
            return
        self.seen[id(value)] = value
        (GradScaler, Module, LRScheduler, Optimizer, Visible), _ = classes()
        if isinstance(value, Optimizer):
            self._class(type(value), depth)
            look_at_optimizer(self, value, depth)
        elif isinstance(value, (LRScheduler, GradScaler)):
            self._around_optimizer(value, depth, isinstance(value, GradScaler))
        elif isinstance(value, Iterator):
            self.iterators.append(value)
        elif isinstance(value, (np.random.Generator, np.random.RandomState, random.Random)):
            self.streams.append(Stream.of(value))
        elif type(value) in _WRAPPERS or isinstance(value, Visible):
            for part in (getattr(value, name, None) for name in _PARTS):
                self.value(part, depth)
        elif isinstance(value, types.MappingProxyType):
            self.value(gc.get_referents(value)[0], depth)
        elif isinstance(value, _BUFFERS):
            self.place(Buffer(value, bytes(memoryview(value))), depth)
        elif isinstance(value, (contextvars.ContextVar, weakref.ref)):
            self.place(Answer(value, Answer(value, None).now()), depth)
        elif isinstance(value, functools._lru_cache_wrapper):
            self._cached(value, depth)
        elif _is_function(value):
            self._function(value)
        elif isinstance(value, Module):
            for m in value.modules():  # type: ignore[attr-defined]
                self._module(m, depth)
        elif isinstance(value, (dict, list, tuple, set, collections.deque, np.ndarray)):
            self.container(value, depth)
        elif isinstance(value, type):
            self._class(value, depth)
        elif isinstance(value, types.ModuleType):
            self._attributes(vars(value), depth)
        else:
            self._object(value, depth)

    def _function(self, f: types.FunctionType) -> None:
        if not is_internal(f.__code__.co_filename):
            self.waiting.append(f)
            if not is_library(f.__code__.co_filename):
                self.dicts.append(f.__dict__)
                self.container(f.__dict__, 0) if self.is_open else self._attributes(f.__dict__, 0)
        wrapped = getattr(f, "__wrapped__", None)
        if wrapped is not None:
            self.value(wrapped)

    def _cached(self, f: Any, depth: int) -> None:
        """A function whose results ``functools.lru_cache`` keeps."""
        self.value(f.__wrapped__, depth)
        for held in Cached.of_function(f):
            self.found.setdefault((Cached, id(held.place), None), held)

    def _around_optimizer(self, value: Any, depth: int, is_scaler: bool) -> None:
        """A scheduler or a GradScaler."""
        self.dicts.append(value.__dict__)
        if is_scaler:
            self.place(Entries.of(value.__dict__), depth)
        for part in (getattr(value, "optimizer", None), *getattr(value, "_schedulers", ())):
            self.value(part, depth + 1)

    def _module(self, m: Any, depth: int) -> None:
        """A module: its code, and attributes that are no numbers, tensors or modules (looks_of has those)."""
        (_, Module, *_), (module_containers, parameter_containers) = classes()
        self.modules.append(m)
        self._class(type(m), depth)
        if isinstance(m, module_containers):  # nobody calls those, so looks_of does not look at them
            self.container(m._modules, depth)
        if isinstance(m, parameter_containers):
            self.container(m._parameters, depth)
        own = m.__dict__
        for name in self.names & own.keys():
            value = own[name]
            is_plain = type(value) in PLAIN and is_library(file_of(type(m)))  # nobody writes into the dicts of those
            if not is_plain and not isinstance(value, (Tensor, Module)) and not _is_own(name):
                self.place(Key(own, name, value), depth)
        for name, value in own.items():
            if type(value) in (list, dict) and not _is_own(name) and is_library(file_of(type(m))):
                self.place(Key(own, name, value), depth)  # sizes of a layer, for example
        for name, held in own.items():
            if name.endswith("hooks") and held:
                self.hooks(held)
        for t in (*own["_parameters"].values(), *own["_buffers"].values()):
            self._tensor(t)

    def hooks(self, held: Any) -> None:
        """Functions that somebody hung on a module or a tensor."""
        for hook in list((held or {}).values()):
            self.value(hook[0] if isinstance(hook, tuple) else hook)

    def _tensor(self, t: Any, depth: int = 0) -> None:
        """A tensor: its hooks, and attributes that somebody has put on it, or may."""
        if t is None:
            return
        self.tensors[id(t)] = t
        self.hooks(t._hooks)
        self.hooks(t._post_hooks)
        own = t.__dict__
        for name in self.names & tree.notes(t).keys():
            self.place(Key(own, name, own[name]), depth)
        absent = [name for name in self.unknown() if name not in own and not hasattr(type(t), name)]
        for name in absent if len(absent) <= _MOST_ASKED else ():
            self.place(Key(own, name, MISSING), depth)

    def unknown(self) -> set[str]:
        """Names of attributes that code asks for, without those that a module has."""
        old, new = self.modules[: self.looked_at], self.modules[self.looked_at :]
        self.lacking |= {name for name in self.asked - self.judged if not any(hasattr(m, name) for m in old)}
        for m in new if self.lacking else ():
            self.lacking = {name for name in self.lacking if not hasattr(m, name)}
        self.judged, self.looked_at = set(self.asked), len(self.modules)
        return self.lacking

    def container(self, value: Any, depth: int) -> None:
        if isinstance(value, np.ndarray):
            if value.nbytes <= _MOST_BYTES and not value.dtype.hasobject:
                self.place(Content(value, value.tobytes()), depth)
            else:
                self.hidden.append(f"it may read a NumPy array of {value.nbytes} bytes and dtype {value.dtype}")
            return
        if len(value) > _MOST_ITEMS:
            items = value.values() if isinstance(value, dict) else value
            if len(value) > _MOST_LARGE or not all(type(x) in PLAIN for x in items):
                self.hidden.append(f"it may look into a {type(value).__name__} of {len(value)} items")
                return
            if isinstance(value, dict):
                self.place(Table(value, (*value, *value.values())), depth)
                return
        if isinstance(value, dict):
            self.place(Count(value, tuple(value), dict(value)), depth)
            for key, item in list(value.items()):
                self.place(Key(value, key, item), depth)
            return
        if isinstance(value, set):
            self.place(Members(value, tuple(value)), depth)
        elif isinstance(value, (list, collections.deque)):
            self.place(Items(value, tuple(value)), depth)
        for item in value:
            self.value(item, depth + 1)

    def _class(self, kind: type, depth: int) -> None:
        key = (kind, len(self.names), len(self.strings))
        if key in self.classes:
            return
        self.classes.add(key)
        if type(kind) is not type and not is_library(file_of(type(kind))):
            self._class(type(kind), depth)
        own_bases = [base for base in kind.__mro__ if not is_library(file_of(base))]
        for i, base in enumerate(own_bases):
            held = gc.get_referents(vars(base))[0]
            self._attributes(held, depth, base)
            if "forward" in held:
                self.place(Key(held, "forward", held["forward"], base), depth)
            hidden = {name for b in own_bases[i + 1 :] for name in vars(b)}
            for name in self.names & hidden - held.keys():  # the class may get its own
                self.place(Key(held, name, MISSING, base), depth)
        if not is_library(file_of(kind)):
            own = gc.get_referents(vars(kind))[0]
            for name in self.strings:
                if not hasattr(kind, name):
                    self.place(Key(own, name, MISSING, kind), depth)
        for name in dir(kind):
            f = getattr(kind, name, None) if name in _RUN_BY_OTHERS or (name.startswith("__") and name not in _RARE) else None
            if _is_function(f):
                self._function(f)

    def _object(self, value: Any, depth: int) -> None:
        kind = type(value)
        if kind.__module__ in ("builtins", "numpy") or is_internal(file_of(kind) or ""):
            return
        self.found.setdefault((Kind, id(value), None), Kind(value, kind))
        if isinstance(value, threading.local):
            for name, held in value.__dict__.items():
                self.place(OfThread(value, name, held), depth)
            for name in self.names - value.__dict__.keys():
                if not hasattr(kind, name):
                    self.place(OfThread(value, name, MISSING), depth)
            return
        try:
            own = object.__getattribute__(value, "__dict__")
            self._attributes(own, depth)
            if self.is_open:
                self.container(own, depth)
            if isinstance(value, logging.Logger):
                self.container(value._cache, depth)  # type: ignore[attr-defined] # for which levels it is known that they are written
            self.missing(own, kind, depth)
        except AttributeError:
            for name in self.names & {n for base in kind.__mro__ for n in _slots(base)}:
                if hasattr(value, name):
                    self.place(Slot(value, name, getattr(value, name)), depth)
        self._class(kind, depth)

    def missing(self, own: dict, kind: type, depth: int) -> None:
        """Attributes that an object takes from its class until it gets its own."""
        for name in self.names - own.keys():
            found = inspect.getattr_static(kind, name, MISSING)
            if type(found) in (*PLAIN, dict, list, tuple) or (found is MISSING and hasattr(kind, "__getattr__")):
                self.place(Key(own, name, MISSING), depth)

    def _attributes(self, held: dict, depth: int, owner: Any = None) -> None:
        for name in held.keys() & self.names:
            self.place(Key(held, name, held[name], owner), depth)


def _slots(kind: type) -> tuple:
    held = vars(kind).get("__slots__", ())
    return (held,) if isinstance(held, str) else tuple(held)


def _is_function(value: Any) -> bool:
    return isinstance(value, types.FunctionType)


def _is_own(name: str) -> bool:
    """Whether an attribute of a module is one that every module has."""
    return name in ("_parameters", "_buffers", "_modules") or name.endswith("hooks")
