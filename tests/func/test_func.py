"""Derivatives of functions and maps over batches: PyTorch's values where it is installed, the errors, what stays in a graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import numtorch


def programs(torch: Any) -> dict[str, Any]:
    """Results of many calls, in one framework."""
    f = torch.func
    x, y, m = torch.tensor([0.3, -0.7]), torch.tensor([1.5, 0.4]), torch.arange(6.0).reshape(3, 2) / 7
    nested = {"a": x, "b": (y, m)}

    def loss(p):
        return (p["a"].sin() * p["b"][0]).sum() + p["b"][1].square().sum()

    out, back = f.vjp(lambda a, b: {"s": a * b, "d": a - b}, x, y)
    net = torch.nn.Linear(2, 1)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[0.5, -1.0]]))
        net.bias.fill_(0.25)
    weights = dict(net.named_parameters())

    def sample_loss(w, a):
        return f.functional_call(net, w, (a,)).square().sum()

    return {
        "grad": f.grad(loss)(nested),
        "argnums": f.grad(lambda a, b: (a * b).sum(), argnums=(1, 0))(x, y),
        "grad twice": f.grad(f.grad(lambda a: a**4))(torch.tensor(2.0)),
        "unused": f.grad(lambda a: torch.ones(()) * 2)(x),
        "aux": f.grad_and_value(lambda a: (a.square().sum(), a * 2), has_aux=True)(x),
        "vjp": (out, back({"s": torch.ones(2), "d": y})),
        "jvp": f.jvp(lambda a, b: a.exp() * b, (x, y), (y, x)),
        "jacrev": f.jacrev(lambda a, b: (a.outer(b), a.sum()), argnums=(0, 1))(x, y),
        "jacfwd": f.jacfwd(torch.sin)(x),
        "hessian": f.hessian(lambda a: (a[0] ** 2 * a[1]).exp())(x),
        "vmap": f.vmap(torch.dot, in_dims=(0, None))(m, y),
        "vmap out": f.vmap(lambda r, s: (r * s, r.sum()), in_dims=(1, 0), out_dims=(1, 0))(m, x),
        "vmap nested": f.vmap(f.vmap(torch.mul, in_dims=(None, 0)), in_dims=(0, None))(x, y),
        "vmap dict": f.vmap(lambda d: d["a"] + d["b"].sum(), in_dims=({"a": 0, "b": None},))({"a": m, "b": x}),
        "per sample": f.vmap(f.grad(sample_loss), in_dims=(None, 0))(weights, m),
        "jacobian by vmap": f.vmap(f.jacrev(lambda r: r.square()))(m),
        "stacked": f.stack_module_state([net, net]),
    }


def numbers(tree: Any) -> Any:
    """Nested lists of a result."""
    if isinstance(tree, dict):
        return {k: numbers(v) for k, v in tree.items()}
    if isinstance(tree, (tuple, list)):
        return [numbers(v) for v in tree]
    return tree.detach().numpy()


def test_known_values():
    found = programs(numtorch)
    assert found["grad twice"].item() == 48 and found["unused"].tolist() == [0, 0]
    np.testing.assert_allclose(found["jacfwd"].numpy(), np.diag(np.cos([0.3, -0.7])), rtol=1e-6)
    np.testing.assert_allclose(found["vmap"].numpy(), np.arange(6).reshape(3, 2) / 7 @ [1.5, 0.4], rtol=1e-6)
    assert found["per sample"]["weight"].shape == (3, 1, 2) and found["stacked"][0]["weight"].shape == (2, 1, 2)


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_as_in_pytorch():
    import torch

    np.testing.assert_equal(list(programs(numtorch)), list(programs(torch)))
    for (name, ours), theirs in zip(programs(numtorch).items(), programs(torch).values()):
        flat = [numtorch.utils._pytree.tree_leaves(numbers(t)) for t in (ours, theirs)]
        assert len(flat[0]) == len(flat[1]), name
        for a, b in zip(*flat):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6, err_msg=name)


def test_linearize():
    value, by = numtorch.func.linearize(numtorch.square, numtorch.tensor([1.0, 3.0]))
    assert value.tolist() == [1, 9] and by(numtorch.tensor([1.0, 0.5])).tolist() == [2, 3]


def test_what_stays_in_a_graph():
    w = numtorch.tensor(3.0, requires_grad=True)
    x = numtorch.tensor(2.0)
    assert not numtorch.func.grad(lambda a: a**2)(x).requires_grad
    through = numtorch.func.grad(lambda a: w * a**2)(x)
    through.backward()
    assert w.grad.item() == 4.0
    assert numtorch.func.grad(lambda a: a**3)(w).requires_grad
    with numtorch.no_grad():
        assert numtorch.func.grad(lambda a: a**3)(w).item() == 27.0


def test_random_numbers_in_a_map():
    x = numtorch.zeros(3)
    with pytest.raises(RuntimeError, match="random operation while in randomness error mode"):
        numtorch.func.vmap(lambda a: a + numtorch.rand(()))(x)
    same = numtorch.func.vmap(lambda a: a + numtorch.rand(()), randomness="same")(x)
    different = numtorch.func.vmap(lambda a: a + numtorch.rand(()), randomness="different")(x)
    assert len(set(same.tolist())) == 1 and len(set(different.tolist())) == 3


@pytest.mark.parametrize(("call", "kind", "message"), [
    (lambda f, x: f.grad(lambda a: a * 2)(x), RuntimeError, "scalar tensor"),
    (lambda f, x: f.grad(lambda a: 1.0)(x), RuntimeError, "return a single tensor, got float"),
    (lambda f, x: f.grad(lambda a: a.sum(), argnums=1)(x), RuntimeError, "Got argnum=1, but only 1 positional inputs"),
    (lambda f, x: f.grad(lambda a: a.sum())(x.long()), RuntimeError, "floating point dtype"),
    (lambda f, x: f.vjp(lambda a: a, x)[1]((x, x)), RuntimeError, "structure of cotangents"),
    (lambda f, x: f.jvp(lambda a: a, x, x), RuntimeError, "to be tuples"),
    (lambda f, x: f.vmap(lambda a, b: a, in_dims=(0,))(x, x), ValueError, "expected an int or 2 entries"),
    (lambda f, x: f.vmap(lambda a, b: a)(x, x[:1]), ValueError, r"got sizes \[1, 2\]"),
    (lambda f, x: f.vmap(lambda a: a, in_dims=3)(x), ValueError, "dimensionality 1"),
    (lambda f, x: f.vmap(lambda a: 1.0)(x), ValueError, "must only return Tensors"),
    (lambda f, x: f.vmap(lambda a: a, in_dims=(None,))(x), ValueError, "at least one input"),
    (lambda f, x: f.functionalize, AttributeError, "has no attribute 'functionalize'"),
])  # fmt: skip
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call(numtorch.func, numtorch.ones(2))
