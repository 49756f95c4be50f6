"""Ops on a simulated GPU give what they give on the CPU: one call of each kind, with values of any shape in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numtorch as torch
import numtorch.nn.functional as F
from numtorch import nn

pytestmark = pytest.mark.simulator

INDEX = [0, 3, 1]


def moved(values: list[int], t: Any) -> Any:
    """An int64 tensor on the device of `t`."""
    return torch.tensor(values, device=t.device)


def seeded(draw: Callable[[], Any]) -> Any:
    torch.manual_seed(1)
    return draw()


# What is done to x (4, 6) on its device.
OF_A_MATRIX: dict[str, Callable[[Any], Any]] = {
    "sort": lambda x: x.sort(1), "argsort": lambda x: x.argsort(0), "topk": lambda x: x.topk(2), "median": lambda x: x.median(1),
    "mode": lambda x: x.round().mode(1), "cumsum": lambda x: x.cumsum(0), "cumprod": lambda x: x.cumprod(1),
    "cummax": lambda x: x.cummax(1), "unique": lambda x: torch.unique(x.round()), "masked_fill": lambda x: x.masked_fill(x > 0, 1.0),
    "masked_select": lambda x: x[x > 0], "nonzero": lambda x: torch.where(x > 0), "tril": lambda x: x.tril(),
    "flip": lambda x: x.flip(0), "roll": lambda x: x.roll(1, 0), "one_hot": lambda x: F.one_hot(moved(INDEX, x)),
    "std": lambda x: x.std(), "logsumexp": lambda x: x.logsumexp(1), "norm": lambda x: x.norm(dim=1), "prod": lambda x: x.prod(1),
    "einsum": lambda x: torch.einsum("ij,kj->ik", x, x), "layer_norm": lambda x: F.layer_norm(x, (6,)),
    "embedding": lambda x: F.embedding(moved(INDEX, x), x), "mse": lambda x: F.mse_loss(x, x * 2),
    "bce": lambda x: F.binary_cross_entropy_with_logits(x, (x > 0).float()), "smooth_l1": lambda x: F.smooth_l1_loss(x, x * 2),
    "kl_div": lambda x: F.kl_div(F.log_softmax(x, 1), F.softmax(x * 2, 1), reduction="batchmean"),
    "index_put": lambda x: x.index_put((moved([0, 1], x),), torch.tensor(5.0, device=x.device)),
    "scatter_add": lambda x: torch.zeros_like(x).scatter_add(1, torch.zeros_like(x, dtype=torch.int64), x),
    "cat": lambda x: torch.cat([x, x]), "stack": lambda x: torch.stack([x, x]), "power": lambda x: x.abs() ** 1.5,
    "erf": lambda x: torch.erf(x), "gelu": lambda x: F.gelu(x), "bincount": lambda x: torch.bincount(moved(INDEX, x)),
    "divide": lambda x: torch.arange(6, device=x.device) // 4, "eye": lambda x: torch.eye(3, device=x.device),
    "linspace": lambda x: torch.linspace(0, 1, 5, device=x.device), "full": lambda x: torch.full((3,), 2.5, device=x.device),
    "bernoulli": lambda x: seeded(lambda: torch.bernoulli(torch.full((20,), 0.5, device=x.device))),
    "randperm": lambda x: seeded(lambda: torch.randperm(9, device=x.device)),
    "randint": lambda x: seeded(lambda: torch.randint(0, 9, (5,), device=x.device)),
    "matrix_rank": lambda x: torch.linalg.matrix_rank(x @ x.T, atol=torch.tensor(1e-3, device=x.device), hermitian=True),
    "nothing": lambda x: x[:0, 3:].clone() * 2,
    "multinomial": lambda x: seeded(lambda: torch.multinomial(x.abs(), 3, replacement=True)),
}  # fmt: skip

# What is done to x (2, 2, 6, 6).
OF_IMAGES: dict[str, Callable[[Any], Any]] = {
    "group_norm": lambda x: F.group_norm(x, 2), "avg_pool": lambda x: F.avg_pool2d(x, 2),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, 3), "max_pool": lambda x: F.max_pool2d(x, 3, 2, 1),
    "conv_transpose": lambda x: F.conv_transpose2d(x, torch.ones(2, 3, 2, 2, device=x.device)),
    "interpolate": lambda x: F.interpolate(x, scale_factor=2), "pad": lambda x: F.pad(x, (1, 1)),
    "bmm": lambda x: torch.bmm(x[:, 0], x[:, 1]), "attention": lambda x: F.scaled_dot_product_attention(x, x, x),
    "unfold": lambda x: F.unfold(x, 2), "fold": lambda x: F.fold(F.unfold(x, 2), (6, 6), 2),
}  # fmt: skip


def check_on_both(function: Callable[[Any], Any], x: Any) -> None:
    """`function` gives on the GPU what it gives on the CPU."""
    wanted, found = function(x), function(x.cuda())
    pairs = zip(wanted, found) if isinstance(wanted, tuple) else [(wanted, found)]
    for a, b in pairs:
        assert b.is_cuda and a.dtype is b.dtype
        np.testing.assert_allclose(b.detach().cpu().numpy(), a.detach().numpy(), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", OF_A_MATRIX)
def test_of_a_matrix(any_gpu: Any, name: str) -> None:
    check_on_both(OF_A_MATRIX[name], torch.randn(4, 6, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("name", OF_IMAGES)
def test_of_images(any_gpu: Any, name: str) -> None:
    check_on_both(OF_IMAGES[name], torch.randn(2, 2, 6, 6, generator=torch.Generator().manual_seed(0)))


def test_assignment(any_gpu: Any) -> None:
    def assign(x: Any) -> Any:
        y = x.clone()
        y[1:3, 0] = 7.0
        y[y < 0] = 0.0
        return y

    check_on_both(assign, torch.randn(4, 6, generator=torch.Generator().manual_seed(0)))


def test_recurrent_and_transformer(any_gpu: Any) -> None:
    def lstm(x: Any) -> Any:
        torch.manual_seed(2)
        net = nn.LSTM(6, 5).to(x.device)
        net(x.unsqueeze(1))[0].sum().backward()
        return next(net.parameters()).grad

    def transformer(x: Any) -> Any:
        torch.manual_seed(2)
        return nn.TransformerEncoderLayer(6, 2, 8, batch_first=True).to(x.device).eval()(x.unsqueeze(0))

    for function in (lstm, transformer):
        check_on_both(function, torch.randn(4, 6, generator=torch.Generator().manual_seed(0)))
