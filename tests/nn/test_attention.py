"""scaled_dot_product_attention: which masks go together, as in PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import numtorch

RNG = np.random.default_rng(0)
Q, KV = RNG.standard_normal((2, 4, 3, 8)).astype(np.float32), RNG.standard_normal((2, 4, 5, 8)).astype(np.float32)
MASKS = {"bool": RNG.random((3, 5)) > 0.4, "float": RNG.standard_normal((3, 5)).astype(np.float32), "none": np.zeros((3, 5), bool)}


def attend(torch, q, kv, mask, **options):
    given = [torch.tensor(a) for a in (q, kv, kv)]
    try:
        return torch.nn.functional.scaled_dot_product_attention(*given, torch.tensor(mask), **options).numpy()
    except Exception as error:
        return type(error).__name__


@pytest.mark.oracle
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("cut", ["4d", "3d", "2d"])
@pytest.mark.parametrize("enable_gqa", [False, True])
def test_a_mask_and_is_causal(mask, cut, enable_gqa):
    torch = pytest.importorskip("torch")
    q, kv = {"4d": (Q, KV[:, :2] if enable_gqa else KV), "3d": (Q[0], KV[0]), "2d": (Q[0, 0], KV[0, 0])}[cut]
    want, have = (attend(t, q, kv, MASKS[mask], is_causal=True, enable_gqa=enable_gqa) for t in (torch, numtorch))
    assert isinstance(want, str) == isinstance(have, str) == (cut != "4d")
    if isinstance(want, str):
        assert want == have
    else:
        np.testing.assert_allclose(have, want, 1e-5, 1e-6)


@pytest.mark.parametrize(("p", "kind"), [(-0.1, RuntimeError), (1.5, RuntimeError)])
def test_dropout_is_a_probability(p, kind):
    q = numtorch.ones(1, 1, 2, 2)
    with pytest.raises(kind, match="dropout probability has to be between 0 and 1"):
        numtorch.nn.functional.scaled_dot_product_attention(q, q, q, dropout_p=p)


def composed(q, k, v, mask, causal):
    """Attention by single operations."""
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    if causal:
        scores = scores.masked_fill(numtorch.ones(q.shape[-2], k.shape[-2]).triu(1).bool(), -numtorch.inf)
    if mask is not None and mask.dtype is numtorch.bool:
        scores = scores.masked_fill(~mask, -numtorch.inf)
    elif mask is not None:
        scores = scores + mask
    return scores.softmax(-1) @ v


def operands(shape, dtype=numtorch.float32, seed=0):
    numtorch.manual_seed(seed)
    return [numtorch.randn(*shape, dtype=dtype).requires_grad_() for _ in range(3)]


@pytest.mark.parametrize("kind", ["none", "causal", "bool", "shared", "float"])
@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (2, 1, 3)], ids=str)
def test_one_kernel_computes_what_single_operations_do(batch, kind):
    shape, T = (*batch, 70, 20), (70, 70)
    q, k, v = operands(shape)
    masks = {"bool": numtorch.rand(*batch, *T) > 0.3, "shared": numtorch.rand(*T) > 0.3, "float": numtorch.randn(*batch, *T)}
    mask, g = masks.get(kind), numtorch.randn(*shape)
    found = numtorch.nn.functional.scaled_dot_product_attention(q, k, v, mask, is_causal=kind == "causal")
    wanted = composed(q, k, v, mask, kind == "causal")
    numtorch.testing.assert_close(found, wanted)
    for a, b in zip(numtorch.autograd.grad(found, (q, k, v), g), numtorch.autograd.grad(wanted, (q, k, v), g)):
        numtorch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_heads_lie_beside_each_other_as_in_pytorch():
    q, k, v = operands((2, 3, 5, 4))
    out = numtorch.nn.functional.scaled_dot_product_attention(q, k, v)
    assert out.stride() == (60, 4, 12, 1) and out.transpose(1, 2).is_contiguous()


@pytest.mark.parametrize(
    ("shape", "name"),
    [((5, 4), "Mm"), ((3, 5, 4), "UnsafeView"), ((2, 3, 5, 4), "ScaledDotProductFlashAttentionForCpu")],
    ids=str,
)
def test_the_node_is_called_as_in_pytorch(shape, name):
    out = numtorch.nn.functional.scaled_dot_product_attention(*operands(shape))
    assert out.grad_fn.name() == f"{name}Backward0"


def test_gradients_of_gradients():
    q, k, v = operands((2, 5, 4), numtorch.float64)
    attend = numtorch.nn.functional.scaled_dot_product_attention
    assert numtorch.autograd.gradcheck(lambda *a: attend(*a, is_causal=True), (q, k, v))
    assert numtorch.autograd.gradgradcheck(lambda *a: attend(*a, is_causal=True), (q, k, v))


@pytest.mark.parametrize("shape", [(4, 2, 70, 16), (1, 1, 300, 8)], ids=str)
def test_traced_and_on_any_number_of_threads_the_bits_are_the_same(shape):
    q, k, v = operands(shape)

    def step(q, k, v):
        out = numtorch.nn.functional.scaled_dot_product_attention(q * 2, k, v, is_causal=True)
        return out, *numtorch.autograd.grad(out.square().sum(), (q, k, v))

    wanted, before = step(q, k, v), numtorch.get_num_threads()
    try:
        for threads in (1, 2, 8):
            numtorch.set_num_threads(threads)
            traced = numtorch.jit.trace(step, (q, k, v))
            for found in (step(q, k, v), traced(q, k, v)):
                assert all(a.detach().numpy().tobytes() == b.detach().numpy().tobytes() for a, b in zip(found, wanted))
            assert "attention_backward" in str(traced.graph)
    finally:
        numtorch.set_num_threads(before)


def test_two_layers_are_one_run_of_parts_of_the_batch():
    w, before = numtorch.randn(64, 192) / 8, numtorch.get_num_threads()

    def layer(x):
        q, k, v = (x @ w).view(4, 64, 3, 4, 16).permute(2, 0, 3, 1, 4)
        a = numtorch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return a.transpose(1, 2).reshape(4, 64, 64)

    x = numtorch.randn(4, 64, 64)
    try:
        numtorch.set_num_threads(2)
        traced = numtorch.jit.trace(lambda x: layer(layer(x)), x)
        assert numtorch.equal(traced(x), layer(layer(x)))
        assert [op.part[1] for op in traced.paths()[0].program.ops if op.entry.name == "attention"] == [0, 0, 1, 1]
    finally:
        numtorch.set_num_threads(before)
