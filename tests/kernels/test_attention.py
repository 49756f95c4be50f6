"""Attention kernels of the CPU against NumPy in float64, with the same bits for any number of chunks."""

from __future__ import annotations

import numpy as np
import pytest
from harness import run

from numtorch.kernels.cpu.attention_plan import backward_plan, forward_plan

# (batch, heads), (L, S, E, V): ragged and whole tiles, several blocks of queries and of keys, heads narrower than a vector
SIZES = {
    "whole": ((2, 2), (64, 64, 32, 32)),
    "ragged": ((2, 3), (70, 90, 20, 24)),
    "many keys": ((1, 2), (130, 300, 33, 16)),
    "few keys": ((1, 1), (200, 40, 8, 7)),
    "one query": ((1, 2), (1, 9, 3, 2)),
}


def attend(q, k, v, g, scale, causal, allowed, added):
    """Result, logarithms of the sums and gradients, by the formulas."""
    q, k, v, g = (x.astype(np.float64) for x in (q, k, v, g))
    s = q @ k.swapaxes(-1, -2) * scale + (0 if added is None else added)
    if causal:
        s = np.where(np.arange(s.shape[-1]) > np.arange(s.shape[-2])[:, None], -np.inf, s)
    if allowed is not None:
        s = np.where(allowed, s, -np.inf)
    top = s.max(-1, keepdims=True)
    e = np.exp(s - np.where(np.isinf(top), 0, top))
    total = e.sum(-1, keepdims=True)
    p = np.divide(e, total, out=np.zeros_like(e), where=total > 0)
    dp = g @ v.swapaxes(-1, -2)
    ds = p * (dp - (dp * p).sum(-1, keepdims=True)) * scale
    with np.errstate(divide="ignore"):
        lse = (np.where(np.isinf(top), 0, top) + np.log(total))[..., 0]
    return p @ v, lse, ds @ k, ds.swapaxes(-1, -2) @ q, p.swapaxes(-1, -2) @ g


class Case:
    """Operands laid out as (batch, L, heads, size), as projections give them."""

    def __init__(self, batch, sizes, dtype="float32", mask=None):
        rng, (B, H), (L, S, E, V) = np.random.default_rng(0), batch, sizes
        self.T, self.batch, self.sizes, self.scale = dtype, batch, sizes, E**-0.5
        shapes = {"q": (L, E), "k": (S, E), "v": (S, V), "g": (L, V)}
        self.given = {n: rng.standard_normal((B, m, H, w)).astype(dtype) for n, (m, w) in shapes.items()}
        self.masks = {
            "allowed": rng.random((B, H, L, S)) > 0.4 if mask == "bool" else None,
            "added": rng.standard_normal((B, H, L, S)).astype(dtype) if mask == "add" else None,
        }
        if mask == "bool":
            self.masks["allowed"][0, 0, 0] = False  # a query without keys
        self.flags = {"bool": 1, "add": 2}.get(mask, 0)

    def steps(self, *names):
        _, H = self.batch
        L, S, E, V = self.sizes
        rows = {"q": (L, E), "k": (S, E), "v": (S, V), "g": (L, V), "out": (L, V)}
        return [step for n in names for m, w in [rows[n]] for step in (m * H * w, w, H * w)]

    def computed(self, causal, nchunks=1, interpreted=False):
        (B, H), (L, S, E, V) = self.batch, self.sizes
        m_steps = (H * L * S, L * S, S, 1) if self.flags else (0, 0, 0, 0)
        made = {"out": (B, L, H, V), "lse": (B, H, L), "dq": (B, L, H, E), "dk": (B, S, H, E), "dv": (B, S, H, V)}
        have = {**self.given, **{n: np.full(shape, 7, self.T) for n, shape in made.items()}}
        have |= {n: np.zeros(1, self.T if n == "added" else bool) if m is None else m for n, m in self.masks.items()}
        rest = (bool(causal), self.flags, self.scale)
        first = forward_plan(self.T, self.batch, self.sizes, (*self.steps("out", "q", "k", "v"), *m_steps), *rest)
        steps = self.steps("q", "k", "v", "g", "q", "k", "v", "out")
        launches, nbytes = backward_plan(self.T, self.batch, self.sizes, (*steps, *m_steps), *rest)
        have["parts"] = np.full(max(1, nbytes // np.dtype(self.T).itemsize), np.nan, self.T)
        for one in (first, *launches):
            have["scratch"] = np.full(max(1, one.scratch_bytes // np.dtype(self.T).itemsize), np.nan, self.T)
            arrays = [have[n] for n in one.pointers]
            run(one.kernel, *arrays, *one.words, T=self.T, nchunks=min(nchunks, one.units), interpreted=interpreted)
        turned = [have[n].swapaxes(1, 2) for n in ("dq", "dk", "dv")]
        return have["out"].swapaxes(1, 2), have["lse"], *turned

    def wanted(self, causal):
        turned = [self.given[n].swapaxes(1, 2) for n in "qkvg"]
        return attend(*turned, self.scale, causal, self.masks["allowed"], self.masks["added"])


@pytest.mark.parametrize("mask", [None, "bool", "add"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_and_gradients(name, causal, mask, dtype):
    case = Case(*SIZES[name], dtype, mask)
    found = [case.computed(causal, n) for n in (1, 2, 8)]
    for other in found[1:]:
        assert all(a.tobytes() == b.tobytes() for a, b in zip(found[0], other))
    bound = 2e-5 if dtype == "float32" else 2e-14
    for have, want in zip(found[0], case.wanted(causal)):
        np.testing.assert_allclose(have, want, bound, bound)


def test_keys_dealt_to_several_units_add_up_to_dq():
    case = Case((1, 1), (70, 400, 8, 8))
    assert len(backward_plan("float32", (1, 1), case.sizes, (0,) * 28, False, 0, 1.0)[0]) == 2
    for have, want in zip(case.computed(False, 3), case.wanted(False)):
        np.testing.assert_allclose(have, want, 2e-5, 2e-5)


def test_not_finite():
    case = Case((1, 1), (3, 5, 4, 4))
    case.given["q"][0, 1, 0, 0] = np.nan
    out = case.computed(True)[0][0, 0]
    assert np.isnan(out[1]).all() and np.isfinite(out[[0, 2]]).all()
    case.masks["added"], case.flags = np.full((1, 1, 3, 5), -np.inf, np.float32), 2
    assert np.isnan(case.computed(False)[0]).all()  # numbers left no key


def test_interpreted():
    case = Case((1, 1), (3, 4, 5, 2), mask="bool")
    for have, want in zip(case.computed(True, interpreted=True), case.wanted(True)):
        np.testing.assert_allclose(have, want, 2e-5, 2e-5)
