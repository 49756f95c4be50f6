"""Reading ``data.pkl`` without running anything: a machine for pickle's instructions with a list of allowed
names.

Instructions that build plain Python values do just that. A name is looked up in a table, never imported; only
a ``Constructor`` from the table, or a class that the user has declared safe, is called; attributes are set on
ordered dicts and on objects of such classes only. Everything else raises ``pickle.UnpicklingError``.
"""

from __future__ import annotations

import pickle
import struct
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

from .names import Constructor, absent_dtype, refuse

_MARK = object()
_MUTABLE_MAPS = (dict, OrderedDict, Counter)


def user_names(safe: list[Any]) -> dict[str, Any]:
    """The table of what a user declared safe: functions and classes, or pairs of one with its name."""
    table = {}
    for item in safe:
        if not isinstance(item, tuple):
            table[f"{item.__module__}.{item.__qualname__}"] = item
        elif len(item) == 2 and isinstance(item[1], str):
            table[item[1]] = item[0]
        else:
            raise ValueError(f"add_safe_globals: expected a callable or (callable, name), got {item!r}")
    return table


class Unpickler:
    """Reads one pickle from a file; ``persistent_load`` gives the storage that an id names."""

    def __init__(
        self, file: Any, allowed: dict[str, Any], safe: dict[str, Any], persistent_load: Callable[[Any], Any]
    ):
        self._file = file
        self._allowed, self._safe = allowed, safe
        self._persistent_load = persistent_load
        self._safe_ids = {id(x) for x in safe.values()}
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The object; pickle.UnpicklingError if the pickle asks for anything that is not allowed, EOFError if
        it ends early."""
        while True:
            code = self._file.read(1)
            if not code:
                raise EOFError("load: the pickle ends before its last instruction; the file is truncated")
            if code == pickle.STOP:
                return self._pop()
            step = _STEPS.get(code)
            if step is None:
                raise refuse(f"the pickle instruction {code!r} is not accepted")
            try:
                step(self)
            except (IndexError, KeyError, TypeError, ValueError, struct.error) as error:
                raise refuse(f"the pickle is damaged ({type(error).__name__}: {error})") from error

    # -- reading

    def _read(self, n: int) -> bytes:
        data = self._file.read(n)
        if len(data) != n:
            raise EOFError(
                f"load: the pickle ends inside an instruction ({len(data)} of {n} bytes); the file is"
                " truncated"
            )
        return data

    def _int(self, form: str) -> int:
        return struct.unpack(form, self._read(struct.calcsize(form)))[0]

    def _line(self) -> str:
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise EOFError("load: the pickle ends inside a name; the file is truncated")
        return line[:-1].decode()

    # -- the stack

    def _pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise refuse("the pickle is damaged: a mark where a value should be")
        return value

    def _to_mark(self) -> list[Any]:
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                items = self.stack[i + 1 :]
                del self.stack[i:]
                return items
        raise refuse("the pickle is damaged: no mark")

    def _top(self, *kinds: type) -> Any:
        value = self.stack[-1]
        if type(value) not in kinds:
            names = " or ".join(k.__name__ for k in kinds)
            raise refuse(
                f"the pickle puts items into a {type(value).__name__}; only into {names} is it allowed"
            )
        return value

    # -- names and calls

    def find(self, module: str, name: str) -> Any:
        """What a name stands for; UnpicklingError naming it if it is not allowed."""
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        full = f"{module}.{name}"
        for table in (self._allowed, self._safe):
            if full in table:
                return table[full]
        absent = absent_dtype(full)
        if absent is not None:
            raise refuse(
                f"the file holds {absent} tensors, which numtorch doesn't have; convert them in PyTorch"
            )
        raise refuse(
            f"Weights only load failed. Unsupported global: GLOBAL {full} was not an allowed global by"
            " default. Nothing was executed. If you trust the file, allow a class of your own with"
            f" `numtorch.serialization.add_safe_globals([{name}])`, or load everything with"
            " weights_only=False, which lets the file run any code; better save `model.state_dict()`"
            " instead of whole objects"
        )

    def _may_call(self, function: Any) -> bool:
        return isinstance(function, Constructor) or id(function) in self._safe_ids

    def global_line(self) -> None:
        module, name = self._line(), self._line()
        self.stack.append(self.find(module, name))

    def stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        if type(name) is not str or type(module) is not str:
            raise refuse("the pickle is damaged: a global whose name is no text")
        self.stack.append(self.find(module, name))

    def reduce(self) -> None:
        args, function = self._pop(), self._pop()
        if not self._may_call(function) or type(args) is not tuple:
            raise refuse(f"the pickle calls {function!r}, which is not an allowed function")
        self.stack.append(function(*args))

    def new_object(self, keywords: bool = False) -> None:
        kwargs = self._pop() if keywords else {}
        args, kind = self._pop(), self._pop()
        if not self._may_call(kind) or type(args) is not tuple or type(kwargs) is not dict:
            raise refuse(f"the pickle makes a new {kind!r}, which is not an allowed class")
        if isinstance(kind, Constructor):
            self.stack.append(kind(*args, **kwargs))
        else:
            self.stack.append(kind.__new__(kind, *args, **kwargs))

    def build(self) -> None:
        """Set the state of the object below."""
        state, target = self._pop(), self.stack[-1]
        if type(target) in (OrderedDict, Counter):
            if type(state) is not dict:
                raise refuse(
                    f"the attributes of a {type(target).__name__} are a {type(state).__name__}, not a dict"
                )
            target.__dict__.update(state)
        elif id(type(target)) in self._safe_ids:
            _set_state(target, state)
        else:
            raise refuse(f"the pickle sets attributes of a {type(target).__name__}, which is not allowed")

    def persistent(self) -> None:
        pid = self._pop()
        if type(pid) is not tuple or not pid or pid[0] not in ("storage", b"storage"):
            raise refuse(f"persistent id {pid!r} doesn't name a storage")
        self.stack.append(self._persistent_load(pid))

    # -- containers

    def append(self) -> None:
        value = self._pop()
        self._top(list).append(value)

    def appends(self) -> None:
        items = self._to_mark()
        self._top(list).extend(items)

    def set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._top(*_MUTABLE_MAPS)[key] = value

    def set_items(self) -> None:
        items = self._to_mark()
        target = self._top(*_MUTABLE_MAPS)
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[key] = value

    def add_items(self) -> None:
        items = self._to_mark()
        self._top(set).update(items)

    def tuple_of(self, n: int) -> None:
        items = [self._pop() for _ in range(n)]
        self.stack.append(tuple(reversed(items)))

    def get(self, i: int) -> None:
        self.stack.append(self.memo[i])

    def put(self, i: int) -> None:
        self.memo[i] = self.stack[-1]

    def long(self, n: int) -> None:
        self.stack.append(int.from_bytes(self._read(n), "little", signed=True))

    def text(self, n: int) -> None:
        self.stack.append(self._read(n).decode("utf-8", "surrogatepass"))

    def python2_text(self, n: int) -> None:
        self.stack.append(self._read(n).decode("latin1"))


def _set_state(target: Any, state: Any) -> None:
    """As pickle does, for objects of classes that the user declared safe."""
    if hasattr(target, "__setstate__"):
        target.__setstate__(state)
        return
    slots = None
    if isinstance(state, tuple) and len(state) == 2:
        state, slots = state
    if state:
        target.__dict__.update(state)
    for key, value in (slots or {}).items():
        setattr(target, key, value)


def _push(make: Callable[[Unpickler], Any]) -> Callable[[Unpickler], None]:
    return lambda u: u.stack.append(make(u))


_STEPS: dict[bytes, Callable[[Unpickler], Any]] = {
    pickle.PROTO: lambda u: u._read(1),
    pickle.FRAME: lambda u: u._read(8),
    pickle.MARK: lambda u: u.stack.append(_MARK),
    pickle.POP: lambda u: u.stack.pop(),
    pickle.NONE: _push(lambda u: None),
    pickle.NEWTRUE: _push(lambda u: True),
    pickle.NEWFALSE: _push(lambda u: False),
    pickle.BININT: _push(lambda u: u._int("<i")),
    pickle.BININT1: _push(lambda u: u._int("<B")),
    pickle.BININT2: _push(lambda u: u._int("<H")),
    pickle.LONG1: lambda u: u.long(u._int("<B")),
    pickle.LONG4: lambda u: u.long(u._int("<I")),
    pickle.BINFLOAT: _push(lambda u: u._int(">d")),
    pickle.BINUNICODE: lambda u: u.text(u._int("<I")),
    pickle.SHORT_BINUNICODE: lambda u: u.text(u._int("<B")),
    pickle.BINUNICODE8: lambda u: u.text(u._int("<Q")),
    pickle.SHORT_BINSTRING: lambda u: u.python2_text(u._int("<B")),
    pickle.BINSTRING: lambda u: u.python2_text(u._int("<I")),
    pickle.BINBYTES: _push(lambda u: u._read(u._int("<I"))),
    pickle.SHORT_BINBYTES: _push(lambda u: u._read(u._int("<B"))),
    pickle.BINBYTES8: _push(lambda u: u._read(u._int("<Q"))),
    pickle.BYTEARRAY8: _push(lambda u: bytearray(u._read(u._int("<Q")))),
    pickle.EMPTY_TUPLE: _push(lambda u: ()),
    pickle.EMPTY_LIST: _push(lambda u: []),
    pickle.EMPTY_DICT: _push(lambda u: {}),
    pickle.EMPTY_SET: _push(lambda u: set()),
    pickle.TUPLE: _push(lambda u: tuple(u._to_mark())),
    pickle.LIST: _push(lambda u: u._to_mark()),
    pickle.FROZENSET: _push(lambda u: frozenset(u._to_mark())),
    pickle.TUPLE1: lambda u: u.tuple_of(1),
    pickle.TUPLE2: lambda u: u.tuple_of(2),
    pickle.TUPLE3: lambda u: u.tuple_of(3),
    pickle.APPEND: Unpickler.append,
    pickle.APPENDS: Unpickler.appends,
    pickle.SETITEM: Unpickler.set_item,
    pickle.SETITEMS: Unpickler.set_items,
    pickle.ADDITEMS: Unpickler.add_items,
    pickle.BINGET: lambda u: u.get(u._int("<B")),
    pickle.LONG_BINGET: lambda u: u.get(u._int("<I")),
    pickle.BINPUT: lambda u: u.put(u._int("<B")),
    pickle.LONG_BINPUT: lambda u: u.put(u._int("<I")),
    pickle.MEMOIZE: lambda u: u.put(len(u.memo)),
    pickle.GLOBAL: Unpickler.global_line,
    pickle.STACK_GLOBAL: Unpickler.stack_global,
    pickle.REDUCE: Unpickler.reduce,
    pickle.NEWOBJ: Unpickler.new_object,
    pickle.NEWOBJ_EX: lambda u: u.new_object(keywords=True),
    pickle.BUILD: Unpickler.build,
    pickle.BINPERSID: Unpickler.persistent,
}
