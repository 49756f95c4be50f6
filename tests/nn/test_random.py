"""What is random: initial values and dropout have the right range, mean and spread, and follow the seed."""

from __future__ import annotations

import math

import numpy as np
import pytest

import numtorch
from numtorch import nn

F, init = nn.functional, nn.init


def spread(t: numtorch.Tensor) -> tuple[float, float, float, float]:
    """Mean, standard deviation, smallest and largest."""
    x = t.detach().numpy().astype(np.float64)
    return x.mean(), x.std(), x.min(), x.max()


@pytest.mark.parametrize(
    "fill, std, limit",
    [
        (lambda t: init.uniform_(t, -1.0, 3.0), 4 / math.sqrt(12), None),
        (lambda t: init.normal_(t, 1.0, 0.5), 0.5, None),
        (lambda t: init.xavier_uniform_(t, gain=2.0), 2 * math.sqrt(2 / 500), 2 * math.sqrt(6 / 500)),
        (lambda t: init.xavier_normal_(t), math.sqrt(2 / 500), None),
        (lambda t: init.kaiming_uniform_(t, nonlinearity="relu"), math.sqrt(2 / 300), math.sqrt(6 / 300)),
        (lambda t: init.kaiming_normal_(t, mode="fan_out", nonlinearity="relu"), math.sqrt(2 / 200), None),
        (lambda t: init.trunc_normal_(t, std=0.5, a=-0.5, b=0.5), 0.5 * 0.5396, 0.5),
    ],
)
def test_distributions(fill, std: float, limit: float | None) -> None:
    t = numtorch.empty(200, 300)
    assert fill(t) is t
    _, found, low, high = spread(t)
    assert found == pytest.approx(std, rel=0.02)
    if limit is not None:
        assert -limit <= low < -0.99 * limit and 0.99 * limit < high <= limit


def test_orthogonal_and_sparse() -> None:
    for shape in ((4, 4), (3, 5), (5, 2, 2)):
        w = init.orthogonal_(numtorch.empty(*shape), gain=2.0).numpy().reshape(shape[0], -1)
        product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
        np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-5)
    w = init.sparse_(numtorch.empty(10, 6), sparsity=0.3).numpy()
    assert ((w == 0).sum(0) == 3).all()


def test_layers_start_as_in_pytorch() -> None:
    for layer, bound in ((nn.Linear(100, 50), 0.1), (nn.Conv2d(4, 80, 5), 0.1), (nn.GRU(7, 100), 0.1)):
        for p in layer.parameters():
            _, std, low, high = spread(p)
            assert -bound <= low and high <= bound and std == pytest.approx(bound / math.sqrt(3), rel=0.2)
    table = nn.Embedding(200, 50, padding_idx=3).weight
    assert spread(table)[1] == pytest.approx(1.0, rel=0.05) and not table[3].any()
    attention = nn.MultiheadAttention(64, 4)
    assert spread(attention.in_proj_weight)[3] <= math.sqrt(6 / 256) and not attention.in_proj_bias.any()


def test_same_seed_same_layer() -> None:
    weights = []
    for seed in (1, 2, 1):
        numtorch.manual_seed(seed)
        weights.append(nn.Linear(3, 3).weight.tolist())
    assert weights[0] == weights[2] != weights[1]


def test_dropout() -> None:
    x = numtorch.ones(100, 100, requires_grad=True)
    y = F.dropout(x, 0.3)
    values = y.detach().numpy()
    assert set(np.unique(values)) == {0.0, np.float32(1 / 0.7)}
    assert (values == 0).mean() == pytest.approx(0.3, abs=0.02)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), values)
    assert F.dropout(x, 0.3, training=False) is x or (F.dropout(x, 0.3, training=False) == x).all()
    assert not F.dropout(x, 1.0).any() and (F.dropout(x, 0.0) == 1).all()


@pytest.mark.parametrize("name, shape", [("dropout1d", (8, 50, 4)), ("dropout2d", (8, 50, 3, 3)), ("dropout3d", (8, 50, 2, 2, 2))])  # fmt: skip
def test_channel_dropout(name: str, shape: tuple[int, ...]) -> None:
    y = getattr(F, name)(numtorch.ones(*shape), 0.5).numpy().reshape(shape[0], shape[1], -1)
    assert (y == y[:, :, :1]).all()
    assert set(np.unique(y)) == {0.0, 2.0}
    assert (y == 0).mean() == pytest.approx(0.5, abs=0.1)


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    x = numtorch.randn(300, 300)
    mean, std, *_ = spread(F.alpha_dropout(x, 0.3, training=True))
    assert mean == pytest.approx(0.0, abs=0.03) and std == pytest.approx(1.0, abs=0.03)
    y = F.feature_alpha_dropout(numtorch.zeros(20, 30, 5), 0.5, training=True).numpy()
    assert (y == y[:, :, :1]).all()


def test_rrelu_and_gumbel_softmax() -> None:
    x = -numtorch.ones(1000)
    y = F.rrelu(x, 0.1, 0.3, training=True).numpy()
    assert (-0.3 <= y).all() and (y <= -0.1).all() and y.std() == pytest.approx(0.2 / math.sqrt(12), rel=0.1)
    np.testing.assert_allclose(F.rrelu(x, 0.1, 0.3).numpy(), -0.2, rtol=1e-6)
    hard = F.gumbel_softmax(numtorch.zeros(50, 4), hard=True).numpy()
    assert set(np.unique(hard.round(5))) == {0.0, 1.0} and (hard.sum(1).round(5) == 1).all()
    soft = F.gumbel_softmax(numtorch.tensor([[2.0, 0.0]]).expand(5000, 2))
    assert (soft.argmax(1) == 0).float().mean().item() == pytest.approx(1 / (1 + math.exp(-2)), abs=0.03)


def test_recurrent_dropout_is_between_layers() -> None:
    lstm = nn.LSTM(3, 4, num_layers=2, dropout=0.5)
    x = numtorch.ones(5, 2, 3)
    assert not (lstm(x)[0] == lstm(x)[0]).all()
    lstm.eval()
    assert (lstm(x)[0] == lstm(x)[0]).all()


def test_fractional_pooling_draws_its_own_places() -> None:
    x = numtorch.arange(2 * 100.0).reshape(1, 2, 10, 10)
    values, indices = nn.FractionalMaxPool2d(2, output_size=4, return_indices=True)(x)
    assert tuple(values.shape) == (1, 2, 4, 4)
    np.testing.assert_array_equal(values.numpy(), x.reshape(1, 2, 100).gather(2, indices.reshape(1, 2, 16)).reshape(1, 2, 4, 4).numpy())  # fmt: skip
