"""Cross-entropy and negative log-likelihood by class indices, each one kernel and a mean.

Both work on scores with the classes in one dimension and targets without it; ``ignore`` marks targets that don't count.
Reductions: "none" (a value per target), "sum", "mean" (divided by the sum of the targets' class weights).
"""

from __future__ import annotations

from typing import Any

from .._tensor import Tensor
from ..dtype import int64, uint8
from ..errors import TORCH_NAMES, not_implemented, require_same_device, require_tensor
from ..memo import Memo
from ..shape import contiguous
from . import elementwise as E
from . import view
from .declare import Context, kernel_op
from .index import check_range, index_select_values, split_at
from .launch import Launch, Scratch, from_plan
from .reduce import planner, sum_values

REDUCTIONS = ("none", "mean", "sum")


def _reduce(outputs: Any, loss: Any, row_weight: Any, n: int, reduction: str) -> list[Launch]:
    """Launches that bring the losses of ``n`` targets to outputs[0], and for the mean their weight to outputs[1]."""
    kind = outputs[0].dtype.kind
    if reduction == "mean":
        pointers = [outputs[0], outputs[1], loss, row_weight]
        return [Launch(("loss", "weighted_mean"), {"T": kind}, pointers, (n,))]
    if reduction == "sum":
        return from_plan(planner("sum_plan")(1, n, 1, kind), y=outputs[0], x=loss)
    return []


def _rows(outputs: Any, n: int, reduction: str) -> tuple[Any, Any]:
    """Where the losses and weights of single targets go."""
    itemsize = outputs[0]._layout.itemsize
    loss = outputs[0] if reduction == "none" else Scratch(n * itemsize)
    return loss, Scratch(n * itemsize)


def _pointer(weight: Tensor | None) -> Any:
    return 0 if weight is None else weight.detach().contiguous()


# -- cross-entropy of scores (rows, classes)


@kernel_op(
    ["x", "target", "weight"],
    saves=["x", "target", "weight", "out1", "out2"],
    nograd=(1, 2),
    name="cross_entropy",
)
def cross_entropy_values(
    x: Tensor, target: Tensor, weight: Tensor | None, ignore: int, smoothing: float, reduction: str
) -> Any:
    """Loss of scores (rows, classes); also the targets' total weight, and each row's (maximum, log of the sum)."""
    la = x._layout
    rows = la.shape[0]
    shape = (rows,) if reduction == "none" else ()
    return tuple(contiguous(s, la.dtype, la.device) for s in (shape, (), (rows, 2)))


@cross_entropy_values.plan
def _(
    outputs: Any,
    x: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore: int,
    smoothing: float,
    reduction: str,
) -> Any:
    rows, classes = x._layout.shape
    loss, row_weight = _rows(outputs, rows, reduction)
    pointers = [loss, row_weight, outputs[2], x.detach().contiguous(), target.contiguous(), _pointer(weight)]
    words = (rows, classes, ignore, float(smoothing), int(weight is not None))
    first = Launch(
        ("loss", "cross_entropy_rows"), {"T": x.dtype.kind}, pointers, words, rows, 8 * x._layout.numel
    )
    return [first, *_reduce(outputs, loss, row_weight, rows, reduction)]


@cross_entropy_values.backward
def _(ctx: Context, g: Tensor, *_: Any) -> Any:
    return (
        cross_entropy_backward(g, ctx.x, ctx.target, ctx.weight, ctx.out1, ctx.out2, **ctx.attrs),
        None,
        None,
    )


@kernel_op(
    ["g", "x", "target", "weight", "total", "stats"],
    saves=["g", "x", "target", "weight", "total", "stats"],
)
def cross_entropy_backward(
    g: Tensor, x: Tensor, target: Tensor, weight: Tensor | None, total: Tensor, stats: Tensor, ignore: int,
    smoothing: float, reduction: str,
) -> Any:  # fmt: skip
    """The gradient of the scores."""
    la = x._layout
    return contiguous(la.shape, la.dtype, la.device)


@cross_entropy_backward.plan
def _(
    outputs: Any, g: Tensor, x: Tensor, target: Tensor, weight: Tensor | None, total: Tensor, stats: Tensor, ignore: int,
    smoothing: float, reduction: str,
) -> list[Launch]:  # fmt: skip
    rows, classes = x._layout.shape
    inputs = [
        g.detach().contiguous(),
        total,
        x.detach().contiguous(),
        stats,
        target.contiguous(),
        _pointer(weight),
    ]
    words = (rows, classes, ignore, float(smoothing), int(weight is not None), int(reduction == "none"),
             int(reduction == "mean"))  # fmt: skip
    kernel = ("loss", "cross_entropy_backward_rows")
    return [Launch(kernel, {"T": x.dtype.kind}, [outputs[0], *inputs], words, rows, 8 * x._layout.numel)]


@cross_entropy_backward.backward
def _(ctx: Context, h: Tensor) -> Any:
    """dx = scale * (full * softmax(x) - what is constant in x), with scale = g (/ total) and full by row."""
    from ..creation import ones
    from .softmax import softmax_backward, softmax_values

    a, g, x, target, weight = ctx.attrs, ctx.g, ctx.x, ctx.target, ctx.weight
    rest = (x, target, weight, ctx.total, ctx.stats)
    dg = dx = None
    if ctx.needs(0):
        one = ones(g._layout.shape, dtype=g.dtype, device=g.device)
        part = h * cross_entropy_backward(one, *rest, **a)
        dg = sum_values(part, dims=(1,) if a["reduction"] == "none" else (0, 1), keepdim=False)
    if ctx.needs(1):
        p = softmax_values(x, dim=1)
        scale = g / ctx.total if a["reduction"] == "mean" else g
        scale = scale * _row_factor(x, target, weight, a["ignore"], a["smoothing"])
        dx = softmax_backward(h, p, dim=1) * view.unsqueeze(scale, 1)
    return dg, dx, None, None, None, None


def _row_factor(x: Tensor, target: Tensor, weight: Tensor | None, ignore: int, smoothing: float) -> Tensor:
    """(1 - smoothing) * w[target] + smoothing * mean(w) for each row, 0 for ignored ones."""
    counted = E.ne(target, ignore)
    if weight is None:
        return counted.to(x.dtype)
    own = index_select_values(weight, E.where(counted, target, 0), dim=0)
    factor = own * (1.0 - smoothing)
    if smoothing:
        factor = factor + weight.sum() * (smoothing / weight._layout.numel)
    return E.where(counted, factor, 0.0)


# -- negative log-likelihood of log-probabilities (outer, classes, inner)


@kernel_op(["x", "target", "weight"], saves=["target", "weight", "out1"], nograd=(1,), name="nll_loss")
def nll_values(x: Tensor, target: Tensor, weight: Tensor | None, ignore: int, reduction: str) -> Any:
    """-w[t] * x[t] of log-probabilities (outer, classes, inner); also the targets' total weight."""
    la = x._layout
    shape = (la.shape[0], la.shape[2]) if reduction == "none" else ()
    return contiguous(shape, la.dtype, la.device), contiguous((), la.dtype, la.device)


@nll_values.plan
def _(
    outputs: Any, x: Tensor, target: Tensor, weight: Tensor | None, ignore: int, reduction: str
) -> list[Launch]:
    outer, classes, inner = x._layout.shape
    n = outer * inner
    loss, row_weight = _rows(outputs, n, reduction)
    pointers = [loss, row_weight, x.detach().contiguous(), target.contiguous(), _pointer(weight)]
    words = (outer, classes, inner, ignore, int(weight is not None))
    first = Launch(("loss", "nll_loss"), {"T": x.dtype.kind}, pointers, words, n, n)
    return [first, *_reduce(outputs, loss, row_weight, n, reduction)]


@nll_values.backward
def _(ctx: Context, g: Tensor, *_: Any) -> Any:
    classes = ctx.meta(0).shape[1]
    return nll_backward(g, ctx.target, ctx.weight, ctx.out1, classes=classes, **ctx.attrs), None, None


@kernel_op(["g", "target", "weight", "total"], saves=["target", "weight"])
def nll_backward(
    g: Tensor, target: Tensor, weight: Tensor | None, total: Tensor, classes: int, ignore: int, reduction: str
) -> Any:
    """The gradient of the log-probabilities."""
    outer, inner = target._layout.shape
    return contiguous((outer, classes, inner), g._layout.dtype, g._layout.device)


@nll_backward.plan
def _(
    outputs: Any,
    g: Tensor,
    target: Tensor,
    weight: Tensor | None,
    total: Tensor,
    classes: int,
    ignore: int,
    reduction: str,
) -> list[Launch]:
    outer, inner = target._layout.shape
    pointers = [outputs[0], g.detach().contiguous(), total, target.contiguous(), _pointer(weight)]
    words = (
        outer,
        classes,
        inner,
        ignore,
        int(weight is not None),
        int(reduction == "none"),
        int(reduction == "mean"),
    )
    return [
        Launch(
            ("loss", "nll_loss_backward"),
            {"T": g.dtype.kind},
            pointers,
            words,
            outer,
            outputs[0]._layout.numel,
        )
    ]


@nll_backward.backward
def _(ctx: Context, h: Tensor) -> Any:
    """The loss is linear: the gradient of g is the loss of h."""
    a = ctx.attrs
    return (
        nll_values(h, ctx.target, ctx.weight, ignore=a["ignore"], reduction=a["reduction"])[0],
        None,
        None,
        None,
    )


# -- PyTorch's functions


def _check(op: str, x: Tensor, target: Tensor, weight: Tensor | None, ignore: int, reduction: str) -> Tensor:
    """The target as int64, after all checks of shapes, dtypes and values."""
    try:
        key = (op, x._layout, target._layout, weight, reduction)
    except AttributeError:
        key = None
    if weight is not None or key not in _fine:
        target = _check_kinds(op, x, target, weight, reduction)
        if weight is None and key is not None and key[2] is target._layout:
            _fine.note(key)
    else:
        target = target.detach()
    xs = x._layout.shape
    classes = xs[0] if len(xs) == 1 else xs[1]

    def error(value: int) -> Exception:
        return IndexError(
            f"{op}: Target {value} is out of bounds: the input has {classes} classes; give targets in 0..{classes - 1}, or"
            f" ignore_index={value}"
        )

    check_range(target, 0, classes - 1, error, skip=ignore)
    return target


_fine = Memo()  # what passed all checks that don't look at values, and needs no conversion


def _check_kinds(op: str, x: Tensor, target: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    """The target as int64, after the checks of shapes and dtypes."""
    require_tensor(op, "input", x)
    require_tensor(op, "target", target)
    if reduction not in REDUCTIONS:
        raise ValueError(
            f"{reduction} is not a valid value for reduction; use one of {', '.join(REDUCTIONS)}"
        )
    xs, ts = tuple(x._layout.shape), tuple(target._layout.shape)
    if not xs:
        raise (IndexError if op == "cross_entropy" else ValueError)(
            f"{op}: Expected 1 or more dimensions (got 0) in input; give scores (C), (N, C) or (N, C, *)"
        )
    if op == "cross_entropy" and not x.dtype.is_floating_point:  # its softmax comes before the target
        raise not_implemented(op, x.dtype)
    if (xs[:1] + xs[2:] if len(xs) > 1 else ()) != ts and not (len(xs) == 1 and ts == (1,)):
        _shape_error(op, xs, ts)
    if target.dtype not in (int64, uint8):
        raise RuntimeError(f"{op}: expected scalar type Long but found {TORCH_NAMES[target.dtype.name]} for target; convert"
                           " it with .long()")  # fmt: skip
    if not x.dtype.is_floating_point:
        raise not_implemented(op, x.dtype)
    require_same_device(op, input=x, target=target, weight=weight)
    classes = xs[0] if len(xs) == 1 else xs[1]
    _check_weight(op, x, weight, classes)
    return target.detach() if target.dtype is int64 else target.detach().to(int64)


def _shape_error(op: str, xs: tuple[int, ...], ts: tuple[int, ...]) -> None:
    if len(xs) == 1 and len(ts) == 1:
        raise ValueError(
            f"{op}: For 1D input, 1D target must have size 1, but got target size: {ts[0]}; give one class, or scores of"
            " shape (N, C)"
        )
    if len(xs) > 1 and (ts[0] if ts else 0) != xs[0]:
        raise ValueError(
            f"{op}: Expected input batch_size ({xs[0]}) to match target batch_size ({ts[0] if ts else 0}); give a class"
            f" for each row of the scores"
        )
    if len(xs) < 3 and len(ts) > 1:
        raise RuntimeError(
            f"{op}: 0D or 1D target tensor expected, multi-target not supported; got {list(ts)}"
        )
    if len(xs) > 2 and len(ts) != len(xs) - 1:
        raise RuntimeError(
            f"{op}: only batches of spatial targets supported ({len(xs) - 1}D tensors) but got targets of"
            f" dimension: {len(ts)}"
        )
    raise RuntimeError(f"{op}: size mismatch (got input: {list(xs)}, target: {list(ts)})")


def _check_weight(op: str, x: Tensor, weight: Tensor | None, classes: int) -> None:
    if weight is None:
        return
    if weight._layout.shape != (classes,):
        raise RuntimeError(
            f"{op}: weight tensor should be defined either for all {classes} classes or no classes but got weight tensor of"
            f" shape: {list(weight.shape)}"
        )
    if weight.dtype is not x.dtype:
        raise RuntimeError(
            f"{op}: expected scalar type {x.dtype.name} but found {weight.dtype.name} for weight"
        )
    if weight._rg:
        raise RuntimeError(f"{op}: the derivative for 'weight' is not implemented; detach() it")


def cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """The cross-entropy of scores (C), (N, C) or (N, C, *) with class indices (), (N) or (N, *).

    IndexError for a class out of range; RuntimeError or ValueError for shapes that don't fit.
    """
    target = _check("cross_entropy", input, target, weight, ignore_index, reduction)
    shape = input._layout.shape
    x = input
    if len(shape) == 1:
        x = view.unsqueeze(x, 0)
    elif len(shape) > 2:
        x = view.reshape(view.movedim(x, 1, -1), (-1 if x._layout.numel else target._layout.numel, shape[1]))
    flat = target if target._layout.ndim == 1 else view.reshape(target, (target._layout.numel,))
    result = cross_entropy_values(
        x, flat, weight, ignore=ignore_index, smoothing=float(label_smoothing), reduction=reduction
    )[0]
    if reduction == "none":
        return view.reshape(result, target._layout.shape if len(shape) > 1 else ())
    return result


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """-w[t] * input[t] of log-probabilities (C), (N, C) or (N, C, *) and class indices (), (N) or (N, *)."""
    target = _check("nll_loss", input, target, weight, ignore_index, reduction)
    shape = input._layout.shape
    outer, classes, inner = split_at(shape if len(shape) > 1 else (1, *shape), 1)
    x = view.reshape(input, (outer, classes, inner))
    flat = view.reshape(target, (outer, inner))
    result = nll_values(x, flat, weight, ignore=ignore_index, reduction=reduction)[0]
    if reduction == "none":
        return view.reshape(result, target._layout.shape if len(shape) > 1 else ())
    return result
