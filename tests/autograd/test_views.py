"""Views: what they learn from their base, which may be written, and parts that share one node; as PyTorch 2.13 does it."""

from __future__ import annotations

import pytest

import numtorch as torch
from numtorch.autograd import gradcheck, gradgradcheck
from numtorch.ops import joining


def leaf(n=4):
    return torch.ones(n, requires_grad=True)


# -- a view made before its base requires grad


def test_a_view_requires_grad_as_soon_as_its_base_does():
    base = torch.zeros(4)
    view = base[:2]
    base.requires_grad_()
    assert view.requires_grad and view.is_leaf and view.grad_fn is None
    assert (view * 2).requires_grad and view[:1].requires_grad
    base.requires_grad_(False)
    assert not view.requires_grad


def test_no_gradient_flows_through_a_view_older_than_the_flag():
    base, w = torch.ones(4), leaf(2)
    view = base[:2]
    base.requires_grad_()
    (view * w).sum().backward()
    assert w.grad.tolist() == [1, 1] and base.grad is None and view.grad is None
    with pytest.raises(RuntimeError, match="not have been used in the graph"):
        torch.autograd.grad((view * w).sum(), base)


def test_a_view_older_than_the_flag_must_not_be_written():
    base = torch.zeros(4)
    view = base[:2]
    base.requires_grad_()
    with pytest.raises(RuntimeError, match="a view of a leaf Variable that requires grad"):
        view.add_(1)


def test_a_view_of_its_own_flag_keeps_it():
    base = torch.ones(4)
    view = base[:2].requires_grad_()
    assert not base.requires_grad
    (view * 3).sum().backward()
    assert view.grad.tolist() == [3, 3] and view.is_leaf


@pytest.mark.parametrize("writes", ["the base", "another view"])
def test_an_older_view_takes_the_history_of_an_in_place_change(writes):
    base, w = torch.ones(4), leaf(4)
    view, other = base[:2], base[1:]
    if writes == "the base":
        base.mul_(w)
    else:
        other.mul_(w[1:])
    assert view.requires_grad and view.grad_fn.name() == "AsStridedBackward0"
    (view * torch.tensor([3.0, 5.0])).sum().backward()
    assert w.grad.tolist() == ([3, 5, 0, 0] if writes == "the base" else [0, 5, 0, 0])


def test_the_list_of_views_forgets_dead_ones():
    base = torch.ones(1000)
    for _ in range(1000):
        base[:2]
    assert len(base._views) < 200


# -- views that must not be written


def test_a_view_made_without_gradients_is_not_written_with_them():
    base = leaf() * 1
    with torch.no_grad():
        view = base[:2]
        view.add_(1)  # inside it may
    assert view.requires_grad and view.is_leaf
    with pytest.raises(RuntimeError, match="A view was created in no_grad mode and is being modified inplace"):
        view.add_(1)
    base.mul_(2)
    with pytest.raises(RuntimeError, match="no_grad mode and its base or another view of its base"):
        view * 2


def test_a_view_made_in_inference_mode_is_not_written_outside():
    base = leaf()
    with torch.inference_mode():
        view = base.view(2, 2)
    assert view.requires_grad and not view.is_inference()
    with pytest.raises(RuntimeError, match="A view was created in inference mode and is being modified inplace"):
        view.add_(1)


PARTS = {
    "unbind": (lambda x: x.unbind(0), "Unbind"),
    "split": (lambda x: x.split(2), "Split"),
    "split_with_sizes": (lambda x: x.split([1, 3]), "SplitWithSizes"),
    "chunk": (lambda x: x.chunk(2), "Split"),
    "iteration": (tuple, "Unbind"),
}


@pytest.mark.parametrize("how", PARTS)
def test_one_of_several_parts_is_not_written(how):
    cut, name = PARTS[how]
    for base in (leaf(), leaf() * 1):
        with pytest.raises(RuntimeError, match=f"Output 1 of {name} is a view and is being modified inplace"):
            cut(base)[1].mul_(2)
    with pytest.raises(RuntimeError, match="returns multiple views"):
        cut(torch.ones(4))[0].mul_(torch.tensor(2.0, requires_grad=True))
    plain = torch.ones(4)
    cut(plain)[0].mul_(2)
    assert plain[0].item() == 2
    base = leaf() * 1
    parts = cut(base)
    base.mul_(2)
    with pytest.raises(RuntimeError, match=f"Output 0 of {name} is a view and its base or another view"):
        parts[0] + 1
    assert "grad_fn=<Invalid>" in repr(parts[0])


def test_parts_of_tensor_split_may_be_written():
    base = leaf() * 1
    base.tensor_split(2)[0].mul_(2)
    assert base.tolist() == [2, 2, 1, 1] and base.grad_fn.name() == "torch::autograd::CopySlices"


def test_what_a_custom_function_returned_as_it_was_is_not_written():
    class Same(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x if x.ndim == 1 else x[0]

        @staticmethod
        def backward(ctx, g):
            return g

    for x in (leaf() * 1, torch.ones(2, 2, requires_grad=True) * 1):
        with pytest.raises(RuntimeError, match="Output 0 of Same is a view and is being modified inplace"):
            Same.apply(x).mul_(2)


# -- the parts' one node


@pytest.mark.parametrize("how", PARTS)
def test_parts_share_a_node(how):
    cut, name = PARTS[how]
    parts = cut(leaf())
    assert [p.output_nr for p in parts] == list(range(len(parts)))
    assert all(p.grad_fn is parts[0].grad_fn for p in parts)
    assert parts[0].grad_fn.name() == f"{name}Backward0" and len(parts[0].grad_fn.next_functions) == 1


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("used", [(0,), (1, 2), (2,), (0, 1, 2)])
@pytest.mark.parametrize("how", ["unbind", "split", "split_with_sizes", "chunk"])
def test_partial_use_twice_differentiated(how, used, dim):
    torch.manual_seed(0)
    x = torch.randn(4, 4, 4, dtype=torch.float64).transpose(0, 1).requires_grad_()
    cut = {
        "unbind": lambda x: x.unbind(dim), "split": lambda x: x.split(1, dim), "chunk": lambda x: x.chunk(3, dim) * 2,
        "split_with_sizes": lambda x: x.split([1, 0, 2, 1], dim),
    }[how]  # fmt: skip

    def function(x):
        parts = cut(x)
        return sum((parts[i] ** 2 * (i + 1)).sum() for i in used)

    assert gradcheck(function, (x,)) and gradgradcheck(function, (x,))


def test_a_part_retains_its_gradient():
    a, b = (leaf() * 1).split(2)
    b.retain_grad()
    seen = []
    a.register_hook(lambda g: seen.append(g.tolist()))
    (a * 2 + b * 3).sum().backward()
    assert b.grad.tolist() == [3, 3] and seen == [[2, 2]]


@pytest.mark.parametrize("how", ["unbind", "split"])
def test_the_backward_of_parts_grows_linearly(how, monkeypatch):
    written = []
    write = joining.write

    def counting(target, source):
        written.append(target.numel())
        write(target, source)

    monkeypatch.setattr(joining, "write", counting)

    def elements(n):
        x = torch.ones(n, 8, requires_grad=True)
        parts = x.unbind(0) if how == "unbind" else x.split(1)
        y = sum(p.sum() for p in parts)
        written.clear()
        y.backward()
        return sum(written)

    assert elements(40) == 40 * 8 and elements(400) == 400 * 8
