"""The host never follows an address of the GPU: copies, files, gradients and reports of tensors there.

The simulated GPU's addresses fault, so that a mistake here ends the whole process, as on hardware.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import numtorch as torch
from numtorch import nn
from numtorch.autograd import AnomalyError, detect_anomaly

pytestmark = pytest.mark.simulator


def test_copies_stay_on_the_gpu_and_share_what_was_shared(any_gpu: Any) -> None:
    x = torch.arange(6.0).reshape(2, 3).cuda()
    whole, row = copy.deepcopy([x, x[1]])
    row.add_(10)
    assert whole.is_cuda and whole.cpu().tolist() == [[0, 1, 2], [13, 14, 15]]
    assert x.cpu().tolist() == [[0, 1, 2], [3, 4, 5]]
    layer = nn.Linear(3, 2).cuda()
    again = copy.deepcopy(layer)
    assert again.weight.device == x.device and torch.equal(again(x), layer(x))


def test_pickles(any_gpu: Any) -> None:
    x = torch.arange(6.0).cuda().requires_grad_()
    again = pickle.loads(pickle.dumps(x))
    assert again.is_cuda and again.requires_grad and again.tolist() == x.tolist()


def test_memory_that_grows_keeps_its_content(any_gpu: Any) -> None:
    x = torch.arange(4.0).cuda()
    assert x.resize_(3, 3).cpu().flatten()[:4].tolist() == [0, 1, 2, 3]


def test_memory_of_the_gpu_is_no_array(any_gpu: Any) -> None:
    memory = torch.ones(2, device="cuda").untyped_storage()
    with pytest.raises(TypeError, match=r"on cuda:0 from the host; copy the tensor with .cpu\(\)"):
        memory.bytes()
    with pytest.raises(TypeError, match=r"on cuda:0"):
        memory.array((2,), (1,), np.dtype(np.float32), 0)


def test_gradients_are_on_the_device_of_their_tensor(any_gpu: Any) -> None:
    x = torch.ones(3, device="cuda", requires_grad=True)
    with pytest.raises(RuntimeError, match="assigned grad has data located on a different device: expected cuda:0, got cpu"):
        x.grad = torch.ones(3)
    with pytest.raises(RuntimeError, match="invalid gradient - expected device cuda:0 but got cpu"):
        (x * 2).backward(torch.ones(3))
    (x.sum() * 2).backward(torch.tensor(3.0))
    assert x.grad is not None and x.grad.is_cuda and x.grad.tolist() == [6, 6, 6]


def test_a_trace_on_a_gpu_has_no_profile(any_gpu: Any) -> None:
    x = torch.ones(3, device="cuda")
    traced = torch.jit.trace(lambda t: t * 2 + 1, x, check_trace=False)
    with pytest.raises(RuntimeError, match=r"profile: .* runs on a GPU"):
        traced.profile(x)


def test_the_backward_of_a_trace_is_blamed(any_gpu: Any) -> None:
    def loss(t: Any) -> Any:
        return (t.sqrt() * 0).sum()

    x = torch.tensor([0.0, 1.0], device="cuda", requires_grad=True)
    traced = torch.jit.trace(loss, x, check_trace=False)
    result = traced(x)
    with pytest.warns(UserWarning), detect_anomaly(), pytest.raises(AnomalyError, match="returned nan values"):
        result.backward()
