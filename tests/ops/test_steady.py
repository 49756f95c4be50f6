"""Ops that are planned once give the same with other values, in other threads, and with operands that share memory."""

from __future__ import annotations

import pytest

import numtorch as torch
from numtorch.ops.declare import TABLE


def test_equal_layouts_are_planned_once():
    op = TABLE["matmul"]
    plans = []
    before, op._plan = op._plan, lambda *a, **k: plans.append(1) or before(*a, **k)
    try:
        for i in range(4):
            a, b = torch.full((3, 7), float(i)), torch.ones(7, 5)
            assert (a @ b).tolist() == [[7.0 * i] * 5] * 3
    finally:
        op._plan = before
    assert len(plans) <= 1


def test_operands_that_share_their_memory():
    for i in range(3):
        x = torch.arange(4.0).reshape(2, 2) + i
        a, b, c, d = x.flatten().tolist()
        assert (x @ x).tolist() == [[a * a + b * c, a * b + b * d], [c * a + d * c, c * b + d * d]]


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_cross_entropy_again_and_again(reduction):
    for i in range(3):
        x = torch.tensor([[0.0, float(i)], [1.0, 1.0]], requires_grad=True)
        loss = torch.nn.functional.cross_entropy(x, torch.tensor([1, 0]), reduction=reduction)
        wanted = torch.logsumexp(x.detach(), 1) - torch.tensor([float(i), 1.0])
        wanted = wanted if reduction == "none" else getattr(wanted, reduction)()
        assert torch.allclose(loss, wanted)
        loss.sum().backward()
        assert x.grad.sum().item() == pytest.approx(0.0, abs=1e-6)
        with pytest.raises(IndexError, match="out of bounds"):
            torch.nn.functional.cross_entropy(x, torch.tensor([1, 2]), reduction=reduction)


def test_other_numbers_of_threads_give_the_same_bits():
    x, w = torch.randn(64, 96), torch.randn(96, 80)
    before = torch.get_num_threads()
    try:
        results = []
        for n in (1, 2, 1):
            torch.set_num_threads(n)
            results.append((x @ w).tolist())
    finally:
        torch.set_num_threads(before)
    assert results[0] == results[1] == results[2]


def test_copies_made_by_a_plan_are_not_remembered():
    for i in range(3):
        x = (torch.arange(24.0).reshape(2, 3, 4) + i).permute(2, 0, 1)
        assert x.sum((0, 2)).tolist() == [66.0 + 12 * i, 210.0 + 12 * i]


def test_convolutions_with_tables_are_planned_once():
    op = TABLE["convolution"]
    plans = []
    before, op._plan = op._plan, lambda *a, **k: plans.append(1) or before(*a, **k)
    try:
        for i in range(3):
            x, w = torch.full((2, 3, 7, 6), float(i), requires_grad=True), torch.ones(5, 3, 3, 3, requires_grad=True)
            y = torch.nn.functional.conv2d(x, w, stride=2)
            assert (y == 27.0 * i).all() and y.shape == (2, 5, 3, 2)
            y.sum().backward()
            assert x.grad.sum().item() == 2 * 5 * 3 * 2 * 27 and w.grad.sum().item() == 2 * 5 * 3 * 2 * 27.0 * i
    finally:
        op._plan = before
    assert len(plans) <= 1
