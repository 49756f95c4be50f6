"""Epilogues: what follows a product or a convolution is done while its result is still in registers.

    matmul, convolution -> relu        the clamp of the kernel's last step, the same bits
"""

from __future__ import annotations

from ..record import Entry, Ref
from .work import Work, covers, is_virtual, reads, recorded, replanned, writes

TAKES_RELU = ("matmul", "convolution")


def epilogues(entries: list[Entry], work: Work) -> list[Entry]:
    """Let products and convolutions clamp their results themselves where only a relu reads them."""
    result = list(entries)
    k = 0
    while k < len(result):
        after = _relu_of(result, k, work)
        if after is not None:
            e, relu = result[k], result[after]
            out = Ref(relu.outputs[0].storage, 0, e.outputs[0].layout)
            attrs = {**(e.attrs or {}), "relu": True}
            made = replanned(e, e.op, [out], e.args, attrs)
            made.name = f"{e.name}+relu"
            made.parts = recorded(e, relu)
            result[k] = made
            del result[after]
            work.note(f"relu at {relu.line} into {e.name} at {e.line}")
        k += 1
    return result


def _relu_of(entries: list[Entry], k: int, work: Work) -> int | None:
    """The place of the relu that is the only reader of result ``k`` and may be computed there; None without."""
    e = entries[k]
    if e.name not in TAKES_RELU or not e.launches or len(e.outputs) != 1 or (e.attrs or {}).get("relu"):
        return None
    product = e.outputs[0]
    key = id(product.storage)
    if product.layout.dtype.name not in ("float32", "float64") or not is_virtual(product) or key in work.needed:
        return None
    users = [i for i, x in enumerate(entries) if i != k and key in reads(x) | writes(x)]
    if len(users) != 1 or users[0] < k:
        return None
    at = users[0]
    relu = entries[at]
    if relu.name != "relu" or relu.plan is None or not relu.plan.address or relu.inputs[0].storage is not product.storage:
        return None
    out = relu.outputs[0]
    source = relu.inputs[0]
    if not (covers(product) and covers(source) and covers(out) and source.layout.contiguous and out.layout.contiguous):
        return None
    if out.layout.dtype is not product.layout.dtype or not is_virtual(out) or work.segment(relu) != work.segment(e):
        return None
    target = id(out.storage)
    return None if any(target in reads(x) | writes(x) for x in entries[:at]) else at
