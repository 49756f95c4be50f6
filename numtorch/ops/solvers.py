"""Inverses, determinants, solutions of linear systems and Cholesky factors, with their derivatives.

The derivatives are those collected by M. Giles, "An extended collection of matrix derivative results for forward and
reverse mode algorithmic differentiation" (2008).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._tensor import Tensor
from ..dtype import REDUCED, int32
from ..errors import not_implemented, require_tensor
from ..shape import Layout, broadcast, contiguous
from . import view
from .declare import Context
from .host import host_op
from .matmul import matmul
from .rearrange import tril, triu


def like(x: Tensor, *drop: int) -> Layout:
    """The layout of ``x``, without its last ``drop`` dimensions."""
    shape = x._layout.shape[: x._layout.ndim - drop[0]] if drop else x._layout.shape
    return contiguous(shape, x._layout.dtype, x._layout.device)


# Of whole numbers, these say that a kernel is missing; the others ask for floating point numbers.
LOW_PRECISION = frozenset(f"linalg.{n}" for n in ("inv", "inv_ex", "slogdet", "pinv", "matrix_rank", "lstsq", "matrix_norm"))
LOW_PRECISION |= {"svd_lowrank", "pca_lowrank"}
NO_KERNEL = frozenset(f"linalg.{n}" for n in ("eigh", "eigvalsh", "householder_product", "lu_factor_ex", "solve_triangular"))


def require_matrices(op: str, A: Tensor, square: bool = False, name: str = "A", half: bool = False) -> None:
    """RuntimeError unless ``A`` holds floating point (square) matrices."""
    require_tensor(op, name, A)
    if A.ndim < 2:
        raise RuntimeError(f"{op}: The input tensor {name} must have at least 2 dimensions.")
    m, n = A._layout.shape[-2:]
    if square and m != n:
        raise RuntimeError(f"{op}: {name} must be batches of square matrices, but they are {m} by {n} matrices")
    if not A.dtype.is_floating_point or (A.dtype in REDUCED and not half):
        if A.dtype in REDUCED and op in LOW_PRECISION:
            raise RuntimeError(f"{op}: Low precision dtypes not supported. Got {A.dtype.name}; convert with .float()")
        if A.dtype in REDUCED or op in NO_KERNEL or (not op.startswith("linalg.") and op not in ("svd", "qr")):
            raise not_implemented(op, A.dtype)
        raise RuntimeError(
            f"{op}: Expected a floating point or complex tensor as input. Got {A.dtype.name}; convert with .float()"
        )


def mt(x: Tensor) -> Tensor:
    """Matrices transposed."""
    return view.transpose(x, -1, -2)


def scalars(x: Tensor) -> Tensor:
    """A number per matrix, ready to be multiplied with the matrices."""
    return view.unsqueeze(view.unsqueeze(x, -1), -1)


@host_op(["A"], saves=["out"])
def inv(A: Tensor) -> Layout:
    """The inverses of square matrices."""
    return like(A)


@inv.compute
def _(A: Any) -> Any:
    return np.linalg.inv(A)


@inv.backward
def _(ctx: Context, g: Tensor) -> Any:
    y = mt(ctx.out)
    return -matmul(matmul(y, g), y)


@host_op(["A"], saves=["A", "out"])
def det(A: Tensor) -> Layout:
    """The determinants of square matrices."""
    return like(A, 2)


@det.compute
def _(A: Any) -> Any:
    return np.linalg.det(A)


@det.backward
def _(ctx: Context, g: Tensor) -> Any:
    A, y = ctx.A, ctx.out
    if bool((y.detach() == 0).any()):
        return scalars(g) * _cofactors(A)
    return scalars(g * y) * mt(inv(A))


def _cofactors(A: Tensor) -> Tensor:
    """The derivative of the determinant of matrices that may be singular, from singular values."""
    from .factors import svd_values
    from .scan import exclusive_products

    u, s, vh = svd_values(A)
    n = A._layout.shape[-1]
    others = view.reshape(exclusive_products(view.reshape(s, (-1, n))), s._layout.shape)
    return scalars(det(u) * det(vh)) * matmul(u * view.unsqueeze(others, -2), vh)


@host_op(["A"], saves=["A"])
def slogdet(A: Tensor) -> Any:
    """Signs and logarithms of the absolute values of determinants."""
    return like(A, 2), like(A, 2)


@slogdet.compute
def _(A: Any) -> Any:
    sign, logarithm = np.linalg.slogdet(A)
    return sign, logarithm


@slogdet.backward
def _(ctx: Context, g_sign: Any, g: Tensor | None) -> Any:
    if g is None:  # the sign is constant
        return 0.0 * ctx.A
    return scalars(g) * mt(inv(ctx.A))


def _reduced(g: Tensor | None, shape: tuple[int, ...]) -> Tensor | None:
    """A gradient summed over the batches that were broadcast."""
    from .reduce import sum_to_size

    return None if g is None else sum_to_size(g, shape)


@host_op(["A", "B"], saves=["A", "out"])
def solve(A: Tensor, B: Tensor) -> Layout:
    """X with A @ X = B for matrices B (..., N, K); batches broadcast."""
    batch = broadcast(A._layout.shape[:-2], B._layout.shape[:-2], op="linalg.solve")
    return contiguous(batch + B._layout.shape[-2:], A._layout.dtype, A._layout.device)


@solve.compute
def _(A: Any, B: Any) -> Any:
    return np.linalg.solve(A, B)


@solve.backward
def _(ctx: Context, g: Tensor) -> Any:
    dB = solve(mt(ctx.A), g)
    dA = -matmul(dB, mt(ctx.out)) if ctx.needs(0) else None
    return _fit(ctx, 0, dA), _fit(ctx, 1, dB)


def _fit(ctx: Context, i: int, g: Tensor | None) -> Tensor | None:
    return _reduced(g, ctx.meta(i).shape) if ctx.needs(i) else None


@host_op(["A", "B"], saves=["A", "out"])
def solve_triangular(A: Tensor, B: Tensor, upper: bool, unitriangular: bool) -> Layout:
    """X with A @ X = B where only a triangle of A counts (and its diagonal is 1 if ``unitriangular``)."""
    batch = broadcast(A._layout.shape[:-2], B._layout.shape[:-2], op="linalg.solve_triangular")
    return contiguous(batch + B._layout.shape[-2:], A._layout.dtype, A._layout.device)


@solve_triangular.compute
def _(A: Any, B: Any, upper: bool, unitriangular: bool) -> Any:
    part = np.triu(A) if upper else np.tril(A)
    if unitriangular:
        n = np.arange(A.shape[-1])
        part[..., n, n] = 1
    return np.linalg.solve(part, B)


@solve_triangular.backward
def _(ctx: Context, g: Tensor) -> Any:
    upper, unit = ctx.attrs["upper"], ctx.attrs["unitriangular"]
    dB = solve_triangular(mt(ctx.A), g, upper=not upper, unitriangular=unit)
    dA = None
    if ctx.needs(0):
        dA = -matmul(dB, mt(ctx.out))
        dA = triu(dA, 1 if unit else 0) if upper else tril(dA, -1 if unit else 0)
    return _fit(ctx, 0, dA), _fit(ctx, 1, dB)


@host_op(["A"], saves=["out"])
def cholesky(A: Tensor) -> Layout:
    """Lower triangular L with L @ L.mT = A for symmetric positive definite matrices."""
    return like(A)


@cholesky.compute
def _(A: Any) -> Any:
    return np.linalg.cholesky(A)


@host_op(["A"])
def first_indefinite(A: Tensor) -> Layout:
    """The size of the first leading minor that is not positive definite, 0 if all are: elimination, column by column."""
    return contiguous(A._layout.shape[:-2], int32, A._layout.device)


@first_indefinite.compute
def _(A: Any) -> Any:
    rest = np.array(np.tril(A) + np.swapaxes(np.tril(A, -1), -1, -2), dtype=np.float64)
    found = np.zeros(A.shape[:-2], dtype=np.int32)
    for k in range(A.shape[-1]):
        pivot = rest[..., k, k]
        found = np.where((found == 0) & ~(pivot > 0), k + 1, found)
        column = rest[..., :, k] / np.where(pivot > 0, pivot, 1.0)[..., None]
        rest = rest - column[..., :, None] * rest[..., None, k, :]
    return found


@cholesky.backward
def _(ctx: Context, g: Tensor) -> Any:
    L = ctx.out
    phi = tril(matmul(mt(L), g))
    phi = phi - 0.5 * diagonal_part(phi)
    left = solve_triangular(mt(L), phi, upper=True, unitriangular=False)
    dA = mt(solve_triangular(mt(L), mt(left), upper=True, unitriangular=False))
    return 0.5 * (dA + mt(dA))


@host_op(["B", "L"], saves=["L", "out"])
def cholesky_solve(B: Tensor, L: Tensor) -> Layout:
    """X with L @ L.mT @ X = B, where only the lower triangle of L counts."""
    batch = broadcast(B._layout.shape[:-2], L._layout.shape[:-2], op="cholesky_solve")
    return contiguous(batch + B._layout.shape[-2:], B._layout.dtype, B._layout.device)


@cholesky_solve.compute
def _(B: Any, L: Any) -> Any:
    lower = np.tril(L)
    return np.linalg.solve(np.swapaxes(lower, -1, -2), np.linalg.solve(lower, B))


@cholesky_solve.backward
def _(ctx: Context, g: Tensor) -> Any:
    """PyTorch's: the derivative in L is that of the product of whole matrices, not of the triangle."""
    dB = cholesky_solve(g, ctx.L)
    both = matmul(dB, mt(ctx.out))
    dL = -matmul(both + mt(both), ctx.L) if ctx.needs(1) else None
    return _fit(ctx, 0, dB), _fit(ctx, 1, dL)


def diagonal_part(x: Tensor) -> Tensor:
    """Matrices with everything but their diagonals 0."""
    return tril(triu(x))


@host_op(["A"], saves=["A", "out"])
def pinv(A: Tensor, rtol: Any, atol: Any, hermitian: bool) -> Layout:
    """The pseudoinverses of matrices; singular values up to max(atol, rtol * largest) count as 0."""
    m, n = A._layout.shape[-2:]
    return contiguous(A._layout.shape[:-2] + (n, m), A._layout.dtype, A._layout.device)


@pinv.compute
def _(A: Any, rtol: Any, atol: Any, hermitian: bool) -> Any:
    if not A.size:
        return np.zeros(A.shape[:-2] + A.shape[:-3:-1], A.dtype)
    if hermitian:
        A = np.tril(A) + np.swapaxes(np.tril(A, -1), -1, -2)
    u, s, vh = np.linalg.svd(A, full_matrices=False)
    keep = s > np.maximum(atol[..., None], rtol[..., None] * s.max(-1, keepdims=True))
    s = np.where(keep, 1 / np.where(keep, s, 1), 0)
    return np.swapaxes(vh, -1, -2) @ (s[..., None] * np.swapaxes(u, -1, -2))


@pinv.backward
def _(ctx: Context, g: Tensor) -> Any:
    """Golub and Pereyra, "The differentiation of pseudo-inverses" (1973)."""
    A, P = ctx.A, ctx.out
    G, Pt = mt(g), mt(P)
    if A._layout.shape[-2] <= A._layout.shape[-1]:
        K = matmul(G, P)
        KP = matmul(K, Pt)
        dA = KP - mt(matmul(P, K)) - matmul(matmul(A, P), KP) + matmul(matmul(Pt, P), G - matmul(K, A))
    else:
        K = matmul(P, G)
        PK = matmul(Pt, K)
        rest = matmul(matmul(G - matmul(A, K), P), Pt)
        dA = PK - mt(matmul(K, P)) + rest - matmul(matmul(PK, P), A)
    return dA


__all__ = [
    "cholesky",
    "cholesky_solve",
    "det",
    "diagonal_part",
    "inv",
    "like",
    "mt",
    "pinv",
    "require_matrices",
    "scalars",
    "slogdet",
    "solve",
    "solve_triangular",
]
