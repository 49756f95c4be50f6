"""Kernel ops on a simulated GPU are planned once a layout, whatever they launch: the same as on the CPU each time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numtorch as torch
from numtorch.ops.declare import TABLE

pytestmark = pytest.mark.simulator
F = torch.nn.functional


def check_same(found: Any, wanted: Any) -> None:
    assert found.is_cuda and found.shape == wanted.shape
    np.testing.assert_allclose(found.detach().cpu().numpy(), wanted.detach().numpy(), rtol=1e-4, atol=1e-5)


def values(*shape: int, seed: int = 0) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def both(run: Callable, *given: Any) -> None:
    """The results and gradients of ``run`` there as here."""
    here = [t.clone().requires_grad_(t.is_floating_point()) for t in given]
    there = [t.detach().cuda().requires_grad_(t.is_floating_point()) for t in given]
    wanted, found = run(*here), run(*there)
    check_same(found, wanted)
    (wanted * wanted).sum().backward()
    (found * found).sum().backward()
    for a, b in zip(here, there):
        if a.grad is not None:
            check_same(b.grad, a.grad)


CASES: dict[str, tuple[Callable, list]] = {
    "convolution": (lambda x, w, b: F.conv2d(x, w, b, padding=1), [(2, 2, 4, 3), (2, 2, 3, 3), (2,)]),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (6,), w, b), [(3, 6), (6,), (6,)]),
    "group_norm": (lambda x, w, b: F.group_norm(x, 2, w, b), [(2, 4, 3), (4,), (4,)]),
    "batch_norm": (lambda x, w, b: F.batch_norm(x, None, None, w, b, True), [(4, 3, 2), (3,), (3,)]),
    "max_pool_values": (lambda x: F.max_pool2d(x, 2), [(1, 2, 4, 4)]),
    "avg_pool": (lambda x: F.avg_pool2d(x, 2), [(1, 2, 4, 4)]),
    "log_softmax": (lambda x: F.log_softmax(x, 1), [(3, 5)]),
    "cumsum": (lambda x: x.cumsum(1), [(3, 5)]),
}


@pytest.mark.parametrize("name", CASES)
def test_again_and_after_other_layouts(gpu: Any, name: str) -> None:
    run, shapes = CASES[name]
    for k in range(3):
        given = [values(*s, seed=3 * k + i) for i, s in enumerate(shapes)]
        both(run, *given)
        both(lambda x, *rest: run(x.transpose(-1, -2).contiguous().transpose(-1, -2), *rest), *given)
        wide = torch.cat([given[0], given[0] * 2])
        both(lambda x, *rest: run(x[len(x) // 2 :], *rest), wide, *given[1:])  # an offset
    assert TABLE.get(name) is None or any(type(s).__name__ == "DeviceSteps" for s in TABLE[name]._known.values())


@pytest.mark.parametrize("op", ["convolution", "layer_norm", "max_pool_values", "embedding", "index_add_values"])
def test_no_plan_the_second_time(gpu: Any, monkeypatch: pytest.MonkeyPatch, op: str) -> None:
    index = torch.tensor([2, 0, 2])
    run, given = {
        "convolution": (lambda x, w: F.conv2d(x, w), [(1, 2, 4, 3), (2, 2, 2, 2)]),
        "layer_norm": (lambda x: F.layer_norm(x.t(), (3,)), [(3, 4)]),  # a copy is made for it
        "max_pool_values": (lambda x: F.max_pool1d(x, 3), [(1, 2, 6)]),
        "embedding": (lambda x: F.embedding(index.to(x.device), x), [(3, 4)]),
        "index_add_values": (lambda x: TABLE[op](None, index.to(x.device), x, dim=0, size=5, alpha=2.0), [(3, 4)]),
    }[op]
    plans, before = [], TABLE[op]._plan
    monkeypatch.setattr(TABLE[op], "_plan", lambda out, *a, **k: plans.append(out[0].is_cuda) or before(out, *a, **k))
    TABLE[op]._known.clear()
    for seed in (1, 2, 3):
        here = [values(*s, seed=seed) for s in given]
        check_same(run(*[t.cuda() for t in here]), run(*here))
    assert plans.count(True) <= 2  # the first call may have made a table of constants


def test_convolutions_follow_the_switch_of_tensor_cores(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = values(8, 64, 14, 14).cuda(), values(64, 64, 3, 3, seed=1).cuda()
    monkeypatch.setattr(gpu, "start", lambda made, *_: gpu.launched.append(made[0].name))  # nothing is computed
    before, names = torch.backends.cudnn.allow_tf32, []
    try:
        for allowed in (False, True, False, True):
            torch.backends.cudnn.allow_tf32 = allowed
            gpu.launched.clear()
            F.conv2d(x, w)
            names.append(tuple(gpu.launched))
    finally:
        torch.backends.cudnn.allow_tf32 = before
    assert names[0] == names[2] and names[1] == names[3] and names[0] != names[1]


def test_what_a_kernel_writes_counts_as_changed(gpu: Any) -> None:
    x = values(4, 3, 2)
    here, there = [torch.zeros(3), torch.ones(3)], [torch.zeros(3).cuda(), torch.ones(3).cuda()]
    for k in range(3):
        F.batch_norm(x + k, *here, training=True)
        F.batch_norm((x + k).cuda(), *there, training=True)
        for a, b in zip(here, there):
            check_same(b, a)
            assert b._version == a._version


def test_a_changed_operand_is_noticed(gpu: Any) -> None:
    for _ in range(3):
        x = values(3, 6).cuda().requires_grad_()
        w = values(6).cuda().requires_grad_()
        y = F.layer_norm(x, (6,), w)
        w.detach().mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()


def test_one_tensor_for_two_operands(gpu: Any) -> None:
    w, b = values(6), values(6, seed=1)
    x = values(3, 6, seed=2)
    for _ in range(2):  # which of them a launch reads cannot be told from the first
        check_same(F.layer_norm(x.cuda(), (6,), *[w.cuda()] * 2), F.layer_norm(x, (6,), w, w))
        check_same(F.layer_norm(x.cuda(), (6,), w.cuda(), b.cuda()), F.layer_norm(x, (6,), w, b))
    both_of = torch.cat([w, b]).cuda()
    for _ in range(2):
        check_same(F.layer_norm(x.cuda(), (6,), both_of[6:], both_of[:6]), F.layer_norm(x, (6,), b, w))


def test_bad_operands_after_good_ones(gpu: Any) -> None:
    x = values(1, 2, 4, 4).cuda()
    F.max_pool2d(x, 2)
    with pytest.raises(RuntimeError, match="Output size is too"):
        F.max_pool2d(x[:, :, :1], 2)
    for bad in (7, -1):
        with pytest.raises(IndexError, match="index out of range"):
            F.embedding(torch.tensor([0, bad]).cuda(), values(3, 2).cuda())


def test_anomalies_and_traces_still_see_the_ops(gpu: Any) -> None:
    x = values(3, 6).cuda()
    wanted = F.layer_norm(x.cpu(), (6,))
    F.layer_norm(x, (6,))
    with torch.autograd.detect_anomaly():
        check_same(F.layer_norm(x, (6,)), wanted)
    traced = torch.jit.trace(lambda t: F.layer_norm(t, (6,)), x)
    check_same(traced(x), wanted)
    check_same(traced(x + 1), wanted)


def test_numbers_are_written_where_the_memory_is(gpu: Any) -> None:
    gpu.launched.clear()
    check_same(torch.full((3,), 2.0, device="cuda"), torch.full((3,), 2.0))
    assert "fill" in " ".join(gpu.launched), "no kernel of the CPU may write into memory of a GPU"
