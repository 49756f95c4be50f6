"""The checks that are made of every entry of PyTorch's operator database, each by a category's name."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from opinfo.carry import DTYPES, Carrier, Skip, counterpart, mapped, relaid, tensors
from opinfo.compare import Answer, answers, array, compare_gradients, cotangents, gradients, pair, results

import numtorch

RANDOM = set("""bernoulli cauchy exponential geometric log_normal multinomial normal rand_like randint randint_like randn randn_like
    uniform empty empty_like empty_permuted empty_strided new_empty new_empty_strided resize_ resize_as_ nn.functional.dropout
    nn.functional.dropout2d nn.functional.dropout3d nn.functional.alpha_dropout nn.functional.feature_alpha_dropout nn.functional.rrelu
    nn.functional.fractional_max_pool2d nn.functional.fractional_max_pool3d rand svd_lowrank pca_lowrank
    nn.functional.scaled_dot_product_attention nn.functional.multi_head_attention_forward""".split())
# Vectors that are unique up to a sign or a rotation.
NOT_UNIQUE = set("linalg.eigh linalg.svd svd svd_lowrank pca_lowrank linalg.eig".split())
# Tuples of another make, for which there is no out=.
NO_OUT = {"histogramdd", "nonzero", "empty", "zeros", "ones", "full"}
LAYOUTS = ("strided", "transposed", "expanded")
Found = Iterator[tuple[str, str | None]]


class Call:
    """A sample's arguments, for PyTorch and for numtorch."""

    def __init__(self, op: Any, sample: Any, change: Callable = lambda t: t.detach().clone().requires_grad_(t.requires_grad)):
        self.op = op
        self.carrier = Carrier()
        args = (sample.input, *sample.args)
        self.args, self.kwargs = mapped(list(args), change), mapped(dict(sample.kwargs), change)
        for name in ("device", "layout", "pin_memory"):
            self.kwargs.pop(name, None)
        self.mine, self.named = self.carrier.value(self.args), self.carrier.value(self.kwargs)

    @property
    def text(self) -> str:
        shown = [*self.args, *(f"{k}={short(v)}" for k, v in self.kwargs.items())]
        return f"({', '.join(v if isinstance(v, str) else short(v) for v in shown)})"[:160]

    def run(self, theirs: Any, ours: Any, **more: tuple[Any, Any]) -> tuple[Answer, Answer]:
        """Both answers; ``more`` are keyword arguments for each side."""
        seeded()
        a = Answer(lambda: theirs(*self.args, **self.kwargs, **{k: v[0] for k, v in more.items()}))
        return a, Answer(lambda: ours(*self.mine, **self.named, **{k: v[1] for k, v in more.items()}))


def short(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(short(v) for v in value)}]"
    return repr(value)[:40]


def seeded() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def samples(op: Any, dtype: torch.dtype, requires_grad: bool, most: int) -> list[Any]:
    """Some of an entry's samples, spread over the list."""
    seeded()
    found = list(op.sample_inputs("cpu", dtype, requires_grad=requires_grad, set_seed=False))
    if len(found) <= most:
        return found
    start = zlib.crc32(op.full_name.encode()) % max(1, len(found) // most)
    return [found[(start + k * len(found) // most) % len(found)] for k in range(most)]


def main_dtype(op: Any) -> torch.dtype:
    return next((d for d in (torch.float32, torch.float64, torch.int64, torch.bool) if d in op.dtypes), torch.float32)


def differentiable(op: Any, dtype: torch.dtype) -> bool:
    return op.supports_autograd and dtype in op.supported_backward_dtypes("cpu")


def calls(op: Any, dtype: torch.dtype, requires_grad: bool, most: int, **changes: Any) -> Iterator[Call]:
    """The calls that have a counterpart."""
    for sample in samples(op, dtype, requires_grad, most):
        try:
            yield Call(op, sample, **changes)
        except Skip:
            continue


def with_values(op: Any) -> bool:
    return op.name not in RANDOM


def layouts(op: Any, most: int = 2) -> Found:
    """Inputs with strides, offsets and expanded dimensions: results and first derivatives."""
    dtype, ours = main_dtype(op), counterpart(op)
    grad = differentiable(op, dtype)
    for how in LAYOUTS:
        for call in calls(op, dtype, grad, most, change=lambda t, how=how: relaid(t, how)):
            a, b = call.run(op.op, ours)
            if a.error is not None and how == "expanded":
                continue
            found = answers(a, b, with_values(op) and op.name not in NOT_UNIQUE)
            if found is None and a.error is None and with_values(op) and op.name not in NOT_UNIQUE:
                for k, (t, m) in enumerate(call.carrier.pairs.values()):
                    found = found or pair(t.detach(), m.detach(), True, f"argument {k} after the call")
                found = found or gradients(a.result, b.result, call.carrier)
            yield f"{how} {call.text}", found


def _same_kind(want: Any, make: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    return make(want) if isinstance(want, torch.Tensor) else tuple(make(w) for w in want)


def _wrong_dtype(t: torch.Tensor) -> torch.Tensor:
    return torch.empty(t.shape, dtype=torch.int64 if t.is_floating_point() else torch.float32)


OUTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "right": lambda t: torch.zeros(t.shape, dtype=t.dtype),
    "strided": lambda t: relaid(torch.zeros(t.shape, dtype=t.dtype), "strided"),
    "empty": lambda t: torch.zeros(0, dtype=t.dtype),
    "another shape": lambda t: torch.zeros((*t.shape, 2), dtype=t.dtype),
    "another dtype": _wrong_dtype,
    "wider dtype": lambda t: torch.empty(t.shape, dtype=torch.float64),
    "requires grad": lambda t: torch.zeros(t.shape, dtype=t.dtype).requires_grad_(t.is_floating_point()),
}


def out(op: Any, most: int = 1) -> Found:
    """``out=`` of the right kind, of another shape, of another dtype, and requiring grad."""
    if not op.supports_out:
        return
    ours = counterpart(op)
    for sample in samples(op, main_dtype(op), False, most):
        want = Answer(lambda sample=sample: op.op(sample.input, *sample.args, **sample.kwargs))
        if want.error is not None or not tensors(want.result, torch.Tensor) or op.name in NO_OUT:
            continue
        for how, make in OUTS.items():
            try:
                call = Call(op, sample)
                place = _same_kind(want.result, make)
                given = call.carrier.value(place)
            except Skip:
                continue
            a, b = call.run(op.op, ours, out=(place, given))
            found = answers(a, b, with_values(op) and op.name not in NOT_UNIQUE)
            if found is None and a.error is None:
                found = _written(a, b, given, op, place, how == "strided")
            yield f"out {how} {call.text}", found


def _written(a: Answer, b: Answer, given: Any, op: Any, place: Any, strided: bool) -> str | None:
    for w, g, r in zip(tensors(place, torch.Tensor), tensors(given, numtorch.Tensor), tensors(b.result, numtorch.Tensor)):
        if r is not g:
            return "identity: the result is not out"
        if strided and tuple(w.stride()) != tuple(g.stride()):
            return f"strides: out has {g.stride()}, not {w.stride()}"
    if a.resized != b.resized:
        return f"warning: PyTorch {'warns' if a.resized else 'does not warn'} of the resized out"
    return results(place, given, with_values(op) and op.name not in NOT_UNIQUE, "out")


def methods(op: Any, most: int = 2) -> Found:
    """``x.op(...)``."""
    name = op.name.split(".")[-1]
    theirs = op.method_variant or (getattr(torch.Tensor, op.name, None) if "." not in op.name else None)
    if theirs is None or not callable(theirs) or getattr(theirs, "__name__", "") == "<lambda>":
        return
    name = getattr(theirs, "__name__", name)
    for call in calls(op, main_dtype(op), False, most):
        if not isinstance(call.args[0], torch.Tensor):
            continue
        a, b = call.run(theirs, lambda x, *r, **k: getattr(x, name)(*r, **k))
        if a.error is None:
            yield f".{name} {call.text}", answers(a, b, with_values(op) and op.name not in NOT_UNIQUE)


def in_place(op: Any, most: int = 2) -> Found:
    """``x.op_(...)`` on a whole tensor and on a view of another, with history; and on a leaf that requires grad."""
    theirs = op.inplace_variant or getattr(torch.Tensor, op.name + "_", None)
    name = getattr(theirs, "__name__", "<lambda>")
    if theirs is None or "." in op.name or name == "<lambda>" or not name.endswith("_"):
        return
    dtype = main_dtype(op)
    grad = differentiable(op, dtype)
    for sample in samples(op, dtype, grad, most):
        for how in ("whole", "view", "leaf"):
            try:
                call = Call(op, sample)
            except Skip:
                continue
            if isinstance(call.args[0], torch.Tensor) and (how != "leaf" or call.args[0].requires_grad):
                yield f".{name} {how} {call.text}", _changed(op, call, name, how)


def _target(x: Any, how: str) -> tuple[Any, Any]:
    """What is changed in place, and what is looked at afterwards."""
    if how == "leaf":
        return x, x
    base = x * 1 if x.dtype not in (torch.bool, numtorch.bool) else x.clone()
    if how == "view" and base.ndim:
        big = base[..., None].expand(*base.shape, 2).clone()
        return big[..., 1], big
    return base, base


def _changed(op: Any, call: Call, name: str, how: str) -> str | None:
    def change(x: Any, *rest: Any, **named: Any) -> Any:
        target, whole = _target(x, how)
        before = target._version
        result = getattr(target, name)(*rest, **named)
        return whole, result is target, target._version - before

    a, b = call.run(change, change)
    found = answers(Answer(lambda: a.result[0]) if a.error is None else a, Answer(lambda: b.result[0]) if b.error is None else b,
                    with_values(op))  # fmt: skip
    if found or a.error is not None:
        return found
    if not b.result[1] and a.result[1]:
        return "identity: the result is not the tensor"
    if bool(a.result[2]) != bool(b.result[2]):
        return f"version: rose by {b.result[2]}, in PyTorch by {a.result[2]}"
    return gradients(a.result[0], b.result[0], call.carrier) if with_values(op) else None


def second(op: Any, most: int = 2) -> Found:
    """Second derivatives in float64, of the inputs and of the cotangents."""
    if not op.supports_gradgrad or torch.float64 not in op.supported_backward_dtypes("cpu") or op.name in RANDOM | {"empty_like"}:
        return
    ours = counterpart(op)
    for sample in samples(op, torch.float64, True, most):
        try:
            call = Call(op, sample)
        except Skip:
            continue
        a, b = call.run(op.op, ours)
        if a.error is not None or b.error is not None:
            yield f"second {call.text}", answers(a, b)
            continue
        answered, found = _twice(call, sample.output_process_fn_grad, a.result, b.result)
        if answered:
            yield f"second {call.text}", found


def _twice(call: Call, unique: Callable, theirs: Any, ours: Any) -> tuple[bool, str | None]:
    """Whether PyTorch differentiates twice, and how numtorch's second derivatives differ."""
    pairs = call.carrier.pairs.values()
    want = Answer(lambda: _second(torch, unique(theirs), [p[0] for p in pairs]))
    have = Answer(lambda: _second(numtorch, unique(ours), [p[1] for p in pairs]))
    if want.error is not None or have.error is not None:
        return want.error is None, f"{have.kind}: {have.error}"
    return True, compare_gradients(want.result, have.result, "second")


def _second(library: Any, result: Any, given: list[Any]) -> list[Any]:
    outs = [t for t in tensors(result, library.Tensor) if t.requires_grad]
    leaves = [t for t in given if t.requires_grad]
    if not outs or not leaves:
        return []
    g = [library.tensor(array(s), requires_grad=True) for s in cotangents([_like(o) for o in outs], 2)]
    first = [t for t in library.autograd.grad(outs, leaves, g, create_graph=True, allow_unused=True) if t is not None]
    first = [t for t in first if t.requires_grad]
    if not first:
        return []
    h = [library.tensor(array(s)) for s in cotangents([_like(o) for o in first], 3)]
    return list(library.autograd.grad(first, leaves + g, h, allow_unused=True))


def _like(t: Any) -> torch.Tensor:
    return t if isinstance(t, torch.Tensor) else torch.zeros(tuple(t.shape), dtype=getattr(torch, t.dtype.name))


def dtypes(op: Any, most: int = 1, chosen: tuple[torch.dtype, ...] = tuple(DTYPES)) -> Found:
    """Every dtype: values and dtypes of results where PyTorch computes, and the exception where it does not."""
    ours = counterpart(op)
    for dtype in chosen:
        if dtype in op.dtypes:
            grad = dtype in (torch.float16, torch.bfloat16) and differentiable(op, dtype)
            for call in calls(op, dtype, grad, most):
                a, b = call.run(op.op, ours)
                found = answers(a, b, with_values(op) and op.name not in NOT_UNIQUE)
                if grad and found is None and a.error is None and with_values(op):
                    found = gradients(a.result, b.result, call.carrier)
                yield f"{str(dtype)[6:]} {call.text}", found
        else:
            first = main_dtype(op)
            for call in calls(op, first, False, most, change=lambda t, f=first, d=dtype: t.detach().to(d) if t.dtype is f else t.detach()):
                a, b = call.run(op.op, ours)
                yield f"{str(dtype)[6:]} (refused) {call.text}", answers(a, b, with_values(op))


def errors(op: Any, most: int = 10**6) -> Found:
    """PyTorch's declared bad inputs: its exception class."""
    if op.error_inputs_func is None:
        return
    ours = counterpart(op)
    seeded()
    for bad in list(op.error_inputs("cpu"))[:most]:
        try:
            call = Call(op, bad.sample_input, change=lambda t: t)
        except Skip:
            continue
        a, b = call.run(op.op, ours)
        if a.error is None:
            continue
        yield f"error {call.text}", answers(a, b)


def nodes(op: Any, most: int = 2) -> Found:
    """What autograd's nodes are called."""
    dtype, ours = main_dtype(op), counterpart(op)
    for call in calls(op, dtype, True, most) if differentiable(op, dtype) else ():
        a, b = call.run(op.op, ours)
        if a.error is None and b.error is None:
            want, have = _node_names(a.result, torch), _node_names(b.result, numtorch)
            yield f"nodes {call.text}", None if want == have else f"names: {have}, not {want}"


def _node_names(result: Any, library: Any) -> list[str]:
    return [t.grad_fn.name() if t.grad_fn is not None else "" for t in tensors(result, library.Tensor)]


CHECKS: dict[str, Callable[..., Found]] = {
    "layouts": layouts, "out": out, "methods": methods, "in_place": in_place, "second": second, "dtypes": dtypes, "errors": errors,
    "nodes": nodes,
}  # fmt: skip
