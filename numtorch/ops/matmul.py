"""Matrix products: one kernel op on strided, batched matrices; PyTorch's names are views around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import settings
from .._tensor import Tensor
from ..autograd.mode import state, watchers
from ..dtype import BOOL, REDUCED, bool_, float32
from ..errors import not_implemented, require_same_device, require_same_dtype, require_tensor
from ..shape import Layout, broadcast, contiguous, expand_strides
from . import elementwise as E
from . import view
from .autocasting import keeps
from .declare import Context, kernel_op, tensor_cores
from .inplace import write_out
from .launch import Launch, Scratch
from .node_names import called, named, product_name
from .reduce import planner
from .rounding import rounds_once


def _levels(
    shape: Sequence[int], a: Sequence[int], b: Sequence[int]
) -> tuple[list[int], list[int], list[int]]:
    """Batch dimensions with those joined that both operands cross with an even step."""
    sizes: list[int] = []
    sa: list[int] = []
    sb: list[int] = []
    for n, x, y in zip(shape, a, b):
        if n == 1:
            continue
        if sizes and sa[-1] == x * n and sb[-1] == y * n:
            sizes[-1] *= n
            sa[-1], sb[-1] = x, y
        else:
            sizes.append(n)
            sa.append(x)
            sb.append(y)
    return sizes, sa, sb


def _two_levels(x: Tensor, batch: tuple[int, ...]) -> Tensor:
    """A copy with the batch written out, for more than two batch levels."""
    return view.expand(x, batch + x._layout.shape[-2:]).contiguous()


@kernel_op(["a", "b", "bias"], saves=["a", "b"], name="matmul", half_on_gpu=True)
def gemm(a: Tensor, b: Tensor, bias: Tensor | None, relu: bool = False) -> Layout:
    """Batched ``a @ b + bias`` of matrices (..., M, K) and (..., K, N); batches broadcast, the bias is a row of N."""
    la, lb = a._layout, b._layout
    if la.shape[-1] != lb.shape[-2]:
        fit = " b.mT would fit." if lb.shape[-1] == la.shape[-1] else ""
        raise RuntimeError(
            f"matmul: mat1 and mat2 shapes cannot be multiplied ({la.shape[-2]}x{la.shape[-1]} and {lb.shape[-2]}x{lb.shape[-1]}):"
            f" a.shape[-1] must equal b.shape[-2].{fit}"
        )
    require_same_dtype("matmul", a=a, b=b, bias=bias)
    require_same_device("matmul", a=a, b=b, bias=bias)
    if la.dtype.category == BOOL:
        raise not_implemented("addmm_impl_cpu_", la.dtype)
    batch = broadcast(la.shape[:-2], lb.shape[:-2], op="matmul")
    return contiguous(batch + (la.shape[-2], lb.shape[-1]), la.dtype, la.device)


@gemm.plan
def _(outputs: Any, a: Tensor, b: Tensor, bias: Tensor | None, relu: bool = False) -> list[Launch]:
    out = outputs[0]
    batch = out._layout.shape[:-2]
    if out._layout.numel == 0:
        return []
    a, b = a.detach(), b.detach()
    M, K = a._layout.shape[-2:]
    N = b._layout.shape[-1]
    batch_a = expand_strides(a._layout.shape[:-2], a._layout.strides[:-2], batch)
    batch_b = expand_strides(b._layout.shape[:-2], b._layout.strides[:-2], batch)
    sizes, sa, sb = _levels(batch, batch_a, batch_b)
    if len(sizes) > 2:
        a, b = _two_levels(a, batch), _two_levels(b, batch)
        sizes, sa, sb = _levels(batch, a._layout.strides[:-2], b._layout.strides[:-2])
    pad = 2 - len(sizes)
    sizes, sa, sb = [1] * pad + sizes, [0] * pad + sa, [0] * pad + sb
    has_bias = (0, bias._layout.strides[-1]) if bias is not None else None
    if bias is not None and has_bias != (0, 1):
        bias, has_bias = bias.contiguous(), (0, 1)
    if _on_tensor_cores(out._layout):
        batches = (tuple(sizes), tuple(sa), tuple(sb))
        found = planner("tensor_plan", "tensor", out._layout.device)(
            M, N, K, _strides(a), _strides(b), out.dtype.name, *batches, bias is not None, relu
        )
        tensors = {"c": out, "a": a, "b": b, "bias": 0 if bias is None else bias, "work": Scratch(found.work_bytes)}
        return [bind(one, **tensors) for one in found.launches]
    found = planner("matmul_plan", "matmul", out._layout.device)(
        M,
        N,
        K,
        _strides(a),
        _strides(b),
        out.dtype.kind,
        None,
        tuple(sizes),
        tuple(sa),
        tuple(sb),
        None,
        1.0,
        0.0,
        has_bias,
        relu,
    )
    tensors = {"c": out, "a": a, "b": b, "bias": bias if bias is not None else 0}
    if out._layout.device == "cpu":
        return [bind(found, **tensors)]
    tensors["work"] = Scratch(found.work_bytes)  # on a GPU the sums of a small product are split
    return [bind(one, **tensors) for one in found.launches]


def _on_tensor_cores(la: Layout) -> bool:
    """Whether a product of this layout is for tensor cores: 16 bits always, float32 where tf32 is permitted."""
    if la.device == "cpu" or not (la.dtype in REDUCED or (la.dtype is float32 and settings.tf32_permitted())):
        return False
    return tensor_cores(la.device)


def _strides(x: Tensor) -> tuple[int, int]:
    """Row and column stride; a size of 1 counts as packed, so that equal work finds one plan."""
    (m, n), (rs, cs) = x._layout.shape[-2:], x._layout.strides[-2:]
    if n == 1 and cs != 1 and rs == 1:
        cs = max(m, 1)
    return (rs, cs)


MULTIPLY_ADDS = 5  # of a product in the time of an element operation


def bind(found: Any, **tensors: Any) -> Launch:
    """A launch of ours from a planner's: pointers by name, scratch for any number of chunks."""
    launch = Launch(found.kernel, {"T": found.T}, [], found.words, found.units, found.cost // MULTIPLY_ADDS)
    if found.chunk_scratch:
        tensors["scratch"] = Scratch(found.scratch_bytes, found.chunk_scratch)
    launch.pointers = [tensors.get(n, 0) for n in found.pointers]
    return launch


@gemm.backward
def _(ctx: Context, g: Tensor) -> Any:
    da = gemm(g, view.transpose(ctx.b, -1, -2), None) if ctx.needs(0) else None
    db = _right_gradient(ctx.a, g, ctx.meta(1)) if ctx.needs(1) else None
    return da, db, (g if ctx.needs(2) else None)


def _right_gradient(a: Tensor, g: Tensor, la: Layout) -> Tensor:
    """The gradient of the right matrix, which had the layout ``la``, laid out in memory as that matrix is."""
    if g._layout.ndim > 2 and la.ndim == 2:  # one matrix, applied to a whole batch
        return _weight_gradient(a, g)
    if la.strides[-2] == 1 and la.strides[-1] != 1:
        return view.transpose(gemm(view.transpose(g, -1, -2), a, None), -1, -2)
    return gemm(view.transpose(a, -1, -2), g, None)


def _weight_gradient(a: Tensor, g: Tensor) -> Tensor:
    """The gradient of a matrix that was applied to a whole batch: one product over all rows."""
    k, n = a._layout.shape[-1], g._layout.shape[-1]
    rows = view.expand(a, g._layout.shape[:-2] + a._layout.shape[-2:])
    count = math.prod(g._layout.shape[:-1])  # not -1: k or n may be 0
    return gemm(view.transpose(view.reshape(rows, (count, k)), 0, 1), view.reshape(g, (count, n)), None)


def matmul(input: Tensor, other: Tensor, *, out: Any = None) -> Tensor:
    """The matrix product of vectors, matrices and batches of matrices, as Python's ``@``.

    Example:
        >>> import numtorch
        >>> (numtorch.ones(2, 3) @ numtorch.ones(3, 4)).shape
        torch.Size([2, 4])
    """
    require_tensor("matmul", "input", input)
    require_tensor("matmul", "other", other)
    na, nb = input._layout.ndim, other._layout.ndim
    if na == 0 or nb == 0:
        raise RuntimeError(
            f"both arguments to matmul need to be at least 1D, but they are {na}D and {nb}D; use * for numbers"
        )
    a = view.unsqueeze(input, 0) if na == 1 else input
    b = view.unsqueeze(other, 1) if nb == 1 else other
    if na == nb == 2:
        result = gemm(a, b, None)
    elif na > 2 and nb <= 2 and input._layout.contiguous:
        shape = input._layout.shape
        result = gemm(view.reshape(a, (-1, shape[-1])), b, None) if a._layout.numel else gemm(a, b, None)
        result = view.reshape(result, shape[:-1] + (b._layout.shape[-1],))
    else:
        result = gemm(a, b, None)
    if nb == 1:
        result = view.squeeze(result, -1)
    if na == 1:
        result = view.squeeze(result, -2 if nb > 1 else -1)
    if result._node is not None:
        result._node.alias = product_name(na, nb)
    return result if out is None else write_out(result, out, "matmul")


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``input @ weight.T + bias``: input (..., in), weight (out, in) or (in,), bias (out,)."""
    for name, t in (("input", input), ("weight", weight)):
        require_tensor("linear", name, t)
    if watchers and state.autocast is not None:
        input, weight, bias = state.autocast("linear", (input, weight, bias))
    if weight._layout.ndim == 1:
        result = matmul(input, weight)
        return result if bias is None else _add_bias(result, bias)
    if input._layout.dtype is not weight._layout.dtype:
        require_same_dtype("linear", input=input, weight=weight)
    shape = input._layout.shape
    if not shape or shape[-1] != weight._layout.shape[-1]:
        rows = input._layout.numel // max(shape[-1], 1) if shape else 1
        raise RuntimeError(
            f"linear: mat1 and mat2 shapes cannot be multiplied ({rows}x{shape[-1] if shape else 1} and"
            f" {weight._layout.shape[1]}x{weight._layout.shape[0]}): the input's last size must equal the weight's"
            " in_features"
        )
    if bias is not None and (bias._layout.shape != weight._layout.shape[:1] or not bias.dtype.is_floating_point):
        return _add_bias(linear(input, weight), bias)
    w = view.transpose(weight, 0, 1)
    if len(shape) == 2:
        return gemm(input, w, bias)
    rows = (
        view.reshape(input, (-1, shape[-1]))
        if shape[-1]
        else view.reshape(input, (-(-input._layout.numel // 1), 0))
    )
    result = view.reshape(gemm(rows, w, bias), shape[:-1] + weight._layout.shape[:1])
    return result if bias is not None else named(result, "UnsafeViewBackward0" if len(shape) > 1 else "SqueezeBackward4")


def _add_bias(result: Tensor, bias: Tensor) -> Tensor:
    """A product and a bias of any shape that broadcasts to it; RuntimeError for others."""
    require_tensor("linear", "bias", bias)
    require_same_dtype("linear", input=result, bias=bias)
    shape = result._layout.shape
    if broadcast(shape, bias._layout.shape, op="linear") != shape:
        raise RuntimeError(
            f"linear: output with shape {list(shape)} doesn't match the broadcast shape of it and bias"
            f" {list(bias.shape)}; give a bias of shape (out_features,)"
        )
    return E.add(result, bias)


def _matrices(op: str, dims: int, **tensors: Tensor) -> None:
    for name, t in tensors.items():
        require_tensor(op, name, t)
        if t._layout.ndim != dims:
            what = {1: "1D tensors", 2: "a matrix", 3: "a 3D tensor"}[dims]
            raise RuntimeError(
                f"{op}: {name} must be {what}, got a {t._layout.ndim}D tensor of shape {list(t.shape)}"
            )


def mm(input: Tensor, mat2: Tensor, *, out: Any = None) -> Tensor:
    """The product of two matrices."""
    _matrices("mm", 2, self=input, mat2=mat2)
    result = gemm(input, mat2, None)
    return result if out is None else write_out(result, out, "mm")


def bmm(input: Tensor, mat2: Tensor, *, out: Any = None) -> Tensor:
    """The products of two batches of matrices."""
    _matrices("bmm", 3, batch1=input, batch2=mat2)
    sa, sb = input._layout.shape, mat2._layout.shape
    if sa[0] != sb[0] or sa[2] != sb[1]:
        raise RuntimeError(
            f"bmm: Expected size for first two dimensions of batch2 tensor to be: [{sa[0]}, {sa[2]}] but got: [{sb[0]}, {sb[1]}]."
        )
    result = gemm(input, mat2, None)
    return result if out is None else write_out(result, out, "bmm")


@keeps
def mv(input: Tensor, vec: Tensor, *, out: Any = None) -> Tensor:
    """A matrix times a vector."""
    _matrices("mv", 2, input=input)
    _matrices("mv", 1, vec=vec)
    if input._layout.shape[1] != vec._layout.shape[0]:
        raise RuntimeError(
            f"size mismatch, got input ({input._layout.shape[0]}), mat ({input._layout.shape[0]}x{input._layout.shape[1]}),"
            f" vec ({vec._layout.shape[0]})"
        )
    return named(matmul(input, vec, out=out), "MvBackward0")


@keeps
def dot(input: Tensor, tensor: Tensor, *, out: Any = None) -> Tensor:
    """The inner product of two vectors."""
    _matrices("dot", 1, input=input, tensor=tensor)
    require_same_dtype("dot", input=input, tensor=tensor)
    if input._layout.shape != tensor._layout.shape:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{input.numel()}] and src [{tensor.numel()}] to have the same number"
            f" of elements, but got {input.numel()} and {tensor.numel()} elements respectively"
        )
    return named(matmul(input, tensor, out=out), "DotBackward0")


@called("VdotBackward0")
def vdot(input: Tensor, other: Tensor, *, out: Any = None) -> Tensor:
    """The inner product of two vectors (of real numbers the same as ``dot``)."""
    return dot(input, other, out=out)


def outer(input: Tensor, vec2: Tensor, *, out: Any = None) -> Tensor:
    """All products of the elements of two vectors."""
    _matrices("outer", 1, input=input, vec2=vec2)
    return E.mul(view.unsqueeze(input, 1), vec2, out=out)


def _combined(input: Tensor, product: Tensor, beta: Any, alpha: Any, out: Any, op: str) -> Tensor:
    """``beta * input + alpha * product``; the input is not read when beta is 0."""
    broadcast(input._layout.shape, product._layout.shape, op=op)
    if watchers and state.autocast is not None:
        input, product = state.autocast(op, (input, product))
    d = product.dtype
    if not d.is_floating_point:  # PyTorch cuts the factors to the tensors' dtype
        alpha, beta = (bool(f) if d is bool_ else int(f) for f in (alpha, beta))
    if alpha != 1:
        product = product * alpha
    if beta == 0:
        result = product
    else:
        result = E.add(input, product) if beta == 1 else E.add_scaled(product, input, beta)
    return result if out is None else write_out(result, out, op)


@rounds_once
def addmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1, out: Any = None
) -> Tensor:
    """``beta * input + alpha * (mat1 @ mat2)``."""
    _matrices("addmm", 2, mat1=mat1, mat2=mat2)
    row = input._layout.ndim == 1 and input._layout.shape[0] == mat2._layout.shape[1]
    if row and beta == 1 and alpha == 1 and input.dtype.is_floating_point:
        result = gemm(mat1, mat2, input)
        return result if out is None else write_out(result, out, "addmm")
    return named(_combined(input, gemm(mat1, mat2, None), beta, alpha, out, "addmm"), "AddmmBackward0")


@keeps
@rounds_once
@called("AddmvBackward0")
def addmv(
    input: Tensor, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1, out: Any = None
) -> Tensor:
    """``beta * input + alpha * (mat @ vec)``."""
    product = mv(mat, vec)
    if isinstance(input, Tensor) and input.ndim > 1:
        raise RuntimeError(
            f"addmv: vector + matrix @ vector expected, got {input.ndim}, {mat.ndim}, {vec.ndim} dimensions; flatten the first"
        )
    return _combined(input, product, beta, alpha, out, "addmv")


@rounds_once
@called("AddrBackward0")
def addr(
    input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Any = 1, alpha: Any = 1, out: Any = None
) -> Tensor:
    """``beta * input + alpha * outer(vec1, vec2)``."""
    return _combined(input, outer(vec1, vec2), beta, alpha, out, "addr")


@rounds_once
@called("BaddbmmBackward0")
def baddbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1, out: Any = None
) -> Tensor:
    """``beta * input + alpha * bmm(batch1, batch2)``."""
    return _combined(input, bmm(batch1, batch2), beta, alpha, out, "baddbmm")


@rounds_once
@called("AddbmmBackward0")
def addbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1, out: Any = None
) -> Tensor:
    """``beta * input + alpha * bmm(batch1, batch2).sum(0)``."""
    return _combined(input, bmm(batch1, batch2).sum(0, dtype=batch1.dtype), beta, alpha, out, "addbmm")
