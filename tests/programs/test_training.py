"""Training loops as programs for PyTorch write them: the same source with numtorch, and PyTorch's losses of the same weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import numtorch


def fill(parameters: Any, torch: Any) -> None:
    """The same weights in both frameworks."""
    random = np.random.default_rng(0)
    for p in parameters:
        values = random.uniform(-0.3, 0.3, tuple(p.shape)).astype("float32")
        p.data.copy_(torch.from_numpy(values))


def language_model(torch: Any) -> list[float]:
    """An LSTM over words; the state is carried along, the update is written by hand."""
    nn = torch.nn
    embed, lstm, out = nn.Embedding(12, 8), nn.LSTM(8, 10, 2), nn.Linear(10, 12)
    model = nn.ModuleList([embed, lstm, out])
    fill(model.parameters(), torch)
    words = torch.from_numpy(np.random.default_rng(1).integers(0, 12, (41, 4)))
    hidden = (torch.zeros(2, 4, 10), torch.zeros(2, 4, 10))
    losses = []
    for i in range(0, 40, 5):
        model.zero_grad()
        hidden = tuple(h.detach() for h in hidden)
        output, hidden = lstm(embed(words[i : i + 5]), hidden)
        loss = nn.NLLLoss()(nn.functional.log_softmax(out(output).view(-1, 12), dim=1), words[i + 1 : i + 6].view(-1))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        for p in model.parameters():
            p.data.add_(p.grad, alpha=-2.0)
        losses.append(loss.item())
    return losses


def attention(torch: Any) -> list[float]:
    """A causal encoder, with weight decay for matrices only, micro-batches and a scaler that is off."""
    nn = torch.nn
    layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True, norm_first=True, activation="gelu")
    model = nn.Sequential(nn.Embedding(9, 16), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(16, 9))
    fill(model.parameters(), torch)
    mask = nn.Transformer.generate_square_subsequent_mask(7)
    groups = [{"params": [p for p in model.parameters() if (p.dim() >= 2) is big], "weight_decay": decay} for big, decay in ((True, 0.1), (False, 0.0))]
    optimizer = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.95))
    scaler = torch.amp.GradScaler("cuda", enabled=False)
    words = torch.from_numpy(np.random.default_rng(2).integers(0, 9, (6, 8)))
    losses = []
    for i in range(12):
        batch = words[i % 2 :: 2]
        logits = model[2](model[1](model[0](batch[:, :-1]), mask=mask))
        loss = nn.functional.cross_entropy(logits.reshape(-1, 9), batch[:, 1:].reshape(-1), ignore_index=-1) / 2
        scaler.scale(loss).backward()
        if i % 2:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
    return losses


def waves(torch: Any) -> list[float]:
    """An LSTM cell in float64, fitted by LBFGS with a closure."""
    nn = torch.nn
    cell, out = nn.LSTMCell(1, 6), nn.Linear(6, 1)
    model = nn.ModuleList([cell, out])
    fill(model.parameters(), torch)
    model.double()
    wave = torch.from_numpy(np.sin(np.arange(15) / 3 + np.arange(4)[:, None]))
    optimizer, losses = torch.optim.LBFGS(model.parameters(), lr=0.8, max_iter=4), []

    def closure() -> Any:
        optimizer.zero_grad()
        state = (torch.zeros(4, 6, dtype=torch.double), torch.zeros(4, 6, dtype=torch.double))
        outputs = []
        for x in wave[:, :-1].split(1, dim=1):
            state = cell(x, state)
            outputs += [out(state[0])]
        loss = nn.MSELoss()(torch.cat(outputs, dim=1), wave[:, 1:])
        loss.backward()
        losses.append(loss.item())
        return loss

    for _ in range(3):
        optimizer.step(closure)
    return losses


PROGRAMS = (language_model, attention, waves)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_losses_are_finite_and_fall(program):
    losses = program(numtorch)
    assert all(map(math.isfinite, losses)) and losses[-1] < losses[0]


@pytest.mark.oracle
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_losses_are_those_of_pytorch(program):
    np.testing.assert_allclose(program(numtorch), program(pytest.importorskip("torch")), rtol=2e-5)
