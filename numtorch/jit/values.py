"""Plain values, dtypes, layouts and places in memory as JSON, and back, for the file of a saved trace."""

from __future__ import annotations

import base64
import collections
import math
from collections.abc import Callable
from typing import Any

from .. import return_types
from ..dtype import dtype
from ..shape import Layout, Size, extent, layout
from .file import TraceFileError
from .record import Live, RangeCheck, Ref
from .tree import Leaf

_DICTS = {"dict": dict, "OrderedDict": collections.OrderedDict}


class Writer:
    """Values to JSON; layouts go to a table, ``storage(s)`` and ``live(v)`` number what they are given."""

    def __init__(self, storage: Callable[[Any], int], live: Callable[[Live], int]):
        self.storage, self.live = storage, live
        self.layouts: dict[int, int] = {}
        self.table: list[list[Any]] = []

    def layout(self, la: Layout) -> int:
        """A layout's number in the table."""
        found = self.layouts.get(id(la))
        if found is None:
            if la.device != "cpu":
                raise TypeError(f"a tensor on {la.device} can't be saved in a trace; trace on the CPU")
            found = self.layouts[id(la)] = len(self.table)
            self.table.append([list(la.shape), list(la.strides), la.dtype.name])
        return found

    def __call__(self, x: Any) -> Any:
        """Any value; TypeError for one that only its own Python code could make."""
        if x is None or type(x) in (bool, int, str):
            return x
        if isinstance(x, Ref):
            return {"r": [self.storage(x.storage), x.offset, self.layout(x.layout)]}
        if isinstance(x, Live):
            return {"live": self.live(x)}
        if isinstance(x, float):
            return float(x) if math.isfinite(x) else {"f": repr(float(x))}
        if isinstance(x, Size):
            return {"size": list(x)}
        if type(x) in (tuple, list):
            items = [self(v) for v in x]
            return items if type(x) is list else {"t": items}
        if type(x) is dict:
            return {"d": [[self(k), self(v)] for k, v in x.items()]}
        if isinstance(x, bytes):
            return {"b": base64.b64encode(x).decode()}
        if isinstance(x, dtype):
            return {"dtype": x.name}
        if isinstance(x, Layout):
            return {"la": self.layout(x)}
        if isinstance(x, slice):
            return {"slice": [self(x.start), self(x.stop), self(x.step)]}
        if isinstance(x, RangeCheck):
            return self._range_check(x)
        raise TypeError(f"a value of type {type(x).__module__}.{type(x).__qualname__}, which a file can't hold: {x!r}")

    def _range_check(self, x: RangeCheck) -> Any:
        marker = x.high + 123456789
        error = x.make_error(marker)
        kind = "IndexError" if isinstance(error, IndexError) else "ValueError" if isinstance(error, ValueError) else "RuntimeError"  # fmt: skip
        return {"range": [x.low, x.high, kind, str(error).replace(str(marker), "{value}")]}

    def tree(self, s: Any) -> Any:
        """The structure of a call's arguments or results."""
        if type(s) is Leaf:
            return {"leaf": s.index}
        if s[0] == "value":
            return {"value": self(s[1])}
        if s[0] == "named":
            return {"named": s[1].__name__, "fields": list(s[1]._fields), "items": [self.tree(v) for v in s[2]]}
        if s[0] == "data":
            raise TypeError(f"an object of the dataclass {s[1].__name__}, which a file can't hold; give its tensors")
        if s[0] == "dict":
            name = s[1].__name__ if s[1] in _DICTS.values() else "dict"
            return {"dict": name, "items": [[self(k), self.tree(v)] for k, v in s[2]]}
        return {"seq": "list" if s[0] is list else "tuple", "items": [self.tree(v) for v in s[1]]}


class Reader:
    """JSON to values, every place in memory checked against the size of its storage (``sizes``, in bytes)."""

    def __init__(self, layouts: list[Any], sizes: list[int]):
        import numtorch

        self.sizes = sizes
        self.layouts = []
        for shape, strides, name in layouts:
            d = getattr(numtorch, name, None)
            if not isinstance(d, dtype) or len(shape) != len(strides) or min(shape, default=0) < 0:
                raise TraceFileError(f"jit.load: the file names an impossible layout: {shape}, {strides}, {name!r}")
            self.layouts.append(layout(tuple(shape), tuple(strides), d))

    def __call__(self, x: Any) -> Any:
        """Any value."""
        if isinstance(x, list):
            return [self(v) for v in x]
        if not isinstance(x, dict):
            return x
        ((tag, v),) = x.items()
        if tag == "r":
            return self.ref(v)
        if tag == "t":
            return tuple([self(item) for item in v])
        if tag == "live":
            return LiveNumber(v)
        return _READERS[tag](self, v)

    def ref(self, v: Any) -> Ref:
        """A place in memory; ``storage`` is the storage's number."""
        storage, offset, number = v
        la = self.layouts[number]
        low, high = extent(la.shape, la.strides)
        if offset + low < 0 or (offset + high + 1) * la.itemsize > self.sizes[storage]:
            raise TraceFileError(f"jit.load: the file names memory outside of storage {storage}: {offset}, {la}")
        return Ref(storage, offset, la)

    def tree(self, s: Any) -> Any:
        """The structure of arguments or results."""
        if "leaf" in s:
            return Leaf(s["leaf"])
        if "value" in s:
            return ("value", self(s["value"]))
        if "named" in s:
            kind = getattr(return_types, s["named"], None) if s["named"] in return_types.__all__ else None
            if kind is None or list(kind._fields) != s["fields"]:
                kind = collections.namedtuple(s["named"], s["fields"])
            return ("named", kind, tuple([self.tree(v) for v in s["items"]]))
        if "dict" in s:
            items = tuple([(self(k), self.tree(v)) for k, v in s["items"]])
            return ("dict", _DICTS[s["dict"]], items, None)
        return (list if s["seq"] == "list" else tuple, tuple([self.tree(v) for v in s["items"]]))


class LiveNumber(int):
    """The number of an option that each replay reads anew."""


def _dtype(reader: Reader, name: str) -> dtype:
    import numtorch

    found = getattr(numtorch, name, None)
    if not isinstance(found, dtype):
        raise TraceFileError(f"jit.load: the file names an unknown dtype: {name!r}")
    return found


_ERRORS = {"IndexError": IndexError, "ValueError": ValueError, "RuntimeError": RuntimeError}


def _range(reader: Reader, v: Any) -> RangeCheck:
    low, high, kind, text = v
    error = _ERRORS[kind]
    return RangeCheck(low, high, lambda value: error(text.replace("{value}", str(value))))


_READERS: dict[str, Callable[[Reader, Any], Any]] = {
    "f": lambda reader, v: float(v),
    "size": lambda reader, v: Size(v),
    "d": lambda reader, v: {reader(k): reader(item) for k, item in v},
    "b": lambda reader, v: base64.b64decode(v),
    "dtype": _dtype,
    "la": lambda reader, v: reader.layouts[v],
    "slice": lambda reader, v: slice(*map(reader, v)),
    "range": _range,
}
