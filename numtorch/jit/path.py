"""One recorded way through a function, before its memory is planned.

``record_path`` runs the function twice and undoes all its effects each time: once so that state which appears at the
first call (an optimizer's buffers) exists, once to record. Storages made during the recording are replaced by ``Virtual``
ones, so a recording holds no memory; those that someone else still holds (a hidden state kept on a module) stay real.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..autograd.engine import backward as run_backward
from ..autograd.mode import state
from ..ops.launch import Launch
from ..storage import Storage
from . import tree
from .nodes import without_hooks
from .outside import watched
from .record import Entry, Guard, Recorder, Recording, Ref, Untraceable, ref
from .warming import FirstRun, warm_up


class Virtual:
    """Memory of a program that exists only while it runs."""

    __slots__ = ("nbytes",)

    def __init__(self, nbytes: int):
        self.nbytes = nbytes


class Output:
    """A result of the function: where its memory is, whether it requires grad; ``same``: an object that existed before.

    ``grad``: the how-manieth gradient that the function sets (``Path.grads``) is the same object, or -1.
    """

    __slots__ = ("cls", "grad", "is_constant", "ref", "requires_grad", "same")

    def __init__(self, r: Ref, requires_grad: bool, same: Any, cls: type, is_constant: bool = False):
        self.is_constant = is_constant  # made from Python data: in memory of the program's, copied for each call
        self.ref, self.requires_grad, self.same, self.cls, self.grad = r, requires_grad, same, cls, -1


class Path:
    """What a recording found."""

    def __init__(self) -> None:
        self.forward: list[Entry] = []
        self.backward: list[Entry] = []
        self.inputs: list[Ref] = []
        self.outputs: list[Output] = []
        self.result: Any = None
        self.guards: list[Guard] = []
        self.leaves: list[Any] = []  # ("input", number) or a captured tensor
        self.leaf_grads: list[Any] = []  # Ref or None
        self.given: list[Ref] = []  # the output gradients the backward starts from
        self.differentiable: list[int] = []  # which outputs they belong to
        self.grads: list[
            tuple[Any, Any, Any]
        ] = []  # (tensor or input number, Ref, same object or None): effects on .grad
        self.grad_reads: list[tuple[Any, Any]] = []
        self.written: dict[int, Storage] = {}
        self.constants: list[tuple[Storage, bytes]] = []
        self.captured: list[tuple[Any, Storage, int, Any]] = []
        self.recorder: Any = None
        self.structure: Any = None  # of the arguments
        self.requires: tuple[bool, ...] = ()  # which arguments required grad
        self.classes: tuple[type, ...] = ()  # of the arguments
        self.first: FirstRun | None = None  # the run before the recording, until the check
        self.mode: tuple[bool, bool] = (True, False)  # whether gradients were on, and inference mode


def _check_notes(outputs: Sequence[Any], inner: Sequence[Any], leaves: Sequence[Any]) -> None:
    """Untraceable if the function puts attributes on tensors that others see."""
    given = {id(t): tree.notes(leaf) for t, leaf in zip(inner, leaves)}
    for t in (*outputs, *inner):
        if id(t) in given and not tree.same_notes(tree.notes(t), given[id(t)]):
            raise Untraceable("it puts attributes on a tensor that it is given")
        if id(t) not in given and tree.notes(t):
            raise Untraceable("it puts attributes on a tensor that it returns")


def _kept(result: Any, known: Mapping[int, Any], args: tuple, kwargs: dict) -> dict[int, Any]:
    """Lists, dicts and objects in a result that were there before: each call gives the same ones.

    Untraceable if one is an argument's, or if tensors are in one that was there before.
    """
    found: dict[int, Any] = {}
    given: dict[int, Any] = {}
    tree.containers(result, found)
    tree.containers((args, kwargs), given)
    if not given.keys().isdisjoint(found):
        raise Untraceable("it returns a list, dict or object that it is given")
    kept = {key: x for key, x in found.items() if known.get(key) is x}
    leaves: list[Any] = []
    for x in kept.values():
        tree.flatten(x, leaves)
    if leaves:
        raise Untraceable("it returns a list, dict or object with tensors that it keeps")
    return kept


def _check_containers(structure: Any, args: tuple, kwargs: dict, given: Sequence[Any]) -> None:
    """Untraceable if the function has changed a dict, list or object that it was given."""
    leaves: list[Any] = []
    now = tree.flatten((args, kwargs), leaves)
    if list(map(id, leaves)) != list(map(id, given)) or not tree.same(now, structure):
        raise Untraceable("it changes a dict, list or object that it is given")


def _check_values(result: Any, known: Mapping[int, Any]) -> None:
    """Untraceable if a result has something in it that is new at each call and no tensor."""
    for x in tree.values(result):
        if not tree.is_lasting(x) and known.get(id(x)) is not x:
            raise Untraceable(f"it returns a new object of type {type(x).__name__}, which can't be made again without the function")


def stand_ins(leaves: Sequence[Any], captured: Mapping[int, Storage]) -> list[Any]:
    """What the recording is given for the arguments: leaves with storages of their own over the same memory.

    So what is computed from an argument is told from what is captured, also if an example is a captured tensor. Arguments
    in captured memory keep its storage: the path then holds for calls that share memory in the same way.
    """
    stands: dict[int, Storage] = {}
    found = []
    for t in leaves:
        s = t._storage
        if id(s) not in captured:
            s = stands.setdefault(id(s), Storage.external(s.ptr, s.nbytes, s, s.device))
            s.version = t._storage.version
        leaf = t.as_subclass(type(t))
        leaf._storage, leaf._rg = s, t.requires_grad
        leaf._node = leaf._base = None
        found.append(leaf)
    return found


def record_path(
    function: Callable, structure: Any, leaves: Sequence[Any], after_first: Callable[[], Any] = lambda: None, watch: bool = False
) -> Path:
    """Record one run; Untraceable if the function does what no program can hold.

    ``after_first()`` is called after the run before, of which ``watch`` keeps what it did and gave for the check.
    """
    given = stand_ins(leaves, {})
    args, kwargs = tree.unflatten(structure, given)
    with watched(given):
        captured, known, first = warm_up(function, args, kwargs, watch)
    after_first()
    _check_containers(structure, args, kwargs, given)
    del args, kwargs, given
    path = Path()
    path.first = first
    path.structure, path.requires = structure, tuple(t._rg for t in leaves)
    path.classes = tuple(type(t) for t in leaves)
    path.mode = (state.grad, state.inference)
    inner = stand_ins(leaves, captured)
    path.inputs = [ref(t) for t in inner]
    args, kwargs = tree.unflatten(structure, inner)
    start = _next_sequence()
    with Recording() as r:
        path.recorder = r
        try:
            result = function(*args, **kwargs)
            outputs: list[Any] = []
            path.result = tree.flatten(result, outputs, _kept(result, known, args, kwargs))
            _check_values(path.result, known)
            _check_notes([t for t in outputs if known.get(id(t)) is not t], inner, leaves)
            known = {id(t): t for t in outputs if known.get(id(t)) is t}
            forward = len(r.entries)
            with watched():
                _record_backward(path, r, outputs, inner, start)
            _note_effects(path, r, outputs, inner, captured, known)
        finally:
            r.roll_back()
    if r.reasons:
        raise Untraceable("; ".join(dict.fromkeys(r.reasons)))
    path.forward, path.backward = r.entries[:forward], r.entries[forward:]
    path.guards = r.guards
    if any(g.at > forward for g in path.guards):
        raise Untraceable("the backward reads values of tensors in Python")
    del result, outputs, args, kwargs, inner, known
    _virtualise(path, r)
    return path


def _next_sequence() -> int:
    from ..autograd import engine

    return next(engine._counter)


def _record_backward(path: Path, r: Recorder, outputs: list[Any], inner: list[Any], start: int) -> None:
    """Record the way from the outputs' gradients to those of the leaves."""
    if not state.grad:
        return
    wanted = [
        i for i, t in enumerate(outputs) if t._rg and t._grad_fn() is not None and t._grad_fn().seq > start
    ]
    leaves, old = _leaves([outputs[i] for i in wanted], start)
    if old:
        raise Untraceable(
            f"it uses a captured tensor that was computed from others with gradients ({old[0]!r})"
        )
    if not wanted or not leaves:
        return
    from ..creation import ones_like

    with _no_grad():
        given = [ones_like(outputs[i].detach()) for i in wanted]
    path.given = [ref(g) for g in given]
    del r.entries[len(r.entries) - len(given) :]  # the stand-in gradients are the caller's
    r.in_backward = True
    with without_hooks(leaves):
        grads = run_backward([outputs[i] for i in wanted], given, True, False, leaves, accumulate=False)
    r.in_backward = False
    numbers = {id(t): k for k, t in enumerate(inner)}
    path.leaves = [("input", numbers[id(t)]) if id(t) in numbers else t for t in leaves]
    path.leaf_grads = [None if g is None else ref(g) for g in grads]
    path.differentiable = wanted


def _no_grad() -> Any:
    from ..autograd.mode import no_grad

    return no_grad()


def _leaves(outputs: Sequence[Any], start: int) -> tuple[list[Any], list[Any]]:
    """Leaf tensors that the outputs depend on, and nodes older than the recording (which it can't go through)."""
    seen: set[int] = set()
    leaves: dict[int, Any] = {}
    old: list[Any] = []
    stack = [t._grad_fn() for t in outputs]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.seq < start:
            old.append(node)
            continue
        if getattr(node, "freed", False):
            return [], []
        if state.recorder is not None and (node.hooks or node.pre_hooks):
            state.recorder.custom()
        for edge in node.edges:
            if type(edge) is tuple:
                stack.append(edge[0])
            elif edge is not None:
                leaves[id(edge)] = edge
    return list(leaves.values()), old


def _note_effects(
    path: Path,
    r: Recorder,
    outputs: list[Any],
    inner: list[Any],
    captured: Mapping[int, Storage],
    known: Mapping[int, Any],
) -> None:
    numbers = {id(t): k for k, t in enumerate(inner)}
    own = {id(t._storage) for t in inner} - captured.keys()  # memory of arguments only
    constants = {id(t._storage) for t in r.constants}  # a caller may change them, the next call gives new ones
    made: dict[int, Output] = {}
    grads = {id(t._grad): k for k, (t, _) in enumerate(r.grads.values()) if t._grad is not None}
    for t in outputs:
        same = ("input", numbers[id(t)]) if id(t) in numbers else known.get(id(t))
        o = Output(ref(t), t._rg, same, type(t), id(t._storage) in constants)
        o.grad = grads.get(id(t), -1)
        path.outputs.append(made.setdefault(id(t), o))
    for t, before in r.grads.values():
        after = t._grad
        who = ("input", numbers[id(t)]) if id(t) in numbers else t
        path.grads.append((who, None if after is None else ref(after), after if after is before else None))
    path.grad_reads = [
        (("input", numbers[id(t)]) if id(t) in numbers else t, g) for t, g in r.grad_reads.values()
    ]
    path.written = {key: s for key, (s, _) in r.undo.items()}
    path.constants = [
        (t._storage, r.undo[id(t._storage)][1]) for t in r.constants if id(t._storage) in r.undo
    ]
    path.captured = [
        (t, t._storage, t._offset, t._layout)
        for t in r.captured.values()
        if id(t._storage) not in r.created and not (id(t._storage) in own or id(t) in numbers)
    ]


def _virtualise(path: Path, r: Recorder) -> None:
    """Replace internal storages by virtual ones, except those that somebody else still holds."""
    made = dict(r.created)
    real = {key: weakref.ref(s) for key, s in made.items()}
    stand: dict[int, Any] = {key: Virtual(s.nbytes) for key, s in made.items()}
    r.created.clear()
    r.first.clear()
    r.undo.clear()
    r.captured.clear()
    r.grads.clear()
    del made

    def moved(x: Any) -> Any:
        if isinstance(x, Ref):
            return Ref(stand.get(id(x.storage), x.storage), x.offset, x.layout)
        return type(x)(map(moved, x)) if type(x) in (tuple, list) else x

    path.given = [moved(x) for x in path.given]
    path.leaf_grads = [moved(x) for x in path.leaf_grads]
    path.grads = [(t, moved(g), same) for t, g, same in path.grads]
    path.guards = [Guard(g.at, moved(g.source), g.value) for g in path.guards]
    r.guards = []
    for o in {id(o): o for o in path.outputs}.values():
        o.ref = moved(o.ref)
    for e in (*path.forward, *path.backward):
        e.outputs = [moved(x) for x in e.outputs]
        e.inputs = [moved(x) for x in e.inputs]
        e.args, e.attrs = moved(e.args), {k: moved(v) for k, v in e.attrs.items()}
        if e.launches is not None:
            e.launches = [
                Launch(la.kernel, la.env, [moved(p) for p in la.pointers], la.words, la.units, la.cost)
                for la in e.launches
            ]
    kept = {id(v): real[key]() for key, v in stand.items()}
    survivors = {key: s for key, s in kept.items() if s is not None}
    if survivors:
        _make_real(path, survivors)


def _make_real(path: Path, survivors: dict[int, Storage]) -> None:
    """Memory that the function keeps somewhere is written where it is kept, at each replay."""

    def moved(x: Any) -> Any:
        if isinstance(x, Ref):
            return Ref(survivors.get(id(x.storage), x.storage), x.offset, x.layout)
        return type(x)(map(moved, x)) if type(x) in (tuple, list) else x

    outputs = {id(o.ref.storage) for o in path.outputs} | {
        id(g.storage) for _, g, _ in path.grads if g is not None
    }
    for key in [k for k in survivors if k in outputs]:
        del survivors[key]
    for e in (*path.forward, *path.backward):
        e.outputs = [moved(x) for x in e.outputs]
        e.inputs = [moved(x) for x in e.inputs]
        e.args, e.attrs = moved(e.args), {k: moved(v) for k, v in e.attrs.items()}
        for la in e.launches or ():
            la.pointers = [moved(p) for p in la.pointers]
    path.guards = [Guard(g.at, moved(g.source), g.value) for g in path.guards]
    for s in survivors.values():
        path.written[id(s)] = s
