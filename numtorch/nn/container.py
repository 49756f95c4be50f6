"""Containers of modules and parameters."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

from .._tensor import Tensor
from ._held import Held
from .module import Module, add_indent
from .parameter import Parameter


def _index(i: Any, n: int) -> int:
    """A position in a container of ``n`` items; IndexError out of range."""
    i = operator.index(i)
    if not -n <= i < n:
        raise IndexError(f"index {i} is out of range")
    return i + n if i < 0 else i


class Sequential(Module):
    """Calls modules one after the other; they are given as arguments or as an OrderedDict of names.

    Example:
        >>> import numtorch
        >>> net = numtorch.nn.Sequential(numtorch.nn.Linear(2, 3), numtorch.nn.ReLU())
        >>> tuple(net(numtorch.ones(4, 2)).shape), len(net), net[1]
        ((4, 3), 2, ReLU())
    """

    _modules: dict[str, Module]  # type: ignore[assignment]

    def __init__(self, *args: Any):
        super().__init__()
        if len(args) == 1 and isinstance(args[0], OrderedDict):
            for key, module in args[0].items():
                self.add_module(key, module)
        else:
            for i, module in enumerate(args):
                self.add_module(str(i), module)

    def _renumber(self, modules: Iterable[Module]) -> None:
        self._modules = Held({str(i): module for i, module in enumerate(modules)})

    def __getitem__(self, idx: Any) -> Any:
        if isinstance(idx, slice):
            return type(self)(OrderedDict(list(self._modules.items())[idx]))
        return next(islice(self._modules.values(), _index(idx, len(self)), None))

    def __setitem__(self, idx: int, module: Module) -> None:
        key = next(islice(self._modules.keys(), _index(idx, len(self)), None))
        setattr(self, key, module)

    def __delitem__(self, idx: Any) -> None:
        if isinstance(idx, slice):
            for key in list(self._modules)[idx]:
                delattr(self, key)
        else:
            delattr(self, next(islice(self._modules.keys(), _index(idx, len(self)), None)))
        self._renumber(list(self._modules.values()))

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __dir__(self) -> list[str]:
        return [key for key in super().__dir__() if not key.isdigit()]

    def __add__(self, other: Any) -> Sequential:
        if not isinstance(other, Sequential):
            raise ValueError(
                f"add operator supports only objects of Sequential class, but {type(other)} is given."
            )
        result = Sequential()
        for layer in chain(self, other):
            result.append(layer)
        return result

    def __iadd__(self, other: Any) -> Any:
        if not isinstance(other, Sequential):
            raise ValueError(
                f"add operator supports only objects of Sequential class, but {type(other)} is given."
            )
        return self.extend(other)

    def _factor(self, other: Any) -> int:
        if not isinstance(other, int):
            raise TypeError(f"unsupported operand type(s) for *: {type(self)} and {type(other)}")
        if other <= 0:
            raise ValueError(f"Non-positive multiplication factor {other} for {type(self)}")
        return other

    def __mul__(self, other: int) -> Sequential:
        return Sequential(*(module for _ in range(self._factor(other)) for module in self))

    __rmul__ = __mul__

    def __imul__(self, other: int) -> Any:
        once = list(self)
        for _ in range(self._factor(other) - 1):
            self.extend(once)
        return self

    def pop(self, key: int | slice) -> Module:
        """Remove and return an item."""
        item = self[key]
        del self[key]
        return item

    def append(self, module: Module) -> Any:
        """Add a module at the end; returns self."""
        self.add_module(str(len(self)), module)
        return self

    def insert(self, index: int, module: Module) -> Any:
        """Put a module before position ``index``; AssertionError if it is no Module, IndexError out of
        range.
        """
        if not isinstance(module, Module):
            raise AssertionError(f"module should be of type: {Module}")
        n = len(self)
        if not -n <= index <= n:
            raise IndexError(f"Index out of range: {index}")
        modules = list(self)
        modules.insert(index + n if index < 0 else index, module)
        self._renumber(modules)
        return self

    def extend(self, sequential: Iterable[Module]) -> Any:
        """Add all modules of another sequence at the end; returns self."""
        for layer in list(sequential):
            self.append(layer)
        return self

    def forward(self, input: Any) -> Any:
        for module in self._modules.values():
            input = module(input)
        return input


class ModuleList(Module):
    """A list of modules that are registered with the module that holds it.

    Example:
        >>> import numtorch
        >>> layers = numtorch.nn.ModuleList([numtorch.nn.Linear(2, 2) for _ in range(3)])
        >>> len(layers), len(list(layers.parameters()))
        (3, 6)
    """

    _modules: dict[str, Module]  # type: ignore[assignment]

    def __init__(self, modules: Iterable[Module] | None = None):
        super().__init__()
        if modules is not None:
            self += modules

    def __getitem__(self, idx: Any) -> Any:
        if isinstance(idx, slice):
            return type(self)(list(self._modules.values())[idx])
        return self._modules[str(_index(idx, len(self)))]

    def __setitem__(self, idx: int, module: Module) -> None:
        setattr(self, str(_index(idx, len(self))), module)

    def __delitem__(self, idx: Any) -> None:
        positions = range(len(self))[idx] if isinstance(idx, slice) else [_index(idx, len(self))]
        for k in positions:
            delattr(self, str(k))
        self._modules = Held({str(i): module for i, module in enumerate(self._modules.values())})

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __iadd__(self, modules: Iterable[Module]) -> Any:
        return self.extend(modules)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return type(self)(chain(self, other))

    def __repr__(self) -> str:
        """Runs of equal children are printed once: ``(0-2): 3 x Linear(...)``."""
        texts = [repr(item) for item in self]
        if not texts:
            return self._get_name() + "()"
        runs: list[list[Any]] = []
        for i, text in enumerate(texts):
            if runs and runs[-1][2] == text:
                runs[-1][1] = i
            else:
                runs.append([i, i, text])
        lines = [
            f"({a}): {add_indent(text, 2)}" if a == b else f"({a}-{b}): {b - a + 1} x {add_indent(text, 2)}"
            for a, b, text in runs
        ]
        return f"{self._get_name()}(\n  " + "\n  ".join(lines) + "\n)"

    def __dir__(self) -> list[str]:
        return [key for key in super().__dir__() if not key.isdigit()]

    def insert(self, index: int, module: Module) -> None:
        """Put a module before position ``index``."""
        modules = list(self)
        modules.insert(index, module)
        self._modules = Held()
        self.extend(modules)

    def append(self, module: Module) -> Any:
        """Add a module at the end; returns self."""
        self.add_module(str(len(self)), module)
        return self

    def pop(self, key: int | slice) -> Module:
        """Remove and return an item."""
        item = self[key]
        del self[key]
        return item

    def extend(self, modules: Iterable[Module]) -> Any:
        """Add all modules at the end; TypeError if they are not iterable. Returns self."""
        if not isinstance(modules, Iterable):
            raise TypeError(
                "ModuleList.extend should be called with an iterable, but got " + type(modules).__name__
            )
        for module in list(modules):
            self.append(module)
        return self


class ModuleDict(Module):
    """A dictionary of modules that are registered with the module that holds it.

    Example:
        >>> import numtorch
        >>> heads = numtorch.nn.ModuleDict({"a": numtorch.nn.Linear(2, 1), "b": numtorch.nn.Linear(2, 3)})
        >>> "a" in heads, heads["b"].out_features
        (True, 3)
    """

    _modules: dict[str, Module]  # type: ignore[assignment]

    def __init__(self, modules: Any = None):
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Module:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: str) -> bool:
        return key in self._modules

    def clear(self) -> None:
        """Remove all items."""
        self._modules.clear()

    def pop(self, key: str) -> Module:
        """Remove and return an item."""
        return self._modules.pop(key)

    def keys(self) -> Any:
        """The names."""
        return self._modules.keys()

    def items(self) -> Any:
        """The (name, module) pairs."""
        return self._modules.items()

    def values(self) -> Any:
        """The modules."""
        return self._modules.values()

    def update(self, modules: Any) -> None:
        """Add the items of a mapping or of an iterable of pairs; TypeError or ValueError for others."""
        for key, module in pairs_of("ModuleDict", modules):
            self[key] = module


def pairs_of(owner: str, values: Any) -> Iterator[tuple[str, Any]]:
    """(key, value) pairs from a mapping, a container or a list of pairs."""
    if not isinstance(values, Iterable):
        raise TypeError(
            f"{owner}s.update should be called with an iterable of key/value pairs, but got"
            f" {type(values).__name__}"
        )
    if isinstance(values, (Mapping, ModuleDict)) or hasattr(values, "items"):
        yield from values.items()  # type: ignore[union-attr]
        return
    for j, pair in enumerate(values):
        if not isinstance(pair, Iterable):
            raise TypeError(
                f"{owner} update sequence element #{j} should be Iterable; is {type(pair).__name__}"
            )
        pair = list(pair)
        if len(pair) != 2:
            raise ValueError(f"{owner} update sequence element #{j} has length {len(pair)}; 2 is required")
        yield pair[0], pair[1]


def describe_parameter(value: Any, dtype: str = "") -> str:
    """How a parameter container prints an item, by its ``dtype``'s name or that of its tensor type."""
    if isinstance(value, Tensor):
        size = "x".join(str(n) for n in value.size())
        where = "" if value.device.type == "cpu" else f" ({value.device})"
        kind = "Parameter" if isinstance(value, Parameter) else "Tensor"
        return f"{kind} containing: [{dtype or value.type()} of size {size}{where}]"
    return f"Object of type: {type(value).__name__}"
