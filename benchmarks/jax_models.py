"""The models of models.py in JAX: functions of the weights by their PyTorch names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Weights = dict[str, Any]
Forward = Callable[[Weights, Any], Any]


def linear(w: Weights, name: str, x: Any) -> Any:
    """x @ weight.T + bias."""
    y = x @ w[f"{name}.weight"].T
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def conv(w: Weights, name: str, x: Any, stride: int = 1, padding: int = 0) -> Any:
    """2-d convolution in PyTorch's layout."""
    layout = ("NCHW", "OIHW", "NCHW")
    pads = [(padding, padding)] * 2
    y = lax.conv_general_dilated(x, w[f"{name}.weight"], (stride, stride), pads, dimension_numbers=layout)
    return y + w[f"{name}.bias"][:, None, None] if f"{name}.bias" in w else y


def pool(x: Any) -> Any:
    """Maximum over windows of 2 by 2."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")


def mlp(w: Weights, x: Any) -> Any:
    """models.mlp."""
    layers = sorted({int(name.split(".")[0]) for name in w})
    for i in layers[:-1]:
        x = jax.nn.relu(linear(w, str(i), x))
    return linear(w, str(layers[-1]), x)


def gelu_mlp(w: Weights, x: Any) -> Any:
    """models.gelu_mlp."""
    layers = sorted({int(name.split(".")[1]) for name in w})
    for i in layers[:-1]:
        x = jax.nn.gelu(linear(w, f"layers.{i}", x), approximate=True)
    return linear(w, f"layers.{layers[-1]}", x)


def lenet(w: Weights, x: Any) -> Any:
    """models.lenet."""
    x = jax.nn.relu(pool(conv(w, "conv1", x)))
    x = jax.nn.relu(pool(conv(w, "conv2", x)))
    x = jax.nn.relu(linear(w, "fc1", x.reshape(x.shape[0], -1)))
    return linear(w, "fc2", x)


def batch_norm(w: Weights, name: str, x: Any, running: Weights | None) -> Any:
    """Training mode (new running statistics go to `running`), or inference where that is None."""
    if running is None:
        mean, var = w[f"{name}.running_mean"], w[f"{name}.running_var"]
    else:
        mean, var, n = x.mean((0, 2, 3)), x.var((0, 2, 3)), x.size // x.shape[1]
        running[f"{name}.running_mean"] = 0.9 * w[f"{name}.running_mean"] + 0.1 * mean
        running[f"{name}.running_var"] = 0.9 * w[f"{name}.running_var"] + 0.1 * var * n / (n - 1)
    scale = w[f"{name}.weight"] * lax.rsqrt(var + 1e-5)
    return (x - mean[:, None, None]) * scale[:, None, None] + w[f"{name}.bias"][:, None, None]


def resnet(w: Weights, x: Any, running: Weights | None = None) -> Any:
    """models.resnet."""
    x = jax.nn.relu(batch_norm(w, "1", conv(w, "0", x, padding=1), running))
    for i in range(3, 9):
        stride = 2 if i in (5, 7) else 1
        y = conv(w, f"{i}.conv1", x, stride, 1)
        y = jax.nn.relu(batch_norm(w, f"{i}.bn1", y, running))
        y = batch_norm(w, f"{i}.bn2", conv(w, f"{i}.conv2", y, padding=1), running)
        if f"{i}.shortcut.0.weight" in w:
            x = batch_norm(w, f"{i}.shortcut.1", conv(w, f"{i}.shortcut.0", x, stride), running)
        x = jax.nn.relu(x + y)
    return linear(w, "11", x.mean((2, 3)))


def layer_norm(w: Weights, name: str, x: Any) -> Any:
    """Over the last axis."""
    x = x - x.mean(-1, keepdims=True)
    x = x * lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5)
    return x * w[f"{name}.weight"] + w[f"{name}.bias"]


def gpt(w: Weights, tokens: Any, heads: int = 4) -> Any:
    """models.gpt."""
    B, T = tokens.shape
    x = w["token.weight"][tokens] + w["position.weight"][:T]
    mask = jnp.tril(jnp.ones((T, T), bool))
    for i in range(2):
        p, C = f"layers.{i}.", x.shape[-1]
        qkv = linear(w, p + "qkv", layer_norm(w, p + "ln1", x)).reshape(B, T, 3, heads, C // heads)
        q, k, v = qkv.transpose(2, 0, 3, 1, 4)  # (B, H, T, D) each
        scores = jnp.where(mask, q @ k.swapaxes(2, 3) * (C // heads) ** -0.5, -jnp.inf)
        a = (jax.nn.softmax(scores) @ v).swapaxes(1, 2).reshape(B, T, C)
        x = x + linear(w, p + "out", a)
        up = jax.nn.gelu(linear(w, p + "up", layer_norm(w, p + "ln2", x)), approximate=False)
        x = x + linear(w, p + "down", up)
    return linear(w, "head", layer_norm(w, "ln", x))


def lstm(w: Weights, x: Any, hidden: int = 128) -> Any:
    """models.lstm."""
    xs = x.swapaxes(0, 1) @ w["lstm.weight_ih_l0"].T + (w["lstm.bias_ih_l0"] + w["lstm.bias_hh_l0"])

    def cell(state: Any, gates: Any) -> Any:
        h, c = state
        i, f, g, o = jnp.split(gates + h @ w["lstm.weight_hh_l0"].T, 4, axis=1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    zeros = jnp.zeros((x.shape[0], hidden), x.dtype)
    (h, _), _ = lax.scan(cell, (zeros, zeros), xs)
    return linear(w, "fc", h)


FORWARD: dict[str, Forward] = {"MLP": mlp, "GELU-MLP": gelu_mlp, "LeNet": lenet, "ResNet": resnet, "GPT": gpt, "LSTM": lstm}


def loss_of(kind: str, output: Any, target: Any) -> Any:
    """Mean squared error or mean cross-entropy."""
    if kind == "mse_loss":
        return ((output - target) ** 2).mean()
    logits, labels = output.reshape(-1, output.shape[-1]), target.reshape(-1)
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean()


def update(kind: str, w: Any, g: Any, m: Any, v: Any, t: Any) -> tuple[Any, Any, Any]:
    """One tensor's step of SGD, Adam or AdamW with PyTorch's defaults (learning rates of backends.py)."""
    if kind == "sgd":
        return w - 0.01 * g, m, v
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    step = 1e-3 * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return (w * (1 - 1e-3 * 1e-2) if kind == "adamw" else w) - step, m, v


def training_step(family: str, loss: str, optimizer: str) -> Callable[..., Any]:
    """A compiled (trained, fixed, moments, step number, x, y) -> the same four and the loss."""
    forward = FORWARD[family]

    def objective(trained: Weights, fixed: Weights, x: Any, y: Any) -> Any:
        running: Weights = dict(fixed)
        args = (running,) if family == "ResNet" else ()
        return loss_of(loss, forward({**trained, **fixed}, x, *args), y), running

    def step(trained: Weights, fixed: Weights, moments: Any, t: Any, x: Any, y: Any) -> Any:
        (value, fixed), g = jax.value_and_grad(objective, has_aux=True)(trained, fixed, x, y)
        new, kept = {}, {}
        for name in trained:
            state = moments.get(name, (0.0, 0.0))
            new[name], *pair = update(optimizer, trained[name], g[name], *state, t)
            if name in moments:
                kept[name] = tuple(pair)
        return new, fixed, kept, t + 1, value

    return jax.jit(step, donate_argnums=(0, 1, 2))
