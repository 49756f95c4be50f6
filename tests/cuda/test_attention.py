"""Attention as one kernel on a simulated GPU against the CPU's single operations: values, gradients, masks, layouts."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numtorch as torch
from numtorch.nn.functional import scaled_dot_product_attention
from numtorch.ops import attention

pytestmark = pytest.mark.simulator


def check(gpu: Any, attend: Callable, *shapes: tuple[int, ...], fused: bool = True) -> None:
    """`attend(q, k, v)` and its gradients are the CPU's, and one kernel makes them (or does not)."""
    torch.manual_seed(0)
    given = [torch.randn(s) for s in shapes]
    found = []
    for device in ("cuda", "cpu"):
        leaves = [x.clone().to(device).requires_grad_() for x in given]
        y = attend(*leaves)
        (y * torch.cos(torch.arange(y.numel()).float()).reshape(y.shape).to(device)).sum().backward()
        found.append([y.detach(), *[x.grad for x in leaves]])
    names = {name.rpartition("_")[0] for name in gpu.launched if name.startswith("attention")}
    assert names == ({"attention", "attention_backward_q", "attention_backward_kv"} if fused else set())
    for a, b in zip(*found):
        np.testing.assert_allclose(a.cpu().numpy(), b.numpy(), rtol=2e-4, atol=2e-5)


def test_causal_over_several_tiles(gpu: Any) -> None:
    causal = lambda q, k, v: scaled_dot_product_attention(q, k, v, is_causal=True)  # noqa: E731
    check(gpu, causal, (35, 4), (35, 4), (35, 3))


def test_bool_mask_and_rows_without_keys(gpu: Any) -> None:
    mask = torch.tensor([[True, False, True], [False, False, False]])
    attend = lambda q, k, v: scaled_dot_product_attention(q, k, v, mask.to(q.device), scale=0.7)  # noqa: E731
    check(gpu, attend, (2, 2, 5), (2, 3, 5), (2, 3, 4))


def test_added_mask_and_turned_operands(gpu: Any) -> None:
    mask = torch.randn(2, 1, 3, 4)

    def attend(q: Any, k: Any, v: Any) -> Any:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # as a multi-head layer has them
        return scaled_dot_product_attention(q, k, v, mask.to(q.device))

    check(gpu, attend, (2, 3, 1, 6), (2, 4, 1, 6), (2, 4, 1, 6))


def test_many_dimensions(gpu: Any) -> None:
    check(gpu, scaled_dot_product_attention, (1, 1, 1, 2, 70), (1, 1, 1, 3, 70), (1, 1, 1, 3, 2))


def test_what_the_kernel_does_not_take(gpu: Any) -> None:
    x = torch.randn(1, 2, 3, device="cuda")
    learnt = torch.zeros(2, 2, device="cuda", requires_grad=True)
    scaled_dot_product_attention(x, x, x, learnt).sum().backward()
    assert learnt.grad is not None and learnt.grad.is_cuda
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    try:
        scaled_dot_product_attention(x, x, x)
    finally:
        torch.backends.cuda.enable_flash_sdp(True)
        torch.backends.cuda.enable_mem_efficient_sdp(True)
    assert not any(name.startswith("attention") for name in gpu.launched)


@pytest.mark.parametrize("causal, mask", [(True, None), (False, [[True, False, True], [False, False, False]]), (False, [[0.5, -1.0, 0.0]])])
def test_gradients_by_ops_are_the_same(causal: bool, mask: Any) -> None:
    """What the backward rule computes when its result is differentiated again."""
    torch.manual_seed(1)
    q, k, v, g = (torch.randn(2, n, 3) for n in (2, 3, 3, 2))
    for x in (q, k, v):
        x.requires_grad_()
    mask = None if mask is None else torch.tensor(mask)
    context = types.SimpleNamespace(q=q, k=k, v=v, mask=mask)
    found = attention._by_ops(context, g, causal, 0.7)
    y = scaled_dot_product_attention(q, k, v, mask, is_causal=causal, scale=0.7)
    wanted = torch.autograd.grad(y, (q, k, v), g, create_graph=True)
    for a, b in zip(found, wanted):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-4, atol=1e-6)
        second = [torch.autograd.grad(x.square().sum(), q, retain_graph=True)[0] for x in (a, b)]
        np.testing.assert_allclose(second[0].numpy(), second[1].numpy(), rtol=1e-3, atol=1e-5)


def test_a_second_derivative_takes_them(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(attention, "_by_ops", lambda ctx, g, *rest: calls.append(rest) or (g, g, g))
    x = torch.ones(2, 2, device="cuda", requires_grad=True)
    torch.autograd.grad(scaled_dot_product_attention(x, x, x).sum(), x, create_graph=True)
    assert len(calls) == 1 and "attention_backward_q_32" not in gpu.launched


def test_float16(gpu: Any) -> None:
    x = torch.linspace(-1, 1, 12).reshape(1, 3, 4)
    y = scaled_dot_product_attention(*[x.half().cuda()] * 3)
    assert y.dtype is torch.float16 and "attention_32" in gpu.launched
    np.testing.assert_allclose(y.float().cpu().numpy(), scaled_dot_product_attention(x, x, x).numpy(), atol=3e-3)
