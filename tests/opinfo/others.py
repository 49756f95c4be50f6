"""Bad inputs that PyTorch's databases declare for modules and optimizers: the same class of exception."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from opinfo.carry import Carrier, Skip, find
from opinfo.checks import seeded
from opinfo.compare import Answer
from torch.testing._internal.common_modules import ModuleErrorEnum, module_db
from torch.testing._internal.common_optimizers import optim_db

import numtorch

Found = Iterator[tuple[str, str | None]]


def modules() -> Found:
    """(what was asked, the difference or None) of every declared bad input of a module."""
    for info in module_db:
        if info.module_error_inputs_func is None:
            continue
        ours = find(numtorch, info.name)
        seeded()
        for bad in info.module_error_inputs_func(info, "cpu", torch.float32, False, True):
            try:
                yield f"{info.name} {bad.error_type.__name__}", _module(info, ours, bad)
            except Skip:
                continue


def _module(info: Any, ours: Any, bad: Any) -> str | None:
    built, given = bad.module_error_input.constructor_input, bad.module_error_input.forward_input
    carrier = Carrier()
    args, named = carrier.value(list(built.args)), carrier.value(dict(built.kwargs))
    inputs = carrier.value(list(given.args)) if given is not None else []
    more = carrier.value(dict(given.kwargs)) if given is not None else {}
    forward = bad.error_on is not ModuleErrorEnum.CONSTRUCTION_ERROR

    def call(cls: Any, a: Any, k: Any, x: Any, y: Any) -> Any:
        module = cls(*a, **k)
        return module(*x, **y) if forward else module

    want = Answer(lambda: call(info.module_cls, built.args, built.kwargs, given.args if given else (), given.kwargs if given else {}))
    have = Answer(lambda: call(ours, args, named, inputs, more))
    return _same(want, have)


def optimizers() -> Found:
    """The same of optimizers."""
    for info in optim_db:
        name = info.optim_cls.__name__
        if info.optim_error_inputs_func is None or not hasattr(numtorch.optim, name):
            continue
        for bad in info.optim_error_inputs_func("cpu", torch.float32):
            given = bad.optimizer_error_input
            carrier = Carrier()
            try:
                params = given.params
                mine = carrier.value(_plain(params))
                named = carrier.value(dict(given.kwargs))
            except Skip:
                continue
            want = Answer(lambda i=info, p=params, k=given.kwargs: i.optim_cls(p, **k))
            have = Answer(lambda n=name, p=mine, k=named: getattr(numtorch.optim, n)(p, **k))
            yield f"{name} {given.desc}", _same(want, have)


def _plain(params: Any) -> Any:
    return list(params) if hasattr(params, "__next__") else params


def _same(want: Answer, have: Answer) -> str | None:
    if want.error is None or want.kind == have.kind:
        return None
    return f"class: {want.kind} ({str(want.error)[:120]}) in PyTorch; numtorch: {have.kind} ({str(have.error)[:120]})"


if __name__ == "__main__":
    for found in (modules, optimizers):
        results = list(found())
        print(found.__name__, sum(d is None for _, d in results), len(results), *[r for r in results if r[1]], sep="\n  ")
