"""numtorch.linalg: PyTorch's linear algebra. Products and norms run on kernels, factorisations on NumPy (not in a trace).

Example:
    >>> import numtorch
    >>> numtorch.linalg.solve(numtorch.tensor([[2.0, 0.0], [0.0, 4.0]]), numtorch.tensor([2.0, 2.0])).tolist()
    [1.0, 0.5]
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import return_types
from ._tensor import Tensor
from .absent import hints as _hints
from .creation import eye, from_array
from .dtype import finfo
from .errors import HALVES, UNREAL, refuse_dtypes, require_tensor
from .ops import elementwise as E
from .ops import factors, solvers, view
from .ops import lu as lu_ops
from .ops import reduce as R
from .ops.arithmetic import where
from .ops.copying import clone
from .ops.extremes import amax, amin
from .ops.factorizations import householder_product as householder_product
from .ops.factorizations import ldl_factor as ldl_factor
from .ops.factorizations import ldl_factor_ex as ldl_factor_ex
from .ops.factorizations import ldl_solve as ldl_solve
from .ops.factorizations import lu as lu
from .ops.factorizations import lu_factor as lu_factor
from .ops.factorizations import lu_factor_ex as lu_factor_ex
from .ops.factorizations import lu_solve as lu_solve
from .ops.factorizations import no_info, or_nan, regular
from .ops.inplace import write_out
from .ops.matmul import matmul
from .ops.solvers import mt, require_matrices
from .ops.vector_norm import vector_norm
from .shape import wrap_dim


class LinAlgError(RuntimeError):
    """A matrix that cannot be factored or inverted."""


def _matrix(op: str, A: Tensor, square: bool = False, name: str = "A", half: bool = False) -> None:
    """Raise unless ``A`` holds floating point (square) matrices."""
    require_matrices(f"linalg.{op}", A, square, name, half)


def _result(op: str, result: Any, out: Any) -> Any:
    return result if out is None else write_out(result, out, f"linalg.{op}")


# -- norms


def matrix_norm(
    A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None, out: Any = None
) -> Tensor:  # fmt: skip
    """The norm of matrices: "fro", "nuc", or 1, -1, 2, -2, inf, -inf."""
    _matrix("matrix_norm", A, half=True)
    a, b = (wrap_dim(d, A.ndim, "linalg.matrix_norm") for d in dim)
    if a == b:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got ({dim[0]}, {dim[1]})")
    A = A if dtype is None else A.to(dtype)
    if ord == "fro":
        return vector_norm(A, 2, (a, b), keepdim, out=out)
    if isinstance(ord, str) and ord != "nuc":
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    if ord == "nuc" or abs(ord) == 2:
        _matrix("matrix_norm", A)
        s = svdvals(view.movedim(A, (a, b), (-2, -1)))
        result = R.sum(s, -1) if ord == "nuc" else _extreme(s, -1, ord > 0)
    elif abs(ord) == 1 or math.isinf(ord):
        first, last = (a, b) if abs(ord) == 1 else (b, a)
        sums = vector_norm(A, 1, first)
        result = _extreme(sums, last - (first < last), ord > 0)
    else:
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    if keepdim:
        shape = tuple(1 if d in (a, b) else n for d, n in enumerate(A._layout.shape))
        result = view.reshape(result, shape)
    return _result("matrix_norm", result, out)


def _extreme(x: Tensor, dim: int, largest: bool) -> Tensor:
    """The largest or smallest along ``dim``; the largest of no values is 0."""
    if largest and x._layout.shape[dim] == 0:
        return R.sum(x, dim)
    return (amax if largest else amin)(x, dim)


def norm(
    A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, out: Any = None, dtype: Any = None
) -> Tensor:
    """A vector norm (no order, one dimension or a vector) or a matrix norm."""
    require_tensor("linalg.norm", "A", A)
    dims = dim if dim is None or isinstance(dim, (tuple, list)) else (dim,)
    if ord is None:
        return vector_norm(A, 2, dims, keepdim, dtype=dtype, out=out)
    if dims is None and A.ndim > 2:
        raise RuntimeError(
            f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {A.ndim}D."
        )
    if isinstance(ord, str) or (len(dims) == 2 if dims is not None else A.ndim == 2):
        return matrix_norm(A, ord, dims or (-2, -1), keepdim, dtype=dtype, out=out)
    return vector_norm(A, ord, dims, keepdim, dtype=dtype, out=out)


def cond(A: Tensor, p: Any = None, *, out: Any = None) -> Tensor:
    """The condition number: of singular values (p None, 2, -2), or norm(A) * norm(inverse)."""
    _matrix("cond", A)
    if p is None or (not isinstance(p, str) and abs(p) == 2):
        s = svdvals(A)
        large, small = view.select(s, -1, 0), view.select(s, -1, -1)
        result = small / large if p == -2 else large / small
    else:
        _matrix("cond", A, square=True)
        result = matrix_norm(A, p) * matrix_norm(solvers.inv(A), p)
    return _result("cond", result, out)


# -- inverses and systems


def inv(A: Tensor, *, out: Any = None) -> Tensor:
    """The inverses of square matrices; LinAlgError if one is singular."""
    _matrix("inv", A, square=True)
    return _result("inv", solvers.inv(A), out)


def inv_ex(A: Tensor, *, check_errors: bool = False, out: Any = None) -> Any:
    """The inverses, and where one is singular which pivot is the first 0 (the inverse is NaN then; ``check_errors``: LinAlgError)."""
    _matrix("inv_ex", A, square=True)
    info = no_info(A) if check_errors else lu_factor_ex(A.detach()).info
    return _result("inv_ex", return_types.linalg_inv_ex(or_nan(solvers.inv(regular(A, info)), info), info), out)


def det(A: Tensor, *, out: Any = None) -> Tensor:
    """The determinants of square matrices."""
    _matrix("det", A, square=True)
    return _result("det", solvers.det(A), out)


def slogdet(A: Tensor, *, out: Any = None) -> Any:
    """The signs and the logarithms of the absolute values of determinants."""
    _matrix("slogdet", A, square=True)
    return _result("slogdet", return_types.linalg_slogdet(*solvers.slogdet(A)), out)


def solve(A: Tensor, B: Tensor, *, left: bool = True, out: Any = None) -> Tensor:
    """X with A @ X = B (``left=False``: X @ A = B); B holds matrices, or vectors of A's batch."""
    _matrix("solve", A, square=True)
    require_tensor("linalg.solve", "B", B)
    if A.dtype is not B.dtype:
        raise RuntimeError(
            f"linalg.solve: Expected A and B to have the same dtype, but found A of type {A.dtype} and B of type {B.dtype}"
        )
    vector = B.ndim == 1 or (A.ndim - 1 == B.ndim and B._layout.shape == A._layout.shape[:-1])
    if vector and not left:
        raise RuntimeError("linalg.solve: Vector broadcasting of the left hand side is not supported for left=False. In this case linalg.solve is equivalent to B / A.squeeze(-1)")  # fmt: skip
    rows = view.unsqueeze(B, -1) if vector else B if left else mt(B)
    if rows._layout.shape[-2] != A._layout.shape[-1]:
        raise RuntimeError(
            f"linalg.solve: Incompatible shapes of A and B for the equation {'AX = B' if left else 'XA = B'}"
            f" ({A._layout.shape[-2]}x{A._layout.shape[-1]} and {rows._layout.shape[-2]}x{rows._layout.shape[-1]})"
        )
    X = solvers.solve(A if left else mt(A), rows)
    return _result("solve", view.squeeze(X, -1) if vector else X if left else mt(X), out)


def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False, out: Any = None) -> Any:
    """``solve``, and where a matrix is singular which pivot is the first 0 (the solution is NaN then; ``check_errors``: LinAlgError)."""
    _matrix("solve_ex", A, square=True)
    info = no_info(A) if check_errors else lu_factor_ex(A.detach()).info
    return _result("solve_ex", return_types.linalg_solve_ex(or_nan(solve(regular(A, info), B, left=left), info), info), out)


def solve_triangular(
    A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False, out: Any = None
) -> Tensor:
    """X with A @ X = B (``left=False``: X @ A = B) for triangular A."""
    _matrix("solve_triangular", A, square=True)
    _matrix("solve_triangular", B, name="B")
    if left:
        X = solvers.solve_triangular(A, B, upper=upper, unitriangular=unitriangular)
    else:
        X = mt(solvers.solve_triangular(mt(A), mt(B), upper=not upper, unitriangular=unitriangular))
    return _result("solve_triangular", X, out)


def cholesky(A: Tensor, *, upper: bool = False, out: Any = None) -> Tensor:
    """The Cholesky factor of symmetric positive definite matrices; LinAlgError for others."""
    _matrix("cholesky", A, square=True)
    L = solvers.cholesky(A)
    return _result("cholesky", mt(L) if upper else L, out)


def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False, out: Any = None) -> Any:
    """The Cholesky factors, and the size of the first leading minor that is not positive definite (its matrix's factor is NaN then;
    ``check_errors``: LinAlgError).
    """
    _matrix("cholesky_ex", A, square=True)
    info = no_info(A) if check_errors else solvers.first_indefinite(A.detach())
    return _result("cholesky_ex", return_types.linalg_cholesky_ex(or_nan(cholesky(regular(A, info), upper=upper), info), info), out)


def lstsq(A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None, out: Any = None) -> Any:
    """The least squares solution of A @ X = B, by the pseudoinverse."""
    _matrix("lstsq", A)
    require_tensor("linalg.lstsq", "B", B)
    m, n = A._layout.shape[-2:]
    vector = B.ndim == A.ndim - 1
    rows = view.unsqueeze(B, -1) if vector else B
    tolerance = finfo(A.dtype).eps * max(m, n) if rcond is None else rcond
    X = matmul(pinv(A, rtol=tolerance), rows)
    batch = A._layout.shape[:-2]
    empty = view.narrow(view.reshape(X, (-1,)), 0, 0, 0)
    pivoting = driver == "gelsy" or driver is None  # gives neither residuals nor singular values
    rank = A.new_zeros((0,), dtype=int).long() if driver == "gels" else matrix_rank(A, rtol=tolerance)
    residuals = empty
    if m > n and not pivoting and (driver == "gels" or bool((rank == n).all())):
        residuals = R.sum(E.square(matmul(A, X) - rows), -2)
    values = empty.detach() if pivoting or driver == "gels" else svdvals(A.detach())
    values = values if values._layout.numel or not batch else view.reshape(empty, (0,))
    return _result("lstsq", return_types.linalg_lstsq(view.squeeze(X, -1) if vector else X, residuals, rank, values), out)


def _tolerances(A: Tensor, atol: Any, rtol: Any) -> tuple[Any, Any]:
    """(absolute, relative) tolerance as arrays that broadcast with the batch."""
    given = [t.detach().cpu() if isinstance(t, Tensor) else t for t in (atol, rtol)]
    absolute, relative = (None if t is None else np.asarray(t, dtype=np.float64) for t in given)
    if relative is None:
        least = np.zeros(()) if absolute is None else absolute
        relative = np.where(least > 0.0, 0.0, finfo(A.dtype).eps * max(A._layout.shape[-2:]))
    return np.zeros(()) if absolute is None else absolute, relative


def pinv(A: Tensor, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None, out: Any = None) -> Tensor:  # fmt: skip
    """The pseudoinverses; singular values up to max(atol, rtol * largest) count as 0."""
    _matrix("pinv", A, square=hermitian)
    absolute, relative = _tolerances(A, atol, rtol if rtol is not None else rcond)
    return _result("pinv", solvers.pinv(A, rtol=relative, atol=absolute, hermitian=bool(hermitian)), out)


def matrix_rank(A: Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None, out: Any = None) -> Tensor:  # fmt: skip
    """How many singular values are above max(atol, rtol * largest)."""
    _matrix("matrix_rank", A, square=hermitian)
    absolute, relative = _tolerances(A, tol if tol is not None else atol, 0.0 if tol is not None else rtol)
    s = E.abs(eigvalsh(A.detach())) if hermitian else svdvals(A.detach())
    if not s._layout.numel:
        return _result("matrix_rank", R.sum(s, -1).long(), out)
    absolute, relative = (from_array(t[..., None], s.dtype).to(s.device) for t in (absolute, relative))
    bound = E.maximum(amax(s, -1, True) * relative, absolute)
    return _result("matrix_rank", R.sum(s > bound, -1), out)


# -- factorisations


def qr(A: Tensor, mode: str = "reduced", *, out: Any = None) -> Any:
    """Q and R; mode "reduced", "complete" or "r" (Q is empty)."""
    _matrix("qr", A)
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'")  # fmt: skip
    q, r = factors.qr_values(A.detach() if mode == "r" else A, complete=mode == "complete")
    return _result("qr", return_types.linalg_qr(A.new_zeros((0,)) if mode == "r" else q, r), out)


def eigh(A: Tensor, UPLO: str = "L", *, out: Any = None) -> Any:
    """Eigenvalues in ascending order and eigenvectors of symmetric matrices."""
    _matrix("eigh", A, square=True)
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    return _result("eigh", return_types.linalg_eigh(*factors.eigh_values(A, upper=UPLO.upper() == "U")), out)


def eigvalsh(A: Tensor, UPLO: str = "L", *, out: Any = None) -> Tensor:
    """Eigenvalues of symmetric matrices in ascending order."""
    return _result("eigvalsh", eigh(A, UPLO)[0], out)


def svd(A: Tensor, full_matrices: bool = True, *, driver: Any = None, out: Any = None) -> Any:
    """U, S and Vh with A = U * S @ Vh, S in descending order."""
    _matrix("svd", A)
    return _result("svd", return_types.linalg_svd(*factors.svd_values(A, full=full_matrices)), out)


def svdvals(A: Tensor, *, driver: Any = None, out: Any = None) -> Tensor:
    """Singular values in descending order."""
    _matrix("svdvals", A)
    return _result("svdvals", factors.svd_values(A)[1], out)


# -- products


def matrix_power(A: Tensor, n: int, *, out: Any = None) -> Tensor:
    """A @ A @ ... n times, of the inverse if n is negative."""
    whole = A if n < 0 or not isinstance(A, Tensor) else A.float()  # whole numbers have products, but no inverse
    _matrix("matrix_power", whole, square=True, half=True)
    if n < 0:
        _matrix("inv", A, square=True)
    base = solvers.inv(A) if n < 0 else A
    result: Any = None
    k = abs(n)
    while k:
        if k & 1:
            result = base if result is None else matmul(result, base)
        k >>= 1
        base = matmul(base, base) if k else base
    if result is None:
        one = eye(A._layout.shape[-1], dtype=A.dtype, device=A.device)
        result = where(one == one, one, A)  # constant, but with A's history, as in PyTorch
    return _result("matrix_power", clone(result) if result is A else result, out)


def matrix_exp(A: Tensor) -> Tensor:
    """The exponential of square matrices."""
    _matrix("matrix_exp", A, square=True, half=True)
    return lu_ops.matrix_exp(A)


def multi_dot(tensors: Any, *, out: Any = None) -> Tensor:
    """The product of two or more matrices (the outer two may be vectors) in the cheapest order."""
    from .ops.products import multiply_chain

    given = list(tensors)
    if len(given) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(given)}")
    first, last = given[0].ndim == 1, given[-1].ndim == 1
    given[0] = view.unsqueeze(given[0], 0) if first else given[0]
    given[-1] = view.unsqueeze(given[-1], 1) if last else given[-1]
    result = multiply_chain(given, "multi_dot")
    result = view.squeeze(result, 0) if first else result
    return _result("multi_dot", view.squeeze(result, -1) if last else result, out)


def vecdot(x: Tensor, y: Tensor, *, dim: int = -1, out: Any = None) -> Tensor:
    """The products of vectors along ``dim``."""
    require_tensor("linalg.vecdot", "x", x)
    refuse_dtypes("linalg.vecdot", x, UNREAL, RuntimeError)
    return _result("vecdot", R.sum(E.mul(x, y), dim), out)


def cross(input: Tensor, other: Tensor, *, dim: int = -1, out: Any = None) -> Tensor:
    """The cross products of vectors of 3 along ``dim``."""
    from .ops.products import cross as product

    return product(input, other, dim, out=out)


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonals of matrices."""
    return view.diagonal(A, offset, dim1, dim2)


def vander(x: Tensor, N: int | None = None) -> Tensor:
    """Powers 0 to N - 1 of the last dimension, as a new last one."""
    from .ops.products import powers_of

    require_tensor("linalg.vander", "x", x)
    refuse_dtypes("linalg.vander", x, HALVES | {"bool"}, RuntimeError)
    return powers_of(x, x._layout.shape[-1] if N is None else N)


def tensorinv(A: Tensor, ind: int = 2, *, out: Any = None) -> Tensor:
    """The inverse with respect to ``tensordot`` over the first ``ind`` dimensions."""
    if ind <= 0:
        raise RuntimeError("Expected a strictly positive integer for 'ind'")
    a, b = A._layout.shape[:ind], A._layout.shape[ind:]
    if math.prod(a) != math.prod(b):
        raise RuntimeError(
            f"Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but got {math.prod(b)} != {math.prod(a)}"
        )
    return _result("tensorinv", view.reshape(inv(view.reshape(A, (math.prod(a), -1))), b + a), out)


def tensorsolve(A: Tensor, B: Tensor, dims: Any = None, *, out: Any = None) -> Tensor:
    """X with tensordot(A, X, X.ndim) = B."""
    if dims is not None:
        A = view.movedim(A, tuple(dims), tuple(range(A.ndim - len(dims), A.ndim)))
    rest = A._layout.shape[B.ndim :]
    n = math.prod(rest)
    result = solve(view.reshape(A, (n, n)), view.reshape(B, (-1,)))
    return _result("tensorsolve", view.reshape(result, rest), out)

__getattr__ = _hints(__name__)
