"""Results written into existing tensors: in-place ops and ``out=``, with the checks and the history PyTorch gives them."""

from __future__ import annotations

import warnings
from typing import Any

from ..autograd.engine import Node, edge_of
from ..autograd.mode import no_grad, state
from ..autograd.views import follow, forbidden, inference_write_error
from ..dtype import can_cast, dtype
from ..errors import TORCH_NAMES
from ..shape import Layout, extent


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
    check_leaf(target, op)


def check_leaf(target: Any, op: str) -> None:
    """RuntimeError for a leaf that requires grad, whose gradient would no longer be that of what was given."""
    if state.grad and target._rg and target._grad_fn() is None:
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
            f"{op}_: result type {TORCH_NAMES[result.name]} can't be cast to the desired output type {TORCH_NAMES[target.dtype.name]};"
            " convert the operand with .to(), or use the out-of-place form"
        )


class Written(Node):
    """A node of autograd itself, whose ``name()`` says so, unless it was given that of an op."""

    kind = ""

    @property
    def title(self) -> str:  # type: ignore[override]
        return self.alias or self.kind

    def name(self) -> str:
        return self.alias or f"torch::autograd::{self.kind}"


class Underivable(Written):
    """History of an op that PyTorch has no derivative of: the backward raises."""

    __slots__ = ("op",)
    kind = "NotImplemented"

    def __init__(self, op: str, inputs: Any):
        Node.__init__(self, inputs)
        self.op = op

    def run(self, grads: list[Any]) -> Any:
        raise RuntimeError(
            f"derivative for aten::{self.op} is not implemented; detach() its operands, or use an op that has a derivative"
        )


def underivable(result: Any, op: str, *operands: Any) -> Any:
    """The result of an op without derivative, which requires grad when an operand does."""
    inputs = [t for t in operands if hasattr(t, "_layout")]
    if state.grad and result.dtype.is_floating_point and any(t._rg for t in inputs):
        node = Underivable(op, inputs)
        node.out_metas[0] = result._layout
        result._set_history(node, 0)
    return result


class AsStridedScatter(Written):
    """History of a base tensor after one of its views was changed in place: the base's old value with the view's new one."""

    __slots__ = ("base_meta", "geometry")
    kind = "CopySlices"

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


# What PyTorch writes into an ``out=`` of any dtype that the result can be cast to; the others ask for the result's dtype.
CASTING = frozenset("""add sub mul div pow clamp square float_power floor_divide remainder fmod addcdiv addcmul addr lerp
    mean logsumexp std var inner kron outer nansum nanmean ldexp logit mvlgamma polygamma nextafter lcm cholesky cholesky_inverse
    cholesky_solve geqrf cat hstack vstack dstack column_stack stack linalg.cond linalg.householder_product linalg.lstsq linalg.pinv
    linalg.tensorinv linalg.tensorsolve linalg.matrix_rank bernoulli sum prod cumsum cumprod lu""".split())
# Of elementwise ops it is the other way round: these ask for the result's dtype.
EXACT = frozenset("abs ceil floor frac heaviside where neg round sgn sign trunc bitwise_not isin".split())
# Whose results are computed in the dtype of ``out=``, whatever it is.
ANY = frozenset("bernoulli sum prod cumsum cumprod".split())
# Which resize an out= that holds elements without a word.
QUIET = frozenset("out addbmm multinomial logsigmoid randn normal".split())


def write_out(result: Any, out: Any, op: str, casts: bool | None = None, differentiable: bool = True) -> Any:
    """Copy a result into the ``out=`` tensor, resized when its shape differs, and return that.

    RuntimeError if its dtype isn't the result's (``casts``: can't hold it), or one of the tensors requires grad;
    ``differentiable``: whether the op has a derivative that would be lost.
    """
    casts = op in CASTING if casts is None else casts
    if not isinstance(result, tuple):
        _check_out(result, out, op, casts, differentiable)
        return _fill_out(result, out, op)
    if not isinstance(out, (tuple, list)) or len(out) != len(result):
        raise TypeError(f"{op}(): argument 'out' must be tuple of {len(result)} Tensors, not {type(out).__name__}")
    for r, o in zip(result, out):
        _check_out(r, o, op, casts, differentiable)
    filled = [_fill_out(r, o, op) for r, o in zip(result, out)]
    return tuple(filled) if type(result) is tuple else type(result)(*filled)


def written(result: Any, out: Any, op: str) -> Any:
    """The result, or ``out`` with the result written into it where there is one."""
    return result if out is None else write_out(result, out, op)


def _check_out(result: Any, out: Any, op: str, casts: bool, differentiable: bool) -> None:
    from .._tensor import Tensor

    if not isinstance(out, Tensor):
        raise TypeError(f"{op}(): argument 'out' must be Tensor, not {type(out).__name__}; make one with numtorch.empty(0)")
    if state.grad and differentiable and (result._rg or out._rg):
        raise RuntimeError(
            f"{op}(): functions with out=... arguments don't support automatic differentiation, but one of the arguments"
            " requires grad; use the form without out="
        )
    have, want = out._layout.dtype, result._layout.dtype
    if op in ANY:
        return
    if not can_cast(want, have):
        kind = TypeError if op == "cat" else RuntimeError
        raise kind(
            f"{op}(): result type {want.name} can't be cast to the desired output type {have.name}; give an"
            " out= tensor of a fitting dtype"
        )
    if not casts and want is not have:
        raise RuntimeError(
            f"{op}(): Expected out tensor to have dtype {want.name}, but got {have.name} instead; give an out= tensor of"
            f" {want!r}, or convert the result with .to()"
        )


def _fill_out(result: Any, out: Any, op: str) -> Any:
    shape = result._layout.shape
    if out._layout.shape != shape:
        if out._layout.numel and op not in QUIET:
            warnings.warn(
                f"An output with one or more elements was resized since it had shape {list(out._layout.shape)}, which does not"
                f" match the required output shape {list(shape)}. This behavior is deprecated: give an out= tensor of that shape,"
                " or empty it with out.resize_(0) first",
                stacklevel=4,
            )
        out.resize_(shape)
    with no_grad():
        out.copy_(result)
    return out


def refuse_overlap(op: str, out: Any, *inputs: Any) -> None:
    """RuntimeError if ``out=`` shares memory with an input, for ops that PyTorch doesn't compute in place."""
    for o in out if isinstance(out, (tuple, list)) else (out,):
        for t in inputs:
            if hasattr(o, "_layout") and hasattr(t, "_layout") and (o is t or _share(o, t)):
                raise RuntimeError(
                    f"{op}(): unsupported operation: some elements of the input tensor and the written-to tensor refer to a single"
                    " memory location. Please clone() the tensor before performing the operation."
                )


def _share(a: Any, b: Any) -> bool:
    if a._storage is not b._storage or not a._layout.numel or not b._layout.numel:
        return False
    spans = []
    for t in (a, b):
        low, high = extent(t._layout.shape, t._layout.strides)
        spans.append(((t._offset + low) * t._layout.itemsize, (t._offset + high + 1) * t._layout.itemsize))
    return spans[0][0] < spans[1][1] and spans[1][0] < spans[0][1]
