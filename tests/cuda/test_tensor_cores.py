"""Which products go to tensor cores on a simulated GPU: those of 16 bits always, float32 where tf32 is permitted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import numtorch as torch

pytestmark = pytest.mark.simulator


@pytest.fixture
def tf32() -> Iterator[Any]:
    """The switch, put back afterwards."""
    yield torch.backends.cuda.matmul
    torch.backends.cuda.matmul.allow_tf32 = False


@pytest.mark.parametrize("dtype, near", [(torch.float16, 2e-3), (torch.bfloat16, 1.6e-2)])
def test_products_of_16_bits_and_their_gradients(gpu: Any, dtype: Any, near: float) -> None:
    torch.manual_seed(0)
    x, w, b = torch.randn(2, 3).to(dtype), torch.randn(4, 3).to(dtype), torch.randn(4).to(dtype)
    grads = []
    for to in (lambda t: t.clone(), lambda t: t.cuda()):
        leaves = [to(t).requires_grad_() for t in (x, w, b)]
        y = torch.nn.functional.linear(*leaves)
        y.sum().backward()
        grads.append([y, *(t.grad for t in leaves)])
    assert "tensor_nt" in gpu.launched and not any(name.startswith("gemm") for name in gpu.launched)
    for found, wanted in zip(*reversed(grads)):
        assert found.is_cuda and found.dtype is dtype
        np.testing.assert_allclose(found.detach().float().cpu().numpy(), wanted.detach().float().numpy(), rtol=near, atol=near)


def test_tf32_is_opt_in(gpu: Any, tf32: Any) -> None:
    x, y = torch.tensor([[1.0 + 2.0**-12]], device="cuda"), torch.ones(1, 1, device="cuda")
    assert not tf32.allow_tf32 and (x @ y).item() == 1.0 + 2.0**-12
    tf32.allow_tf32 = True
    assert torch.get_float32_matmul_precision() == "high" and (x @ y).item() == 1.0
    assert (x.double() @ y.double()).item() == 1.0 + 2.0**-12, "float64 is never rounded"
    torch.set_float32_matmul_precision("highest")
    assert not tf32.allow_tf32


def test_older_gpus_compute_in_float32(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "capability", (7, 5))
    for dtype in (torch.float16, torch.bfloat16):
        x = torch.tensor([[0.5]], device="cuda").to(dtype)
        assert (x @ x).item() == 0.25 and (x @ x).dtype is dtype
    assert "gemm_flat" in gpu.launched and "tensor_nn" not in gpu.launched


def test_traces_follow_the_switch(gpu: Any, tf32: Any) -> None:
    x = torch.tensor([[1.0 + 2.0**-12]], device="cuda")
    traced = torch.jit.trace(lambda t: t @ t, x, check_trace=False)
    exact = traced(x).item()
    tf32.allow_tf32 = True
    assert traced(x).item() == 1.0 != exact
    tf32.allow_tf32 = False
    assert traced(x).item() == exact


def test_convolutions_round_unless_forbidden(gpu: Any) -> None:
    """As in PyTorch float32 convolutions may be rounded to tf32; forward and both gradients, eager and traced."""
    x = torch.full((1, 17, 1, 1), 1.0 + 2.0**-12, device="cuda", requires_grad=True)
    w = torch.eye(17, device="cuda").view(17, 17, 1, 1).requires_grad_()
    traced = torch.jit.trace(lambda t: torch.nn.functional.conv2d(t, w), x.detach(), check_trace=False)
    cudnn = torch.backends.cudnn
    assert cudnn.allow_tf32
    for allowed in (True, False):
        with cudnn.flags(enabled=True, allow_tf32=allowed):
            x.grad = w.grad = None
            y = torch.nn.functional.conv2d(x, w)
            y.backward(x.detach())
            wanted = 1.0 if allowed else 1.0 + 2.0**-12
            found = (y, x.grad, traced(x.detach()))
            assert all((t == wanted).all().item() for t in found), allowed
            assert (w.grad == wanted**2).all().item()
    assert cudnn.allow_tf32
    assert {"conv_tensor_half", "weight_tensor_half", "forward_flat"} <= set(gpu.launched)
