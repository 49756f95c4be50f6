"""The models that are timed, written once against PyTorch's API and built with whichever module offers it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

Arrays = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Workload:
    """A model, a batch for it, and how it is trained."""

    name: str
    build: Callable[[ModuleType], Any]
    batch: Callable[[np.random.Generator], Arrays]
    optimizer: str = "sgd"
    loss: str = "cross_entropy"
    fast: bool = False  # part of the fast mode too


def mlp(*sizes: int) -> Callable[[ModuleType], Any]:
    """A multilayer perceptron with ReLU between its layers."""

    def build(torch: ModuleType) -> Any:
        layers: list[Any] = []
        for i in range(len(sizes) - 1):
            layers += [torch.nn.Linear(sizes[i], sizes[i + 1]), torch.nn.ReLU()]
        return torch.nn.Sequential(*layers[:-1])

    return build


def tanh_gelu(x: float) -> float:
    """GELU by tanh, as a user of numtorch writes it."""
    return 0.5 * x * (1.0 + math.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))


def gelu_mlp(*sizes: int, own: bool) -> Callable[[ModuleType], Any]:
    """A multilayer perceptron with the tanh form of GELU: the built-in one or, in numtorch, an op of the user's."""

    def build(torch: ModuleType) -> Any:
        nn = torch.nn
        gelu = torch.elementwise(tanh_gelu) if own and hasattr(torch, "elementwise") else None

        class Perceptron(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layers = nn.ModuleList([nn.Linear(n, m) for n, m in itertools.pairwise(sizes)])

            def forward(self, x: Any) -> Any:
                for layer in self.layers[:-1]:
                    x = layer(x)
                    x = gelu(x) if gelu is not None else nn.functional.gelu(x, approximate="tanh")
                return self.layers[-1](x)

        return Perceptron()

    return build


def lenet(torch: ModuleType) -> Any:
    """conv 1-10-20 k5 with pooling, fc 320-50-10: (B, 1, 28, 28) -> (B, 10)."""
    nn, F = torch.nn, torch.nn.functional

    class LeNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 10, 5), nn.Conv2d(10, 20, 5)
            self.fc1, self.fc2 = nn.Linear(320, 50), nn.Linear(50, 10)

        def forward(self, x: Any) -> Any:
            x = F.relu(F.max_pool2d(self.conv1(x), 2))  # (B, 10, 12, 12)
            x = F.relu(F.max_pool2d(self.conv2(x), 2))  # (B, 20, 4, 4)
            return self.fc2(F.relu(self.fc1(x.flatten(1))))

    return LeNet()


def resnet(torch: ModuleType) -> Any:
    """3 stages of 2 basic blocks, 16-32-64 channels: (B, 3, 32, 32) -> (B, 10) (He et al. 2015)."""
    nn, F = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
            self.shortcut = nn.Sequential()
            if inputs != outputs:
                project = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
                self.shortcut = nn.Sequential(project, nn.BatchNorm2d(outputs))

        def forward(self, x: Any) -> Any:
            y = F.relu(self.bn1(self.conv1(x)))
            return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))

    stages = []
    for inputs, outputs in ((16, 16), (16, 32), (32, 64)):
        stages += [Block(inputs, outputs, outputs // inputs), Block(outputs, outputs, 1)]
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


VOCABULARY, TOKENS, WIDTH, HEADS = 96, 64, 128, 4


def gpt(torch: ModuleType) -> Any:
    """2 pre-norm transformer layers, width 128, 4 heads: tokens (B, T) -> logits (B, T, vocabulary)."""
    nn, F = torch.nn, torch.nn.functional

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ln1, self.ln2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
            self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
            self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

        def forward(self, x: Any) -> Any:
            B, T, C = x.shape
            qkv = self.qkv(self.ln1(x)).reshape(B, T, 3, HEADS, C // HEADS).permute(2, 0, 3, 1, 4)
            q, k, v = qkv[0], qkv[1], qkv[2]  # (B, H, T, D)
            a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(a.transpose(1, 2).reshape(B, T, C))
            return x + self.down(F.gelu(self.up(self.ln2(x))))

    class GPT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token, self.position = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(TOKENS, WIDTH)
            self.layers = nn.Sequential(Layer(), Layer())
            self.ln, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY, bias=False)

        def forward(self, tokens: Any) -> Any:
            x = self.token(tokens) + self.position.weight[: tokens.shape[1]]
            return self.head(self.ln(self.layers(x)))

    return GPT()


def lstm(torch: ModuleType) -> Any:
    """LSTM 32-128 over 32 steps, a linear layer on its last output: (B, 32, 32) -> (B, 10)."""
    nn = torch.nn

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.fc = nn.LSTM(32, 128, batch_first=True), nn.Linear(128, 10)

        def forward(self, x: Any) -> Any:
            return self.fc(self.lstm(x)[0][:, -1])

    return Classifier()


def images(*shape: int, classes: int = 10) -> Callable[[np.random.Generator], Arrays]:
    """Random inputs of a shape with a class for each."""
    return lambda rng: (rng.standard_normal(shape, np.float32), rng.integers(0, classes, shape[0]))


def regression(batch: int, inputs: int) -> Callable[[np.random.Generator], Arrays]:
    """Random inputs with one random number to predict for each."""

    def make(rng: np.random.Generator) -> Arrays:
        return rng.standard_normal((batch, inputs), np.float32), rng.standard_normal((batch, 1), np.float32)

    return make


def tokens(batch: int) -> Callable[[np.random.Generator], Arrays]:
    """Random token sequences and their successors."""

    def make(rng: np.random.Generator) -> Arrays:
        text = rng.integers(0, VOCABULARY, (batch, TOKENS + 1))
        return text[:, :-1].copy(), text[:, 1:].copy()

    return make


WORKLOADS = [
    Workload("MLP 10-5-1, batch 1", mlp(10, 5, 1), regression(1, 10), loss="mse_loss", fast=True),
    Workload("MLP 784-128-64-10, batch 1", mlp(784, 128, 64, 10), images(1, 784), fast=True),
    Workload("MLP 784-128-64-10, batch 32", mlp(784, 128, 64, 10), images(32, 784), fast=True),
    Workload("MLP 784-128-64-10, batch 256", mlp(784, 128, 64, 10), images(256, 784)),
    Workload("GELU-MLP 784-128-64-10, batch 64", gelu_mlp(784, 128, 64, 10, own=False), images(64, 784), fast=True),
    Workload("GELU-MLP with an own op, batch 64", gelu_mlp(784, 128, 64, 10, own=True), images(64, 784), fast=True),
    Workload("LeNet, batch 1", lenet, images(1, 1, 28, 28), fast=True),
    Workload("LeNet, batch 64", lenet, images(64, 1, 28, 28), fast=True),
    Workload("ResNet 16-32-64, batch 1", resnet, images(1, 3, 32, 32)),
    Workload("ResNet 16-32-64, batch 32", resnet, images(32, 3, 32, 32)),
    Workload("GPT 2 layers, batch 4", gpt, tokens(4), optimizer="adamw"),
    Workload("LSTM 32-128, batch 16", lstm, images(16, 32, 32), optimizer="adam"),
]


def fill(state: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """The same weights for every backend: a value for each name and shape of a state_dict.

    Running statistics and normalisation scales are set to what a fresh network has.
    """
    rng = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {}
    for name, shape in state.items():
        if name.endswith("num_batches_tracked"):
            weights[name] = np.zeros(shape, np.int64)
        elif name.endswith("running_mean"):
            weights[name] = np.zeros(shape, np.float32)
        elif name.endswith("running_var"):
            weights[name] = np.ones(shape, np.float32)
        else:
            fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
            noise = rng.standard_normal(shape, np.float32)
            weights[name] = noise * np.float32(fan_in**-0.5 if len(shape) > 1 else 0.1)
            if len(shape) == 1 and name.endswith("weight"):
                weights[name] += 1
    return weights
