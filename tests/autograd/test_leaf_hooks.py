"""Hooks of leaves, as PyTorch 2.13 calls them: once a pass, with the sum of what reaches the leaf."""

from __future__ import annotations

import pytest

import numtorch as torch


@pytest.fixture
def watched():
    x, log = torch.ones(2, requires_grad=True), []
    x.register_hook(lambda g: log.append(("hook", g.tolist())))
    x.register_post_accumulate_grad_hook(lambda p: log.append(("after", p.grad.tolist())))
    return x, log


def test_a_leaf_used_twice_calls_its_hooks_once(watched):
    x, log = watched
    (x * 2 + x * 3).sum().backward()
    assert log == [("hook", [5, 5]), ("after", [5, 5])]
    x.sum().backward()
    assert log[2:] == [("hook", [1, 1]), ("after", [6, 6])]


def test_grad_calls_no_hook_after_accumulation(watched):
    x, log = watched
    (g,) = torch.autograd.grad((x * 2 + x * 3).sum(), x)
    assert g.tolist() == [5, 5] and log == [("hook", [5, 5])]


def test_backward_for_inputs_does(watched):
    x, log = watched
    y = x * 2
    (y[:1] + y[1:]).sum().backward(inputs=[x])
    assert log == [("hook", [2, 2]), ("after", [2, 2])]


def test_a_leaf_that_is_no_input_is_left_alone(watched):
    x, log = watched
    w = torch.ones(2, requires_grad=True)
    (x * w).sum().backward(inputs=[w])
    assert not log and x.grad is None


def test_hooks_change_the_sum_in_their_order():
    x = torch.ones(1, requires_grad=True)
    x.register_hook(lambda g: g + 1)
    handle = x.register_hook(lambda g: g * 10)
    (x * 2 + x * 3).backward()
    assert x.grad.item() == 60
    handle.remove()
    x.grad = None
    (x * 2 + x * 3).backward()
    assert x.grad.item() == 6


def test_an_optimizer_step_after_accumulation():
    p = torch.ones(2, requires_grad=True)

    def step(parameter):
        with torch.no_grad():
            parameter.sub_(parameter.grad * 0.1)
        parameter.grad = None

    p.register_post_accumulate_grad_hook(step)
    (p * 5).sum().backward()
    assert p.tolist() == [0.5, 0.5] and p.grad is None
