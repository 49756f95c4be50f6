"""The op table drives one battery: every property of every elementwise op."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from ops.references import REFERENCES

import numtorch as torch
import numtorch.nn.functional  # declares the terms of losses: the table must not depend on which test ran before
import numtorch.special
from numtorch import jit
from numtorch.ops import TABLE
from numtorch.ops.pointwise import Elementwise

# Ops that work on integers or bits only.
INTEGER = {
    "div_trunc_integers",
    "fmod_integers",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "bitwise_not",
    "bitwise_left_shift",
    "bitwise_right_shift",
    "gcd",
}
# Ops whose inputs need more than independent numbers, tested beside their public functions.
ELSEWHERE = {"where", "copy", "fill"}
OPS = sorted(n for n, op in TABLE.items() if isinstance(op, Elementwise) and n not in INTEGER | ELSEWHERE)
ONE_SIDED = {"zeta", "igamma", "igammac"}  # PyTorch has no derivative for one of the operands
FLAT = {
    "floor",
    "ceil",
    "trunc",
    "round",
    "sign",
    "floor_divide",
    "div_trunc",
    "angle",
}  # derivative zero, steps between


def draw(op, shape, dtype, seed=0, second=False):
    """One array per parameter inside the op's domain, away from kinks at whole numbers."""
    rng = np.random.default_rng([seed, *op.name.encode()])
    domain = op.domain or (0.3, 2.7)
    domains = domain if isinstance(domain[0], tuple) else (domain,) * len(op.params)
    found = []
    for low, high in domains:
        x = rng.uniform(low, high, shape)
        x = np.where(np.abs(x - np.round(x)) < 0.05, x + 0.1 * (high - low) / 3, x)
        found.append(np.clip(x, low, high).astype(dtype))
    return found


def tensors(arrays, requires_grad=False):
    return [torch.tensor(a, requires_grad=requires_grad) for a in arrays]


def call(op, args):
    out = op(*args)
    return out if isinstance(out, tuple) else (out,)


def numbers(out):
    return [t.detach().numpy() for t in out]


@pytest.mark.parametrize("name", OPS)
def test_value_against_numpy(name):
    op = TABLE[name]
    reference = op.ref or REFERENCES.get(name)
    if reference is None:
        pytest.skip("no NumPy reference; its public function is tested elsewhere")
    for dtype, tolerance in ((np.float32, 3e-6), (np.float64, 1e-13)):
        arrays = draw(op, (5, 7), dtype)
        with np.errstate(all="ignore"):
            want = reference(*[a.astype(np.float64) for a in arrays])
        (have,) = numbers(call(op, tensors(arrays)))
        assert have.dtype == (np.bool_ if op.result == "bool" else dtype)
        np.testing.assert_allclose(have, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", OPS)
def test_layouts_and_shapes_agree(name):
    """Strided, expanded, offset, 0-d, empty and broadcast operands give what contiguous ones give; inputs stay."""
    op = TABLE[name]
    arrays = draw(op, (6, 8), np.float32)
    want = numbers(call(op, tensors(arrays)))
    strided = [torch.tensor(np.ascontiguousarray(a.T)).t() for a in arrays]
    for have, expected in zip(numbers(call(op, strided)), want):
        np.testing.assert_array_equal(have, expected)
    gapped = [torch.tensor(np.repeat(a, 2, axis=1))[:, ::2] for a in arrays]
    before = [t.numpy().copy() for t in gapped]
    for have, expected in zip(numbers(call(op, gapped)), want):
        np.testing.assert_array_equal(have, expected)
    for t, b in zip(gapped, before):
        np.testing.assert_array_equal(t.numpy(), b)
    zero_dim = call(op, [torch.tensor(a[2, 3]) for a in arrays])
    for have, expected in zip(zero_dim, want):
        assert have.shape == () and have.dtype == getattr(torch, str(expected.dtype))
        np.testing.assert_array_equal(have.numpy(), expected[2, 3])
    assert all(t.shape == (0, 3) for t in call(op, [torch.tensor(a[:0, :3]) for a in arrays]))
    if len(arrays) > 1:
        mixed = [torch.tensor(a if k == 0 else a[:1]) for k, a in enumerate(arrays)]
        full = [torch.tensor(a if k == 0 else np.repeat(a[:1], 6, axis=0)) for k, a in enumerate(arrays)]
        for have, expected in zip(numbers(call(op, mixed)), numbers(call(op, full))):
            np.testing.assert_array_equal(have, expected)


@pytest.mark.parametrize("name", OPS)
def test_numbers_as_operands(name):
    op = TABLE[name]
    if len(op.params) < 2:
        pytest.skip("one operand")
    arrays = draw(op, (4,), np.float32)
    values = [torch.tensor(arrays[0])] + [float(a[0]) for a in arrays[1:]]
    if op.tensors > 1:
        with pytest.raises(TypeError, match=r"\(position 2\) must be Tensor, not float; make one with"):
            op(*values)
        return
    if op.tensors:
        with pytest.raises(TypeError, match=r"\(position 1\) must be Tensor, not float; make one with"):
            op(2.0, values[0])
    full = [torch.tensor(arrays[0])] + [torch.full((4,), float(a[0])) for a in arrays[1:]]
    for have, expected in zip(numbers(call(op, values)), numbers(call(op, full))):
        assert have.dtype == expected.dtype
        np.testing.assert_array_equal(have, expected)


@pytest.mark.parametrize("name", [n for n in OPS if TABLE[n].grad_body is not None and n not in ONE_SIDED])
def test_first_and_second_derivative(name):
    """Of the operands that have a derivative: a threshold or a flag has none declared (it is zero)."""
    op = TABLE[name]
    smooth = [k for k in range(len(op.params)) if op.grad_uses(k) or op._grads[k] == "g" or name in FLAT]
    assert smooth, "a derivative of nothing is declared"
    inputs = [torch.tensor(a, requires_grad=k in smooth) for k, a in enumerate(draw(op, (3,), np.float64))]
    assert torch.autograd.gradcheck(lambda *a: op(*a), inputs, atol=1e-6)
    if name not in FLAT:
        assert torch.autograd.gradgradcheck(lambda *a: op(*a), inputs, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in OPS if TABLE[n].grad_body is not None])
def test_gradients_of_float32_stay_float32_and_match_the_ops_on_tensors(name):
    op = TABLE[name]
    arrays = draw(op, (2, 3), np.float32)
    fused = tensors(arrays, requires_grad=True)
    out = [t for t in call(op, fused) if t.requires_grad]
    torch.autograd.backward(out, [torch.ones_like(t) for t in out])
    by_ops = tensors(arrays, requires_grad=True)
    out = [t for t in call(op, by_ops) if t.requires_grad]
    grads = torch.autograd.grad(
        out, by_ops, [torch.ones_like(t) for t in out], create_graph=True, materialize_grads=True
    )
    for a, b in zip(fused, grads):
        assert a.grad.dtype is torch.float32 and b.dtype is torch.float32
        np.testing.assert_allclose(a.grad.numpy(), b.detach().numpy(), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", OPS)
def test_eager_equals_traced(name):
    op = TABLE[name]
    inputs = tensors(draw(op, (4, 5), np.float32))
    traced = jit.trace(lambda *a: call(op, a), tuple(inputs))
    other = tensors(draw(op, (4, 5), np.float32, seed=1))
    for have, want in zip(traced(*other), call(op, other)):
        np.testing.assert_array_equal(have.numpy(), want.numpy())


@pytest.mark.parametrize("name", [n for n in OPS if TABLE[n].result != "bool" and TABLE[n].count == 1])
def test_in_place_and_out(name):
    op = TABLE[name]
    arrays = draw(op, (3, 4), np.float32)
    (want,) = numbers(call(op, tensors(arrays)))
    inputs = tensors(arrays)
    version = inputs[0]._version
    assert op.inplace(*inputs) is inputs[0]
    np.testing.assert_array_equal(inputs[0].numpy(), want)
    assert inputs[0]._version == version + 1
    out = torch.empty(0)
    op(*tensors(arrays), out=out)
    np.testing.assert_array_equal(out.numpy(), want)


@pytest.mark.parametrize("name", OPS)
def test_wrong_arguments(name):
    op = TABLE[name]
    with pytest.raises(TypeError, match=name.split("_")[0]):
        op(*["text"] * len(op.params))
    with pytest.raises(TypeError):
        op()
    if len(op.params) > 1:
        with pytest.raises(RuntimeError, match="must match the size"):
            op(torch.ones(2), *[torch.ones(3)] * (len(op.params) - 1))


def test_every_op_has_a_docstring():
    assert [n for n in OPS if not inspect.getdoc(TABLE[n].body)] == []
