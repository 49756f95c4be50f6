"""LU and LDL factorisations, Householder products and the matrix exponential, with their derivatives.

NumPy has no LU: the factorisations are written here on whole blocks of a batch, with LAPACK's choice of pivots.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._tensor import Tensor
from ..creation import eye
from ..dtype import REDUCED, float32, int32
from ..shape import Layout, broadcast, contiguous
from . import elementwise as E
from . import view
from .declare import Context
from .host import host_op
from .joining import cat
from .matmul import matmul
from .node_names import called
from .rearrange import tril, triu
from .reduce import sum_to_size
from .solvers import like, mt, solve_triangular

_BLOCK = 32  # columns that are eliminated one by one before the rest is updated by one matrix product


def _pivots(A: Tensor) -> tuple[Layout, Layout]:
    """The layouts of pivots and of the information of each matrix."""
    la = A._layout
    k = min(la.shape[-2:])
    return contiguous((*la.shape[:-2], k), int32, la.device), contiguous(la.shape[:-2], int32, la.device)


@host_op(["A"], saves=["out0", "out1"], nograd=(1, 2))
def lu_factor(A: Tensor) -> Any:
    """L and U in one matrix, pivots counted from 1, and the number of the first zero pivot (or 0)."""
    return (like(A), *_pivots(A))


@lu_factor.compute
def _(A: Any) -> Any:
    m, n = A.shape[-2:]
    a = np.array(A).reshape(math.prod(A.shape[:-2]), m, n)
    k, each = min(m, n), np.arange(len(a))
    pivots = np.zeros((len(a), k), np.int32)
    for first in range(0, k, _BLOCK):
        last = min(first + _BLOCK, k)
        for j in range(first, last):
            p = j + np.abs(a[:, j:, j]).argmax(1)
            pivots[:, j] = p + 1
            a[each, p], a[:, j] = a[:, j].copy(), a[each, p]
            divisor = a[:, j, j, None]
            a[:, j + 1 :, j] /= np.where(divisor == 0, 1, divisor)
            a[:, j + 1 :, j + 1 : last] -= a[:, j + 1 :, j, None] * a[:, j, None, j + 1 : last]
        if last < n:
            unit = np.tril(a[:, first:last, first:last], -1) + np.eye(last - first, dtype=a.dtype)
            a[:, first:last, last:] = np.linalg.solve(unit, a[:, first:last, last:])
            a[:, last:, last:] -= a[:, last:, first:last] @ a[:, first:last, last:]
    zero = np.einsum("bii->bi", a[:, :k, :k]) == 0
    return a, pivots, np.where(zero.any(1), zero.argmax(1) + 1, 0) if k else np.zeros(len(a))


@lu_factor.backward
def _(ctx: Context, g: Tensor, g_pivots: Any, g_info: Any) -> Any:
    """Of P.mT @ A = L @ U, whose leading square part is the usual case; the other rows or columns are products of it."""
    lu, permutation = ctx.out0, permutation_matrix(ctx.out1, ctx.out0)
    m, n = lu._layout.shape[-2:]
    k = min(m, n)
    square = view.narrow(view.narrow(lu, -2, 0, k), -1, 0, k)
    g_square = view.narrow(view.narrow(g, -2, 0, k), -1, 0, k)
    lower, upper = tril(square, -1) + eye(k, dtype=lu.dtype, device=lu.device), triu(square)
    g_lower, g_upper, rest = tril(g_square, -1), triu(g_square), None
    if m < n:  # the right part of U is the inverse of L times the right part of A
        right = view.narrow(lu, -1, k, n - k)
        rest = solve_triangular(mt(lower), view.narrow(g, -1, k, n - k), upper=True, unitriangular=True)
        g_lower = g_lower - matmul(rest, mt(right))
    elif m > n:  # the lower part of L is the lower part of A times the inverse of U
        bottom = view.narrow(lu, -2, k, m - k)
        rest = mt(solve_triangular(upper, mt(view.narrow(g, -2, k, m - k)), upper=True, unitriangular=False))
        g_upper = g_upper - matmul(mt(bottom), rest)
    inner = tril(matmul(mt(lower), g_lower), -1) + triu(matmul(g_upper, mt(upper)))
    inner = mt(solve_triangular(upper, mt(inner), upper=True, unitriangular=False))
    result = solve_triangular(mt(lower), inner, upper=True, unitriangular=True)
    if rest is not None:
        result = cat([result, rest], -1 if m < n else -2)
    return matmul(permutation, result)


@host_op(["pivots", "LU"])
def permutation_matrix(pivots: Tensor, LU: Tensor) -> Layout:
    """P with A = P @ L @ U, from the pivots of a factorisation."""
    la = LU._layout
    return contiguous((*la.shape[:-2], la.shape[-2], la.shape[-2]), la.dtype, la.device)


@permutation_matrix.compute
def _(pivots: Any, LU: Any) -> Any:
    m = LU.shape[-2]
    chosen = pivots.reshape(math.prod(LU.shape[:-2]), pivots.shape[-1]).astype(np.int64) - 1
    order, each = np.tile(np.arange(m), (len(chosen), 1)), np.arange(len(chosen))
    for j in range(chosen.shape[1]):
        order[each, chosen[:, j]], order[:, j] = order[:, j].copy(), order[each, chosen[:, j]]
    return np.swapaxes(np.eye(m, dtype=LU.dtype)[order], -1, -2)


def lu_unpack(LU: Tensor) -> tuple[Tensor, Tensor]:
    """L and U of a factorisation in one matrix."""
    m, n = LU._layout.shape[-2:]
    k = min(m, n)
    lower = tril(view.narrow(LU, -1, 0, k), -1) + eye(m, k, dtype=LU.dtype, device=LU.device)
    return lower, triu(view.narrow(LU, -2, 0, k))


def lu_solve(LU: Tensor, pivots: Tensor, B: Tensor, adjoint: bool) -> Tensor:
    """X with A @ X = B (``adjoint``: A.mT @ X = B), from the factors of A."""
    permutation = permutation_matrix(pivots, LU.detach())
    if adjoint:
        inner = solve_triangular(mt(LU), B, upper=False, unitriangular=False)
        return matmul(permutation, solve_triangular(mt(LU), inner, upper=True, unitriangular=True))
    inner = solve_triangular(LU, matmul(mt(permutation), B), upper=False, unitriangular=True)
    return solve_triangular(LU, inner, upper=True, unitriangular=False)


# -- symmetric matrices that need not be positive


@host_op(["A"], nograd=(0, 1, 2))
def ldl_factor(A: Tensor) -> Any:
    """L and the block diagonal D in one matrix, LAPACK's pivots, and the number of the first zero pivot (or 0)."""
    return (like(A), *_pivots(A))


@ldl_factor.compute
def _(A: Any) -> Any:
    a = np.tril(A).reshape(math.prod(A.shape[:-2]), *A.shape[-2:])
    pivots = np.zeros(a.shape[:2], np.int32)
    return a, pivots, np.array([_eliminate(a[i], pivots[i]) for i in range(len(a))], np.int32)


def _eliminate(a: Any, pivots: Any) -> int:
    """J. Bunch and L. Kaufman, "Some stable methods for calculating inertia and solving symmetric linear systems" (1977)."""
    n, k, info = len(a), 0, 0
    while k < n:
        p, size = _pivot(a, k)
        if p < 0:
            p, info = k, info or k + 1
        row = k + size - 1
        if p != row:
            a[p + 1 :, row], a[p + 1 :, p] = a[p + 1 :, p].copy(), a[p + 1 :, row].copy()
            a[row + 1 : p, row], a[p, row + 1 : p] = a[p, row + 1 : p].copy(), a[row + 1 : p, row].copy()
            a[row, row], a[p, p] = a[p, p], a[row, row]
            if size == 2:
                a[k + 1, k], a[p, k] = a[p, k], a[k + 1, k]
        below = a[k + size :, k : k + size].copy()
        block = np.tril(a[k : k + size, k : k + size])
        if size == 2 or block[0, 0] != 0:
            weights = np.linalg.solve(block + np.tril(block, -1).T, below.T).T
            a[k + size :, k + size :] -= np.tril(weights @ below.T)
            a[k + size :, k : k + size] = weights
        pivots[k : k + size] = p + 1 if size == 1 else -(p + 1)
        k += size
    return info


def _pivot(a: Any, k: int) -> tuple[int, int]:
    """The row to swap with (-1 if the column is 0) and the size of the diagonal block, 1 or 2."""
    bound = (1.0 + math.sqrt(17.0)) / 8.0
    own, column = abs(a[k, k]), np.abs(a[k + 1 :, k])
    largest = column.max() if len(column) else 0
    if max(own, largest) == 0:
        return -1, 1
    if own >= bound * largest:
        return k, 1
    p = k + 1 + int(column.argmax())
    across = max(np.abs(a[p, k:p]).max(), np.abs(a[p + 1 :, p]).max() if p + 1 < len(a) else 0)
    if own >= bound * largest * (largest / across):
        return k, 1
    return p, 1 if abs(a[p, p]) >= bound * across else 2


@host_op(["LD", "pivots", "B"], saves=["LD", "pivots"])
def ldl_solve(LD: Tensor, pivots: Tensor, B: Tensor) -> Layout:
    """X with A @ X = B, from the factors of a symmetric A; no derivative in the factors, as in PyTorch."""
    batch = broadcast(LD._layout.shape[:-2], B._layout.shape[:-2], op="linalg.ldl_solve")
    return contiguous(batch + B._layout.shape[-2:], B._layout.dtype, B._layout.device)


@ldl_solve.compute
def _(LD: Any, pivots: Any, B: Any) -> Any:
    n, width = B.shape[-2:]
    batch = np.broadcast_shapes(LD.shape[:-2], B.shape[:-2])
    count = math.prod(batch)
    factors = np.broadcast_to(LD, (*batch, n, n)).reshape(count, n, n)
    rows = np.broadcast_to(pivots, (*batch, n)).reshape(count, n)
    x = np.array(np.broadcast_to(B, (*batch, n, width))).reshape(count, n, width)
    for i in range(count):
        _substitute(factors[i], rows[i], x[i])
    return x


def _substitute(a: Any, pivots: Any, x: Any) -> None:
    """Forward through L and D, then back through L.mT, with the row swaps of the factorisation."""
    starts, k = [], 0
    while k < len(a):
        size = 1 if pivots[k] > 0 else 2
        starts.append((k, size, abs(int(pivots[k])) - 1))
        k += size
    for k, size, p in starts:
        last, end = k + size - 1, k + size
        x[[last, p]] = x[[p, last]]
        x[end:] -= a[end:, k:end] @ x[k:end]
        block = np.tril(a[k:end, k:end])
        x[k:end] = np.linalg.solve(block + np.tril(block, -1).T, x[k:end])
    for k, size, p in reversed(starts):
        last, end = k + size - 1, k + size
        x[k:end] -= a[end:, k:end].T @ x[end:]
        x[[last, p]] = x[[p, last]]


@ldl_solve.backward
def _(ctx: Context, g: Tensor) -> Any:
    return None, None, sum_to_size(ldl_solve(ctx.LD, ctx.pivots, g), ctx.meta(2).shape)


# -- reflections


@host_op(["A"], nograd=(0, 1))
def geqrf(A: Tensor) -> Any:
    """The Householder vectors and R in one matrix, and the scales of the reflections."""
    la = A._layout
    return like(A), contiguous((*la.shape[:-2], min(la.shape[-2:])), la.dtype, la.device)


@geqrf.compute
def _(A: Any) -> Any:
    packed, tau = np.linalg.qr(A, "raw")
    return np.swapaxes(packed, -1, -2), tau


def reflect(A: Tensor, tau: Tensor, x: Tensor, transpose: bool) -> Tensor:
    """Q @ x (or Q.mT @ x), where Q is the product of the reflections 1 - tau[i] v[i] v[i].mT; v[i] stands below A's diagonal."""
    m, k = A._layout.shape[-2], tau._layout.shape[-1]
    vectors = tril(view.narrow(A, -1, 0, k), -1) + eye(m, k, dtype=A.dtype, device=A.device)
    for i in range(k) if transpose else reversed(range(k)):
        v = view.narrow(vectors, -1, i, 1)
        scale = view.unsqueeze(view.narrow(tau, -1, i, 1), -1)
        x = x - matmul(scale * v, matmul(mt(v), x))
    return x


# -- the exponential


@called("LinalgMatrixExpBackward0")
def matrix_exp(A: Tensor) -> Tensor:
    """exp of square matrices: Taylor's polynomial of degree 18 of A / 2**s, squared s times.

    The degree and the bound 1.09 on the norm are those of P. Bader, S. Blanes and F. Casas, "Computing the matrix exponential
    with an optimized Taylor polynomial approximation" (2019).
    """
    if A.dtype in REDUCED:
        return matrix_exp(A.to(float32)).to(A.dtype)
    n = A._layout.shape[-1]
    unit = view.expand(eye(n, dtype=A.dtype, device=A.device), A._layout.shape)
    if not A._layout.numel:
        return A + unit
    norm = float(E.abs(A.detach()).sum(-2).max())
    squarings = max(0, math.ceil(math.log2(norm / 1.09))) if 0 < norm < math.inf else 0
    scaled = A * 2.0**-squarings
    result = unit + scaled * (1.0 / 18.0)
    for k in range(17, 0, -1):
        result = unit + matmul(scaled, result) * (1.0 / k)
    for _ in range(squarings):
        result = matmul(result, result)
    return result
