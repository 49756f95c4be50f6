"""The short way of ops on a simulated GPU: prepared once, right for all operands of the same layouts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import numtorch as torch
from numtorch.cuda import blocks, runtime, ways

pytestmark = pytest.mark.simulator


def check_same(found: Any, wanted: Any) -> None:
    assert found.is_cuda and found.shape == wanted.shape
    np.testing.assert_allclose(found.detach().cpu().numpy(), wanted.detach().numpy(), rtol=1e-5, atol=1e-6)


def ways_of(op: str) -> list[Any]:
    return [w for w in torch.ops.declare.TABLE[op]._ways.values() if isinstance(w, ways.DeviceWay)]


def test_calls_of_the_same_layouts(gpu: Any) -> None:
    wide = torch.arange(24.0).reshape(4, 6)
    for k in range(3):  # the first plans, the others take the short way; starts and numbers differ
        x, y = wide[k], wide[k + 1]
        check_same(x.cuda() * y.cuda(), x * y)
        check_same(wide.cuda()[k] * (k + 0.5), x * (k + 0.5))
        check_same(wide.cuda()[:, k] / wide.cuda()[:, k + 1], wide[:, k] / wide[:, k + 1])
        check_same(wide.cuda().exp(), wide.exp())
    assert ways_of("mul") and ways_of("exp")
    assert (wide.cuda()[0] * -0.0).signbit().tolist() == [True] * 6 and not (wide.cuda()[0] * 0.0).signbit().any()


def test_gradients(gpu: Any) -> None:
    x = torch.linspace(-1, 1, 6)
    for _ in range(3):
        a, b = x.clone().requires_grad_(), x.cuda().requires_grad_()
        for t in (a, b):
            ((t * t).tanh() * 2.0 + t).sum().backward()
        check_same(b.grad, a.grad)
    y = x.cuda().requires_grad_()
    z = (y * y) * 2.0
    y.detach().add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_kernel_ops_are_planned_once(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.arange(6.0).reshape(2, 3) / 7
    for op, run in (("sum", lambda t: t.sum(1)), ("softmax", lambda t: t.softmax(1))):
        wanted, y = run(x * 2), x.cuda() * 2
        run(y)
        with monkeypatch.context() as patch:
            patch.setattr(torch.ops.declare.TABLE[op], "_plan", None)  # a plan would raise
            check_same(run(y), wanted)


def test_products_follow_the_switch_of_tensor_cores(gpu: Any) -> None:
    a, b = torch.ones(4, 4).cuda(), torch.ones(4, 4).cuda()
    for allowed in (False, True, False, True):
        torch.backends.cuda.matmul.allow_tf32 = allowed
        gpu.launched.clear()
        a @ b
        assert any(name.startswith("tensor_") for name in gpu.launched) is allowed
    torch.backends.cuda.matmul.allow_tf32 = False


def test_another_gpu_of_the_same_name(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.ones(5).cuda()
    for _ in range(2):
        x + x
    other = type(gpu)()
    monkeypatch.setattr(runtime, "_gpus", {0: other})
    y = torch.full((5,), 3.0).cuda()
    check_same(y + y, torch.full((5,), 6.0))
    assert "add_run" in other.launched and "add_run" in " ".join(gpu.launched)


def test_several_launches_and_no_elements(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from numtorch.kernels.cuda import elementwise

    monkeypatch.setattr(elementwise, "MOST", 8)  # elements of a strided launch
    x = torch.arange(35.0).reshape(5, 7)
    for _ in range(2):
        check_same(x.cuda().t() - x.cuda()[:, :1].t(), x.t() - x[:, :1].t())
        check_same(x.cuda()[:0] - x.cuda()[:0], x[:0] - x[:0])


def test_size_classes() -> None:
    for n in (0, 1, 511, 512, 513, 4096, 4097, 5000, 1 << 20):
        size = blocks.size_class(n)
        assert size >= max(n, 1) and size % blocks.GRAIN == 0 and size <= max(n * 9 / 8 + 1, n + 512)


def test_kept_blocks() -> None:
    kept = blocks.Kept()
    assert kept.take(512) is None and not kept.release()
    kept.give(512, 7, "buffer")
    assert kept.size == 512 and kept.take(1024) is None and kept.take(512) == (7, "buffer") and kept.size == 0
    kept.give(blocks.MOST, 8, "large")
    kept.give(512, 9, "too many")
    assert kept.size == blocks.MOST and kept.take(512) is None
    assert kept.release() and kept.take(blocks.MOST) is None and kept.size == 0


def test_a_block_waits_for_the_streams_that_use_it() -> None:
    class Gpu:
        allocated = peak = 0

    class Stream:
        def __init__(self) -> None:
            self.waited: list[Any] = []

        def wait(self, other: Any) -> None:
            self.waited.append(other)

    gpu, home, kept = Gpu(), Stream(), blocks.Kept()
    block = blocks.Block(gpu, home, 64, "buffer", 100, 512, kept)
    assert gpu.allocated == gpu.peak == 100
    block.streams = ("other",)
    del block
    assert home.waited == ["other"] and kept.take(512) == (64, "buffer") and gpu.allocated == 0 and gpu.peak == 100
