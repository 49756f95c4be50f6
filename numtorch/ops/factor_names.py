"""Linear algebra by the names it has without ``linalg``: ``numtorch.qr``, ``numtorch.cholesky_solve`` and their like."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

from .. import linalg
from .._tensor import Tensor
from ..creation import eye
from . import elementwise as E
from . import lu as F
from . import solvers, view
from .factorizations import PLU, done, require_pivots
from .matmul import matmul
from .node_names import called
from .random import randn
from .solvers import mt, require_matrices

det, slogdet, inverse = linalg.det, linalg.slogdet, linalg.inv
orgqr = linalg.householder_product
matrix_exp, matrix_power = linalg.matrix_exp, linalg.matrix_power

Geqrf = namedtuple("Geqrf", ["a", "tau"])
SVD = namedtuple("SVD", ["U", "S", "V"])
TriangularSolve = namedtuple("TriangularSolve", ["solution", "cloned_coefficient"])


@called("OrmqrBackward0")
def ormqr(input: Tensor, tau: Tensor, other: Tensor, left: bool = True, transpose: bool = False, *, out: Any = None) -> Tensor:  # fmt: skip
    """Q @ other, or with Q.mT (``transpose``), or other @ Q (``left=False``), for the Q of ``geqrf``'s result."""
    require_matrices("ormqr", input)
    require_matrices("ormqr", other, name="other")
    if left:
        return done("ormqr", F.reflect(input, tau, other, transpose), out)
    return done("ormqr", mt(F.reflect(input, tau, mt(other), not transpose)), out)


def geqrf(input: Tensor, *, out: Any = None) -> Any:
    """The Householder vectors and R of a QR factorisation in one matrix, and the scales of the reflections."""
    require_matrices("geqrf", input)
    return done("geqrf", Geqrf(*F.geqrf(input)), out)


def lu(A: Tensor, pivot: bool = True, get_infos: bool = False, out: Any = None) -> Any:
    """``linalg.lu_factor``, or with ``get_infos`` ``linalg.lu_factor_ex``."""
    require_matrices("lu", A)
    return linalg.lu_factor_ex(A, pivot=pivot, out=out) if get_infos else linalg.lu_factor(A, pivot=pivot, out=out)


def lu_solve(b: Tensor, LU_data: Tensor, LU_pivots: Tensor, *, out: Any = None) -> Tensor:
    """``linalg.lu_solve`` with the right side first."""
    return linalg.lu_solve(LU_data, LU_pivots, b, out=out)


@called("LuUnpackBackward0")
def lu_unpack(LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True, *, out: Any = None) -> Any:  # fmt: skip
    """P, L and U of ``lu_factor``'s result; what is not wanted is empty."""
    require_matrices("lu_unpack", LU_data)
    if unpack_pivots:
        require_pivots("lu_unpack", LU_pivots)
    empty = LU_data.new_zeros((0,))
    lower, upper = F.lu_unpack(LU_data) if unpack_data else (empty, empty)
    P = F.permutation_matrix(LU_pivots, LU_data.detach()) if unpack_pivots else empty
    return done("lu_unpack", PLU(P, lower, upper), out)


@called("CholeskyBackward0")
def cholesky(input: Tensor, upper: bool = False, *, out: Any = None) -> Tensor:
    """``linalg.cholesky``."""
    require_matrices("cholesky", input)
    return done("cholesky", linalg.cholesky(input, upper=upper), out)


@called("CholeskyInverseBackward0")
def cholesky_inverse(L: Tensor, upper: bool = False, *, out: Any = None) -> Tensor:
    """The inverse of the matrix that has the Cholesky factor ``L``."""
    require_matrices("cholesky_inverse", L, square=True)
    unit = view.expand(eye(L._layout.shape[-1], dtype=L.dtype, device=L.device), L._layout.shape)
    return done("cholesky_inverse", cholesky_solve(unit, L, upper), out)


def cholesky_solve(B: Tensor, L: Tensor, upper: bool = False, *, out: Any = None) -> Tensor:
    """X with A @ X = B from the Cholesky factor ``L`` of A."""
    require_matrices("cholesky_solve", L, square=True)
    require_matrices("cholesky_solve", B, name="B")
    return done("cholesky_solve", solvers.cholesky_solve(B, mt(L) if upper else L), out)


@called("TriangularSolveBackward0")
def triangular_solve(b: Tensor, A: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False, *, out: Any = None) -> Any:  # fmt: skip
    """X with A @ X = b for triangular A (``transpose``: A.mT), and a copy of A."""
    require_matrices("triangular_solve", A, square=True)
    require_matrices("triangular_solve", b, name="b")
    X = solvers.solve_triangular(mt(A) if transpose else A, b, upper=upper != transpose, unitriangular=unitriangular)
    batch = X._layout.shape[:-2]
    copied = view.expand(A, batch + A._layout.shape[-2:]).clone()
    return done("triangular_solve", TriangularSolve(X, copied), out)


def qr(input: Tensor, some: bool = True, *, out: Any = None) -> Any:
    """``linalg.qr``, reduced or (``some=False``) complete."""
    return linalg.qr(input, "reduced" if some else "complete", out=out)


def svd(input: Tensor, some: bool = True, compute_uv: bool = True, *, out: Any = None) -> Any:
    """U, S and V with input = U * S @ V.mT; zeros for U and V without ``compute_uv``."""
    require_matrices("svd", input)
    U, S, Vh = linalg.svd(input, full_matrices=not some or not compute_uv)
    if not compute_uv:
        U, Vh = U.detach() * 0, Vh.detach() * 0
    return done("svd", SVD(U, S, mt(Vh)), out)


def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """``linalg.pinv``."""
    return linalg.pinv(input, rcond)


def logdet(input: Tensor) -> Tensor:
    """The logarithms of determinants, NaN where they are negative."""
    sign, logarithm = linalg.slogdet(input)
    return E.where(sign == -1.0, float("nan"), logarithm)


# -- of low rank, by random projections


def svd_lowrank(A: Tensor, q: int | None = 6, niter: int | None = 2, M: Tensor | None = None) -> Any:
    """U, S and V of an approximation of rank ``q``, of A - M if ``M`` is given.

    N. Halko, P. Martinsson and J. Tropp, "Finding structure with randomness" (2009), algorithms 4.4 and 5.1.
    """
    require_matrices("svd_lowrank", A)

    m, n = A._layout.shape[-2:]
    A = A if M is None else A - view.broadcast_to(M, A._layout.shape)
    A = mt(A) if m < n else A
    start = randn(A._layout.shape[-1], 6 if q is None else q, dtype=A.dtype, device=A.device)
    Q = linalg.qr(matmul(A, start)).Q
    for _ in range(2 if niter is None else niter):
        Q = linalg.qr(matmul(mt(A), Q)).Q
        Q = linalg.qr(matmul(A, Q)).Q
    U, S, Vh = linalg.svd(matmul(mt(Q), A), full_matrices=False)
    U, V = matmul(Q, U), mt(Vh)
    return (V, S, U) if m < n else (U, S, V)


def pca_lowrank(A: Tensor, q: int | None = None, center: bool = True, niter: int = 2) -> Any:
    """``svd_lowrank`` of the matrix without the means of its columns (``center``)."""
    require_matrices("pca_lowrank", A)
    m, n = A._layout.shape[-2:]
    q = min(6, m, n) if q is None else q
    if not 0 <= q <= min(m, n):
        raise ValueError(f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}")
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    return svd_lowrank(A - A.mean(-2, keepdim=True) if center else A, q, niter)
