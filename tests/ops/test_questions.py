"""What a tensor is asked, Python functions of its elements, and methods that are no functions."""

from __future__ import annotations

import pytest

import numtorch as torch

X = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


def test_questions():
    assert torch.ones(1).is_nonzero() and not torch.is_nonzero(torch.zeros(1, 1))
    assert X.is_same_size(torch.zeros(2, 2)) and not torch.is_same_size(X, X[0])
    assert X.is_set_to(X.view(2, 2)) and not X.is_set_to(X.clone()) and not X.is_set_to(X.T)
    assert not torch.is_complex(X) and not X.is_conj() and not torch.is_neg(X) and torch.is_signed(X) and torch.get_device(X) == -1
    for many in (torch.ones(2), torch.ones(0)):
        with pytest.raises(RuntimeError, match=r"Boolean value of Tensor with .* is ambiguous; use any\(\) or all\(\)"):
            many.is_nonzero()


def test_python_functions_of_elements():
    assert X.clone().apply_(lambda v: v * 2).tolist() == [[2, 4], [6, 8]]
    assert X.clone().map_(torch.tensor([1.0, -1.0]), lambda v, w: v * w).tolist() == [[1, -2], [3, -4]]
    assert X.clone().map2_(X, X, lambda u, v, w: u + v + w).tolist() == [[3, 6], [9, 12]]
    with pytest.raises(RuntimeError, match=r"requires grad. Use var.detach\(\).apply_\(\) instead"):
        X.clone().requires_grad_().apply_(float)


def test_fill_diagonal():
    assert torch.zeros(3, 3).fill_diagonal_(2).tolist() == [[2, 0, 0], [0, 2, 0], [0, 0, 2]]
    wrapped = torch.zeros(7, 3).fill_diagonal_(1, wrap=True)
    assert wrapped.argmax(1).tolist() == [0, 1, 2, 0, 0, 1, 2] and wrapped[3].sum() == 0 and wrapped.sum() == 6
    assert torch.zeros(3, 3, 3).fill_diagonal_(2).sum() == 6
    x = torch.ones(2, 2, requires_grad=True)
    (x * 1).fill_diagonal_(0).sum().backward()
    assert x.grad.tolist() == [[0, 1], [1, 0]]
    for bad in (torch.zeros(3), torch.zeros(3, 2, 3)):
        with pytest.raises(RuntimeError, match=r"fill_diagonal_\(\): .*, got .*;"):
            bad.fill_diagonal_(1)


def test_methods():
    condition = torch.tensor([[True, False], [False, True]])
    assert X.where(condition, 0).tolist() == [[1, 0], [0, 4]]
    assert torch.allclose(X.polygamma(1), torch.polygamma(1, X)) and torch.equal(X.clone().polygamma_(1), X.polygamma(1))
    assert X.adjoint().tolist() == [[1, 3], [2, 4]] and X.angle().sum() == 0 and X.narrow_copy(0, 1, 1).tolist() == [[3, 4]]
    assert X.clone().as_strided_((2,), (2,)).tolist() == [1, 3] and X[0].ger(X[0]).tolist() == [[1, 2], [2, 4]]
    assert (X - 2).prelu(torch.tensor([0.5])).tolist() == [[-0.5, 0], [1, 2]] and X.hardshrink(2).tolist() == [[0, 0], [3, 4]]
    assert torch.allclose(X.det(), torch.tensor(-2.0)) and X.svd().S.shape == (2,) and X.inverse().shape == (2, 2)


def test_shapes_changed_in_place_count_as_changes():
    x = torch.ones(1, 2)
    before = x._version
    x.squeeze_(0).unsqueeze_(1).t_().resize_(3)
    assert x.shape == (3,) and x._version == before + 4


def test_shapes_of_leaves_that_require_grad_are_not_changed_in_place():
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad is being used in an in-place operation"):
        torch.ones(1, 2, requires_grad=True).squeeze_()
    x = torch.ones(1, 2, requires_grad=True)
    assert (x * 2).squeeze_().shape == (2,)


def test_gradient_of_a_view_that_begins_before_its_source():
    x = torch.arange(6.0)[1:4].requires_grad_()
    x.as_strided((2, 2), (1, 2), 0).sum().backward()
    assert x.grad.tolist() == [1, 1, 1]
    x = torch.arange(6.0)[1:3].requires_grad_()
    x.as_strided((2,), (3,), 1).sum().backward()
    assert x.grad.tolist() == [1, 0]


def test_second_derivative_of_a_power_of_a_number():
    x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda t: 3.0**t, (x,)) and torch.autograd.gradgradcheck(lambda t: torch.ldexp(t, t), (x,))


def test_gradients_at_equal_elements():
    for function in (torch.std, lambda x: torch.std_mean(x)[0], lambda x: x.std(0)):
        x = torch.full((3,), 2.0, requires_grad=True)
        function(x).backward()
        assert x.grad.tolist() == [0, 0, 0]
    x = torch.tensor([2.0, 2.0], requires_grad=True)
    x.nanmedian().backward()
    assert x.grad.tolist() == [0.5, 0.5]


def test_what_went_wrong_with_a_matrix():
    good_and_bad = torch.stack([torch.eye(2), torch.tensor([[1.0, 2.0], [2.0, 1.0]])])
    factors, info = torch.linalg.cholesky_ex(good_and_bad)
    assert info.tolist() == [0, 2] and torch.equal(factors[0], torch.eye(2)) and factors[1].isnan().all()
    singular = torch.stack([torch.eye(2) * 2, torch.ones(2, 2)])
    inverse, info = torch.linalg.inv_ex(singular)
    assert info.tolist() == [0, 2] and inverse[0].tolist() == [[0.5, 0], [0, 0.5]] and not inverse[1].isfinite().any()
    assert torch.linalg.solve_ex(torch.ones(2, 2), torch.ones(2)).info == 2
    for call in (lambda: torch.linalg.cholesky_ex(good_and_bad, check_errors=True), lambda: torch.linalg.inv_ex(singular, check_errors=True)):
        with pytest.raises(torch.linalg.LinAlgError):
            call()
