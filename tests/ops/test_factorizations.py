"""Factorisations multiply to what they were made of; methods, `out=`, derivatives of both orders, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import numtorch as torch
from numtorch import linalg

SHAPES = [(4, 4), (5, 3), (3, 5), (2, 4, 4), (0, 3), (70, 70)]


def matrix(*shape, seed=0, symmetric=False):
    a = np.random.default_rng(seed).standard_normal(shape)
    return a + np.swapaxes(a, -1, -2) if symmetric else a


def check_same(a, b):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_lu(shape):
    A = torch.tensor(matrix(*shape))
    P, L, U = linalg.lu(A)
    check_same(P @ L @ U, A)
    assert (L.abs() <= 1.0 + 1e-12).all()  # the pivot was the largest
    P, L, U = torch.lu_unpack(*linalg.lu_factor(A))
    check_same(P @ L @ U, A)


@pytest.mark.parametrize(("left", "adjoint"), [(True, False), (True, True), (False, False), (False, True)])
def test_lu_solve(left, adjoint):
    A, B = torch.tensor(matrix(2, 4, 4)), torch.tensor(matrix(2, 4, 4, seed=1))
    X = linalg.lu_solve(*linalg.lu_factor(A), B, left=left, adjoint=adjoint)
    M = A.mT if adjoint else A
    check_same(M @ X if left else X @ M, B)


@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_ldl(n):
    A, B = torch.tensor(matrix(3, n, n, symmetric=True)), torch.tensor(matrix(3, n, 2))
    check_same(A @ linalg.ldl_solve(*linalg.ldl_factor(A), B), B)
    A = A - torch.diag_embed(A.diagonal(dim1=-2, dim2=-1))  # zeros on the diagonal: blocks of two
    if n > 1:
        factors = linalg.ldl_factor(A)
        assert (factors.pivots < 0).any()
        check_same(A @ linalg.ldl_solve(*factors, B), B)


@pytest.mark.parametrize("shape", [(5, 3), (4, 4), (2, 4, 2)])
def test_reflections(shape):
    A = torch.tensor(matrix(*shape))
    packed, tau = torch.geqrf(A)
    Q = linalg.householder_product(packed, tau)
    check_same(Q @ packed.narrow(-2, 0, shape[-1]).triu(), A)
    other = torch.tensor(matrix(*shape[:-1], 2, seed=1))
    check_same(torch.ormqr(packed, tau, torch.ormqr(packed, tau, other), transpose=True), other)
    check_same(torch.ormqr(packed, tau, other.mT, left=False).mT, torch.ormqr(packed, tau, other, transpose=True))


def test_matrix_exp():
    A = torch.tensor(matrix(2, 3, 3))
    check_same(linalg.matrix_exp(A) @ linalg.matrix_exp(-A), torch.eye(3, dtype=torch.float64).expand(2, 3, 3))
    turn = torch.tensor([[0.0, -3.0], [3.0, 0.0]], dtype=torch.float64)
    assert linalg.matrix_exp(turn)[0, 0].item() == pytest.approx(np.cos(3.0))


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4)])
def test_derivatives_of_lu(shape):
    A = torch.tensor(matrix(*shape), requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: linalg.lu(a)[1:], (A,))
    assert torch.autograd.gradgradcheck(lambda a: linalg.lu(a)[1:], (A,))


@pytest.mark.parametrize("name", ["matrix_exp", "svdvals", "eigvalsh", "cholesky", "pinv", "slogdet"])
def test_derivatives_of_both_orders(name):
    a = matrix(3, 3)
    A = torch.tensor(a @ a.T + np.eye(3), requires_grad=True)
    op = getattr(linalg, name)
    function = lambda a: op(0.5 * (a + a.mT))[1] if name == "slogdet" else op(0.5 * (a + a.mT))  # noqa: E731
    assert torch.autograd.gradcheck(function, (A,), atol=1e-4)
    assert torch.autograd.gradgradcheck(function, (A,), atol=1e-4)


@pytest.mark.parametrize("name", ["det", "inverse", "logdet", "matrix_exp", "pinverse"])
def test_methods(name):
    a = matrix(3, 3)
    A = torch.tensor(a @ a.T + np.eye(3))
    check_same(getattr(A, name)(), getattr(torch, name)(A))


def test_out():
    A = torch.tensor(matrix(3, 3))
    P, L, U = (torch.empty(0, dtype=torch.float64) for _ in range(3))
    linalg.lu(A, out=(P, L, U))
    check_same(P @ L @ U, A)


def test_what_is_refused():
    with pytest.raises(RuntimeError, match=r"lu_factor: U\[1,1\] is zero"):
        linalg.lu_factor(torch.zeros(2, 2))
    with pytest.raises(RuntimeError, match="without pivoting"):
        linalg.lu(torch.eye(2), pivot=False)
    with pytest.raises(RuntimeError, match="at least 2 dimensions"):
        linalg.lu(torch.ones(2))
    with pytest.raises(RuntimeError, match="square"):
        linalg.ldl_factor(torch.ones(2, 3))
    assert linalg.lu_factor_ex(torch.zeros(2, 2)).info.item() == 1
