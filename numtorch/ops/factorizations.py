"""PyTorch's signatures over factorisations: the LU and LDL families of ``linalg``."""

from __future__ import annotations

import math
from collections import namedtuple
from typing import Any

from .._tensor import Tensor
from ..creation import eye, zeros
from ..dtype import int32
from ..errors import require_tensor
from . import lu as F
from . import solvers, view
from .arithmetic import where
from .inplace import write_out
from .node_names import called
from .solvers import mt, require_matrices

LUFactor = namedtuple("LUFactor", ["LU", "pivots"])
LUFactorEx = namedtuple("LUFactorEx", ["LU", "pivots", "info"])
PLU = namedtuple("LU", ["P", "L", "U"])
LDLFactor = namedtuple("LDLFactor", ["LD", "pivots"])
LDLFactorEx = namedtuple("LDLFactorEx", ["LD", "pivots", "info"])


def done(op: str, result: Any, out: Any) -> Any:
    """The result, or what is left of it in ``out``."""
    return result if out is None else write_out(result, out, op)


def _first_zero(info: Tensor) -> int:
    """The first information of a batch that is not 0."""
    return int(info.max()) if info.numel() else 0


def no_info(A: Tensor) -> Tensor:
    """The information that nothing went wrong, per matrix."""
    return zeros(A._layout.shape[:-2], dtype=int32, device=A.device)


def regular(A: Tensor, info: Tensor) -> Tensor:
    """The matrices, with the unit matrix for those whose information is not 0."""
    if not info.any():
        return A
    return where(solvers.scalars(info == 0), A, eye(A._layout.shape[-1], dtype=A.dtype, device=A.device))


def or_nan(result: Tensor, info: Tensor) -> Tensor:
    """The results, NaN where the information is not 0."""
    if not info.any():
        return result
    good = view.reshape(info == 0, info._layout.shape + (1,) * (result.ndim - info.ndim))
    return where(good, result, math.nan)


# -- LU


def lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False, out: Any = None) -> Any:
    """L and U in one matrix, the row swaps counted from 1, and info: 0, or which diagonal element of U is the first 0."""
    require_matrices("linalg.lu_factor_ex", A)
    _require_pivoting("linalg.lu_factor", pivot)
    result = LUFactorEx(*F.lu_factor(A))
    if check_errors:
        _raise_if_singular(result.info)
    return done("linalg.lu_factor_ex", result, out)


def lu_factor(A: Tensor, *, pivot: bool = True, out: Any = None) -> Any:
    """``lu_factor_ex`` without info; RuntimeError if U has a 0 on its diagonal."""
    require_matrices("linalg.lu_factor", A)
    _require_pivoting("linalg.lu_factor", pivot)
    factors, pivots, info = F.lu_factor(A)
    _raise_if_singular(info)
    return done("linalg.lu_factor", LUFactor(factors, pivots), out)


def _require_pivoting(op: str, pivot: bool) -> None:
    if not pivot:
        raise RuntimeError(f"{op}: LU without pivoting is not implemented on the CPU")


def _raise_if_singular(info: Tensor) -> None:
    k = _first_zero(info)
    if k:
        raise RuntimeError(
            f"torch.linalg.lu_factor: U[{k},{k}] is zero and using it on lu_solve would result in a division by zero. If you"
            " still want to perform the factorization, consider calling linalg.lu(A, pivot) or linalg.lu_factor_ex(A, pivot)"
        )


@called("LinalgLuBackward0")
def lu(A: Tensor, *, pivot: bool = True, out: Any = None) -> Any:
    """P, L and U with P @ L @ U = A."""
    require_matrices("linalg.lu", A)
    _require_pivoting("linalg.lu_factor", pivot)
    factors, pivots, _ = F.lu_factor(A)
    lower, upper = F.lu_unpack(factors)
    return done("linalg.lu", PLU(F.permutation_matrix(pivots, factors.detach()), lower, upper), out)


@called("LinalgLuSolveBackward0")
def lu_solve(LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False, out: Any = None) -> Tensor:  # fmt: skip
    """X with A @ X = B (``left=False``: X @ A = B; ``adjoint``: of A.mT) from ``lu_factor``'s result."""
    require_matrices("linalg.lu_solve", LU, square=True, name="LU")
    require_matrices("linalg.lu_solve", B, name="B")
    require_pivots("linalg.lu_solve", pivots)
    X = F.lu_solve(LU, pivots, B, adjoint) if left else mt(F.lu_solve(LU, pivots, mt(B), not adjoint))
    return done("linalg.lu_solve", X, out)


def require_pivots(op: str, pivots: Tensor) -> None:
    """RuntimeError unless pivots are int32."""
    require_tensor(op, "pivots", pivots)
    if pivots.dtype is not int32:
        raise RuntimeError(f"{op}: pivots should be a Tensor of scalar type torch.int32; use the factorisation's")


# -- LDL


def ldl_factor_ex(A: Tensor, *, hermitian: bool = False, check_errors: bool = False, out: Any = None) -> Any:
    """L and the block diagonal D of symmetric matrices in one, LAPACK's row swaps, and info: 0, or the first zero pivot."""
    require_matrices("linalg.ldl_factor_ex", A, square=True)
    result = LDLFactorEx(*F.ldl_factor(A))
    if check_errors:
        _raise_if_no_pivot(result.info)
    return done("linalg.ldl_factor_ex", result, out)


def ldl_factor(A: Tensor, *, hermitian: bool = False, out: Any = None) -> Any:
    """``ldl_factor_ex`` without info; RuntimeError if a pivot is 0."""
    require_matrices("linalg.ldl_factor", A, square=True)
    factors, pivots, info = F.ldl_factor(A)
    _raise_if_no_pivot(info)
    return done("linalg.ldl_factor", LDLFactor(factors, pivots), out)


def _raise_if_no_pivot(info: Tensor) -> None:
    k = _first_zero(info)
    if k:
        raise RuntimeError(f"linalg.ldl_factor: D[{k},{k}] is zero; use linalg.ldl_factor_ex to get the factors")


def ldl_solve(LD: Tensor, pivots: Tensor, B: Tensor, *, hermitian: bool = False, out: Any = None) -> Tensor:
    """X with A @ X = B from ``ldl_factor``'s result."""
    require_matrices("linalg.ldl_solve", LD, square=True, name="LD")
    require_matrices("linalg.ldl_solve", B, name="B")
    require_pivots("linalg.ldl_solve", pivots)
    return done("linalg.ldl_solve", F.ldl_solve(LD, pivots, B), out)


# -- reflections


@called("LinalgHouseholderProductBackward0")
def householder_product(A: Tensor, tau: Tensor, *, out: Any = None) -> Tensor:
    """The first columns of the product of the reflections 1 - tau[i] v[i] v[i].mT; v[i] stands below A's diagonal."""
    require_matrices("linalg.householder_product", A)
    m, n = A._layout.shape[-2:]
    if m < n:
        raise RuntimeError("torch.linalg.householder_product: input.shape[-2] must be greater than or equal to input.shape[-1]")  # fmt: skip
    if tau._layout.shape[-1] > n:
        raise RuntimeError("torch.linalg.householder_product: input.shape[-1] must be greater than or equal to tau.shape[-1]")  # fmt: skip
    unit = view.expand(eye(m, n, dtype=A.dtype, device=A.device), A._layout.shape)
    if not tau._layout.shape[-1]:  # no reflection, but gradients: zeros
        unit = unit + 0.0 * A + 0.0 * tau.sum()
    return done("linalg.householder_product", F.reflect(A, tau, unit, transpose=False), out)
