"""Batch norm of a frozen network by running averages goes into the weights of the convolution before it.

    y = (conv(x, w) + b - mean) * s + beta,  s = gamma / sqrt(var + eps)   ->   conv(x, s w) + (b - mean) * s + beta
"""

from __future__ import annotations

from typing import Any

from ..._tensor import Tensor
from ..record import Entry, Ref, ref
from .work import Work, can_replan, is_virtual, reads, replanned, writes


def normalize(entries: list[Entry], work: Work) -> list[Entry]:
    """Replace each convolution and the batch norm that is its only reader by one convolution."""
    if not work.frozen:
        return entries
    result = list(entries)
    k = 0
    while k < len(result):
        at = _norm_of(result, k, work)
        if at is not None:
            e, norm = result[k], result[at]
            weight, bias = _folded(e, norm)
            work.frozen |= {id(weight._storage), id(bias._storage)}
            out = Ref(norm.outputs[0].storage, 0, e.outputs[0].layout)
            result[k] = replanned(e, e.op, [out], [e.args[0], ref(weight), ref(bias)], e.attrs or {})
            del result[at]
            work.note(f"{norm.name} at {norm.line} into {e.name} at {e.line}")
        k += 1
    return result


def _norm_of(entries: list[Entry], k: int, work: Work) -> int | None:
    """The place of the batch norm that alone reads the result of convolution ``k``, all their weights being frozen."""
    e = entries[k]
    if e.name != "convolution" or not e.launches or not _frozen(e.args[1:3], work) or (e.attrs or {}).get("relu"):
        return None
    if not can_replan(e):
        return None
    out = e.outputs[0]
    key = id(out.storage)
    users = [i for i, x in enumerate(entries) if i != k and key in reads(x) | writes(x)]
    if len(users) != 1 or key in work.needed or not is_virtual(out):
        return None
    norm = entries[users[0]]
    if norm.name != "batch_norm_evaluation" or not _frozen(norm.args[1:5], work) or norm.args[0].offset:
        return None
    made = [id(r.storage) for r in norm.outputs]
    if made[1] in work.needed or any(made[1] in reads(x) for x in entries if x is not norm):
        return None
    if work.segment(norm) != work.segment(e) or norm.args[0].layout.shape[1] != out.layout.shape[1]:
        return None
    early = any(made[0] in reads(x) | writes(x) for x in entries[: users[0]])
    return None if early or not norm.args[0].layout.contiguous else users[0]


def _frozen(args: Any, work: Work) -> bool:
    return all(a is None or (isinstance(a, Ref) and id(a.storage) in work.frozen) for a in args)


def _folded(e: Entry, norm: Entry) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one convolution."""
    from ...autograd.mode import no_grad

    weight, bias = _tensor(e.args[1]), _tensor(e.args[2])
    gamma, beta, mean, var = (_tensor(a) for a in norm.args[1:5])
    assert weight is not None and mean is not None and var is not None
    with no_grad():
        scale = (var + norm.attrs["eps"]).rsqrt()
        scale = scale if gamma is None else scale * gamma
        shift = -mean if bias is None else bias - mean
        shift = shift * scale if beta is None else shift * scale + beta
        return (weight * scale.reshape((-1,) + (1,) * (weight.ndim - 1))).contiguous(), shift.contiguous()


def _tensor(r: Ref | None) -> Any:
    return None if r is None else Tensor._make(r.storage, r.offset, r.layout)
