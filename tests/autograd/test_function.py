"""Custom Functions and gradcheck."""

from __future__ import annotations

import pytest

import numtorch as torch
from numtorch.autograd import Function, Variable, gradcheck, gradgradcheck
from numtorch.autograd.function import once_differentiable


class Cube(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * 3 * x * x


class Both(Function):
    @staticmethod
    def forward(ctx, x, y, scale):
        ctx.scale = scale
        ctx.save_for_backward(x, y)
        return x * y * scale, x + y

    @staticmethod
    def backward(ctx, g, h):
        _x, y = ctx.saved_tensors
        assert ctx.needs_input_grad == (True, False, False)
        return g * y * ctx.scale + h, None, None


def test_gradient_and_its_gradient():
    x = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    assert gradcheck(Cube.apply, (x,)) and gradgradcheck(Cube.apply, (x,))


def test_several_outputs_and_plain_arguments():
    x, y = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([3.0, 4.0])
    a, b = Both.apply(x, y, 10.0)
    (a.sum() + b.sum()).backward()
    assert x.grad.tolist() == [31, 41]
    x.grad = None
    Both.apply(x, y, 10.0)[1].sum().backward()  # the other gradient arrives as zeros
    assert x.grad.tolist() == [1, 1]


def test_setup_context_form():
    class Scale(Function):
        @staticmethod
        def forward(x, k):
            return x * k

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.k = inputs[1]

        @staticmethod
        def backward(ctx, g):
            return g * ctx.k, None

    x = torch.ones(2, requires_grad=True)
    Scale.apply(x, 5.0).sum().backward()
    assert x.grad.tolist() == [5, 5]


def test_mark_dirty_writes_in_place():
    class Double(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.mark_dirty(x)
            return x.mul_(2.0)

        @staticmethod
        def backward(ctx, g):
            return g * 2

    x = torch.ones(2, requires_grad=True)
    y = x * 1.0
    z = Double.apply(y)
    assert z is y
    z.sum().backward()
    assert x.grad.tolist() == [2, 2]


def test_wrong_number_of_gradients():
    class Bad(Function):
        @staticmethod
        def forward(ctx, x, y):
            return x + y

        @staticmethod
        def backward(ctx, g):
            return g

    a = torch.ones(1, requires_grad=True)
    with pytest.raises(RuntimeError, match="expected 2, got 1"):
        Bad.apply(a, a).backward()


def test_once_differentiable():
    class Once(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @once_differentiable
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * 2 * x

    x = torch.tensor([3.0], requires_grad=True)
    (g,) = torch.autograd.grad((Once.apply(x) * x).sum(), x, create_graph=True)
    assert g.item() == 27.0
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.backward()


def test_save_for_backward_takes_tensors_only():
    class Bad(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(3)
            return x * 1

        @staticmethod
        def backward(ctx, g):
            return g

    with pytest.raises(TypeError, match="save_for_backward"):
        Bad.apply(torch.ones(1, requires_grad=True))


def test_functions_are_not_instantiated():
    with pytest.raises(RuntimeError, match="should not be instantiated"):
        Cube()


def test_gradcheck_finds_a_wrong_gradient():
    class Wrong(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 3

    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        gradcheck(Wrong.apply, (x,))
    assert not gradcheck(Wrong.apply, (x,), raise_exception=False)


def test_variable_is_a_tensor():
    v = Variable(torch.ones(2), requires_grad=True)
    assert isinstance(v, Variable) and isinstance(v, torch.Tensor) and v.requires_grad


def test_custom_function_in_a_trace():
    traced = torch.jit.trace(lambda x: Cube.apply(x).sum(), torch.ones(2, requires_grad=True))
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    traced(x).backward()
    assert x.grad.tolist() == [3, 12]


def test_any_attribute_may_be_set_on_ctx():
    class Free(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.run = ctx.name = ctx.hooks = ctx.edges = ctx.module = ctx.seq = 3
            return x * 2

        @staticmethod
        def backward(ctx, g):
            assert ctx.run == ctx.edges == 3
            return g * 2

    x = torch.ones(2, requires_grad=True)
    Free.apply(x).sum().backward()
    assert x.grad.tolist() == [2, 2]
