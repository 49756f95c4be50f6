"""``save`` and ``load``: a traced function with its weights in one file."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

from .._tensor import Tensor
from ..autograd.mode import state
from ..creation import zeros_like
from ..library.known import Own
from ..nn.parameter import Parameter
from ..storage import Storage
from .file import TraceFileError, read, write
from .loaded import Loaded
from .opnames import UnknownOp, op_of
from .path import Path, record_path
from .portable import describe
from .record import RangeCheck, Untraceable
from .stored import StoredPath
from .trace import Traced
from .values import Reader


def save(traced: Traced, path: Any) -> None:
    """Write a traced function, all its recorded paths, and the tensors it holds to a file that ``load`` reads.

    The file replaces an older one in one step. Optimizer state, gradients, learning rates and the random generator's state
    are part of it, so a saved training step goes on where it was.

    Raises:
        TypeError: it has recorded nothing, or holds what no file can (the message names it).

    Example:
        >>> import numtorch, tempfile, os
        >>> double = numtorch.jit.trace(lambda x: x * 2, numtorch.ones(2))
        >>> path = os.path.join(tempfile.mkdtemp(), "double.trace")
        >>> numtorch.jit.save(double, path)
        >>> numtorch.jit.load(path)(numtorch.tensor([1.0, 4.0]))
        tensor([2., 8.])
    """
    if not isinstance(traced, Traced):
        raise TypeError(f"jit.save: expected a traced function, got {type(traced).__name__}; trace it first")
    paths = [b.path for b in traced.paths() if not b.stale()]
    paths += _other_gradients(traced, paths)
    description, blocks = describe(traced.__name__, paths)
    description |= {"frozen": traced._frozen, "passes": traced._passes}
    write(path, description, blocks)


def load(path: Any, *, rng: bool = True, ops: Mapping[str, Any] | None = None) -> Traced:
    """The traced function of a file: it needs neither the model's source nor the machine it was saved on.

    ``rng``: the default generator takes over the state it had when a function that draws random numbers was saved. The
    parameters are at ``.named_parameters()``, numbers such as the learning rate in ``.options``; what was frozen is frozen, and
    changes of its parameters are not seen. ``ops``: your own ops that it
    uses, by name; those of modules that were imported are found without. A file never brings code along.

    Raises:
        OSError: the file can't be read.
        TypeError: something in ``ops`` is no op of yours.
        numtorch.jit.TraceFileError: it is no trace, damaged, or from a newer numtorch.
    """
    given = dict(ops or {})
    for name, op in given.items():
        if not isinstance(op, Own):
            raise TypeError(
                f"jit.load: ops[{name!r}] is of type {type(op).__name__}; expected an op made with numtorch.elementwise,"
                " numtorch.reduction or numtorch.library.custom_op"
            )
    description, memory = read(path)
    try:
        passes, frozen = description.get("passes"), bool(description.get("frozen"))
        return Traced(_build(description, memory, rng, given), False, passes, frozen)
    except UnknownOp as error:
        raise TraceFileError(f"jit.load: {path} can't run here: {error}") from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise TraceFileError(
            f"jit.load: {path} holds a description that can't be understood ({type(error).__name__}: {error})"
        ) from error


def _other_gradients(traced: Traced, paths: list[Path]) -> list[Path]:
    """Paths that look at gradients, recorded again where these are absent (or there) the other way round.

    The first call of a training step finds no gradients, all others do: a file must hold both programs.
    """
    known = {_pattern(p) for p in paths}
    found: list[Path] = []
    for p in paths:
        owners = [t for t, _ in p.grad_reads if type(t) is not tuple]
        leaves = [Tensor._make(*r) for r in p.inputs if isinstance(r.storage, Storage)]
        if not owners or len(leaves) != len(p.inputs) or p.mode != (state.grad, state.inference):
            continue
        for t, needed in zip(leaves, p.requires):
            t._rg = needed
        before = [(t, t._grad) for t in owners]
        present = any(g is not None for _, g in p.grad_reads)
        try:
            for t in owners:
                t._grad = None if present else zeros_like(t.detach())
            other = record_path(traced.function, p.structure, leaves)
        except Untraceable:
            continue
        finally:
            for t, g in before:
                t._grad = g
        if _pattern(other) not in known:
            known.add(_pattern(other))
            found.append(other)
    return found


def _pattern(p: Path) -> tuple:
    """What tells programs of one function apart: the call's layouts, the gradients it finds, the values it reads."""
    reads = tuple((t if type(t) is tuple else id(t), g is None) for t, g in p.grad_reads)
    values = tuple(repr(g.value) if not isinstance(g.value, RangeCheck) else "" for g in p.guards)
    return repr(p.structure), tuple(r.layout for r in p.inputs), p.requires, p.mode, reads, values


class Held:
    """A tensor of a loaded function: a parameter, a buffer, optimizer state."""

    __slots__ = ("layout", "name", "of_module", "tensor")

    def __init__(self, tensor: Tensor, name: str, of_module: bool):
        self.tensor, self.name, self.of_module, self.layout = tensor, name, of_module, tensor._layout


def _build(description: dict, memory: memoryview, rng: bool, ops: Mapping[str, Own]) -> Loaded:
    rows = description["storages"]
    read = Reader(description["layouts"], [row["nbytes"] for row in rows])
    storages = [_storage(row, memory, rng) for row in rows]
    tensors = [_tensor(row, storages, read) for row in description["tensors"]]
    owners = {}
    for k, row in enumerate(description["tensors"]):
        owners.setdefault(row["storage"], (k, row["offset"]))
    for number, (k, offset) in owners.items():
        if not rows[number].get("rng"):
            storages[number] = {"kind": "tensor", "tensor": k, "offset": offset, "nbytes": rows[number]["nbytes"]}
    options = {str(name): float(value) for name, value in description["options"]}
    paths = [StoredPath(row, read) for row in description["paths"]]
    loaded = Loaded(str(description["name"]), paths, tensors, storages, options)
    loaded.ops = {id(e): op_of(e.op, ops) for p in paths for e in (*p.forward, *p.backward)}
    return loaded


def _storage(row: dict, memory: memoryview, rng: bool) -> Any:
    """Captured memory as it was saved; for other memory the row itself."""
    if row["kind"] != "captured":
        return row
    content = bytes(memory[row["at"] : row["at"] + row["nbytes"]])
    if len(content) != row["nbytes"]:
        raise TraceFileError("jit.load: the file names more memory than it holds")
    if row.get("rng"):
        from ..random import default_generator

        found = default_generator._state._storage
        if not rng:
            return found
    else:
        found = Storage(len(content))
    ctypes.memmove(found.ptr, content, len(content))
    return found


def _tensor(row: dict, storages: list[Any], read: Reader) -> Held:
    r = read.ref([row["storage"], row["offset"], row["layout"]])
    t = Tensor._make(storages[r.storage], r.offset, r.layout)
    if row["parameter"]:
        t = Parameter(t, requires_grad=row["requires_grad"])
    else:
        t._rg = bool(row["requires_grad"])
    if row["grad"] is not None:
        g = read.ref(row["grad"])
        t._grad = Tensor._make(storages[g.storage], g.offset, g.layout)
    return Held(t, row["name"], row["of_module"])
