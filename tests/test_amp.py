"""GradScaler follows PyTorch's rules; autocast changes nothing and says so."""

from __future__ import annotations

import pytest

import numtorch as torch
from numtorch.amp import GradScaler, autocast


def test_scaled_step_equals_the_plain_one():
    def train(scaler):
        w = torch.tensor([1.0, 2.0], requires_grad=True)
        optimizer = torch.optim.SGD([w], lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            loss = (w * w).sum()
            (scaler.scale(loss) if scaler else loss).backward()
            scaler.step(optimizer) if scaler else optimizer.step()
            if scaler:
                scaler.update()
        return w

    assert torch.allclose(train(GradScaler(init_scale=1024.0)), train(None))
    assert torch.equal(train(GradScaler(enabled=False)), train(None))


def test_an_infinite_gradient_skips_the_step_and_shrinks_the_factor():
    w = torch.tensor([1.0], requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1)
    scaler = GradScaler(init_scale=4.0, growth_interval=1)
    scaler.scale((w / 0.0).sum()).backward()
    assert scaler.step(optimizer) is None and w.item() == 1.0
    scaler.update()
    assert scaler.get_scale() == 2.0
    optimizer.zero_grad()
    scaler.scale(w.sum()).backward()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 4.0 and w.item() == pytest.approx(0.9)
    other = GradScaler()
    other.load_state_dict(scaler.state_dict())
    assert other.get_scale() == 4.0


def test_autocast():
    with pytest.warns(UserWarning, match="computes in the tensors' own precision"), autocast("cpu"):
        assert (torch.ones(2) * 2).dtype is torch.float32
        # programs that ask hear of no lower precision
        assert not torch.is_autocast_enabled("cpu") and not torch.is_autocast_enabled() and not torch.is_autocast_cpu_enabled()
        assert torch.ones(2).to(torch.get_autocast_gpu_dtype()).dtype is torch.float32
        assert torch.get_autocast_dtype("cpu") is torch.get_autocast_cpu_dtype() is torch.float32
    with autocast("cuda", enabled=False):
        assert (torch.ones(2) * 2).dtype is torch.float32
    with pytest.raises(RuntimeError, match="unknown device type 'tpu'"):
        autocast("tpu")
