"""Inference tensors: what they are, and that autograd refuses them where PyTorch does."""

from __future__ import annotations

import copy
import pickle

import pytest

import numtorch as torch
from numtorch.nn import functional as F


def made(*shape):
    with torch.inference_mode():
        return torch.ones(*(shape or (3,)))


def leaf(*shape):
    return torch.ones(*(shape or (3,)), requires_grad=True)


def test_what_is_made_inside_is_an_inference_tensor():
    x = made()
    assert x.is_inference() and torch.is_inference(x) and x[:2].is_inference() and x.detach().is_inference()
    assert x.reshape(3, 1).is_inference() and x.contiguous().is_inference()
    with torch.inference_mode():
        for y in (x * 2, x.sum(), torch.cat([x, x]), torch.from_numpy(x.numpy().copy()), x.clone(), torch.rand(2), x @ x):
            assert y.is_inference()
        with torch.inference_mode(False):
            assert not torch.ones(2).is_inference()


def test_what_is_computed_outside_is_none():
    x = made()
    for y in (x * 2, x.clone(), x.double(), x.exp(), copy.deepcopy(x), x.data, pickle.loads(pickle.dumps(x))):
        assert not y.is_inference()


def test_a_view_of_a_normal_tensor_is_normal():
    w = leaf()
    with torch.inference_mode():
        view = w[:2]
        assert not view.is_inference() and view.requires_grad and not (w * 2).requires_grad


def test_changes_of_normal_tensors_inside_are_counted():
    w = torch.ones(3)
    with torch.inference_mode():
        w.add_(1)
        w[:2].add_(1)
    assert w._version == 2 and not w.is_inference() and w.tolist() == [3, 3, 2]
    w = leaf()
    y = (w * w).sum()
    with torch.inference_mode():
        w.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


WRITES = {
    "add_": lambda x: x.add_(1), "a view": lambda x: x[:1].add_(1), "zero_": lambda x: x.zero_(),
    "setitem": lambda x: x.__setitem__(0, 4), "copy_": lambda x: x.copy_(leaf()), "out": lambda x: torch.add(torch.ones(3), 1, out=x),
    "uniform_": lambda x: x.uniform_(), "resize_": lambda x: x.resize_(5), "index_add_": lambda x: x.index_add_(
        0, torch.tensor([0]), torch.ones(1)), "masked_fill_": lambda x: x.masked_fill_(x > 0, 0), "relu_": F.relu_,
}  # fmt: skip


@pytest.mark.parametrize("write", WRITES)
def test_no_writing_outside(write):
    for grad in (True, False):
        with torch.set_grad_enabled(grad), pytest.raises(RuntimeError, match="Inplace update to inference tensor outside"):
            WRITES[write](made())
    x = made()
    with torch.inference_mode():
        x.add_(1)
    assert x.tolist() == [2, 2, 2] and x.is_inference()
    x.data.add_(1)
    assert x.tolist() == [3, 3, 3]


SAVES = {
    "mul": lambda x, w: w * x, "in-place": lambda x, w: (w * 1).mul_(x), "linear": lambda x, w: torch.nn.Linear(3, 2)(x),
    "matmul": lambda x, w: leaf(3, 3) @ x, "mse_loss": lambda x, w: F.mse_loss(w, x), "embedding": lambda x, w: F.embedding(x.long(), w),
    "index": lambda x, w: w[_indices()], "embedding, indices": lambda x, w: F.embedding(_indices(), leaf(3, 3)),
}  # fmt: skip


def _indices():
    with torch.inference_mode():
        return torch.tensor([0, 2])


@pytest.mark.parametrize("save", [s for s in SAVES if s != "embedding"])
def test_none_is_saved_for_backward(save):
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        SAVES[save](made(), leaf())


def test_ops_that_save_nothing_take_them():
    x, w = made(), leaf()
    for y in (w + x, torch.where(w > 0, w, x), torch.cat([w, x]), (w * 1).add_(x), w * x.clone()):
        y.sum().backward()
    assert w.grad.tolist() == [5, 5, 5]


def test_requires_grad_is_set_inside_only():
    with pytest.raises(RuntimeError, match="Setting requires_grad=True on inference tensor"):
        made().requires_grad_()
    with pytest.raises(RuntimeError, match="Setting requires_grad=True on inference tensor"):
        torch.nn.Parameter(made())
    with torch.inference_mode():
        x = torch.ones(3, requires_grad=True)
        layer = torch.nn.Linear(2, 2)
        assert not (x * 2).requires_grad and not layer(torch.ones(2)).requires_grad
        with torch.enable_grad():
            assert not (x * 2).requires_grad
    (x + 2).sum().backward()
    assert x.grad.tolist() == [1, 1, 1] and layer(torch.ones(1, 2)).requires_grad


def test_no_version():
    with pytest.raises(RuntimeError, match="Inference tensors do not track version counter"):
        print(made()._version)


def test_the_function_of_a_decorator_and_results_have_no_history():
    @torch.inference_mode()
    def double(x):
        return x * 2

    y = double(leaf())
    assert y.is_inference() and not y.requires_grad and not torch.is_inference_mode_enabled()
    with pytest.raises(RuntimeError, match="does not require grad"):
        y.sum().backward()


def test_a_model_used_in_inference_mode_trains_afterwards():
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten(), torch.nn.Linear(8, 3)
    )  # fmt: skip
    with torch.inference_mode():
        assert model(torch.ones(2, 1, 6, 6)).is_inference()
    loss = F.cross_entropy(model(torch.rand(2, 1, 6, 6)), torch.tensor([0, 2]))
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_interpolation_tables_made_inside_serve_training():
    def results():
        return F.interpolate(x, scale_factor=1.7, mode="bilinear"), F.fold(F.unfold(x, 2), (3, 5), 2), F.grid_sample(
            x, torch.zeros(1, 2, 2, 2), align_corners=False), x[:, [0]], x.flip(0), torch.kron(x, x)  # fmt: skip

    x = leaf(1, 1, 3, 5)
    with torch.inference_mode():
        results()
    sum(r.sum() for r in results()).backward()
    assert x.grad is not None
