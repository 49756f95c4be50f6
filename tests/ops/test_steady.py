"""Ops that are planned once give the same with other values, in other threads, and with operands that share memory."""

from __future__ import annotations

import weakref

import numpy as np
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
    assert len(plans) <= 2  # when it comes again it is noted


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
    assert len(plans) <= 2  # when it comes again it is noted


def test_one_operand_given_twice_is_no_plan_for_two():
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    run = torch.nn.functional.conv2d
    for _ in range(3):
        assert run(x, x).item() == 204.0
    assert run(x, torch.ones(1, 1, 3, 3)).item() == run(torch.ones(1, 1, 3, 3), x).item() == 36.0


def test_numbers_that_equal_a_known_one_are_still_refused():
    x, w = torch.ones(1, 1, 4, 4), torch.ones(1, 1, 2, 2)
    for _ in range(2):
        torch.nn.functional.conv2d(x, w, stride=1)
        torch.nn.functional.conv2d(x, w, stride=(1, 1))
        x.view(2, 8), x.reshape(2, 8)
    for stride in (1.0, (1.0, 1)):
        with pytest.raises(TypeError):
            torch.nn.functional.conv2d(x, w, stride=stride)
    for method in (x.view, x.reshape):
        with pytest.raises(TypeError):
            method(2.0, 8)


def test_outputs_that_begin_as_a_copy_begin_anew():
    index, source = torch.tensor([[0, 1, 1]]), torch.ones(1, 3)
    for i in range(4):
        x = torch.full((2, 3), float(i))
        assert x.scatter_add(0, index, source).tolist() == [[i + 1.0, i, i], [i, i + 1.0, i + 1.0]]
        assert torch.nn.functional.rms_norm(x + 1, (3,)).sum().item() == pytest.approx(6.0, abs=1e-4)


@pytest.mark.parametrize("index", [
    np.s_[1], np.s_[-1, 2], np.s_[:, 1], np.s_[1:, None, ::2], np.s_[..., 0], np.s_[...], np.s_[2:2], np.s_[None], np.s_[True],
    np.s_[False, 1], np.s_[[0, 2]], np.s_[:, [3, 0]], np.s_[np.array([True, False, True])], np.s_[np.arange(12).reshape(3, 4) > 4],
    np.s_[np.arange(12).reshape(3, 4) > 99],
])  # fmt: skip
def test_an_index_again_and_again(index):
    for i in range(3):
        a = np.arange(24.0).reshape(3, 4, 2) + 100 * i
        given = torch.tensor(index) if isinstance(index, np.ndarray) else index
        x = torch.from_numpy(a)
        assert x[given].tolist() == a[index].tolist()
        shifted = torch.from_numpy(np.concatenate([a, a]))[3:]  # the same layout further on in its memory
        assert shifted[given].tolist() == a[index].tolist()
        shifted[given] = -1.0
        a[index] = -1.0
        assert shifted.tolist() == a.tolist()
        with pytest.raises(IndexError):
            x[0, 0, 0, 0]


def test_joining_again_and_again():
    for i in range(3):
        a, b, none = torch.full((2, 3), float(i), requires_grad=True), torch.ones(2, 1), torch.empty(0)
        y = torch.cat([a, none, b, a], 1)
        assert y.tolist() == [[i, i, i, 1.0, i, i, i]] * 2 and y.grad_fn.name() == "CatBackward0"
        y.sum().backward()
        assert a.grad.tolist() == [[2.0] * 3] * 2
        assert torch.stack([b, b * i], 1).tolist() == [[[1.0], [float(i)]]] * 2
        with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
            torch.cat([a, b])


def test_gradients_of_masks_and_indices():
    for i in range(3):
        x = torch.arange(6.0).reshape(2, 3).requires_grad_()
        y = x[x > i]
        assert y.grad_fn.name() == "IndexBackward0" and y.tolist() == [float(k) for k in range(6) if k > i]
        (y.sum() + x[torch.tensor([1, -1])].sum()).backward()
        assert x.grad.tolist() == [[float(k > i) + 2 * (k > 2) for k in row] for row in ((0, 1, 2), (3, 4, 5))]


def test_what_is_noted_keeps_no_operands_alive():
    memory = []
    for _ in range(4):
        x, w = torch.randn(40, 50), torch.randn(50, 60)
        image, filters = torch.randn(1, 3, 9, 9), torch.randn(4, 3, 3, 3)
        made = [x @ w, x.cumsum(0), torch.nn.functional.conv2d(image, filters, stride=2), torch.cat([x, x]), x[x > 0]]
        memory += [weakref.ref(t._storage) for t in (x, w, image, filters, *made)]
        del x, w, image, filters, made
    assert not any(reference() for reference in memory)
