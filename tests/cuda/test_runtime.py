"""Tensors on a simulated GPU: copies, ops, gradients, a training step; what is refused, and how."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import numtorch as torch
from numtorch import nn
from numtorch.cuda import runtime
from numtorch.nn.transformer import _looks_causal

pytestmark = pytest.mark.simulator


def check_same(found: Any, wanted: Any) -> None:
    """A GPU tensor holds the values of a CPU tensor, up to roundings."""
    assert found.is_cuda and found.dtype is wanted.dtype
    np.testing.assert_allclose(found.detach().cpu().numpy(), wanted.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_copies(gpu: Any) -> None:
    x = torch.arange(24.0).reshape(2, 3, 4)
    for view in (x, x.transpose(0, 2), x[:, 1], x[0, 0, 0], x[:0]):
        y = view.to("cuda")
        assert str(y.device) == "cuda:0" and y.shape == view.shape
        check_same(y, view)
        assert y.cuda() is y and y.to("cuda:0") is y
    assert x.cuda().to(torch.float64).cpu().tolist() == x.tolist()
    assert (x > 5).cuda().tolist() == (x > 5).tolist()
    y = torch.zeros(3, 4, 2, device="cuda").transpose(0, 2)
    y.copy_(x[:1].transpose(1, 2).expand(2, 4, 3))
    check_same(y, x[:1].transpose(1, 2).expand(2, 4, 3))
    z = torch.zeros(2, 3, 4, dtype=torch.int64)
    assert z.copy_(x.cuda()).tolist() == x.long().tolist()


def test_memory_is_counted_and_given_back(gpu: Any) -> None:
    before, blocks = gpu.allocated, len(gpu.blocks)
    x = torch.zeros(1000, device="cuda")
    assert gpu.allocated == before + 4000 <= gpu.peak
    y = x[10:]
    del x
    assert gpu.allocated == before + 4000
    del y
    assert gpu.allocated == before and len(gpu.blocks) == blocks


def test_elementwise_ops_and_gradients(gpu: Any) -> None:
    x = torch.randn(3, 5, requires_grad=True)
    y = x.detach().cuda().requires_grad_(True)
    for t in (x, y):
        (torch.exp(t * 0.3).t() @ torch.tanh(t) + t.sum() - (t - 1) / 7).mean().backward() if t.shape[
            0
        ] == t.shape[1] else (torch.exp(t * 0.3) * torch.tanh(t) + (t - 1) / 7 + t[0]).mean().backward()
    check_same(y.grad, x.grad)
    check_same(y.detach().add_(2).clamp(0, 2), x.detach().add_(2).clamp(0, 2))


@pytest.mark.parametrize(
    "function",
    [
        lambda t: t.sum(), lambda t: t.mean(1), lambda t: t.max(0).values, lambda t: t.argmax(1), lambda t: t.var(0),
        lambda t: torch.softmax(t, 1), lambda t: torch.log_softmax(t, 0), lambda t: t.t() @ t, lambda t: t[:, [0, 2, 2]],
        lambda t: t[t > 0], lambda t: torch.cat([t, t * 2], 1), lambda t: (t > 0).any(1), lambda t: t.norm(),
        lambda t: torch.where(t > 0, t, -t), lambda t: t.gather(1, torch.zeros(4, 1, dtype=torch.int64, device=t.device)),
    ],
)  # fmt: skip
def test_ops(gpu: Any, function: Any) -> None:
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    check_same(function(x.cuda()), function(x))
    assert gpu.launched


def test_random_numbers_are_those_of_the_cpu(gpu: Any) -> None:
    for draw in (torch.rand, torch.randn):
        torch.manual_seed(3)
        wanted = [draw(7), draw(5)]
        torch.manual_seed(3)
        for one in wanted:
            check_same(draw(one.numel(), device="cuda"), one)
    torch.manual_seed(4)
    wanted = nn.functional.dropout(torch.ones(50), 0.3)
    torch.manual_seed(4)
    check_same(nn.functional.dropout(torch.ones(50, device="cuda"), 0.3), wanted)


def test_random_numbers_need_no_wait(gpu: Any) -> None:
    torch.manual_seed(5)
    wanted = [torch.rand(6).tolist(), torch.randn(5).tolist(), torch.randperm(4).tolist()]
    torch.manual_seed(5)
    torch.rand(1, device="cuda")  # the state is on the device now
    torch.cuda.manual_seed_all(5)
    waits = gpu.waits
    found = [torch.rand(6, device="cuda"), torch.randn(5, device="cuda"), torch.randperm(4, device="cuda")]
    assert gpu.waits == waits, "the state stays in device memory"
    for a, b in zip(found, wanted):
        np.testing.assert_allclose(a.cpu().tolist(), b, rtol=1e-5)
    assert torch.rand(3, generator=torch.Generator().manual_seed(5)).tolist() == wanted[0][:3]
    state = torch.cuda.get_rng_state()
    again = torch.rand(2, device="cuda").tolist()
    torch.cuda.set_rng_state(state)
    assert torch.rand(2, device="cuda").tolist() == again and torch.cuda.initial_seed() == 5
    state = torch.cuda.get_rng_state()
    with torch.random.fork_rng():
        torch.rand(2, device="cuda")
    assert torch.equal(torch.cuda.get_rng_state(), state)


def test_generators_belong_to_a_device(gpu: Any) -> None:
    g = torch.Generator("cuda").manual_seed(9)
    assert str(g.device) == "cuda:0"
    wanted = torch.rand(4, generator=torch.Generator().manual_seed(9))
    check_same(torch.rand(4, device="cuda", generator=g), wanted)
    other = pickle.loads(pickle.dumps(g))
    check_same(torch.rand(2, device="cuda", generator=other), torch.rand(2, device="cuda", generator=g).cpu())
    with pytest.raises(RuntimeError, match="Expected a 'cuda' device type for generator but found 'cpu'"):
        torch.rand(4, device="cuda", generator=torch.Generator())
    with pytest.raises(RuntimeError, match="Expected a 'cpu' device type for generator but found 'cuda'"):
        torch.rand(4, generator=g)


def test_a_training_step(gpu: Any) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3, bias=False),
        nn.BatchNorm2d(2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    x, target = torch.randn(3, 1, 6, 6), torch.tensor([0, 2, 1])
    other = copy.deepcopy(net).cuda()
    losses = []
    for model, inputs, t in ((net, x, target), (other, x.cuda(), target.cuda())):
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        loss = nn.functional.cross_entropy(model(inputs), t)
        loss.backward()
        optimizer.step()
        losses.append(loss)
    check_same(losses[1], losses[0])
    for a, b in zip(other.state_dict().values(), net.state_dict().values()):
        check_same(a, b)


def test_devices_do_not_mix(gpu: Any) -> None:
    big = torch.ones(2000)
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        big + big.cuda()
    check_same(big.cuda() * torch.tensor(2.0), big * 2)  # a number in a CPU tensor is welcome
    with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
        big.cuda().numpy()
    assert float(big.cuda().sum()) == 2000.0


def test_a_kernel_without_twin_says_so(gpu: Any) -> None:
    with pytest.raises(NotImplementedError, match=r"reduce.nowhere has no CUDA kernel; move .* \.cpu\(\)"):
        runtime.twin(("reduce", "nowhere"))
    with pytest.raises(NotImplementedError, match="nothing.at_all has no CUDA kernel"):
        runtime.twin(("nothing", "at_all"))


def test_lazy_modules_move_before_their_first_call(gpu: Any) -> None:
    layer = nn.LazyConv1d(2, 1)
    weight = layer.weight
    assert layer.cuda().weight is weight and weight.is_cuda
    y = layer(torch.ones(1, 3, 4, device="cuda"))
    assert y.is_cuda and type(weight) is nn.Parameter and weight.shape == (2, 3, 1)
    assert nn.LazyBatchNorm1d().half().running_mean.dtype is torch.float16
    with pytest.raises(RuntimeError, match="Can't share memory on an uninitialized"):
        nn.LazyLinear(3).share_memory()


def test_modules_move_there_and_back(gpu: Any) -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    parameters, x = list(net.parameters()), torch.randn(4, 3)
    wanted = copy.deepcopy(net)(x)
    assert net.to("cuda") is net and all(a is b and a.is_cuda for a, b in zip(net.parameters(), parameters))
    assert all(b.is_cuda for b in net.buffers())
    check_same(net(x.cuda()), wanted)
    with pytest.raises(RuntimeError, match="same device"):
        net(torch.randn(2000, 3))
    state = {k: v.cpu() for k, v in net.state_dict().items()}
    other = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).cuda()
    other.load_state_dict(state)
    check_same(other[0].weight, state["0.weight"])
    optimizer = torch.optim.Adam(other.parameters())
    other(x.cuda()).sum().backward()
    optimizer.step()
    saved = pickle.loads(pickle.dumps(optimizer.state_dict()))
    optimizer.load_state_dict(saved)
    assert all(s["exp_avg"].is_cuda for s in optimizer.state.values())
    assert not any(t.is_cuda for t in (*net.cpu().parameters(), *net.buffers())) and net(x).shape == (4, 2)
    assert net.to(torch.device("cuda"), torch.float64)[0].weight.dtype is torch.float64


def test_what_modules_make_is_on_the_gpu(gpu: Any) -> None:
    mask = nn.Transformer.generate_square_subsequent_mask(2, device="cuda")
    assert mask.is_cuda and _looks_causal(mask, None) and not _looks_causal(mask + 1, None)
    layer = nn.utils.parametrizations.orthogonal(nn.Linear(2, 3).cuda())
    layer.weight = torch.eye(3)[:, :2].cuda()
    assert layer.weight.is_cuda
    pruned = nn.utils.prune.random_structured(nn.Linear(3, 4).cuda(), "weight", 2, dim=0)
    assert pruned.weight.is_cuda and int((pruned.weight.abs().sum(1) == 0).sum()) == 2
    assert nn.init.sparse_(torch.empty(6, 2, device="cuda"), 0.5).is_cuda
    x = torch.arange(6.0).cuda()
    assert x[torch.tensor([4, 1])].tolist() == [4.0, 1.0], "indices may be on the CPU, as in PyTorch"


def test_sums_are_the_same_each_time(gpu: Any) -> None:
    x = (torch.randn(700) * 100).cuda()
    index = torch.randint(0, 3, (700,)).cuda()
    first = (x.sum(), x.var(), torch.zeros(3, device="cuda").index_add(0, index, x))
    for _ in range(2):
        again = (x.sum(), x.var(), torch.zeros(3, device="cuda").index_add(0, index, x))
        assert all(a.cpu().numpy().tobytes() == b.cpu().numpy().tobytes() for a, b in zip(first, again))
