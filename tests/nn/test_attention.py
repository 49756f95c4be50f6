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
