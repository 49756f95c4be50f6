"""Results written into existing tensors: in-place ops and ``out=``, with the checks and the history PyTorch gives them."""

from __future__ import annotations

from typing import Any

from ..autograd.engine import Node, edge_of
from ..autograd.mode import state
from ..autograd.views import follow, forbidden, inference_write_error
from ..dtype import can_cast, dtype
from ..shape import Layout


def check_inplace(target: Any, op: str, needs_grad: bool) -> None:
    """Raise where autograd forbids an in-place change of ``target``."""
    if target._layout.ndim and 0 in target._layout.strides and _overlaps(target._layout):
        raise RuntimeError(
            f"{op}_: unsupported operation: more than one element of the written-to tensor refers to a single memory"
            " location. Please clone() the tensor before performing the operation."
        )
    if target._storage.version < 0 and not state.inference and not target._untracked:
        raise inference_write_error(op)
    if not (state.grad and target._rg) and not needs_grad:
        return
    if target._made:
        raise forbidden(target, op)
    base = target._base
    if base is not None and target._rg and base._grad_fn() is None:
        raise RuntimeError(
            f"a view of a leaf Variable that requires grad is being used in an in-place operation ({op}_); do it within"
            " numtorch.no_grad(), or on a copy made by clone()"
        )
    if target._rg and target._grad_fn() is None:
        raise RuntimeError(
            f"a leaf Variable that requires grad is being used in an in-place operation ({op}_); do it within"
            " numtorch.no_grad(), or on a copy made by clone()"
        )


def _overlaps(la: Layout) -> bool:
    return any(s == 0 and n > 1 for n, s in zip(la.shape, la.strides))


def check_result(op: str, target: Layout, shape: tuple[int, ...], result: dtype) -> None:
    """Raise unless a result of this shape and dtype fits into the target as it is."""
    if shape != target.shape:
        raise RuntimeError(
            f"{op}_: output with shape {list(target.shape)} doesn't match the broadcast shape {list(shape)}; use the"
            " out-of-place form, or expand the target first"
        )
    if not can_cast(result, target.dtype):
        raise RuntimeError(
            f"{op}_: result type {result.name.capitalize()} can't be cast to the desired output type {target.dtype.name};"
            " convert the operand with .to(), or use the out-of-place form"
        )


class AsStridedScatter(Node):
    """History of a base tensor after one of its views was changed in place: the base's old value with the view's new one."""

    __slots__ = ("base_meta", "geometry")
    title = "CopySlices"

    def __init__(self, base: Any, view: Any, view_edge: Any):
        Node.__init__(self, [base, view])
        self.edges = (self.edges[0], view_edge)
        self.metas = (base._layout, view._layout)
        self.out_metas[0] = base._layout
        self.geometry = (view._layout.shape, view._layout.strides, view._offset - base._offset)
        self.base_meta = base._layout

    def run(self, grads: list[Any]) -> Any:
        from ..creation import zeros
        from .view import as_strided

        g = _in_layout(grads[0], self.base_meta)
        shape, strides, offset = self.geometry
        place = (shape, strides, offset + g._offset)
        view = as_strided(g, *place) if self.edges[1] is not None else None
        base = None
        if self.edges[0] is not None:
            base = g.clone() if g._layout.dense else g.contiguous()
            place = (shape, strides, offset + base._offset)
            as_strided(base, *place).copy_(zeros(shape, dtype=g.dtype, device=g.device))
        return base, view


def _in_layout(g: Any, la: Layout) -> Any:
    """A gradient in the strides of the tensor it belongs to."""
    if g._layout.strides == la.strides:
        return g
    from .declare import empty_like_layout

    return empty_like_layout(la).copy_(g)


def rebase(target: Any, node: Node | None) -> None:
    """Give ``target`` the history of what was just written into it; its base, if it is a view, gets it as well."""
    base = target._base
    if base is None:
        target._history += 1  # views of it take their history anew
        if node is None:
            target._set_history(None, 0, False)
        else:
            node.out_metas[0] = target._layout
            target._set_history(node, 0)
            if target._views is not None:
                follow(target)
        return
    edge = None
    if node is not None:
        node.out_metas[0] = target._layout
        edge = (node, 0)
    scatter = AsStridedScatter(base, target, edge)
    scatter.edges = (edge_of(base), edge)
    base._set_history(scatter, 0)
    base._history += 1
    if base._views is not None:
        follow(base)


def write_out(result: Any, out: Any, op: str) -> Any:
    """Copy a result into the ``out=`` tensor (resized when its shape differs); RuntimeError if the dtype can't hold it."""
    from .._tensor import Tensor

    if isinstance(result, tuple):
        return (
            type(result)(write_out(r, o, op) for r, o in zip(result, out))
            if type(result) is tuple
            else type(result)(*[write_out(r, o, op) for r, o in zip(result, out)])
        )
    if not isinstance(out, Tensor):
        raise TypeError(f"{op}(): argument 'out' must be Tensor, not {type(out).__name__}")
    if state.grad and (result._rg or out._rg):
        raise RuntimeError(
            f"{op}(): functions with out=... arguments don't support automatic differentiation, but one of the arguments"
            " requires grad; use the form without out="
        )
    if not can_cast(result._layout.dtype, out._layout.dtype):
        raise RuntimeError(
            f"{op}(): result type {result.dtype.name} can't be cast to the desired output type {out.dtype.name}; give an"
            " out= tensor of a fitting dtype"
        )
    if out._layout.shape != result._layout.shape:
        out.resize_(result._layout.shape)
    out.copy_(result)
    return out
