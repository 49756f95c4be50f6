"""Packing: a matrix that several products share is brought into the order in which their kernel reads it, once.

    w (K, N) in any order -> panels (N / width, K, width) -> every product with w reads them as one stream

An LSTM applies the same weights at each of its steps; in a frozen trace the panels are made when the program is. So are there
the weights of convolutions: in the order of their tiles, or transformed (Winograd), which then pays for a single image.
"""

from __future__ import annotations

from typing import Any

from ...ops.constant import table
from ...ops.conv import geometry_of
from ...ops.launch import twin
from ...ops.matmul import bind
from ...shape import contiguous, layout
from ..record import Entry, Ref, ref
from .work import Work, can_replan, copy_of, packing, writes

LEAST_USES = 3  # products that share a matrix, before packing pays
LEAST_WORK = 1 << 12  # elements of that matrix
NAMES = ("matmul", "matmul+relu")


def prepack(entries: list[Entry], work: Work) -> list[Entry]:
    """Pack matrices before their first product, and let the products read the panels."""
    result = list(entries)
    for uses in _shared(result, work):
        first = result.index(uses[0])
        e = uses[0]
        pack, panels = _packing(e)
        for use in uses:
            result[result.index(use)] = _product(use, panels)
        result.insert(first, pack)
        work.note(f"{len(uses)} products at {e.line}")
    return _convolutions(result, work) if work.frozen else result


def _shared(entries: list[Entry], work: Work) -> list[list[Entry]]:
    """Groups of products with the same matrix on their right, between two changes of it."""
    open_groups: dict[Any, list[Entry]] = {}
    found: list[list[Entry]] = []
    for e in entries:
        if _fits(e):
            b = e.args[1]
            key = (id(b.storage), b.offset, id(b.layout), work.segment(e))
            if key not in open_groups:
                open_groups[key] = []
                found.append(open_groups[key])
            open_groups[key].append(e)
        changed = writes(e)
        for key in [k for k in open_groups if k[0] in changed]:
            del open_groups[key]
    return [g for g in found if len(g) >= (1 if id(g[0].args[1].storage) in work.frozen else LEAST_USES)]


def _fits(e: Entry) -> bool:
    """Whether an entry is a product of a matrix of more than one row by one that can be packed."""
    if e.name not in NAMES or len(e.launches or ()) != 1 or len(e.args) < 2:
        return False
    a, b, bias = e.args[0], e.args[1], e.args[2] if len(e.args) > 2 else None
    kind = a.layout.dtype.name
    if kind not in ("float32", "float64") or a.layout.device != "cpu" or len(a.layout.shape) != 2 or len(b.layout.shape) != 2:
        return False
    if bias is not None and bias.layout.strides[-1:] != (1,):
        return False
    (rows, _), (_, columns) = a.layout.shape, b.layout.shape
    width = twin("cpu", "matmul", "panel_width")(kind)
    return rows > 1 and columns % width == 0 and b.layout.numel >= LEAST_WORK and not _changes(e, b)


def _changes(e: Entry, b: Ref) -> bool:
    return id(b.storage) in writes(e)


def _packing(e: Entry) -> tuple[Entry, Ref]:
    """The entry that packs the right matrix of a product, and the panels."""
    from ..path import Virtual
    from .work import elementwise

    b: Ref = e.args[1]
    (k, n), (row, column) = b.layout.shape, b.layout.strides
    kind = b.layout.dtype
    width = twin("cpu", "matmul", "panel_width")(kind.name)
    source = Ref(b.storage, b.offset, layout((n // width, k, width), (width * column, row, column), kind, "cpu"))
    target = Ref(Virtual(k * n * kind.itemsize), 0, contiguous((n // width, k, width), kind, "cpu"))
    made = elementwise("clone_values", [target], [source], e)
    made.name = "pack"
    return made, target


def _product(e: Entry, panels: Ref) -> Entry:
    a, out = e.args[0], e.outputs[0]
    bias = e.args[2] if len(e.args) > 2 else None
    (m, k), n = a.layout.shape, out.layout.shape[-1]
    relu = bool((e.attrs or {}).get("relu"))
    plan = twin("cpu", "matmul", "packed_plan")(m, n, k, tuple(a.layout.strides), a.layout.dtype.name, bias is not None, relu)
    made = copy_of(e)
    made.name = f"{e.name} (packed)"
    made.inputs = [x for x in (a, panels, bias) if x is not None]
    made.launches = [bind(plan, c=out, a=a, b=panels, bias=0 if bias is None else bias)]
    return made


def _convolutions(entries: list[Entry], work: Work) -> list[Entry]:
    """Pack the frozen weights of convolutions."""
    result: list[Entry] = []
    for e in entries:
        found = convolution(e, e.outputs[0], e.args[0]) if _packs(e, work) else None
        if found is not None:
            first, made = found
            work.frozen |= {id(r.storage) for la in first.launches or () for r in la.pointers[2:]}  # tables
            result.append(first)
            work.note(f"the weight of {e.name} at {e.line}")
            e = made
        result.append(e)
    return result


def _packs(e: Entry, work: Work) -> bool:
    if e.name.removesuffix("+relu") != "convolution" or not e.launches or not can_replan(e):
        return False
    return id(e.args[1].storage) in work.frozen and e.args[1].layout.device == "cpu"


def convolution(e: Entry, out: Ref, x: Ref, panels: Ref | None = None) -> tuple[Entry, Entry] | None:
    """The entry that packs the weight of a convolution, and the convolution of ``x`` with packed weights.

    With ``panels`` of the weight the convolution of a part of the batch, with the same bits. None where there is nothing to
    pack, or a part reads other panels.
    """
    _, w, bias = e.args[:3]
    plan = _plan(e, x)
    if plan is None or (panels is not None and not twin("cpu", "conv_plan", "same_sums")(plan, _plan(e, e.args[0]))):
        return None
    pack, target = packing(plan.work_bytes, w.layout.dtype, e, [w])
    panels = target if panels is None else panels
    tensors = {"out": out, "work": panels, "x": x, "bias": 0 if bias is None else bias, "weight": w}
    launches = [bind(la, **tensors, **({} if la.table is None else {"table": ref(table(la.table))})) for la in plan.launches]
    made, pack.launches = copy_of(e), launches[:1]
    made.name = f"{e.name.removesuffix(' (packed)')} (packed)"
    made.outputs, made.args, made.launches = [out], [x, *e.args[1:]], launches[1:]
    made.inputs = [r for r in (x, panels, bias) if r is not None]
    return pack, made


def _plan(e: Entry, x: Ref) -> Any:
    """The planner's answer for a convolution of ``x`` with packed weights."""
    attrs = dict(e.attrs or {})
    relu, w, bias = bool(attrs.pop("relu", False)), e.args[1].layout, e.args[2]
    plan = twin("cpu", "conv_plan", "packed_plan")
    return plan(geometry_of(x.layout.shape, w.shape, attrs), w.dtype.name, bias is not None, relu)
