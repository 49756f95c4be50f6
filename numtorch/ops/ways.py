"""Ways: what an op does with operands of certain layouts, as a recipe for one native call that makes its result.

A ``Way`` holds what an elementwise op does with operands of certain layouts (or types, for numbers) on the CPU in one
thread: the recipe of the kernel call, and what its node saves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..memo import Memo
from ..storage import SMALL, Storage
from . import launch as launching
from .declare import empty_like_layout


class Way:
    """What an op does with operands of certain layouts."""

    __slots__ = ("direct", "layout", "metas", "op", "out_metas", "plan", "recipe", "saves", "small", "tensors")

    def __init__(self, op: Any, plan: Any, args: Sequence[Any]):
        from ..kernels.factory import recipe

        la = plan.alone
        self.op, self.layout, self.tensors = op, la, plan.tensors
        self.plan = plan  # keeps alive what its words point to
        self.small = la.numel * la.itemsize <= SMALL
        places = {i: k + 1 for k, i in enumerate((*plan.tensors, *plan.scalars))}
        first = len(plan.tensors) + 1
        for k, i in enumerate(plan.scalars):
            places[i] = first + len(plan.words) + k
        described = [
            (a._layout, a._layout.itemsize, places[i]) if hasattr(a, "_layout") else (None, 0, places[i])
            for i, a in enumerate(args)
        ]
        image = [0] * first + list(plan.words) + [0] * len(plan.scalars)
        if self.small:
            self.recipe = recipe(plan.address, la, la.numel * la.itemsize, described, image)
        else:
            self.recipe = recipe(plan.address, None, 0, [(la, la.itemsize, 0), *described], image)
        # Whether an operator of tensors may take it without asking further.
        self.direct = self.small and hasattr(args[0], "_layout") and args[0]._layout.dtype.category == 2
        self.metas = tuple([a._layout if hasattr(a, "_layout") else None for a in args])
        self.out_metas = (la,)
        self.saves: dict[tuple[bool, ...], Saves] = {}

    def run(self, *args: Any) -> Any:
        """The result for operands of these layouts."""
        if self.small:
            return make(self.recipe, *args)
        out = empty_like_layout(self.layout)
        make(self.recipe, out, *args)
        return out


def update_recipe(plan: Any, tensors: Sequence[Any], args: Sequence[Any]) -> Any:
    """The recipe of an op that writes into given tensors, for ``make(recipe, *tensors, *args)``; None if it has none."""
    from ..kernels.driver import MAX_WORDS
    from ..kernels.factory import recipe

    operands = [*tensors, *[args[i] for i in plan.tensors]]
    if not plan.address or plan.chunks != 1 or any(t._layout.device != "cpu" for t in operands):
        return None
    pointers = len(operands)
    words = pointers + len(plan.words) + len(plan.scalars)
    if words > MAX_WORDS or any(type(args[i]) not in (float, int) for i in plan.scalars):
        return None
    places = {i: len(tensors) + k for k, i in enumerate(plan.tensors)}
    places |= {i: pointers + len(plan.words) + k for k, i in enumerate(plan.scalars)}
    described = [(t._layout, t._layout.itemsize, k) for k, t in enumerate(tensors)]
    for i, a in enumerate(args):
        is_tensor = hasattr(a, "_layout")
        described.append((a._layout if is_tensor else None, a._layout.itemsize if is_tensor else 0, places[i]))
    image = [0] * pointers + list(plan.words) + [0] * len(plan.scalars)
    made = recipe(plan.address, None, 0, described, image)
    made.plan = plan  # keeps alive what its words point to
    return made


class Saves:
    """What a node keeps when certain operands need gradients, and how gradients are made of it."""

    __slots__ = ("backs", "checked", "names", "out", "way", "which")

    def __init__(self, way: Way, mask: tuple[bool, ...]):
        op = way.op
        inputs, outputs = op._what_to_save(mask)
        self.way = way
        self.names = dict(inputs) | {n: len(mask) for n, _ in outputs}
        kept = {i for _, i in inputs}
        self.which = tuple([i in kept for i in range(len(mask))])
        self.out = bool(outputs)
        self.checked = tuple([i for i in kept if i in way.tensors])
        self.backs: dict[Any, Any] = {}  # layout of the gradient -> per operand None, "g" or (way, its operands)


def learn(op: Any, key: Any, args: Sequence[Any]) -> None:
    """Remember the short way for operands that the op has just had, if there is one."""
    plan = op._plans.get(key)
    if plan is not None and plan.alone is not None and plan.alone.device != "cpu":
        from ..cuda.ways import way

        found = way(op, plan, args)
        if found is not None:
            _remember(op, key, found)
        return
    if plan is None or plan.alone is None or not plan.address or plan.chunks != 1:
        return
    if any(type(args[i]) not in (float, int) for i in plan.scalars) or len(plan.words) + len(args) > 60:
        return
    if any(args[i]._layout.device != "cpu" for i in plan.tensors):
        return
    _remember(op, key, Way(op, plan, args))


def _remember(op: Any, key: Any, way: Any) -> None:
    op._ways.note(key, way)


def key_of(args: Sequence[Any]) -> tuple:
    """What an op finds its plans and ways by: layouts of tensors, types of numbers."""
    return tuple([a._layout if hasattr(a, "_layout") else type(a) for a in args])


_empties = Memo()  # recipes of uninitialised tensors by layout


def empty(la: Any) -> Any:
    """A new tensor of a layout on the CPU, uninitialised."""
    found = _empties.get(la)
    if found is None:
        if la.numel * la.itemsize > SMALL:
            return empty_like_layout(la)
        from ..kernels.factory import recipe

        found = _empties.note(la, recipe(0, la, la.numel * la.itemsize, (), (0,)))
    return make(found)


def _plain_make(recipe: Any, *arguments: Any) -> Any:
    """``make(recipe, *arguments)``: what the native function does, in Python."""
    block = list(recipe.image)
    for a, (la, itemsize, place) in zip(arguments, recipe.arguments, strict=True):
        if la is None:
            block[place] = a
        else:
            block[place] = a.ptr if type(a) is Storage else a._storage.ptr + a._offset * itemsize
    out = None
    if recipe.layout is not None:
        out = empty_like_layout(recipe.layout)
        block[0] = out._storage.ptr
    if recipe.address:
        (launching._launch or launching.driver())(recipe.address, 1, *block)
    return out


def _choose(recipe: Any, *arguments: Any) -> Any:
    """The first ``make`` of the process: takes the native function from then on, where there is one."""
    global make
    from .._tensor import Tensor
    from ..kernels.factory import factory
    from ..nn.parameter import Parameter

    make = factory(Tensor, Parameter, Storage, "cpu", _plain_make)
    return make(recipe, *arguments)


make: Any = _choose  # make(recipe, *arguments): the result that a recipe describes
