"""How single entries are cut along their first dimension: which operands are cut with the results, and the part's own plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import gcd
from typing import Any

from ...ops.launch import Launch, twin
from ...ops.matmul import bind
from ...shape import expand_strides, layout
from ..record import Entry, Ref
from .heads import attention
from .prepack import convolution
from .tails import joined, tail_of
from .work import can_replan, copy_of, replaced_plan, replanned, writes

Cut = tuple[int, list[int]]  # elements of the first dimension, numbers of the operands that are cut too


def narrowed(r: Ref, parts: int) -> Ref:
    """The first part of a tensor."""
    la = r.layout
    return Ref(r.storage, r.offset, layout((la.shape[0] // parts, *la.shape[1:]), la.strides, la.dtype, la.device))


def step(r: Ref, parts: int) -> int:
    """Bytes from one part of a tensor to the next."""
    return r.layout.shape[0] // parts * r.layout.strides[0] * r.layout.itemsize


def confined(r: Ref) -> bool:
    """Whether part number i of a tensor is in part number i of its memory, for any number of parts."""
    la = r.layout
    stride = la.strides[0]
    inner = sum((n - 1) * s for n, s in zip(la.shape[1:], la.strides[1:]))
    whole = stride * la.shape[0] * la.itemsize == getattr(r.storage, "nbytes", -1)
    return whole and min(la.strides) >= 0 and r.offset + inner < stride


def cut_of(e: Entry) -> Cut | None:
    """How an entry can be cut; None if its parts are not independent."""
    if e.tail is not None:
        return _with_tail(e)
    if not e.outputs or any(not r.layout.shape or r.layout.device != "cpu" for r in e.outputs):
        return None
    n = e.outputs[0].layout.shape[0]
    if n < 2 or any(r.layout.shape[0] != n for r in e.outputs):
        return None
    found = _elementwise(e, n) if e.plan is not None else _kernel(e, n)
    if found is None:
        return None
    return None if _overlap(e, found) else (n, found)


def _overlap(e: Entry, chosen: list[int]) -> bool:
    tensors = operands(e)
    mine, shared = ({id(r.storage) for k, r in enumerate(tensors) if (k in chosen) == wanted} for wanted in (True, False))
    return bool(mine & shared or writes(e) & shared)


def _with_tail(e: Entry) -> Cut | None:
    """How a product and its tail can be cut alike; their first dimensions may differ (rows, or examples of so many rows)."""
    host, chain = cut_of(e.tail.host), cut_of(e.tail.chain)
    if host is None or chain is None:
        return None
    tensors = operands(e.tail.host)
    kept = [k for k, r in enumerate(operands(e.tail.chain)) if not _is_product(e, r)]
    chosen = [*host[1], *[len(tensors) + i for i, k in enumerate(kept) if k in chain[1]]]
    return None if _overlap(e, chosen) else (gcd(host[0], chain[0]), chosen)


def _is_product(e: Entry, r: Ref) -> bool:
    return r.storage is e.tail.host.outputs[0].storage


def operands(e: Entry) -> list[Ref]:
    """The tensors among an entry's operands, as they are numbered here; of a tail without the product's result."""
    if e.tail is not None:
        return [*operands(e.tail.host), *[r for r in operands(e.tail.chain) if not _is_product(e, r)]]
    return [r for r in (e.inputs if e.plan is not None else e.args) if isinstance(r, Ref)]


def tensors(e: Entry) -> list[Ref]:
    """All tensors of an entry in an order that is the same for its parts."""
    if e.tail is not None:
        return [*tensors(e.tail.host), *tensors(e.tail.chain)]
    return [*e.outputs, *operands(e)]


def _elementwise(e: Entry, n: int) -> list[int] | None:
    program = e.plan.program
    shape = e.outputs[0].layout.shape
    if program.uses_index or not e.outputs[0].layout.numel:
        return None
    found = []
    for k, r in enumerate(operands(e)):
        same = len(r.layout.shape) == len(shape) and r.layout.shape[0] == n
        if same:
            found.append(k)
    return found


def _kernel(e: Entry, n: int) -> list[int] | None:
    name = e.name.removesuffix(" (packed)")
    rule = RULES.get(name.removesuffix("+relu"))
    if rule is None or len(e.launches or ()) != 1 or (name == e.name and not can_replan(e)):
        return None
    found = rule(e)
    tensors = operands(e)
    return None if found is None or any(tensors[k].layout.shape[0] != n for k in found) else found


def _first(e: Entry) -> list[int]:
    return [0]


def _matmul(e: Entry) -> list[int] | None:
    a, b = e.args[0].layout, e.args[1].layout
    rank = len(e.outputs[0].layout.shape)
    if rank == 2:
        return [0]
    return [k for k, la in enumerate((a, b)) if len(la.shape) == rank and la.shape[0] == e.outputs[0].layout.shape[0]]


def _softmax(e: Entry) -> list[int] | None:
    return [0] if e.attrs["dim"] not in (0, -len(e.args[0].layout.shape)) else None


def _sum(e: Entry) -> list[int] | None:
    return None if 0 in e.attrs["dims"] else [0]


def _layer_norm(e: Entry) -> list[int] | None:
    return [0] if e.attrs["center"] else None


RULES: dict[str, Callable[[Entry], list[int] | None]] = {
    "matmul": _matmul, "convolution": _first, "max_pool_values": _first, "layer_norm": _layer_norm, "softmax": _softmax,
    "log_softmax": _softmax, "sum": _sum, "attention": attention, "attention_backward": attention,
}  # fmt: skip


def part_of(e: Entry, cut: Cut, parts: int) -> Entry | None:
    """The entry that computes the first of ``parts`` parts; None if another kernel would, whose bits may differ."""
    if e.tail is not None:
        halves = [part_of(x, cut_of(x), parts) for x in (e.tail.host, e.tail.chain)]  # type: ignore[arg-type]
        found = tail_of(*halves) if None not in halves else None  # type: ignore[arg-type]
        return None if found is None else joined(found, 1)
    chosen = {id(r) for k, r in enumerate(operands(e)) if k in cut[1]}
    outputs = [narrowed(r, parts) for r in e.outputs]
    if e.plan is not None:
        return _part_of_elementwise(e, outputs, chosen, parts)
    args = [narrowed(r, parts) if id(r) in chosen else r for r in e.args]
    if is_packed_convolution(e):  # tiles may differ, the order of sums does not
        found = convolution(e, outputs[0], args[0], e.inputs[1])
        return None if found is None else found[1]
    if e.name.endswith("(packed)"):
        made = _packed(e, outputs, args)
    else:
        made = replanned(e, e.op, outputs, args, e.attrs or {})
        made.name = e.name
    (one,), (whole,) = made.launches or (None,), e.launches or (None,)
    return made if one is not None and _same_kernel(one, whole) else None


def is_packed_convolution(e: Entry) -> bool:
    """Whether an entry is a convolution whose weights were packed before."""
    name = e.name if e.tail is None else e.tail.host.name
    return name.startswith("convolution") and name.endswith("(packed)")


def _same_kernel(a: Launch, b: Launch) -> bool:
    return a.env == b.env and (a.kernel is b.kernel or (type(a.kernel) is tuple and a.kernel == b.kernel))


def _packed(e: Entry, outputs: Sequence[Ref], args: Sequence[Any]) -> Entry:
    a, panels, bias = args[0], e.inputs[1], args[2] if len(args) > 2 else None
    (m, k), n = a.layout.shape, outputs[0].layout.shape[-1]
    relu = bool((e.attrs or {}).get("relu"))
    plan = twin("cpu", "matmul", "packed_plan")(m, n, k, tuple(a.layout.strides), a.layout.dtype.name, bias is not None, relu)
    made = copy_of(e)
    made.outputs, made.args, made.inputs = list(outputs), args, [x for x in (a, panels, bias) if x is not None]
    made.launches = [bind(plan, c=outputs[0], a=a, b=panels, bias=0 if bias is None else bias)]
    return made


def _part_of_elementwise(e: Entry, outputs: list[Ref], chosen: set[int], parts: int) -> Entry:
    made = copy_of(e)
    made.outputs = outputs
    made.inputs = [narrowed(r, parts) if id(r) in chosen else r for r in e.inputs]
    shape = outputs[0].layout.shape
    strides = [r.layout.strides for r in outputs]
    tensors = [made.inputs[i].layout for i in e.plan.tensors]
    strides += [expand_strides(la.shape, la.strides, shape) for la in tensors]
    made.plan = replaced_plan(e.plan, outputs=tuple(r.layout for r in outputs), sizes=(shape, tuple(strides)), chunks=1)
    return made
