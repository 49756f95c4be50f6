"""Reading and writing at indices: checks, gather, whole slices by an index of one dimension.

Kernels work on contiguous (outer, n, inner) memory and trust their indices; everything here brings tensors there and
checks indices first. Names with ``_values`` take checked int64 indices.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import Any

from .._tensor import Tensor
from ..autograd.mode import state, watchers
from ..dtype import REDUCED, bool_, dtype, int32, int64
from ..errors import require_same_device, require_tensor
from ..shape import Layout, contiguous, wrap_dim
from . import elementwise as E
from . import view
from .copying import write
from .declare import Context, KernelOp, OpNode, Saved, kernel_op
from .inplace import check_inplace, rebase, refuse_overlap, write_out
from .launch import Launch
from .node_names import called

Sizes = tuple[int, ...]


def split_at(shape: Sizes, d: int) -> tuple[int, int, int]:
    """(outer, n, inner) of a shape around dimension ``d``."""
    return math.prod(shape[:d]), shape[d], math.prod(shape[d + 1 :])


def env(x: Tensor) -> dict[str, str]:
    """The specialisation of a kernel whose main dtype is that of ``x``."""
    return {"T": x.dtype.kind}


# -- checks


@kernel_op(["index"])
def index_bounds(index: Tensor, skip: int | None = None) -> Layout:
    """The smallest and the largest index (those equal to ``skip`` left out); (0, -1) if there is none."""
    return contiguous((2,), int64, index._layout.device)


@index_bounds.plan
def _(outputs: Any, index: Tensor, skip: int | None = None) -> list[Launch]:
    index = index.detach().contiguous()
    if skip is None:
        return [Launch(("index", "index_range"), {}, [outputs[0], index], (index._layout.numel,))]
    return [Launch(("index", "index_range_except"), {}, [outputs[0], index], (index._layout.numel, skip))]


def check_range(
    index: Tensor, low: int, high: int, make_error: Callable[[int], Exception], skip: int | None = None
) -> bool:
    """Raise ``make_error(value)`` if an index is outside of low..high (inclusive); returns whether some may be negative.

    While a trace is recorded the check becomes part of the program.
    """
    if not index._layout.numel:
        return False
    bounds = index_bounds(index.detach(), skip=skip)
    note = getattr(state.recorder, "check_range", None)
    if note is not None:
        note(bounds, low, high, make_error)
        return low < 0
    least, most = _two_words(bounds)
    if least < low or most > high:
        raise make_error(least if least < low else most)
    return least < 0


def _two_words(t: Tensor) -> Any:
    """The two values of an int64 tensor, which on the CPU are read where they are."""
    if t._layout.device != "cpu" or watchers:
        return t.tolist()
    return (ctypes.c_int64 * 2).from_address(t._address())


@kernel_op(["index"])
def wrap_negative(index: Tensor, n: int) -> Layout:
    """Indices counted from the end (negative ones) counted from the front."""
    return contiguous(index._layout.shape, int64, index._layout.device)


@wrap_negative.plan
def _(outputs: Any, index: Tensor, n: int) -> list[Launch]:
    count = index._layout.numel
    pointers = [outputs[0], index.detach().contiguous()]
    return [Launch(("index", "wrap_index"), {}, pointers, (count, n), -(-count // 1024), count)]


def checked_index(t: Tensor, n: int, dim: int) -> Tensor:
    """An index tensor as int64 with its values in 0..n-1; IndexError for values outside of -n..n-1."""
    if t.dtype is not int64:
        t = t.to(int64)

    def error(value: int) -> Exception:
        return IndexError(f"index {value} is out of bounds for dimension {dim} with size {n}; valid are {-n}..{n - 1}")

    return wrap_negative(t, n=n) if check_range(t, -n, n - 1, error) else t


def index_int64(
    op: str, index: Tensor, *allowed: dtype, error: type = RuntimeError, empty: bool = True
) -> Tensor:
    """An index as int64; ``error`` unless its dtype is int64 or another one allowed, or it is ``empty`` and that suffices."""
    require_tensor(op, "index", index)
    if index.dtype is int64:
        return index.detach()
    if index.dtype not in allowed and (index._layout.numel or not empty):
        names = "/".join(d.name for d in (int64, *allowed))
        raise error(
            f"{op}(): Expected dtype {names} for index, but got {index.dtype!r}; convert it with .long()"
        )
    return index.detach().to(int64)


def bounded(op: str, index: Tensor, n: int, dim: int, error: type = RuntimeError) -> None:
    """``error`` unless all indices are in 0..n-1."""

    def make(value: int) -> Exception:
        return error(f"{op}(): index {value} is out of bounds for dimension {dim} with size {n}; valid are 0..{n - 1}")

    check_range(index, 0, n - 1, make)


# -- one op that may also run in place


class UpdateOp(KernelOp):
    """An op whose output starts as a copy of its first input, or is zeros where that is None; ``into`` skips the copy."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options, steady=False)  # its plan begins the output

    def start(self, out: Tensor, x: Tensor | None) -> None:
        """Give the output the values that the update begins with."""
        from ..creation import fill_into

        if x is None:
            fill_into(out, 0)
        elif out is not x:
            write(out, x.detach())

    def into(self, target: Tensor, *inputs: Any, **attrs: Any) -> Tensor:
        """Update ``target``, the first input, in place; its history is that of the op."""
        needs = state.grad and (target._rg or any(t is not None and t._rg for t in inputs))
        check_inplace(target, self.name, needs)
        if not target._layout.contiguous or target.dtype in REDUCED or any(
            t is not None and t._storage is target._storage for t in inputs
        ):
            from .copying import copy_

            return copy_(target, self(target, *inputs, **attrs))
        node = None
        if needs:
            node = OpNode(self, (target, *inputs), [target], attrs)
            given = dict(zip(self.inputs, (target, *inputs)))
            node.saved = {n: None if given[n] is None else Saved(given[n]) for n in self.saves}
        self.run([target], (target, *inputs), attrs)
        target._storage.version += not target._untracked
        if node is not None:
            rebase(target, node if target.dtype.is_floating_point else None)
        return target


def update_op(inputs: list[str], saves: list[str]) -> Callable[[Callable], UpdateOp]:
    """Declare an ``UpdateOp`` by its rule; it must not save its first input."""

    def declare(meta: Callable) -> UpdateOp:
        return UpdateOp(meta.__name__, meta, tuple(inputs), tuple(saves), ())

    return declare


# -- gather


@kernel_op(["x", "index"], saves=["index"])
def gather_values(x: Tensor, index: Tensor, dim: int) -> Layout:
    """out[o, k, i] = x[o, index[o, k, i], i]; apart from ``dim``, x and index have one shape."""
    return contiguous(index._layout.shape, x._layout.dtype, x._layout.device)


@gather_values.plan
def _(outputs: Any, x: Tensor, index: Tensor, dim: int) -> list[Launch]:
    outer, n, inner = split_at(index._layout.shape, dim)
    words = (outer, n, inner, x._layout.shape[dim])
    pointers = [outputs[0], x.detach().contiguous(), index.contiguous()]
    return [Launch(("index", "gather"), env(x), pointers, words, outer * n, outer * n * inner)]


@gather_values.backward
def _(ctx: Context, g: Tensor) -> Any:
    dim = ctx.attrs["dim"]
    return scatter_add_values(None, ctx.index, g, dim=dim, size=ctx.meta(0).shape[dim]), None


@update_op(["x", "index", "src"], saves=["index"])
def scatter_add_values(x: Tensor | None, index: Tensor, src: Tensor, dim: int, size: int) -> Layout:
    """x (or zeros with ``size`` in ``dim``) with src[o, k, i] added at [o, index[o, k, i], i]."""
    shape = index._layout.shape
    return contiguous(shape[:dim] + (size,) + shape[dim + 1 :], src._layout.dtype, src._layout.device)


@scatter_add_values.plan
def _(outputs: Any, x: Tensor | None, index: Tensor, src: Tensor, dim: int, size: int) -> list[Launch]:
    scatter_add_values.start(outputs[0], x)
    outer, n, inner = split_at(index._layout.shape, dim)
    pointers = [outputs[0], src.detach().contiguous(), index.contiguous()]
    words = (outer, n, inner, size, 1)
    return [Launch(("index", "scatter_add"), env(src), pointers, words, outer * inner, outer * n * inner)]


@scatter_add_values.backward
def _(ctx: Context, g: Tensor) -> Any:
    return g, None, (gather_values(g, ctx.index, dim=ctx.attrs["dim"]) if ctx.needs(2) else None)


def match_sizes(op: str, x: Tensor, index: Tensor, d: int, src: Tensor | None = None) -> None:
    """RuntimeError unless ``index`` fits inside ``x`` (apart from dimension ``d``) and inside ``src``."""
    xs, ns = x._layout.shape, index._layout.shape
    if max(len(xs), 1) != max(len(ns), 1):
        raise RuntimeError(f"{op}(): Index tensor must have the same number of dimensions as input tensor, got {len(ns)} and"
                           f" {len(xs)}")  # fmt: skip
    xs, ns = xs or (1,), ns or (1,)
    apart = any(n > m for k, (n, m) in enumerate(zip(ns, xs)) if k != d)
    if src is None:
        if apart:
            k = next(k for k, (n, m) in enumerate(zip(ns, xs)) if k != d and n > m)
            raise RuntimeError(f"{op}(): Size does not match at dimension {k} expected index {list(ns)} to be no larger than"
                               f" self {list(xs)} apart from dimension {d}")  # fmt: skip
        return
    ss = src._layout.shape or (1,)
    if len(ss) != len(ns):
        raise RuntimeError(f"{op}(): Index tensor must have the same number of dimensions as src tensor, got {len(ns)} and"
                           f" {len(ss)}")  # fmt: skip
    if apart or any(n > m for n, m in zip(ns, ss)):
        raise RuntimeError(
            f"{op}(): Expected index {list(ns)} to be no larger than self {list(xs)} apart from dimension {d} and to be no larger"
            f" size than src {list(ss)}"
        )


def cut_to(x: Tensor, shape: Sizes, but: int = -1) -> Tensor:
    """The leading part of ``x`` in this shape; dimension ``but`` stays whole."""
    for k, n in enumerate(shape):
        if k != but and x._layout.shape[k] != n:
            x = view.narrow(x, k, 0, n)
    return x


@called("GatherBackward0")
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False, out: Any = None) -> Tensor:
    """out[i][j][k] = input[index[i][j][k]][j][k] for dim 0, and likewise for other dimensions.

    RuntimeError for an index out of range or shapes that don't fit.

    Example:
        >>> import numtorch
        >>> numtorch.gather(numtorch.tensor([[1, 2], [3, 4]]), 1, numtorch.tensor([[0, 0], [1, 0]])).tolist()
        [[1, 1], [4, 3]]
    """
    require_tensor("gather", "input", input)
    d = wrap_dim(dim, input.ndim, "gather")
    index = index_int64("gather", index, int32)
    require_same_device("gather", input=input, index=index)
    refuse_overlap("gather", out, input, index)
    if not index._layout.numel:
        none = view.narrow(view.reshape(input, (input._layout.numel,)), 0, 0, 0)
        result = view.reshape(none, index._layout.shape)
        return result if out is None else write_out(result, out, "gather")
    match_sizes("gather", input, index, d)
    bounded("gather", index, input._layout.shape[d] if input.ndim else 1, d)
    result = gather_checked(input, d, index)
    return result if out is None else write_out(result, out, "gather")


def gather_checked(x: Tensor, d: int, index: Tensor) -> Tensor:
    """``gather`` with an index that was checked."""
    shape = index._layout.shape
    x = view.reshape(x, (1,)) if not x._layout.ndim else x
    index = view.reshape(index, (1,)) if not index._layout.ndim else index
    values = gather_values(cut_to(x, index._layout.shape, d), index, dim=d)
    return values if shape else view.reshape(values, ())


# -- whole slices by the index of one dimension


@kernel_op(["x", "index"], saves=["index"])
def index_select_values(x: Tensor, index: Tensor, dim: int) -> Layout:
    """The slices index[k] of dimension ``dim``."""
    shape = x._layout.shape
    return contiguous(shape[:dim] + index._layout.shape + shape[dim + 1 :], x._layout.dtype, x._layout.device)


@index_select_values.plan
def _(outputs: Any, x: Tensor, index: Tensor, dim: int) -> list[Launch]:
    outer, size, inner = split_at(x._layout.shape, dim)
    n = index._layout.numel
    pointers = [outputs[0], x.detach().contiguous(), index.contiguous()]
    return [
        Launch(
            ("index", "index_select"), env(x), pointers, (outer, n, inner, size), outer * n, outer * n * inner
        )
    ]


@index_select_values.backward
def _(ctx: Context, g: Tensor) -> Any:
    dim = ctx.attrs["dim"]
    return index_add_values(None, ctx.index, g, dim=dim, size=ctx.meta(0).shape[dim], alpha=1.0), None


@update_op(["x", "index", "src"], saves=["index"])
def index_add_values(
    x: Tensor | None, index: Tensor, src: Tensor, dim: int, size: int, alpha: float
) -> Layout:
    """x (or zeros with ``size`` in ``dim``) with alpha * slice k of src added to slice index[k]."""
    shape = src._layout.shape
    return contiguous(shape[:dim] + (size,) + shape[dim + 1 :], src._layout.dtype, src._layout.device)


@index_add_values.plan
def _(
    outputs: Any, x: Tensor | None, index: Tensor, src: Tensor, dim: int, size: int, alpha: float
) -> list[Launch]:
    index_add_values.start(outputs[0], x)
    outer, n, inner = split_at(src._layout.shape, dim)
    pointers = [outputs[0], src.detach().contiguous(), index.contiguous()]
    words = (outer, n, inner, size, float(alpha))
    return [Launch(("index", "index_add"), env(src), pointers, words, outer * size, outer * n * inner)]


@index_add_values.backward
def _(ctx: Context, g: Tensor) -> Any:
    if not ctx.needs(2):
        return g, None, None
    part = index_select_values(g, ctx.index, dim=ctx.attrs["dim"])
    return g, None, (part if ctx.attrs["alpha"] == 1 else part * ctx.attrs["alpha"])


@update_op(["x", "index", "src"], saves=["index"])
def index_copy_values(x: Tensor | None, index: Tensor, src: Tensor, dim: int, shape: Sizes) -> Layout:
    """x (or zeros of ``shape``) with slice index[k] replaced by slice k of src, or by the one number in a 0-d src."""
    return contiguous(shape, src._layout.dtype, src._layout.device)


@index_copy_values.plan
def _(outputs: Any, x: Tensor | None, index: Tensor, src: Tensor, dim: int, shape: Sizes) -> list[Launch]:
    index_copy_values.start(outputs[0], x)
    outer, size, inner = split_at(shape, dim)
    n = index._layout.numel
    pointers = [outputs[0], src.detach().contiguous(), index.contiguous()]
    words = (outer, n, inner, size, int(src._layout.ndim > 0))
    return [Launch(("index", "index_copy"), env(src), pointers, words, outer * size, outer * n * inner)]


@index_copy_values.backward
def _(ctx: Context, g: Tensor) -> Any:
    from ..creation import ones, zeros

    dim, index = ctx.attrs["dim"], ctx.index
    dx = ds = None
    if ctx.needs(0):
        nothing = zeros((), dtype=g.dtype, device=g.device)
        dx = index_copy_values(g, index, nothing, dim=dim, shape=tuple(g._layout.shape))
    if ctx.needs(2):
        if ctx.meta(2).ndim:
            ds = index_select_values(g, index, dim=dim)
        else:  # one number: the engine sums over all places, each once however often it is named
            one = ones((), dtype=bool_, device=g.device)
            ds = E.where(index_copy_values(None, index, one, dim=dim, shape=tuple(g._layout.shape)), g, 0.0)
    return dx, None, ds


def index_select_checked(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """Slices of a dimension by a 1-d int64 index that was checked."""
    return index_select_values(x, index, dim=dim)


def index_put_values(x: Tensor, dim: int, index: Tensor, values: Tensor, accumulate: bool) -> Tensor:
    """A copy of ``x`` whose slices at a checked index are replaced by ``values``, or added to."""
    if accumulate:
        return index_add_values(x, index, values, dim=dim, size=x._layout.shape[dim], alpha=1.0)
    return index_copy_values(x, index, values, dim=dim, shape=tuple(x._layout.shape))


def index_put_values_(x: Tensor, dim: int, index: Tensor, values: Tensor, accumulate: bool) -> Tensor:
    """``index_put_values`` in place."""
    if accumulate:
        return index_add_values.into(x, index, values, dim=dim, size=x._layout.shape[dim], alpha=1.0)
    return index_copy_values.into(x, index, values, dim=dim, shape=tuple(x._layout.shape))
