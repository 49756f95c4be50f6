"""Epilogues: what follows a product or a convolution is done while its result is still in registers.

    matmul, convolution -> relu        the clamp of the kernel's last step, the same bits
"""

from __future__ import annotations

from typing import Any

from ..record import Entry, Ref
from .work import Work, can_replan, covers, is_virtual, recorded, replanned, touches

TAKES_RELU = ("matmul", "convolution")


def epilogues(entries: list[Entry], work: Work) -> list[Entry]:
    """Let products and convolutions clamp their results themselves where only a relu reads them."""
    result: list[Any] = list(entries)
    places = touches(entries)
    for k, e in enumerate(entries):
        at = _relu_of(entries, places, k, work)
        if at is not None:
            relu = entries[at]
            out = Ref(relu.outputs[0].storage, 0, e.outputs[0].layout)
            made = replanned(e, e.op, [out], e.args, {**(e.attrs or {}), "relu": True})
            made.name = f"{e.name}+relu"
            made.parts = recorded(e, relu)
            result[k], result[at] = made, None
            work.note(f"relu at {relu.line} into {e.name} at {e.line}")
    return [e for e in result if e is not None]


def _relu_of(entries: list[Entry], places: dict[int, list[int]], k: int, work: Work) -> int | None:
    """The place of the relu that is the only reader of result ``k`` and may be computed there; None without."""
    e = entries[k]
    if e.name not in TAKES_RELU or not e.launches or len(e.outputs) != 1 or (e.attrs or {}).get("relu"):
        return None
    if not can_replan(e):
        return None
    product = e.outputs[0]
    key = id(product.storage)
    if product.layout.dtype.name not in ("float32", "float64") or not is_virtual(product) or key in work.needed:
        return None
    if len(places[key]) != 2 or places[key][0] != k:
        return None
    at = places[key][1]
    relu = entries[at]
    if relu.name != "relu" or relu.plan is None or not relu.plan.address or relu.inputs[0].storage is not product.storage:
        return None
    out = relu.outputs[0]
    source = relu.inputs[0]
    if not (covers(product) and covers(source) and covers(out) and source.layout.contiguous and out.layout.contiguous):
        return None
    if out.layout.dtype is not product.layout.dtype or not is_virtual(out) or work.segment(relu) != work.segment(e):
        return None
    return at if places[id(out.storage)][0] == at else None
